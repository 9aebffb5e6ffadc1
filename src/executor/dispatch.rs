//! Finding what is to be run: woken by the projector, at most so many at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gesta_log_format::Index;
use gesta_replay::event::{ExecutionId, HandlerKind};
use gesta_replay::lifecycle::Status;
use gesta_replay::projections::executions::Open;
use gesta_replay::projections::handlers::Handler as Registered;
use tokio::sync::OwnedSemaphorePermit;

use super::Executor;
use super::cancel::{Cancel, Teller};
use super::registry::{Duty, Runnable, duty, timeout};
use crate::limits::EXECUTIONS_LOOKED_AT_MAX;
use crate::projector::State;
use crate::runtime::{Handler, HandlerError};

/// An execution, and what is to be done for it.
pub(super) struct Job {
    pub(super) open: Open,
    pub(super) work: Work,
}

/// What the executor does itself.
pub(super) enum Work {
    Invoke(Invocation),
    Fail(HandlerError),
    /// As the INTENT `cancel_requested` at this index asks.
    Cancel {
        request: Index,
    },
}

/// A builtin handler, and how long it may take.
pub(super) struct Invocation {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) handler_name: String,
    pub(super) metadata: serde_json::Value,
    pub(super) timeout: Duration,
    /// Its registration, where that asks something of an intent's payload.
    pub(super) asking: Option<Registered>,
}

/// What one look at the projections has found.
struct Found {
    jobs: Vec<(Job, Running)>,
    /// The DECISION at which the next look begins.
    next: Index,
    /// There may be more behind that.
    more: bool,
}

/// What this process is running, each with who tells it to end.
pub(super) type Busy = HashMap<ExecutionId, Teller>;

/// Held while an execution is run; dropping it says that it is not any more, also after a panic.
pub(super) struct Running {
    executor: Arc<Executor>,
    execution_id: ExecutionId,
    pub(super) cancel: Cancel,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Running {
    /// Notes in `busy` that it runs. A handler needs a permit.
    pub(super) fn begin(
        executor: &Arc<Executor>,
        busy: &mut Busy,
        execution_id: ExecutionId,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let (teller, cancel) = Cancel::new();
        busy.insert(execution_id, teller);
        Self { executor: Arc::clone(executor), execution_id, cancel, _permit: permit }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.executor.busy().remove(&self.execution_id);
    }
}

/// Whether a registration may ask something of an intent's payload.
pub(crate) fn asks(registered: &Registered) -> bool {
    memchr::memmem::find(registered.registration.as_bytes(), b"\"params_schema\":").is_some()
}

impl Executor {
    pub(super) async fn dispatch(self: Arc<Self>) {
        let (mut applied, mut stopped) = (self.projector.watch(), self.stop.subscribe());
        let mut again = self.again.subscribe();
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
                asked = again.changed() => if asked.is_err() { return } else { next = Index::ZERO },
                moved = applied.changed() => if moved.is_err() { return },
            }
        }
    }

    /// Starts everything that was allowed by a DECISION at `next` or above, as room allows; gives the DECISION at which
    /// to go on.
    async fn start_from(self: &Arc<Self>, mut next: Index) -> Index {
        loop {
            let Ok(first) = Arc::clone(&self.permits).acquire_owned().await else { return next };
            let found = self.look(next, first);
            next = found.next;
            for (job, running) in found.jobs {
                tokio::spawn(async move { running.executor.run(job, &running.cancel).await });
            }
            if !found.more {
                return next;
            }
        }
    }

    /// As many executions to run as there are permits, `first` among them.
    fn look(self: &Arc<Self>, next: Index, first: OwnedSemaphorePermit) -> Found {
        let mut permit = Some(first);
        let mut busy = self.busy();
        self.projector.look(|state| {
            let mut found = Found { jobs: Vec::new(), next, more: false };
            for (looked_at, open) in state.executions.allowed_since(next).enumerate() {
                permit = permit.take().or_else(|| Arc::clone(&self.permits).try_acquire_owned().ok());
                if looked_at == EXECUTIONS_LOOKED_AT_MAX || permit.is_none() {
                    found.more = true;
                    break;
                }
                found.next = open.decision_index.next();
                if !busy.contains_key(&open.execution_id)
                    && let Some(job) = self.job(state, open)
                {
                    let running = Running::begin(self, &mut busy, open.execution_id, permit.take());
                    found.jobs.push((job, running));
                }
            }
            found
        })
    }

    /// What is to be done for an execution now; none where others do it. One that is a task stays one, whoever its type is
    /// given to meanwhile.
    pub(super) fn job(&self, state: &State, open: &Open) -> Option<Job> {
        if state.tasks.task(open.execution_id).is_some() {
            return None;
        }
        let duty = duty(&self.registry, &state.handlers, &open.intent_type);
        let work = match (duty, open.cancel_requested) {
            (Duty::Wait(HandlerKind::External), Some(request)) if open.standing.status == Status::Created => {
                Work::Cancel { request }
            }
            (Duty::Wait(_), _) => return None,
            (Duty::Invoke(_) | Duty::Fail { .. }, Some(request)) => Work::Cancel { request },
            (Duty::Invoke(runnable), None) => {
                let Runnable { handler, handler_name, metadata } = *runnable;
                let timeout = timeout(&state.handlers, &open.intent_type);
                let timeout = timeout.unwrap_or(self.bounds.invoke_default).min(self.bounds.invoke_max);
                let asking = state.handlers.first(&open.intent_type).filter(|registered| asks(registered));
                Work::Invoke(Invocation { handler, handler_name, metadata, timeout, asking: asking.cloned() })
            }
            (Duty::Fail { reason }, None) => Work::Fail(HandlerError::new("NO_HANDLER", reason)),
        };
        Some(Job { open: open.clone(), work })
    }
}
