//! A log, and one process after the other that works on it: sequencer, projector, decider, executor and tasks, without
//! HTTP, by a clock that the test moves.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use gesta_log_format::disk::Disk;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::envelope::{Draft, Expectation};
use gesta_log_format::json::canonical;
use gesta_log_format::json::canonicalize;
use gesta_log_format::log::Dead;
use gesta_log_format::{Index, Kind};
use gesta_replay::Event;
use gesta_replay::context;
use gesta_replay::policy::default_files;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::clock::{Hands, Moment};
use crate::activation::Activation;
use crate::auth::Principal;
use crate::blobs;
use crate::capability::{Capabilities, install_provider};
use crate::config::Config;
use crate::control::{self, Control};
use crate::decider::{ActiveSettings, Decider};
use crate::exchange::Exchange;
use crate::executor::{self, Executor, Shipped};
use crate::ingress::{Ingress, Submitted, request};
use crate::metrics::{DeciderMetrics, LogMetrics};
use crate::projector::{Origin, Pace, Projector, Scope, Snapshots, Source};
use crate::runtime::{IntentRegistry, Solution as _};
use crate::sequencer::{Acknowledgements, HANDS, Places, Queue, Sequencer, Sequencing};
use crate::store::{self, Opened};
use crate::tasks::next::{Next, next};
use crate::tasks::{Bounds, Parts, Tasks};

/// Nothing that goes well waits for it. Of the real time.
const LONG: Duration = Duration::from_secs(60);

/// Nor does anything come to rest that has not by then.
const REST: Duration = Duration::from_secs(30);

/// The log and what every process on it shares.
pub(super) struct World {
    pub(super) ingress: Arc<Ingress>,
    pub(super) capabilities: Arc<Capabilities>,
    pub(super) hands: Hands,
    derived: sled::Db,
    threads: Mutex<Vec<JoinHandle<Result<(), Dead>>>>,
    _lock: <RealDisk as Disk>::Lock,
    _data: TempDir,
}

/// What a restart begins anew.
pub(super) struct Process {
    pub(super) tasks: Arc<Tasks>,
    pub(super) projector: Arc<Projector>,
    executor: Arc<Executor>,
    decider: Decider,
    pub(super) started: Started,
}

/// The projections by their names, as they are written down.
pub(super) type States = Vec<(&'static str, Vec<u8>)>;

/// When a process started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started {
    /// The first index that was not in the log.
    pub(super) head: Index,
    pub(super) at: Moment,
}

impl World {
    /// A log by whose policy everything is allowed.
    pub(super) async fn open() -> Self {
        install_provider();
        let (data, hands) = (tempfile::tempdir().unwrap(), Hands::new());
        let mut config = Config::default();
        config.server.data = data.path().to_owned();
        config.log.fill_ahead = false;
        let Opened { store, writer, state, lock, .. } = store::open(&config).unwrap();
        let blobs = Arc::new(blobs::Store::open(data.path(), blobs::Bounds::default()).unwrap());
        let (queue, replies) = (Arc::new(Queue::default()), Arc::new(Acknowledgements::default()));
        tokio::spawn(Arc::clone(&replies).hand_out());
        tokio::spawn(Arc::clone(&store.live).fan_out(Duration::ZERO, |_| ()));
        let sequencer = Arc::new(Sequencer::<RealDisk, _>::new(
            Arc::clone(&store),
            Arc::clone(&queue),
            replies,
            LogMetrics::new(),
            Sequencing { batch_records_max: 16, batch_bytes_max: 1 << 18 },
            hands.clone(),
            hands.read().wall,
            None,
            Box::new(|| ()),
            writer,
        ));
        let threads = (0..HANDS).map(|hand| {
            let sequencer = Arc::clone(&sequencer);
            std::thread::spawn(move || sequencer.run(hand))
        });
        let threads = Mutex::new(threads.collect());
        let capabilities = Arc::new(Capabilities::open(data.path(), &store, None).unwrap());
        let (places, settings) = (Places::new(256), ActiveSettings::default());
        let ingress = Arc::new(Ingress { store, blobs, queue, places, settings });
        let policy = Activation::of_policy(&default_files()).unwrap();
        for activation in [policy, Activation::of_context(&context::Config::default())] {
            activation.activate(&ingress, "gesta").await.unwrap();
        }
        Self { ingress, capabilities, hands, derived: state, threads, _lock: lock, _data: data }
    }

    /// Starts a process over the log as it is now.
    pub(super) fn start(&self) -> Process {
        let (store, queue) = (Arc::clone(&self.ingress.store), Arc::clone(&self.ingress.queue));
        let blobs = Arc::clone(&self.ingress.blobs);
        let started = Started { head: store.reader.head(), at: self.hands.read() };
        let snapshots = Snapshots::open(&self.derived, Origin(store.origin.clone())).unwrap();
        let (reader, head) = (store.reader.clone(), store.live.watch());
        let source = Source { reader, head, recent: Box::new(|_| None) };
        let projector = Projector::start(source, snapshots, Scope::Decisions, Pace::default()).unwrap();
        let projector = Arc::new(projector);
        let decider = Decider::start(crate::decider::Parts {
            store: Arc::clone(&store),
            blobs: Arc::clone(&blobs),
            queue: Arc::clone(&queue),
            projector: Arc::clone(&projector),
            settings: self.ingress.settings.clone(),
            metrics: DeciderMetrics::new(),
        });
        let mut registry = IntentRegistry::of_a_test(&store, &blobs, &queue);
        Shipped.register(&mut registry);
        let executor = Executor::new(executor::Parts {
            store: Arc::clone(&store),
            blobs: Arc::clone(&blobs),
            queue: Arc::clone(&queue),
            projector: Arc::clone(&projector),
            registry,
            bounds: executor::Bounds::default(),
        });
        executor.start();
        let tasks = Tasks::new(Parts {
            store,
            blobs,
            queue,
            projector: Arc::clone(&projector),
            executor: Arc::clone(&executor),
            capabilities: Arc::clone(&self.capabilities),
            clock: Box::new(self.hands.start()),
            bounds: Bounds { pause: Duration::from_millis(1), ..Bounds::default() },
        });
        tasks.start();
        Process { tasks, projector, executor, decider: decider.unwrap(), started }
    }

    /// The first index that is not in the log.
    pub(super) fn head(&self) -> Index {
        self.ingress.store.reader.head()
    }

    /// Registers a handler of workers.
    pub(super) async fn register(&self, intent_type: &str, more: &Value) {
        let granted =
            ["d", "d-0", "d-1", "d-2"].map(|uuid| json!({ "dataset_uuid": uuid, "dataset_version": "1" }));
        let mut payload = json!({
            "handler_name": "work", "intent_type": intent_type, "kind": "worker",
            "grants": { "datasets": granted, "s3": { "read_prefixes": [], "write_prefixes": [] } },
        });
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let control = Control {
            type_name: "handler_registered",
            subject: format!("handler/{intent_type}/work"),
            actor: "operator",
            payload: canonicalize(payload.to_string().as_bytes()).unwrap(),
        };
        control::append(&self.ingress, &control).await.unwrap();
    }

    /// Waits until everything is durable or refused that is in the queue: a record behind it is.
    pub(super) async fn drained(&self) {
        self.register("nobody.asks", &json!({})).await;
    }

    /// Submits an intent, and gives its index.
    pub(super) async fn submit(&self, stream_id: &str, correlation_id: &str, intent_type: &str) -> Index {
        let body = json!({
            "interface_version": 2,
            "correlation_id": correlation_id,
            "payload": {
                "stream_id": stream_id,
                "lane": "user",
                "actor": "ann",
                "intent_type": intent_type,
                "thread_id": "thread",
                "turn_id": format!("turn-{correlation_id}"),
                "payload": { "message": "hello" },
            },
        });
        let body = body.to_string();
        let intent = request::parse(body.as_bytes()).unwrap();
        let place = self.ingress.reserve().unwrap();
        let submitted = Arc::clone(&self.ingress)
            .submit(&intent, &Principal::local(), &Exchange::generated(), place)
            .await
            .unwrap();
        match submitted {
            Submitted::Now(index) | Submitted::Before(index) => index,
        }
    }

    /// Asks that the execution of an intent ends, unless somebody did.
    pub(super) async fn cancel(&self, intent: Index) {
        let record = self.ingress.store.record(intent).unwrap().unwrap();
        let event = Event::parse(record.data()).unwrap();
        let text = |raw| canonical::unescape(raw).unwrap().into_owned();
        let view = event.view();
        let correlation_id = text(view.correlation_id);
        let draft = Draft {
            kind: Kind::Intent,
            type_name: "cancel_requested",
            stream_id: &text(view.stream_id),
            lane: &text(view.lane),
            actor: "ann",
            intent_type: &text(view.intent_type),
            thread_id: &text(view.thread_id),
            turn_id: &text(view.turn_id),
            parent_turn_id: None,
            correlation_id: &correlation_id,
            cause: Some(intent),
            subjects: &[Expectation { subject: format!("intent/{correlation_id}"), expected: Some(intent) }],
            payload: &crate::executor::cancel::payload("ann", Some("no longer wanted")),
        };
        // Somebody has asked where it is refused.
        let _ = self.ingress.appender().append(&draft, self.ingress.reserve().unwrap()).await;
    }

    /// All records.
    pub(super) fn records(&self) -> Vec<Vec<u8>> {
        let record = |index| self.ingress.store.record(Index(index)).unwrap().unwrap();
        (0..self.head().0).map(|index| record(index).data().to_vec()).collect()
    }

    /// Waits until nothing happens any more unless somebody asks for it or time passes.
    ///
    /// # Errors
    /// Where that does not come: what is still to be done, for a person.
    pub(super) async fn quiet(&self, process: &Process) -> Result<(), String> {
        let quiet = async {
            while !self.is_quiet(process) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(REST, quiet).await;
        waited.map_err(|_| format!("it never comes to rest: {}", self.unrest(process)))
    }

    /// What keeps it from coming to rest, for a person.
    fn unrest(&self, process: &Process) -> String {
        let (tasks, published) = (&process.tasks, self.ingress.store.live.published());
        let mut told = format!(
            "{} records, {published} published, {} undecided, busy with {:?}",
            self.head(),
            process.projector.undecided(),
            tasks.busy(),
        );
        process.projector.look(|state| {
            let timers = tasks.timers();
            told.push_str(&format!(", {} applied", state.applied()));
            for open in state.tasks.all() {
                let known = timers.know(open);
                told.push_str(&format!("\n{} is {:?}, known: {known}", open.task_id, open.standing));
            }
            for open in state.executions.all_open() {
                told.push_str(&format!("\n{} is open, {:?}", open.execution_id, open.standing));
            }
        });
        told
    }

    fn is_quiet(&self, process: &Process) -> bool {
        let (head, tasks) = (self.head(), &process.tasks);
        let now = tasks.clock.now();
        let is_settled = process.projector.look(|state| {
            let timers = tasks.timers();
            let settled = |task_id| {
                matches!(next(state, tasks.executor.registry(), &timers, now, task_id), Next::Nothing)
            };
            state.applied() == head
                && state.tasks.all().all(|open| timers.know(open) && settled(open.task_id))
                && state.executions.all_open().all(|open| settled(open.execution_id))
        });
        is_settled
            && process.projector.undecided() == 0
            && tasks.busy().is_empty()
            && self.ingress.store.live.published() == head
            && self.head() == head
    }

    /// Ends the threads.
    pub(super) async fn close(self, process: Process) {
        process.stop().await;
        self.ingress.queue.close();
        for thread in self.threads.lock().unwrap().drain(..) {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Process {
    /// Its projections as they are now.
    pub(super) fn states(&self) -> States {
        self.projector.look(|state| {
            let states = state.projections();
            states.iter().map(|projection| (projection.name(), projection.snapshot())).collect()
        })
    }

    /// Ends it. What is on its way then may still become durable: see [`World::drained`].
    pub(super) async fn stop(self) {
        let Self { tasks, projector, executor, decider, .. } = self;
        tasks.stop(LONG).await;
        executor.stop(LONG).await;
        assert!(projector.failed().is_none(), "{:?}", projector.failed());
        let ended = tokio::task::spawn_blocking(move || {
            decider.stop();
            projector.stop();
        });
        ended.await.unwrap();
    }
}
