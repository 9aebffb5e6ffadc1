//! What CONTROL records say of policies, contexts, handlers, keys and the log's beginning: FORMAT.md, "Kinds and
//! types".

use std::borrow::Cow;

use gesta_log_format::Digest;

use super::content::Content;
use super::{Event, EventError, Fault, Registration};

/// The payload of a CONTROL `policy_activated`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyActivated<'a> {
    /// Its name.
    pub policy_id: Cow<'a, str>,
    /// Its author's version.
    pub policy_version: Cow<'a, str>,
    /// The digest of the bundle.
    pub policy_digest: Digest,
    /// The whole bundle.
    pub bundle: Content<'a>,
}

/// The payload of a CONTROL `context_activated`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextActivated<'a> {
    /// SHA-256 of the canonical whole configuration.
    pub context_config_digest: Digest,
    /// The whole configuration.
    pub config: Content<'a>,
}

/// Who runs a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HandlerKind {
    /// The server, in process.
    Builtin,
    /// Someone else, who reports with `POST /execution/event`.
    External,
    /// A worker that claims a task.
    Worker,
    /// A URL to which an invocation is posted.
    Push,
    /// An adapter that yields tokens.
    Stream,
}

/// The payload of a CONTROL `handler_registered`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerRegistered<'a> {
    /// What it handles.
    pub intent_type: Cow<'a, str>,
    /// Its name among the handlers of the type.
    pub handler_name: Cow<'a, str>,
    /// Who runs it.
    pub kind: HandlerKind,
    /// The whole registration: the payload, canonical. [`Registration::parse`] reads it.
    pub registration: &'a [u8],
}

/// The payload of a CONTROL `handler_removed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerRemoved<'a> {
    /// What it handled.
    pub intent_type: Cow<'a, str>,
    /// Its name among the handlers of the type.
    pub handler_name: Cow<'a, str>,
}

/// The payload of a CONTROL `key_rotated`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRotated<'a> {
    /// The key's name: what stands behind `key/` in the record's subject.
    pub kid: Cow<'a, str>,
    /// What the key is for: the member `use`.
    pub purpose: Cow<'a, str>,
    /// Its algorithm.
    pub algorithm: Cow<'a, str>,
    /// The public half.
    pub public_key: Cow<'a, str>,
}

/// The payload of a CONTROL `log_base`: the log that this one departs from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBase<'a> {
    /// Its name.
    pub origin: Cow<'a, str>,
    /// How often it had been restored or salvaged.
    pub generation: u64,
    /// How many of its records this log has.
    pub size: u64,
    /// The root over them, as it is written.
    pub root: Cow<'a, str>,
}

/// All of them, as an error lists them.
pub(super) const HANDLER_KINDS: &str = "builtin, external, worker, push or stream";

impl HandlerKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Builtin, Self::External, Self::Worker, Self::Push, Self::Stream];

    /// The written form: lower case.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::External => "external",
            Self::Worker => "worker",
            Self::Push => "push",
            Self::Stream => "stream",
        }
    }

    /// Reads the written form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.text() == text)
    }
}

impl<'a> Event<'a> {
    /// The payload as that of a CONTROL `policy_activated`.
    ///
    /// # Errors
    /// [`Fault::Payload`] names the first member that is not as it should be, as for each of those below.
    pub fn policy_activated(&self) -> Result<PolicyActivated<'a>, EventError> {
        let [policy_id, policy_version, policy_digest, bundle] =
            self.members(["policy_id", "policy_version", "policy_digest", "bundle"]);
        Ok(PolicyActivated {
            policy_id: policy_id.text()?,
            policy_version: policy_version.text()?,
            policy_digest: policy_digest.digest()?,
            bundle: bundle.content()?,
        })
    }

    /// The payload as that of a CONTROL `context_activated`.
    ///
    /// # Errors
    /// [`Fault::Payload`].
    pub fn context_activated(&self) -> Result<ContextActivated<'a>, EventError> {
        let [digest, config] = self.members(["context_config_digest", "config"]);
        Ok(ContextActivated { context_config_digest: digest.digest()?, config: config.content()? })
    }

    /// The payload as that of a CONTROL `handler_registered`.
    ///
    /// # Errors
    /// [`Fault::Payload`].
    pub fn handler_registered(&self) -> Result<HandlerRegistered<'a>, EventError> {
        let [intent_type, handler_name, kind] = self.members(["intent_type", "handler_name", "kind"]);
        Ok(HandlerRegistered {
            intent_type: intent_type.text()?,
            handler_name: handler_name.text()?,
            kind: kind.one_of(HANDLER_KINDS, HandlerKind::parse)?,
            registration: self.view.payload,
        })
    }

    /// The whole payload of a CONTROL `handler_registered`.
    ///
    /// # Errors
    /// [`Fault::Payload`].
    pub fn registration(&self) -> Result<Registration<'a>, EventError> {
        Registration::parse(self.view.payload, self.view.index)
    }

    /// The payload as that of a CONTROL `handler_removed`.
    ///
    /// # Errors
    /// [`Fault::Payload`].
    pub fn handler_removed(&self) -> Result<HandlerRemoved<'a>, EventError> {
        let [intent_type, handler_name] = self.members(["intent_type", "handler_name"]);
        Ok(HandlerRemoved { intent_type: intent_type.text()?, handler_name: handler_name.text()? })
    }

    /// The payload as that of a CONTROL `key_rotated`.
    ///
    /// # Errors
    /// [`Fault::Payload`]; [`Fault::Subjects`] where no subject names a key.
    pub fn key_rotated(&self) -> Result<KeyRotated<'a>, EventError> {
        let [purpose, algorithm, public_key] = self.members(["use", "algorithm", "public_key"]);
        let kid = self.view.subjects().flatten().find_map(|found| found.subject.strip_prefix(b"key/"));
        let kid = kid.ok_or_else(|| self.fault(Fault::Subjects))?;
        Ok(KeyRotated {
            kid: self.text("subjects", kid)?,
            purpose: purpose.text()?,
            algorithm: algorithm.text()?,
            public_key: public_key.text()?,
        })
    }

    /// The payload as that of a CONTROL `log_base`.
    ///
    /// # Errors
    /// [`Fault::Payload`].
    pub fn log_base(&self) -> Result<LogBase<'a>, EventError> {
        let [origin, generation, size, root] = self.members(["origin", "generation", "size", "root"]);
        Ok(LogBase {
            origin: origin.text()?,
            generation: generation.number()?,
            size: size.number()?,
            root: root.text()?,
        })
    }
}
