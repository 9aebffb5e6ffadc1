//! The life of an execution, and which step may follow which.
//!
//! ```text
//! created -> running -> completed | failed | cancelled
//! created -> failed | cancelled
//! ```
//!
//! *created* is the INTENT itself. A DENY ends it: failed, with the error `POLICY_DENIED`, and no EXECUTION record
//! says so. Whatever else happens to it is an EXECUTION record, and [`may`] is the one function that judges it: the
//! server asks before it appends, the fold and the auditor ask of what was appended.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::{Event, EventError, Execution};

/// Where an execution is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its INTENT is there.
    #[default]
    Created,
    /// A handler was given it.
    Running,
    /// It is done.
    Completed,
    /// It failed, or its INTENT was denied.
    Failed,
    /// Someone ended it.
    Cancelled,
}

impl Status {
    /// The written form: lower case.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Created | Self::Running => false,
            Self::Completed | Self::Failed | Self::Cancelled => true,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Where an execution stands: all that decides what may follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Where it is in its life.
    pub status: Status,
    /// How often a handler was given it.
    pub deliveries: u64,
}

/// What is to happen to an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// A handler is given it; again, where the last one is known to be gone.
    Running {
        /// Which time, from 1.
        delivery: u64,
    },
    /// The handler reports something.
    Event,
    /// A step of it is done.
    StepCompleted,
    /// A step of it failed.
    StepFailed,
    /// It is done.
    Completed,
    /// It failed.
    Failed,
    /// Someone ends it.
    Cancelled,
}

impl Transition {
    /// What an EXECUTION of this type makes happen; none where it only sets state.
    ///
    /// # Errors
    /// [`crate::event::Fault::Payload`] where a `running` does not say which delivery it is.
    pub fn of(event: &Event<'_>, execution: Execution) -> Result<Option<Self>, EventError> {
        Ok(Some(match execution {
            Execution::Running => Self::Running { delivery: event.delivery()? },
            Execution::Event => Self::Event,
            Execution::StateSet => return Ok(None),
            Execution::StepCompleted => Self::StepCompleted,
            Execution::StepFailed => Self::StepFailed,
            Execution::Completed => Self::Completed,
            Execution::Failed => Self::Failed,
            Execution::Cancelled => Self::Cancelled,
        }))
    }

    /// The type of the EXECUTION record that says so.
    #[must_use]
    pub const fn execution(self) -> Execution {
        match self {
            Self::Running { .. } => Execution::Running,
            Self::Event => Execution::Event,
            Self::StepCompleted => Execution::StepCompleted,
            Self::StepFailed => Execution::StepFailed,
            Self::Completed => Execution::Completed,
            Self::Failed => Execution::Failed,
            Self::Cancelled => Execution::Cancelled,
        }
    }
}

/// Why something may not happen to an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IllegalTransition {
    /// Its life does not go that way.
    #[error("{} cannot follow while an execution is {from}", .to.text())]
    Status {
        /// Where it is.
        from: Status,
        /// What should have followed.
        to: Execution,
    },
    /// A delivery is missing or comes again.
    #[error("it is delivery {found}, and the next one is {wanted}")]
    Delivery {
        /// The next one.
        wanted: u64,
        /// What was said.
        found: u64,
    },
}

/// Where an execution stands after a transition that may happen. The INTENT has been allowed: that is not asked here.
///
/// | from | running | event, step_completed, step_failed | completed | failed | cancelled |
/// |---|---|---|---|---|---|
/// | created | running, if it is delivery 1 | | | failed | cancelled |
/// | running | running, if it is the next delivery | running | completed | failed | cancelled |
/// | completed, failed, cancelled | | | | | |
///
/// # Errors
/// [`IllegalTransition`] for every other.
pub fn may(from: Standing, transition: Transition) -> Result<Standing, IllegalTransition> {
    use Status::{Cancelled, Completed, Created, Failed, Running};
    let status = match (from.status, transition) {
        (Created | Running, Transition::Running { delivery }) => {
            let wanted = from.deliveries.saturating_add(1);
            if delivery != wanted {
                return Err(IllegalTransition::Delivery { wanted, found: delivery });
            }
            return Ok(Standing { status: Running, deliveries: delivery });
        }
        (Running, Transition::Event | Transition::StepCompleted | Transition::StepFailed) => Running,
        (Running, Transition::Completed) => Completed,
        (Created | Running, Transition::Failed) => Failed,
        (Created | Running, Transition::Cancelled) => Cancelled,
        (
            Created,
            Transition::Event | Transition::StepCompleted | Transition::StepFailed | Transition::Completed,
        )
        | (Completed | Failed | Cancelled, _) => {
            return Err(IllegalTransition::Status { from: from.status, to: transition.execution() });
        }
    };
    Ok(Standing { status, ..from })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Transition; 7] = [
        Transition::Running { delivery: 1 },
        Transition::Event,
        Transition::StepCompleted,
        Transition::StepFailed,
        Transition::Completed,
        Transition::Failed,
        Transition::Cancelled,
    ];

    #[track_caller]
    fn check(from: Status, expected: [Option<Status>; 7]) {
        let found = ALL.map(|to| may(Standing { status: from, deliveries: 0 }, to).ok().map(|to| to.status));
        assert_eq!(found, expected, "{from}");
    }

    #[test]
    fn a_life_goes_one_way() {
        use Status::{Cancelled, Completed, Created, Failed, Running};
        let running = Some(Running);
        check(Created, [running, None, None, None, None, Some(Failed), Some(Cancelled)]);
        check(Running, [running, running, running, running, Some(Completed), Some(Failed), Some(Cancelled)]);
        for terminal in [Completed, Failed, Cancelled] {
            assert!(terminal.is_terminal());
            check(terminal, [None; 7]);
        }
    }

    #[test]
    fn deliveries_are_counted_one_by_one() {
        let from = Standing { status: Status::Running, deliveries: 2 };
        let again = may(from, Transition::Running { delivery: 3 }).unwrap();
        assert_eq!(again, Standing { status: Status::Running, deliveries: 3 });
        for found in [0, 1, 2, 4] {
            let refused = may(from, Transition::Running { delivery: found });
            assert_eq!(refused, Err(IllegalTransition::Delivery { wanted: 3, found }));
        }
        assert_eq!(may(from, Transition::Completed).unwrap().deliveries, 2);
    }
}
