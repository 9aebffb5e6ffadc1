//! A worker says that it lives, and reports what it has so far.

use std::time::Duration;

use gesta_log_format::Timestamp;
use gesta_replay::projections::tasks::Open;
use gesta_replay::task_lifecycle::Transition;

use super::author::{Step, StepError};
use super::clock::after;
use super::fence::Fence;
use super::timers::Left;
use super::{Tasks, grants};
use crate::append::AppendError;
use crate::capability::Claims;
use crate::limits::TASK_CONFLICTS_MAX;
use crate::members::Members;
use crate::problem::{Problem, ReasonCode};

impl Tasks {
    /// Keeps a lease alive. In its first half nothing is recorded, and the deadline stays; nor once its attempt was asked
    /// to stop: what is left is the grace.
    ///
    /// # Errors
    /// `STALE_ATTEMPT`; what keeps a record from being appended.
    pub(super) async fn heartbeat(&self, fence: &Fence) -> Result<Vec<u8>, Problem> {
        for _ in 0..TASK_CONFLICTS_MAX {
            let open = self.live(fence).await?;
            let Some(lease) = open.live_lease() else { continue };
            let (period, recorded) = (Duration::from_millis(lease.lease_ms), lease.expires_at);
            let left = self.left(&open);
            let is_early = left.lease > period / 2 && !left.by_grace;
            if is_early || open.standing.cancel_requested {
                return self.beat(&open, left.lease.min(left.absolute), recorded);
            }
            let now = self.clock.now();
            let expires_at = after(now.wall, period);
            self.timers().begin(open.task_id, expires_at, now.running);
            let attempt = open.standing.attempt;
            let payload = Members::new()
                .number("attempt", attempt)
                .text("lease_expires_at", &expires_at.to_string())
                .finish();
            let step = Step {
                transition: Transition::Extended { attempt },
                actor: &lease.worker_id,
                payload: &payload,
                others: Vec::new(),
            };
            match self.author.append(&open, step).await {
                Ok(_) => return self.beat(&open, period.min(left.absolute), expires_at),
                Err(error) => self.again(error).await?,
            }
        }
        Err(Problem::new(ReasonCode::SubjectConflict))
    }

    /// What is left of a lease that is live.
    fn left(&self, open: &Open) -> Left {
        self.timers().left(open, self.clock.now()).unwrap_or_default()
    }

    fn beat(&self, open: &Open, left: Duration, expires_at: Timestamp) -> Result<Vec<u8>, Problem> {
        let capability =
            self.capability(open, open.standing.attempt).map_err(super::claim::ClaimError::from)?;
        Ok(Members::new()
            .boolean("cancel_requested", open.standing.cancel_requested)
            .text("capability_token", &capability)
            .boolean("drain", *self.control.draining().borrow())
            .text("lease_expires_at", &expires_at.to_string())
            .number("lease_expires_in_ms", u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
            .finish())
    }

    /// Records dataset events that a worker reports while it runs.
    ///
    /// # Errors
    /// `DATASET_FORBIDDEN`; as [`Tasks::heartbeat`].
    pub(super) async fn report_events(
        &self,
        fence: &Fence,
        events: &[u8],
        capability: &Claims,
    ) -> Result<Vec<u8>, Problem> {
        grants::demand(events, "/events", capability)?;
        self.demand_blobs(&capability.org_id, fence, events, "/events").await?;
        for _ in 0..TASK_CONFLICTS_MAX {
            let open = self.live(fence).await?;
            let Some(lease) = open.live_lease() else { continue };
            let attempt = open.standing.attempt;
            let payload = Members::new().number("attempt", attempt).raw("events", events).finish();
            let step = Step {
                transition: Transition::Event { attempt },
                actor: &lease.worker_id,
                payload: &payload,
                others: Vec::new(),
            };
            match self.author.append(&open, step).await {
                Ok((index, _)) => return Ok(Members::new().number("index", index.0).finish()),
                Err(error) => self.again(error).await?,
            }
        }
        Err(Problem::new(ReasonCode::SubjectConflict))
    }

    /// Waits for what was faster; gives back what is no race.
    pub(super) async fn again(&self, error: StepError) -> Result<(), Problem> {
        match error {
            StepError::Append(AppendError::Moved { newest, .. }) => {
                let applied = self.applied_below(newest.next()).await;
                applied.ok_or_else(|| Problem::new(ReasonCode::Draining))
            }
            StepError::Illegal(_) | StepError::Full | StepError::Append(_) => Err(error.into()),
        }
    }
}
