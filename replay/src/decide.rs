//! Decides an intent: from its envelope, the records before it, a configuration and a bundle, to the payload of its
//! DECISION, byte for byte.
//!
//! [`decide`] is what the server and an auditor call; [`compare`] says how a recorded payload differs from a derived
//! one. Neither has an opinion about which bundle and configuration are in force: those are the ones that the log's
//! prefix has activated last.

use gesta_log_format::{Digest, record};

use crate::context::{BOUNDARY_VERSION, Config, Context, ContextError, Prefix, assemble};
use crate::event::{Event, Verdict};
use crate::policy::{Bundle, Counts, ENGINE_NAME, Input, Outcome, PolicyRule, engine_version};

mod compare;
mod recorded;

pub use compare::{Comparison, Difference, compare};
pub use recorded::{Engine, Member, PayloadError, Pin, Recorded};

use gesta_log_format::json::canonical;

use crate::policy::result_text;

/// A decision that was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'b> {
    /// The payload of its DECISION: one canonical JSON object. If the envelope becomes too large with it,
    /// [`gesta_log_format::blob::spill::members`] says which members become blobs.
    pub payload: Vec<u8>,
    /// The policy's answer.
    pub result: Verdict,
    /// `context_digest`.
    pub context_digest: Digest,
    /// The policies that determined the answer, by file and place; none where no policy was asked.
    pub determining: Vec<&'b PolicyRule>,
}

/// Decides the INTENT `submitted` that `intent` is.
///
/// `prefix` holds the records with a lower index, `counts` are counted over them, and `config` and `bundle` are the
/// ones that they have activated last: [`Config::default`] and [`Bundle::none`] where they have not.
///
/// A function of these alone. What cannot be resolved or evaluated is a DENY that says so.
///
/// # Errors
/// [`ContextError`] where the prefix cannot be read or a blob is missing: then nothing can be said at all.
pub fn decide<'b, P: Prefix>(
    intent: &Event<'_>,
    prefix: &P,
    counts: Counts,
    config: &Config,
    bundle: &'b Bundle,
) -> Result<Decision<'b>, ContextError<P::Error>> {
    let view = intent.view();
    let mut context = assemble(view, prefix, config)?;
    let denials = std::mem::take(&mut context.denials);
    let outcome = if denials.is_empty() {
        let text = |raw| canonical::unescape(raw).ok_or(ContextError::NotAnEnvelope);
        bundle.evaluate(&Input {
            actor: &text(view.actor)?,
            stream_id: &text(view.stream_id)?,
            lane: &text(view.lane)?,
            intent_type: &text(view.intent_type)?,
            thread_id: &text(view.thread_id)?,
            roles: &context.roles,
            payload: context.payload.text(),
            counts,
            governance_refs: context.governance_refs,
        })
    } else {
        let (result, obligations, determining) = (Verdict::Deny, Vec::new(), Vec::new());
        let mut reasons = denials;
        reasons.sort_unstable();
        reasons.dedup();
        Outcome { result, reasons, obligations, determining }
    };
    let payload = write(view.index.0, &context, &outcome, config, bundle);
    let (result, determining) = (outcome.result, outcome.determining);
    Ok(Decision { payload, result, context_digest: context.digest, determining })
}

/// The payload, its members in canonical order.
fn write(
    intent_index: u64,
    context: &Context<'_>,
    outcome: &Outcome<'_>,
    config: &Config,
    bundle: &Bundle,
) -> Vec<u8> {
    let (assembled, spec) = (context.assembled_context(), context.context_spec());
    let mut out = Vec::with_capacity(1024 + assembled.len() + spec.len());
    out.extend_from_slice(b"{\"assembled_context\":");
    out.extend_from_slice(assembled);
    out.extend_from_slice(b",\"boundary\":{\"boundary_version\":\"");
    out.extend_from_slice(BOUNDARY_VERSION.as_bytes());
    out.extend_from_slice(b"\",\"context_config_digest\":\"");
    config.digest().push(&mut out);
    out.extend_from_slice(b"\"},\"context_digest\":\"");
    context.digest.push(&mut out);
    out.extend_from_slice(b"\",\"context_spec\":");
    out.extend_from_slice(spec);
    out.extend_from_slice(b",\"engine\":{\"name\":\"");
    out.extend_from_slice(ENGINE_NAME.as_bytes());
    out.extend_from_slice(b"\",\"version\":\"");
    out.extend_from_slice(engine_version().as_bytes());
    out.extend_from_slice(b"\"},\"intent_index\":");
    out.extend_from_slice(record::Decimal::default().write(intent_index));
    out.extend_from_slice(b",\"policy\":");
    out.extend_from_slice(bundle.pin());
    out.extend_from_slice(b",\"reasons\":");
    write_list(&mut out, outcome.reasons.iter().map(|reason| reason.text()));
    out.extend_from_slice(b",\"result\":\"");
    out.extend_from_slice(result_text(outcome.result).as_bytes());
    out.extend_from_slice(b"\",\"transforms\":");
    let mut transforms: Vec<_> = context.transforms.iter().chain(&outcome.obligations).collect();
    transforms.sort_unstable();
    transforms.dedup();
    write_list(&mut out, transforms.into_iter().map(|transform| transform.text()));
    out.push(b'}');
    out
}

fn write_list<'a>(out: &mut Vec<u8>, entries: impl Iterator<Item = &'a [u8]>) {
    out.push(b'[');
    for (nth, entry) in entries.enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        out.extend_from_slice(entry);
    }
    out.push(b']');
}
