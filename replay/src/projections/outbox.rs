//! The batches of rows that were published and that no sink has taken yet.
//!
//! A batch waits from its TASK `buffer_published` to a `buffer_committed` or `buffer_dead_lettered`, which may come after
//! its task has ended. Those of one scope, within a stream, are taken in the order in which they were published. That a
//! batch is published by a live attempt [`super::tasks`] asks. Memory: about 1,000 bytes for each batch that waits, so
//! the sink's lag bounds it.
//!
//! The state in a snapshot, version 1, both lists ascending, by the index of the `buffer_published` and by id:
//!
//! ```text
//! {"applied":9,"batches":[{"anchors":"{32 digits}","attempt":1,"batch_size_bytes":512,"batch_uri":"s3://b/p/1",
//!  "content_type":"application/jsonl","correlation_id":"c-1","dedupe_scope":"d","index":8,"intent_type":"x",
//!  "lane":"user","parent_turn_id":null,"published_at":"2026-11-02T04:10:33.123456Z","stream_id":"default",
//!  "task_id":"01J…","thread_id":"t","turn_id":"u"},…],"tasks":[{"last_index":8,"task_id":"01J…"},…]}
//! ```

use std::collections::{BTreeMap, BTreeSet};

use gesta_log_format::{Index, Timestamp};

use super::anchors;
use crate::event::{BatchName, Body, Event, EventError, Task, TaskId, Writer};
use crate::fingerprint::Fingerprint;
use crate::projection::{FoldError, Projection};
use crate::rule::Rule;
use crate::snapshot::RestoreError;

mod form;

const NAME: &str = "outbox";
const VERSION: u32 = 1;

/// The batches that wait.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    applied: Index,
    /// By the record that published each.
    batches: BTreeMap<Index, Batch>,
    /// Those of each stream and scope.
    scopes: BTreeMap<(String, String), BTreeSet<Index>>,
    /// The tasks that have any.
    tasks: BTreeMap<TaskId, Publisher>,
    /// Of no meaning: where the next fingerprint is laid out.
    buffer: Vec<u8>,
}

/// A batch that waits: what it takes to take it, and to say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The TASK `buffer_published`.
    pub index: Index,
    /// The time of that record.
    pub published_at: Timestamp,
    /// Whose it is.
    pub task_id: TaskId,
    /// The attempt that published it.
    pub attempt: u64,
    /// Where it is.
    pub batch_uri: String,
    /// `application/jsonl`.
    pub content_type: String,
    /// Its length.
    pub batch_size_bytes: u64,
    /// What it waits in order with.
    pub dedupe_scope: String,
    /// What was asked for: the task's, as everything below.
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
    anchors: Fingerprint,
}

/// A task that has batches that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Publisher {
    /// The last record of `task/{id}`, whatever its type.
    last_index: Index,
    batches: BTreeSet<Index>,
}

impl Outbox {
    /// The state of a log of which nothing below `first` is known, as where its beginning is not at hand.
    #[must_use]
    pub fn starting_at(first: Index) -> Self {
        Self { applied: first, ..Self::default() }
    }

    /// All, in the order in which they were published.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &Batch> {
        self.batches.values()
    }

    /// Those that were published at `since` or above: what a follower that has seen all below has not seen.
    pub fn published_since(&self, since: Index) -> impl Iterator<Item = &Batch> {
        self.batches.range(since..).map(|(_, batch)| batch)
    }

    /// The streams and scopes that have any, in ascending order, each with the batch that is to be taken next.
    pub fn next_of_each(&self) -> impl Iterator<Item = (&str, &str, &Batch)> {
        self.scopes.iter().filter_map(|((stream_id, scope), batches)| {
            Some((stream_id.as_str(), scope.as_str(), self.batches.get(batches.first()?)?))
        })
    }

    /// Those of a scope, in the order in which they are to be taken.
    pub fn of_scope(&self, stream_id: &str, dedupe_scope: &str) -> impl Iterator<Item = &Batch> {
        let indexes = self.scopes.get(&(stream_id.to_owned(), dedupe_scope.to_owned()));
        indexes.into_iter().flatten().filter_map(|index| self.batches.get(index))
    }

    /// The batch that waits under this name.
    #[must_use]
    pub fn batch(&self, task_id: TaskId, name: &BatchName<'_>) -> Option<&Batch> {
        let batches = self.tasks.get(&task_id).into_iter().flat_map(|publisher| &publisher.batches);
        batches.filter_map(|index| self.batches.get(index)).find(|batch| {
            batch.batch_uri == name.batch_uri && name.attempt.is_none_or(|attempt| attempt == batch.attempt)
        })
    }

    /// The last record of the subject `task/{id}` of a task that has a batch here: what the next one has to expect,
    /// also once the task itself was let go.
    #[must_use]
    pub fn last_index(&self, task_id: TaskId) -> Option<Index> {
        self.tasks.get(&task_id).map(|publisher| publisher.last_index)
    }

    fn happened(&mut self, event: &Event<'_>, task: Task) -> Result<(), FoldError> {
        match task {
            Task::BufferPublished => self.published(event),
            Task::BufferCommitted | Task::BufferDeadLettered => self.taken(event),
            Task::Queued
            | Task::Claimed
            | Task::Extended
            | Task::CancelRequested
            | Task::Completed
            | Task::Failed
            | Task::TimedOut
            | Task::RetryScheduled
            | Task::Canceled
            | Task::Event
            | Task::Placed
            | Task::Started
            | Task::Dropped => {
                if self.tasks.is_empty() {
                    return Ok(());
                }
                let (task_id, _) = event.task_subject()?;
                self.moved(task_id, event.index());
                Ok(())
            }
        }
    }

    fn moved(&mut self, task_id: TaskId, index: Index) {
        if let Some(publisher) = self.tasks.get_mut(&task_id) {
            publisher.last_index = index;
        }
    }

    fn published(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        let (task_id, _) = event.task_subject()?;
        let anchors = anchors(&mut self.buffer, event);
        let batch = Batch::of(event, task_id, anchors)?;
        let name = BatchName { batch_uri: batch.batch_uri.as_str().into(), attempt: Some(batch.attempt) };
        if let Some(first) = self.batch(task_id, &name).map(|batch| batch.index) {
            return Err(FoldError::broken(event, Rule::BatchTwice { first }));
        }
        let index = event.index();
        self.insert(index, batch);
        self.moved(task_id, index);
        Ok(())
    }

    fn insert(&mut self, index: Index, batch: Batch) {
        let scope = (batch.stream_id.clone(), batch.dedupe_scope.clone());
        self.scopes.entry(scope).or_default().insert(index);
        self.tasks.entry(batch.task_id).or_default().batches.insert(index);
        self.batches.insert(index, batch);
    }

    fn taken(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        let ((task_id, _), name) = (event.task_subject()?, event.batch_name()?);
        let Some(batch) = self.batch(task_id, &name) else {
            let rule = Rule::BatchNotWaiting { task_id, batch_uri: name.batch_uri.into_owned() };
            return Err(FoldError::broken(event, rule));
        };
        let (index, expected) = (batch.index, batch.anchors);
        let scope = (batch.stream_id.clone(), batch.dedupe_scope.clone());
        if anchors(&mut self.buffer, event) != expected {
            return Err(FoldError::broken(event, Rule::BatchAnchors { published: index }));
        }
        let first = self.scopes.get(&scope).and_then(BTreeSet::first).copied();
        if let Some(first) = first.filter(|first| *first < index) {
            return Err(FoldError::broken(event, Rule::BatchOrder { first }));
        }
        self.moved(task_id, event.index());
        self.remove(index, task_id, &scope);
        Ok(())
    }

    fn remove(&mut self, index: Index, task_id: TaskId, scope: &(String, String)) {
        self.batches.remove(&index);
        if let Some(batches) = self.scopes.get_mut(scope) {
            batches.remove(&index);
            if batches.is_empty() {
                self.scopes.remove(scope);
            }
        }
        if let Some(publisher) = self.tasks.get_mut(&task_id) {
            publisher.batches.remove(&index);
            if publisher.batches.is_empty() {
                self.tasks.remove(&task_id);
            }
        }
    }
}

impl Batch {
    fn of(event: &Event<'_>, task_id: TaskId, anchors: Fingerprint) -> Result<Self, EventError> {
        let said = event.buffer_published()?;
        Ok(Self {
            index: event.index(),
            published_at: event.recorded_at()?,
            task_id,
            attempt: said.attempt,
            batch_uri: said.batch_uri.into_owned(),
            content_type: said.content_type.into_owned(),
            batch_size_bytes: said.batch_size_bytes,
            dedupe_scope: said.dedupe_scope.into_owned(),
            intent_type: event.intent_type()?.into_owned(),
            stream_id: event.stream_id()?.into_owned(),
            lane: event.lane()?.into_owned(),
            correlation_id: event.correlation_id()?.into_owned(),
            thread_id: event.thread_id()?.into_owned(),
            turn_id: event.turn_id()?.into_owned(),
            parent_turn_id: event.parent_turn_id()?.map(Into::into),
            anchors,
        })
    }
}

impl PartialEq for Outbox {
    fn eq(&self, other: &Self) -> bool {
        (self.applied, &self.batches, &self.tasks) == (other.applied, &other.batches, &other.tasks)
    }
}

impl Eq for Outbox {}

impl Projection for Outbox {
    fn name(&self) -> &'static str {
        NAME
    }

    fn take_in(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        match event.body() {
            Body::Task(task) => self.happened(event, task)?,
            Body::Execution(_) | Body::Artifact(_) | Body::Session(_) => {
                if !self.tasks.is_empty()
                    && let Some(Writer { task_id, .. }) = event.writer()?
                {
                    self.moved(task_id, event.index());
                }
            }
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
