//! Errors to HTTP: one body, `application/problem+json`, for every error outside a stream, and the catalogue of codes.
//!
//! A [`Problem`] is what a client may see; what only the log may see is logged where the error is handled and never
//! enters here.

mod body;
mod catalogue;
mod page;
mod query;
mod records;

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub use body::{demand_json, demand_json_or_nothing, read_body};
pub use catalogue::{AppearsIn, Entry, ReasonCode, Source};
pub use page::{__path_errors, errors};
pub use query::Query;
pub use records::entries;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const X_BACKOFF_MS: HeaderName = HeaderName::from_static("x-backoff-ms");

/// One refused or failed request, as its client will see it. Made from a code; the rest is optional.
#[derive(Debug, Clone)]
pub struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    code: ReasonCode,
    status: StatusCode,
    detail: Cow<'static, str>,
    pointer: Option<String>,
    correlation_id: Option<String>,
    retry_after: Option<Duration>,
    extra: Map<String, Value>,
}

/// The body of every error outside a stream (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// `/errors#` and the reason code.
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    /// Always false.
    ok: bool,
    /// A code of the catalogue at `/errors`.
    reason_code: &'a str,
    /// The intent's, where the error is about one, else that of the HTTP exchange.
    correlation_id: Option<&'a str>,
    /// JSON pointer into the request's body.
    pointer: Option<&'a str>,
    source: Source,
    retriable: bool,
    retry_after_ms: Option<u64>,
    /// Members of single codes, such as `index`.
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

impl ProblemBody<'_> {
    /// What is wrong with this very request.
    pub const fn detail(&self) -> &str {
        self.detail
    }

    /// Where in its body that is.
    pub const fn pointer(&self) -> Option<&str> {
        self.pointer
    }
}

impl From<ReasonCode> for Problem {
    fn from(code: ReasonCode) -> Self {
        let status = code.status();
        let waits = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        Self(Box::new(Parts {
            code,
            status,
            detail: Cow::Borrowed(code.entry().cause),
            pointer: None,
            correlation_id: None,
            retry_after: waits.then_some(Duration::from_secs(1)),
            extra: Map::new(),
        }))
    }
}

impl Problem {
    /// A problem whose detail is the catalogue's cause.
    pub fn new(code: ReasonCode) -> Self {
        code.into()
    }

    /// What is wrong with this very request. Never holds what the log alone may see.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// JSON pointer to the member of the body that is wrong; empty points at the whole.
    #[must_use]
    pub fn pointer(mut self, pointer: impl Into<String>) -> Self {
        self.0.pointer = Some(pointer.into());
        self
    }

    /// The intent's correlation id. Without it the exchange's own is put in.
    #[must_use]
    pub fn correlation_id(mut self, correlation_id: impl Into<String>) -> Self {
        self.0.correlation_id = Some(correlation_id.into());
        self
    }

    /// The index of the record that the problem is about.
    #[must_use]
    pub fn index(self, index: u64) -> Self {
        self.extra("index", index)
    }

    /// The delay before the request may be repeated. 429 and 503 say one second unless told.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Another status than the catalogue's.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// A member beside the standard ones, whose names it must not have.
    #[must_use]
    pub fn extra(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.extra.insert(name.to_owned(), value.into());
        self
    }

    /// The reason code.
    pub fn code(&self) -> ReasonCode {
        self.0.code
    }

    /// The problem for an error that the HTTP framework answers by its status alone.
    pub fn of_status(status: StatusCode) -> Self {
        let code = match status {
            StatusCode::NOT_FOUND => ReasonCode::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => ReasonCode::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT => ReasonCode::RequestTimeout,
            StatusCode::PAYLOAD_TOO_LARGE => ReasonCode::BodyTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ReasonCode::UnsupportedMediaType,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => ReasonCode::HeadersTooLarge,
            other if other.is_client_error() => ReasonCode::InvalidInput,
            _ => ReasonCode::Internal,
        };
        Self::new(code).status(status)
    }

    /// Puts in the correlation id of the HTTP exchange, unless the problem is about an intent with its own.
    pub(crate) fn or_correlation_id(mut self, exchange: &HeaderValue) -> Self {
        if self.0.correlation_id.is_none() {
            self.0.correlation_id = exchange.to_str().ok().map(str::to_owned);
        }
        self
    }

    /// The body as a value.
    pub fn body(&self) -> ProblemBody<'_> {
        let Parts { code, status, detail, pointer, correlation_id, retry_after, extra } = &*self.0;
        let entry = code.entry();
        ProblemBody {
            kind: format!("/errors#{}", entry.reason_code),
            title: entry.title,
            status: status.as_u16(),
            detail,
            ok: false,
            reason_code: entry.reason_code,
            correlation_id: correlation_id.as_deref(),
            pointer: pointer.as_deref(),
            source: entry.source,
            retriable: entry.retriable,
            retry_after_ms: retry_after.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
            extra,
        }
    }

    fn challenge(&self) -> Option<HeaderValue> {
        match (self.0.status, self.0.code) {
            (StatusCode::UNAUTHORIZED, ReasonCode::BadToken) => {
                Some(HeaderValue::from_static(r#"Bearer realm="gesta", error="invalid_token""#))
            }
            (StatusCode::UNAUTHORIZED, _) => Some(HeaderValue::from_static(r#"Bearer realm="gesta""#)),
            (_, _) => None,
        }
    }
}

impl IntoResponse for Problem {
    /// The response keeps the problem as an extension, so that the middleware of the exchange can put in the
    /// correlation id that a handler need not know.
    fn into_response(self) -> Response {
        let body =
            serde_json::to_vec(&self.body()).expect("a problem is made of text, numbers and JSON values");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(challenge) = self.challenge() {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(delay) = self.0.retry_after {
            let seconds = delay.as_millis().div_ceil(1000).max(1);
            headers.insert(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
            if self.0.status == StatusCode::TOO_MANY_REQUESTS {
                let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                headers.insert(X_BACKOFF_MS, HeaderValue::from(millis));
            }
        }
        if self.0.correlation_id.is_none() {
            response.extensions_mut().insert(self);
        }
        response
    }
}

/// The router's fallback: 404 that names the path.
pub async fn not_found(method: Method, uri: Uri) -> Problem {
    Problem::new(ReasonCode::NotFound).detail(format!("There is no {method} {}.", uri.path()))
}

#[cfg(test)]
mod tests;
