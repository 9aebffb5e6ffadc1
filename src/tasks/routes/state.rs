//! What the code that runs a task asks of the state surface: states, artifacts, steps.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::state::request::{self, Op};
use super::attempt::{TaskFence, body, demand_own};
use super::json;
use crate::capability::Capability;
use crate::problem::{Problem, ProblemBody};
use crate::server::App;
use crate::state::Written;

/// What an attempt asks of a state.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct TaskState {
    #[serde(flatten)]
    fence: TaskFence,
    #[schema(pattern = "^(get|set)$")]
    op: String,
    /// `session`: the task's thread; `execution`: the task itself.
    #[schema(pattern = "^(session|execution)$")]
    scope: String,
    /// Of `set`: the `index` of the last change that the attempt knows of; null where there should be no state.
    expected: Option<u64>,
    /// Of `set`: the whole state, at most 1 MiB. What is large becomes a blob by itself.
    #[schema(value_type = Option<Object>)]
    value: Option<serde_json::Value>,
}

/// A state as it is.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct TaskStateShown {
    scope: String,
    /// The record of its last change; null where there is no state.
    index: Option<u64>,
    /// The whole state; null where there is none.
    #[schema(value_type = Option<Object>)]
    value: Option<serde_json::Value>,
}

fn answer(written: Written, fresh: StatusCode, body: Vec<u8>) -> Response {
    match written {
        Written::Now(_) => json(fresh, body),
        Written::Before(_) => {
            let mut response = json(StatusCode::OK, body);
            response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
            response
        }
    }
}

/// Gets or sets the state of the task's session or execution.
///
/// A state is replaced as a whole, and only if its last change is the one that `expected` names. The same set again, by the
/// same attempt, is answered with the first record and `Idempotent-Replayed: true`, and nothing is appended.
#[utoipa::path(
    post,
    path = "/v1/task/state",
    tag = "tasks",
    request_body = TaskState,
    responses(
        (status = 200, description = "The state, as it is now; a change is durable", body = TaskStateShown),
        (status = 400, description = "`INVALID_JSON`, `INVALID_INPUT`, `SECRETS_PRESENT`, `BLOB_NOT_FOUND`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`WRONG_TASK`", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 409, description = "`STALE_ATTEMPT`; `STATE_CONFLICT`, with the `index` of the last change; `SUBJECT_CONFLICT`", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`: set it again", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub(crate) async fn task_state(
    State(app): State<App>,
    capability: Capability,
    request: Request,
) -> Result<Response, Problem> {
    let (fence, scope, op) = request::state(&body(&app, request).await?)?;
    demand_own(&capability, &fence)?;
    match op {
        Op::Get => Ok(json(StatusCode::OK, app.tasks.get_state(&fence, scope).await?)),
        Op::Set { expected, value } => {
            let (written, body) = app.tasks.set_state(&fence, scope, expected, &value).await?;
            Ok(answer(written, StatusCode::OK, body))
        }
    }
}

/// An artifact of a running attempt.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct TaskArtifact {
    #[serde(flatten)]
    fence: TaskFence,
    artifact: ArtifactGiven,
}

/// An artifact that is to be registered.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct ArtifactGiven {
    /// Its name in the stream, for ever; never a ULID, which only the server gives. Left out, the server gives one.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    artifact_id: Option<String>,
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    artifact_type: String,
    /// Artifacts of the same stream, registered before; at most 100.
    parent_artifacts: Option<Vec<String>>,
    /// `PENDING` where it is left out.
    #[schema(pattern = "^(PENDING|READY)$")]
    lifecycle_state: Option<String>,
    /// `schema`, `record_count` and whatever else describes it.
    #[schema(value_type = Option<Object>)]
    semantic_descriptor: Option<serde_json::Value>,
    /// At most 100.
    materializations: Option<Vec<MaterializationGiven>>,
}

/// Where the content of an artifact is, in some form.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct MaterializationGiven {
    /// Left out, the server gives one.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    materialization_id: Option<String>,
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    storage_type: String,
    /// Where it is. `blob://{bucket}/{key}` is an object of this server, below one of the task's prefixes.
    #[schema(min_length = 1, max_length = 2048)]
    uri: String,
    #[schema(min_length = 1, max_length = 256)]
    format: String,
    /// `sha256:` and 64 digits; required of an object of this server, whose content it has to be.
    #[schema(pattern = "^sha256:[0-9a-f]{64}$")]
    sha256: Option<String>,
    size_bytes: Option<u64>,
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    compression: Option<String>,
}

/// An artifact as its record has it. A member that was too large for the record is a blob reference.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct ArtifactShown {
    artifact_id: String,
    artifact_type: String,
    /// The stream.
    tenant_id: String,
    produced_by: Producer,
    parent_artifacts: Vec<String>,
    #[schema(pattern = "^(PENDING|READY|FAILED|ARCHIVED|DELETED)$")]
    lifecycle_state: String,
    #[schema(value_type = Object)]
    semantic_descriptor: serde_json::Value,
    /// Each with its `materialization_id` and `created_at`.
    #[schema(value_type = Vec<Object>)]
    materializations: Vec<serde_json::Value>,
    created_at: String,
    updated_at: String,
    /// The ARTIFACT `registered`.
    index: u64,
}

/// What has produced an artifact.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Producer {
    /// The type of the intent.
    intent: String,
    execution_id: String,
}

/// Registers an artifact that the task has produced.
///
/// The same again is answered 200 with the artifact as it was registered and `Idempotent-Replayed: true`, and nothing is
/// appended: by any attempt where the request names it, else only if nothing else was recorded of the task since.
#[utoipa::path(
    post,
    path = "/v1/task/artifacts",
    tag = "tasks",
    request_body = TaskArtifact,
    responses(
        (status = 201, description = "Durable", body = ArtifactShown),
        (status = 200, description = "Was durable before", body = ArtifactShown),
        (status = 400, description = "`INVALID_JSON`, `INVALID_INPUT`, `SECRETS_PRESENT`, `BLOB_NOT_FOUND`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`WRONG_TASK`, `PREFIX_FORBIDDEN`", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 409, description = "`STALE_ATTEMPT`; `ARTIFACT_EXISTS`, with the `index` of the first; `SUBJECT_CONFLICT`", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`: register it again, under an id", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub(crate) async fn task_artifacts(
    State(app): State<App>,
    capability: Capability,
    request: Request,
) -> Result<Response, Problem> {
    let (fence, artifact) = request::artifact(&body(&app, request).await?)?;
    demand_own(&capability, &fence)?;
    let registered = app.tasks.register_artifact(&fence, &artifact, &capability).await?;
    Ok(answer(registered.written, StatusCode::CREATED, registered.artifact))
}

/// A step of a running attempt.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct TaskWal {
    #[serde(flatten)]
    fence: TaskFence,
    record: WalRecord,
}

/// What an attempt tells of its execution.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct WalRecord {
    #[serde(rename = "type")]
    #[schema(pattern = "^(step_completed|step_failed|event)$")]
    kind: String,
    /// Of the step, or of the event.
    #[schema(min_length = 1, max_length = 256)]
    name: String,
    /// What came of the step, why it failed, or what the event says: any JSON.
    #[schema(value_type = Option<Object>)]
    payload: Option<serde_json::Value>,
}

/// What was recorded.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct TaskWalTaken {
    /// The EXECUTION record's position in the log.
    index: u64,
    /// Its digest.
    digest: String,
}

/// Appends a step or an event of the task's execution to the log. A repeat is another record.
#[utoipa::path(
    post,
    path = "/v1/task/wal",
    tag = "tasks",
    request_body = TaskWal,
    responses(
        (status = 201, description = "Durable", body = TaskWalTaken),
        (status = 400, description = "`INVALID_JSON`, `INVALID_INPUT`, `SECRETS_PRESENT`, `BLOB_NOT_FOUND`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`WRONG_TASK`", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 409, description = "`STALE_ATTEMPT`, `SUBJECT_CONFLICT`", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub(crate) async fn task_wal(
    State(app): State<App>,
    capability: Capability,
    request: Request,
) -> Result<Response, Problem> {
    let (fence, step) = request::step(&body(&app, request).await?)?;
    demand_own(&capability, &fence)?;
    Ok(json(StatusCode::CREATED, app.tasks.tell_step(&fence, &step).await?))
}
