//! Handlers of kind `push`: their tasks are claimed here and posted to a URL, whose runner reports like a worker.
//!
//! Lease first: a task is claimed before anything is sent, so that a runner which was reached can report, and one which
//! was not costs an attempt and no more. What goes out is bounded on every side: to which hosts, at which addresses, how
//! many at once and how long, how often again. Never decides whether an attempt is live: the log does, and what a restart
//! finds claimed and unheard of is posted again, the same attempt with the same token. So a runner may get an attempt
//! twice.

mod address;
mod call;
mod circuit;
mod dispatch;
mod job;
mod metrics;
mod policy;
mod retry;
mod schedule;
mod target;
mod tls;
mod verdict;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gesta_log_format::Index;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

pub use tls::AuthoritiesError;

use crate::config;
use crate::limits;
use crate::problem::{Problem, ReasonCode};
use crate::projector::Projector;
use crate::tasks::{BundleUrl, Tasks};
use call::{Caller, Patience, SystemResolver};
use circuit::{Circuits, Tolerance};
use metrics::Metrics;
use policy::Policy;
use retry::Pace;
use schedule::{Schedule, Share};
use target::Listed;

/// The parts of a server that posting works with.
pub struct Parts<'a> {
    pub tasks: Arc<Tasks>,
    /// Folds what is decided: [`crate::projector::Scope::Decisions`].
    pub projector: Arc<Projector>,
    pub settings: &'a config::Push,
    /// Whether loopback may be spoken to without TLS.
    pub insecure_loopback: bool,
    /// The first index that was not in the log when it was opened.
    pub head_at_start: Index,
    pub bundle_url: BundleUrl,
}

/// Posts tasks.
pub struct Push {
    tasks: Arc<Tasks>,
    projector: Arc<Projector>,
    caller: Caller,
    bundle_url: BundleUrl,
    line: Mutex<Line>,
    /// Something of the line has changed.
    moved: Notify,
    permits: Arc<Semaphore>,
    calls_max: usize,
    pace: Pace,
    metrics: Metrics,
    started: Instant,
    head_at_start: Index,
    stop: watch::Sender<bool>,
}

/// What waits, and for whom.
struct Line {
    schedule: Schedule,
    circuits: Circuits,
}

/// Whether a text is a host as `push.allow_hosts` takes it.
pub(crate) fn is_host(text: &str) -> bool {
    Listed::parse(text).is_some()
}

impl Push {
    /// # Errors
    /// [`AuthoritiesError`]: hosts are allowed, and there is nothing to know them by.
    pub fn new(parts: Parts<'_>) -> Result<Arc<Self>, AuthoritiesError> {
        let Parts { tasks, projector, settings, insecure_loopback, head_at_start, bundle_url } = parts;
        let tls = match settings.allow_hosts.is_empty() {
            true => None,
            false => Some(tls::client(settings.ca_file.as_deref())?),
        };
        let seconds = Duration::from_secs;
        let caller = Caller {
            policy: Policy::new(&settings.allow_hosts, &settings.allow_private, insecure_loopback),
            resolver: Box::new(SystemResolver),
            tls,
            patience: Patience {
                connect: seconds(settings.connect_seconds_max),
                total: seconds(settings.answer_seconds_max),
            },
        };
        let share =
            Share { busy_max: settings.calls_max.div_ceil(2), unaccepted_max: limits::PUSH_UNACCEPTED_MAX };
        let tolerance =
            Tolerance { failures_max: settings.failures_max, open: seconds(settings.open_seconds) };
        let line = Line { schedule: Schedule::new(share), circuits: Circuits::new(tolerance) };
        Ok(Arc::new(Self {
            tasks,
            projector,
            caller,
            bundle_url,
            line: Mutex::new(line),
            moved: Notify::new(),
            permits: Arc::new(Semaphore::new(settings.calls_max)),
            calls_max: settings.calls_max,
            pace: Pace {
                base: Duration::from_millis(settings.resend_ms),
                longest: Duration::from_millis(settings.resend_ms_max),
            },
            metrics: Metrics::new(),
            started: Instant::now(),
            head_at_start,
            stop: watch::Sender::new(false),
        }))
    }

    /// Posts what waits, and what comes to wait, until [`Push::drain`] or the end of the projector.
    pub fn start(self: &Arc<Self>) {
        tokio::spawn(Arc::clone(self).dispatch());
    }

    /// Demands that a handler's URL may be called, as far as can be said without resolving its name.
    ///
    /// # Errors
    /// `INVALID_INPUT` for `/url`, with what to do.
    pub(crate) fn demand_url(&self, url: &str) -> Result<(), Problem> {
        match self.caller.policy.target(url) {
            Ok(_) => Ok(()),
            Err(refused) => Err(Problem::new(ReasonCode::InvalidInput)
                .detail(format!("/url: {refused}."))
                .pointer("/url")),
        }
    }

    /// Starts nothing more.
    pub fn drain(&self) {
        self.stop.send_replace(true);
    }

    /// Starts nothing more, and waits at most `patience` for what is on its way. The next start posts the rest again.
    pub async fn stop(&self, patience: Duration) {
        self.drain();
        let all = u32::try_from(self.calls_max).unwrap_or(u32::MAX);
        if tokio::time::timeout(patience, self.permits.acquire_many(all)).await.is_err() {
            tracing::info!("tasks are still being posted: the next start posts them again");
        }
    }

    /// Brings the gauges up to date.
    pub fn measure(&self) {
        let (waiting, unaccepted, open) = {
            let line = self.line();
            let (waiting, unaccepted) = line.schedule.counts();
            (waiting, unaccepted, line.circuits.open())
        };
        self.metrics.waiting.set(waiting as f64);
        self.metrics.unaccepted.set(unaccepted as f64);
        self.metrics.open.set(open as f64);
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since it was made; never falls.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}
