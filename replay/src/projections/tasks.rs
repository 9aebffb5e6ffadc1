//! The tasks that are there: from their first `queued` to the terminal EXECUTION of the same id.
//!
//! An ended task is kept until then, since its execution is ended by a follower, and since a worker may report its end
//! once more. Behind that a record of the task breaks a rule, but one of a sink, which may come late. That the execution
//! is open and allowed, and that the records are anchored where its INTENT is, [`super::executions`] asks; that the
//! handler is one for tasks, [`super::handlers`].
//!
//! Memory: about 1,500 bytes for each task, its ids and a hundred bytes of grants included.
//!
//! The state in a snapshot, version 1, by ascending id; `lease` is that of the latest attempt, live or not, and
//! `outcome` the record that ended the task:
//!
//! ```text
//! {"applied":9,"tasks":[{"attempt":1,"cancel_requested":null,"correlation_id":"c-1","first_index":6,"grants":"{…}",
//!  "handler":{"handler_name":"echo","index":2,"intent_type":"x"},"intent_index":3,"intent_type":"x","kind":"worker",
//!  "lane":"user","last_index":7,"lease":{…},"limits":{"heartbeat_ms":30000,"lease_ms":120000,"max_attempts":3,
//!  "timeout_ms":600000},"next_retry_at":null,"outcome":null,"parent_turn_id":null,"pool":"p","priority":5,
//!  "queued_at":"2026-11-02T04:10:33.123456Z","queued_index":6,"state":"running","stream_id":"default",
//!  "task_id":"01J…","thread_id":"t","turn_id":"u"},…]}
//! ```
//!
//! The form of a lease is that of [`super::leases`].

use std::collections::BTreeMap;
use std::ops::Bound;

use gesta_log_format::{Index, Timestamp};

use super::leases::Lease;
use crate::event::{
    Body, Event, EventError, Execution, HandlerKind, Task, TaskDescription, TaskId, TaskLimits, Writer,
};
use crate::projection::{FoldError, Projection};
use crate::rule::Rule;
use crate::snapshot::RestoreError;
use crate::task_lifecycle::{self, Standing, Transition};

mod form;

const NAME: &str = "tasks";
const VERSION: u32 = 1;

/// The tasks that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    applied: Index,
    tasks: BTreeMap<TaskId, Open>,
    /// The same, by their last record.
    changes: BTreeMap<Index, TaskId>,
}

/// A task that is there: what it takes to hand it out, to judge what its worker says, and to end it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its name, which is that of its execution.
    pub task_id: TaskId,
    /// Where it is in its life.
    pub standing: Standing,
    /// [`HandlerKind::Worker`] or [`HandlerKind::Push`].
    pub kind: HandlerKind,
    /// Whose workers may claim it.
    pub pool: String,
    /// From 0 to 9; the higher ones are claimed first.
    pub priority: u8,
    /// The INTENT that it came from.
    pub intent_index: Index,
    /// The handler that it is for.
    pub handler: HandlerPin,
    /// How long it may take, and how often.
    pub limits: TaskLimits,
    /// `{datasets, s3}`, canonical: what its capability tokens grant. A large one may be a blob reference.
    pub grants: String,
    /// The first `queued`.
    pub first_index: Index,
    /// The newest `queued`.
    pub queued_index: Index,
    /// The time of that record.
    pub queued_at: Timestamp,
    /// The last record of its subject `task/{id}`: what the next one has to expect, and to name as its cause.
    pub last_index: Index,
    /// When it is to be queued again; while a retry is scheduled.
    pub next_retry_at: Option<Timestamp>,
    /// That of the latest attempt, which is live while the task is running.
    pub lease: Option<Lease>,
    /// The TASK `cancel_requested`.
    pub cancel_requested: Option<Index>,
    /// The record that ended it; what it is, [`Standing::state`] says.
    pub outcome: Option<Index>,
    /// What is asked for: its INTENT's, as everything below.
    pub intent_type: String,
    /// The unit of tenancy and access.
    pub stream_id: String,
    /// Where it came in.
    pub lane: String,
    /// The request that all of this follows from.
    pub correlation_id: String,
    /// Its thread.
    pub thread_id: String,
    /// Its turn.
    pub turn_id: String,
    /// The turn that its turn answers.
    pub parent_turn_id: Option<String>,
}

/// The handler that a task is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerPin {
    /// What it handles.
    pub intent_type: String,
    /// Its name among the handlers of the type.
    pub handler_name: String,
    /// The CONTROL `handler_registered` that was in force.
    pub index: Index,
}

impl Open {
    /// The lease of the latest attempt, if that is live.
    #[must_use]
    pub fn live_lease(&self) -> Option<&Lease> {
        let live = self.standing.state == task_lifecycle::State::Running;
        self.lease.as_ref().filter(|_| live)
    }

    fn of(event: &Event<'_>, task_id: TaskId, said: &TaskDescription<'_>) -> Result<Self, EventError> {
        Ok(Self {
            task_id,
            standing: Standing::queued(said.limits.max_attempts),
            kind: said.kind,
            pool: said.pool.clone().into_owned(),
            priority: said.priority,
            intent_index: said.intent_index,
            handler: HandlerPin {
                intent_type: said.handler.intent_type.clone().into_owned(),
                handler_name: said.handler.handler_name.clone().into_owned(),
                index: said.handler.index,
            },
            limits: said.limits,
            grants: event.payload_text("grants")?.to_owned(),
            first_index: event.index(),
            queued_index: event.index(),
            queued_at: event.recorded_at()?,
            last_index: event.index(),
            next_retry_at: None,
            lease: None,
            cancel_requested: None,
            outcome: None,
            intent_type: event.intent_type()?.into_owned(),
            stream_id: event.stream_id()?.into_owned(),
            lane: event.lane()?.into_owned(),
            correlation_id: event.correlation_id()?.into_owned(),
            thread_id: event.thread_id()?.into_owned(),
            turn_id: event.turn_id()?.into_owned(),
            parent_turn_id: event.parent_turn_id()?.map(Into::into),
        })
    }

    /// Takes in a record of the task. Nothing has changed where that fails.
    fn follow(&mut self, event: &Event<'_>, task: Task) -> Result<(), FoldError> {
        let Some(transition) = Transition::of(event, task)? else {
            self.last_index = event.index();
            return Ok(());
        };
        let standing = task_lifecycle::may(self.standing, transition)
            .map_err(|cause| FoldError::broken(event, Rule::Task { task_id: self.task_id, cause }))?;
        match transition {
            Transition::Queued { .. } => {
                (self.queued_at, self.queued_index) = (event.recorded_at()?, event.index());
                self.next_retry_at = None;
            }
            Transition::Claimed { .. } => self.lease = Some(Lease::of(event)?),
            Transition::Extended { .. } => {
                let expires_at = event.lease_expires_at()?;
                self.lease.iter_mut().for_each(|lease| lease.expires_at = expires_at);
            }
            Transition::CancelRequested => self.cancel_requested = Some(event.index()),
            Transition::RetryScheduled { .. } => {
                self.next_retry_at = Some(event.task_retry()?.next_retry_at);
            }
            Transition::Completed { .. }
            | Transition::Failed { .. }
            | Transition::TimedOut { .. }
            | Transition::Canceled { .. }
            | Transition::Event { .. }
            | Transition::BufferPublished { .. } => {}
        }
        if standing.state.is_terminal() {
            self.next_retry_at = None;
            self.outcome = Some(event.index());
        }
        self.standing = standing;
        self.last_index = event.index();
        Ok(())
    }
}

impl Tasks {
    /// The state of a log of which nothing below `first` is known, as where its beginning is not at hand.
    #[must_use]
    pub fn starting_at(first: Index) -> Self {
        Self { applied: first, ..Self::default() }
    }

    /// A task that is there, ended or not.
    #[must_use]
    pub fn task(&self, task_id: TaskId) -> Option<&Open> {
        self.tasks.get(&task_id)
    }

    /// All that are there, by ascending id.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &Open> {
        self.tasks.values()
    }

    /// Those with an id above `id`, by ascending id; all where it is none.
    pub fn after(&self, id: Option<TaskId>) -> impl Iterator<Item = &Open> {
        let above = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.tasks.range((above, Bound::Unbounded)).map(|(_, open)| open)
    }

    /// How many are there.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tasks.len()
    }

    /// Those whose last record is at `since` or above, in the order of these records: what a follower that has seen all
    /// below has to look at again. A task that was let go is not among them.
    pub fn changed_since(&self, since: Index) -> impl Iterator<Item = &Open> {
        self.changes.range(since..).filter_map(|(_, task_id)| self.tasks.get(task_id))
    }

    /// Where a task stands after a transition that may happen now. What an author of TASK records asks before it
    /// appends one, with [`Open::last_index`] as what its subject expects. The first `queued` needs no leave: it
    /// expects none.
    ///
    /// # Errors
    /// [`Rule::TaskNotOpen`], [`Rule::Task`].
    pub fn may(&self, task_id: TaskId, transition: Transition) -> Result<Standing, Rule> {
        let open = self.task(task_id).ok_or(Rule::TaskNotOpen { task_id })?;
        task_lifecycle::may(open.standing, transition).map_err(|cause| Rule::Task { task_id, cause })
    }

    fn happened(&mut self, event: &Event<'_>, task: Task) -> Result<(), FoldError> {
        let (task_id, _) = event.task_subject()?;
        if let Some(open) = self.tasks.get_mut(&task_id) {
            let before = open.last_index;
            open.follow(event, task)?;
            self.changes.remove(&before);
            self.changes.insert(event.index(), task_id);
            return Ok(());
        }
        let first = match task {
            Task::Queued => event.task_queued()?.first,
            Task::BufferCommitted | Task::BufferDeadLettered => return Ok(()),
            Task::Claimed
            | Task::Extended
            | Task::CancelRequested
            | Task::Completed
            | Task::Failed
            | Task::TimedOut
            | Task::RetryScheduled
            | Task::Canceled
            | Task::Event
            | Task::BufferPublished
            | Task::Placed
            | Task::Started
            | Task::Dropped => None,
        };
        let Some(first) = first else {
            return Err(FoldError::broken(event, Rule::TaskNotOpen { task_id }));
        };
        self.tasks.insert(task_id, Open::of(event, task_id, &first)?);
        self.changes.insert(event.index(), task_id);
        Ok(())
    }

    /// Takes in what a live attempt has written that is no TASK: the task's subject has moved.
    fn written(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        let Some(Writer { task_id, attempt }) = event.writer()? else { return Ok(()) };
        let Some(open) = self.tasks.get_mut(&task_id) else {
            return Err(FoldError::broken(event, Rule::TaskNotOpen { task_id }));
        };
        task_lifecycle::may_write(open.standing, attempt)
            .map_err(|cause| FoldError::broken(event, Rule::Task { task_id, cause }))?;
        self.changes.remove(&open.last_index);
        self.changes.insert(event.index(), task_id);
        open.last_index = event.index();
        Ok(())
    }

    /// Lets the task go whose execution has ended, as the task has. Most executions have none.
    fn execution_ended(&mut self, event: &Event<'_>, end: Execution) -> Result<(), FoldError> {
        if self.tasks.is_empty() {
            return Ok(());
        }
        let (task_id, _) = event.execution_subject()?;
        let Some(open) = self.tasks.get(&task_id) else { return Ok(()) };
        let state = open.standing.state;
        let Some(wanted) = state.ends_execution() else {
            return Err(FoldError::broken(event, Rule::TaskLeftOpen { task_id }));
        };
        if end != wanted {
            return Err(FoldError::broken(event, Rule::TaskOutcome { task_id, state, wanted }));
        }
        self.changes.remove(&open.last_index);
        self.tasks.remove(&task_id);
        Ok(())
    }
}

impl Projection for Tasks {
    fn name(&self) -> &'static str {
        NAME
    }

    fn take_in(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        match event.body() {
            Body::Task(task) => self.happened(event, task)?,
            Body::Execution(end @ (Execution::Completed | Execution::Failed | Execution::Cancelled)) => {
                self.written(event)?;
                self.execution_ended(event, end)?;
            }
            Body::Execution(
                Execution::Running
                | Execution::Event
                | Execution::StateSet
                | Execution::StepCompleted
                | Execution::StepFailed,
            )
            | Body::Artifact(_)
            | Body::Session(_) => self.written(event)?,
            Body::Intent(_) | Body::Decision(_) | Body::Control(_) | Body::Ledger(_) => {}
        }
        Ok(())
    }

    fn applied(&self) -> Index {
        self.applied
    }

    fn applied_mut(&mut self) -> &mut Index {
        &mut self.applied
    }

    fn snapshot(&self) -> Vec<u8> {
        form::write(self)
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        form::read(snapshot)
    }
}
