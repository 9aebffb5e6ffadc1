//! What INTENT records say: FORMAT.md, "INTENT `submitted`".

use std::borrow::Cow;

use gesta_log_format::Digest;
use gesta_log_format::json::canonical::{self, Members};

use super::content::{Content, Elements};
use super::{Event, EventError, ExecutionId};

/// The payload of an INTENT `submitted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted<'a> {
    /// The surface that it came in by: `wire` for `POST /ingress/intent`.
    pub surface: Cow<'a, str>,
    /// The execution that this becomes if it is allowed.
    pub execution_id: ExecutionId,
    /// Who authenticated.
    pub principal: Principal<'a>,
    /// The client's own object.
    pub payload: Content<'a>,
    /// A list, each element a [`DeclaredRef`].
    pub declared_refs: Content<'a>,
    /// Decides whether a repeat is the same request.
    pub request_digest: Digest,
}

/// Who authenticated; the envelope's actor is whom they act for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal<'a> {
    /// The name of their token.
    pub name: Cow<'a, str>,
    /// What they may do, as it is written.
    pub roles: Vec<Cow<'a, str>>,
}

/// Something that an intent asks to have as context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredRef<'a> {
    /// `event`, `document` or `external`.
    pub ref_type: Cow<'a, str>,
    /// Of an event a correlation id or a turn id.
    pub ref_id: Cow<'a, str>,
    /// Which version of a document.
    pub version: Option<Cow<'a, str>>,
}

/// The payload of an INTENT `cancel_requested`. The record's cause is the INTENT `submitted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelRequested<'a> {
    /// Who asks.
    pub by: Cow<'a, str>,
    /// Why, if they said so.
    pub reason: Option<Cow<'a, str>>,
}

impl<'a> Event<'a> {
    /// The payload as that of an INTENT `submitted`.
    ///
    /// # Errors
    /// [`super::Fault::Payload`] names the first member that is not as it should be.
    pub fn submitted(&self) -> Result<Submitted<'a>, EventError> {
        let [surface, execution_id, principal, payload, declared_refs, request_digest] = self.members([
            "surface",
            "execution_id",
            "principal",
            "payload",
            "declared_refs",
            "request_digest",
        ]);
        let [name, roles] = principal.members(["principal.name", "principal.roles"])?;
        Ok(Submitted {
            surface: surface.text()?,
            execution_id: execution_id.execution_id()?,
            principal: Principal { name: name.text()?, roles: roles.texts()? },
            payload: payload.content()?,
            declared_refs: declared_refs.content()?,
            request_digest: request_digest.digest()?,
        })
    }

    /// The execution that an INTENT `submitted` becomes if it is allowed.
    ///
    /// # Errors
    /// [`super::Fault::Payload`].
    pub fn execution_id(&self) -> Result<ExecutionId, EventError> {
        let [execution_id] = self.members(["execution_id"]);
        execution_id.execution_id()
    }

    /// The payload as that of an INTENT `cancel_requested`.
    ///
    /// # Errors
    /// [`super::Fault::Payload`] names the first member that is not as it should be.
    pub fn cancel_requested(&self) -> Result<CancelRequested<'a>, EventError> {
        let [by, reason] = self.members(["by", "reason"]);
        Ok(CancelRequested { by: by.text()?, reason: reason.optional(|reason| reason.text())? })
    }
}

impl<'a> DeclaredRef<'a> {
    /// The references of the canonical list `declared_refs`, in the client's order. An item is `None` where it is no
    /// reference, or the text no list; nothing follows the latter.
    pub fn list(declared_refs: &'a [u8]) -> impl Iterator<Item = Option<Self>> {
        Elements::new(declared_refs).map(|element| Self::parse(element?))
    }

    fn parse(object: &'a [u8]) -> Option<Self> {
        let (mut ref_type, mut ref_id, mut version) = (None, None, None);
        for member in Members::new(object) {
            let (key, value) = member.ok()?;
            let place = match key {
                b"ref_type" => &mut ref_type,
                b"ref_id" => &mut ref_id,
                b"version" => &mut version,
                _ => return None,
            };
            *place = Some(canonical::string(value)?);
        }
        Some(Self { ref_type: ref_type?, ref_id: ref_id?, version })
    }
}
