//! Buffered datasets: what tasks publish becomes rows, once each, and what is new is told once.
//!
//! A task puts a batch as an object and publishes it: TASK `buffer_published`. Two followers of the log do the rest. The
//! sink takes each batch that waits, in order for each dataset version: good as a whole it is committed, with one bad
//! row it is a dead letter; the record that says so is the commit. The follower makes of the commits what is derived
//! from them, the rows, and appends what has to follow: a dataset event behind the rows, and an INTENT for each handler
//! that subscribes to them. Each of these records is the first of a subject derived from its cause, so that however often
//! the follower looks, after a kill or with its marks lost, nothing is missing and nothing comes twice.

mod batch;
mod event;
mod follow;
mod metrics;
mod name;
mod publish;
mod record;
mod register;
mod routes;
mod rows;
mod schema;
mod sink;
mod subscribe;

use std::sync::Arc;
use std::time::Duration;

use gesta_log_format::Index;
use tokio::sync::{Semaphore, watch};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::append::Appender;
use crate::blobs;
use crate::ingress::Ingress;
use crate::limits;
use crate::objects::Objects;
use crate::projector::{Origin, Projector};
use crate::sequencer::Places;
use crate::server::App;
use crate::store::Store;
use metrics::Metrics;
use rows::Rows;

/// The datasets of a server.
pub struct Datasets {
    store: Arc<Store>,
    blobs: Arc<blobs::Store>,
    /// Folds what is decided: [`crate::projector::Scope::Decisions`].
    projector: Arc<Projector>,
    objects: Arc<Objects>,
    appender: Appender,
    /// For what nobody asked for, so that a queue full of requests holds up no batch.
    places: Arc<Places>,
    rows: Rows,
    metrics: Metrics,
    stop: watch::Sender<bool>,
    /// Held by each of the two followers while it is at work.
    working: Semaphore,
}

/// The followers: the sink, and what makes rows.
const FOLLOWERS: u32 = 2;

impl Datasets {
    /// Takes up the rows in the derived store.
    ///
    /// # Errors
    /// Where sled or the disk below it fails.
    pub fn open(
        ingress: &Ingress,
        projector: &Arc<Projector>,
        objects: &Arc<Objects>,
        state: &sled::Db,
    ) -> Result<Arc<Self>, sled::Error> {
        let store = Arc::clone(&ingress.store);
        let rows = Rows::open(state, &Origin(store.origin.clone()), store.reader.head())?;
        Ok(Arc::new(Self {
            appender: ingress.appender(),
            places: Places::new(limits::DATASET_RECORDS_MAX),
            store,
            blobs: Arc::clone(&ingress.blobs),
            projector: Arc::clone(projector),
            objects: Arc::clone(objects),
            rows,
            metrics: Metrics::new(),
            stop: watch::Sender::new(false),
            working: Semaphore::new(FOLLOWERS as usize),
        }))
    }

    /// Takes up what waits, and follows the log from then on, until [`Datasets::stop`] or the end of the projector.
    pub fn start(self: &Arc<Self>) {
        tokio::spawn(Arc::clone(self).take_batches());
        tokio::spawn(Arc::clone(self).follow());
    }

    /// Starts nothing more, and waits at most `patience` for what is on its way. The next start takes up the rest.
    pub async fn stop(&self, patience: Duration) {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(patience, self.working.acquire_many(FOLLOWERS)).await;
        if ended.is_err() {
            tracing::info!("records of datasets are still on their way: the next start looks again");
        }
    }

    /// Brings the gauges up to date.
    pub fn measure(&self) {
        let (waiting, oldest) = self.projector.look(|state| {
            let mut all = state.outbox.all();
            (all.len(), all.next().map(|batch| batch.published_at))
        });
        self.metrics.waiting(waiting, oldest);
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

    /// Waits until all records below `end` are applied. `None` where that will not be.
    async fn applied_below(&self, end: Index) -> Option<()> {
        let (mut applied, mut stopped) = (self.projector.watch(), self.stop.subscribe());
        tokio::select! {
            applied = applied.wait_for(|applied| *applied >= end) => applied.ok().map(drop),
            _ = stopped.wait_for(|stopped| *stopped) => None,
        }
    }
}

/// The routes of the task listener.
pub(crate) fn task_router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(publish::buffer_publish))
}

/// The routes of the public listener.
pub(crate) fn public_router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(register::register_dataset, routes::datasets))
        .routes(routes!(routes::rows))
        .routes(routes!(routes::dead_letters))
}
