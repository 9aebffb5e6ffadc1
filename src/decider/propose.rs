//! From an answer to a record that is ready to be appended.

use gesta_log_format::envelope::{Draft, Expectation};
use gesta_log_format::{Index, Kind};
use gesta_replay::EventError;
use gesta_replay::event::Event;

use crate::append::{AppendError, Appender, Ready};

/// Whom a DECISION is by.
const ACTOR: &str = "gesta";

/// Why an answer did not become a record.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProposeError {
    #[error("the intent's envelope cannot be read: {0}")]
    Intent(#[from] EventError),
    #[error("the decision does not become a record: {0}")]
    Append(#[from] AppendError),
}

/// What the swap on an intent's decision is on.
pub(super) fn subject(index: Index) -> String {
    format!("decision/{index}")
}

/// The record of the decision of `intent`; what is too large for it is put as blobs first. Blocks on the disk then.
pub(super) fn record(intent: &Event<'_>, payload: &[u8], appender: &Appender) -> Result<Ready, ProposeError> {
    let parent_turn_id = intent.parent_turn_id()?;
    let draft = Draft {
        kind: Kind::Decision,
        type_name: "decided",
        stream_id: &intent.stream_id()?,
        lane: &intent.lane()?,
        actor: ACTOR,
        intent_type: &intent.intent_type()?,
        thread_id: &intent.thread_id()?,
        turn_id: &intent.turn_id()?,
        parent_turn_id: parent_turn_id.as_deref(),
        correlation_id: &intent.correlation_id()?,
        cause: Some(intent.index()),
        subjects: &[Expectation { subject: subject(intent.index()), expected: None }],
        payload,
    };
    Ok(appender.ready_blocking(&draft)?)
}
