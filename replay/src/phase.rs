//! How far an intent has come, as `GET /status` and a thread's timeline show it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::{Body, Event, EventError, Execution, Intent, Verdict};

/// How far an intent has come.
///
/// ```text
/// EMPTY -> INTENTED -> ALLOWED -> RUNNING -> EXECUTED
///                   -> DENIED            -> FAILED
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Phase {
    /// Nothing was submitted.
    #[default]
    Empty,
    /// Submitted, and not decided.
    Intented,
    /// Decided, and the end.
    Denied,
    /// Decided, and its execution has not begun.
    Allowed,
    /// Its execution has begun.
    Running,
    /// Its execution has completed.
    Executed,
    /// Its execution has failed or was cancelled.
    Failed,
}

impl Phase {
    /// The written form: upper case.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Empty => "EMPTY",
            Self::Intented => "INTENTED",
            Self::Denied => "DENIED",
            Self::Allowed => "ALLOWED",
            Self::Running => "RUNNING",
            Self::Executed => "EXECUTED",
            Self::Failed => "FAILED",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// The intent that was submitted last to something (a stream, a turn), and its phase.
///
/// A record belongs to the intent whose correlation id it bears, so an older intent that is still running does not
/// change the phase of a newer one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastIntent {
    /// None where none was submitted.
    pub(crate) correlation_id: Option<String>,
    pub(crate) phase: Phase,
}

impl LastIntent {
    /// Takes in one record. Nothing has changed where that fails.
    pub(crate) fn apply(&mut self, event: &Event<'_>) -> Result<(), EventError> {
        let phase = match event.body() {
            Body::Intent(Intent::Submitted) => {
                let correlation_id = event.correlation_id()?;
                let place = self.correlation_id.get_or_insert_default();
                place.clear();
                place.push_str(&correlation_id);
                self.phase = Phase::Intented;
                return Ok(());
            }
            Body::Decision(_) => None,
            Body::Execution(execution) => match execution {
                Execution::Running => Some(Phase::Running),
                Execution::Completed => Some(Phase::Executed),
                Execution::Failed | Execution::Cancelled => Some(Phase::Failed),
                Execution::Event | Execution::StateSet | Execution::StepCompleted | Execution::StepFailed => {
                    return Ok(());
                }
            },
            Body::Intent(Intent::CancelRequested)
            | Body::Task(_)
            | Body::Artifact(_)
            | Body::Session(_)
            | Body::Control(_)
            | Body::Ledger(_) => return Ok(()),
        };
        if self.correlation_id.as_deref() != Some(event.correlation_id()?.as_ref()) {
            return Ok(());
        }
        self.phase = match phase {
            Some(phase) => phase,
            // Read only here: finding it takes a walk through the payload.
            None => match event.verdict()? {
                Verdict::Allow => Phase::Allowed,
                Verdict::Deny => Phase::Denied,
            },
        };
        Ok(())
    }
}
