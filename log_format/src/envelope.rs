//! The envelope: the JSON object of one record, canonical (RFC 8785), its sixteen members always present.
//!
//! [`Draft`] is what an author knows; [`Prepared`] is the canonical text but for the two values that only the
//! sequencer can give, `index` and `recorded_at`, which it splices in at remembered places; [`View`] reads the
//! members of a written envelope without parsing what lies inside its payload.

use sha2::Digest as _;

use crate::Index;
use crate::digest::Digest;
use crate::json;
use crate::kind::Kind;
use crate::record::DATA_BYTES_MAX;
use crate::timestamp::Timestamp;

mod view;
pub use view::{Subject, View};

/// The name of the payload's member that holds what is observational. Outside the digest.
pub const OBSERVATIONAL: &str = "_obs";

/// A subject and the index of its previous record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expectation {
    /// What changes, for example `intent/{correlation_id}`. Scoped by the record's stream.
    pub subject: String,
    /// The index of the subject's previous record; `None` where this is its first.
    pub expected: Option<Index>,
}

/// An envelope as its author knows it, before it has an index.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    /// What the record is about.
    pub kind: Kind,
    /// One of [`Kind::types`].
    pub type_name: &'static str,
    /// The unit of tenancy and access.
    pub stream_id: &'a str,
    /// Where it came in.
    pub lane: &'a str,
    /// On whose behalf.
    pub actor: &'a str,
    /// What is asked for.
    pub intent_type: &'a str,
    /// The thread that it belongs to.
    pub thread_id: &'a str,
    /// The turn within the thread.
    pub turn_id: &'a str,
    /// The turn that this turn answers.
    pub parent_turn_id: Option<&'a str>,
    /// The request that all of this follows from.
    pub correlation_id: &'a str,
    /// The record that led to this one.
    pub cause: Option<Index>,
    /// What changes, at least one. All are compared, all move.
    pub subjects: &'a [Expectation],
    /// One canonical JSON object.
    pub payload: &'a [u8],
}

/// Why a draft cannot become a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The envelope would be longer than a record may hold.
    #[error("the envelope has {len} bytes and a record holds at most {DATA_BYTES_MAX}")]
    TooLarge {
        /// Its length, with room for the longest index.
        len: usize,
    },
    /// The payload is not one canonical JSON object.
    #[error("the payload is not one canonical JSON object")]
    Payload,
}

/// The canonical text of an envelope but for `index` and `recorded_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    text: Box<[u8]>,
    index_at: usize,
    recorded_at: usize,
    digest: Digest,
}

/// Digits of the largest index.
const INDEX_DIGITS_MAX: usize = 16;

impl Prepared {
    /// Writes the canonical text and computes the digest.
    ///
    /// # Errors
    /// [`PrepareError::TooLarge`] where the text would not fit a record at every index, and
    /// [`PrepareError::Payload`] where the payload is not an object.
    pub fn new(draft: &Draft<'_>) -> Result<Self, PrepareError> {
        let mut text = Vec::with_capacity(640 + draft.payload.len());
        let observational = observational(draft.payload).ok_or(PrepareError::Payload)?;
        text.extend_from_slice(b"{\"actor\":");
        json::write_string(&mut text, draft.actor);
        text.extend_from_slice(b",\"cause\":");
        write_index(&mut text, draft.cause);
        member(&mut text, ",\"correlation_id\":", draft.correlation_id);
        let digest_at = text.len();
        text.extend_from_slice(b",\"digest\":\"");
        let digest_text_at = text.len();
        text.extend_from_slice(&[b'0'; Digest::TEXT_LEN]);
        text.extend_from_slice(b"\",\"index\":");
        let index_at = text.len();
        member(&mut text, ",\"intent_type\":", draft.intent_type);
        member(&mut text, ",\"kind\":", draft.kind.text());
        member(&mut text, ",\"lane\":", draft.lane);
        text.extend_from_slice(b",\"parent_turn_id\":");
        match draft.parent_turn_id {
            Some(turn) => json::write_string(&mut text, turn),
            None => text.extend_from_slice(b"null"),
        }
        text.extend_from_slice(b",\"payload\":");
        let payload_at = text.len();
        text.extend_from_slice(draft.payload);
        let payload_end = text.len();
        text.extend_from_slice(b",\"recorded_at\":\"");
        let recorded_at = text.len();
        text.extend_from_slice(b"\"");
        let stream_at = text.len();
        member(&mut text, ",\"stream_id\":", draft.stream_id);
        write_subjects(&mut text, draft.subjects);
        member(&mut text, ",\"thread_id\":", draft.thread_id);
        member(&mut text, ",\"turn_id\":", draft.turn_id);
        member(&mut text, ",\"type\":", draft.type_name);
        text.extend_from_slice(b"}");

        let len = text.len() + INDEX_DIGITS_MAX + Timestamp::TEXT_LEN;
        if len > DATA_BYTES_MAX {
            return Err(PrepareError::TooLarge { len });
        }
        let (before, after) = observational.unwrap_or((0..draft.payload.len(), 0..0));
        let digest = hash(&[
            text.get(..digest_at),
            text.get(index_at..payload_at),
            draft.payload.get(before),
            draft.payload.get(after),
            text.get(payload_end..recorded_at - ",\"recorded_at\":\"".len()),
            text.get(stream_at..),
        ]);
        if let Some(place) = text.get_mut(digest_text_at..digest_text_at + Digest::TEXT_LEN) {
            place.copy_from_slice(digest.to_string().as_bytes());
        }
        Ok(Self { text: text.into_boxed_slice(), index_at, recorded_at, digest })
    }

    /// The envelope's own digest.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The canonical text but for `index` and `recorded_at`, whose places are empty.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The most bytes that the whole record will take.
    #[must_use]
    pub fn record_bytes_max(&self) -> usize {
        self.text.len() + 200
    }

    /// The envelope as it stands in the record at `index`.
    #[must_use]
    pub fn envelope(&self, index: Index, recorded_at: Timestamp) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.record_bytes_max());
        self.splice(&mut out, crate::record::Decimal::default().write(index.0), recorded_at);
        out
    }

    /// Appends the envelope with its index, given as decimal digits, and its time.
    pub(crate) fn splice(&self, out: &mut Vec<u8>, index: &[u8], recorded_at: Timestamp) {
        let (head, rest) = self.text.split_at_checked(self.index_at).unwrap_or_default();
        let (middle, tail) = rest.split_at_checked(self.recorded_at - self.index_at).unwrap_or_default();
        out.extend_from_slice(head);
        out.extend_from_slice(index);
        out.extend_from_slice(middle);
        out.extend_from_slice(&recorded_at.text());
        out.extend_from_slice(tail);
    }
}

fn member(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    json::write_string(out, value);
}

fn write_index(out: &mut Vec<u8>, index: Option<Index>) {
    match index {
        Some(index) => out.extend_from_slice(crate::record::Decimal::default().write(index.0)),
        None => out.extend_from_slice(b"null"),
    }
}

fn write_subjects(out: &mut Vec<u8>, subjects: &[Expectation]) {
    out.extend_from_slice(b",\"subjects\":[");
    for (place, subject) in subjects.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"expected\":");
        write_index(out, subject.expected);
        member(out, ",\"subject\":", &subject.subject);
        out.push(b'}');
    }
    out.push(b']');
}

fn hash(parts: &[Option<&[u8]>]) -> Digest {
    let mut hasher = sha2::Sha256::new();
    for part in parts.iter().flatten() {
        hasher.update(part);
    }
    Digest(hasher.finalize().into())
}

type Ranges = (std::ops::Range<usize>, std::ops::Range<usize>);

/// Where the payload's text lies before and after its `_obs` member, the comma with it. The outer `None` says that
/// the payload is not an object, the inner one that it has no such member.
fn observational(payload: &[u8]) -> Option<Option<Ranges>> {
    if payload.first() != Some(&b'{') || payload.last() != Some(&b'}') {
        return None;
    }
    if memchr::memmem::find(payload, b"\"_obs\":").is_none() {
        return Some(None);
    }
    let mut at = 1;
    let mut first = true;
    for found in json::canonical::Members::new(payload) {
        let (key, value) = found.ok()?;
        let begin = at;
        // A comma in front of all but the first, the key's quotes, the colon.
        at += usize::from(!first) + key.len() + 3 + value.len();
        if key == OBSERVATIONAL.as_bytes() {
            let after = if first && payload.get(at) == Some(&b',') { at + 1 } else { at };
            return Some(Some((0..begin, after..payload.len())));
        }
        first = false;
    }
    Some(None)
}

/// The digest that the written envelope `data` should carry: SHA-256 over its canonical text without the members
/// `index`, `recorded_at`, `digest` and `payload._obs`. `None` where `data` is not an envelope.
#[must_use]
pub fn digest_of(data: &[u8]) -> Option<Digest> {
    let mut hasher = sha2::Sha256::new();
    let mut separator: &[u8] = b"{\"";
    for member in json::canonical::Members::new(data) {
        let (key, value) = member.ok()?;
        if matches!(key, b"index" | b"recorded_at" | b"digest") {
            continue;
        }
        hasher.update(separator);
        hasher.update(key);
        hasher.update(b"\":");
        separator = b",\"";
        match (key == b"payload").then(|| observational(value)).flatten().flatten() {
            Some((before, after)) => {
                hasher.update(value.get(before)?);
                hasher.update(value.get(after)?);
            }
            None => hasher.update(value),
        }
    }
    hasher.update(b"}");
    Some(Digest(hasher.finalize().into()))
}

#[cfg(test)]
mod tests;
