//! What a worker sends and is answered: page 2 of the contracts.

use gesta_log_format::Digest;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// `POST /internal/task-claim` for whatever waits in these pools. Answered by a list of [`Claimed`], or by nothing.
#[derive(Serialize)]
pub(super) struct ClaimAny<'a> {
    pub(super) pools: &'a [String],
    pub(super) max: usize,
    pub(super) wait_ms: u64,
    pub(super) worker_id: &'a str,
}

/// `POST /internal/task-claim` for one task. Of a live attempt of the same worker the answer is that attempt again.
#[derive(Serialize)]
pub(super) struct ClaimOne<'a> {
    pub(super) task_id: &'a str,
    pub(super) worker_id: &'a str,
}

/// An attempt that is this worker's.
#[derive(Deserialize)]
pub(super) struct Claimed {
    pub(super) attempt: u64,
    pub(super) lease_token: String,
    pub(super) lease_expires_at: String,
    pub(super) capability_token: String,
    /// As the server wrote it: the program gets the same.
    pub(super) task: Box<RawValue>,
}

impl Claimed {
    /// The answer for one task; none where it is not to be had, for whatever `reason` the server gives.
    ///
    /// # Errors
    /// It is no such answer.
    pub(super) fn read(answer: &[u8]) -> serde_json::Result<Option<Self>> {
        #[derive(Deserialize)]
        struct Head {
            status: String,
        }
        let Head { status } = serde_json::from_slice(answer)?;
        if status == "NotClaimed" {
            return Ok(None);
        }
        serde_json::from_slice(answer).map(Some)
    }
}

/// What of a task the worker has to know itself.
#[derive(Deserialize)]
pub(super) struct Task {
    pub(super) task_id: String,
    pub(super) limits: TaskLimits,
}

#[derive(Clone, Copy, Deserialize)]
pub(super) struct TaskLimits {
    pub(super) lease_ms: u64,
    pub(super) heartbeat_ms: u64,
    pub(super) timeout_ms: u64,
}

/// Which attempt speaks.
#[derive(Clone, Serialize)]
pub(super) struct Fence {
    pub(super) task_id: String,
    pub(super) attempt: u64,
    pub(super) lease_token: String,
}

/// The answer of `POST /v1/task/heartbeat`.
#[derive(Deserialize)]
pub(super) struct Beaten {
    pub(super) lease_expires_in_ms: u64,
    pub(super) capability_token: String,
    pub(super) cancel_requested: bool,
    pub(super) drain: bool,
}

/// `POST /v1/task/complete`.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    #[serde(flatten)]
    pub(super) fence: &'a Fence,
    pub(super) status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retryable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stderr: Option<&'a Blob>,
}

/// A blob that the server has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Blob {
    #[serde(rename = "$blob", serialize_with = "text")]
    pub(super) digest: Digest,
    pub(super) media_type: &'static str,
    pub(super) size_bytes: u64,
}

fn text<S: serde::Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Status {
    Completed,
    Failed,
    Canceled,
}

/// What the program gets on standard input: as a push invocation, so that one program serves both.
#[derive(Serialize)]
pub(super) struct Input<'a> {
    pub(super) task_id: &'a str,
    pub(super) attempt: u64,
    pub(super) lease_token: &'a str,
    pub(super) lease_expires_at: &'a str,
    pub(super) capability_token: &'a str,
    pub(super) task_url: &'a str,
    pub(super) task: &'a RawValue,
}
