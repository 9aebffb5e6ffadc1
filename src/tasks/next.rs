//! What has to be recorded next of an execution that is a task's, by what the projections show: a pure look.

use gesta_log_format::Index;
use gesta_replay::event::{HandlerKind, TaskId};
use gesta_replay::lifecycle::Status;
use gesta_replay::projections::executions;
use gesta_replay::projections::handlers::Handler;
use gesta_replay::projections::tasks::Open;
use gesta_replay::task_lifecycle::State as Stage;

use super::clock::Now;
use super::timers::{Due, Timers};
use crate::executor::{Duty, duty};
use crate::projector::State;
use crate::runtime::IntentRegistry;

/// What has to be recorded next.
pub(super) enum Next {
    /// Nothing: someone else is to act, or time has to pass.
    Nothing,
    /// The execution becomes a task.
    Queue { execution: Box<executions::Open>, handler: Box<Handler> },
    /// The execution was cancelled before it was a task.
    CancelExecution(Box<executions::Open>),
    /// A worker has the task: the execution runs.
    Run(Box<executions::Open>),
    /// The task has ended: so has the execution.
    End { execution: Box<executions::Open>, task: Box<Open> },
    /// Something of the task itself.
    Task { task: Box<Open>, what: What },
}

/// What has to be recorded of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A limit is broken, or the grace of a cancelled attempt is over.
    Due(Due),
    /// No attempt is left.
    GiveUp,
    /// Another attempt will be made.
    ScheduleRetry,
    /// The INTENT was cancelled by the record at this index.
    Cancel(Index),
}

/// What has to be recorded next of an execution and its task.
pub(super) fn next(
    state: &State,
    registry: &IntentRegistry,
    timers: &Timers,
    now: Now,
    task_id: TaskId,
) -> Next {
    let execution = state.executions.open(task_id);
    match (state.tasks.task(task_id), execution) {
        (Some(task), execution) => of_task(task, execution, timers, now),
        (None, Some(execution)) => of_execution(state, registry, execution),
        (None, None) => Next::Nothing,
    }
}

/// Whether an execution that is no task has to become one.
pub(super) fn awaits_task(state: &State, registry: &IntentRegistry, execution: &executions::Open) -> bool {
    execution.standing.status == Status::Created
        && state.tasks.task(execution.execution_id).is_none()
        && match duty(registry, &state.handlers, &execution.intent_type) {
            Duty::Wait(kind) => is_of_tasks(kind),
            Duty::Invoke(_) | Duty::Fail { .. } => false,
        }
}

fn is_of_tasks(kind: HandlerKind) -> bool {
    match kind {
        HandlerKind::Worker | HandlerKind::Push => true,
        HandlerKind::Builtin | HandlerKind::External | HandlerKind::Stream => false,
    }
}

fn of_execution(state: &State, registry: &IntentRegistry, execution: &executions::Open) -> Next {
    let handler = state.handlers.first(&execution.intent_type);
    let Some(handler) = handler.filter(|_| awaits_task(state, registry, execution)) else {
        return Next::Nothing;
    };
    let execution = Box::new(execution.clone());
    match execution.cancel_requested {
        Some(_) => Next::CancelExecution(execution),
        None => Next::Queue { execution, handler: Box::new(handler.clone()) },
    }
}

fn of_task(task: &Open, execution: Option<&executions::Open>, timers: &Timers, now: Now) -> Next {
    let standing = task.standing;
    let is_created = |execution: &&executions::Open| execution.standing.status == Status::Created;
    let runs = match standing.state {
        Stage::Running | Stage::Completed => true,
        Stage::Queued
        | Stage::TimedOut
        | Stage::AttemptFailed
        | Stage::RetryScheduled
        | Stage::Failed
        | Stage::Canceled => false,
    };
    if let Some(execution) = execution.filter(is_created).filter(|_| runs) {
        return Next::Run(Box::new(execution.clone()));
    }
    let record = |what| Next::Task { task: Box::new(task.clone()), what };
    let due = timers.due(task, now).map(|due| record(What::Due(due)));
    let cancelled = execution.and_then(|execution| execution.cancel_requested).map(What::Cancel).map(record);
    match standing.state {
        Stage::Completed | Stage::Failed | Stage::Canceled => match execution {
            Some(execution) => {
                Next::End { execution: Box::new(execution.clone()), task: Box::new(task.clone()) }
            }
            None => Next::Nothing,
        },
        Stage::Running if standing.cancel_requested => due.unwrap_or(Next::Nothing),
        Stage::Running | Stage::RetryScheduled => cancelled.or(due).unwrap_or(Next::Nothing),
        Stage::Queued => cancelled.unwrap_or(Next::Nothing),
        Stage::TimedOut | Stage::AttemptFailed => cancelled.unwrap_or_else(|| {
            record(if standing.has_attempts_left() { What::ScheduleRetry } else { What::GiveUp })
        }),
    }
}
