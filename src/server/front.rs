//! Which router a request gets: the one that says "not yet" while the log is being opened, then the whole one.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::exchange::ExchangeService;
use crate::problem::{Problem, ReasonCode};

/// A router with the layer that every exchange has.
pub(super) type Routes = ExchangeService<Router>;

/// The server's routes, now and once it is ready.
pub(super) struct Front {
    starting: Routes,
    whole: Arc<OnceLock<Routes>>,
    ready: watch::Sender<bool>,
}

impl Front {
    /// `dress` puts the outermost layers around a router.
    pub(super) fn new(dress: impl Fn(Router) -> Routes) -> Arc<Self> {
        let whole = Arc::new(OnceLock::new());
        let (ready, waiting) = watch::channel(false);
        let starting = Router::new()
            .route("/healthz", get(|| async { "live\n" }))
            .route("/tail", get(wait(Arc::clone(&whole), waiting)))
            .fallback(|| async { Problem::new(ReasonCode::Recovering) });
        Arc::new(Self { starting: dress(starting), whole, ready })
    }

    /// Opens the whole server.
    pub(super) fn open(&self, whole: Routes) {
        let _ = self.whole.set(whole);
        self.ready.send_replace(true);
    }

    pub(super) fn routes(&self) -> Routes {
        self.whole.get().unwrap_or(&self.starting).clone()
    }
}

/// A tail that comes too early waits: an error status would end a browser's EventSource for good.
fn wait(
    whole: Arc<OnceLock<Routes>>,
    ready: watch::Receiver<bool>,
) -> impl Fn(Request) -> std::pin::Pin<Box<dyn Future<Output = Response> + Send>> + Clone + Send + 'static {
    move |request| {
        let (whole, mut ready) = (Arc::clone(&whole), ready.clone());
        Box::pin(async move {
            let _ = ready.wait_for(|ready| *ready).await;
            match whole.get() {
                Some(router) => match router.clone().oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                },
                None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            }
        })
    }
}
