//! The life of a task, and which record may follow which: contract 2-tasks.
//!
//! ```text
//! queued -> running -> completed
//!                   -> attempt_failed | timed_out -> retry_scheduled -> queued
//!                   -> failed (for good)
//! any that has not ended -> canceled
//! ```
//!
//! Each arrow is one TASK record. The first `queued` makes a task, with [`Standing::queued`]; [`may`] judges all that
//! follows: the server asks before it appends, the fold and the auditor ask of what was appended. A task that lost its
//! worker, or whose attempt failed, still takes what its latest attempt reports late, until the next `claimed`.
//!
//! Whether a lease has run out is no question here: only a `timed_out` says so.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::{Event, EventError, Execution, Task};

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for a worker.
    Queued,
    /// A worker has it. Only then is there a live attempt.
    Running,
    /// The latest attempt took too long.
    TimedOut,
    /// The latest attempt failed, and another may be made.
    AttemptFailed,
    /// Another attempt will be made.
    RetryScheduled,
    /// It is done.
    Completed,
    /// It failed for good.
    Failed,
    /// Someone ended it.
    Canceled,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Running,
        Self::TimedOut,
        Self::AttemptFailed,
        Self::RetryScheduled,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
    ];

    /// The written form: lower case with underscores.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::TimedOut => "timed_out",
            Self::AttemptFailed => "attempt_failed",
            Self::RetryScheduled => "retry_scheduled",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        self.ends_execution().is_some()
    }

    /// How the execution of a task ends that has ended so; none where it has not.
    #[must_use]
    pub const fn ends_execution(self) -> Option<Execution> {
        match self {
            Self::Queued | Self::Running | Self::TimedOut | Self::AttemptFailed | Self::RetryScheduled => {
                None
            }
            Self::Completed => Some(Execution::Completed),
            Self::Failed => Some(Execution::Failed),
            Self::Canceled => Some(Execution::Cancelled),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Where a task stands: all that decides what may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where it is in its life.
    pub state: State,
    /// How often it was claimed; the latest attempt.
    pub attempt: u64,
    /// How often it may be claimed.
    pub max_attempts: u64,
    /// Whether its worker was asked to stop. No other attempt is made then.
    pub cancel_requested: bool,
}

impl Standing {
    /// Of a task that was queued and nothing else.
    #[must_use]
    pub const fn queued(max_attempts: u64) -> Self {
        Self { state: State::Queued, attempt: 0, max_attempts, cancel_requested: false }
    }

    /// Whether another attempt may be made after the latest.
    #[must_use]
    pub const fn has_attempts_left(self) -> bool {
        self.attempt < self.max_attempts && !self.cancel_requested
    }
}

/// What is to happen to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It waits again, after a retry was scheduled.
    Queued {
        /// The latest.
        attempt: u64,
    },
    /// A worker gets it.
    Claimed {
        /// The next.
        attempt: u64,
    },
    /// Its lease lasts longer.
    Extended {
        /// The latest.
        attempt: u64,
    },
    /// Its worker is asked to stop.
    CancelRequested,
    /// It is done.
    Completed {
        /// The latest.
        attempt: u64,
    },
    /// The attempt failed.
    Failed {
        /// The latest.
        attempt: u64,
        /// Whether another may help.
        retryable: bool,
    },
    /// The attempt took too long.
    TimedOut {
        /// The latest.
        attempt: u64,
    },
    /// Another attempt will be made.
    RetryScheduled {
        /// The latest.
        attempt: u64,
    },
    /// Someone ends it.
    Canceled {
        /// The latest; 0 where it was never claimed.
        attempt: u64,
    },
    /// Its worker reports dataset events.
    Event {
        /// The latest.
        attempt: u64,
    },
    /// Its worker has put a batch of rows.
    BufferPublished {
        /// The latest.
        attempt: u64,
    },
}

impl Transition {
    /// What a TASK of this type makes happen to a task that is there; none for what a sink or the data plane notes,
    /// which may come at any time.
    ///
    /// # Errors
    /// [`crate::event::Fault::Payload`] where it does not say which attempt it is about, or a `failed` not whether
    /// another may help.
    pub fn of(event: &Event<'_>, task: Task) -> Result<Option<Self>, EventError> {
        let attempt = || event.attempt();
        Ok(Some(match task {
            Task::Queued => Self::Queued { attempt: attempt()? },
            Task::Claimed => Self::Claimed { attempt: attempt()? },
            Task::Extended => Self::Extended { attempt: attempt()? },
            Task::CancelRequested => Self::CancelRequested,
            Task::Completed => Self::Completed { attempt: attempt()? },
            Task::Failed => {
                let failed = event.task_failed()?;
                Self::Failed { attempt: failed.attempt, retryable: failed.retryable }
            }
            Task::TimedOut => Self::TimedOut { attempt: attempt()? },
            Task::RetryScheduled => Self::RetryScheduled { attempt: attempt()? },
            Task::Canceled => Self::Canceled { attempt: attempt()? },
            Task::Event => Self::Event { attempt: attempt()? },
            Task::BufferPublished => Self::BufferPublished { attempt: attempt()? },
            Task::BufferCommitted
            | Task::BufferDeadLettered
            | Task::Placed
            | Task::Started
            | Task::Dropped => return Ok(None),
        }))
    }

    /// The type of the TASK record that says so.
    #[must_use]
    pub const fn task(self) -> Task {
        match self {
            Self::Queued { .. } => Task::Queued,
            Self::Claimed { .. } => Task::Claimed,
            Self::Extended { .. } => Task::Extended,
            Self::CancelRequested => Task::CancelRequested,
            Self::Completed { .. } => Task::Completed,
            Self::Failed { .. } => Task::Failed,
            Self::TimedOut { .. } => Task::TimedOut,
            Self::RetryScheduled { .. } => Task::RetryScheduled,
            Self::Canceled { .. } => Task::Canceled,
            Self::Event { .. } => Task::Event,
            Self::BufferPublished { .. } => Task::BufferPublished,
        }
    }

    /// Which attempt it speaks of; none for a request to stop, which is about whichever is running.
    #[must_use]
    pub const fn attempt(self) -> Option<u64> {
        match self {
            Self::CancelRequested => None,
            Self::Queued { attempt }
            | Self::Claimed { attempt }
            | Self::Extended { attempt }
            | Self::Completed { attempt }
            | Self::Failed { attempt, .. }
            | Self::TimedOut { attempt }
            | Self::RetryScheduled { attempt }
            | Self::Canceled { attempt }
            | Self::Event { attempt }
            | Self::BufferPublished { attempt } => Some(attempt),
        }
    }
}

/// Why something may not happen to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IllegalTransition {
    /// Its life does not go that way.
    #[error("{} cannot follow while a task is {from}", .to.text())]
    State {
        /// Where it is.
        from: State,
        /// What should have followed.
        to: Task,
    },
    /// It was done before.
    #[error("it was completed before")]
    CompletedTwice,
    /// Someone has it.
    #[error("its attempt {live} is live, and it is claimed again")]
    SecondLiveAttempt {
        /// The latest.
        live: u64,
    },
    /// An attempt that was replaced has no say.
    #[error("attempt {found} is stale: the latest is {latest}")]
    StaleAttempt {
        /// The latest.
        latest: u64,
        /// The attempt that spoke.
        found: u64,
    },
    /// An attempt is missing, or none that was claimed speaks.
    #[error("it speaks of attempt {found}, and has to speak of {wanted}")]
    Attempt {
        /// The latest; of a claim the next.
        wanted: u64,
        /// What was said.
        found: u64,
    },
    /// It was claimed as often as it may be.
    #[error("no attempt is left: {max_attempts} were made")]
    NoAttemptLeft {
        /// How often it may be claimed.
        max_attempts: u64,
    },
    /// An attempt that is not live writes what is not the task's own: state, an artifact, a step.
    #[error("attempt {attempt} writes something while the task is {from}")]
    NotLive {
        /// Where the task is.
        from: State,
        /// The latest.
        attempt: u64,
    },
    /// Its worker was asked to stop, so that its lease is not extended and no other attempt is made.
    #[error("{} cannot follow once cancelling it was requested", .to.text())]
    CancelRequested {
        /// What should have followed.
        to: Task,
    },
}

impl IllegalTransition {
    /// A stable name, UPPER_SNAKE.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::State { .. } => "TASK_TRANSITION",
            Self::CompletedTwice => "TASK_COMPLETED_TWICE",
            Self::SecondLiveAttempt { .. } => "TASK_SECOND_LIVE_ATTEMPT",
            Self::StaleAttempt { .. } => "TASK_STALE_ATTEMPT",
            Self::Attempt { .. } => "TASK_ATTEMPT",
            Self::NoAttemptLeft { .. } => "TASK_NO_ATTEMPT_LEFT",
            Self::NotLive { .. } => "TASK_ATTEMPT_NOT_LIVE",
            Self::CancelRequested { .. } => "TASK_CANCEL_REQUESTED",
        }
    }
}

/// Where a task stands after a transition that may happen. That its execution is open is not asked here.
///
/// | from | `queued` | `claimed` | `extended`¹, `cancel_requested`¹, `event`, `buffer_published` | `completed` | `failed` | `timed_out` | `retry_scheduled`² | `canceled` |
/// |---|---|---|---|---|---|---|---|---|
/// | queued | | running | | completed³ | queued³ or failed | | | canceled |
/// | running | | | running | completed | attempt_failed or failed | timed_out | | canceled |
/// | timed_out, attempt_failed | | | | completed | attempt_failed or failed | | retry_scheduled | canceled |
/// | retry_scheduled | queued | | | completed | retry_scheduled or failed | | | canceled |
/// | completed, failed, canceled | | | | | | | | |
///
/// A `claimed` is of the next attempt, every other of the latest. A `failed` is for good where it is not retryable,
/// no attempt is left, or cancelling was requested; else what was scheduled stays so.
/// ¹ Until cancelling was requested: the lease that is running is the grace.
/// ² While an attempt is left and cancelling was not requested.
/// ³ Of an attempt that was made: late.
///
/// # Errors
/// [`IllegalTransition`] for every other.
pub fn may(from: Standing, to: Transition) -> Result<Standing, IllegalTransition> {
    check_attempt(from, to)?;
    let illegal = IllegalTransition::State { from: from.state, to: to.task() };
    if from.state.is_terminal() {
        return Err(illegal);
    }
    let running = from.state == State::Running;
    let state = match to {
        Transition::Queued { .. } if from.state == State::RetryScheduled => State::Queued,
        Transition::Claimed { attempt } if from.state == State::Queued => {
            return Ok(Standing { state: State::Running, attempt, ..from });
        }
        Transition::Extended { .. } | Transition::CancelRequested if running && from.cancel_requested => {
            return Err(IllegalTransition::CancelRequested { to: to.task() });
        }
        Transition::CancelRequested if running => return Ok(Standing { cancel_requested: true, ..from }),
        Transition::Extended { .. } | Transition::Event { .. } | Transition::BufferPublished { .. }
            if running =>
        {
            State::Running
        }
        Transition::TimedOut { .. } if running => State::TimedOut,
        Transition::Completed { .. } if from.attempt > 0 => State::Completed,
        Transition::Failed { retryable, .. } if from.attempt > 0 => after_failed(from, retryable),
        Transition::RetryScheduled { .. } => after_retry(from, illegal)?,
        Transition::Canceled { .. } => State::Canceled,
        Transition::Queued { .. }
        | Transition::Claimed { .. }
        | Transition::Extended { .. }
        | Transition::CancelRequested
        | Transition::Completed { .. }
        | Transition::Failed { .. }
        | Transition::TimedOut { .. }
        | Transition::Event { .. }
        | Transition::BufferPublished { .. } => return Err(illegal),
    };
    Ok(Standing { state, ..from })
}

/// Whether an attempt may write what is no TASK: the state of its session or execution, an artifact, a step. Only the
/// live one may; where the task stands does not change by it.
///
/// # Errors
/// [`IllegalTransition`].
pub fn may_write(from: Standing, attempt: u64) -> Result<(), IllegalTransition> {
    check_attempt(from, Transition::Event { attempt })?;
    match from.state {
        State::Running => Ok(()),
        State::Queued
        | State::TimedOut
        | State::AttemptFailed
        | State::RetryScheduled
        | State::Completed
        | State::Failed
        | State::Canceled => Err(IllegalTransition::NotLive { from: from.state, attempt }),
    }
}

/// Whether the attempt is the one whose turn it is, whatever it says.
fn check_attempt(from: Standing, to: Transition) -> Result<(), IllegalTransition> {
    let latest = from.attempt;
    match (from.state, to) {
        (State::Completed, Transition::Completed { .. }) => return Err(IllegalTransition::CompletedTwice),
        (State::Running, Transition::Claimed { .. }) => {
            return Err(IllegalTransition::SecondLiveAttempt { live: latest });
        }
        (_, Transition::Claimed { attempt }) if !from.state.is_terminal() => {
            let wanted = latest.saturating_add(1);
            if attempt != wanted {
                return Err(IllegalTransition::Attempt { wanted, found: attempt });
            }
            if latest >= from.max_attempts {
                return Err(IllegalTransition::NoAttemptLeft { max_attempts: from.max_attempts });
            }
            return Ok(());
        }
        (_, _) => {}
    }
    match to.attempt() {
        Some(found) if found < latest => Err(IllegalTransition::StaleAttempt { latest, found }),
        Some(found) if found > latest && !from.state.is_terminal() => {
            Err(IllegalTransition::Attempt { wanted: latest, found })
        }
        Some(_) | None => Ok(()),
    }
}

/// What a `failed` of the latest attempt leads to: a retry that is under way goes on.
fn after_failed(from: Standing, retryable: bool) -> State {
    if !retryable || !from.has_attempts_left() {
        return State::Failed;
    }
    match from.state {
        State::Queued | State::RetryScheduled => from.state,
        State::Running | State::TimedOut | State::AttemptFailed => State::AttemptFailed,
        State::Completed | State::Failed | State::Canceled => State::Failed,
    }
}

fn after_retry(from: Standing, illegal: IllegalTransition) -> Result<State, IllegalTransition> {
    match from.state {
        State::TimedOut | State::AttemptFailed if from.cancel_requested => {
            Err(IllegalTransition::CancelRequested { to: Task::RetryScheduled })
        }
        State::TimedOut | State::AttemptFailed if !from.has_attempts_left() => {
            Err(IllegalTransition::NoAttemptLeft { max_attempts: from.max_attempts })
        }
        State::TimedOut | State::AttemptFailed => Ok(State::RetryScheduled),
        State::Queued
        | State::Running
        | State::RetryScheduled
        | State::Completed
        | State::Failed
        | State::Canceled => Err(illegal),
    }
}

#[cfg(test)]
mod tests;
