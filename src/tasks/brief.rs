//! What a worker is told of its task: the intent, the handler's registration, the limits.

use std::borrow::Cow;

use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical;
use gesta_replay::event::Content;
use gesta_replay::projections::tasks::Open;

use super::Tasks;
use crate::executor::WorksError;
use crate::members::Members;
use crate::problem::{Problem, ReasonCode};

/// The solution of what comes in by the wire.
const SOLUTION: &str = "default";

/// Members of a registration that a worker gets as they are.
const OF_REGISTRATION: [&str; 6] = ["bundle_sha256", "config", "job", "metadata", "operator", "publish"];

/// Why a task cannot be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum BriefError {
    #[error(transparent)]
    Works(#[from] WorksError),
    #[error("the record at index {0} is not what the task says that it is")]
    Foreign(gesta_log_format::Index),
}

impl From<BriefError> for Problem {
    fn from(error: BriefError) -> Self {
        tracing::error!(%error, "a task cannot be told to a worker");
        Self::new(ReasonCode::Internal)
    }
}

impl Tasks {
    /// The object `task` of an answer, of the attempt that is given.
    pub(super) async fn brief(&self, open: &Open, attempt: u64) -> Result<Vec<u8>, BriefError> {
        let works = self.executor.works();
        let record = works.record(open.intent_index).await?;
        let view = View::parse(record.data()).ok_or(BriefError::Foreign(open.intent_index))?;
        let registration = self.registration(open).await?;
        let execution_id = open.task_id.to_string();
        let payload = view.payload_member("payload").unwrap_or(b"{}");
        let observed = view.payload_member("_obs").unwrap_or(b"{}");
        let traced = canonical::member(observed, "x_correlation_id").and_then(canonical::string);
        let traceparent = canonical::member(observed, "traceparent").and_then(canonical::string);
        let mut task = Members::new()
            .number("attempt", attempt)
            .raw("context", context(open, &view))
            .text("correlation_id", &open.correlation_id)
            .text("execution_id", &execution_id)
            .raw("grants", &open.grants)
            .text("handler_name", &open.handler.handler_name)
            .raw("inputs", inputs(payload))
            .number("intent_index", open.intent_index.0)
            .text("intent_type", &open.intent_type)
            .text("kind", open.kind.text())
            .raw("limits", limits(open))
            .raw("payload", payload)
            .text("pool", &open.pool)
            .number("priority", u64::from(open.priority))
            .text("stream_id", &open.stream_id)
            .text("task_id", &execution_id)
            .text("x_correlation_id", traced.as_deref().unwrap_or(&execution_id))
            .some_text("traceparent", traceparent.as_deref());
        for name in OF_REGISTRATION {
            task = task.some(name, canonical::member(registration.as_bytes(), name));
        }
        Ok(task.finish())
    }

    /// The registration that the task was queued by: that in force, if it is still the same, else from the log.
    pub(super) async fn registration(&self, open: &Open) -> Result<String, BriefError> {
        let pin = &open.handler;
        let in_force = self.projector.look(|state| {
            let mut handlers = state.handlers.of(&pin.intent_type).iter();
            handlers.find(|handler| handler.index == pin.index).map(|handler| handler.registration.clone())
        });
        if let Some(registration) = in_force {
            return Ok(registration);
        }
        let record = self.executor.works().record(pin.index).await?;
        let payload =
            View::parse(record.data()).map(|view| String::from_utf8_lossy(view.payload).into_owned());
        payload.ok_or(BriefError::Foreign(pin.index))
    }
}

/// `session_id` and `intent_id` are the same as thread and turn, under the runtime's names.
fn context(open: &Open, view: &View<'_>) -> Vec<u8> {
    let actor = canonical::unescape(view.actor).unwrap_or(Cow::Borrowed(""));
    let created_at = String::from_utf8_lossy(view.recorded_at);
    Members::new()
        .text("actor", &actor)
        .text("created_at", &created_at)
        .text("execution_id", &open.task_id.to_string())
        .text("intent_id", &open.turn_id)
        .text("lane", &open.lane)
        .text_or_null("parent_turn_id", open.parent_turn_id.as_deref())
        .text("session_id", &open.thread_id)
        .text("solution_id", SOLUTION)
        .text("tenant_id", &open.stream_id)
        .text("thread_id", &open.thread_id)
        .text("turn_id", &open.turn_id)
        .finish()
}

pub(super) fn limits(open: &Open) -> Vec<u8> {
    Members::new()
        .number("heartbeat_ms", open.limits.heartbeat_ms)
        .number("lease_ms", open.limits.lease_ms)
        .number("max_attempts", open.limits.max_attempts)
        .number("timeout_ms", open.limits.timeout_ms)
        .finish()
}

/// The intent's own list `inputs`, if it has one in the record.
fn inputs(payload: &[u8]) -> &[u8] {
    match Content::of(payload) {
        Content::Inline(payload) => canonical::member(payload, "inputs")
            .filter(|inputs| inputs.first() == Some(&b'['))
            .unwrap_or(b"[]"),
        Content::Blob(_) => b"[]",
    }
}
