//! Which router a request gets: the one that says "not yet" while the log is being opened, then the whole one.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::future::RouteFuture;
use axum::routing::get;
use futures::future::Either;
use tokio::sync::watch;
use tower::{Service, ServiceExt as _};

use super::App;
use super::listeners::Surface;
use crate::exchange::ExchangeService;
use crate::ingress;
use crate::problem::{Problem, ReasonCode};

/// The routes with the layer that every exchange has.
pub(super) type Routes = ExchangeService<Shortcut>;

/// A router, and the shortest way to the route that most requests are for: matching a path and boxing a route cost
/// that one as much as reading its body does.
#[derive(Clone)]
pub(super) struct Shortcut {
    router: Router,
    ingress: Option<App>,
}

impl Shortcut {
    pub(super) fn none(router: Router) -> Self {
        Self { router, ingress: None }
    }

    pub(super) fn to_ingress(router: Router, app: App) -> Self {
        Self { router, ingress: Some(app) }
    }

    /// The same with something around the router, which the shortcut passes by.
    pub(super) fn map(self, around: impl FnOnce(Router) -> Router) -> Self {
        Self { router: around(self.router), ..self }
    }
}

impl Service<Request> for Shortcut {
    type Response = Response;
    type Error = Infallible;
    type Future =
        Either<Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>, RouteFuture<Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match &self.ingress {
            Some(app) if request.method() == Method::POST && request.uri().path() == ingress::PATH => {
                let app = State(app.clone());
                Either::Left(Box::pin(async { Ok(ingress::post_intent(app, request).await.into_response()) }))
            }
            Some(_) | None => Either::Right(self.router.call(request)),
        }
    }
}

/// The routes of a listener, now and once the server is ready.
pub(super) struct Front {
    starting: Routes,
    whole: Arc<OnceLock<Routes>>,
    ready: watch::Sender<bool>,
}

impl Front {
    /// `dress` puts the outermost layers around a router.
    pub(super) fn new(surface: Surface, dress: impl Fn(Router) -> Routes) -> Arc<Self> {
        let whole = Arc::new(OnceLock::new());
        let (ready, waiting) = watch::channel(false);
        let starting = match surface {
            Surface::Public => Router::new()
                .route("/healthz", get(|| async { "live\n" }))
                .route("/tail", get(wait(Arc::clone(&whole), waiting))),
            Surface::Task | Surface::Internal => Router::new(),
        };
        let starting = starting.fallback(|| async { Problem::new(ReasonCode::Recovering) });
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
