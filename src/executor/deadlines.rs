//! When executions that run elsewhere are overdue: they fail, `DEADLINE_EXCEEDED`.
//!
//! An execution whose registration has `timeout_seconds` may stand so long at its DECISION, and so long at each of its
//! `running`. Time is that of the monotonic clock of this process: what is open at a start gets its time anew, so that a
//! server that was down fails nobody for it, and a clock that is set changes nothing. Only executions that are open are
//! kept.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gesta_log_format::Index;
use gesta_replay::event::{ExecutionId, HandlerKind};
use gesta_replay::projections::executions::Open;
use tokio::time::Instant;

use super::Executor;
use super::cancel::Cancel;
use super::course::Left;
use super::dispatch::{Job, Work};
use super::registry::{Duty, duty, timeout};
use crate::limits::EXECUTIONS_LOOKED_AT_MAX;
use crate::projector::State;
use crate::runtime::HandlerError;

/// What is watched.
#[derive(Default)]
pub(super) struct Deadlines(Mutex<Watched>);

#[derive(Default)]
struct Watched {
    executions: HashMap<ExecutionId, Span>,
    /// The end of each span.
    ends: BTreeSet<(Instant, ExecutionId)>,
}

/// The time that an execution has where it stands.
#[derive(Clone, Copy)]
struct Span {
    since: Instant,
    timeout: Duration,
    /// Which `running` it stands at; 0 at its DECISION.
    deliveries: u64,
}

impl Span {
    fn end(self) -> Instant {
        self.since + self.timeout
    }
}

impl Watched {
    fn set(&mut self, execution_id: ExecutionId, span: Option<Span>) {
        let before = match span {
            Some(span) => self.executions.insert(execution_id, span),
            None => self.executions.remove(&execution_id),
        };
        if let Some(before) = before {
            self.ends.remove(&(before.end(), execution_id));
        }
        if let Some(span) = span {
            self.ends.insert((span.end(), execution_id));
        }
    }
}

impl Deadlines {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees the execution with the timeout of its handler, none where it is not to be watched.
    fn see(&self, open: &Open, timeout: Option<Duration>) {
        let mut watched = self.lock();
        let known = watched.executions.get(&open.execution_id).copied();
        let deliveries = open.standing.deliveries;
        let span = timeout.map(|timeout| match known {
            // What was reported meanwhile is not projected yet.
            Some(known) if known.deliveries >= deliveries => Span { timeout, ..known },
            Some(_) | None => Span { since: Instant::now(), timeout, deliveries },
        });
        watched.set(open.execution_id, span);
    }

    /// Notes a record that is durable.
    pub(super) fn happened(&self, open: &Open) {
        let mut watched = self.lock();
        let Some(known) = watched.executions.get(&open.execution_id).copied() else { return };
        if open.standing.status.is_terminal() {
            watched.set(open.execution_id, None);
        } else if open.standing.deliveries > known.deliveries {
            let (since, deliveries) = (Instant::now(), open.standing.deliveries);
            watched.set(open.execution_id, Some(Span { since, deliveries, ..known }));
        }
    }

    /// Whether what is watched is an earlier delivery.
    fn is_before(&self, open: &Open) -> bool {
        let watched = self.lock();
        let known = watched.executions.get(&open.execution_id);
        known.is_some_and(|known| known.deliveries < open.standing.deliveries)
    }

    fn forget(&self, execution_id: ExecutionId) {
        self.lock().set(execution_id, None);
    }

    /// What is overdue first, and when it is.
    fn first(&self) -> Option<(Instant, ExecutionId)> {
        self.lock().ends.first().copied()
    }

    /// Whether nothing is watched.
    fn is_empty(&self) -> bool {
        self.lock().ends.is_empty()
    }
}

impl Executor {
    /// Watches what runs elsewhere until the executor is stopped.
    pub(super) async fn follow_deadlines(self: Arc<Self>) {
        let (mut applied, mut stopped) = (self.projector.watch(), self.stop.subscribe());
        let mut again = self.again.subscribe();
        let mut next = Index::ZERO;
        if self.applied_below(self.head_at_start).await.is_none() {
            return;
        }
        loop {
            applied.borrow_and_update();
            while self.watch_since(&mut next) {}
            let first = self.deadlines.first();
            let due = async {
                match first {
                    Some((end, execution_id)) => {
                        tokio::time::sleep_until(end).await;
                        execution_id
                    }
                    None => std::future::pending().await,
                }
            };
            let overdue = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return,
                execution_id = due => Some(execution_id),
                asked = again.changed() => {
                    next = Index::ZERO;
                    if asked.is_err() { return } else { None }
                }
                moved = applied.changed() => if moved.is_err() { return } else { None },
            };
            if let Some(execution_id) = overdue {
                self.expire(execution_id).await;
            }
        }
    }

    /// Sees some of what was allowed by a DECISION at `next` or above; true where there may be more.
    fn watch_since(&self, next: &mut Index) -> bool {
        self.projector.look(|state| {
            let mut allowed = state.executions.allowed_since(*next);
            for open in allowed.by_ref().take(EXECUTIONS_LOOKED_AT_MAX) {
                *next = open.decision_index.next();
                let timeout = self.timeout_elsewhere(state, open);
                if timeout.is_some() || !self.deadlines.is_empty() {
                    self.deadlines.see(open, timeout);
                }
            }
            allowed.next().is_some()
        })
    }

    /// The time that someone outside has for it.
    fn timeout_elsewhere(&self, state: &State, open: &Open) -> Option<Duration> {
        match duty(&self.registry, &state.handlers, &open.intent_type) {
            Duty::Wait(HandlerKind::External) => timeout(&state.handlers, &open.intent_type),
            // Of a task its lease decides; of a builtin handler its invocation.
            Duty::Wait(_) | Duty::Invoke(_) | Duty::Fail { .. } => None,
        }
    }

    /// Fails what is overdue, unless it has moved meanwhile.
    async fn expire(self: &Arc<Self>, execution_id: ExecutionId) {
        let job = self.projector.look(|state| {
            let open = state.executions.open(execution_id)?;
            let timeout = self.timeout_elsewhere(state, open)?;
            if self.deadlines.is_before(open) {
                // Its `running` is folded before its author has noted it.
                self.deadlines.see(open, Some(timeout));
                return Some(None);
            }
            let message = format!("nobody reported its end within {timeout:?}");
            let work = Work::Fail(HandlerError::new("DEADLINE_EXCEEDED", message));
            Some(Some(Job { open: open.clone(), work }))
        });
        let job = match job {
            Some(Some(job)) => job,
            Some(None) => return,
            None => return self.deadlines.forget(execution_id),
        };
        let (_, never) = Cancel::new();
        match self.once(job, &never).await {
            // Its end is not watched any more.
            Ok(()) => {}
            // Whoever moved it has said so: it has ended, or its time has begun anew.
            Err(Left::Moved { newest }) => {
                self.applied_below(newest.next()).await;
            }
            Err(Left::Open | Left::Refused) => self.deadlines.forget(execution_id),
        }
    }
}
