//! Writes TASK records: judges the step, takes a place in the queue, swaps on the task's subject.

use std::sync::Arc;

use gesta_log_format::envelope::{Draft, Expectation};
use gesta_log_format::{Index, Kind};
use gesta_replay::event::Task;
use gesta_replay::projections::executions;
use gesta_replay::projections::tasks::Open;
use gesta_replay::task_lifecycle::{self, IllegalTransition, Standing, Transition};

use super::metrics::Metrics;
use crate::append::{AppendError, Appender, Remedy};
use crate::problem::{Problem, ReasonCode};
use crate::sequencer::Places;

/// Whom a record is by that nobody asked for.
pub(super) const SERVER: &str = "gesta";

/// Writes TASK records.
pub(super) struct Author {
    appender: Appender,
    places: Arc<Places>,
    metrics: Metrics,
}

/// What is to be recorded of a task.
pub(super) struct Step<'a> {
    pub(super) transition: Transition,
    /// Who does it.
    pub(super) actor: &'a str,
    /// Canonical JSON of an object.
    pub(super) payload: &'a [u8],
    /// What changes besides the task.
    pub(super) others: Vec<Expectation>,
}

/// Why a record was not appended.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// Its life does not go that way.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// Too many records of tasks are on their way.
    #[error("the queue is full")]
    Full,
    /// `Moved` where another record is newer than the one that the author knows: of the task as subject 0, of one of the
    /// others as the next.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl StepError {
    /// What can be done about it.
    pub(super) fn remedy(&self) -> Remedy {
        match self {
            Self::Illegal(_) => Remedy::None,
            Self::Full => Remedy::Wait,
            Self::Append(error) => error.remedy(),
        }
    }
}

/// The subject whose records are a task's.
pub(super) fn subject(open: &Open) -> String {
    format!("task/{}", open.task_id)
}

impl Author {
    pub(super) fn new(appender: Appender, places: Arc<Places>, metrics: Metrics) -> Self {
        Self { appender, places, metrics }
    }

    /// Appends a record behind `open.last_index`, and waits until it is durable.
    ///
    /// # Errors
    /// [`StepError`].
    pub(super) async fn append(&self, open: &Open, step: Step<'_>) -> Result<(Index, Standing), StepError> {
        let standing = task_lifecycle::may(open.standing, step.transition)?;
        let place = self.places.reserve().ok_or(StepError::Full)?;
        let mut subjects = vec![Expectation { subject: subject(open), expected: Some(open.last_index) }];
        subjects.extend(step.others);
        let draft = Draft {
            kind: Kind::Task,
            type_name: Task::text(step.transition.task()),
            stream_id: &open.stream_id,
            lane: &open.lane,
            actor: step.actor,
            intent_type: &open.intent_type,
            thread_id: &open.thread_id,
            turn_id: &open.turn_id,
            parent_turn_id: open.parent_turn_id.as_deref(),
            correlation_id: &open.correlation_id,
            cause: Some(open.last_index),
            subjects: &subjects,
            payload: step.payload,
        };
        let index = self.appender.append(&draft, place).await?;
        self.metrics.happened(step.transition, standing);
        Ok((index, standing))
    }

    /// Makes a task of an execution, unless it is one, or somebody else has begun with it.
    ///
    /// # Errors
    /// `Full`, `Append`.
    pub(super) async fn queue(
        &self,
        execution: &executions::Open,
        payload: &[u8],
    ) -> Result<Index, StepError> {
        let place = self.places.reserve().ok_or(StepError::Full)?;
        let draft = Draft {
            kind: Kind::Task,
            type_name: Task::text(Task::Queued),
            stream_id: &execution.stream_id,
            lane: &execution.lane,
            actor: SERVER,
            intent_type: &execution.intent_type,
            thread_id: &execution.thread_id,
            turn_id: &execution.turn_id,
            parent_turn_id: execution.parent_turn_id.as_deref(),
            correlation_id: &execution.correlation_id,
            cause: Some(execution.decision_index),
            subjects: &[
                Expectation { subject: format!("task/{}", execution.execution_id), expected: None },
                // Whoever else was about to run it is refused, or this is.
                Expectation {
                    subject: format!("execution/{}", execution.execution_id),
                    expected: execution.last_index,
                },
            ],
            payload,
        };
        let index = self.appender.append(&draft, place).await?;
        self.metrics.queued();
        Ok(index)
    }
}

impl From<StepError> for Problem {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Illegal(illegal) => {
                Self::new(ReasonCode::IllegalTransition).detail(format!("Nothing was appended: {illegal}."))
            }
            StepError::Full => Self::new(ReasonCode::QueueFull),
            StepError::Append(error) => error.into(),
        }
    }
}
