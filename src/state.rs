//! The state surface: the one way to the state of sessions and executions, to artifacts, and to the steps of executions.
//!
//! All of it is asked of the log, through the key index: the newest record of a subject is what the state is, so there is
//! no copy that could be behind. Every change is a swap on its own subject. Where an attempt of a task writes, the task's
//! subject is in the same swap, so that an attempt that was replaced changes nothing. Who may write what is its caller's
//! to know.

mod artifact;
mod request;
mod step;
mod value;

use std::sync::Arc;

use gesta_log_format::envelope::{Draft, Expectation};
use gesta_log_format::{Index, Kind};
use gesta_replay::event::ExecutionId;

pub(crate) use artifact::{Artifact, Registered};
pub(crate) use request::{read_artifact, read_state, read_step};
pub(crate) use step::Step;
pub(crate) use value::{Name, Scope};

use crate::append::{AppendError, Appender};
use crate::blobs;
use crate::executor::{Works, WorksError};
use crate::limits;
use crate::members::Members;
use crate::problem::{Problem, ReasonCode};
use crate::sequencer::Places;
use crate::store::Store;

/// The state surface of a server.
pub struct Surface {
    store: Arc<Store>,
    works: Works,
    appender: Appender,
    places: Arc<Places>,
}

/// Who writes, and where the record belongs: where its INTENT does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) execution_id: ExecutionId,
    /// The attempt of the task of this id, where one writes. Its last record is then the cause, and has to be still.
    pub(crate) attempt: Option<u64>,
    /// What led to it.
    pub(crate) cause: Index,
    pub(crate) actor: &'a str,
    pub(crate) intent_type: &'a str,
    pub(crate) stream_id: &'a str,
    pub(crate) lane: &'a str,
    pub(crate) correlation_id: &'a str,
    pub(crate) thread_id: &'a str,
    pub(crate) turn_id: &'a str,
    pub(crate) parent_turn_id: Option<&'a str>,
}

/// A record that says what was to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Now(Index),
    /// By an earlier, equal request.
    Before(Index),
}

impl Written {
    pub(crate) fn index(self) -> Index {
        match self {
            Self::Now(index) | Self::Before(index) => index,
        }
    }
}

/// Why something was not written, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SurfaceError {
    /// The state is another than expected.
    #[error("the state was set by another record than the one that is expected")]
    StateConflict { newest: Option<Index> },
    /// The id is that of another artifact, or of another one's.
    #[error("the record at index {first} has registered the artifact as something else")]
    ArtifactExists { first: Index },
    /// A parent is not there.
    #[error("the stream has no artifact {parent:?}")]
    NoParent { nth: usize, parent: String },
    /// What a materialization names is not there, or is another content.
    #[error("the stream has no object of this name and content")]
    NoObject { nth: usize },
    /// Another record has moved one of the subjects: once more, when it is known.
    #[error("the record at index {newest} came first")]
    Overtaken { newest: Index },
    /// Too many records are on their way.
    #[error("the queue is full")]
    Full,
    #[error(transparent)]
    Append(AppendError),
    #[error(transparent)]
    Works(#[from] WorksError),
    /// The log or its index cannot be read; said to the operator already.
    #[error("a look-up failed")]
    LookUp(Box<Problem>),
    /// A record is not what it was found as: a defect.
    #[error("the record at index {0} cannot be understood")]
    Foreign(Index),
}

impl From<AppendError> for SurfaceError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Moved { newest, .. } => Self::Overtaken { newest },
            AppendError::DiskFull
            | AppendError::Closed
            | AppendError::Unknown
            | AppendError::TooLarge(_)
            | AppendError::Payload
            | AppendError::Unreadable(_)
            | AppendError::Blob(_)
            | AppendError::Lookup(_) => Self::Append(error),
        }
    }
}

impl SurfaceError {
    fn look_up(problem: Problem) -> Self {
        Self::LookUp(Box::new(problem))
    }

    /// The problem for a client in whose request the artifact, if it is about one, stands at the pointer `at`.
    pub(crate) fn problem(self, at: &str) -> Problem {
        let wrong = |pointer: String, detail: String| {
            Problem::new(ReasonCode::InvalidInput)
                .detail(format!("Nothing was appended: {pointer}: {detail}."))
                .pointer(pointer)
        };
        match self {
            Self::StateConflict { newest } => {
                let problem = Problem::new(ReasonCode::StateConflict);
                match newest {
                    Some(newest) => problem.index(newest.0),
                    None => problem.extra("index", serde_json::Value::Null),
                }
            }
            Self::ArtifactExists { first } => Problem::new(ReasonCode::ArtifactExists).index(first.0),
            Self::NoParent { nth, ref parent } => {
                wrong(format!("{at}/parent_artifacts/{nth}"), format!("there is no artifact {parent:?}"))
            }
            Self::NoObject { nth } => {
                let detail = "there is no object of this name with this content: put it first";
                wrong(format!("{at}/materializations/{nth}/uri"), detail.to_owned())
            }
            Self::Overtaken { newest } => Problem::new(ReasonCode::SubjectConflict).index(newest.0),
            Self::Full => Problem::new(ReasonCode::QueueFull),
            Self::Append(error) => error.into(),
            Self::LookUp(problem) => *problem,
            error @ (Self::Works(_) | Self::Foreign(_)) => {
                tracing::error!(%error, "the state surface cannot read what it has found");
                Problem::new(ReasonCode::Internal)
            }
        }
    }
}

impl Writer<'_> {
    /// What the payload begins with.
    fn members(&self) -> Members {
        match self.attempt {
            Some(attempt) => Members::new().number("attempt", attempt),
            None => Members::new(),
        }
    }
}

impl Surface {
    #[must_use]
    pub fn new(store: Arc<Store>, blobs: Arc<blobs::Store>, appender: Appender) -> Self {
        let works = Works::new(Arc::clone(&store), blobs);
        Self { store, works, appender, places: Places::new(limits::STATE_RECORDS_MAX) }
    }

    /// Appends a record behind the one that `own` expects, and behind the writer's cause where that is an attempt.
    async fn append(
        &self,
        writer: &Writer<'_>,
        (kind, type_name): (Kind, &'static str),
        own: Expectation,
        payload: &[u8],
    ) -> Result<Index, SurfaceError> {
        let place = self.places.reserve().ok_or(SurfaceError::Full)?;
        let mut subjects = vec![own];
        if writer.attempt.is_some() {
            let subject = format!("task/{}", writer.execution_id);
            subjects.push(Expectation { subject, expected: Some(writer.cause) });
        }
        let draft = Draft {
            kind,
            type_name,
            stream_id: writer.stream_id,
            lane: writer.lane,
            actor: writer.actor,
            intent_type: writer.intent_type,
            thread_id: writer.thread_id,
            turn_id: writer.turn_id,
            parent_turn_id: writer.parent_turn_id,
            correlation_id: writer.correlation_id,
            cause: Some(writer.cause),
            subjects: &subjects,
            payload,
        };
        Ok(self.appender.append(&draft, place).await?)
    }
}
