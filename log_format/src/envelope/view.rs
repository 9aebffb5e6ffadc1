//! Reads the members of a written envelope in place.

use super::{Index, json};
use crate::digest::Digest;
use crate::kind::Kind;
use crate::timestamp::Timestamp;

/// The members of one envelope, as they are written: strings without their quotes, still escaped.
///
/// Canonical JSON has one spelling for each string, so two escaped strings are equal exactly when their values are:
/// a filter escapes its value once and compares bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// On whose behalf.
    pub actor: &'a [u8],
    /// The record that led to this one.
    pub cause: Option<Index>,
    /// The request that all of this follows from.
    pub correlation_id: &'a [u8],
    /// The digest as it is written, `sha256:…`.
    pub digest: &'a [u8],
    /// The position in the log.
    pub index: Index,
    /// What is asked for.
    pub intent_type: &'a [u8],
    /// What the record is about.
    pub kind: Kind,
    /// Where it came in.
    pub lane: &'a [u8],
    /// The turn that this turn answers.
    pub parent_turn_id: Option<&'a [u8]>,
    /// The payload's canonical text.
    pub payload: &'a [u8],
    /// When the sequencer took it.
    pub recorded_at: &'a [u8],
    /// The unit of tenancy and access.
    pub stream_id: &'a [u8],
    /// The canonical text of the list of subjects.
    pub subjects: &'a [u8],
    /// The thread that it belongs to.
    pub thread_id: &'a [u8],
    /// The turn within the thread.
    pub turn_id: &'a [u8],
    /// One of the kind's types.
    pub type_name: &'static str,
}

/// A subject of a written envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The subject, without quotes, still escaped.
    pub subject: &'a [u8],
    /// The index of its previous record, or none.
    pub expected: Option<Index>,
}

impl<'a> View<'a> {
    /// Reads an envelope. `None` where a member is missing, unknown, out of order or of another type.
    #[must_use]
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let mut members = json::canonical::Members::new(data);
        let mut next = |name: &str| -> Option<&'a [u8]> {
            let (key, value) = members.next()?.ok()?;
            (key == name.as_bytes()).then_some(value)
        };
        let actor = string(next("actor")?)?;
        let cause = optional_index(next("cause")?)?;
        let correlation_id = string(next("correlation_id")?)?;
        let digest = string(next("digest")?)?;
        let index = number(next("index")?)?;
        let intent_type = string(next("intent_type")?)?;
        let kind = Kind::parse(std::str::from_utf8(string(next("kind")?)?).ok()?)?;
        let lane = string(next("lane")?)?;
        let parent_turn_id = optional(next("parent_turn_id")?)?;
        let payload = next("payload")?;
        let recorded_at = string(next("recorded_at")?)?;
        let stream_id = string(next("stream_id")?)?;
        let subjects = next("subjects")?;
        let thread_id = string(next("thread_id")?)?;
        let turn_id = string(next("turn_id")?)?;
        let type_name = kind.type_named(std::str::from_utf8(string(next("type")?)?).ok()?)?;
        if payload.first() != Some(&b'{') || subjects.first() != Some(&b'[') || members.next().is_some() {
            return None;
        }
        Some(Self {
            actor,
            cause,
            correlation_id,
            digest,
            index,
            intent_type,
            kind,
            lane,
            parent_turn_id,
            payload,
            recorded_at,
            stream_id,
            subjects,
            thread_id,
            turn_id,
            type_name,
        })
    }

    /// The subjects, in the order in which they are written. An item is `None` where the list is malformed; nothing
    /// follows it.
    pub fn subjects(&self) -> impl Iterator<Item = Option<Subject<'a>>> + use<'a> {
        let mut rest = self.subjects.get(1..).unwrap_or_default();
        std::iter::from_fn(move || {
            if rest == b"]" {
                rest = b"";
                return None;
            }
            if rest.is_empty() {
                return None;
            }
            let found = subject(&mut rest);
            if found.is_none() {
                rest = b"";
            }
            Some(found)
        })
    }

    /// The digest, read.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        Digest::parse(std::str::from_utf8(self.digest).ok()?)
    }

    /// The time, read.
    #[must_use]
    pub fn recorded_at(&self) -> Option<Timestamp> {
        Timestamp::parse(self.recorded_at)
    }

    /// The value of the payload's top-level member `name`, as it is written.
    #[must_use]
    pub fn payload_member(&self, name: &str) -> Option<&'a [u8]> {
        json::canonical::member(self.payload, name)
    }
}

fn string(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

#[expect(clippy::option_option, reason = "the outer level says malformed, the inner one says null")]
fn optional(value: &[u8]) -> Option<Option<&[u8]>> {
    if value == b"null" { Some(None) } else { string(value).map(Some) }
}

fn number(value: &[u8]) -> Option<Index> {
    let digits = value.iter().all(u8::is_ascii_digit) && (value.len() == 1 || value.first() != Some(&b'0'));
    let number = std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()?;
    Some(Index(number)).filter(|index| *index <= Index::MAX)
}

#[expect(clippy::option_option, reason = "the outer level says malformed, the inner one says null")]
fn optional_index(value: &[u8]) -> Option<Option<Index>> {
    if value == b"null" { Some(None) } else { number(value).map(Some) }
}

/// Takes one `{"expected":…,"subject":"…"}` and the comma behind it.
fn subject<'a>(rest: &mut &'a [u8]) -> Option<Subject<'a>> {
    let end = json::canonical::value_end(rest)?;
    let (object, behind) = rest.split_at_checked(end)?;
    let mut members = json::canonical::Members::new(object);
    let (key, expected) = members.next()?.ok()?;
    let (name, subject) = members.next()?.ok()?;
    if key != b"expected" || name != b"subject" || members.next().is_some() {
        return None;
    }
    *rest = match behind.split_first()? {
        (b',', more) if more.first() == Some(&b'{') => more,
        (b']', []) => b"]",
        _ => return None,
    };
    Some(Subject { subject: string(subject)?, expected: optional_index(expected)? })
}
