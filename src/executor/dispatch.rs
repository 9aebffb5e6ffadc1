//! Finding what is to be run: woken by the projector, at most so many at once.

use std::sync::Arc;

use gesta_log_format::Index;
use gesta_replay::event::ExecutionId;
use gesta_replay::projections::executions::Open;
use tokio::sync::OwnedSemaphorePermit;

use super::{Duty, Executor};
use crate::limits::EXECUTIONS_LOOKED_AT_MAX;
use crate::projector::State;

/// An execution, and what is to be done for it.
pub(super) struct Job {
    pub(super) open: Open,
    pub(super) work: Work,
}

/// What the executor does itself.
pub(super) enum Work {
    Invoke(Arc<dyn super::handler::Handler>),
    Fail { reason: String },
}

/// What one look at the projections has found.
struct Found {
    jobs: Vec<Job>,
    /// The DECISION at which the next look begins.
    next: Index,
    /// There may be more behind that.
    more: bool,
}

/// Held while an execution is run; dropping it says that it is not any more, also after a panic.
struct Running {
    executor: Arc<Executor>,
    execution_id: ExecutionId,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.executor.busy().remove(&self.execution_id);
    }
}

impl Executor {
    pub(super) async fn dispatch(self: Arc<Self>) {
        let (mut applied, mut stopped) = (self.projector.watch(), self.stop.subscribe());
        let mut next = Index::ZERO;
        // What had ended before the start must be seen as ended.
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            applied = self.applied_below(self.head_at_start) => if applied.is_none() { return },
        }
        loop {
            applied.borrow_and_update();
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return,
                reached = self.start_from(next) => next = reached,
            }
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = self.again.notified() => next = Index::ZERO,
                moved = applied.changed() => if moved.is_err() { return },
            }
        }
    }

    /// Starts everything that was allowed by a DECISION at `next` or above, as room allows; gives the DECISION at which
    /// to go on.
    async fn start_from(self: &Arc<Self>, mut next: Index) -> Index {
        loop {
            let Ok(first) = Arc::clone(&self.permits).acquire_owned().await else { return next };
            // Nobody else takes any, but for the end of the process.
            let found = self.look(next, 1 + self.permits.available_permits());
            next = found.next;
            let mut first = Some(first);
            for job in found.jobs {
                let permit = match first.take() {
                    Some(first) => Ok(first),
                    None => Arc::clone(&self.permits).try_acquire_owned(),
                };
                let Ok(permit) = permit else { return next };
                let execution_id = job.open.execution_id;
                self.busy().insert(execution_id);
                let running = Running { executor: Arc::clone(self), execution_id, _permit: permit };
                tokio::spawn(async move { running.executor.run(job).await });
            }
            if !found.more {
                return next;
            }
        }
    }

    /// At most `jobs_max` executions to run.
    fn look(&self, next: Index, jobs_max: usize) -> Found {
        let busy = self.busy();
        self.projector.look(|state| {
            let mut found = Found { jobs: Vec::new(), next, more: false };
            for (looked_at, open) in state.executions.allowed_since(next).enumerate() {
                if looked_at == EXECUTIONS_LOOKED_AT_MAX || found.jobs.len() == jobs_max {
                    found.more = true;
                    break;
                }
                found.next = open.decision_index.next();
                if !busy.contains(&open.execution_id) {
                    found.jobs.extend(self.job(state, open));
                }
            }
            found
        })
    }

    /// What is to be done for an execution now; none where others do it.
    pub(super) fn job(&self, state: &State, open: &Open) -> Option<Job> {
        let work = match self.registry.duty(&state.handlers, &open.intent_type) {
            Duty::Invoke(handler) => Work::Invoke(handler),
            Duty::Fail { reason } => Work::Fail { reason },
            Duty::Wait(_) => return None,
        };
        Some(Job { open: open.clone(), work })
    }
}
