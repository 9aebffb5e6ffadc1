//! What becomes of the events that handlers give, besides their records: nothing, a line in the server's log, or a POST.
//!
//! A follower of the log looks up what the handler of an EXECUTION `event` is registered with, as it finds it, and keeps
//! what is to be posted in the derived store until somebody has it: at least once, in order for each execution. Where the
//! store is lost everything is looked at again, and told again. Never appends a record: that an event happened is in the log,
//! that somebody was told is not.

mod follow;
mod lane;
mod metrics;
mod waiting;
mod window;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gesta_replay::event::Publish as How;
use gesta_replay::projections::handlers::Handler;
use tokio::sync::{Notify, Semaphore, watch};

use crate::config;
use crate::executor::Works;
use crate::ingress::Ingress;
use crate::limits;
use crate::outbound::Outbound;
use crate::outbound::retry::Pace;
use crate::projector::{Origin, Projector};
use crate::store::Store;
use metrics::Metrics;
use waiting::{Lane, Waiting};

/// Tells of events.
pub struct Publish {
    store: Arc<Store>,
    works: Works,
    /// Folds what is decided: [`crate::projector::Scope::Decisions`].
    projector: Arc<Projector>,
    outbound: Arc<Outbound>,
    waiting: Waiting,
    /// Whose events are being posted, each with what wakes whoever does.
    lanes: Mutex<HashMap<Lane, Arc<Notify>>>,
    permits: Semaphore,
    pace: Pace,
    metrics: Metrics,
    stop: watch::Sender<bool>,
    /// Held by each task while it is at work.
    working: Semaphore,
}

/// Most tasks that are waited for at the end.
const WORKING_MAX: u32 = 1 << 16;

impl Publish {
    /// Takes up what is to be posted, in the derived store.
    ///
    /// # Errors
    /// Where sled or the disk below it fails.
    pub fn open(
        ingress: &Ingress,
        projector: &Arc<Projector>,
        outbound: &Arc<Outbound>,
        settings: &config::Push,
        state: &sled::Db,
    ) -> Result<Arc<Self>, sled::Error> {
        let store = Arc::clone(&ingress.store);
        Ok(Arc::new(Self {
            works: Works::new(Arc::clone(&store), Arc::clone(&ingress.blobs)),
            waiting: Waiting::open(state, &Origin(store.origin.clone()), store.reader.head())?,
            store,
            projector: Arc::clone(projector),
            outbound: Arc::clone(outbound),
            lanes: Mutex::default(),
            permits: Semaphore::new(limits::PUBLISH_CALLS_MAX),
            pace: Pace::of(settings),
            metrics: Metrics::new(),
            stop: watch::Sender::new(false),
            working: Semaphore::new(WORKING_MAX as usize),
        }))
    }

    /// Takes up what waits, and follows the log from then on, until [`Publish::drain`] or the end of the projector.
    pub fn start(self: &Arc<Self>) {
        tokio::spawn(Arc::clone(self).follow());
    }

    /// Starts nothing more.
    pub fn drain(&self) {
        self.stop.send_replace(true);
    }

    /// Starts nothing more, and waits at most `patience` for what is on its way. The next start posts the rest.
    pub async fn stop(&self, patience: Duration) {
        self.drain();
        if tokio::time::timeout(patience, self.working.acquire_many(WORKING_MAX)).await.is_err() {
            tracing::info!("events are still being posted: the next start posts them again");
        }
    }

    /// Brings the gauges up to date.
    pub fn measure(&self) {
        self.metrics.waiting(self.waiting.len());
    }

    /// Wakes whoever posts a lane's events, and makes it so that there is one.
    fn wake(self: &Arc<Self>, lane: &Lane) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wake) = lanes.get(lane) {
            return wake.notify_one();
        }
        let wake = Arc::new(Notify::new());
        lanes.insert(lane.clone(), Arc::clone(&wake));
        drop(lanes);
        let posting = Posting { publish: Arc::clone(self), lane: lane.clone() };
        tokio::spawn(async move { Arc::clone(&posting.publish).deliver(posting.lane.clone(), wake).await });
    }

    fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits, but not longer than until the server ends.
    async fn pause(&self, pause: Duration) {
        let mut stopped = self.stop.subscribe();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }
}

/// Somebody who posts a lane's events. Whatever ends it, the next event of the lane finds another.
struct Posting {
    publish: Arc<Publish>,
    lane: Lane,
}

impl Drop for Posting {
    fn drop(&mut self) {
        self.publish.lanes.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.lane);
    }
}

/// What becomes of a handler's events, and where they are posted if they are.
fn how(handler: &Handler) -> (How, Option<String>) {
    // Most say nothing, and a registration may be long.
    if memchr::memmem::find(handler.registration.as_bytes(), b"\"publish\":").is_none() {
        return (How::None, None);
    }
    match handler.registration() {
        Ok(registration) => {
            (registration.publish.unwrap_or(How::None), registration.url.map(|url| url.into_owned()))
        }
        Err(error) => {
            tracing::error!(%error, "a registration cannot be read: events of its handler are not published");
            (How::None, None)
        }
    }
}
