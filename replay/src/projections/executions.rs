//! The executions that are open: from their INTENT to a DENY or to their terminal EXECUTION record.
//!
//! What has ended is not kept: its records are found through the keys. So a record for an execution that is not here
//! breaks a rule, whether it has ended, was denied or never was; an auditor who wants to know which reads the subject.
//! Memory: about 100 bytes for each INTENT that awaits its DECISION (the decider's lag bounds them), about 600 for each
//! execution that was allowed and has not ended.
//!
//! A TASK is asked for its execution too, so that no work is done for one that is not open; and so is what an attempt of a
//! task writes besides.
//!
//! A record belongs to its INTENT if their stream, lane, correlation id, thread, turn and parent turn are equal.
//!
//! The state in a snapshot, version 1, both lists by the ascending index of the INTENT:
//!
//! ```text
//! {"applied":9,
//!  "open":[{"anchors":"{32 digits}","cancel_requested":null,"correlation_id":"c-1","decision_index":4,"deliveries":1,
//!   "execution_id":"01J…","intent_index":3,"intent_type":"chat.message","lane":"user","last_index":5,
//!   "parent_turn_id":null,"status":"running","stream_id":"default","thread_id":"t","turn_id":"u"},…],
//!  "undecided":[{"anchors":"{32 digits}","cancel_requested":8,"execution_id":"01J…","intent_index":7},…]}
//! ```

use std::collections::BTreeMap;

use gesta_log_format::Index;

use super::anchors;
use super::decisions::not_awaiting;
use crate::event::{
    Body, Decision, Event, EventError, Execution, ExecutionId, Intent, Task, Verdict, Writer,
};
use crate::fingerprint::Fingerprint;
use crate::lifecycle::{self, Standing, Transition};
use crate::projection::{FoldError, Projection};
use crate::rule::Rule;
use crate::snapshot::RestoreError;

mod form;

const NAME: &str = "executions";
const VERSION: u32 = 1;

/// The executions that are open.
#[derive(Clone, Debug, Default)]
pub struct Executions {
    applied: Index,
    /// Created, and their INTENT is not decided.
    undecided: BTreeMap<Index, Undecided>,
    /// Allowed, and not ended; by the index of the INTENT.
    open: BTreeMap<Index, Open>,
    /// The INTENT of each open one.
    intents: BTreeMap<ExecutionId, Index>,
    /// The same, by the DECISION that allowed it: the order in which they came to be open.
    decisions: BTreeMap<Index, Index>,
    /// The same, by the INTENT `cancel_requested`, of those that have one.
    cancels: BTreeMap<Index, Index>,
    /// Of no meaning: where the next fingerprint is laid out.
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Undecided {
    execution_id: ExecutionId,
    anchors: Fingerprint,
    cancel_requested: Option<Index>,
}

/// An execution that was allowed and has not ended: what it takes to take it up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its name.
    pub execution_id: ExecutionId,
    /// The INTENT that it came from.
    pub intent_index: Index,
    /// The DECISION that allowed it.
    pub decision_index: Index,
    /// Where it is in its life, and how often a handler was given it.
    pub standing: Standing,
    /// The last record of its subject `execution/{id}`: what the next one has to expect. An EXECUTION, or the TASK `queued`
    /// by which it became a task, which is on both subjects: so nobody else runs it.
    pub last_index: Option<Index>,
    /// The first INTENT `cancel_requested`, if someone asked.
    pub cancel_requested: Option<Index>,
    /// What its handler is found by.
    pub intent_type: String,
    /// Its INTENT's, as everything below.
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
    anchors: Fingerprint,
}

impl Executions {
    /// The state of a log of which nothing below `first` is known, as where its beginning is not at hand.
    #[must_use]
    pub fn starting_at(first: Index) -> Self {
        Self { applied: first, ..Self::default() }
    }

    /// An execution that was allowed and has not ended.
    #[must_use]
    pub fn open(&self, execution_id: ExecutionId) -> Option<&Open> {
        self.open.get(self.intents.get(&execution_id)?)
    }

    /// All executions that were allowed and have not ended, in the order of their INTENTs.
    pub fn all_open(&self) -> impl ExactSizeIterator<Item = &Open> {
        self.open.values()
    }

    /// Those of them whose DECISION is at `since` or above, in the order of the DECISIONs: what a follower that has seen
    /// all below has not seen.
    pub fn allowed_since(&self, since: Index) -> impl Iterator<Item = &Open> {
        self.decisions.range(since..).filter_map(|(_, intent_index)| self.open.get(intent_index))
    }

    /// The open executions whose INTENT `cancel_requested` is at `since` or above, in the order of those: what a follower
    /// that has seen all below has not seen.
    pub fn cancel_requested_since(&self, since: Index) -> impl Iterator<Item = &Open> {
        self.cancels.range(since..).filter_map(|(_, intent_index)| self.open.get(intent_index))
    }

    /// The INTENT without a DECISION that becomes this execution if it is allowed, and its `cancel_requested`. Walks
    /// through all that await their DECISION.
    #[must_use]
    pub fn undecided_intent(&self, execution_id: ExecutionId) -> Option<(Index, Option<Index>)> {
        let mut undecided = self.undecided.iter();
        let (intent_index, undecided) =
            undecided.find(|(_, undecided)| undecided.execution_id == execution_id)?;
        Some((*intent_index, undecided.cancel_requested))
    }

    /// The execution that an INTENT without a DECISION becomes if it is allowed.
    #[must_use]
    pub fn undecided(&self, intent_index: Index) -> Option<ExecutionId> {
        self.undecided.get(&intent_index).map(|undecided| undecided.execution_id)
    }

    /// How many INTENTs await their DECISION.
    #[must_use]
    pub fn lag(&self) -> usize {
        self.undecided.len()
    }

    /// Where an execution stands after a transition that may happen now. What an author of EXECUTION records asks
    /// before it appends one, with [`Open::last_index`] as what its subject expects.
    ///
    /// # Errors
    /// [`Rule::NotAllowed`], [`Rule::NotOpen`], [`Rule::Transition`].
    pub fn may(&self, execution_id: ExecutionId, transition: Transition) -> Result<Standing, Rule> {
        let open = self.open(execution_id).ok_or_else(|| self.not_open(execution_id))?;
        lifecycle::may(open.standing, transition).map_err(|cause| Rule::Transition { execution_id, cause })
    }

    #[cold]
    fn not_open(&self, execution_id: ExecutionId) -> Rule {
        match self.undecided_intent(execution_id) {
            Some((intent_index, _)) => Rule::NotAllowed { execution_id, intent_index },
            None => Rule::NotOpen { execution_id },
        }
    }

    fn submitted(&mut self, event: &Event<'_>) -> Result<(), EventError> {
        let execution_id = event.execution_id()?;
        let anchors = anchors(&mut self.buffer, event);
        self.undecided.insert(event.index(), Undecided { execution_id, anchors, cancel_requested: None });
        Ok(())
    }

    /// Notes that someone asked. A request for what has ended is legal, since both may be appended at once, and
    /// nothing.
    fn cancel_requested(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        let Some(intent_index) = event.cause() else {
            return Err(FoldError::broken(event, Rule::NothingToCancel));
        };
        let undecided = self.undecided.get_mut(&intent_index);
        let undecided = undecided.map(|undecided| (&mut undecided.cancel_requested, undecided.anchors));
        let open = self.open.get_mut(&intent_index);
        let open = open.map(|open| (&mut open.cancel_requested, open.anchors));
        let Some((cancel_requested, expected)) = undecided.or(open) else { return Ok(()) };
        if anchors(&mut self.buffer, event) != expected {
            return Err(FoldError::broken(event, Rule::Anchors { intent_index }));
        }
        let first = *cancel_requested.get_or_insert(event.index());
        if self.open.contains_key(&intent_index) {
            self.cancels.insert(first, intent_index);
        }
        Ok(())
    }

    fn decided(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        let (intent_index, verdict) = (event.intent_index()?, event.verdict()?);
        let Some(undecided) = self.undecided.get(&intent_index).copied() else {
            return Err(FoldError::broken(event, not_awaiting(event, intent_index)));
        };
        if anchors(&mut self.buffer, event) != undecided.anchors {
            return Err(FoldError::broken(event, Rule::Anchors { intent_index }));
        }
        match verdict {
            Verdict::Deny => {}
            Verdict::Allow => {
                let execution_id = undecided.execution_id;
                if let Some(other) = self.intents.get(&execution_id).copied() {
                    let rule = Rule::ExecutionIdReused { execution_id, other };
                    return Err(FoldError::broken(event, rule));
                }
                self.open.insert(intent_index, Open::of(event, intent_index, undecided)?);
                self.intents.insert(execution_id, intent_index);
                self.decisions.insert(event.index(), intent_index);
                if let Some(cancel_requested) = undecided.cancel_requested {
                    self.cancels.insert(cancel_requested, intent_index);
                }
            }
        }
        self.undecided.remove(&intent_index);
        Ok(())
    }

    fn happened(&mut self, event: &Event<'_>, execution: Execution) -> Result<(), FoldError> {
        let Some(transition) = Transition::of(event, execution)? else { return Ok(()) };
        let (execution_id, _) = event.execution_subject()?;
        let open = self.intents.get(&execution_id).and_then(|intent_index| self.open.get_mut(intent_index));
        let Some(open) = open else { return Err(FoldError::broken(event, self.not_open(execution_id))) };
        let intent_index = open.intent_index;
        if anchors(&mut self.buffer, event) != open.anchors {
            return Err(FoldError::broken(event, Rule::Anchors { intent_index }));
        }
        let standing = lifecycle::may(open.standing, transition)
            .map_err(|cause| FoldError::broken(event, Rule::Transition { execution_id, cause }))?;
        if standing.status.is_terminal() {
            let (decision_index, cancel_requested) = (open.decision_index, open.cancel_requested);
            if let Some(cancel_requested) = cancel_requested {
                self.cancels.remove(&cancel_requested);
            }
            self.open.remove(&intent_index);
            self.intents.remove(&execution_id);
            self.decisions.remove(&decision_index);
        } else {
            open.standing = standing;
            open.last_index = Some(event.index());
        }
        Ok(())
    }

    /// Asks of what an attempt of a task has written whether its execution is open and allowed, whether it follows from the
    /// same INTENT, and whether it is about nothing but its own session and execution. Whether the attempt is live is asked
    /// by [`super::tasks`].
    fn written(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        let Some(Writer { task_id, .. }) = event.writer()? else { return Ok(()) };
        let open = self.intents.get(&task_id).and_then(|intent_index| self.open.get(intent_index));
        let Some(open) = open else { return Err(FoldError::broken(event, self.not_open(task_id))) };
        let intent_index = open.intent_index;
        if anchors(&mut self.buffer, event) != open.anchors {
            return Err(FoldError::broken(event, Rule::Anchors { intent_index }));
        }
        let wanted = match event.body() {
            Body::Execution(Execution::StateSet) => format!("execution-state/{task_id}"),
            Body::Execution(_) => format!("execution/{task_id}"),
            Body::Session(_) => format!("session-state/{}", open.thread_id),
            Body::Artifact(_)
            | Body::Intent(_)
            | Body::Decision(_)
            | Body::Task(_)
            | Body::Control(_)
            | Body::Ledger(_) => return Ok(()),
        };
        match event.subjects().flatten().any(|(named, _)| named == wanted) {
            true => Ok(()),
            false => Err(FoldError::broken(event, Rule::Subject { wanted })),
        }
    }

    /// Asks of a TASK whether its execution is open and allowed, and whether it follows from the same INTENT. Where the
    /// task itself stands is asked by [`super::tasks`]; what a sink says may come after the end.
    fn task(&mut self, event: &Event<'_>, task: Task) -> Result<(), FoldError> {
        if matches!(task, Task::BufferCommitted | Task::BufferDeadLettered) {
            return Ok(());
        }
        let (task_id, expected) = event.task_subject()?;
        let open = self.intents.get(&task_id).and_then(|intent_index| self.open.get(intent_index));
        let Some(open) = open else { return Err(FoldError::broken(event, self.not_open(task_id))) };
        let intent_index = open.intent_index;
        if anchors(&mut self.buffer, event) != open.anchors {
            return Err(FoldError::broken(event, Rule::Anchors { intent_index }));
        }
        let first = if task == Task::Queued { event.task_queued()?.first } else { None };
        let Some(first) = first.filter(|_| expected.is_none()) else { return Ok(()) };
        if first.intent_index != intent_index || first.handler.intent_type != open.intent_type {
            let rule = Rule::TaskIntent { intent_index, intent_type: open.intent_type.clone() };
            return Err(FoldError::broken(event, rule));
        }
        if event.cause() != Some(open.decision_index) {
            return Err(FoldError::broken(event, Rule::TaskCause { wanted: open.decision_index }));
        }
        let subject = format!("execution/{task_id}");
        let moves = event.subjects().flatten().any(|(named, _)| named == subject);
        if let Some(open) = self.open.get_mut(&intent_index).filter(|_| moves) {
            open.last_index = Some(event.index());
        }
        Ok(())
    }
}

impl Open {
    /// The execution of the INTENT at `intent_index`, which the DECISION `event` allows. The DECISION is anchored
    /// where the INTENT is.
    fn of(event: &Event<'_>, intent_index: Index, undecided: Undecided) -> Result<Self, EventError> {
        Ok(Self {
            execution_id: undecided.execution_id,
            intent_index,
            decision_index: event.index(),
            standing: Standing::default(),
            last_index: None,
            cancel_requested: undecided.cancel_requested,
            intent_type: event.intent_type()?.into_owned(),
            stream_id: event.stream_id()?.into_owned(),
            lane: event.lane()?.into_owned(),
            correlation_id: event.correlation_id()?.into_owned(),
            thread_id: event.thread_id()?.into_owned(),
            turn_id: event.turn_id()?.into_owned(),
            parent_turn_id: event.parent_turn_id()?.map(Into::into),
            anchors: undecided.anchors,
        })
    }
}

impl PartialEq for Executions {
    fn eq(&self, other: &Self) -> bool {
        (self.applied, &self.undecided, &self.open) == (other.applied, &other.undecided, &other.open)
    }
}

impl Eq for Executions {}

impl Projection for Executions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn take_in(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        match event.body() {
            Body::Intent(Intent::Submitted) => self.submitted(event)?,
            Body::Intent(Intent::CancelRequested) => self.cancel_requested(event)?,
            Body::Decision(Decision::Decided) => self.decided(event)?,
            Body::Execution(execution) => {
                self.written(event)?;
                self.happened(event, execution)?;
            }
            Body::Task(task) => self.task(event, task)?,
            Body::Artifact(_) | Body::Session(_) => self.written(event)?,
            Body::Control(_) | Body::Ledger(_) => {}
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
