//! What an auditor asks of every record beyond its bytes: does it continue the log that it claims to continue?
//!
//! | rule | what |
//! |---|---|
//! | order | indexes ascend by one, `recorded_at` never decreases |
//! | `expected` | each subject names the index of its previous record in the same stream, or null as its first |
//! | one INTENT | a correlation id is submitted once in a stream, and cancelled only then |
//! | one DECISION | the subject `decision/{intent index}` has one record |
//! | subjects | an INTENT names `intent/{correlation_id}`, a DECISION `decision/{intent_index}`, an EXECUTION its execution, a TASK its task and each dataset version that it publishes, an ARTIFACT about a dataset version that, one `registered` its artifact, a SESSION `state_set` its session's state |
//! | cause | lies before the record; that of a TASK, and of what an attempt of a task writes besides, is the task's previous record |
//! | handler | that of a task was registered at some time |
//! | CONTROL | stands in `_system`, and nothing else does |
//!
//! Whether a DECISION or an EXECUTION may come, and that it is anchored where its INTENT is, [`super::decisions`] and
//! [`super::executions`] ask, live as well.
//!
//! Memory: about 36 bytes for each subject that there ever was. A record that breaks a rule and is passed over moves
//! its subjects all the same, so that one wrong record is one fault.
//!
//! The state in a snapshot, version 1, subjects by ascending fingerprint, each with the index of its last record:
//!
//! ```text
//! {"applied":9,"recorded_at":"2026-11-02T04:10:33.123456Z","subjects":"{32 digits}={index},…"}
//! ```

use std::borrow::Cow;

use gesta_log_format::{Index, Timestamp};
use serde::{Deserialize, Serialize};

use crate::event::{
    Artifact, Body, Event, EventError, Execution, Intent, SYSTEM_STREAM, Session, Task, TaskHandler,
};
use crate::fingerprint::{Fingerprint, Table, Tag};
use crate::projection::{FoldError, Projection};
use crate::rule::Rule;
use crate::snapshot::{self, RestoreError, ensure};

const NAME: &str = "audit";
const VERSION: u32 = 1;

/// What every record is compared with.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    applied: Index,
    recorded_at: Timestamp,
    subjects: Table,
    /// Of no meaning: the subjects of the record at hand, and where fingerprints are laid out.
    moving: Vec<Fingerprint>,
    buffer: Vec<u8>,
}

impl Audit {
    /// The state of a log of which nothing below `first` is known, as where its beginning is not at hand.
    #[must_use]
    pub fn starting_at(first: Index) -> Self {
        Self { applied: first, ..Self::default() }
    }

    /// How many subjects there were, over all streams.
    #[must_use]
    pub fn subjects(&self) -> usize {
        self.subjects.len()
    }

    fn check(&mut self, event: &Event<'_>) -> Result<Timestamp, FoldError> {
        let broken = |rule| Err(FoldError::broken(event, rule));
        let recorded_at = event.recorded_at()?;
        if recorded_at < self.recorded_at {
            return broken(Rule::Time);
        }
        if let Some(cause) = event.cause().filter(|cause| *cause >= event.index()) {
            return broken(Rule::Cause { cause });
        }
        let in_system = event.view().stream_id == SYSTEM_STREAM.as_bytes();
        if in_system != matches!(event.body(), Body::Control(_)) {
            return broken(Rule::ControlStream);
        }
        self.check_subjects(event)?;
        Ok(recorded_at)
    }

    /// Compares each subject, and keeps their fingerprints in `moving`.
    fn check_subjects(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        self.moving.clear();
        let wanted = Wanted::of(event)?;
        let (mut named, mut of_task) = (None, None);
        for found in event.subjects() {
            let (subject, expected) = found?;
            if subject.starts_with("task/") {
                of_task = of_task.or(expected);
            }
            if wanted.is(&subject) {
                named.get_or_insert(expected);
            }
            let parts = [event.view().stream_id, subject.as_bytes()];
            let fingerprint = Fingerprint::of(&mut self.buffer, Tag::Subject, &parts);
            let twice = self.moving.contains(&fingerprint).then_some(event.index());
            let previous = twice.or(self.subjects.number(fingerprint).map(Index));
            if previous != expected {
                let rule = Rule::Expected { subject: subject.into_owned(), expected, previous };
                return Err(FoldError::broken(event, rule));
            }
            self.moving.push(fingerprint);
        }
        wanted.judge(named).map_err(|rule| FoldError::broken(event, rule))?;
        match event.body() {
            Body::Task(task) => self.check_task(event, task, named.flatten()),
            Body::Execution(_) | Body::Artifact(_) | Body::Session(_) => check_task_cause(event, of_task),
            Body::Intent(_) | Body::Decision(_) | Body::Control(_) | Body::Ledger(_) => Ok(()),
        }
    }

    /// What is asked of a TASK besides, `previous` being the task's previous record.
    fn check_task(
        &mut self,
        event: &Event<'_>,
        task: Task,
        previous: Option<Index>,
    ) -> Result<(), FoldError> {
        let broken = |rule| Err(FoldError::broken(event, rule));
        check_task_cause(event, previous)?;
        if task == Task::Completed {
            for version in event.datasets_published()? {
                let wanted = version.name.subject();
                let named = event.subjects().flatten().any(|(subject, _)| subject == wanted);
                if !named {
                    return broken(Rule::Subject { wanted });
                }
            }
        }
        let first = if task == Task::Queued { event.task_queued()?.first } else { None };
        match first {
            Some(first) if !self.was_registered(&first.handler) => {
                let handler_name = first.handler.handler_name.into_owned();
                broken(Rule::TaskHandler { handler_name, index: first.handler.index })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the handler's subject has had a record at that index or above.
    fn was_registered(&mut self, handler: &TaskHandler<'_>) -> bool {
        let subject = format!("handler/{}/{}", handler.intent_type, handler.handler_name);
        let parts = [SYSTEM_STREAM.as_bytes(), subject.as_bytes()];
        let fingerprint = Fingerprint::of(&mut self.buffer, Tag::Subject, &parts);
        self.subjects.number(fingerprint).is_some_and(|last| handler.index.0 <= last)
    }

    /// Moves what was checked to the record.
    fn advance(&mut self, event: &Event<'_>) {
        for fingerprint in self.moving.drain(..) {
            self.subjects.set(fingerprint, event.index().0);
        }
    }
}

/// Whether a record follows from the task's previous one, where it moves the task's subject.
fn check_task_cause(event: &Event<'_>, previous: Option<Index>) -> Result<(), FoldError> {
    match previous.filter(|previous| event.cause() != Some(*previous)) {
        Some(wanted) => Err(FoldError::broken(event, Rule::TaskCause { wanted })),
        None => Ok(()),
    }
}

/// The subject that a record's kind and type ask for.
enum Wanted<'a> {
    /// `intent/{id}`, as its first record.
    Submitted(Cow<'a, str>),
    /// `intent/{id}`, as a later one.
    CancelRequested(Cow<'a, str>),
    /// `decision/{index}`, as its only one.
    Decision(Index),
    /// `execution/{id}`, `task/{id}` and such, whose id [`super::executions`] and [`super::tasks`] read.
    Prefix(&'static str),
    /// `dataset/{uuid}/{version}`.
    Dataset(String),
    Any,
}

impl<'a> Wanted<'a> {
    fn of(event: &Event<'a>) -> Result<Self, EventError> {
        Ok(match event.body() {
            Body::Intent(Intent::Submitted) => Self::Submitted(event.correlation_id()?),
            Body::Intent(Intent::CancelRequested) => Self::CancelRequested(event.correlation_id()?),
            Body::Decision(_) => Self::Decision(event.intent_index()?),
            Body::Execution(Execution::StateSet) => Self::Prefix("execution-state/"),
            Body::Execution(_) => Self::Prefix("execution/"),
            Body::Task(_) => Self::Prefix("task/"),
            Body::Artifact(Artifact::DatasetRegistered) => {
                Self::Dataset(event.dataset_registered()?.name.subject())
            }
            Body::Artifact(Artifact::DatasetEvent) => Self::Dataset(event.dataset_event()?.name.subject()),
            Body::Artifact(Artifact::Registered) => Self::Prefix("artifact/"),
            Body::Session(Session::StateSet) => Self::Prefix("session-state/"),
            Body::Artifact(_) | Body::Session(_) | Body::Control(_) | Body::Ledger(_) => Self::Any,
        })
    }

    fn is(&self, subject: &str) -> bool {
        match self {
            Self::Submitted(id) | Self::CancelRequested(id) => {
                subject.strip_prefix("intent/") == Some(id.as_ref())
            }
            Self::Decision(index) => {
                let named = subject.strip_prefix("decision/");
                named.is_some_and(|named| named.parse() == Ok(index.0) && named == index.to_string())
            }
            Self::Prefix(prefix) => subject.starts_with(prefix),
            Self::Dataset(wanted) => subject == wanted,
            Self::Any => true,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Submitted(id) | Self::CancelRequested(id) => format!("intent/{id}"),
            Self::Decision(index) => format!("decision/{index}"),
            Self::Prefix(prefix) => format!("{prefix}{{id}}"),
            Self::Dataset(wanted) => wanted.clone(),
            Self::Any => "given".to_owned(),
        }
    }

    /// `named` is what the subject expected, if it was named.
    #[expect(
        clippy::option_option,
        reason = "the outer level says not named, the inner one that null was expected"
    )]
    fn judge(&self, named: Option<Option<Index>>) -> Result<(), Rule> {
        let Some(expected) = named else { return Err(Rule::Subject { wanted: self.text() }) };
        match (self, expected) {
            (Self::Submitted(_), Some(first)) => Err(Rule::CorrelationIdReused { first }),
            (Self::CancelRequested(_), None) => Err(Rule::NothingToCancel),
            (Self::Decision(intent_index), Some(first)) => {
                Err(Rule::SecondDecision { intent_index: *intent_index, first })
            }
            (Self::Submitted(_) | Self::Decision(_), None)
            | (Self::CancelRequested(_), Some(_))
            | (Self::Prefix(_) | Self::Dataset(_) | Self::Any, _) => Ok(()),
        }
    }
}

impl PartialEq for Audit {
    fn eq(&self, other: &Self) -> bool {
        (self.applied, self.recorded_at, &self.subjects)
            == (other.applied, other.recorded_at, &other.subjects)
    }
}

impl Eq for Audit {}

impl Projection for Audit {
    fn name(&self) -> &'static str {
        NAME
    }

    fn take_in(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        self.recorded_at = self.check(event)?;
        self.advance(event);
        Ok(())
    }

    /// Moves the record's subjects and the time, so that what follows it is compared with it.
    fn pass_over(&mut self, event: &Event<'_>) {
        self.moving.clear();
        for (subject, _) in event.subjects().map_while(Result::ok) {
            let parts = [event.view().stream_id, subject.as_bytes()];
            self.moving.push(Fingerprint::of(&mut self.buffer, Tag::Subject, &parts));
        }
        self.recorded_at = event.recorded_at().unwrap_or(self.recorded_at);
        self.advance(event);
        self.applied = event.index().next();
    }

    fn applied(&self) -> Index {
        self.applied
    }

    fn applied_mut(&mut self) -> &mut Index {
        &mut self.applied
    }

    fn snapshot(&self) -> Vec<u8> {
        let form = Form {
            applied: self.applied.0,
            recorded_at: self.recorded_at.to_string(),
            subjects: self.subjects.text(),
        };
        snapshot::write(NAME, VERSION, &form)
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        let form: Form = snapshot::read(NAME, VERSION, snapshot)?;
        let recorded_at = Timestamp::parse(form.recorded_at.as_bytes());
        let recorded_at = recorded_at.ok_or(RestoreError::Contradiction { what: "the time is none" })?;
        ensure(form.applied > 0 || form.subjects.is_empty(), "there are subjects and no record")?;
        let subjects = Table::parse(&form.subjects, 0..=form.applied.saturating_sub(1))?;
        Ok(Self { applied: Index(form.applied), recorded_at, subjects, ..Self::default() })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    applied: u64,
    recorded_at: String,
    subjects: String,
}
