//! `POST /api/execution/{id}/cancel`: somebody asks that an execution ends.
//!
//! What is appended is the request, an INTENT `cancel_requested` behind the INTENT `submitted`, by swap on its subject: so
//! there is one, and who asks again is answered with it. Who ends the execution follows the log: `executor::cancel`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use gesta_log_format::envelope::{Draft, Expectation};
use gesta_log_format::json::{ErrorKind, Reader};
use gesta_log_format::{Index, Kind};
use gesta_replay::event::{Body, Event, EventError, Execution, ExecutionId, Intent};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Outcome;
use crate::append::AppendError;
use crate::auth::{Principal, Role};
use crate::executor::cancel::payload;
use crate::ingress::request::{DEFAULT_STREAM, Secrets, refused, rejected};
use crate::keys::Fingerprint;
use crate::limits;
use crate::problem::{Problem, ProblemBody, Query, ReasonCode, demand_json_or_nothing, read_body};
use crate::sequencer::Place;
use crate::server::App;
use crate::store::{LookupError, RecordBytes, blocking};

/// Why an execution is to end.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct CancelRequest {
    /// For those who read the log; at most 4096 bytes.
    #[schema(max_length = 4096)]
    pub reason: Option<String>,
}

/// Where an execution that has ended is looked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CancelQuery {
    /// The stream of the execution; `default` where it is left out. One that is open is found in every stream.
    tenant_id: Option<String>,
}

/// The answer to a request to cancel that is durable.
#[derive(Debug, Serialize, ToSchema)]
pub struct CancelRequested {
    /// Always true.
    pub ok: bool,
    pub execution_id: String,
    /// The INTENT `cancel_requested`; of a repeat the first one.
    pub index: u64,
}

/// Asks that an execution ends.
///
/// For who may submit in its stream on behalf of its actor, and for operators. What a builtin handler runs is given up at
/// once; what nobody runs yet, or is not even decided, ends with `cancelled` without having run; what runs outside is for
/// its reporter to end, who finds the request in the log. Completing first is legal. Asking again is answered with the
/// first request and `Idempotent-Replayed: true`. An empty body is one without a reason.
#[utoipa::path(
    post,
    path = "/api/execution/{id}/cancel",
    tag = "executions",
    params(("id" = String, Path, description = "`execution_id` of the INTENT"), CancelQuery),
    request_body = CancelRequest,
    responses(
        (status = 202, description = "The request is durable", body = CancelRequested),
        (status = 400, description = "`INVALID_JSON`, `INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`, `ACTOR_FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`EXECUTION_NOT_FOUND`", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 409, description = "`ILLEGAL_TRANSITION`: it has ended; `SUBJECT_CONFLICT` where it moved again and again", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub async fn cancel_execution(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(query): Query<CancelQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = app.auth.authenticate(&parts.headers)?;
    if !caller.roles.allow(Role::Operator) {
        caller.require(Role::IntentWrite)?;
    }
    demand_json_or_nothing(&parts.headers, &body)?;
    app.demand_running()?;
    let place = app.ingress.reserve()?;
    let body = read_body(body, app.config.limits.body_bytes_max, app.body_patience()).await?;
    let reason = read_reason(&body)?;
    let execution_id = ExecutionId::parse(id.as_bytes()).ok_or_else(not_found)?;
    let stream = query.tenant_id.unwrap_or_else(|| DEFAULT_STREAM.to_owned());
    let asked = Asked { app: &app, execution_id, stream, reason, principal: &caller };
    let (index, repeated) = match asked.append(place).await? {
        Outcome::Now(index) => (index, false),
        Outcome::Before(index) => (index, true),
    };
    let answer = CancelRequested { ok: true, execution_id: id, index: index.0 };
    let mut response = (StatusCode::ACCEPTED, Json(answer)).into_response();
    if repeated {
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn not_found() -> Problem {
    Problem::new(ReasonCode::ExecutionNotFound)
}

fn read_reason(body: &[u8]) -> Result<Option<String>, Problem> {
    if body.is_empty() {
        return Ok(None);
    }
    let read = || {
        let mut reader = Reader::new(body)?.with_depth_max(limits::JSON_DEPTH_MAX);
        let mut reason = None;
        reader.begin_object()?;
        while let Some(key) = reader.next_member()? {
            if key != "reason" {
                return Err(reader.fail(ErrorKind::UnknownField));
            }
            let text = reader.string()?;
            if text.len() > limits::CANCEL_REASON_BYTES_MAX {
                let shorter = format!("give at most {} bytes", limits::CANCEL_REASON_BYTES_MAX);
                return Err(reader.fail(rejected(shorter)));
            }
            reason = Some(text.into_owned());
        }
        reader.finish()?;
        Ok(reason)
    };
    read().map_err(|error| refused(body, &Secrets::default(), &error))
}

/// A request whose shape is right.
struct Asked<'a> {
    app: &'a App,
    execution_id: ExecutionId,
    /// Where it is looked for if it has ended.
    stream: String,
    reason: Option<String>,
    principal: &'a Principal,
}

impl Asked<'_> {
    /// Appends the request unless there is one.
    async fn append(&self, place: Place) -> Result<Outcome, Problem> {
        let mut through = Index(self.app.store.live.published().0.saturating_sub(1));
        for _ in 0..limits::EXECUTION_CONFLICTS_MAX {
            let patience = Duration::from_millis(limits::APPLIED_WAIT_MS);
            self.app.projector.wait_applied(through, patience).await?;
            let found = self.app.projector.look(|state| {
                let open = state.executions.open(self.execution_id);
                let open = open.map(|open| (open.intent_index, open.cancel_requested));
                open.or_else(|| state.executions.undecided_intent(self.execution_id))
            });
            match found {
                Some((intent_index, requested)) => {
                    let intent = self.record(intent_index).await?;
                    let intent = Event::parse(intent.data()).map_err(defect)?;
                    self.permit(&intent)?;
                    if let Some(first) = requested {
                        return Ok(Outcome::Before(first));
                    }
                    return self.append_behind(&intent, place).await;
                }
                None => match self.ended().await? {
                    Ended::With(outcome) => return Ok(outcome),
                    Ended::NotFolded(newest) => through = newest,
                },
            }
        }
        Err(Problem::new(ReasonCode::SubjectConflict).index(through.0))
    }

    async fn append_behind(&self, intent: &Event<'_>, place: Place) -> Result<Outcome, Problem> {
        let read = || -> Result<_, EventError> {
            let anchors = (intent.stream_id()?, intent.lane()?, intent.thread_id()?, intent.turn_id()?);
            let asked = (intent.actor()?, intent.intent_type()?);
            Ok((anchors, asked, intent.parent_turn_id()?, intent.correlation_id()?))
        };
        let (anchors, (actor, intent_type), parent_turn_id, correlation_id) = read().map_err(defect)?;
        let (stream_id, lane, thread_id, turn_id) = anchors;
        let subject = format!("intent/{correlation_id}");
        let draft = Draft {
            kind: Kind::Intent,
            type_name: "cancel_requested",
            stream_id: &stream_id,
            lane: &lane,
            actor: &actor,
            intent_type: &intent_type,
            thread_id: &thread_id,
            turn_id: &turn_id,
            parent_turn_id: parent_turn_id.as_deref(),
            correlation_id: &correlation_id,
            cause: Some(intent.index()),
            subjects: &[Expectation { subject, expected: Some(intent.index()) }],
            payload: &payload(&self.principal.name, self.reason.as_deref()),
        };
        match self.app.ingress.appender().append(&draft, place).await {
            Ok(index) => Ok(Outcome::Now(index)),
            // Nothing else follows an INTENT `submitted` on its subject.
            Err(AppendError::Moved { newest, .. }) => Ok(Outcome::Before(newest)),
            Err(error) => Err(error.into()),
        }
    }

    /// What to answer for an execution that is neither open nor awaited.
    async fn ended(&self) -> Result<Ended, Problem> {
        let key = Fingerprint::subject(&self.stream, &format!("execution/{}", self.execution_id));
        let Some(newest) = self.newest(key).await? else { return Err(not_found()) };
        let record = self.record(newest).await?;
        let end = Event::parse(record.data()).map_err(defect)?;
        self.permit(&end)?;
        let Body::Execution(execution) = end.body() else { return Err(not_found()) };
        match execution {
            Execution::Completed | Execution::Failed => {}
            Execution::Cancelled => {
                let correlation_id = end.correlation_id().map_err(defect)?;
                let key = Fingerprint::subject(&self.stream, &format!("intent/{correlation_id}"));
                let Some(request) = self.newest(key).await? else { return Err(not_found()) };
                let record = self.record(request).await?;
                let request = Event::parse(record.data()).map_err(defect)?;
                if request.body() == Body::Intent(Intent::CancelRequested) {
                    return Ok(Ended::With(Outcome::Before(request.index())));
                }
            }
            Execution::Running
            | Execution::Event
            | Execution::StateSet
            | Execution::StepCompleted
            | Execution::StepFailed => return Ok(Ended::NotFolded(newest)),
        }
        let detail = format!("The execution has ended with {} at index {newest}.", execution.text());
        Err(Problem::new(ReasonCode::IllegalTransition).detail(detail).index(newest.0))
    }

    /// Whether the caller may cancel what the record belongs to. What they may not know of is not there.
    fn permit(&self, event: &Event<'_>) -> Result<(), Problem> {
        let (stream, actor) = (event.stream_id().map_err(defect)?, event.actor().map_err(defect)?);
        let principal = self.principal;
        if principal.roles.allow(Role::Operator) && principal.streams.matches(&stream) {
            return Ok(());
        }
        if !principal.may_write_stream(&stream) {
            return Err(not_found());
        }
        if principal.may_act_for(&actor) { Ok(()) } else { Err(Problem::new(ReasonCode::ActorForbidden)) }
    }

    async fn newest(&self, key: Fingerprint) -> Result<Option<Index>, Problem> {
        let store = Arc::clone(&self.app.store);
        let newest = blocking(move || store.keys.newest(&key).map_err(LookupError::from)).await?;
        Ok(newest.map(Index))
    }

    async fn record(&self, index: Index) -> Result<RecordBytes, Problem> {
        self.app.executor.works().record(index).await.map_err(|error| {
            tracing::error!(%error, "a record of an execution cannot be read");
            Problem::new(ReasonCode::Internal)
        })
    }
}

/// What became of an execution that is not open.
enum Ended {
    /// It was cancelled, as it was asked.
    With(Outcome),
    /// Its record at this index is not folded yet.
    NotFolded(Index),
}

fn defect(error: EventError) -> Problem {
    tracing::error!(%error, "a record of an execution cannot be read");
    Problem::new(ReasonCode::Internal)
}
