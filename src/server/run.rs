//! From a configuration to a running server, and from a signal to its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gesta_log_format::disk::Disk;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::envelope::View;
use gesta_log_format::log::{Dead, Writer};
use gesta_log_format::{Index, Timestamp};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::app::{App, Parts};
use super::background::{self, Background, Signals};
use super::connection::Connections;
use super::listeners::{Endpoint, ListenersError, Surface};
use super::sockets::Sockets;
use crate::activation;
use crate::auth::Auth;
use crate::blobs;
use crate::capability::{Capabilities, KeyFilesError};
use crate::config::Config;
use crate::datasets::Datasets;
use crate::decider::{self, ActiveSettings, Decider};
use crate::executor::{self, Executor};
use crate::ingress::Ingress;
use crate::keys::Fingerprint;
use crate::limits;
use crate::metrics::{DeciderMetrics, LogMetrics};
use crate::objects::Objects;
use crate::outbound::{AuthoritiesError, Outbound};
use crate::projector::{self, Projector};
use crate::proofs;
use crate::publish::Publish;
use crate::push::{self, Push};
use crate::runtime::{IntentRegistry, PublicWorks, Solution, StateSurface};
use crate::sequencer::{self, Acknowledgements, Places, Queue, Sequencer, Sequencing, SystemClock};
use crate::state;
use crate::store::{self, LookupError, Opened, Store, StoreError};
use crate::tail::TailShared;
use crate::tasks::{self, BundleUrl, Tasks};

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Listeners(#[from] ListenersError),
    #[error("cannot listen on {flag} {listen}")]
    Listen {
        listen: SocketAddr,
        flag: &'static str,
        #[source]
        cause: io::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot use what `decider` names")]
    Wanted(#[from] activation::WantedError),
    #[error(transparent)]
    Activation(#[from] activation::StartError),
    #[error(transparent)]
    Handlers(#[from] executor::boot::BootError),
    #[error("cannot open the blobs")]
    Blobs(#[from] blobs::OpenError),
    #[error("cannot open the projections' snapshots")]
    Snapshots(#[source] sled::Error),
    #[error("cannot open the rows of datasets, or what is to be posted")]
    Rows(#[source] sled::Error),
    #[error("cannot read the log")]
    Lookup(#[from] LookupError),
    #[error("cannot use the keys of tasks")]
    Keys(#[from] KeyFilesError),
    #[error("cannot post tasks to the hosts of push.allow_hosts")]
    Push(#[from] AuthoritiesError),
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    #[error("cannot collect metrics")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error("a thread that opens the log panicked")]
    Panicked,
}

/// How a server ended.
#[derive(Debug)]
pub enum Ended {
    /// It was told to, and everything that was taken is durable.
    Told,
    /// A write or sync failed: who was waiting was told that the outcome is unknown.
    Dead(Dead),
    /// A thread panicked, which is a bug; the log is as after a kill.
    Panicked(&'static str),
}

/// How long answers may take to reach their clients after the disk has failed: on a machine that is busy, or that stalls
/// with its disk, too. Clients that have theirs are not waited for.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// Ticks of the sweep, a second each, between two times that the metrics' samples are folded into their buckets.
const UPKEEP_TICKS: u64 = 5;

/// Time kept back from the limit for the last sync and the end of the threads.
const SHUTDOWN_RESERVE: Duration = Duration::from_secs(2);

/// Serves until `told` is resolved or the disk fails, with the handlers of these solutions besides its own. `ready` is told
/// are served.
///
/// # Errors
/// [`ServeError`]: nothing was served.
pub async fn serve(
    config: Config,
    auth: Arc<Auth>,
    solutions: Vec<Box<dyn Solution>>,
    ready: impl FnOnce(&[Endpoint]) + Send,
    told: impl Future<Output = ()>,
) -> Result<Ended, ServeError> {
    let wanted = activation::Wanted::of(&config.decider)?;
    let sockets = Sockets::begin(&config, &auth).await?;
    let task_listener =
        sockets.endpoints().iter().find(|endpoint| endpoint.surface == Surface::Task).copied();
    let opening = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        open(config, auth, &solutions, task_listener).map(|opened| (opened, started.elapsed()))
    });
    let (Open { app, writer, filler, background, signer, signals, lock }, took) =
        opening.await.map_err(|_panicked| ServeError::Panicked)??;
    app.metrics.recovery_seconds.set(took.as_secs_f64());
    let (fatal, mut failed) = mpsc::channel(4);
    let threads = Threads::start(&app, writer, filler, background, signer, &signals, fatal)?;
    if let Err(error) = activation::begin(&app, wanted).await {
        threads.end(&app, &signals).await;
        return Err(error.into());
    }
    if app.config.decider.enabled
        && let Err(error) = executor::boot::begin(&app).await
    {
        threads.end(&app, &signals).await;
        return Err(error.into());
    }
    tokio::spawn(sweep(app.clone(), Arc::clone(sockets.connections())));
    sockets.open(&app);
    for endpoint in sockets.endpoints() {
        let listener = endpoint.surface.name();
        info!(listener, address = %endpoint, "listening");
    }
    info!(origin = app.store.origin, head = app.store.reader.head().0, ?took, "serving");
    ready(sockets.endpoints());

    let ended = tokio::select! {
        () = told => Ended::Told,
        failure = failed.recv() => failure.unwrap_or(Ended::Panicked("a thread")),
    };
    app.draining.store(true, Ordering::Release);
    let limit = Duration::from_secs(app.config.limits.shutdown_seconds_max);
    let patience = match &ended {
        Ended::Told => limit.saturating_sub(SHUTDOWN_RESERVE.min(limit / 2)),
        Ended::Dead(_) | Ended::Panicked(_) => LAST_ANSWERS,
    };
    sockets.end(patience, || app.drain()).await;
    let ended = match ended {
        Ended::Told => threads.end(&app, &signals).await,
        ended @ (Ended::Dead(_) | Ended::Panicked(_)) => ended,
    };
    // Held to the end: nobody else may write here.
    drop(lock);
    Ok(ended)
}

/// Once a second: closes the connections whose clients do not read, and brings the gauges up to date.
async fn sweep(app: App, connections: Arc<Connections>) {
    let reader = Duration::from_secs(app.config.tail.reader_idle_seconds_max);
    let head = Duration::from_secs(app.config.limits.header_read_seconds_max);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for tick in 0_u64.. {
        ticks.tick().await;
        if tick.is_multiple_of(UPKEEP_TICKS) {
            // Histograms keep every sample until then: without it memory would grow with each batch.
            app.prometheus.run_upkeep();
        }
        connections.tick();
        app.metrics.readers_stalled_total.increment(connections.close_stalled(reader, head) as u64);
        app.tail.sweep();
        let head = app.store.reader.head();
        app.metrics.head.set(head.0 as f64);
        app.metrics.watermark.set(head.0 as f64);
        app.metrics.applied.set(app.projector.applied().0 as f64);
        app.metrics.checkpoint_size.set(app.proofs.signed_size() as f64);
        app.metrics.checkpoint_signing.set(if app.proofs.is_signing() { 1.0 } else { 0.0 });
        app.executor.measure();
        app.tasks.measure();
        app.datasets.measure();
        app.push.measure();
        app.publish.measure();
        app.metrics.queue_depth.set(app.ingress.places.taken() as f64);
    }
}

/// What opening the data directory gives.
struct Open {
    app: App,
    writer: Writer<RealDisk>,
    filler: Option<gesta_log_format::log::Filler<RealDisk>>,
    background: Background,
    signer: proofs::Signer,
    signals: Arc<Signals>,
    lock: <RealDisk as Disk>::Lock,
}

fn blob_bounds(config: &Config) -> blobs::Bounds {
    blobs::Bounds {
        blob_bytes_max: config.blobs.blob_bytes_max,
        piece_patience: Duration::from_secs(config.limits.body_read_seconds_max),
        ..blobs::Bounds::default()
    }
}

fn executor_bounds(config: &Config) -> executor::Bounds {
    executor::Bounds {
        running_max: config.executor.running_max,
        invoke_default: Duration::from_secs(config.executor.invoke_seconds_default),
        invoke_max: Duration::from_secs(config.executor.invoke_seconds_max),
        ..executor::Bounds::default()
    }
}

/// What is folded: the records that are durable, the newest of them from memory.
fn source(store: &Arc<Store>) -> projector::Source<RealDisk> {
    let live = Arc::clone(&store.live);
    projector::Source {
        reader: store.reader.clone(),
        head: live.watch(),
        recent: Box::new(move |range| {
            let group = live.holding(range.start)?;
            Some(group.slice(range.start, range.end.min(group.end())))
        }),
    }
}

fn task_bounds(config: &Config) -> tasks::Bounds {
    tasks::Bounds {
        retry_base: Duration::from_millis(config.tasks.retry_ms),
        waiters_max: config.tasks.claims_waiting_max,
        ..tasks::Bounds::default()
    }
}

fn start_projector(
    config: &Config,
    state: &sled::Db,
    store: &Arc<Store>,
) -> Result<Arc<Projector>, ServeError> {
    let snapshots = projector::Snapshots::open(state, projector::Origin(store.origin.clone()))
        .map_err(ServeError::Snapshots)?;
    let scope = match config.decider.enabled {
        true => projector::Scope::Decisions,
        false => projector::Scope::Head,
    };
    let projector = Projector::start(source(store), snapshots, scope, projector::Pace::default());
    projector.map(Arc::new).map_err(ServeError::Thread)
}

fn push_of(
    config: &Config,
    store: &Store,
    projector: &Arc<Projector>,
    tasks: &Arc<Tasks>,
    outbound: &Arc<Outbound>,
    bundle_url: BundleUrl,
) -> Arc<Push> {
    Push::new(push::Parts {
        tasks: Arc::clone(tasks),
        projector: Arc::clone(projector),
        settings: &config.push,
        outbound: Arc::clone(outbound),
        head_at_start: store.reader.head(),
        bundle_url,
    })
}

/// Bundles are served on the task listener alone.
fn bundle_url(config: &Config, listener: Option<Endpoint>, objects: &Arc<Objects>) -> BundleUrl {
    let Some(listener) = listener else { return Box::new(|_digest, _expires| None) };
    if config.tasks.public_url.is_none()
        && listener.address.ip().is_unspecified()
        && !config.push.allow_hosts.is_empty()
    {
        warn!(%listener, "runners cannot get bundles from this address: set tasks.public_url to where they reach the task listener");
    }
    let base = config.tasks.public_url.clone().unwrap_or_else(|| listener.to_string());
    let objects = Arc::clone(objects);
    Box::new(move |digest, expires| Some(format!("{base}{}", objects.blob_url(digest, expires))))
}

/// The handlers of the program: those that ship with it first.
fn registry_of(
    ingress: &Ingress,
    outbound: &Arc<Outbound>,
    solutions: &[Box<dyn Solution>],
) -> IntentRegistry {
    let (store, blobs) = (Arc::clone(&ingress.store), Arc::clone(&ingress.blobs));
    let surface = state::Surface::new(Arc::clone(&store), Arc::clone(&blobs), ingress.appender());
    let works = PublicWorks::new(store, blobs, Arc::clone(outbound));
    let mut registry = IntentRegistry::new(works, StateSurface::new(Arc::new(surface)));
    executor::Shipped.register(&mut registry);
    for solution in solutions {
        solution.register(&mut registry);
    }
    registry
}

fn executor_of(
    config: &Config,
    ingress: &Ingress,
    projector: &Arc<Projector>,
    registry: IntentRegistry,
) -> Arc<Executor> {
    Executor::new(executor::Parts {
        store: Arc::clone(&ingress.store),
        blobs: Arc::clone(&ingress.blobs),
        queue: Arc::clone(&ingress.queue),
        projector: Arc::clone(projector),
        registry,
        bounds: executor_bounds(config),
    })
}

fn open(
    config: Config,
    auth: Arc<Auth>,
    solutions: &[Box<dyn Solution>],
    task_listener: Option<Endpoint>,
) -> Result<Open, ServeError> {
    let prometheus: PrometheusHandle = crate::metrics::install()?;
    let Opened { store, writer, filler, frontier, recovery, state, lock } = store::open(&config)?;
    if recovery.torn_bytes > 0 || recovery.roll_finished {
        info!(?recovery, "an unfinished write was cut off; it was never acknowledged");
    }
    let metrics = LogMetrics::new();
    let tail = TailShared::new(Arc::clone(&store), &config.tail, metrics.clone());
    let blobs = Arc::new(blobs::Store::open(&config.server.data, blob_bounds(&config))?);
    let ingress = Arc::new(Ingress {
        store: Arc::clone(&store),
        blobs: Arc::clone(&blobs),
        queue: Arc::new(Queue::default()),
        places: Places::new(config.log.queue_records_max),
        settings: ActiveSettings::default(),
    });
    let projector = start_projector(&config, &state, &store)?;
    let signals = Arc::new(Signals::default());
    let background = Background {
        store: Arc::clone(&store),
        frontier,
        signals: Arc::clone(&signals),
        idle: Duration::from_millis(config.log.frontier_idle_ms),
    };
    let (proofs, signer) = proofs::new(&config, &store);
    let secret = config.tasks.hs256_secret_file.as_deref();
    let capabilities = Arc::new(Capabilities::open(&config.server.data, &store, secret)?);
    auth.admit_services(Arc::clone(&capabilities));
    let outbound = Outbound::new(&config.push, config.server.insecure_loopback)?;
    let executor = executor_of(&config, &ingress, &projector, registry_of(&ingress, &outbound, solutions));
    let tasks = Tasks::new(tasks::Parts {
        store: Arc::clone(&store),
        blobs: Arc::clone(&blobs),
        queue: Arc::clone(&ingress.queue),
        projector: Arc::clone(&projector),
        executor: Arc::clone(&executor),
        capabilities: Arc::clone(&capabilities),
        clock: Box::new(tasks::SystemClock::start()),
        bounds: task_bounds(&config),
    });
    let objects = Arc::new(Objects::open(&config.server.data, &ingress)?);
    let datasets = Datasets::open(&ingress, &projector, &objects, &state).map_err(ServeError::Rows)?;
    let bundle_url = bundle_url(&config, task_listener, &objects);
    let publish =
        Publish::open(&ingress, &projector, &outbound, &config.push, &state).map_err(ServeError::Rows)?;
    let app = App::new(Parts {
        push: push_of(&config, &store, &projector, &tasks, &outbound, bundle_url),
        outbound,
        publish,
        proofs,
        capabilities,
        tasks,
        objects,
        datasets,
        head_at_start: store.reader.head(),
        auth,
        blobs,
        ingress,
        tail,
        projector,
        executor,
        metrics,
        prometheus,
        started: Instant::now(),
        draining: AtomicBool::new(false),
        config,
        store,
    });
    Ok(Open { app, writer, filler, background, signer, signals, lock })
}

/// The threads of a running server.
struct Threads {
    sequencer: Vec<JoinHandle<()>>,
    decider: Option<Decider>,
    background: JoinHandle<()>,
    signer: JoinHandle<()>,
}

impl Threads {
    fn start(
        app: &App,
        writer: Writer<RealDisk>,
        filler: Option<gesta_log_format::log::Filler<RealDisk>>,
        background: Background,
        signer: proofs::Signer,
        signals: &Arc<Signals>,
        fatal: mpsc::Sender<Ended>,
    ) -> Result<Self, ServeError> {
        let replies = Arc::new(Acknowledgements::default());
        tokio::spawn(Arc::clone(&replies).hand_out());
        let told = Arc::clone(signals);
        let interval = Duration::from_micros(app.config.tail.fanout_interval_us);
        tokio::spawn(Arc::clone(&app.store.live).fan_out(interval, move |_| told.appended()));
        let (told, proofs) = (Arc::clone(signals), Arc::clone(&app.proofs));
        let (newest, log_subject) = last_times(&app.store)?;
        let sequencer = Sequencer::<RealDisk, _>::new(
            Arc::clone(&app.store),
            Arc::clone(&app.ingress.queue),
            replies,
            app.metrics.clone(),
            Sequencing {
                batch_records_max: app.config.log.batch_records_max,
                batch_bytes_max: app.config.log.batch_bytes_max,
            },
            SystemClock,
            newest,
            log_subject,
            Box::new(move || {
                told.rolled();
                proofs.sealed();
            }),
            writer,
        );
        let sequencer = Arc::new(sequencer);
        let hands = (0..sequencer::HANDS).map(|hand| {
            let sequencer = Arc::clone(&sequencer);
            spawn("sequencer", fatal.clone(), move || sequencer.run(hand))
        });
        let sequencer = hands.collect::<Result<_, _>>()?;
        if let Some(filler) = filler {
            spawn("filler", fatal.clone(), move || background::fill(filler))?;
        }
        let (store, ended, damaged) =
            (Arc::clone(&app.store), Arc::clone(signals), app.metrics.damaged_segments.clone());
        let period = Duration::from_secs(app.config.log.scrub_seconds);
        spawn("scrub", fatal.clone(), move || {
            background::scrub(&store, period, &ended, &damaged);
            Ok(())
        })?;
        let signer = spawn("signer", fatal.clone(), move || {
            signer.run();
            Ok(())
        })?;
        let background = spawn("background", fatal, move || background.run())?;
        let decider = app.config.decider.enabled.then(|| Decider::start(decider_parts(app)));
        let decider = decider.transpose().map_err(ServeError::Thread)?;
        if app.config.decider.enabled {
            app.datasets.start();
        }
        Ok(Self { sequencer, decider, background, signer })
    }

    /// Ends the threads in order: what waits is made durable, then the last marks are written.
    async fn end(self, app: &App, signals: &Signals) -> Ended {
        // Before the queue closes, so that what ends in time is recorded.
        app.executor.stop(Duration::from_millis(limits::EXECUTIONS_END_MS)).await;
        app.push.stop(Duration::from_millis(limits::PUSH_END_MS)).await;
        app.publish.stop(Duration::from_millis(limits::PUBLISH_END_MS)).await;
        app.tasks.stop(Duration::from_millis(limits::TASKS_END_MS)).await;
        app.datasets.stop(Duration::from_millis(limits::DATASETS_END_MS)).await;
        if let Some(decider) = self.decider {
            // Its DECISIONs on their way become durable; what it did not get to, the next start decides.
            let _ = tokio::task::spawn_blocking(move || decider.stop()).await;
        }
        app.ingress.queue.close();
        let hands = self.sequencer;
        let sequencer =
            tokio::task::spawn_blocking(move || hands.into_iter().all(|hand| hand.join().is_ok()));
        let joined = sequencer.await.is_ok_and(|joined| joined);
        signals.ended();
        app.proofs.end();
        let projector = Arc::clone(&app.projector);
        let background = tokio::task::spawn_blocking(move || {
            projector.stop();
            self.background.join().is_ok() & self.signer.join().is_ok()
        });
        let marked = background.await.is_ok_and(|joined| joined);
        if joined && marked { Ended::Told } else { Ended::Panicked("a thread that was ending") }
    }
}

fn decider_parts(app: &App) -> decider::Parts {
    decider::Parts {
        store: Arc::clone(&app.store),
        blobs: Arc::clone(&app.blobs),
        queue: Arc::clone(&app.ingress.queue),
        projector: Arc::clone(&app.projector),
        settings: app.ingress.settings.clone(),
        metrics: DeciderMetrics::new(),
    }
}

/// Starts a thread whose failure or panic ends the server.
fn spawn(
    name: &'static str,
    fatal: mpsc::Sender<Ended>,
    work: impl FnOnce() -> Result<(), Dead> + Send + 'static,
) -> Result<JoinHandle<()>, ServeError> {
    let run = move || {
        let ended = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
            Ok(Ok(())) => return,
            Ok(Err(dead)) => {
                error!(error = %dead, cause = %dead.cause, "the disk has failed: the server ends, pending outcomes are unknown");
                Ended::Dead(dead)
            }
            Err(_panic) => {
                error!(thread = name, "a thread has panicked: the server ends, pending outcomes are unknown");
                Ended::Panicked(name)
            }
        };
        // A full channel says that the server is ending already.
        let _ = fatal.try_send(ended);
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(ServeError::Thread)
}

/// The time of the newest record, and the newest record of the log's own subject.
fn last_times(store: &Store) -> Result<(Timestamp, Option<Index>), ServeError> {
    let head = store.reader.head();
    let newest = match head.0.checked_sub(1) {
        Some(last) => store.record(Index(last)).map_err(LookupError::from)?,
        None => None,
    };
    let newest = newest.and_then(|record| View::parse(record.data()).and_then(|view| view.recorded_at()));
    let subject = store.keys.newest(&Fingerprint::subject("_system", "log")).map_err(LookupError::from)?;
    Ok((newest.unwrap_or_default(), subject.map(Index)))
}
