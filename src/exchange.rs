//! One HTTP exchange, from head to head: what is true of every request and response whatever the route.
//!
//! The outermost layer of the router. It names the exchange (`X-Correlation-Id`, taken over or generated, echoed on
//! every response), keeps `traceparent`, refuses oversized headers and foreign Host names, turns a handler's panic into
//! a 500 and a framework's bare error into a problem. It never reads a body. On the usual path it allocates for the
//! generated id and the request's extension, and nothing else.

mod future;
mod id;

use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use tower::{Layer, Service};
use ulid::Ulid;

use crate::auth::{self, Auth};
use crate::problem::{Problem, ReasonCode};

pub use future::ExchangeFuture;

/// The name of the exchange in requests and responses.
pub const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What names one exchange. Every request has it as an extension.
#[derive(Debug, Clone)]
pub struct Exchange {
    correlation_id: HeaderValue,
    /// The same, where the client sent none.
    generated: Option<Ulid>,
    traceparent: Option<HeaderValue>,
}

impl Exchange {
    /// 1 to 128 visible ASCII characters. It may repeat, and plays no part in idempotency.
    pub fn correlation_id(&self) -> &str {
        self.correlation_id.to_str().unwrap_or_default()
    }

    /// The name as a ULID, if this server gave it: an intent's execution takes it over as its own id.
    pub fn generated_id(&self) -> Option<Ulid> {
        self.generated
    }

    /// The W3C trace context, if the client sent one of the right form.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_ref()?.to_str().ok()
    }

    /// One of no request, with a generated name.
    pub(crate) fn generated() -> Self {
        Self::of(&HeaderMap::new())
    }

    fn of(headers: &HeaderMap) -> Self {
        let traceparent =
            headers.get(TRACEPARENT).filter(|value| id::is_traceparent(value.as_bytes())).cloned();
        let (correlation_id, generated) = id::taken_over_or_new(headers.get(X_CORRELATION_ID));
        Self { correlation_id, generated, traceparent }
    }
}

/// Puts [`ExchangeService`] around a router.
#[derive(Debug, Clone, Copy)]
pub struct ExchangeLayer {
    header_bytes_max: usize,
    loopback_host: bool,
}

impl ExchangeLayer {
    pub fn new(auth: &Arc<Auth>, header_bytes_max: usize) -> Self {
        Self { header_bytes_max, loopback_host: auth.demands_loopback_host() }
    }

    /// The same for a listener that asks for a token whatever name it is called by.
    #[must_use]
    pub fn of_any_host(self) -> Self {
        Self { loopback_host: false, ..self }
    }

    /// Why a request is answered without its route, if it is.
    fn refusal(self, request: &Request) -> Option<Problem> {
        let headers = request.headers();
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if bytes > self.header_bytes_max {
            return Some(Problem::new(ReasonCode::HeadersTooLarge));
        }
        if self.loopback_host && !auth::names_loopback(headers, request.uri()) {
            return Some(Problem::new(ReasonCode::NotLoopbackHost));
        }
        None
    }
}

impl<S> Layer<S> for ExchangeLayer {
    type Service = ExchangeService<S>;

    fn layer(&self, inner: S) -> ExchangeService<S> {
        ExchangeService { inner, layer: *self }
    }
}

/// A router in its exchanges.
#[derive(Debug, Clone)]
pub struct ExchangeService<S> {
    inner: S,
    layer: ExchangeLayer,
}

impl<S> Service<Request> for ExchangeService<S>
where
    S: Service<Request, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = ExchangeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let exchange = Exchange::of(request.headers());
        let correlation_id = exchange.correlation_id.clone();
        if let Some(problem) = self.layer.refusal(&request) {
            return ExchangeFuture::refused(problem, correlation_id);
        }
        request.extensions_mut().insert(exchange);
        ExchangeFuture::routed(self.inner.call(request), correlation_id)
    }
}

/// Gives a response its correlation id, and an error the one body that all errors have.
fn finish(mut response: Response, correlation_id: HeaderValue) -> Response {
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        response = finish_error(response, &correlation_id);
    }
    response.headers_mut().insert(X_CORRELATION_ID, correlation_id);
    response
}

fn finish_error(mut response: Response, correlation_id: &HeaderValue) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let mut finished = problem.or_correlation_id(correlation_id).into_response();
        keep(response.headers(), finished.headers_mut());
        return finished;
    }
    if is_problem(&response) {
        return response;
    }
    let mut problem = Problem::of_status(response.status());
    if let Some(allowed) = response.headers().get("allow").and_then(|value| value.to_str().ok()) {
        problem = problem.detail(format!("This route is for {allowed}."));
    }
    let mut finished = problem.or_correlation_id(correlation_id).into_response();
    keep(response.headers(), finished.headers_mut());
    finished
}

/// Keeps the headers that layers inside have set, such as `Allow`, and drops those that describe the former body.
fn keep(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        if !to.contains_key(name) && name != "content-length" && name != "content-type" {
            to.append(name, value.clone());
        }
    }
}

fn is_problem(response: &Response) -> bool {
    response.headers().get("content-type").is_some_and(|value| value == "application/problem+json")
}

#[cfg(test)]
mod tests;
