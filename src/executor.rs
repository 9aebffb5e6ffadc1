//! The executor: what an ALLOWed intent becomes.
//!
//! A follower of the log. It finds the executions that are open in the projections, and does for each what the kind of
//! its handler asks for: a `builtin` one is invoked and its end recorded; for the others it waits, because someone else
//! records what happens. It holds no state of its own that matters: whatever it was doing when the process ended is
//! open in the log, and the next start takes it up again. Its invariant: each record is appended by swap behind the
//! record that the projections show as the execution's last, so that an execution ends once whoever else reports.

mod asked;
pub mod boot;
mod builtin;
mod bundle;
pub mod cancel;
mod course;
mod deadlines;
mod dispatch;
pub mod metrics;
pub mod record;
pub mod registration;
mod registry;
mod routes;
mod schema;
mod task_fields;
mod works;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gesta_log_format::Index;
use tokio::sync::{Semaphore, watch};

pub(crate) use builtin::Shipped;
pub(crate) use course::Left;
use deadlines::Deadlines;
use dispatch::Busy;
pub(crate) use dispatch::asks;
pub use metrics::Metrics;
pub use record::{Author, Step, StepError};
pub(crate) use registry::duty;
pub use registry::{Duty, Runnable};
pub use routes::router;
use schema::Schemas;
pub(crate) use schema::{SchemaError, Which};
pub use works::{Works, WorksError};

use crate::append::Appender;
use crate::blobs;
use crate::limits;
use crate::projector::Projector;
use crate::runtime::IntentRegistry;
use crate::sequencer::{Places, Queue};
use crate::store::Store;

/// How much the executor does at once, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most builtin handlers that run at once; the others wait in the log.
    pub running_max: usize,
    /// Time for one invocation of a builtin handler whose registration names none.
    pub invoke_default: Duration,
    /// Longest time for one invocation of a builtin handler, whatever its registration names.
    pub invoke_max: Duration,
    /// Delay before an append is tried again that the disk had no room for.
    pub retry: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            running_max: limits::EXECUTIONS_RUNNING_MAX,
            invoke_default: Duration::from_secs(limits::EXECUTION_INVOKE_SECONDS_DEFAULT),
            invoke_max: Duration::from_secs(limits::EXECUTION_INVOKE_SECONDS_MAX),
            retry: Duration::from_millis(limits::EXECUTION_RETRY_MS),
        }
    }
}

/// The parts of a server that the executor works with.
pub struct Parts {
    pub store: Arc<Store>,
    pub blobs: Arc<blobs::Store>,
    pub queue: Arc<Queue>,
    /// Folds what is decided: [`crate::projector::Scope::Decisions`].
    pub projector: Arc<Projector>,
    pub registry: IntentRegistry,
    pub bounds: Bounds,
}

/// Runs what was allowed.
pub struct Executor {
    author: Author,
    works: Arc<Works>,
    projector: Arc<Projector>,
    registry: IntentRegistry,
    schemas: Schemas,
    bounds: Bounds,
    metrics: Metrics,
    /// Its own, so that a queue full of requests holds up no execution.
    places: Arc<Places>,
    permits: Arc<Semaphore>,
    /// The first index that was not in the log when it was opened.
    head_at_start: Index,
    /// What this process is running, so that looking at everything again starts nothing twice. Taken before the
    /// projections, so that a request to cancel finds what was just begun.
    busy: Mutex<Busy>,
    /// When the executions that run elsewhere are overdue.
    deadlines: Arc<Deadlines>,
    /// Somebody asks to look at everything that is open again.
    again: watch::Sender<()>,
    stop: watch::Sender<bool>,
}

impl Executor {
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { store, blobs, queue, projector, registry, bounds } = parts;
        let (metrics, head_at_start) = (Metrics::new(), store.reader.head());
        let deadlines = Arc::new(Deadlines::default());
        let appender = Appender::new(Arc::clone(&store), Arc::clone(&blobs), queue);
        Arc::new(Self {
            author: Author::new(appender, metrics.clone(), Arc::clone(&deadlines)),
            works: Arc::new(Works::new(store, blobs)),
            projector,
            registry,
            schemas: Schemas::default(),
            metrics,
            // A place is given back shortly after its outcome is told: twice as many never run out.
            places: Places::new(bounds.running_max.saturating_mul(2)),
            permits: Arc::new(Semaphore::new(bounds.running_max)),
            head_at_start,
            bounds,
            busy: Mutex::default(),
            deadlines,
            again: watch::Sender::new(()),
            stop: watch::Sender::new(false),
        })
    }

    /// Writes EXECUTION records on behalf of whoever may.
    #[must_use]
    pub fn author(&self) -> &Author {
        &self.author
    }

    /// Who runs what.
    #[must_use]
    pub fn registry(&self) -> &IntentRegistry {
        &self.registry
    }

    /// Reads records and blobs.
    #[must_use]
    pub fn works(&self) -> &Works {
        &self.works
    }

    /// The schemas of registrations.
    pub(crate) fn schemas(&self) -> &Schemas {
        &self.schemas
    }

    /// Takes up what is open, and what is allowed from then on, as tasks of the runtime that calls this, until
    /// [`Executor::stop`] or the end of the projector.
    pub fn start(self: &Arc<Self>) {
        tokio::spawn(Arc::clone(self).dispatch());
        tokio::spawn(Arc::clone(self).follow_cancels());
        tokio::spawn(Arc::clone(self).follow_deadlines());
    }

    /// Looks at everything that is open again, as a start does: a handler was registered or removed.
    pub fn look_again(&self) {
        self.again.send_replace(());
    }

    /// Starts nothing more, and waits at most `patience` for what runs. What still runs then is left open: the next
    /// start takes it up.
    pub async fn stop(&self, patience: Duration) {
        self.stop.send_replace(true);
        let all = u32::try_from(self.bounds.running_max).unwrap_or(u32::MAX);
        if tokio::time::timeout(patience, self.permits.acquire_many(all)).await.is_err() {
            tracing::info!("handlers still run and are left: the next start takes their executions up");
        }
    }

    /// Brings the gauge up to date.
    pub fn measure(&self) {
        self.metrics.set_open(self.projector.look(|state| state.executions.all_open().len()));
    }

    fn busy(&self) -> MutexGuard<'_, Busy> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all records below `end` are applied. `None` where that will not be: the server ends, or the projector
    /// has failed.
    async fn applied_below(&self, end: Index) -> Option<()> {
        let mut applied = self.projector.watch();
        applied.wait_for(|applied| *applied >= end).await.ok().map(drop)
    }
}
