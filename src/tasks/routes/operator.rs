//! What operators see and do.

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gesta_log_format::Index;
use gesta_replay::event::TaskId;
use gesta_replay::projections::tasks::Open;
use gesta_replay::task_lifecycle::State as Stage;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::operate::{Ended, Selection};
use super::super::outcome::Asked;
use super::super::request;
use crate::auth::{Caller, Role};
use crate::limits::{TASK_PAGE_DEFAULT, TASK_PAGE_MAX};
use crate::problem::{Problem, ProblemBody, Query, ReasonCode, demand_json_or_nothing, read_body};
use crate::server::App;

/// Which tasks.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TasksQuery {
    /// `queued`, `running`, `timed_out`, `attempt_failed`, `retry_scheduled`, `completed`, `failed` or `canceled`.
    state: Option<String>,
    pool: Option<String>,
    stream_id: Option<String>,
    /// Those above this id: `next` of the page before.
    after: Option<String>,
    /// How many at most: 1 to 500, 100 by default.
    limit: Option<usize>,
}

/// A task as operators see it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskShown {
    task_id: String,
    state: String,
    stream_id: String,
    correlation_id: String,
    attempt: u64,
    /// What is there only while the task is; null of one whose execution has ended.
    details: Option<TaskDetails>,
    /// The record that ended it.
    outcome: Option<u64>,
    /// The task's newest record; of one whose execution has ended, its end.
    last_index: u64,
}

/// What is known of a task while it is there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskDetails {
    kind: String,
    pool: String,
    priority: u8,
    intent_type: String,
    handler_name: String,
    intent_index: u64,
    thread_id: String,
    turn_id: String,
    lane: String,
    max_attempts: u64,
    lease_ms: u64,
    timeout_ms: u64,
    queued_at: String,
    next_retry_at: Option<String>,
    cancel_requested: bool,
    /// Of the latest attempt, live or not.
    lease: Option<LeaseDetails>,
}

/// A lease as operators see it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LeaseDetails {
    worker_id: String,
    is_live: bool,
    claimed_at: String,
    /// The recorded deadline.
    expires_at: String,
    /// The attempt's global fencing number.
    claim_index: u64,
}

/// What waits in a pool.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PoolShown {
    /// `worker` or `push`.
    kind: String,
    pool: String,
    /// Tasks that wait.
    depth: u64,
    /// How long the oldest has waited.
    oldest_ms: u64,
    /// Claims that wait for a task.
    claims_waiting: u64,
}

/// A page of tasks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TasksShown {
    /// By ascending id, which is the order of their intents.
    tasks: Vec<TaskShown>,
    /// Where the next page goes on; null at the end.
    next: Option<String>,
    /// Pools in which something waits, of the streams that the token covers.
    pools: Vec<PoolShown>,
}

/// What became of a request of an operator.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskChanged {
    task_id: String,
    /// Where the task is now. A running one that was asked to stop runs until its worker stops or its lease is over.
    state: String,
}

impl TaskShown {
    fn of(open: &Open) -> Self {
        Self {
            task_id: open.task_id.to_string(),
            state: open.standing.state.text().to_owned(),
            stream_id: open.stream_id.clone(),
            correlation_id: open.correlation_id.clone(),
            attempt: open.standing.attempt,
            details: Some(TaskDetails::of(open)),
            outcome: open.outcome.map(|index| index.0),
            last_index: open.last_index.0,
        }
    }

    fn of_ended(task_id: TaskId, ended: Ended) -> Self {
        let Index(index) = ended.index;
        Self {
            task_id: task_id.to_string(),
            state: ended.state.text().to_owned(),
            stream_id: ended.stream_id,
            correlation_id: ended.correlation_id,
            attempt: ended.attempt,
            details: None,
            outcome: Some(index),
            last_index: index,
        }
    }
}

impl TaskDetails {
    fn of(open: &Open) -> Self {
        let lease = open.lease.as_ref().map(|lease| LeaseDetails {
            worker_id: lease.worker_id.clone(),
            is_live: open.live_lease().is_some(),
            claimed_at: lease.claimed_at.to_string(),
            expires_at: lease.expires_at.to_string(),
            claim_index: lease.claim_index.0,
        });
        Self {
            kind: open.kind.text().to_owned(),
            pool: open.pool.clone(),
            priority: open.priority,
            intent_type: open.intent_type.clone(),
            handler_name: open.handler.handler_name.clone(),
            intent_index: open.intent_index.0,
            thread_id: open.thread_id.clone(),
            turn_id: open.turn_id.clone(),
            lane: open.lane.clone(),
            max_attempts: open.limits.max_attempts,
            lease_ms: open.limits.lease_ms,
            timeout_ms: open.limits.timeout_ms,
            queued_at: open.queued_at.to_string(),
            next_retry_at: open.next_retry_at.map(|at| at.to_string()),
            cancel_requested: open.standing.cancel_requested,
            lease,
        }
    }
}

fn no_task() -> Problem {
    Problem::new(ReasonCode::TaskNotFound)
}

/// The tasks that are there: from the moment in which their intent was allowed to the end of its execution.
///
/// Takes the role `operator`; shows the streams that the token covers.
#[utoipa::path(
    get,
    path = "/api/task",
    tag = "tasks",
    params(TasksQuery),
    responses(
        (status = 200, description = "A page", body = TasksShown, headers(("Gesta-Applied-Index" = u64, description = "The first index that is not folded into it"))),
        (status = 400, description = "`INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
    )
)]
pub(crate) async fn tasks(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<TasksQuery>,
) -> Result<Response, Problem> {
    caller.require(Role::Operator)?;
    let invalid = |detail: &'static str| Problem::new(ReasonCode::InvalidInput).detail(detail);
    let limit = query.limit.unwrap_or(TASK_PAGE_DEFAULT);
    if !(1..=TASK_PAGE_MAX).contains(&limit) {
        return Err(
            Problem::new(ReasonCode::InvalidInput).detail(format!("limit: give 1 to {TASK_PAGE_MAX}."))
        );
    }
    let state = query.state.map(|name| {
        let found = Stage::ALL.into_iter().find(|state| state.text() == name);
        found.ok_or_else(|| invalid("The query's state is none of a task's."))
    });
    let after = query
        .after
        .map(|id| TaskId::parse(id.as_bytes()).ok_or_else(|| invalid("The query's after is no task's id.")));
    let selection = Selection { state: state.transpose()?, pool: query.pool, stream_id: query.stream_id };
    let applied = app.projector.applied();
    let (found, next) =
        app.tasks.list(&selection, after.transpose()?, limit, |stream_id| caller.streams.matches(stream_id));
    let pools = app.tasks.depths(&caller.streams).into_iter().map(|depth| PoolShown {
        kind: depth.pool.0.text().to_owned(),
        pool: depth.pool.1,
        depth: depth.tasks as u64,
        oldest_ms: u64::try_from(depth.oldest.as_millis()).unwrap_or(u64::MAX),
        claims_waiting: depth.workers as u64,
    });
    let shown = TasksShown {
        tasks: found.iter().map(TaskShown::of).collect(),
        next: next.map(|id| id.to_string()),
        pools: pools.collect(),
    };
    let mut response = axum::Json(shown).into_response();
    response.headers_mut().insert("gesta-applied-index", applied.0.into());
    Ok(response)
}

/// One task, also one whose execution has ended.
#[utoipa::path(
    get,
    path = "/api/task/{id}",
    tag = "tasks",
    params(("id" = String, Path, description = "The task's id, which is its execution's")),
    responses(
        (status = 200, description = "The task", body = TaskShown, headers(("Gesta-Applied-Index" = u64, description = "The first index that is not folded into it"))),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`TASK_NOT_FOUND`", body = ProblemBody),
    )
)]
pub(crate) async fn task(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    caller.require(Role::Operator)?;
    let task_id = TaskId::parse(id.as_bytes()).ok_or_else(no_task)?;
    let applied = app.projector.applied();
    let shown = match app.tasks.open(task_id) {
        Some(open) => TaskShown::of(&open),
        None => TaskShown::of_ended(task_id, app.tasks.ended_task(task_id).await?.ok_or_else(no_task)?),
    };
    if !caller.streams.matches(&shown.stream_id) {
        return Err(no_task());
    }
    let mut response = axum::Json(shown).into_response();
    response.headers_mut().insert("gesta-applied-index", applied.0.into());
    Ok(response)
}

/// Why a task is cancelled.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
pub(crate) struct TaskCancel {
    reason: Option<String>,
}

/// The task of a request, if the caller may change it.
fn own(app: &App, caller: &Caller, id: &str) -> Result<TaskId, Problem> {
    caller.require(Role::Operator)?;
    let task_id = TaskId::parse(id.as_bytes()).ok_or_else(no_task)?;
    match app.tasks.open(task_id) {
        Some(open) if !caller.streams.matches(&open.stream_id) => Err(no_task()),
        Some(_) | None => Ok(task_id),
    }
}

/// What is told of a task that is not there: that it has ended, or that there is none.
async fn gone(app: &App, caller: &Caller, task_id: TaskId, problem: Problem) -> Problem {
    if problem.code() != ReasonCode::TaskNotFound {
        return problem;
    }
    match app.tasks.ended_task(task_id).await {
        Ok(Some(ended)) if caller.streams.matches(&ended.stream_id) => {
            Problem::new(ReasonCode::IllegalTransition)
                .detail(format!("Nothing was appended: the task is {} already.", ended.state))
                .index(ended.index.0)
        }
        Ok(_) => problem,
        Err(problem) => problem,
    }
}

/// Cancels a task: at once where no worker has it, else its worker is asked to stop and has what is left of its lease.
///
/// A request without a body is one without a reason.
#[utoipa::path(
    post,
    path = "/api/task/{id}/cancel",
    tag = "tasks",
    params(("id" = String, Path, description = "The task's id")),
    request_body = TaskCancel,
    responses(
        (status = 202, description = "Durable", body = TaskChanged),
        (status = 400, description = "`INVALID_JSON`, `INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`TASK_NOT_FOUND`", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 409, description = "`ILLEGAL_TRANSITION`: it has ended; `SUBJECT_CONFLICT`", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub(crate) async fn cancel_task(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = Caller(app.auth.authenticate(&parts.headers)?);
    let task_id = own(&app, &caller, &id)?;
    demand_json_or_nothing(&parts.headers, &body)?;
    app.demand_running()?;
    let body = read_body(body, app.config.limits.body_bytes_max, app.body_patience()).await?;
    let asked = Asked { by: caller.name.clone(), reason: request::reason(&body)? };
    match app.tasks.cancel(task_id, &asked).await {
        Ok(state) => Ok(changed(task_id, state)),
        Err(problem) => Err(gone(&app, &caller, task_id, problem).await),
    }
}

/// Queues a task now whose retry is scheduled for later.
#[utoipa::path(
    post,
    path = "/api/task/{id}/retry",
    tag = "tasks",
    params(("id" = String, Path, description = "The task's id")),
    responses(
        (status = 202, description = "Durable", body = TaskChanged),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`TASK_NOT_FOUND`", body = ProblemBody),
        (status = 409, description = "`ILLEGAL_TRANSITION`: it runs, or has ended; `SUBJECT_CONFLICT`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub(crate) async fn retry_task(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = Caller(app.auth.authenticate(request.headers())?);
    let task_id = own(&app, &caller, &id)?;
    demand_json_or_nothing(request.headers(), request.body())?;
    app.demand_running()?;
    match app.tasks.retry(task_id, &caller.name).await {
        Ok(state) => Ok(changed(task_id, state)),
        Err(problem) => Err(gone(&app, &caller, task_id, problem).await),
    }
}

fn changed(task_id: TaskId, state: Stage) -> Response {
    let changed = TaskChanged { task_id: task_id.to_string(), state: state.text().to_owned() };
    (StatusCode::ACCEPTED, axum::Json(changed)).into_response()
}
