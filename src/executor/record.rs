//! EXECUTION records: one function appends one, by swap on its subject.
//!
//! A record inherits its anchors from the INTENT and its cause from the record of the subject before it, or from the
//! DECISION. What the life of an execution does not allow is refused here, whoever asks: a log that held it could not
//! be folded.

use std::sync::Arc;

use gesta_log_format::envelope::{Draft, Expectation};
use gesta_log_format::{Index, Kind};
use gesta_replay::event::Execution;
use gesta_replay::lifecycle::{self, IllegalTransition, Transition};
use gesta_replay::projections::executions::Open;

use super::deadlines::Deadlines;
use super::metrics::Metrics;
use crate::append::{AppendError, Appender};
use crate::sequencer::Place;

/// Writes EXECUTION records.
#[derive(Clone)]
pub struct Author {
    appender: Appender,
    metrics: Metrics,
    deadlines: Arc<Deadlines>,
}

/// What is to be said of an execution.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The INTENT's actor.
    pub actor: &'a str,
    pub transition: Transition,
    /// One canonical JSON object; members that are too large for the record become blobs.
    pub payload: &'a [u8],
}

/// Why a record was not appended.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Its life does not go that way. Nothing was appended.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// `Moved` where another record of the execution is newer than the one that the author knows.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// The subject whose records are an execution's.
pub fn subject(open: &Open) -> String {
    format!("execution/{}", open.execution_id)
}

impl Author {
    pub(super) fn new(appender: Appender, metrics: Metrics, deadlines: Arc<Deadlines>) -> Self {
        Self { appender, metrics, deadlines }
    }

    /// Appends a record behind `open.last_index`, waits until it is durable, and moves `open` on to it.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn append(&self, open: &mut Open, step: Step<'_>, place: Place) -> Result<Index, StepError> {
        let standing = lifecycle::may(open.standing, step.transition)?;
        let draft = Draft {
            kind: Kind::Execution,
            type_name: Execution::text(step.transition.execution()),
            stream_id: &open.stream_id,
            lane: &open.lane,
            actor: step.actor,
            intent_type: &open.intent_type,
            thread_id: &open.thread_id,
            turn_id: &open.turn_id,
            parent_turn_id: open.parent_turn_id.as_deref(),
            correlation_id: &open.correlation_id,
            cause: Some(open.last_index.unwrap_or(open.decision_index)),
            subjects: &[Expectation { subject: subject(open), expected: open.last_index }],
            payload: step.payload,
        };
        let index = self.appender.append(&draft, place).await?;
        (open.standing, open.last_index) = (standing, Some(index));
        self.metrics.happened(step.transition);
        self.deadlines.happened(open);
        Ok(index)
    }
}
