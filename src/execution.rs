//! What others do with executions: reports, and requests to cancel.
//!
//! `POST /execution/event`: someone outside reports what happens to an execution that an external handler runs.
//!
//! What may be reported is judged by the projections at the head that the request found, and enforced by swap on the
//! execution's subject: who loses a race is judged again. Each report keeps the digest of what was sent, so that the
//! repeat of one whose answer was lost is known as long as nothing else has happened to the execution.

mod cancel;
mod report;
pub mod request;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use gesta_log_format::Index;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use cancel::{__path_cancel_execution, CancelQuery, CancelRequest, CancelRequested, cancel_execution};

use crate::problem::{Problem, ProblemBody, demand_json, read_body};
use crate::server::App;

/// What happened to an execution.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ExecutionReport {
    /// The intent's stream; `default` where it is left out.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub stream_id: Option<String>,
    /// The intent's.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    pub correlation_id: String,
    /// `running` begins a delivery; an `event` and the steps are reported while it runs; the others end it.
    #[serde(rename = "type")]
    #[schema(pattern = "^(running|event|step_completed|step_failed|completed|failed|cancelled)$")]
    pub type_name: String,
    /// An object. The steps need `step`, `failed` needs `error {code, message}`; `completed` has its result as `output`;
    /// the `delivery` of `running` and the `by` of `cancelled` are filled in.
    #[schema(value_type = Object)]
    pub payload: serde_json::Map<String, serde_json::Value>,
}

/// The answer to a report that is durable.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reported {
    /// Always true.
    pub ok: bool,
    /// The EXECUTION record's position in the log.
    pub execution_index: u64,
}

/// Reports what happens to an execution whose handler is of kind `external`.
///
/// A report that equals the execution's newest record, as it was sent, is a repeat: it is answered with that record and
/// `Idempotent-Replayed: true`, and nothing is appended. So repeating a report whose answer was lost is safe as long as
/// nobody else reports in between; equal events in a row that are no repeats need a member that differs, such as a
/// number.
#[utoipa::path(
    post,
    path = "/execution/event",
    tag = "executions",
    request_body = ExecutionReport,
    responses(
        (status = 200, description = "Durable", body = Reported),
        (status = 400, description = "`INVALID_JSON`, `INVALID_INPUT`, `SECRETS_PRESENT`, `BLOB_NOT_FOUND`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`INTENT_NOT_FOUND`", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 409, description = "`NOT_ALLOWED`, `NOT_EXTERNAL`, `ILLEGAL_TRANSITION`; `SUBJECT_CONFLICT` where others were faster again and again", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub async fn post_execution_event(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = app.auth.authenticate(&parts.headers)?;
    demand_json(&parts.headers)?;
    app.demand_running()?;
    let place = app.ingress.reserve()?;
    let body = read_body(body, app.config.limits.body_bytes_max, app.body_patience()).await?;
    let report = request::parse(&body)?;
    let correlation_id = report.correlation_id.clone();
    let reported = async {
        caller.require_report(&report.stream_id)?;
        report::append(&app, &report, &caller, place).await
    };
    let outcome = reported.await.map_err(|problem| problem.correlation_id(&*correlation_id))?;
    let (index, repeated) = match outcome {
        Outcome::Now(index) => (index, false),
        Outcome::Before(index) => (index, true),
    };
    let mut response = Json(Reported { ok: true, execution_index: index.0 }).into_response();
    if repeated {
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It was appended.
    Now(Index),
    /// It equals the execution's newest record.
    Before(Index),
}
