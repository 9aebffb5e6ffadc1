//! From an answer to a record that is ready to be appended.

use std::sync::Arc;

use gesta_log_format::blob::spill;
use gesta_log_format::envelope::{Draft, Expectation, PrepareError, Prepared};
use gesta_log_format::{Index, Kind, record};
use gesta_replay::event::Event;

use crate::blobs;
use crate::keys::Fingerprint;
use crate::store::KeyParts;

/// Whom a DECISION is by.
const ACTOR: &str = "gesta";

/// A DECISION, and what it will be found by.
pub(super) struct Proposal {
    pub(super) prepared: Prepared,
    pub(super) subject: Fingerprint,
    pub(super) keys: Vec<Fingerprint>,
}

/// Why an answer did not become a record.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProposeError {
    #[error("the intent's envelope cannot be read: {0}")]
    Intent(#[from] gesta_replay::EventError),
    #[error("the decision does not fit a record: {0}")]
    Prepare(#[from] PrepareError),
    #[error("the decision cannot be made to fit a record: {0}")]
    Spill(#[from] spill::SpillError),
    #[error("what the decision is too small for cannot be stored: {0}")]
    Blob(String),
}

/// What the swap on an intent's decision is on.
pub(super) fn subject(index: Index) -> String {
    format!("decision/{index}")
}

/// The record of the decision of `intent`; what is too large for it is put as blobs first. Blocks on the disk then.
pub(super) fn record(
    intent: &Event<'_>,
    payload: &[u8],
    blobs: &Arc<blobs::Store>,
) -> Result<Proposal, ProposeError> {
    let subject = subject(intent.index());
    let (stream_id, thread_id, turn_id) = (intent.stream_id()?, intent.thread_id()?, intent.turn_id()?);
    let (correlation_id, parent) = (intent.correlation_id()?, intent.parent_turn_id()?);
    let (lane, intent_type) = (intent.lane()?, intent.intent_type()?);
    let subjects = [Expectation { subject: subject.clone(), expected: None }];
    let prepare = |payload: &[u8]| {
        Prepared::new(&Draft {
            kind: Kind::Decision,
            type_name: "decided",
            stream_id: &stream_id,
            lane: &lane,
            actor: ACTOR,
            intent_type: &intent_type,
            thread_id: &thread_id,
            turn_id: &turn_id,
            parent_turn_id: parent.as_deref(),
            correlation_id: &correlation_id,
            cause: Some(intent.index()),
            subjects: &subjects,
            payload,
        })
    };
    let prepared = match prepare(payload) {
        Ok(prepared) => prepared,
        Err(PrepareError::TooLarge { len }) => {
            let budget = record::DATA_BYTES_MAX.saturating_sub(len - payload.len());
            let spilled = spill::members(payload, budget)?;
            for spill in &spilled.spills {
                blobs.put_spilled(spill).map_err(|error| ProposeError::Blob(format!("{error:?}")))?;
            }
            prepare(&spilled.payload)?
        }
        Err(error @ PrepareError::Payload) => return Err(error.into()),
    };
    let subject = Fingerprint::subject(&stream_id, &subject);
    let mut keys = vec![subject];
    let parts = KeyParts {
        stream_id: &stream_id,
        correlation_id: &correlation_id,
        thread_id: &thread_id,
        turn_id: &turn_id,
        digest: prepared.digest(),
    };
    parts.push(&mut keys);
    keys.extend(blobs::references(prepared.text()).map(|digest| Fingerprint::digest(&digest)));
    Ok(Proposal { prepared, subject, keys })
}
