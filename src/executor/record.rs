//! EXECUTION records: one function appends one, by swap on its subject.
//!
//! A record inherits its anchors from the INTENT and its cause from the record of the subject before it, or from the
//! DECISION. What the life of an execution does not allow is refused here, whoever asks: a log that held it could not
//! be folded.

use std::sync::Arc;

use gesta_log_format::blob::spill::{self, SpillError};
use gesta_log_format::envelope::{Draft, Expectation, PrepareError, Prepared};
use gesta_log_format::record::DATA_BYTES_MAX;
use gesta_log_format::{Index, Kind};
use gesta_replay::event::Execution;
use gesta_replay::lifecycle::{self, IllegalTransition, Transition};
use gesta_replay::projections::executions::Open;
use tokio::sync::oneshot;

use super::metrics::Metrics;
use crate::blobs::{self, PutError};
use crate::keys::{Fingerprint, KeysError};
use crate::sequencer::{Append, Outcome, Place, Queue};
use crate::store::{KeyParts, Store};

/// Writes EXECUTION records.
#[derive(Clone)]
pub struct Author {
    store: Arc<Store>,
    blobs: Arc<blobs::Store>,
    queue: Arc<Queue>,
    metrics: Metrics,
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

/// Why a record was not appended. Nothing was, but for [`StepError::Unknown`].
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Its life does not go that way.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// Another record of the execution is newer than the one that the author knows.
    #[error("the execution has moved to the record at index {newest}")]
    Moved { newest: Index },
    #[error("the disk is full")]
    DiskFull,
    /// The sequencer takes no more.
    #[error("the log is being closed")]
    Closed,
    /// The sequencer has ended before it said what became of it.
    #[error("the outcome is unknown")]
    Unknown,
    #[error(transparent)]
    TooLarge(#[from] SpillError),
    /// The payload is not one canonical JSON object.
    #[error("the payload is not one canonical JSON object")]
    Payload,
    #[error("cannot keep what is too large for the record")]
    Blob(#[from] PutError),
    #[error("cannot look the execution up")]
    Lookup(#[from] KeysError),
}

/// The subject whose records are an execution's.
pub fn subject(open: &Open) -> String {
    format!("execution/{}", open.execution_id)
}

impl Author {
    pub fn new(store: Arc<Store>, blobs: Arc<blobs::Store>, queue: Arc<Queue>, metrics: Metrics) -> Self {
        Self { store, blobs, queue, metrics }
    }

    /// Appends a record behind `open.last_index`, waits until it is durable, and moves `open` on to it.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn append(&self, open: &mut Open, step: Step<'_>, place: Place) -> Result<Index, StepError> {
        let standing = lifecycle::may(open.standing, step.transition)?;
        let subject = subject(open);
        let key = Fingerprint::subject(&open.stream_id, &subject);
        let ticket = self.store.keys.checked_through();
        // The projection may be behind by whole segments, and the sequencer compares with what is in memory alone.
        let newest = self.store.keys.newest(&key)?.map(Index);
        if let Some(newest) = newest.filter(|newest| Some(*newest) != open.last_index) {
            return Err(StepError::Moved { newest });
        }
        let subjects = [Expectation { subject, expected: open.last_index }];
        let prepared = self.prepare(open, &subjects, step).await?;
        let keys = keys(open, key, &prepared);
        let (reply, outcome) = oneshot::channel();
        let append = Append { prepared, keys, subjects: vec![(key, open.last_index)], ticket, place, reply };
        if self.queue.push(append).is_err() {
            return Err(StepError::Closed);
        }
        let index = match outcome.await {
            Ok(Outcome::Appended(index)) => index,
            Ok(Outcome::Conflict { newest, .. }) => return Err(StepError::Moved { newest }),
            Ok(Outcome::DiskFull) => return Err(StepError::DiskFull),
            Err(_sequencer_ended) => return Err(StepError::Unknown),
        };
        (open.standing, open.last_index) = (standing, Some(index));
        self.metrics.happened(step.transition);
        Ok(index)
    }

    /// The envelope; members of the payload that are too large for it are put as blobs first.
    async fn prepare(
        &self,
        open: &Open,
        subjects: &[Expectation],
        step: Step<'_>,
    ) -> Result<Prepared, StepError> {
        let len = match prepare(open, subjects, step) {
            Ok(prepared) => return Ok(prepared),
            Err(PrepareError::TooLarge { len }) => len,
            Err(PrepareError::Payload) => return Err(StepError::Payload),
        };
        let budget = DATA_BYTES_MAX.saturating_sub(len - step.payload.len());
        let spilled = spill::members(step.payload, budget)?;
        for spill in &spilled.spills {
            let (blobs, content) = (Arc::clone(&self.blobs), spill.bytes.to_vec());
            let put = tokio::task::spawn_blocking(move || blobs.put_bytes(&content)).await;
            put.map_err(|_panicked| StepError::Unknown)??;
        }
        prepare(open, subjects, Step { payload: &spilled.payload, ..step }).map_err(|error| match error {
            PrepareError::TooLarge { .. } => {
                SpillError::TooLarge { least_bytes: spilled.payload.len(), budget_bytes: budget }.into()
            }
            PrepareError::Payload => StepError::Payload,
        })
    }
}

fn prepare(open: &Open, subjects: &[Expectation], step: Step<'_>) -> Result<Prepared, PrepareError> {
    Prepared::new(&Draft {
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
        subjects,
        payload: step.payload,
    })
}

fn keys(open: &Open, subject: Fingerprint, prepared: &Prepared) -> Vec<Fingerprint> {
    let mut keys = Vec::with_capacity(6);
    keys.push(subject);
    let parts = KeyParts {
        stream_id: &open.stream_id,
        correlation_id: &open.correlation_id,
        thread_id: &open.thread_id,
        turn_id: &open.turn_id,
        digest: prepared.digest(),
    };
    parts.push(&mut keys);
    keys.extend(blobs::references(prepared.text()).map(|digest| Fingerprint::digest(&digest)));
    keys
}
