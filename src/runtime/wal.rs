//! What a handler records on the way: steps and events, behind one another in the life of its execution.

use std::sync::Arc;

use gesta_log_format::{Index, json};
use gesta_replay::lifecycle::Transition;
use gesta_replay::projections::executions::Open;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::executor::{Executor, Left};
use crate::members::Members;

/// Appends to the log on behalf of one delivery of an execution. The log is the write-ahead log: what is appended is
/// durable on return, and the audit trail has it. Cheap to clone.
#[derive(Clone)]
pub struct Wal {
    executor: Arc<Executor>,
    /// Where the execution stands, as far as this delivery knows.
    open: Arc<Mutex<Open>>,
    actor: Arc<str>,
}

/// Why something was not appended.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The execution has ended, or was given to a handler again.
    #[error("the delivery is over: the record at index {newest} has ended it")]
    Over { newest: Index },
    /// The server ends, or the log cannot take it; the server's own log says more.
    #[error("the log takes nothing more")]
    Closed,
    /// It cannot be a record.
    #[error("it cannot be kept: {0}")]
    Invalid(String),
}

impl Wal {
    pub(crate) fn new(executor: Arc<Executor>, open: Open, actor: &str) -> Self {
        Self { executor, open: Arc::new(Mutex::new(open)), actor: actor.into() }
    }

    /// Appends an EXECUTION `event`: an object, published as the handler's registration says.
    ///
    /// # Errors
    /// [`WalError`].
    pub async fn event(&self, event: &Value) -> Result<Index, WalError> {
        if !event.is_object() {
            return Err(WalError::Invalid("an event is an object".to_owned()));
        }
        self.append(Transition::Event, &canonical(event)?).await
    }

    /// Appends an EXECUTION `step_completed`.
    ///
    /// # Errors
    /// [`WalError`].
    pub async fn step_completed(&self, step: &str, output: &Value) -> Result<Index, WalError> {
        let payload = Members::new().raw("output", canonical(output)?).text("step", step).finish();
        self.append(Transition::StepCompleted, &payload).await
    }

    /// Appends an EXECUTION `step_failed`, which does not end the execution.
    ///
    /// # Errors
    /// [`WalError`].
    pub async fn step_failed(&self, step: &str, error: &Value) -> Result<Index, WalError> {
        let payload = Members::new().raw("error", canonical(error)?).text("step", step).finish();
        self.append(Transition::StepFailed, &payload).await
    }

    async fn append(&self, transition: Transition, payload: &[u8]) -> Result<Index, WalError> {
        let mut open = self.open.lock().await;
        let appended = self.executor.persist_here(&mut open, &self.actor, transition, payload).await;
        appended.map_err(|left| match left {
            Left::Moved { newest } => WalError::Over { newest },
            Left::Open => WalError::Closed,
            Left::Refused => WalError::Invalid("it is too large, or the disk has failed".to_owned()),
        })
    }
}

fn canonical(value: &Value) -> Result<Vec<u8>, WalError> {
    let text = serde_json::to_vec(value).map_err(|error| WalError::Invalid(error.to_string()))?;
    json::canonicalize(&text).map_err(|error| WalError::Invalid(error.kind.to_string()))
}
