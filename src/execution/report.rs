//! One report on its way: its intent found, its execution judged, its record appended.

use std::sync::Arc;
use std::time::Duration;

use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical;
use gesta_log_format::{Digest, Index, Kind};
use gesta_replay::event::{Body, Execution, ExecutionId, HandlerKind};
use gesta_replay::lifecycle::{self, Transition};
use gesta_replay::projections::executions::Open;

use super::Outcome;
use super::request::Report;
use crate::append::AppendError;
use crate::auth::Principal;
use crate::executor::{Duty, Step, StepError, duty};
use crate::keys::Fingerprint;
use crate::limits;
use crate::problem::{Problem, ReasonCode};
use crate::sequencer::Place;
use crate::server::App;
use crate::store::{LookupError, RecordBytes, blocking, unreadable};

/// The INTENT that a report is about.
struct Intent {
    execution_id: ExecutionId,
    actor: String,
    intent_type: String,
}

/// Where an execution stands, as far as a report is concerned.
enum Found {
    /// It is open.
    Open(Box<Open>),
    /// Its records say that it has ended, or are not folded yet.
    Closed,
}

/// The newest record of an execution.
struct Newest {
    index: Index,
    type_name: &'static str,
    /// What [`Report::digest`] gave when it was reported.
    request_digest: Option<Digest>,
    is_terminal: bool,
}

/// Appends the report unless it is a repeat of the execution's newest record.
///
/// # Errors
/// What the route documents.
pub(super) async fn append(
    app: &App,
    report: &Report<'_>,
    principal: &Principal,
    place: Place,
) -> Result<Outcome, Problem> {
    let intent = find_intent(app, report).await?;
    check_blobs(app, report, principal).await?;
    let digest = report.digest();
    let mut through = Index(app.store.live.published().0.saturating_sub(1));
    let mut place = Some(place);
    for _ in 0..limits::EXECUTION_CONFLICTS_MAX {
        app.projector.wait_applied(through, Duration::from_millis(limits::APPLIED_WAIT_MS)).await?;
        let (found, duty, is_task) = app.projector.look(|state| {
            let open = state.executions.open(intent.execution_id).cloned();
            let found = open.map_or(Found::Closed, |open| Found::Open(Box::new(open)));
            let is_task = state.tasks.task(intent.execution_id).is_some();
            (found, duty(app.executor.registry(), &state.handlers, &intent.intent_type), is_task)
        });
        if is_task {
            return Err(is_a_task());
        }
        let newest = newest(app, &intent, report).await?;
        let mut open = match (found, &newest) {
            (Found::Closed, None) => return Err(Problem::new(ReasonCode::NotAllowed)),
            (Found::Closed, Some(newest)) if !newest.is_terminal => {
                through = newest.index;
                continue;
            }
            (Found::Closed, Some(newest)) => {
                demand_external(&duty)?;
                return repeat_or_refuse(newest, &digest, report);
            }
            (Found::Open(open), _) => open,
        };
        demand_external(&duty)?;
        if let Some(newest) = &newest {
            if Some(newest.index) != open.last_index {
                through = newest.index;
                continue;
            }
            if newest.request_digest == Some(digest) {
                return Ok(Outcome::Before(newest.index));
            }
        }
        let transition = report.transition(open.standing);
        demand_legal(&open, transition)?;
        let payload = report.record_payload(transition, &principal.name);
        let step = Step { actor: &intent.actor, transition, payload: &payload };
        let reserved = place.take().map_or_else(|| app.ingress.reserve(), Ok)?;
        match app.executor.author().append(&mut open, step, reserved).await {
            Ok(index) => return Ok(Outcome::Now(index)),
            Err(StepError::Append(AppendError::Moved { newest, .. })) => through = newest,
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::new(ReasonCode::SubjectConflict).index(through.0))
}

/// The INTENT `submitted` of the correlation id.
async fn find_intent(app: &App, report: &Report<'_>) -> Result<Intent, Problem> {
    let (stream, subject) =
        (report.stream_id.clone().into_owned(), format!("intent/{}", report.correlation_id));
    let store = Arc::clone(&app.store);
    let found = blocking(move || {
        let key = Fingerprint::subject(&stream, &subject);
        let found = store.find(&key, Index::ZERO, 4, |data| {
            View::parse(data).is_some_and(|view| {
                let is_named = |raw: &[u8]| canonical::unescape(raw).as_deref() == Some(&*subject);
                view.kind == Kind::Intent
                    && view.type_name == "submitted"
                    && canonical::unescape(view.stream_id).as_deref() == Some(&*stream)
                    && view.subjects().flatten().any(|found| is_named(found.subject))
            })
        })?;
        Ok(found.into_iter().next())
    })
    .await?;
    let (_, record) = found.ok_or_else(|| {
        Problem::new(ReasonCode::IntentNotFound).detail(format!(
            "The stream {} has no intent with the correlation id {}.",
            report.stream_id, report.correlation_id
        ))
    })?;
    Intent::read(&record).ok_or_else(|| Problem::new(ReasonCode::Internal))
}

impl Intent {
    fn read(record: &RecordBytes) -> Option<Self> {
        let view = View::parse(record.data())?;
        let execution_id = canonical::string(view.payload_member("execution_id")?)?;
        Some(Self {
            execution_id: ExecutionId::parse(execution_id.as_bytes())?,
            actor: canonical::unescape(view.actor)?.into_owned(),
            intent_type: canonical::unescape(view.intent_type)?.into_owned(),
        })
    }
}

/// Content that the report refers to has to be there.
async fn check_blobs(app: &App, report: &Report<'_>, principal: &Principal) -> Result<(), Problem> {
    if memchr::memmem::find(&report.payload, b"\"$blob\"").is_none() {
        return Ok(());
    }
    let (app, payload, caller) = (app.clone(), report.payload.clone(), principal.clone());
    let checked =
        tokio::task::spawn_blocking(move || app.blobs.check_references(&payload, &caller, &*app.store));
    match checked.await {
        Ok(checked) => checked.map_err(|error| error.problem("/payload")),
        Err(_panicked) => Err(Problem::new(ReasonCode::Internal)),
    }
}

/// The newest record of the execution's subject, whether it is folded or not.
async fn newest(app: &App, intent: &Intent, report: &Report<'_>) -> Result<Option<Newest>, Problem> {
    let subject = format!("execution/{}", intent.execution_id);
    let key = Fingerprint::subject(&report.stream_id, &subject);
    let newest = app.store.keys.newest(&key).map_err(|error| unreadable(&LookupError::from(error)))?;
    let Some(index) = newest.map(Index) else { return Ok(None) };
    let record = app.executor.works().record(index).await.map_err(|error| {
        tracing::error!(%error, "an execution's newest record cannot be read");
        Problem::new(ReasonCode::Internal)
    })?;
    if View::parse(record.data()).is_some_and(|view| view.kind == Kind::Task) {
        return Err(is_a_task());
    }
    Newest::read(index, &record).map(Some).ok_or_else(|| Problem::new(ReasonCode::Internal))
}

impl Newest {
    fn read(index: Index, record: &RecordBytes) -> Option<Self> {
        let view = View::parse(record.data())?;
        let Some(Body::Execution(execution)) = Body::of(view.kind, view.type_name) else { return None };
        let observed = view.payload_member("_obs").unwrap_or(b"{}");
        let digest = canonical::member(observed, "request_digest")
            .and_then(|value| Digest::parse(&canonical::string(value)?));
        let is_terminal = match execution {
            Execution::Completed | Execution::Failed | Execution::Cancelled => true,
            Execution::Running
            | Execution::Event
            | Execution::StateSet
            | Execution::StepCompleted
            | Execution::StepFailed => false,
        };
        Some(Self { index, type_name: execution.text(), request_digest: digest, is_terminal })
    }
}

fn is_a_task() -> Problem {
    Problem::new(ReasonCode::NotExternal).detail("The execution is a task: its worker reports on it.")
}

fn demand_external(duty: &Duty) -> Result<(), Problem> {
    let runs = match duty {
        Duty::Wait(HandlerKind::External) => return Ok(()),
        Duty::Wait(other) => format!("The handler of this type is of kind {}.", other.text()),
        Duty::Invoke(runnable) => format!("The builtin handler {} runs this type.", runnable.name()),
        Duty::Fail { reason } => format!("There is no external handler: {reason}."),
    };
    Err(Problem::new(ReasonCode::NotExternal).detail(runs))
}

fn demand_legal(open: &Open, transition: Transition) -> Result<(), Problem> {
    lifecycle::may(open.standing, transition).map(drop).map_err(|illegal| {
        let problem =
            Problem::new(ReasonCode::IllegalTransition).detail(format!("Nothing was appended: {illegal}."));
        match open.last_index {
            Some(last) => problem.index(last.0),
            None => problem,
        }
    })
}

/// The execution has ended with `newest`.
fn repeat_or_refuse(newest: &Newest, digest: &Digest, report: &Report<'_>) -> Result<Outcome, Problem> {
    if newest.request_digest.as_ref() == Some(digest) {
        return Ok(Outcome::Before(newest.index));
    }
    let (type_name, index) = (newest.type_name, newest.index);
    let detail = format!(
        "The execution has ended with {type_name} at index {index}: {} cannot follow.",
        report.execution.text()
    );
    Err(Problem::new(ReasonCode::IllegalTransition).detail(detail).index(index.0))
}

impl From<StepError> for Problem {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Illegal(illegal) => {
                Self::new(ReasonCode::IllegalTransition).detail(format!("Nothing was appended: {illegal}."))
            }
            StepError::Append(error) => error.into(),
        }
    }
}
