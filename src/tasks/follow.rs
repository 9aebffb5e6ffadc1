//! Follows the projections: what changed goes to those who wait, to the deadlines, to the workers that listen, and to
//! where records are made of it. And keeps time.

use std::sync::Arc;
use std::sync::PoisonError;

use futures::FutureExt as _;
use futures::future::pending;
use gesta_log_format::Index;
use gesta_replay::event::TaskId;
use gesta_replay::lifecycle::Status;
use gesta_replay::projections::tasks::Open;
use gesta_replay::task_lifecycle::State as Stage;

use super::Tasks;
use super::next::awaits_task;
use crate::limits::TASKS_LOOKED_AT_MAX;
use crate::projector::State;

/// How far the follower is.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// All tasks were looked at whose last record is below.
    tasks: Index,
    /// All executions were looked at whose DECISION is below.
    decisions: Index,
    /// All requests to cancel below were looked at.
    cancels: Index,
}

/// What one look at the projections has found.
#[derive(Default)]
struct Found {
    changed: Vec<Open>,
    /// What has something to be recorded.
    settle: Vec<TaskId>,
    /// There may be more.
    more: bool,
}

impl Tasks {
    pub(super) async fn follow(self: Arc<Self>) {
        let (mut applied, mut stopped) = (self.projector.watch(), self.stop.subscribe());
        // What had ended before the start must be seen as ended.
        if self.applied_below(self.head_at_start).await.is_none() {
            return;
        }
        let mut seen = Seen::default();
        loop {
            applied.borrow_and_update();
            while self.look(&mut seen) {
                if *self.stop.borrow() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = self.again.notified() => seen.decisions = Index::ZERO,
                moved = applied.changed() => if moved.is_err() { return },
            }
        }
    }

    /// One look at what changed since the last; says whether there may be more.
    fn look(self: &Arc<Self>, seen: &mut Seen) -> bool {
        let found = self.projector.look(|state| self.find(state, seen));
        for open in &found.changed {
            self.see(open);
        }
        found.settle.into_iter().for_each(|task_id| self.settle(task_id));
        let ended = std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner));
        for task_id in ended {
            self.waiting.forget(task_id);
            self.timers().forget(task_id);
            self.control.forget(task_id);
        }
        found.more
    }

    fn find(&self, state: &State, seen: &mut Seen) -> Found {
        let mut found = Found::default();
        for open in state.tasks.changed_since(seen.tasks).take(TASKS_LOOKED_AT_MAX) {
            seen.tasks = open.last_index.next();
            if has_more(state, open) {
                found.settle.push(open.task_id);
            }
            found.changed.push(open.clone());
        }
        let mut looked_at = 0;
        for execution in state.executions.allowed_since(seen.decisions).take(TASKS_LOOKED_AT_MAX) {
            looked_at += 1;
            seen.decisions = execution.decision_index.next();
            if awaits_task(state, self.executor.registry(), execution) {
                found.settle.push(execution.execution_id);
            }
        }
        let mut asked = 0;
        for execution in state.executions.cancel_requested_since(seen.cancels).take(TASKS_LOOKED_AT_MAX) {
            asked += 1;
            seen.cancels = execution.cancel_requested.map_or(seen.cancels, Index::next);
            if state.tasks.task(execution.execution_id).is_some() {
                found.settle.push(execution.execution_id);
            }
        }
        found.more = [found.changed.len(), looked_at, asked].contains(&TASKS_LOOKED_AT_MAX);
        found
    }

    /// Takes a task as it is now.
    pub(super) fn see(&self, open: &Open) {
        let now = self.clock.now();
        let (before, after) = {
            let mut timers = self.timers();
            let before = timers.next();
            timers.see(open, now);
            (before, timers.next())
        };
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.timers_moved.notify_one();
        }
        self.waiting.see(open);
        self.control.see(open);
    }

    /// Has everything looked at whose deadline has come.
    pub(super) async fn keep_time(self: Arc<Self>) {
        let mut stopped = self.stop.subscribe();
        loop {
            let now = self.clock.now();
            let (due, next) = {
                let mut timers = self.timers();
                let due = timers.take_due(now, TASKS_LOOKED_AT_MAX);
                (due, timers.next())
            };
            due.into_iter().for_each(|task_id| self.settle(task_id));
            let next = next.map_or_else(|| pending().boxed(), |next| self.clock.until(next));
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = self.timers_moved.notified() => {}
                () = next => {}
            }
        }
    }
}

/// Whether something has to be recorded of a task, but for what time brings.
fn has_more(state: &State, open: &Open) -> bool {
    let execution = state.executions.open(open.task_id);
    let created = execution.is_some_and(|execution| execution.standing.status == Status::Created);
    let cancelled = execution.is_some_and(|execution| execution.cancel_requested.is_some());
    match open.standing.state {
        Stage::Running => created || (cancelled && !open.standing.cancel_requested),
        Stage::Queued | Stage::RetryScheduled => cancelled,
        Stage::TimedOut | Stage::AttemptFailed => true,
        Stage::Completed | Stage::Failed | Stage::Canceled => execution.is_some(),
    }
}
