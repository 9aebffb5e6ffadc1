//! What the code that runs a task asks for: its capability opens these for its own attempt.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use gesta_replay::event::TaskId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::fence::Fence;
use super::super::request;
use super::blob::BlobReference;
use super::json;
use super::worker::Following;
use crate::capability::Capability;
use crate::members::Members;
use crate::problem::{Problem, ProblemBody, Query, ReasonCode, demand_json, read_body};
use crate::server::App;

/// What every change shows: that it is the latest attempt's.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct TaskFence {
    #[schema(pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    task_id: String,
    #[schema(minimum = 1)]
    attempt: u32,
    /// From the claim.
    lease_token: String,
}

/// How a lease stands.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct LeaseShown {
    /// How long the attempt has, unless it is heard of again.
    lease_expires_in_ms: u64,
    /// The recorded deadline.
    lease_expires_at: String,
    /// A fresh one.
    capability_token: String,
    /// The attempt should stop and report `Canceled`: its lease is not extended any more.
    cancel_requested: bool,
    /// The server ends: it will be back, and knows of the lease then.
    drain: bool,
}

/// Reads the body of a request whose capability was checked.
pub(super) async fn body(app: &App, request: Request) -> Result<axum::body::Bytes, Problem> {
    let (parts, body) = request.into_parts();
    demand_json(&parts.headers)?;
    read_body(body, app.config.limits.body_bytes_max, app.body_patience()).await
}

pub(super) fn demand_own(capability: &Capability, fence: &Fence) -> Result<(), Problem> {
    capability.for_task(&fence.task_id.to_string(), fence.attempt)
}

/// Keeps the lease of an attempt alive.
///
/// In the first half of a lease nothing is recorded and the deadline stays; later the lease begins anew.
#[utoipa::path(
    post,
    path = "/v1/task/heartbeat",
    tag = "tasks",
    request_body = TaskFence,
    responses(
        (status = 200, description = "The lease", body = LeaseShown),
        (status = 400, description = "`INVALID_JSON`, `INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`WRONG_TASK`", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 409, description = "`STALE_ATTEMPT`: stop, the work is someone else's now; `SUBJECT_CONFLICT`", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub(crate) async fn heartbeat(
    State(app): State<App>,
    capability: Capability,
    request: Request,
) -> Result<Response, Problem> {
    let fence = request::fence(&body(&app, request).await?)?;
    demand_own(&capability, &fence)?;
    Ok(json(StatusCode::OK, app.tasks.heartbeat(&fence).await?))
}

/// How an attempt ended.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct TaskCompletion {
    #[serde(flatten)]
    fence: TaskFence,
    #[schema(pattern = "^(Completed|Failed|Canceled)$")]
    status: String,
    /// Of `Completed`: what came of it, an object. The registration may say what it has to look like.
    #[schema(value_type = Option<Object>)]
    result: Option<serde_json::Value>,
    /// Of `Failed`: whether another attempt may help; true where it is left out.
    retryable: Option<bool>,
    /// Of `Failed`: for a person; what is longer than 4,096 bytes is cut. Of `Canceled`: why.
    error_message: Option<String>,
    /// Of `Failed`: for programs.
    #[schema(pattern = "^[A-Z0-9_]{1,64}$")]
    code: Option<String>,
    /// Of `Completed`: dataset events, each `dataset_uuid`, `dataset_version` and either `cursor` or `partition_key`, `start`
    /// and `end` (half-open).
    #[schema(value_type = Option<Vec<Object>>)]
    events: Option<Vec<serde_json::Value>>,
    /// Of `Completed`: each `output_index`, `dataset_uuid`, `dataset_version`, `location`, `cursor`, `row_count`.
    #[schema(value_type = Option<Vec<Object>>)]
    outputs: Option<Vec<serde_json::Value>>,
    /// Of `Completed`: each `dataset_uuid`, `dataset_version`, `storage_ref` and, as may be, `config_hash`, `range_start`,
    /// `range_end`.
    #[schema(value_type = Option<Vec<Object>>)]
    datasets_published: Option<Vec<serde_json::Value>>,
    /// What the program wrote to standard error, put as a blob of the task's before.
    #[schema(nullable = false)]
    stderr: Option<BlobReference>,
}

/// What was recorded.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct TaskCompleted {
    task_id: String,
    attempt: u64,
    /// As it was reported.
    status: String,
    /// The TASK record's position in the log.
    index: u64,
}

/// Reports how an attempt ended.
///
/// The same report again is answered with the first record and `Idempotent-Replayed: true`, and nothing is appended; so is
/// one that comes late, until the task is claimed again. One record says all of it: a conflict on one dataset version
/// refuses the whole.
#[utoipa::path(
    post,
    path = "/v1/task/complete",
    tag = "tasks",
    request_body = TaskCompletion,
    responses(
        (status = 200, description = "Durable", body = TaskCompleted),
        (status = 400, description = "`INVALID_JSON`, `INVALID_INPUT`, `SECRETS_PRESENT`, `BLOB_NOT_FOUND`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`WRONG_TASK`, `DATASET_FORBIDDEN`", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 409, description = "`STALE_ATTEMPT`, `DATASET_VERSION_CONFLICT`, `SUBJECT_CONFLICT`", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 422, description = "`RESULT_INVALID`: the attempt goes on", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub(crate) async fn complete(
    State(app): State<App>,
    capability: Capability,
    request: Request,
) -> Result<Response, Problem> {
    let report = request::report(&body(&app, request).await?)?;
    demand_own(&capability, &report.fence)?;
    let reported = app.tasks.complete(&report, &capability).await?;
    let answer = Members::new()
        .number("attempt", report.fence.attempt)
        .number("index", reported.index.0)
        .text("status", reported.status.text())
        .text("task_id", &report.fence.task_id.to_string())
        .finish();
    let mut response = json(StatusCode::OK, answer);
    if reported.repeated {
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Dataset events of a running attempt.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct TaskEvents {
    #[serde(flatten)]
    fence: TaskFence,
    /// Each `dataset_uuid`, `dataset_version` and either `cursor` or `partition_key`, `start` and `end` (half-open).
    #[schema(value_type = Vec<Object>)]
    events: Vec<serde_json::Value>,
}

/// What was recorded.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct TaskEventsTaken {
    /// The TASK record's position in the log.
    index: u64,
}

/// Reports dataset events while an attempt runs. A repeat is another record: events come at least once.
#[utoipa::path(
    post,
    path = "/v1/task/events",
    tag = "tasks",
    request_body = TaskEvents,
    responses(
        (status = 202, description = "Durable", body = TaskEventsTaken),
        (status = 400, description = "`INVALID_JSON`, `INVALID_INPUT`, `SECRETS_PRESENT`, `BLOB_NOT_FOUND`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`WRONG_TASK`, `DATASET_FORBIDDEN`", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 409, description = "`STALE_ATTEMPT`, `SUBJECT_CONFLICT`", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub(crate) async fn task_events(
    State(app): State<App>,
    capability: Capability,
    request: Request,
) -> Result<Response, Problem> {
    let (fence, events) = request::events(&body(&app, request).await?)?;
    demand_own(&capability, &fence)?;
    Ok(json(StatusCode::ACCEPTED, app.tasks.report_events(&fence, &events, &capability).await?))
}

/// What an attempt is told at once: `event: cancel`, `event: drain`, and `event: over` once it is not live any more.
#[utoipa::path(
    get,
    path = "/v1/task/control",
    tag = "tasks",
    params(
        ("X-Trace-Attempt" = u32, Header, description = "The attempt"),
        ("X-Trace-Lease-Token" = String, Header, description = "Its lease token"),
        Following,
    ),
    responses(
        (status = 200, description = "The events; ends behind `over` and `drain`", body = String, content_type = "text/event-stream"),
        (status = 400, description = "`INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`WRONG_TASK`", body = ProblemBody),
        (status = 409, description = "`STALE_ATTEMPT`", body = ProblemBody),
        (status = 503, description = "`DRAINING`, `RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub(crate) async fn task_control(
    State(app): State<App>,
    capability: Capability,
    Query(query): Query<Following>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let header = |name: &'static str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.ok_or_else(|| {
            Problem::new(ReasonCode::InvalidInput).detail(format!("The header {name} is missing."))
        })
    };
    let attempt = header("X-Trace-Attempt")?
        .parse()
        .map_err(|_| Problem::new(ReasonCode::InvalidInput).detail("X-Trace-Attempt is no whole number."))?;
    let task_id = TaskId::parse(capability.task_id.as_bytes());
    let task_id = task_id.ok_or_else(|| Problem::new(ReasonCode::WrongTask))?;
    let fence = Fence { task_id, attempt, lease_token: header("X-Trace-Lease-Token")?.to_owned() };
    demand_own(&capability, &fence)?;
    let open = app.tasks.live(&fence).await?;
    Ok(app.tasks.attempt_stream(&open, query.follow.unwrap_or(true)))
}
