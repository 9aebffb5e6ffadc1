//! `gesta serve`.

use std::io::Write as _;
use std::sync::Arc;

use gesta_log_format::log::OpenError;
use tracing::info;

use super::{Exit, Failure, args, logging};
use crate::activation::StartError;
use crate::auth::{Auth, TicketBounds};
use crate::executor::boot::BootError;
use crate::problem::ReasonCode;
use crate::runtime::Solution;
use crate::server::{Ended, Endpoint, ServeError, Surface, serve};
use crate::store::StoreError;

/// Threads that may wait for the disk on behalf of requests.
const BLOCKING_THREADS_MAX: usize = 32;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// The exit codes of the table in the README.
pub fn run(arguments: args::Serve, solutions: Vec<Box<dyn Solution>>) -> Result<(), Failure> {
    let config = arguments.settings.load()?.config;
    logging::start(config.server.log_format);
    let auth = Auth::new(&config.tokens, config.server.listen, TicketBounds::from(&config.auth))?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX);
    if config.server.worker_threads > 0 {
        runtime.worker_threads(config.server.worker_threads);
    }
    let runtime = runtime.build().map_err(|error| Failure::new(Exit::Failed, error))?;
    let ended = runtime.block_on(async {
        let told = signalled()?;
        let ready = |endpoints: &[Endpoint]| {
            // For whoever started the server with port 0; a closed standard output is no reason to end.
            let mut out = std::io::stdout();
            for endpoint in endpoints {
                let _ = match endpoint.surface {
                    Surface::Public => writeln!(out, "{endpoint}"),
                    other @ (Surface::Task | Surface::Internal) => {
                        writeln!(out, "{} {endpoint}", other.name())
                    }
                };
            }
        };
        serve(config, Arc::new(auth), solutions, ready, told).await.map_err(Failure::from)
    });
    // What still blocks on the disk for a request that is gone is not waited for.
    runtime.shutdown_background();
    match ended? {
        Ended::Told => Ok(()),
        Ended::Dead(dead) => Err(Failure::new(Exit::DiskFailed, dead).hint(
            "records that were not acknowledged may or may not be durable; check the disk, then start again: \
             recovery keeps what was acknowledged, and clients may repeat requests with the same correlation id",
        )),
        Ended::Panicked(thread) => {
            Err(Failure::new(Exit::Failed, format!("{thread} has panicked, which is a bug in gesta"))
                .hint("start again: what was acknowledged is durable"))
        }
    }
}

/// Resolves at SIGTERM or SIGINT.
fn signalled() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error| Failure::new(Exit::Failed, error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal = name, "ending: no new requests, pending ones are answered");
    })
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let (exit, hint) = match &error {
            ServeError::Store(StoreError::Log { cause, .. }) => of_open(cause),
            ServeError::Store(StoreError::Read(_) | StoreError::Envelope { .. }) | ServeError::Lookup(_) => {
                (Exit::Damaged, Some(DAMAGED_HINT))
            }
            ServeError::Store(StoreError::Keys(_)) | ServeError::Snapshots(_) | ServeError::Rows(_) => (
                Exit::Failed,
                Some(
                    "state.sled is derived: with the server stopped it may be deleted, and is made again from the log",
                ),
            ),
            ServeError::Wanted(_) => (
                Exit::Usage,
                Some(
                    "nothing was opened; `gesta policy check DIR` and `gesta context check FILE` say what is wrong",
                ),
            ),
            ServeError::Activation(StartError { problem, .. })
            | ServeError::Handlers(BootError { problem, .. }) => of_activation(problem.code()),
            ServeError::Keys(_) => (
                Exit::Failed,
                Some(
                    "nothing was served; put the file right. Of the server's own, in keys/, a missing one is made, which ends the \
                     leases and tokens that were live",
                ),
            ),
            ServeError::Push(_) => (
                Exit::Usage,
                Some(
                    "set push.ca_file to a PEM file of the authorities that the hosts' certificates are signed by",
                ),
            ),
            ServeError::Listeners(error) => (Exit::Usage, Some(error.hint())),
            ServeError::Listen { .. } => {
                (Exit::Failed, Some("choose another address for this listener; port 0 takes a free one"))
            }
            ServeError::Blobs(_) | ServeError::Thread(_) | ServeError::Metrics(_) | ServeError::Panicked => {
                (Exit::Failed, None)
            }
        };
        let failure = Self::new(exit, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

const DAMAGED_HINT: &str = "nothing was changed; `gesta dump` reads up to the damage, `gesta salvage DIR --to FILE` keeps what is sound, \
                            or restore a copy";

/// A start that cannot activate what it has to.
fn of_activation(code: ReasonCode) -> (Exit, Option<&'static str>) {
    if code == ReasonCode::PolicyVersionReused {
        let hint = "raise policy_version in the bundle.json of decider.policy: decisions are known by it";
        (Exit::Usage, Some(hint))
    } else if code == ReasonCode::OutcomeUnknown {
        (Exit::DiskFailed, Some("check the disk, then start again"))
    } else {
        (Exit::Failed, None)
    }
}

fn of_open(error: &OpenError) -> (Exit, Option<&'static str>) {
    match error {
        OpenError::Locked => (
            Exit::Locked,
            Some("another gesta serves this directory: stop it, or choose another with --data"),
        ),
        OpenError::Damaged(_) => (Exit::Damaged, Some(DAMAGED_HINT)),
        OpenError::Frontier => (
            Exit::Damaged,
            Some(
                "nothing was changed; with `gesta inspect DIR` sound, the file `frontier` may be deleted: it is written again",
            ),
        ),
        OpenError::Origin { .. } => (Exit::Usage, Some("leave --origin out, or name the log's own")),
        OpenError::SegmentBytes { .. } => {
            (Exit::Usage, Some("set log.segment_bytes within these bounds, or log.batch_bytes_max lower"))
        }
        OpenError::Io { .. } => (Exit::DiskFailed, None),
    }
}
