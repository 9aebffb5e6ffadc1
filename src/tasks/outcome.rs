//! The end of an execution, as the end of its task says it; and who asked that it end.

use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical;
use gesta_replay::lifecycle::Transition;
use gesta_replay::task_lifecycle::State;

use super::author::SERVER;
use crate::members::Members;

/// The code of an execution whose worker gave none.
const TASK_FAILED: &str = "TASK_FAILED";

/// What the EXECUTION record says of a task that ended in `state` by `record`. None where that is no such end.
pub(super) fn of_execution(state: State, record: &[u8], delivery: u64) -> Option<(Transition, Vec<u8>)> {
    let view = View::parse(record)?;
    let member = |name| view.payload_member(name);
    let text = |name| member(name).and_then(canonical::string);
    let members = Members::new();
    let members = if delivery > 0 { members.number("delivery", delivery) } else { members };
    match state {
        State::Completed => {
            let output = member("result").unwrap_or(b"null");
            Some((Transition::Completed, members.raw("output", output).finish()))
        }
        State::Failed => {
            let message = text("error_message");
            let error = Members::new()
                .text("code", text("code").as_deref().unwrap_or(TASK_FAILED))
                .text("message", message.as_deref().unwrap_or("the worker gave no message"))
                .finish();
            Some((Transition::Failed, members.raw("error", error).finish()))
        }
        State::Canceled => {
            let members = Members::new().text("by", text("by").as_deref().unwrap_or(SERVER));
            Some((Transition::Cancelled, members.some_text("reason", text("reason").as_deref()).finish()))
        }
        State::Queued | State::Running | State::TimedOut | State::AttemptFailed | State::RetryScheduled => {
            None
        }
    }
}

/// Who asked that something stop, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) by: String,
    pub(super) reason: Option<String>,
}

impl Asked {
    /// What a `cancel_requested` of an INTENT or of a task says.
    pub(super) fn read(record: &[u8]) -> Option<Self> {
        let view = View::parse(record)?;
        let text = |name| Some(canonical::string(view.payload_member(name)?)?.into_owned());
        Some(Self { by: text("by")?, reason: text("reason") })
    }

    /// The same, for the reason that somebody else gives where none was.
    #[must_use]
    pub(super) fn or_because(self, reason: Option<&str>) -> Self {
        Self { reason: self.reason.or_else(|| reason.map(str::to_owned)), ..self }
    }

    pub(super) fn unknown() -> Self {
        Self { by: SERVER.to_owned(), reason: None }
    }

    pub(super) fn write(&self, members: Members) -> Members {
        members.text("by", &self.by).some_text("reason", self.reason.as_deref())
    }
}
