//! Tasks: what `worker` and `push` handlers are given, under leases, until it is done.
//!
//! A follower of the log makes a task of each allowed execution that such a handler is for, and ends the execution when
//! the task has ended; workers claim, keep alive and complete over HTTP; one set of deadlines notices whom nobody hears
//! of. All of them only propose: each TASK record is appended by swap behind the record that the projections show as the
//! task's last, so that at most one attempt is live, an attempt that was replaced changes nothing, and a task ends once.
//! What is kept here besides the log (who waits, what is due) is derived, and made again at a start.

mod author;
mod brief;
mod buffer;
mod claim;
mod clock;
mod complete;
mod control;
mod datasets;
mod fence;
mod follow;
mod grants;
mod heartbeat;
mod items;
mod metrics;
mod next;
mod operate;
mod outcome;
mod push;
mod queued;
mod request;
mod retry;
mod returned;
mod routes;
mod schema;
mod settle;
mod sse;
mod state;
#[cfg(test)]
mod tests;
mod timers;
mod waiting;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gesta_log_format::Index;
use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical;
use gesta_replay::event::TaskId;
use tokio::sync::{Notify, Semaphore, watch};

pub use clock::{Clock, Now, SystemClock};

pub(crate) use buffer::{BufferPublish, Publication, Recorded, read_publication};
pub use push::BundleUrl;
pub(crate) use push::{PushError, Unheard};
pub(crate) use request::fence as read_fence;
pub(crate) use routes::{TaskFence, internal_router, public_router, task_router};

use crate::append::Appender;
use crate::auth::Principal;
use crate::blobs;
use crate::capability::Capabilities;
use crate::executor::{Executor, WorksError};
use crate::limits;
use crate::problem::{Problem, ReasonCode};
use crate::projector::Projector;
use crate::sequencer::{Places, Queue};
use crate::state::Surface;
use crate::store::Store;
use author::Author;
use control::Control;
use fence::Fence;
use metrics::Metrics;
use outcome::Asked;
use push::Heard;
use timers::Timers;
use waiting::{Depth, PoolName, Waiting};

/// How much is done at once, and how long things take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Delay before the second attempt, before it is doubled and spread.
    pub retry_base: Duration,
    /// Most claims that wait for a task at once.
    pub waiters_max: usize,
    /// Delay before an append is tried again that there was no room for.
    pub pause: Duration,
    /// Delay before a task is looked at again of which something could not be recorded.
    pub long_pause: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            retry_base: Duration::from_millis(limits::TASK_RETRY_MS),
            waiters_max: limits::TASK_CLAIMS_WAITING_MAX,
            pause: Duration::from_millis(limits::EXECUTION_RETRY_MS),
            long_pause: Duration::from_millis(limits::TASK_LOOK_AGAIN_MS),
        }
    }
}

/// The parts of a server that tasks work with.
pub struct Parts {
    pub store: Arc<Store>,
    pub blobs: Arc<blobs::Store>,
    pub queue: Arc<Queue>,
    /// Folds what is decided: [`crate::projector::Scope::Decisions`].
    pub projector: Arc<Projector>,
    /// Writes EXECUTION records, and knows who runs what.
    pub executor: Arc<Executor>,
    pub capabilities: Arc<Capabilities>,
    /// What leases and retries are timed by.
    pub clock: Box<dyn Clock>,
    pub bounds: Bounds,
}

/// The tasks of a server.
pub struct Tasks {
    store: Arc<Store>,
    blobs: Arc<blobs::Store>,
    projector: Arc<Projector>,
    executor: Arc<Executor>,
    capabilities: Arc<Capabilities>,
    author: Author,
    surface: Surface,
    bounds: Bounds,
    metrics: Metrics,
    clock: Box<dyn Clock>,
    waiting: Arc<Waiting>,
    timers: Mutex<Timers>,
    /// The set of deadlines has another first one.
    timers_moved: Notify,
    control: Control,
    /// Of the attempts that this server posts.
    heard: Heard,
    /// For what nobody asked for, so that a queue full of requests holds up no task.
    own_places: Arc<Places>,
    permits: Semaphore,
    /// The tasks that are being looked at, and whether they have to be once more.
    busy: Mutex<HashMap<TaskId, bool>>,
    /// Tasks whose execution has ended: the projection shows them no more.
    ended: Mutex<Vec<TaskId>>,
    /// Somebody asks to look at every allowed execution again.
    again: Notify,
    /// The pools that were shown with something in them.
    shown: Mutex<BTreeSet<PoolName>>,
    head_at_start: Index,
    stop: watch::Sender<bool>,
}

impl Tasks {
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { store, blobs, queue, projector, executor, capabilities, clock, bounds } = parts;
        let (metrics, head_at_start) = (Metrics::new(), store.reader.head());
        let appender = Appender::new(Arc::clone(&store), Arc::clone(&blobs), queue);
        let surface = Surface::new(Arc::clone(&store), Arc::clone(&blobs), appender.clone());
        // A place is given back shortly after its outcome is told: twice as many never run out.
        let own_places = Places::new(limits::TASKS_AT_ONCE_MAX * 2);
        let places = Places::new(limits::TASK_RECORDS_MAX);
        Arc::new(Self {
            author: Author::new(appender, places, metrics.clone()),
            surface,
            store,
            blobs,
            projector,
            executor,
            capabilities,
            waiting: Waiting::new(bounds.waiters_max),
            bounds,
            metrics,
            clock,
            timers: Mutex::new(Timers::new(head_at_start)),
            timers_moved: Notify::new(),
            control: Control::new(),
            heard: Heard::default(),
            own_places,
            permits: Semaphore::new(limits::TASKS_AT_ONCE_MAX),
            busy: Mutex::default(),
            ended: Mutex::default(),
            again: Notify::new(),
            shown: Mutex::default(),
            head_at_start,
            stop: watch::Sender::new(false),
        })
    }

    /// Takes up what is open, and follows the log from then on, until [`Tasks::stop`] or the end of the projector.
    pub fn start(self: &Arc<Self>) {
        tokio::spawn(Arc::clone(self).follow());
        tokio::spawn(Arc::clone(self).keep_time());
    }

    /// Looks at every allowed execution again, as a start does: a handler was registered or removed.
    pub fn look_again(&self) {
        self.again.notify_one();
    }

    /// Answers the claims that wait, and tells workers that the server ends.
    pub fn drain(&self) {
        self.control.drain();
    }

    /// Starts nothing more, and waits at most `patience` for what is on its way. The next start takes up the rest.
    pub async fn stop(&self, patience: Duration) {
        self.stop.send_replace(true);
        self.control.drain();
        let all = u32::try_from(limits::TASKS_AT_ONCE_MAX).unwrap_or(u32::MAX);
        let ended = tokio::time::timeout(patience, self.permits.acquire_many(all)).await;
        if ended.is_err() {
            tracing::info!("records of tasks are still on their way: the next start looks again");
        }
    }

    /// Brings the gauges up to date.
    pub fn measure(&self) {
        let (open, leases) = self.projector.look(|state| (state.tasks.count(), state.leases.count()));
        self.metrics.open.set(open as f64);
        self.metrics.leases.set(leases as f64);
        self.metrics.deadlines.set(self.timers().len() as f64);
        let depths = self.waiting.depths(self.clock.now().wall);
        let now: BTreeSet<PoolName> = depths.iter().map(|depth| depth.pool.clone()).collect();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in shown.difference(&now) {
            Metrics::waiting(&Depth::nothing(gone.clone()));
        }
        depths.iter().for_each(Metrics::waiting);
        *shown = now;
    }

    fn timers(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn busy(&self) -> MutexGuard<'_, HashMap<TaskId, bool>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the execution of a task has ended.
    fn ended(&self, task_id: TaskId) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(task_id);
    }

    /// Waits until all records below `end` are applied. `None` where that will not be: the server ends, or the projector
    /// has failed.
    async fn applied_below(&self, end: Index) -> Option<()> {
        let (mut applied, mut stopped) = (self.projector.watch(), self.stop.subscribe());
        tokio::select! {
            applied = applied.wait_for(|applied| *applied >= end) => applied.ok().map(drop),
            _ = stopped.wait_for(|stopped| *stopped) => None,
        }
    }

    /// Who asked that something stop, by the record of that.
    async fn asked_to_stop(&self, index: Option<Index>) -> Asked {
        let Some(index) = index else { return Asked::unknown() };
        match self.executor.works().record(index).await {
            Ok(record) => Asked::read(record.data()).unwrap_or_else(Asked::unknown),
            Err(error) => {
                tracing::error!(%error, "who asked that a task stop cannot be read");
                Asked::unknown()
            }
        }
    }

    /// On whose behalf an INTENT is.
    async fn intent_actor(&self, index: Index) -> Result<String, WorksError> {
        let record = self.executor.works().record(index).await?;
        let actor = View::parse(record.data()).and_then(|view| canonical::unescape(view.actor));
        Ok(actor.map_or_else(|| author::SERVER.to_owned(), |actor| actor.into_owned()))
    }

    /// Demands that the blobs are here that a worker's content refers to, and that the task has put them or records of its
    /// own stream name them: the code of a task shows nobody's content but its own.
    ///
    /// # Errors
    /// `BLOB_NOT_FOUND`, 400, with the pointer.
    async fn demand_blobs(
        &self,
        stream_id: &str,
        fence: &Fence,
        content: &[u8],
        at: &str,
    ) -> Result<(), Problem> {
        if memchr::memmem::find(content, b"\"$blob\"").is_none() {
            return Ok(());
        }
        let task = Principal::of_task(stream_id, &fence.task_id.to_string());
        let (blobs, store, content) = (Arc::clone(&self.blobs), Arc::clone(&self.store), content.to_vec());
        let checked = tokio::task::spawn_blocking(move || blobs.check_references(&content, &task, &*store));
        match checked.await {
            Ok(checked) => checked.map_err(|error| error.problem(at)),
            Err(_panicked) => Err(Problem::new(ReasonCode::Internal)),
        }
    }
}
