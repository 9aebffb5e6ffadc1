//! CONTROL records: what is done to the server is itself in the log.
//!
//! One function appends one, through the sequencer's queue as any other record, by swap on its subject.

use std::sync::Arc;

use gesta_log_format::envelope::{Draft, Expectation, PrepareError, Prepared};
use gesta_log_format::record::DATA_BYTES_MAX;
use gesta_log_format::{Index, Kind, blob};
use tokio::sync::oneshot;
use ulid::Ulid;

use crate::ingress::Ingress;
use crate::keys::{Fingerprint, Ticket};
use crate::problem::{Problem, ReasonCode};
use crate::sequencer::{Append, Outcome, Place};
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

/// Where a subject stands, and the right to append behind it.
#[derive(Debug)]
pub struct Standing {
    place: Place,
    ticket: Ticket,
    key: Fingerprint,
    /// The subject's newest record.
    pub newest: Option<Index>,
}

/// Looks where a subject of the stream [`STREAM`] stands. A record that is appended with the answer is refused where
/// another has moved the subject meanwhile.
///
/// # Errors
/// `QUEUE_FULL`; the index cannot be read.
pub async fn look(ingress: &Ingress, subject: &str) -> Result<Standing, Problem> {
    let place = ingress.reserve()?;
    let ticket = ingress.store.keys.checked_through();
    let key = Fingerprint::subject(STREAM, subject);
    let store = Arc::clone(&ingress.store);
    let newest = blocking(move || Ok(store.keys.newest(&key)?)).await?.map(Index);
    Ok(Standing { place, ticket, key, newest })
}

/// Appends the record, its subject expected where it stands when this is called, and waits until it is durable.
///
/// # Errors
/// As [`append_behind`].
pub async fn append(ingress: &Ingress, control: &Control<'_>) -> Result<Index, Problem> {
    let standing = look(ingress, &control.subject).await?;
    append_behind(ingress, control, standing).await
}

/// Appends the record, its subject expected where it stood when it was looked at, and waits until it is durable. What
/// is too large for a record goes into blobs first.
///
/// # Errors
/// `SUBJECT_CONFLICT` where another record moved the subject meanwhile; `QUEUE_FULL`, `DRAINING`, `DISK_FULL`,
/// `OUTCOME_UNKNOWN` as for an intent; `BODY_TOO_LARGE` where blobs do not help.
pub async fn append_behind(
    ingress: &Ingress,
    control: &Control<'_>,
    standing: Standing,
) -> Result<Index, Problem> {
    let Standing { place, ticket, key, newest } = standing;
    let turn_id = Ulid::generate().to_string();
    let prepared = prepare(ingress, control, &turn_id, newest).await?;
    let mut keys = vec![key];
    let parts = KeyParts {
        stream_id: STREAM,
        correlation_id: &turn_id,
        thread_id: THREAD,
        turn_id: &turn_id,
        digest: prepared.digest(),
    };
    parts.push(&mut keys);
    keys.extend(blob::references(prepared.text()).map(|digest| Fingerprint::digest(&digest)));
    let (reply, outcome) = oneshot::channel();
    let append = Append { prepared, keys, subjects: vec![(key, newest)], ticket, place, reply };
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

/// The envelope; members of the payload that are too large for it are put as blobs first.
async fn prepare(
    ingress: &Ingress,
    control: &Control<'_>,
    turn_id: &str,
    expected: Option<Index>,
) -> Result<Prepared, Problem> {
    let len = match envelope(control, &control.payload, turn_id, expected) {
        Err(PrepareError::TooLarge { len }) => len,
        Err(PrepareError::Payload) => return Err(Problem::new(ReasonCode::Internal)),
        Ok(prepared) => return Ok(prepared),
    };
    let budget = DATA_BYTES_MAX.saturating_sub(len - control.payload.len());
    let spilled = blob::spill::members(&control.payload, budget)?;
    for spill in &spilled.spills {
        let (blobs, content) = (Arc::clone(&ingress.blobs), spill.bytes.to_vec());
        let put = tokio::task::spawn_blocking(move || blobs.put_bytes(&content)).await;
        put.map_err(|_panicked| Problem::new(ReasonCode::Internal))??;
    }
    envelope(control, &spilled.payload, turn_id, expected)
        .map_err(|_too_large| Problem::new(ReasonCode::BodyTooLarge))
}

fn envelope(
    control: &Control<'_>,
    payload: &[u8],
    turn_id: &str,
    expected: Option<Index>,
) -> Result<Prepared, PrepareError> {
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
        payload,
    })
}
