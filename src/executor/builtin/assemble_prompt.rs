//! `assemble_prompt`: the messages of a prompt, from the DECISION's context and the outputs that its references bind.
//!
//! The DECISION holds I_context: what INTENTs said. O_context, what EXECUTIONs answered, is bound there by index and
//! digest alone, so that no policy can see it; here it is read, compared with that digest, and put between the
//! messages in the order of the log. Where the context's configuration admits no EXECUTION to prompts, the DECISION
//! has resolved none.

use std::borrow::Cow;

use gesta_log_format::envelope::View;
use gesta_log_format::json::{self, canonical};
use gesta_log_format::{Digest, Index};
use gesta_replay::event::{Content, Elements};

use crate::executor::works::{Works, WorksError};
use crate::limits::PROMPT_BYTES_MAX;
use crate::runtime::{
    ExecutionContext, Handled, Handler, HandlerError, IntentService, Output, PublicWorks, StateSurface,
};
use crate::store::RecordBytes;

pub(crate) struct AssemblePrompt {
    works: PublicWorks,
}

impl IntentService for AssemblePrompt {
    fn new(works: PublicWorks, _state: StateSurface) -> Self {
        Self { works }
    }
}

impl Handler for AssemblePrompt {
    /// `{"context_digest", "messages": [{"content", "role"}], "o_context": [{"event_digest", "event_index"}]}`; what an
    /// INTENT said has the role `user`, what an EXECUTION answered `assistant`.
    fn invoke(&self, context: ExecutionContext) -> Handled {
        let works = self.works.clone();
        Box::pin(async move {
            let works = works.works();
            let decision = works.record(context.decision_index).await.map_err(unavailable)?;
            let artifacts = assemble(works, &decision).await?;
            Ok(Output { artifacts, events: Vec::new() })
        })
    }
}

/// A reference as a DECISION has resolved it.
struct Resolved {
    index: Index,
    digest: Digest,
    is_output: bool,
}

/// The list of messages as it grows, bounded.
struct Messages(Vec<u8>);

impl Messages {
    fn push(&mut self, content: &str, role: &str) -> Result<(), HandlerError> {
        self.0.extend_from_slice(if self.0.len() == 1 { b"{\"content\":" } else { b",{\"content\":" });
        json::write_string(&mut self.0, content);
        self.0.extend_from_slice(format!(",\"role\":\"{role}\"}}").as_bytes());
        if self.0.len() > PROMPT_BYTES_MAX {
            let message = format!("the prompt has more than {PROMPT_BYTES_MAX} bytes: refer to less");
            return Err(HandlerError::new("PROMPT_TOO_LARGE", message));
        }
        Ok(())
    }
}

async fn assemble(works: &Works, decision: &RecordBytes) -> Result<Vec<u8>, HandlerError> {
    let view = View::parse(decision.data()).ok_or_else(malformed)?;
    let member = |name| view.payload_member(name).ok_or_else(malformed);
    let context_digest = canonical::string(member("context_digest")?).ok_or_else(malformed)?;
    let spec = value(works, member("context_spec")?).await?;
    let assembled = value(works, member("assembled_context")?).await?;
    let mut inputs = contents(&assembled).ok_or_else(malformed)?.into_iter();
    let (mut messages, mut o_context) = (Messages(b"[".to_vec()), b"[".to_vec());
    for found in resolved(&spec).ok_or_else(malformed)? {
        if found.is_output {
            let record = works.record(found.index).await.map_err(unavailable)?;
            if let Some(answer) = output(works, &record, &found).await? {
                messages.push(&answer, "assistant")?;
            }
            if o_context.len() > 1 {
                o_context.push(b',');
            }
            let (digest, index) = (found.digest, found.index);
            let bound = format!("{{\"event_digest\":\"{digest}\",\"event_index\":{index}}}");
            o_context.extend_from_slice(bound.as_bytes());
        } else {
            let input = inputs.next().ok_or_else(malformed)?;
            messages.push(&said(works, input).await?, "user")?;
        }
    }
    for input in inputs {
        messages.push(&said(works, input).await?, "user")?;
    }
    let mut out = b"{\"context_digest\":".to_vec();
    json::write_string(&mut out, &context_digest);
    out.extend_from_slice(b",\"messages\":");
    out.append(&mut messages.0);
    out.extend_from_slice(b"],\"o_context\":");
    out.append(&mut o_context);
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// A member's canonical value, also where it stands in a blob.
async fn value<'a>(works: &Works, member: &'a [u8]) -> Result<Cow<'a, [u8]>, HandlerError> {
    match Content::of(member) {
        Content::Inline(text) => Ok(Cow::Borrowed(text)),
        Content::Blob(reference) => {
            let content = works.blob(reference.digest, PROMPT_BYTES_MAX as u64).await;
            Ok(Cow::Owned(content.map_err(unavailable)?))
        }
    }
}

/// The text of one of the DECISION's messages: itself, or that of the payload which its blob holds.
async fn said(works: &Works, content: &[u8]) -> Result<String, HandlerError> {
    Ok(text(&value(works, content).await?))
}

/// What an EXECUTION answered; none where it has no output, as one that failed.
async fn output(
    works: &Works,
    record: &RecordBytes,
    found: &Resolved,
) -> Result<Option<String>, HandlerError> {
    let view = View::parse(record.data()).ok_or_else(malformed)?;
    if view.digest() != Some(found.digest) {
        let message = format!("the record at index {} is not the one that the DECISION bound", found.index);
        return Err(HandlerError::new("CONTEXT_DIFFERS", message));
    }
    match view.payload_member("output") {
        Some(output) => Ok(Some(text(&value(works, output).await?))),
        None => Ok(None),
    }
}

/// A text as it is, an object's trimmed `message`, or the canonical text of anything else.
fn text(value: &[u8]) -> String {
    if let Some(text) = canonical::string(value) {
        return text.into_owned();
    }
    let message = canonical::member(value, "message").and_then(canonical::string);
    match message {
        Some(message) => message.trim_matches(|found| matches!(found, '\u{9}'..='\u{D}' | ' ')).to_owned(),
        None => String::from_utf8_lossy(value).into_owned(),
    }
}

/// The contents of `assembled_context.model_messages`, in order.
fn contents(assembled: &[u8]) -> Option<Vec<&[u8]>> {
    Elements::new(canonical::member(assembled, "model_messages")?)
        .map(|message| canonical::member(message?, "content"))
        .collect()
}

/// `context_spec.retrieval.resolved_refs`, by index.
fn resolved(spec: &[u8]) -> Option<Vec<Resolved>> {
    let refs = canonical::member(canonical::member(spec, "retrieval")?, "resolved_refs")?;
    Elements::new(refs)
        .map(|found| {
            let found = found?;
            let index = std::str::from_utf8(canonical::member(found, "event_index")?).ok()?;
            Some(Resolved {
                index: Index(index.parse().ok()?),
                digest: Digest::parse(&canonical::string(canonical::member(found, "event_digest")?)?)?,
                is_output: canonical::member(found, "admitted_for")? == b"\"execution_only\"",
            })
        })
        .collect()
}

fn malformed() -> HandlerError {
    HandlerError::new(
        "CONTEXT_UNAVAILABLE",
        "the DECISION holds no context of the form that this version reads",
    )
}

/// What is wrong with the disk is for the server's log; a client learns what is missing.
fn unavailable(error: WorksError) -> HandlerError {
    tracing::error!(%error, "a prompt's context cannot be read");
    HandlerError::new("CONTEXT_UNAVAILABLE", error.to_string())
}
