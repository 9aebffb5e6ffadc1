//! CONTROL records: what is done to the server is itself in the log.
//!
//! One function appends one, through the sequencer's queue as any other record, by swap on its subject.

use std::sync::Arc;

use gesta_log_format::envelope::{Draft, Expectation};
use gesta_log_format::{Index, Kind};
use ulid::Ulid;

use crate::ingress::Ingress;
use crate::keys::Fingerprint;
use crate::problem::Problem;
use crate::sequencer::Place;
use crate::store::blocking;

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
    let (store, key) = (Arc::clone(&ingress.store), Fingerprint::subject(STREAM, subject));
    let newest = blocking(move || Ok(store.keys.newest(&key)?)).await?.map(Index);
    Ok(Standing { place, newest })
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
    let Standing { place, newest } = standing;
    let turn_id = Ulid::generate().to_string();
    let draft = Draft {
        kind: Kind::Control,
        type_name: control.type_name,
        stream_id: STREAM,
        lane: LANE,
        actor: control.actor,
        intent_type: &format!("system.{}", control.type_name),
        thread_id: THREAD,
        turn_id: &turn_id,
        parent_turn_id: None,
        correlation_id: &turn_id,
        cause: None,
        subjects: &[Expectation { subject: control.subject.clone(), expected: newest }],
        payload: &control.payload,
    };
    Ok(ingress.appender().append(&draft, place).await?)
}
