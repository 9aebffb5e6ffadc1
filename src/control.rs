//! CONTROL records: what is done to the server is itself in the log.
//!
//! One function appends one, through the sequencer's queue as any other record, by swap on its subject.

use std::sync::Arc;

use gesta_log_format::envelope::{Draft, Expectation, PrepareError, Prepared};
use gesta_log_format::{Index, Kind};
use tokio::sync::oneshot;
use ulid::Ulid;

use crate::ingress::Ingress;
use crate::keys::Fingerprint;
use crate::problem::{Problem, ReasonCode};
use crate::sequencer::{Append, Outcome};
use crate::store::{KeyParts, blocking};

/// The stream of CONTROL records, which nobody else writes to.
pub const STREAM: &str = "_system";

const THREAD: &str = "system";
const LANE: &str = "system";

/// A record of kind CONTROL that is to be appended.
#[derive(Debug)]
pub struct Control<'a> {
    /// One of FORMAT.md's types of this kind.
    pub type_name: &'static str,
    pub subject: String,
    /// On whose behalf.
    pub actor: &'a str,
    /// Canonical JSON of an object.
    pub payload: Vec<u8>,
}

/// Appends the record, its subject expected where it stands when this is called, and waits until it is durable.
///
/// # Errors
/// `SUBJECT_CONFLICT` where another record moved the subject meanwhile; `QUEUE_FULL`, `DRAINING`, `DISK_FULL`,
/// `OUTCOME_UNKNOWN` as for an intent.
pub async fn append(ingress: &Ingress, control: &Control<'_>) -> Result<Index, Problem> {
    let place = ingress.reserve()?;
    let ticket = ingress.store.keys.checked_through();
    let key = Fingerprint::subject(STREAM, &control.subject);
    let store = Arc::clone(&ingress.store);
    let expected = blocking(move || Ok(store.keys.newest(&key)?)).await?.map(Index);
    let turn_id = Ulid::generate().to_string();
    let prepared = prepare(control, &turn_id, expected).map_err(|error| match error {
        PrepareError::TooLarge { .. } => Problem::new(ReasonCode::BodyTooLarge),
        PrepareError::Payload => Problem::new(ReasonCode::Internal),
    })?;
    let mut keys = vec![key];
    let parts = KeyParts {
        stream_id: STREAM,
        correlation_id: &turn_id,
        thread_id: THREAD,
        turn_id: &turn_id,
        digest: prepared.digest(),
    };
    parts.push(&mut keys);
    let (reply, outcome) = oneshot::channel();
    let append = Append { prepared, keys, subjects: vec![(key, expected)], ticket, place, reply };
    if ingress.queue.push(append).is_err() {
        return Err(Problem::new(ReasonCode::Draining));
    }
    match outcome.await {
        Ok(Outcome::Appended(index)) => Ok(index),
        Ok(Outcome::Conflict { newest, .. }) => {
            Err(Problem::new(ReasonCode::SubjectConflict).index(newest.0))
        }
        Ok(Outcome::DiskFull) => Err(Problem::new(ReasonCode::DiskFull)),
        Err(_sequencer_ended) => Err(Problem::new(ReasonCode::OutcomeUnknown)),
    }
}

fn prepare(control: &Control<'_>, turn_id: &str, expected: Option<Index>) -> Result<Prepared, PrepareError> {
    let subjects = [Expectation { subject: control.subject.clone(), expected }];
    Prepared::new(&Draft {
        kind: Kind::Control,
        type_name: control.type_name,
        stream_id: STREAM,
        lane: LANE,
        actor: control.actor,
        intent_type: &format!("system.{}", control.type_name),
        thread_id: THREAD,
        turn_id,
        parent_turn_id: None,
        correlation_id: turn_id,
        cause: None,
        subjects: &subjects,
        payload: &control.payload,
    })
}
