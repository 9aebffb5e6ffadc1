//! What a worker says it did: one line for each thing, for a person on standard error or as JSON on standard output.

use std::fmt;
use std::io::Write as _;

use serde::Serialize;

use super::wire::{Fence, Status};

/// Where it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Journal {
    People,
    Json,
    /// Nowhere.
    #[cfg(test)]
    Quiet,
}

/// One thing.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Note<'a> {
    /// The worker has begun.
    Started { worker_id: &'a str, pools: &'a [String], concurrency: usize },
    /// It has an attempt.
    Claimed { task_id: &'a str, attempt: u64 },
    /// The server asks that the attempt be stopped.
    CancelRequested { task_id: &'a str, attempt: u64 },
    /// What the program wrote to standard error is not kept.
    StderrLost { task_id: &'a str, attempt: u64, why: String },
    /// It has ended, and the server knows.
    Reported {
        task_id: &'a str,
        attempt: u64,
        status: Status,
        #[serde(skip_serializing_if = "Option::is_none")]
        retryable: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error_message: Option<&'a str>,
        /// The blob that holds what the program wrote to standard error.
        #[serde(skip_serializing_if = "Option::is_none")]
        stderr: Option<String>,
        took_ms: u64,
    },
    /// It has ended, and the server was not told.
    Abandoned { task_id: &'a str, attempt: u64, why: String },
    /// The worker claims no more.
    Stopping { running: usize, grace_seconds: u64 },
    /// It has ended.
    Stopped { completed: u64, failed: u64, canceled: u64, abandoned: u64 },
}

impl Journal {
    /// Says it. A reader that went away does not end the worker, whose work is elsewhere.
    pub(super) fn note(self, note: &Note<'_>) {
        match self {
            Self::People => eprintln!("{note}"),
            Self::Json => {
                let mut line = serde_json::to_vec(note).expect("texts and numbers are JSON");
                line.push(b'\n');
                let mut out = std::io::stdout().lock();
                let _ = out.write_all(&line).and_then(|()| out.flush());
            }
            #[cfg(test)]
            Self::Quiet => {}
        }
    }
}

impl<'a> Note<'a> {
    pub(super) fn abandoned(fence: &'a Fence, why: impl fmt::Display) -> Self {
        Self::Abandoned { task_id: &fence.task_id, attempt: fence.attempt, why: why.to_string() }
    }
}

impl fmt::Display for Note<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { worker_id, pools, concurrency } => {
                write!(f, "worker {worker_id} claims tasks of {}, {concurrency} at once", pools.join(", "))
            }
            Self::Claimed { task_id, attempt } => write!(f, "{task_id} attempt {attempt}: claimed"),
            Self::CancelRequested { task_id, attempt } => {
                write!(f, "{task_id} attempt {attempt}: a cancel was requested")
            }
            Self::StderrLost { task_id, attempt, why } => {
                write!(f, "{task_id} attempt {attempt}: standard error is not kept: {why}")
            }
            Self::Reported { task_id, attempt, status, retryable, error_message, stderr: _, took_ms } => {
                write!(f, "{task_id} attempt {attempt}: {status:?} after {took_ms} ms")?;
                if retryable == &Some(false) {
                    f.write_str(", for good")?;
                }
                match error_message {
                    Some(message) => write!(f, ": {}", message.replace('\n', " | ")),
                    None => Ok(()),
                }
            }
            Self::Abandoned { task_id, attempt, why } => {
                write!(f, "{task_id} attempt {attempt}: abandoned: {why}")
            }
            Self::Stopping { running, grace_seconds } => {
                write!(f, "claiming no more; {running} running tasks may go on for {grace_seconds} s")
            }
            Self::Stopped { completed, failed, canceled, abandoned } => write!(
                f,
                "stopped: {completed} completed, {failed} failed, {canceled} canceled, {abandoned} abandoned"
            ),
        }
    }
}
