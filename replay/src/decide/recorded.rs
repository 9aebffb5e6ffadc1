//! Reads the payload of a DECISION.

use std::borrow::Cow;

use gesta_log_format::blob::Reference;
use gesta_log_format::json::canonical;
use gesta_log_format::{Digest, Index};

use crate::event::Verdict;
use crate::policy::parse_result;

/// The payload of a DECISION, its members typed; larger ones as they lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded<'a> {
    /// The INTENT that it decides.
    pub intent_index: Index,
    /// The answer.
    pub result: Verdict,
    /// The bundle that was asked.
    pub policy: Pin<'a>,
    /// The engine that evaluated it.
    pub engine: Engine<'a>,
    /// `boundary.context_config_digest`.
    pub context_config_digest: Digest,
    /// `boundary.boundary_version`.
    pub boundary_version: Cow<'a, str>,
    /// SHA-256 over the value form of the context.
    pub context_digest: Digest,
    /// Why.
    pub reasons: Member<'a>,
    /// What normalisation changed, and what the policies demand.
    pub transforms: Member<'a>,
    /// What the context was made from.
    pub context_spec: Member<'a>,
    /// What it was made to.
    pub assembled_context: Member<'a>,
}

/// The member `policy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin<'a> {
    /// The bundle's name.
    pub policy_id: Cow<'a, str>,
    /// Its version.
    pub policy_version: Cow<'a, str>,
    /// The digest of its files.
    pub policy_digest: Digest,
}

/// The member `engine`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine<'a> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// Its version.
    pub version: Cow<'a, str>,
}

/// A member that may have been too large for its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member<'a> {
    /// Its canonical text.
    Text(&'a [u8]),
    /// The blob that holds its canonical text.
    Blob(Reference<'a>),
}

impl<'a> Member<'a> {
    fn of(text: &'a [u8]) -> Self {
        Reference::parse(text).map_or(Self::Text(text), Self::Blob)
    }
}

/// A payload that is not a DECISION's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the DECISION's member {member} is missing or has another form")]
pub struct PayloadError {
    /// The first such member, in the order in which they are read.
    pub member: &'static str,
}

impl<'a> Recorded<'a> {
    /// Reads a payload. Members that it does not know are passed over.
    ///
    /// # Errors
    /// [`PayloadError`].
    pub fn parse(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let find = |member: &'static str| find(payload, member).ok_or(PayloadError { member });
        let intent_index = index(find("intent_index")?);
        let result = canonical::string(find("result")?).and_then(|text| parse_result(text.as_bytes()));
        let boundary = find("boundary")?;
        let (config, version) =
            (digest(boundary, "context_config_digest"), text(boundary, "boundary_version"));
        Ok(Self {
            intent_index: intent_index.ok_or(PayloadError { member: "intent_index" })?,
            result: result.ok_or(PayloadError { member: "result" })?,
            policy: pin(find("policy")?).ok_or(PayloadError { member: "policy" })?,
            engine: engine(find("engine")?).ok_or(PayloadError { member: "engine" })?,
            context_config_digest: config.ok_or(PayloadError { member: "boundary" })?,
            boundary_version: version.ok_or(PayloadError { member: "boundary" })?,
            context_digest: digest(payload, "context_digest")
                .ok_or(PayloadError { member: "context_digest" })?,
            reasons: Member::of(find("reasons")?),
            transforms: Member::of(find("transforms")?),
            context_spec: Member::of(find("context_spec")?),
            assembled_context: Member::of(find("assembled_context")?),
        })
    }
}

fn pin(object: &[u8]) -> Option<Pin<'_>> {
    Some(Pin {
        policy_id: text(object, "policy_id")?,
        policy_version: text(object, "policy_version")?,
        policy_digest: digest(object, "policy_digest")?,
    })
}

fn engine(object: &[u8]) -> Option<Engine<'_>> {
    Some(Engine { name: text(object, "name")?, version: text(object, "version")? })
}

/// The text of a member of a canonical object.
pub(super) fn find<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    canonical::member(object, name)
}

fn text<'a>(object: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
    canonical::string(find(object, name)?)
}

fn digest(object: &[u8], name: &str) -> Option<Digest> {
    Digest::parse(&text(object, name)?)
}

fn index(value: &[u8]) -> Option<Index> {
    let text = std::str::from_utf8(value).ok()?;
    text.parse().ok().map(Index).filter(|index| *index <= Index::MAX && index.to_string() == text)
}
