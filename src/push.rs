//! Handlers of kind `push`: their tasks are claimed here and posted to a URL, whose runner reports like a worker.
//!
//! Lease first: a task is claimed before anything is sent, so that a runner which was reached can report, and one which
//! was not costs an attempt and no more. What goes out is bounded on every side: to which hosts, at which addresses, how
//! many at once and how long, how often again. Never decides whether an attempt is live: the log does, and what a restart
//! finds claimed and unheard of is posted again, the same attempt with the same token. So a runner may get an attempt
//! twice.

mod dispatch;
mod job;
mod metrics;
mod schedule;
mod verdict;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gesta_log_format::Index;
use tokio::sync::{Notify, Semaphore, watch};

use crate::config;
use crate::limits;
use crate::outbound::Outbound;
use crate::outbound::retry::Pace;
use crate::projector::Projector;
use crate::tasks::{BundleUrl, Tasks};
use metrics::Metrics;
use schedule::{Schedule, Share};

/// The parts of a server that posting works with.
pub struct Parts<'a> {
    pub tasks: Arc<Tasks>,
    /// Folds what is decided: [`crate::projector::Scope::Decisions`].
    pub projector: Arc<Projector>,
    pub settings: &'a config::Push,
    pub outbound: Arc<Outbound>,
    /// The first index that was not in the log when it was opened.
    pub head_at_start: Index,
    pub bundle_url: BundleUrl,
}

/// Posts tasks.
pub struct Push {
    tasks: Arc<Tasks>,
    projector: Arc<Projector>,
    outbound: Arc<Outbound>,
    bundle_url: BundleUrl,
    schedule: Mutex<Schedule>,
    /// Something of the schedule has changed.
    moved: Notify,
    permits: Arc<Semaphore>,
    calls_max: usize,
    pace: Pace,
    metrics: Metrics,
    head_at_start: Index,
    stop: watch::Sender<bool>,
}

impl Push {
    #[must_use]
    pub fn new(parts: Parts<'_>) -> Arc<Self> {
        let Parts { tasks, projector, settings, outbound, head_at_start, bundle_url } = parts;
        let share =
            Share { busy_max: settings.calls_max.div_ceil(2), unaccepted_max: limits::PUSH_UNACCEPTED_MAX };
        Arc::new(Self {
            tasks,
            projector,
            outbound,
            bundle_url,
            schedule: Mutex::new(Schedule::new(share)),
            moved: Notify::new(),
            permits: Arc::new(Semaphore::new(settings.calls_max)),
            calls_max: settings.calls_max,
            pace: Pace::of(settings),
            metrics: Metrics::new(),
            head_at_start,
            stop: watch::Sender::new(false),
        })
    }

    /// Posts what waits, and what comes to wait, until [`Push::drain`] or the end of the projector.
    pub fn start(self: &Arc<Self>) {
        tokio::spawn(Arc::clone(self).dispatch());
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
        let (waiting, unaccepted) = self.schedule().counts();
        let open = self.outbound.circuits().open();
        self.metrics.waiting.set(waiting as f64);
        self.metrics.unaccepted.set(unaccepted as f64);
        self.metrics.open.set(open as f64);
    }

    /// Locked before the circuits, where both are.
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As the circuits tell time.
    fn now(&self) -> Duration {
        self.outbound.now()
    }
}
