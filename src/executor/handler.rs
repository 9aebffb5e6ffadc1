//! The seam between the executor and what runs in process: a handler gets a context and gives an output or a failure.
//!
//! A handler never writes an execution's records. Its panic or its missed deadline fails its execution and nothing
//! else, as long as it waits now and then: one that computes without end keeps a thread, and its deadline is seen late.

use std::borrow::Cow;
use std::sync::Arc;

use futures::future::BoxFuture;
use gesta_log_format::envelope::View;
use gesta_log_format::json::{self, canonical};
use gesta_log_format::{Index, Timestamp};
use gesta_replay::event::{Content, ExecutionId};
use gesta_replay::projections::executions::Open;

use super::cancel::Cancel;
use super::works::Works;

/// Something that runs executions in this process.
pub trait Handler: Send + Sync + 'static {
    /// The name under which it is registered.
    fn name(&self) -> &'static str;

    /// Runs one execution. May be called again for the same one, if the process ended before its end was recorded.
    fn invoke(&self, context: ExecutionContext) -> BoxFuture<'static, Result<Output, HandlerError>>;
}

/// What a handler gets. `tenant_id` and `session_id` are the INTENT's stream and thread.
#[derive(Clone)]
pub struct ExecutionContext {
    pub execution_id: ExecutionId,
    /// How often a handler was given this execution, this time included: from 1.
    pub delivery: u64,
    pub tenant_id: String,
    pub session_id: String,
    pub solution_id: &'static str,
    pub intent_type: String,
    pub actor: String,
    /// When the INTENT was recorded.
    pub created_at: Timestamp,
    pub intent_index: Index,
    /// The DECISION that allowed it.
    pub decision_index: Index,
    /// What the client sent, as it stands in the INTENT: canonical, itself or a reference to the blob that holds it.
    pub payload: Vec<u8>,
    /// What the server offers to handlers.
    pub works: Arc<Works>,
    /// Whether somebody asks to cancel it. The future of [`Handler::invoke`] is dropped then; this is for what it has
    /// started elsewhere, such as on a thread that blocks.
    pub cancel: Cancel,
}

/// What came of an execution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Canonical JSON of any value.
    pub value: Vec<u8>,
    /// Canonical JSON objects, each of which becomes an EXECUTION `event`, in this order.
    pub events: Vec<Vec<u8>>,
}

impl Output {
    /// Whether a record may hold it.
    pub(super) fn is_sound(&self) -> bool {
        json::is_canonical(&self.value)
            && self.events.iter().all(|event| event.first() == Some(&b'{') && json::is_canonical(event))
    }
}

/// Why an execution failed: what its EXECUTION `failed` says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct HandlerError {
    /// Stable, UPPER_SNAKE.
    pub code: &'static str,
    /// For a person.
    pub message: Cow<'static, str>,
    /// RFC 6901 pointer into the intent's payload, where something of it is to blame.
    pub pointer: Option<String>,
}

impl HandlerError {
    pub fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), pointer: None }
    }

    /// The member `error` of an EXECUTION `failed`: canonical.
    pub(crate) fn object(&self) -> Vec<u8> {
        let mut out = b"{\"code\":".to_vec();
        json::write_string(&mut out, self.code);
        out.extend_from_slice(b",\"message\":");
        json::write_string(&mut out, &self.message);
        if let Some(pointer) = &self.pointer {
            out.extend_from_slice(b",\"pointer\":");
            json::write_string(&mut out, pointer);
        }
        out.push(b'}');
        out
    }
}

/// An INTENT as an execution needs it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) actor: String,
    created_at: Timestamp,
    pub(super) payload: Vec<u8>,
}

/// An INTENT is not the one that the execution came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record at index {intent_index} is not the INTENT of the execution {execution_id}")]
pub(super) struct NotItsIntent {
    intent_index: Index,
    execution_id: ExecutionId,
}

const SOLUTION: &str = "default";

impl Asked {
    /// Reads the envelope of the INTENT of `open`, and insists that it is that.
    pub(super) fn read(open: &Open, envelope: &[u8]) -> Result<Self, NotItsIntent> {
        let read = || {
            let view = View::parse(envelope)?;
            let execution_id = canonical::string(view.payload_member("execution_id")?)?;
            let is_its = view.index == open.intent_index
                && ExecutionId::parse(execution_id.as_bytes()) == Some(open.execution_id)
                && canonical::unescape(view.stream_id)? == open.stream_id;
            let asked = Self {
                actor: canonical::unescape(view.actor)?.into_owned(),
                created_at: view.recorded_at()?,
                payload: view.payload_member("payload")?.to_vec(),
            };
            is_its.then_some(asked)
        };
        let (intent_index, execution_id) = (open.intent_index, open.execution_id);
        read().ok_or(NotItsIntent { intent_index, execution_id })
    }

    /// The context of the delivery that `open` stands at.
    pub(super) fn context(&self, open: &Open, works: &Arc<Works>, cancel: Cancel) -> ExecutionContext {
        ExecutionContext {
            execution_id: open.execution_id,
            delivery: open.standing.deliveries,
            tenant_id: open.stream_id.clone(),
            session_id: open.thread_id.clone(),
            solution_id: SOLUTION,
            intent_type: open.intent_type.clone(),
            actor: self.actor.clone(),
            created_at: self.created_at,
            intent_index: open.intent_index,
            decision_index: open.decision_index,
            payload: self.payload.clone(),
            works: Arc::clone(works),
            cancel,
        }
    }
}

impl ExecutionContext {
    /// What the client sent, or where it is.
    #[must_use]
    pub fn content(&self) -> Content<'_> {
        Content::of(&self.payload)
    }
}
