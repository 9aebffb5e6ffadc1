//! Giving a task to a worker: one record, by swap, and an answer that can be given again.

use std::time::Duration;

use futures::future::join_all;
use gesta_log_format::{Index, Timestamp};
use gesta_replay::event::{HandlerKind, TaskId};
use gesta_replay::projections::leases::Lease;
use gesta_replay::projections::tasks::Open;
use gesta_replay::task_lifecycle::{State, Transition};

use super::author::{Step, StepError};
use super::brief::BriefError;
use super::clock::after;
use super::waiting::{Found, Handed, Reach};
use super::{Tasks, fence};
use crate::append::AppendError;
use crate::auth::Worker;
use crate::capability::{self, Grant, MintError, Prefixes};
use crate::limits::TASK_CONFLICTS_MAX;
use crate::members::Members;
use crate::problem::{Problem, ReasonCode};

/// Why a task was not given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotClaimed {
    AlreadyRunning,
    NotDue,
    Completed,
    Failed,
    Canceled,
    NotFound,
}

impl NotClaimed {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::AlreadyRunning => "AlreadyRunning",
            Self::NotDue => "NotDue",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Canceled => "Canceled",
            Self::NotFound => "NotFound",
        }
    }

    /// Why a task in this state is not given out; none where it is.
    pub(super) const fn of(state: State) -> Option<Self> {
        match state {
            State::Queued => None,
            State::Running => Some(Self::AlreadyRunning),
            State::TimedOut | State::AttemptFailed | State::RetryScheduled => Some(Self::NotDue),
            State::Completed => Some(Self::Completed),
            State::Failed => Some(Self::Failed),
            State::Canceled => Some(Self::Canceled),
        }
    }
}

/// What came of a claim.
pub(super) enum Claimed {
    /// The answer: canonical JSON.
    Yes(Vec<u8>),
    No(NotClaimed),
}

/// Why a claim could not be answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClaimError {
    #[error(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    Brief(#[from] BriefError),
    #[error("the task's capability cannot be minted: {0}")]
    Mint(#[from] MintError),
    #[error("the random source cannot be read: {0}")]
    Random(#[from] getrandom::Error),
    #[error("others were faster again and again")]
    Conflicts,
    #[error("the server ends")]
    Ending,
}

impl From<ClaimError> for Problem {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Step(error) => error.into(),
            ClaimError::Brief(error) => error.into(),
            ClaimError::Mint(_) | ClaimError::Random(_) => {
                tracing::error!(%error, "a task cannot be claimed");
                Self::new(ReasonCode::Internal)
            }
            ClaimError::Conflicts => Self::new(ReasonCode::SubjectConflict),
            ClaimError::Ending => Self::new(ReasonCode::Draining),
        }
    }
}

/// A lease that a worker has.
pub(super) struct Held {
    open: Open,
    attempt: u64,
    nonce: gesta_replay::event::Nonce,
    expires_at: Timestamp,
}

impl Tasks {
    /// Claims one task by its name. A worker that has it gets the same answer again.
    pub(super) async fn claim_one(
        &self,
        task_id: TaskId,
        worker_id: &str,
        worker: &Worker,
    ) -> Result<Claimed, ClaimError> {
        for _ in 0..TASK_CONFLICTS_MAX {
            let open = self.projector.look(|state| state.tasks.task(task_id).cloned());
            let claimable = |open: &Open| {
                open.kind == HandlerKind::Worker && worker.may_claim(&open.pool, &open.stream_id)
            };
            let Some(open) = open.filter(claimable) else { return Ok(Claimed::No(NotClaimed::NotFound)) };
            let live = open.live_lease().filter(|lease| lease.worker_id == worker_id).cloned();
            if let Some(lease) = live {
                return self.answer(held(open, &lease)).await.map(Claimed::Yes);
            }
            if let Some(reason) = NotClaimed::of(open.standing.state) {
                return Ok(Claimed::No(reason));
            }
            match self.record_claim(open, worker_id).await {
                Ok((_, held)) => return self.answer(held).await.map(Claimed::Yes),
                Err(ClaimError::Step(StepError::Append(AppendError::Moved { newest, .. }))) => {
                    self.applied_below(newest.next()).await.ok_or(ClaimError::Ending)?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(ClaimError::Conflicts)
    }

    /// Claims at most `max` tasks within reach. Waits for the first one at most `wait`; none where none came.
    ///
    /// # Errors
    /// `CLAIMS_FULL`; what keeps a claim from being recorded, if none was.
    pub(super) async fn claim_some(
        &self,
        reach: &Reach,
        max: usize,
        wait: Duration,
        worker_id: &str,
    ) -> Result<Vec<Vec<u8>>, Problem> {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let Some(first) = self.next_handed(reach, deadline).await? else { return Ok(Vec::new()) };
            let mut handed = vec![first];
            while handed.len() < max {
                let Some(more) = self.waiting.take(reach) else { break };
                handed.push(more);
            }
            // All at once, so that one sync makes them durable.
            let claims = handed.into_iter().map(|handed| self.claim_handed(handed, worker_id));
            let mut answers = Vec::new();
            let mut failed = None;
            for claimed in join_all(claims).await {
                match claimed {
                    Ok(Some(answer)) => answers.push(answer),
                    Ok(None) => {}
                    Err(error) => failed = Some(error),
                }
            }
            match failed {
                Some(error) if answers.is_empty() => return Err(error.into()),
                Some(error) => tracing::warn!(%error, "some of the tasks that were to be claimed were not"),
                None => {}
            }
            if !answers.is_empty() {
                return Ok(answers);
            }
        }
    }

    async fn next_handed(
        &self,
        reach: &Reach,
        deadline: tokio::time::Instant,
    ) -> Result<Option<Handed>, Problem> {
        let mut draining = self.control.draining();
        match self.waiting.take_or_wait(reach) {
            Ok(Found::Now(handed)) => Ok(Some(handed)),
            Ok(Found::Later(mut turn)) => tokio::select! {
                biased;
                handed = turn.handed() => Ok(handed),
                () = tokio::time::sleep_until(deadline) => Ok(None),
                _ = draining.wait_for(|draining| *draining) => Ok(None),
            },
            Err(full) => Err(Problem::new(ReasonCode::ClaimsFull).detail(format!("{full}."))),
        }
    }

    /// Claims a task that was handed out; none where it waits no more.
    async fn claim_handed(&self, handed: Handed, worker_id: &str) -> Result<Option<Vec<u8>>, ClaimError> {
        let Some(task_id) = handed.task_id() else { return Ok(None) };
        for _ in 0..TASK_CONFLICTS_MAX {
            let open = self.projector.look(|state| state.tasks.task(task_id).cloned());
            let Some(open) = open.filter(|open| open.standing.state == State::Queued) else {
                handed.use_up();
                return Ok(None);
            };
            match self.record_claim(open, worker_id).await {
                Ok((_, held)) => {
                    handed.use_up();
                    return self.answer(held).await.map(Some);
                }
                Err(ClaimError::Step(StepError::Append(AppendError::Moved { newest, .. }))) => {
                    self.applied_below(newest.next()).await.ok_or(ClaimError::Ending)?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(ClaimError::Conflicts)
    }

    /// Appends the TASK `claimed`, and gives its index.
    pub(super) async fn record_claim(
        &self,
        open: Open,
        worker_id: &str,
    ) -> Result<(Index, Held), ClaimError> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)?;
        let attempt = open.standing.attempt + 1;
        let lease_ms = open.limits.lease_ms;
        let now = self.clock.now();
        let expires_at = after(now.wall, Duration::from_millis(lease_ms));
        self.timers().begin(open.task_id, expires_at, now.running);
        let payload = Members::new()
            .number("attempt", attempt)
            .text("lease_expires_at", &expires_at.to_string())
            .number("lease_ms", lease_ms)
            .text("nonce", &gesta_log_format::hex::text(&nonce))
            .text("worker_id", worker_id)
            .finish();
        let transition = Transition::Claimed { attempt };
        let step = Step { transition, actor: worker_id, payload: &payload, others: Vec::new() };
        let (index, _) = self.author.append(&open, step).await?;
        Ok((index, Held { open, attempt, nonce, expires_at }))
    }

    /// The answer to a claim whose record is durable.
    async fn answer(&self, held: Held) -> Result<Vec<u8>, ClaimError> {
        let Held { open, attempt, nonce, expires_at } = held;
        let capability = self.capability(&open, attempt)?;
        let task = self.brief(&open, attempt).await?;
        Ok(Members::new()
            .number("attempt", attempt)
            .text("capability_token", &capability)
            .text("lease_expires_at", &expires_at.to_string())
            .text("lease_token", &fence::token(&self.capabilities, &open, attempt, nonce))
            .text("status", "Claimed")
            .raw("task", task)
            .finish())
    }

    /// A capability for one attempt, from now on.
    pub(super) fn capability(&self, open: &Open, attempt: u64) -> Result<String, MintError> {
        let (datasets, s3) = grants(&open.grants);
        self.capabilities.mint(&Grant {
            stream_id: open.stream_id.clone(),
            task_id: open.task_id.to_string(),
            attempt,
            timeout: Duration::from_millis(open.limits.timeout_ms),
            datasets,
            s3,
        })
    }
}

/// What the registration grants. What cannot be read grants nothing.
fn grants(grants: &str) -> (Vec<capability::Dataset>, Prefixes) {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Grants {
        datasets: Vec<capability::Dataset>,
        s3: Prefixes,
    }
    let Grants { datasets, s3 } = serde_json::from_str(grants).unwrap_or_else(|error| {
        tracing::error!(%error, "the grants of a task cannot be read: its capability grants nothing");
        Grants::default()
    });
    (datasets, s3)
}

fn held(open: Open, lease: &Lease) -> Held {
    Held { attempt: lease.attempt, nonce: lease.nonce, expires_at: lease.expires_at, open }
}
