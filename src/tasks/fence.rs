//! The fence: who may change a task. Only the latest attempt, with the token of its lease.
//!
//! What is judged here is judged again by the swap when the record is appended: a request that was overtaken changes
//! nothing.

use std::time::Duration;

use gesta_log_format::{Index, hex};
use gesta_replay::event::{Nonce, TaskId};
use gesta_replay::projections::tasks::Open;

use super::Tasks;
use crate::capability::{self, Capabilities};
use crate::limits::APPLIED_WAIT_MS;
use crate::problem::{Problem, ReasonCode};

/// What a worker shows with every change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    pub(crate) task_id: TaskId,
    pub(crate) attempt: u64,
    pub(crate) lease_token: String,
}

/// The token of a lease.
pub(super) fn token(capabilities: &Capabilities, open: &Open, attempt: u64, nonce: Nonce) -> String {
    with_lease(open, attempt, nonce, |lease| capabilities.lease_key().token(lease))
}

fn is_token(capabilities: &Capabilities, open: &Open, attempt: u64, nonce: Nonce, token: &str) -> bool {
    with_lease(open, attempt, nonce, |lease| capabilities.lease_key().verify(lease, token))
}

fn with_lease<T>(
    open: &Open,
    attempt: u64,
    nonce: Nonce,
    use_it: impl FnOnce(&capability::Lease<'_>) -> T,
) -> T {
    let task_id = open.task_id.to_string();
    let nonce = capability::Nonce::parse(&hex::text(&nonce)).expect("16 bytes are 32 digits");
    use_it(&capability::Lease { stream_id: &open.stream_id, task_id: &task_id, attempt, nonce })
}

impl Tasks {
    /// Waits until everything is applied that was durable when this was called: a worker knows of it.
    ///
    /// # Errors
    /// `INDEX_NOT_APPLIED`.
    pub(crate) async fn caught_up(&self) -> Result<(), Problem> {
        let Some(last) = self.store.live.published().0.checked_sub(1) else { return Ok(()) };
        let patience = Duration::from_millis(APPLIED_WAIT_MS);
        self.projector.wait_applied(Index(last), patience).await?;
        Ok(())
    }

    /// The task of a fence that is the latest attempt's, whether it is live or not; none where the task is not there any
    /// more.
    ///
    /// # Errors
    /// `STALE_ATTEMPT`, `INDEX_NOT_APPLIED`.
    pub(super) async fn latest(&self, fence: &Fence) -> Result<Option<Open>, Problem> {
        self.caught_up().await?;
        let open = self.projector.look(|state| state.tasks.task(fence.task_id).cloned());
        let Some(open) = open else { return Ok(None) };
        let lease = open.lease.as_ref().filter(|lease| lease.attempt == fence.attempt);
        let Some(lease) = lease.filter(|_| open.standing.attempt == fence.attempt) else {
            return Err(self.stale(&format!(
                "the latest attempt of the task is {}, and this is {}",
                open.standing.attempt, fence.attempt
            )));
        };
        match is_token(&self.capabilities, &open, lease.attempt, lease.nonce, &fence.lease_token) {
            true => {
                self.heard.note(open.task_id);
                Ok(Some(open))
            }
            false => Err(self.stale("the lease token is not that of the attempt")),
        }
    }

    /// The task of a fence that is the live attempt's.
    ///
    /// # Errors
    /// As [`Tasks::latest`]; `STALE_ATTEMPT` also where the attempt is not live any more.
    pub(crate) async fn live(&self, fence: &Fence) -> Result<Open, Problem> {
        let open = self.latest(fence).await?;
        let open = open.ok_or_else(|| self.stale("the task has ended, and so has its execution"))?;
        match open.live_lease() {
            Some(_) => Ok(open),
            None => Err(self.stale(&format!("the attempt is not live: the task is {}", open.standing.state))),
        }
    }

    /// Counts and tells that a fence is not the latest attempt's.
    pub(super) fn stale(&self, why: &str) -> Problem {
        self.metrics.stale.increment(1);
        Problem::new(ReasonCode::StaleAttempt).detail(format!("Nothing was changed: {why}."))
    }
}
