//! Reads the body of a registration, and writes the payloads of its records.

use std::borrow::Cow;

use gesta_log_format::json::{self, ErrorKind, Reader};
use gesta_replay::event::HandlerKind;

use crate::executor::Registry;
use crate::ingress::request::{Secrets, read_name, refused, rejected};
use crate::limits;
use crate::problem::{Problem, ReasonCode};

/// A registration whose shape is right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Registration<'a> {
    pub(super) intent_type: Cow<'a, str>,
    pub(super) handler_name: Cow<'a, str>,
    kind: HandlerKind,
    /// One canonical object.
    metadata: Vec<u8>,
}

/// Reads a registration.
///
/// # Errors
/// `INVALID_JSON`, `INVALID_INPUT`, `SECRETS_PRESENT`.
pub(super) fn parse<'a>(body: &'a [u8], registry: &Registry) -> Result<Registration<'a>, Problem> {
    let mut secrets = Secrets::default();
    let found = read(body, &mut secrets).map_err(|error| refused(body, &secrets, &error))?;
    let wrong = |pointer: &str, detail: String| {
        Err(Problem::new(ReasonCode::InvalidInput).detail(format!("{pointer}: {detail}.")).pointer(pointer))
    };
    match found.kind {
        HandlerKind::External => Ok(found),
        HandlerKind::Builtin if registry.names().any(|name| name == found.handler_name) => Ok(found),
        HandlerKind::Builtin => {
            let names = registry.names().collect::<Vec<_>>().join(", ");
            wrong("/handler_name", format!("it names no builtin handler; there are {names}"))
        }
        kind @ (HandlerKind::Worker | HandlerKind::Push | HandlerKind::Stream) => {
            let detail = format!(
                "handlers of kind {} cannot be registered yet: give builtin or external",
                kind.text()
            );
            wrong("/kind", detail)
        }
    }
}

fn read<'a>(body: &'a [u8], secrets: &mut Secrets) -> Result<Registration<'a>, json::Error> {
    let mut reader = Reader::new(body)?.with_depth_max(limits::JSON_DEPTH_MAX);
    let (mut intent_type, mut handler_name, mut kind) = (None, None, None);
    let mut metadata = b"{}".to_vec();
    reader.begin_object()?;
    let whole = reader.mark();
    while let Some(key) = reader.next_member()? {
        match &*key {
            "intent_type" => intent_type = Some(read_name(&mut reader)?),
            "handler_name" => handler_name = Some(read_name(&mut reader)?),
            "kind" => {
                let name = reader.string()?;
                let found = HandlerKind::parse(&name);
                kind = Some(found.ok_or_else(|| reader.fail(rejected("give builtin or external")))?);
            }
            "metadata" => {
                if reader.peek()? != json::Kind::Object {
                    reader.begin_object()?;
                }
                metadata.clear();
                reader.canonical_value(&mut metadata, secrets)?;
            }
            _ => return Err(reader.fail(ErrorKind::UnknownField)),
        }
    }
    let missing = |field| reader.fail_at(whole, ErrorKind::MissingField { field });
    let intent_type = intent_type.ok_or_else(|| missing("intent_type"))?;
    let handler_name = handler_name.ok_or_else(|| missing("handler_name"))?;
    let kind = kind.ok_or_else(|| missing("kind"))?;
    reader.finish()?;
    Ok(Registration { intent_type, handler_name, kind, metadata })
}

impl Registration<'_> {
    /// Of the CONTROL `handler_registered`: canonical.
    pub(super) fn payload(&self) -> Vec<u8> {
        let mut out = names(&self.intent_type, &self.handler_name);
        out.extend_from_slice(format!(",\"kind\":\"{}\",\"metadata\":", self.kind.text()).as_bytes());
        out.extend_from_slice(&self.metadata);
        out.push(b'}');
        out
    }
}

/// The payload of the CONTROL `handler_removed`: canonical.
pub(super) fn removal(intent_type: &str, handler_name: &str) -> Vec<u8> {
    let mut out = names(intent_type, handler_name);
    out.push(b'}');
    out
}

fn names(intent_type: &str, handler_name: &str) -> Vec<u8> {
    let mut out = b"{\"handler_name\":".to_vec();
    json::write_string(&mut out, handler_name);
    out.extend_from_slice(b",\"intent_type\":");
    json::write_string(&mut out, intent_type);
    out
}
