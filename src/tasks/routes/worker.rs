//! What workers ask for: tasks.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gesta_replay::event::{HandlerKind, TaskId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::claim::{Claimed, NotClaimed};
use super::super::request::{self, Wanted};
use super::super::waiting::Reach;
use super::json;
use crate::auth::Worker;
use crate::members::{Members, list};
use crate::problem::{Problem, ProblemBody, Query, ReasonCode, demand_json, read_body};
use crate::server::App;

/// A claim: of one task by its `task_id`, or of tasks of `pools`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct TaskClaim {
    /// Whose claim. The same worker that claims a task that it has gets the same answer again.
    #[schema(min_length = 1, max_length = 256)]
    worker_id: String,
    #[schema(pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    task_id: Option<String>,
    #[schema(min_items = 1, max_items = 100)]
    pools: Option<Vec<String>>,
    /// How many of the pools at most; 1 where it is left out.
    #[schema(minimum = 1, maximum = 100)]
    max: Option<u32>,
    /// How long to wait for the first one; 0 where it is left out.
    #[schema(minimum = 0, maximum = 55_000)]
    wait_ms: Option<u32>,
}

/// A task that was claimed.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct ClaimedTask {
    /// `Claimed`.
    status: String,
    /// Which attempt this is, from 1.
    attempt: u64,
    /// Goes with `task_id` and `attempt` into every change: the fence.
    lease_token: String,
    /// When the attempt may be given up, unless it is heard of.
    lease_expires_at: String,
    /// Opens `/v1/task/*` for this attempt.
    capability_token: String,
    /// `task_id`, `execution_id`, `stream_id`, `intent_type`, `handler_name`, `kind`, `pool`, `priority`, `attempt`, `limits
    /// {lease_ms, heartbeat_ms, timeout_ms, max_attempts}`, `correlation_id`, `x_correlation_id`, `traceparent`, `context
    /// {tenant_id, session_id, intent_id, solution_id, thread_id, turn_id, parent_turn_id, actor, lane, execution_id,
    /// created_at}`, `payload` (the intent's, or its `$blob`), `inputs`, `grants` and, of the registration, `job`,
    /// `operator`, `config`, `bundle_sha256`, `metadata`, `publish`.
    #[schema(value_type = Object)]
    task: serde_json::Value,
}

/// A task that was not given out, and why.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct TaskNotClaimed {
    /// `NotClaimed`.
    status: String,
    /// `AlreadyRunning`, `NotDue`, `Completed`, `Failed`, `Canceled` or `NotFound`.
    reason: String,
}

/// What a claim by `task_id` gives: one of these. A claim by `pools` gives a list of the first.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ClaimAnswer {
    Claimed(ClaimedTask),
    NotClaimed(TaskNotClaimed),
    Several(Vec<ClaimedTask>),
}

/// Claims tasks.
///
/// By `task_id`: the answer says whether the task was given out. By `pools`: a list of what was, or 204 when nothing came in
/// time; the higher priority first, then the streams in turn, then the oldest. Pools and ids are those that the worker's
/// token covers, and of their tasks it gets those of the streams that it covers.
#[utoipa::path(
    post,
    path = "/internal/task-claim",
    tag = "claims",
    request_body = TaskClaim,
    responses(
        (status = 200, description = "By `task_id`: claimed or not. By `pools`: a list of what was claimed", body = ClaimAnswer),
        (status = 204, description = "Nothing came in time"),
        (status = 400, description = "`INVALID_JSON`, `INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`: also for a worker id or a pool that the token does not cover", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 409, description = "`SUBJECT_CONFLICT`", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`", body = ProblemBody),
        (status = 503, description = "`CLAIMS_FULL`, `QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub(crate) async fn task_claim(
    State(app): State<App>,
    worker: Worker,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    demand_json(&parts.headers)?;
    app.demand_running()?;
    let body = read_body(body, app.config.limits.body_bytes_max, app.body_patience()).await?;
    let claim = request::claim(&body)?;
    worker.require_worker(&claim.worker_id)?;
    match claim.wanted {
        Wanted::Task(task_id) => {
            app.tasks.caught_up().await?;
            let claimed = match app.tasks.claim_one(task_id, &claim.worker_id, &worker).await? {
                Claimed::No(NotClaimed::NotFound) => {
                    let ended = app.tasks.ended_state(task_id, &worker).await?;
                    Claimed::No(ended.and_then(NotClaimed::of).unwrap_or(NotClaimed::NotFound))
                }
                claimed @ (Claimed::Yes(_) | Claimed::No(_)) => claimed,
            };
            Ok(json(
                StatusCode::OK,
                match claimed {
                    Claimed::Yes(answer) => answer,
                    Claimed::No(reason) => {
                        Members::new().text("status", "NotClaimed").text("reason", reason.text()).finish()
                    }
                },
            ))
        }
        Wanted::Pools { pools, max, wait_ms } => {
            pools.iter().try_for_each(|pool| worker.require_pool(pool))?;
            let pools = pools.into_iter().map(|pool| (HandlerKind::Worker, pool)).collect();
            let reach = Reach { pools, streams: worker.streams().clone() };
            let wait = Duration::from_millis(wait_ms);
            let claimed = app.tasks.claim_some(&reach, max, wait, &claim.worker_id).await?;
            match claimed.is_empty() {
                true => Ok(StatusCode::NO_CONTENT.into_response()),
                false => Ok(json(StatusCode::OK, list(claimed))),
            }
        }
    }
}

/// Which task.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TaskFetch {
    task_id: String,
}

/// A task's content and where it stands.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct FetchedTask {
    /// `queued`, `running`, `timed_out`, `attempt_failed`, `retry_scheduled`, `completed`, `failed` or `canceled`.
    state: String,
    /// As a claim's.
    #[schema(value_type = Object)]
    task: serde_json::Value,
}

/// A task's content and where it stands, without claiming it.
#[utoipa::path(
    get,
    path = "/internal/task-fetch",
    tag = "claims",
    params(TaskFetch),
    responses(
        (status = 200, description = "The task", body = FetchedTask),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 404, description = "`TASK_NOT_FOUND`: also for a pool that the token does not cover", body = ProblemBody),
        (status = 503, description = "`RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub(crate) async fn task_fetch(
    State(app): State<App>,
    worker: Worker,
    Query(query): Query<TaskFetch>,
) -> Result<Response, Problem> {
    app.tasks.caught_up().await?;
    let task_id = TaskId::parse(query.task_id.as_bytes());
    let open = task_id.and_then(|task_id| app.tasks.open(task_id));
    let open = open.filter(|open| worker.may_claim(&open.pool, &open.stream_id));
    let open = open.ok_or_else(|| Problem::new(ReasonCode::TaskNotFound))?;
    let task = app.tasks.brief(&open, open.standing.attempt).await?;
    Ok(json(
        StatusCode::OK,
        Members::new().text("state", open.standing.state.text()).raw("task", task).finish(),
    ))
}

/// How long.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Following {
    /// Whether to go on after what is there now; true where it is left out.
    pub(super) follow: Option<bool>,
}

/// Hints that there is something to claim: `event: wakeup`, `data: {pool, task_id}`.
///
/// Begins with some that wait now. Hints may come twice, late or never: who has nothing to do claims by `pools` anyway.
#[utoipa::path(
    get,
    path = "/internal/wakeups",
    tag = "claims",
    params(Following),
    responses(
        (status = 200, description = "The hints", body = String, content_type = "text/event-stream"),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 503, description = "`DRAINING`, `RECOVERING`", body = ProblemBody),
    )
)]
pub(crate) async fn wakeups(
    State(app): State<App>,
    worker: Worker,
    Query(query): Query<Following>,
) -> Result<Response, Problem> {
    app.demand_running()?;
    Ok(app.tasks.wakeups(worker, query.follow.unwrap_or(true)))
}
