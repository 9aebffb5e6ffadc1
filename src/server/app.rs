//! What the routes share.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::extract::FromRef;
use gesta_log_format::Digest;
use gesta_log_format::Index;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical;
use gesta_log_format::log::Reader;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::auth::{Auth, Principal};
use crate::blobs::{self, References};
use crate::capability::Capabilities;
use crate::config::Config;
use crate::datasets::Datasets;
use crate::executor::Executor;
use crate::ingress::Ingress;
use crate::keys::Fingerprint;
use crate::metrics::LogMetrics;
use crate::objects::Objects;
use crate::outbound::Outbound;
use crate::problem::{Problem, ReasonCode};
use crate::projector::Projector;
use crate::proofs::Proofs;
use crate::publish::Publish;
use crate::push::Push;
use crate::store::{Store, unreadable};
use crate::tail::TailShared;
use crate::tasks::Tasks;

/// The parts of a server whose log is open. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What an [`App`] holds.
pub struct Parts {
    pub config: Config,
    pub auth: Arc<Auth>,
    pub store: Arc<Store>,
    pub blobs: Arc<blobs::Store>,
    pub ingress: Arc<Ingress>,
    pub tail: Arc<TailShared>,
    pub projector: Arc<Projector>,
    pub executor: Arc<Executor>,
    pub proofs: Arc<Proofs>,
    pub capabilities: Arc<Capabilities>,
    pub tasks: Arc<Tasks>,
    pub objects: Arc<Objects>,
    pub datasets: Arc<Datasets>,
    pub outbound: Arc<Outbound>,
    pub push: Arc<Push>,
    pub publish: Arc<Publish>,
    pub metrics: LogMetrics,
    pub prometheus: PrometheusHandle,
    /// The head when the log was opened: ready is who has folded up to it.
    pub head_at_start: Index,
    pub started: Instant,
    pub draining: AtomicBool,
}

impl App {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// # Errors
    /// `DRAINING` once the server has been told to end.
    pub fn demand_running(&self) -> Result<(), Problem> {
        if self.draining.load(Ordering::Acquire) { Err(Problem::new(ReasonCode::Draining)) } else { Ok(()) }
    }

    /// # Errors
    /// `DECIDER_LAGGING` where more intents await their decision than may.
    pub fn demand_decided(&self) -> Result<(), Problem> {
        let most = self.config.decider.lag_intents_max;
        if self.config.decider.enabled && self.projector.undecided() >= most {
            return Err(Problem::new(ReasonCode::DeciderLagging));
        }
        Ok(())
    }

    /// Ends the responses that have no end of their own.
    pub(super) fn drain(&self) {
        self.tail.drain();
        self.push.drain();
        self.publish.drain();
        self.tasks.drain();
    }

    /// The longest time for a request's body to arrive.
    pub fn body_patience(&self) -> Duration {
        Duration::from_secs(self.config.limits.body_read_seconds_max)
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl FromRef<App> for Arc<Auth> {
    fn from_ref(app: &App) -> Self {
        Self::clone(&app.auth)
    }
}

impl FromRef<App> for Arc<Capabilities> {
    fn from_ref(app: &App) -> Self {
        Self::clone(&app.capabilities)
    }
}

impl FromRef<App> for Arc<blobs::Store> {
    fn from_ref(app: &App) -> Self {
        Self::clone(&app.blobs)
    }
}

impl FromRef<App> for Reader<RealDisk> {
    fn from_ref(app: &App) -> Self {
        app.store.reader.clone()
    }
}

impl FromRef<App> for Arc<dyn References> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.store) as Self
    }
}

/// Records that are looked at in search of one that makes a blob readable.
const REFERENCES_MAX: usize = 1000;

impl References for Store {
    fn readable(&self, digest: &Digest, principal: &Principal) -> Result<bool, Problem> {
        let key = Fingerprint::digest(digest);
        let mut readable = false;
        self.find(&key, Index::ZERO, REFERENCES_MAX, |data| {
            let stream = View::parse(data).and_then(|view| canonical::unescape(view.stream_id));
            readable = readable
                || (stream.is_some_and(|stream| principal.may_read_stream(&stream))
                    && blobs::references(data).any(|found| found == *digest));
            false
        })
        .map_err(|error| unreadable(&error))?;
        Ok(readable)
    }
}
