//! `POST /ingress/intent`: from a body to a durable INTENT and its acknowledgement.

mod maker;
mod parents;
pub mod request;
mod submit;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use gesta_log_format::{Index, json};
use serde::Serialize;
use utoipa::ToSchema;

pub use maker::{MakeError, Maker};
pub use submit::Ingress;
pub(crate) use submit::request_digest;

use crate::exchange::Exchange;
use crate::problem::{Problem, ProblemBody, ReasonCode, demand_json, read_body};
use crate::server::App;

/// The route of [`post_intent`].
pub const PATH: &str = "/ingress/intent";

/// The acknowledgement of a durable INTENT.
#[derive(Debug, Serialize, ToSchema)]
pub struct Accepted {
    /// Always true.
    pub accepted: bool,
    pub stream_id: String,
    /// The INTENT's position in the log.
    pub index: u64,
    pub correlation_id: String,
    /// Always true: what follows from the intent is decided later.
    pub queued: bool,
}

/// An intent as a client sends it.
#[derive(Debug, serde::Deserialize, Serialize, ToSchema)]
pub struct IntentEnvelope {
    /// Always 2.
    #[schema(minimum = 2, maximum = 2)]
    pub interface_version: u8,
    /// 1 to 128 visible ASCII characters, unique for intents within their stream. A repeat with an equal request is
    /// answered with the first acknowledgement.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    pub correlation_id: String,
    pub payload: IntentPayload,
}

/// What is asked for, by whom, and where it belongs.
#[derive(Debug, serde::Deserialize, Serialize, ToSchema)]
pub struct IntentPayload {
    /// The unit of tenancy; `default` where it is left out.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub stream_id: Option<String>,
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    pub lane: String,
    /// On whose behalf; use pseudonyms, an actor cannot be erased.
    #[schema(min_length = 1, max_length = 256)]
    pub actor: String,
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    pub intent_type: String,
    #[schema(min_length = 1, max_length = 256)]
    pub thread_id: String,
    #[schema(min_length = 1, max_length = 256)]
    pub turn_id: String,
    /// A turn that the thread already has.
    pub parent_turn_id: Option<String>,
    /// The client's own object.
    #[schema(value_type = Object)]
    pub payload: serde_json::Map<String, serde_json::Value>,
    /// Records that the client wants as context.
    pub declared_refs: Option<Vec<DeclaredRef>>,
}

/// A record, document or other thing that the client wants as context.
#[derive(Debug, serde::Deserialize, Serialize, ToSchema)]
pub struct DeclaredRef {
    /// `event`, `document` or `external`.
    #[schema(pattern = "^(event|document|external)$")]
    pub ref_type: String,
    /// For an event its correlation id or turn id.
    #[schema(min_length = 1, max_length = 256)]
    pub ref_id: String,
    pub version: Option<String>,
}

/// Appends an intent and answers once it is durable.
///
/// The same correlation id in the same stream with an equal request is answered 200 with the first acknowledgement and
/// `Idempotent-Replayed: true`, for ever; with another request 409. A 4xx or 503 says that nothing was appended;
/// `OUTCOME_UNKNOWN` says that it may have been, and repeating the request with the same correlation id is safe.
#[utoipa::path(
    post,
    path = "/ingress/intent",
    tag = "ingress",
    request_body = IntentEnvelope,
    params(("Idempotency-Key" = Option<String>, Header, description = "Must equal the correlation id")),
    responses(
        (status = 202, description = "Durable", body = Accepted),
        (status = 200, description = "Was durable before", body = Accepted),
        (status = 400, description = "`INVALID_JSON`, `INVALID_INPUT`, `UNSUPPORTED_INTERFACE_VERSION`, `SECRETS_PRESENT`, `INVALID_PARENT`, `MAX_REFS_EXCEEDED`, `BLOB_NOT_FOUND`, `IDEMPOTENCY_KEY_MISMATCH`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`, `ACTOR_FORBIDDEN`", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 409, description = "`CORRELATION_ID_REUSED`, with the `index` of the first", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`", body = ProblemBody),
    )
)]
pub async fn post_intent(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    // Taken apart by hand: extractors would copy the headers and the extension for each request.
    let (parts, body) = request.into_parts();
    let (headers, mut extensions) = (parts.headers, parts.extensions);
    let caller = app.auth.authenticate(&headers)?;
    let exchange = extensions.remove::<Exchange>().ok_or_else(|| Problem::new(ReasonCode::Internal))?;
    demand_json(&headers)?;
    app.demand_running()?;
    app.demand_decided()?;
    let place = app.ingress.reserve()?;
    let body = read_body(body, app.config.limits.body_bytes_max, app.body_patience()).await?;
    let intent = request::parse(&body)?;
    let correlation_id = intent.correlation_id.clone();
    let submitted = async {
        check_idempotency_key(&headers, &intent.correlation_id)?;
        caller.require_write(&intent.stream_id, &intent.actor)?;
        Arc::clone(&app.ingress).submit(&intent, &caller, &exchange, place).await
    };
    let submitted = submitted.await.map_err(|problem| problem.correlation_id(&*correlation_id))?;
    Ok(acknowledge(&intent, submitted))
}

fn check_idempotency_key(headers: &HeaderMap, correlation_id: &str) -> Result<(), Problem> {
    match headers.get("idempotency-key") {
        Some(key) if key.as_bytes() != correlation_id.as_bytes() => {
            Err(Problem::new(ReasonCode::IdempotencyKeyMismatch).pointer("/correlation_id"))
        }
        Some(_) | None => Ok(()),
    }
}

/// What became of an intent that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// By this request.
    Now(Index),
    /// By an earlier, equal one.
    Before(Index),
}

fn acknowledge(intent: &request::Intent<'_>, submitted: Submitted) -> Response {
    let (status, index) = match submitted {
        Submitted::Now(index) => (StatusCode::ACCEPTED, index),
        Submitted::Before(index) => (StatusCode::OK, index),
    };
    let mut body = Vec::with_capacity(96 + intent.stream_id.len() + intent.correlation_id.len());
    body.extend_from_slice(b"{\"accepted\":true,\"stream_id\":");
    json::write_string(&mut body, &intent.stream_id);
    body.extend_from_slice(b",\"index\":");
    body.extend_from_slice(gesta_log_format::record::Decimal::default().write(index.0));
    body.extend_from_slice(b",\"correlation_id\":");
    json::write_string(&mut body, &intent.correlation_id);
    body.extend_from_slice(b",\"queued\":true}");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Submitted::Before(_) = submitted {
        headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    response
}
