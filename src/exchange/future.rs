//! The response of an exchange, while it is awaited.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use pin_project_lite::pin_project;

use super::finish;
use crate::problem::{Problem, ReasonCode};

pin_project! {
    /// The future of [`super::ExchangeService`].
    #[derive(Debug)]
    pub struct ExchangeFuture<F> {
        #[pin]
        state: State<F>,
        // Taken when the response is ready.
        correlation_id: Option<HeaderValue>,
    }
}

pin_project! {
    #[project = StateProjection]
    #[derive(Debug)]
    enum State<F> {
        Refused { problem: Option<Problem> },
        Routed { #[pin] inner: F },
    }
}

impl<F> ExchangeFuture<F> {
    pub(super) fn refused(problem: Problem, correlation_id: HeaderValue) -> Self {
        Self { state: State::Refused { problem: Some(problem) }, correlation_id: Some(correlation_id) }
    }

    pub(super) fn routed(inner: F, correlation_id: HeaderValue) -> Self {
        Self { state: State::Routed { inner }, correlation_id: Some(correlation_id) }
    }
}

impl<F, E> Future for ExchangeFuture<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        const ONCE: &str = "a future is not polled after it is ready";
        let this = self.project();
        let response = match this.state.project() {
            StateProjection::Refused { problem } => problem.take().expect(ONCE).into_response(),
            // A panic leaves the handler's future as it is, and that future is never polled again; what it shares with
            // others are locks that poison and the log, whose writer is a thread of its own and ends the process.
            StateProjection::Routed { inner } => match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(Ok(response))) => response,
                Ok(Poll::Ready(Err(error))) => return Poll::Ready(Err(error)),
                Err(panic) => after_panic(&*panic, this.correlation_id.as_ref()),
            },
        };
        Poll::Ready(Ok(finish(response, this.correlation_id.take().expect(ONCE))))
    }
}

/// The client learns that there was a defect; the log alone learns which.
fn after_panic(panic: &(dyn Any + Send), correlation_id: Option<&HeaderValue>) -> Response {
    let message = panic.downcast_ref::<&str>().copied();
    let message =
        message.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    tracing::error!(message, ?correlation_id, "a handler panicked");
    Problem::new(ReasonCode::Internal).into_response()
}
