//! Calls of handlers to other machines: the same lists, addresses and circuits as for what the server posts itself.

use std::sync::Arc;

use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use tokio::sync::Semaphore;

use crate::limits::{HTTP_ANSWER_BYTES_MAX, HTTP_CALLS_MAX};
use crate::outbound::Outbound;
use crate::outbound::call::CallError;

/// Calls hosts of `push.allow_hosts`, at addresses that may be called, by TLS. Follows no redirect.
#[derive(Clone)]
pub struct HttpClient {
    outbound: Arc<Outbound>,
    permits: Arc<Semaphore>,
}

/// What is sent.
#[derive(Clone, Debug, Default)]
pub struct HttpRequest {
    pub method: Method,
    /// `https://host[:port]/path?query`.
    pub url: String,
    /// Besides `Host`, `User-Agent` and `Connection`, which are the client's own.
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What came back: whatever its status.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// At most [`HTTP_ANSWER_BYTES_MAX`] bytes.
    pub body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The host may not be called. Nothing was sent.
    #[error("{why}")]
    Refused { why: String },
    /// The host has failed again and again, and is left alone for a while. Nothing was sent.
    #[error("{host} is left alone for a while, since it has failed again and again")]
    LeftAlone { host: String },
    /// It may have arrived.
    #[error("{why}")]
    Failed { why: String },
    /// There is an answer, which is too large.
    #[error("the answer has more than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
}

impl HttpClient {
    pub(super) fn new(outbound: Arc<Outbound>) -> Self {
        Self { outbound, permits: Arc::new(Semaphore::new(HTTP_CALLS_MAX)) }
    }

    /// Sends a request once, and waits for the whole answer. At most [`HTTP_CALLS_MAX`] are on their way at once; others
    /// wait.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let HttpRequest { method, url, headers, body } = request;
        let refused = |why: &dyn std::fmt::Display| HttpError::Refused { why: why.to_string() };
        let target = self.outbound.target(&url).map_err(|why| refused(&why))?;
        let _permit = self.permits.acquire().await.map_err(|closed| refused(&closed))?;
        let left_alone = |_until| HttpError::LeftAlone { host: target.host.to_string() };
        let begun = self.outbound.begin(&target.host).map_err(left_alone)?;
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.headers_mut()) = (method, headers);
        let outcome = self.outbound.caller.fetch(&target, request, HTTP_ANSWER_BYTES_MAX).await;
        begun.end(&outcome);
        match outcome {
            Ok(answer) => Ok(HttpResponse {
                status: answer.status,
                headers: answer.content.headers,
                body: answer.content.body,
            }),
            Err(CallError::Refused(why)) => Err(refused(&why)),
            Err(CallError::TooLarge { bytes_max }) => Err(HttpError::TooLarge { bytes_max }),
            Err(
                error @ (CallError::Resolve(_)
                | CallError::Connect(_)
                | CallError::ConnectTimeout(_)
                | CallError::Broken(_)
                | CallError::AnswerTimeout(_)),
            ) => Err(HttpError::Failed { why: error.to_string() }),
        }
    }
}
