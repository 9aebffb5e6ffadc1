//! The leases that are live: claimed, and neither timed out nor ended.
//!
//! A lease is live until a record ends it, whatever its deadline says: no clock is read. Takes each record for what it
//! says; whether it may be is asked by [`super::tasks`]. What an attempt says that does not hold the lease changes
//! nothing. Memory: about 350 bytes for each live lease, and a set for each worker that has one.
//!
//! The state in a snapshot, version 1, by ascending id of the task:
//!
//! ```text
//! {"applied":9,"leases":[{"lease":{"attempt":1,"claim_index":7,"claimed_at":"2026-11-02T04:10:33.123456Z",
//!  "expires_at":"2026-11-02T04:12:33.123456Z","lease_ms":120000,"nonce":"{32 digits}","worker_id":"w-1"},
//!  "task_id":"01J…"},…]}
//! ```

use std::collections::{BTreeMap, BTreeSet};

use gesta_log_format::{Index, Timestamp, hex};
use serde::{Deserialize, Serialize};

use crate::event::{Body, Event, EventError, Nonce, Task, TaskId};
use crate::projection::{FoldError, Projection};
use crate::snapshot::{self, RestoreError, ensure};

const NAME: &str = "leases";
const VERSION: u32 = 1;

/// The leases that are live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    applied: Index,
    leases: BTreeMap<TaskId, Lease>,
    /// The same, by who has them.
    workers: BTreeMap<String, BTreeSet<TaskId>>,
    /// The same, by their deadline.
    expiries: BTreeSet<(Timestamp, TaskId)>,
}

/// What a worker got with an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The attempt, from 1.
    pub attempt: u64,
    /// Who has it.
    pub worker_id: String,
    /// What its token is derived from.
    pub nonce: Nonce,
    /// The TASK `claimed`: the attempt's fencing number.
    pub claim_index: Index,
    /// The time of that record.
    pub claimed_at: Timestamp,
    /// How long it lasts, from the claim or its extension.
    pub lease_ms: u64,
    /// When it runs out, as the newest record says.
    pub expires_at: Timestamp,
}

impl Lease {
    /// What a TASK `claimed` gives.
    pub(super) fn of(event: &Event<'_>) -> Result<Self, EventError> {
        let claimed = event.task_claimed()?;
        Ok(Self {
            attempt: claimed.attempt,
            worker_id: claimed.worker_id.into_owned(),
            nonce: claimed.nonce,
            claim_index: event.index(),
            claimed_at: event.recorded_at()?,
            lease_ms: claimed.lease_ms,
            expires_at: claimed.lease_expires_at,
        })
    }
}

impl Leases {
    /// The state of a log of which nothing below `first` is known, as where its beginning is not at hand.
    #[must_use]
    pub fn starting_at(first: Index) -> Self {
        Self { applied: first, ..Self::default() }
    }

    /// How many are live.
    #[must_use]
    pub fn count(&self) -> usize {
        self.leases.len()
    }

    /// The live lease of a task.
    #[must_use]
    pub fn of_task(&self, task_id: TaskId) -> Option<&Lease> {
        self.leases.get(&task_id)
    }

    /// The live leases of a worker, by ascending id of the task.
    pub fn of_worker(&self, worker_id: &str) -> impl Iterator<Item = (TaskId, &Lease)> {
        let tasks = self.workers.get(worker_id).into_iter().flatten();
        tasks.filter_map(|task_id| Some((*task_id, self.leases.get(task_id)?)))
    }

    /// All, by ascending id of the task.
    pub fn all(&self) -> impl ExactSizeIterator<Item = (TaskId, &Lease)> {
        self.leases.iter().map(|(task_id, lease)| (*task_id, lease))
    }

    /// All, the one whose recorded deadline is first first.
    pub fn by_expiry(&self) -> impl Iterator<Item = (TaskId, &Lease)> {
        self.expiries.iter().filter_map(|(_, task_id)| Some((*task_id, self.leases.get(task_id)?)))
    }

    /// The workers that have a live lease, in ascending order, each with how many.
    pub fn workers(&self) -> impl ExactSizeIterator<Item = (&str, usize)> {
        self.workers.iter().map(|(worker_id, tasks)| (worker_id.as_str(), tasks.len()))
    }

    fn task(&mut self, event: &Event<'_>, task: Task) -> Result<(), EventError> {
        match task {
            Task::Claimed => {
                let (task_id, _) = event.task_subject()?;
                let lease = Lease::of(event)?;
                if !self.leases.contains_key(&task_id) {
                    self.insert(task_id, lease);
                }
            }
            Task::Extended => {
                let ((task_id, _), attempt) = (event.task_subject()?, event.attempt()?);
                let expires_at = event.lease_expires_at()?;
                let live = self.leases.get_mut(&task_id).filter(|lease| lease.attempt == attempt);
                if let Some(lease) = live {
                    self.expiries.remove(&(lease.expires_at, task_id));
                    self.expiries.insert((expires_at, task_id));
                    lease.expires_at = expires_at;
                }
            }
            Task::Completed | Task::Failed | Task::TimedOut | Task::Canceled => {
                let ((task_id, _), attempt) = (event.task_subject()?, event.attempt()?);
                if self.leases.get(&task_id).is_some_and(|lease| lease.attempt == attempt) {
                    self.remove(task_id);
                }
            }
            Task::Queued
            | Task::CancelRequested
            | Task::RetryScheduled
            | Task::Event
            | Task::BufferPublished
            | Task::BufferCommitted
            | Task::BufferDeadLettered
            | Task::Placed
            | Task::Started
            | Task::Dropped => {}
        }
        Ok(())
    }

    fn insert(&mut self, task_id: TaskId, lease: Lease) {
        self.workers.entry(lease.worker_id.clone()).or_default().insert(task_id);
        self.expiries.insert((lease.expires_at, task_id));
        self.leases.insert(task_id, lease);
    }

    fn remove(&mut self, task_id: TaskId) {
        let Some(lease) = self.leases.remove(&task_id) else { return };
        self.expiries.remove(&(lease.expires_at, task_id));
        if let Some(tasks) = self.workers.get_mut(&lease.worker_id) {
            tasks.remove(&task_id);
            if tasks.is_empty() {
                self.workers.remove(&lease.worker_id);
            }
        }
    }
}

impl Projection for Leases {
    fn name(&self) -> &'static str {
        NAME
    }

    fn take_in(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        match event.body() {
            Body::Task(task) => self.task(event, task)?,
            Body::Intent(_)
            | Body::Decision(_)
            | Body::Execution(_)
            | Body::Artifact(_)
            | Body::Session(_)
            | Body::Control(_)
            | Body::Ledger(_) => {}
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
        let leases = self.leases.iter();
        let leases =
            leases.map(|(id, lease)| LiveForm { lease: LeaseForm::of(lease), task_id: id.to_string() });
        snapshot::write(NAME, VERSION, &Form { applied: self.applied.0, leases: leases.collect() })
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        let form: Form = snapshot::read(NAME, VERSION, snapshot)?;
        let mut state = Self::starting_at(Index(form.applied));
        for live in form.leases {
            let id = task_id(&live.task_id)?;
            let last = state.leases.last_key_value();
            ensure(last.is_none_or(|(last, _)| *last < id), "the leases are not in order")?;
            state.insert(id, live.lease.read(form.applied)?);
        }
        Ok(state)
    }
}

/// Reads a task's id as snapshots hold it.
pub(super) fn task_id(text: &str) -> Result<TaskId, RestoreError> {
    TaskId::parse(text.as_bytes()).ok_or(RestoreError::Contradiction { what: "a task's id is none" })
}

/// Reads a time as snapshots hold it.
pub(super) fn time(text: &str) -> Result<Timestamp, RestoreError> {
    Timestamp::parse(text.as_bytes()).ok_or(RestoreError::Contradiction { what: "a time is none" })
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    applied: u64,
    leases: Vec<LiveForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LiveForm {
    lease: LeaseForm,
    task_id: String,
}

/// A lease as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeaseForm {
    attempt: u64,
    claim_index: u64,
    claimed_at: String,
    expires_at: String,
    lease_ms: u64,
    nonce: String,
    worker_id: String,
}

impl LeaseForm {
    pub(super) fn of(lease: &Lease) -> Self {
        Self {
            attempt: lease.attempt,
            claim_index: lease.claim_index.0,
            claimed_at: lease.claimed_at.to_string(),
            expires_at: lease.expires_at.to_string(),
            lease_ms: lease.lease_ms,
            nonce: hex::text(&lease.nonce),
            worker_id: lease.worker_id.clone(),
        }
    }

    pub(super) fn read(self, applied: u64) -> Result<Lease, RestoreError> {
        ensure(self.attempt > 0, "a lease is that of no attempt")?;
        ensure(self.claim_index < applied, "a claim is not applied")?;
        let nonce = hex::read(self.nonce.as_bytes());
        Ok(Lease {
            attempt: self.attempt,
            worker_id: self.worker_id,
            nonce: nonce.ok_or(RestoreError::Contradiction { what: "a nonce is none" })?,
            claim_index: Index(self.claim_index),
            claimed_at: time(&self.claimed_at)?,
            lease_ms: self.lease_ms,
            expires_at: time(&self.expires_at)?,
        })
    }
}
