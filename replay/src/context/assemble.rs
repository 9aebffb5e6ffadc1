//! `context_spec` and `assembled_context`: what a decision was made from, in two forms that are written in one pass.
//!
//! The *recorded* form stands in the DECISION and keeps a `$blob` wherever the text came from one; the *value* form is
//! what `context_digest` covers. They differ in nothing else, and where no blob is involved they are the same bytes.

use std::borrow::Cow;
use std::ops::Range;

use gesta_log_format::Digest;
use gesta_log_format::envelope::View;
use gesta_log_format::json::{self, canonical};
use sha2::Digest as _;

use super::config::{Config, ORDERING, SCHEMA_VERSION};
use super::prefix::{ContextError, Prefix, view};
use super::refs;
use super::resolve::{Resolution, ResolvedRef, Scope, resolve};
use super::submitted::{Shape, Submitted, Value, write_user_input};
use super::transform::{Reason, Transform};

/// The version of this algorithm.
pub const BOUNDARY_VERSION: &str = "1";

/// The context of one intent.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// Recorded form: `{"assembled_context":…,"context_spec":…}`.
    text: Vec<u8>,
    assembled: Range<usize>,
    spec: Range<usize>,
    /// SHA-256 over the value form.
    pub(crate) digest: Digest,
    /// Why the intent is denied before a policy is asked; empty where one is.
    pub(crate) denials: Vec<Reason>,
    /// What normalisation changed.
    pub(crate) transforms: Vec<Transform>,
    /// How many references are admitted to governance.
    pub(crate) governance_refs: usize,
    /// What the client sent.
    pub(crate) payload: Value<'a>,
    /// What the caller had a right to.
    pub(crate) roles: Vec<Cow<'a, str>>,
}

impl Context<'_> {
    pub(crate) fn assembled_context(&self) -> &[u8] {
        self.text.get(self.assembled.clone()).unwrap_or_default()
    }

    pub(crate) fn context_spec(&self) -> &[u8] {
        self.text.get(self.spec.clone()).unwrap_or_default()
    }
}

/// Assembles the context of an intent.
pub(crate) fn assemble<'a, P: Prefix>(
    intent: &View<'a>,
    prefix: &P,
    config: &Config,
) -> Result<Context<'a>, ContextError<P::Error>> {
    let mut denials = Vec::new();
    let submitted = Submitted::read(intent).unwrap_or_else(|| {
        denials.push(Reason::with("EVALUATION_ERROR", "input", "intent"));
        Submitted { surface: "".into(), payload: b"{}", declared_refs: b"[]", roles: Vec::new() }
    });
    let payload = Value::read(prefix, submitted.payload, Shape::Object)?;
    let declared = Value::read(prefix, submitted.declared_refs, Shape::Array)?;
    let mut sorted = Vec::new();
    if payload.is_erased() || declared.is_erased() {
        denials.push(erased(intent));
    } else {
        match refs::read(declared.text()) {
            Ok(refs) => sorted = refs,
            Err(_) => denials.push(Reason::with("EVALUATION_ERROR", "input", "intent")),
        }
    }
    sorted.sort_unstable();
    let mut resolution = Resolution::default();
    if denials.is_empty() {
        let (stream_id, thread_id) = (text(intent.stream_id)?, text(intent.thread_id)?);
        let scope = Scope { stream_id: &stream_id, thread_id: &thread_id, surface: &submitted.surface };
        match resolve(prefix, &scope, &sorted, config.settings())? {
            Ok(resolved) => resolution = resolved,
            Err(faults) => denials.extend(faults.iter().map(|fault| {
                let pointer = fault.pointer("/context_spec/retrieval/declared_refs");
                Reason::with(fault.code.text(), "pointer", &pointer)
            })),
        }
    }
    let mut writer = Writer::default();
    writer.push(b"{\"assembled_context\":");
    let assembled_start = writer.text.len();
    let governance_refs = write_assembled(&mut writer, prefix, &resolution, &payload, &mut denials)?;
    let assembled = assembled_start..writer.text.len();
    writer.push(b",\"context_spec\":");
    let spec_start = writer.text.len();
    write_spec(&mut writer, intent, &payload);
    write_declared(&mut writer, &declared, &sorted);
    write_normalization(&mut writer, config, &resolution.refs);
    let spec = spec_start..writer.text.len();
    writer.push(b"}");
    let (text, digest) = writer.finish();
    let transforms = resolution.transforms;
    let roles = submitted.roles;
    Ok(Context { text, assembled, spec, digest, denials, transforms, governance_refs, payload, roles })
}

fn erased(intent: &View<'_>) -> Reason {
    Reason::new("CONTENT_ERASED", &format!("{{\"event_index\":{}}}", intent.index))
}

fn text<E>(raw: &[u8]) -> Result<Cow<'_, str>, ContextError<E>> {
    canonical::unescape(raw).ok_or(ContextError::NotAnEnvelope)
}

/// Writes `assembled_context`; gives the number of governance references.
fn write_assembled<P: Prefix>(
    writer: &mut Writer,
    prefix: &P,
    resolution: &Resolution<'_, P::Record>,
    payload: &Value<'_>,
    denials: &mut Vec<Reason>,
) -> Result<usize, ContextError<P::Error>> {
    writer.push(b"{\"assembled_from\":[");
    let mut digests = Vec::new();
    for (found, _) in resolution.governance() {
        writer.comma(digests.is_empty());
        writer.push(b"{\"event_digest\":\"");
        found.digest.push(&mut writer.text);
        writer.push(b"\",\"event_index\":");
        writer.number(found.index.0);
        writer.push(b"}");
        digests.push(found.digest);
    }
    writer.push(b"],\"model_messages\":[");
    for (_, record) in resolution.governance() {
        let intent = view(record.as_ref())?;
        let referred = intent.payload_member("payload").unwrap_or(b"{}");
        let value = Value::read(prefix, referred, Shape::Object)?;
        if value.is_erased() {
            denials.push(erased(&intent));
        }
        write_message(writer, &value);
        writer.push(b",");
    }
    write_message(writer, payload);
    writer.push(b"],\"normative_input_digests\":[");
    let count = digests.len();
    digests.sort_unstable();
    digests.dedup();
    for (nth, digest) in digests.iter().enumerate() {
        writer.comma(nth == 0);
        writer.push(b"\"");
        digest.push(&mut writer.text);
        writer.push(b"\"");
    }
    writer.push(b"]}");
    Ok(count)
}

fn write_message(writer: &mut Writer, value: &Value<'_>) {
    writer.push(b"{\"content\":");
    writer.user_input(value);
    writer.push(b",\"role\":\"user\"}");
}

/// Writes `context_spec` up to the value of `declared_refs`.
fn write_spec(writer: &mut Writer, intent: &View<'_>, payload: &Value<'_>) {
    writer.push(b"{\"assembly_rules\":{\"ordering\":\"");
    writer.push(ORDERING.as_bytes());
    writer.push(b"\",\"schema_version\":\"");
    writer.push(SCHEMA_VERSION.as_bytes());
    writer.push(b"\"},\"identity\":{\"parent_turn_id\":");
    match intent.parent_turn_id {
        Some(parent) => writer.quoted(parent),
        None => writer.push(b"null"),
    }
    writer.push(b",\"thread_id\":");
    writer.quoted(intent.thread_id);
    writer.push(b",\"turn_id\":");
    writer.quoted(intent.turn_id);
    writer.push(b"},\"intent\":{\"intent_type\":");
    writer.quoted(intent.intent_type);
    writer.push(b",\"user_input\":");
    writer.user_input(payload);
    writer.push(b"},\"retrieval\":{\"declared_refs\":");
}

fn write_declared(writer: &mut Writer, declared: &Value<'_>, sorted: &[refs::DeclaredRef<'_>]) {
    match declared {
        Value::Inline(_) => refs::write(sorted, &mut writer.text),
        Value::Blob { reference, .. } => {
            let mut list = Vec::new();
            refs::write(sorted, &mut list);
            writer.split(&list, reference);
        }
        Value::Erased { reference } => writer.push(reference),
    }
}

/// Writes what follows `declared_refs`, to the end of `context_spec`.
fn write_normalization(writer: &mut Writer, config: &Config, resolved: &[ResolvedRef<'_>]) {
    writer.push(b",\"normalization\":{\"applied_rules\":");
    writer.push(config.rules());
    writer.push(b",\"boundary_version\":\"");
    writer.push(BOUNDARY_VERSION.as_bytes());
    writer.push(b"\",\"config_digest\":\"");
    config.digest().push(&mut writer.text);
    writer.push(b"\"},\"resolved_refs\":[");
    for (nth, found) in resolved.iter().enumerate() {
        writer.comma(nth == 0);
        write_resolved(writer, found);
    }
    writer.push(b"]}}");
}

fn write_resolved(writer: &mut Writer, found: &ResolvedRef<'_>) {
    writer.push(b"{\"admitted_for\":\"");
    writer.push(found.admitted_for.text().as_bytes());
    writer.push(b"\",\"event_digest\":\"");
    found.digest.push(&mut writer.text);
    writer.push(b"\",\"event_index\":");
    writer.number(found.index.0);
    writer.push(b",\"ref_id\":");
    json::write_string(&mut writer.text, &found.ref_id);
    writer.push(b",\"ref_type\":\"event\"");
    if let Some(version) = &found.version {
        writer.push(b",\"version\":");
        json::write_string(&mut writer.text, version);
    }
    writer.push(b"}");
}

/// Writes the recorded form and hashes the value form.
#[derive(Default)]
struct Writer {
    text: Vec<u8>,
    hash: sha2::Sha256,
    /// Up to here the text went into the hash, or something else did in its place.
    hashed: usize,
    scratch: Vec<u8>,
}

impl Writer {
    fn push(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    fn comma(&mut self, is_first: bool) {
        if !is_first {
            self.text.push(b',');
        }
    }

    /// A string that is escaped already.
    fn quoted(&mut self, raw: &[u8]) {
        self.text.push(b'"');
        self.push(raw);
        self.text.push(b'"');
    }

    fn number(&mut self, number: u64) {
        self.push(gesta_log_format::record::Decimal::default().write(number));
    }

    fn user_input(&mut self, payload: &Value<'_>) {
        match payload {
            Value::Inline(text) => write_user_input(text, &mut self.text),
            Value::Blob { reference, content } => {
                let mut value = std::mem::take(&mut self.scratch);
                write_user_input(content, &mut value);
                self.split(&value, reference);
                value.clear();
                self.scratch = value;
            }
            Value::Erased { reference } => self.push(reference),
        }
    }

    /// Writes `recorded`, and hashes `value` in its place.
    fn split(&mut self, value: &[u8], recorded: &[u8]) {
        self.hash.update(self.text.get(self.hashed..).unwrap_or_default());
        self.hash.update(value);
        self.push(recorded);
        self.hashed = self.text.len();
    }

    fn finish(mut self) -> (Vec<u8>, Digest) {
        self.hash.update(self.text.get(self.hashed..).unwrap_or_default());
        (self.text, Digest(self.hash.finalize().into()))
    }
}
