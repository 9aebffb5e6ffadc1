//! What a DECISION record says: FORMAT.md, "Kinds and types".

use std::borrow::Cow;

use gesta_log_format::{Digest, Index};

use super::content::Content;
use super::{Event, EventError, Verdict};

/// The payload of a DECISION `decided`. Members that are not here are passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided<'a> {
    /// The INTENT that is decided.
    pub intent_index: Index,
    /// The answer.
    pub result: Verdict,
    /// A sorted list of `{code, params}`.
    pub reasons: Content<'a>,
    /// A sorted list of `{op, target, params}`.
    pub transforms: Option<Content<'a>>,
    /// The policy that decided.
    pub policy: PolicyPin<'a>,
    /// SHA-256 of the canonical `{context_spec, assembled_context}`, of the values.
    pub context_digest: Digest,
    /// The configuration of the context.
    pub boundary: Option<Boundary<'a>>,
    /// What evaluated the policy.
    pub engine: Option<Engine<'a>>,
    /// What was asked for as context.
    pub context_spec: Option<Content<'a>>,
    /// What was given as context.
    pub assembled_context: Option<Content<'a>>,
}

/// Which policy decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyPin<'a> {
    /// Its name.
    pub policy_id: Cow<'a, str>,
    /// Its author's version.
    pub policy_version: Cow<'a, str>,
    /// The digest of its bundle.
    pub policy_digest: Digest,
}

/// Which configuration of the context was in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary<'a> {
    /// SHA-256 of the canonical whole configuration.
    pub context_config_digest: Digest,
    /// The version of the rules by which context is assembled.
    pub boundary_version: Cow<'a, str>,
}

/// What evaluated the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine<'a> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// Its version.
    pub version: Cow<'a, str>,
}

impl<'a> Event<'a> {
    /// The payload as that of a DECISION `decided`.
    ///
    /// # Errors
    /// [`super::Fault::Payload`] names the first member that is not as it should be; [`super::Fault::UnknownResult`].
    pub fn decided(&self) -> Result<Decided<'a>, EventError> {
        let [reasons, transforms, policy, context_digest, boundary, engine, context_spec, assembled_context] =
            self.members([
                "reasons",
                "transforms",
                "policy",
                "context_digest",
                "boundary",
                "engine",
                "context_spec",
                "assembled_context",
            ]);
        let [policy_id, policy_version, policy_digest] =
            policy.members(["policy.policy_id", "policy.policy_version", "policy.policy_digest"])?;
        let boundary = boundary.optional(|boundary| {
            let [digest, version] =
                boundary.members(["boundary.context_config_digest", "boundary.boundary_version"])?;
            Ok(Boundary { context_config_digest: digest.digest()?, boundary_version: version.text()? })
        })?;
        let engine = engine.optional(|engine| {
            let [name, version] = engine.members(["engine.name", "engine.version"])?;
            Ok(Engine { name: name.text()?, version: version.text()? })
        })?;
        Ok(Decided {
            intent_index: self.intent_index()?,
            result: self.verdict()?,
            reasons: reasons.content()?,
            transforms: transforms.optional(|member| member.content())?,
            policy: PolicyPin {
                policy_id: policy_id.text()?,
                policy_version: policy_version.text()?,
                policy_digest: policy_digest.digest()?,
            },
            context_digest: context_digest.digest()?,
            boundary,
            engine,
            context_spec: context_spec.optional(|member| member.content())?,
            assembled_context: assembled_context.optional(|member| member.content())?,
        })
    }
}
