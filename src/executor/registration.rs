//! A handler as an operator registers it, over HTTP or in the configuration; and the payloads of its records.

use std::borrow::Cow;

use gesta_log_format::Digest;
use gesta_log_format::json::{self, ErrorKind, Reader, canonical};
use gesta_replay::event::{HandlerKind, Publish};

use super::bundle;
use super::task_fields::{self, Fields};
use crate::ingress::request::{Secrets, read_name, refused, rejected};
use crate::limits;
use crate::problem::{Problem, ReasonCode};
use crate::runtime::IntentRegistry;

/// A registration whose shape is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration<'a> {
    pub intent_type: Cow<'a, str>,
    pub handler_name: Cow<'a, str>,
    kind: HandlerKind,
    timeout_seconds: Option<u64>,
    /// Of a handler of tasks.
    fields: Fields,
    /// One canonical object.
    metadata: Vec<u8>,
}

/// Reads a registration. A builtin handler may have `builtin_seconds_max` for an invocation.
///
/// # Errors
/// `INVALID_JSON`, `INVALID_INPUT`, `SECRETS_PRESENT`.
pub fn parse<'a>(body: &'a [u8], builtin_seconds_max: u64) -> Result<Registration<'a>, Problem> {
    let mut secrets = Secrets::default();
    let found = read(body, &mut secrets).map_err(|error| refused(body, &secrets, &error))?;
    let wrong = |pointer: &str, detail: String| {
        Err(Problem::new(ReasonCode::InvalidInput).detail(format!("{pointer}: {detail}.")).pointer(pointer))
    };
    if let Some(stray) = found.fields.keys().find(|name| !task_fields::goes_with(name, found.kind)) {
        let kinds = task_fields::kinds_of(stray);
        return wrong(&format!("/{stray}"), format!("goes with the kinds {kinds} only"));
    }
    let (posts, publishes) = (found.kind == HandlerKind::Push, found.publish() == Publish::Webhook);
    match (found.fields.contains_key("url"), posts, publishes) {
        (true, false, false) => {
            return wrong("/url", "goes with the kind push, or with publish webhook, only".to_owned());
        }
        (false, true, _) => return wrong("/url", "is missing: say where tasks are posted".to_owned()),
        (false, false, true) => return wrong("/url", "is missing: say where events are posted".to_owned()),
        (true, _, _) | (false, false, false) => {}
    }
    let seconds_max = match found.kind {
        HandlerKind::Worker | HandlerKind::Push => (limits::TASK_SECONDS_MAX, "it is a task"),
        HandlerKind::Builtin => (builtin_seconds_max, "as executor.invoke_seconds_max says"),
        HandlerKind::External => (limits::HANDLER_TIMEOUT_SECONDS_MAX, "a year at most"),
        HandlerKind::Stream => {
            let detail =
                "handlers of kind stream cannot be registered yet: give builtin, external, worker or push";
            return wrong("/kind", detail.to_owned());
        }
    };
    if let (Some(seconds), (most, why)) = (found.timeout_seconds, seconds_max)
        && seconds > most
    {
        return wrong("/timeout_seconds", format!("give a number of seconds from 1 to {most}: {why}"));
    }
    match found.limits_fault() {
        Some((pointer, detail)) if task_fields::is_of_tasks(found.kind) => wrong(pointer, detail),
        Some(_) | None => Ok(found),
    }
}

fn read<'a>(body: &'a [u8], secrets: &mut Secrets) -> Result<Registration<'a>, json::Error> {
    let mut reader = Reader::new(body)?.with_depth_max(limits::JSON_DEPTH_MAX);
    let (mut intent_type, mut handler_name, mut kind) = (None, None, None);
    let mut timeout_seconds = None;
    let mut metadata = b"{}".to_vec();
    let mut fields = Fields::new();
    reader.begin_object()?;
    let whole = reader.mark();
    while let Some(key) = reader.next_member()? {
        match &*key {
            "intent_type" => intent_type = Some(read_name(&mut reader)?),
            "handler_name" => handler_name = Some(read_name(&mut reader)?),
            "kind" => {
                let name = reader.string()?;
                let found = HandlerKind::parse(&name);
                kind = Some(
                    found.ok_or_else(|| reader.fail(rejected("give builtin, external, worker or push")))?,
                );
            }
            "timeout_seconds" => timeout_seconds = Some(read_timeout(&mut reader)?),
            "metadata" => {
                if reader.peek()? != json::Kind::Object {
                    reader.begin_object()?;
                }
                metadata.clear();
                reader.canonical_value(&mut metadata, secrets)?;
            }
            other if task_fields::read(other, &mut reader, secrets, &mut fields)? => {}
            _ => return Err(reader.fail(ErrorKind::UnknownField)),
        }
    }
    let missing = |field| reader.fail_at(whole, ErrorKind::MissingField { field });
    let intent_type = intent_type.ok_or_else(|| missing("intent_type"))?;
    let handler_name = handler_name.ok_or_else(|| missing("handler_name"))?;
    let kind = kind.ok_or_else(|| missing("kind"))?;
    reader.finish()?;
    Ok(Registration { intent_type, handler_name, kind, timeout_seconds, fields, metadata })
}

fn read_timeout(reader: &mut Reader<'_>) -> Result<u64, json::Error> {
    let seconds = u64::try_from(reader.integer()?).ok();
    seconds.filter(|seconds| (1..=limits::HANDLER_TIMEOUT_SECONDS_MAX).contains(seconds)).ok_or_else(|| {
        let range = format!("give a number of seconds from 1 to {}", limits::HANDLER_TIMEOUT_SECONDS_MAX);
        reader.fail(rejected(range))
    })
}

impl Registration<'_> {
    /// Which limit of its tasks could never be kept beside another, and why.
    fn limits_fault(&self) -> Option<(&'static str, String)> {
        let given = |name| std::str::from_utf8(self.fields.get(name)?).ok()?.parse::<u64>().ok();
        let lease = given("lease_seconds");
        if let Some(heartbeat) = given("heartbeat_seconds")
            && heartbeat > lease.unwrap_or(limits::TASK_LEASE_SECONDS)
        {
            let most = lease.unwrap_or(limits::TASK_LEASE_SECONDS);
            return Some(("/heartbeat_seconds", format!("give at most {most}, the seconds of a lease")));
        }
        let timeout = self.timeout_seconds.unwrap_or(limits::TASK_TIMEOUT_SECONDS);
        match lease {
            Some(lease) if lease > timeout => {
                let detail = format!("give at most {timeout}, the seconds that an attempt may take");
                Some(("/lease_seconds", detail))
            }
            Some(_) | None => None,
        }
    }

    /// Demands that the program has the handler, where it is one of the program's.
    ///
    /// # Errors
    /// `INVALID_INPUT` for `/handler_name`.
    pub fn demand_known(&self, registry: &IntentRegistry) -> Result<(), Problem> {
        if self.kind != HandlerKind::Builtin
            || registry.named(&self.intent_type, &self.handler_name).is_some()
        {
            return Ok(());
        }
        let names: Vec<_> = registry.names().into_iter().collect();
        let names = names.join(", ");
        Err(Problem::new(ReasonCode::InvalidInput)
            .detail(format!("/handler_name: it names no builtin handler; there are {names}."))
            .pointer("/handler_name"))
    }

    /// What becomes of the events that it returns.
    pub fn publish(&self) -> Publish {
        let publish = self.fields.get("publish").and_then(|name| canonical::string(name));
        publish.and_then(|name| Publish::parse(&name)).unwrap_or(Publish::None)
    }

    /// Where its tasks or its events are posted, if they are.
    pub fn url(&self) -> Option<Cow<'_, str>> {
        canonical::string(self.fields.get("url")?)
    }

    /// What its runners load, if they load something.
    pub fn bundle(&self) -> Option<Digest> {
        bundle::read(self.fields.get("bundle_sha256")?)
    }

    /// Of the CONTROL `handler_registered`: canonical.
    pub fn payload(&self) -> Vec<u8> {
        let text = |text: &str| {
            let mut out = Vec::new();
            json::write_string(&mut out, text);
            out
        };
        let mut members = self.fields.clone();
        members.insert("handler_name", text(&self.handler_name));
        members.insert("intent_type", text(&self.intent_type));
        members.insert("kind", text(self.kind.text()));
        members.insert("metadata", self.metadata.clone());
        if let Some(seconds) = self.timeout_seconds {
            members.insert("timeout_seconds", seconds.to_string().into_bytes());
        }
        let mut out = Vec::new();
        for (name, value) in members {
            out.push(if out.is_empty() { b'{' } else { b',' });
            json::write_string(&mut out, name);
            out.push(b':');
            out.extend_from_slice(&value);
        }
        out.push(b'}');
        out
    }

    /// What its records are about.
    pub fn subject(&self) -> String {
        subject(&self.intent_type, &self.handler_name)
    }

    /// Its own copy of the text that it was read from.
    pub fn into_owned(self) -> Registration<'static> {
        let Self { intent_type, handler_name, kind, timeout_seconds, fields, metadata } = self;
        let (intent_type, handler_name) =
            (Cow::Owned(intent_type.into_owned()), Cow::Owned(handler_name.into_owned()));
        Registration { intent_type, handler_name, kind, timeout_seconds, fields, metadata }
    }
}

/// What the records of a handler are about.
pub fn subject(intent_type: &str, handler_name: &str) -> String {
    format!("handler/{intent_type}/{handler_name}")
}

/// The payload of the CONTROL `handler_removed`: canonical.
pub fn removal(intent_type: &str, handler_name: &str) -> Vec<u8> {
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
