//! The tasks that wait for a worker, and the workers that wait for a task.
//!
//! Derived from the projection, kept in memory. By pool; within a pool the higher priority first, then the streams in
//! turn, then the oldest. A task that comes in while workers wait is handed to the one that waits longest, so that one
//! task wakes one worker. What is handed out and not used comes back. Whether a task may be claimed, only the swap says:
//! a task that stands here and waits no more costs a worker one look.

mod pool;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gesta_log_format::{Index, Timestamp};
use gesta_replay::event::{HandlerKind, TaskId};
use gesta_replay::projections::tasks::Open;
use gesta_replay::task_lifecycle::State;
use tokio::sync::oneshot;

use super::clock::between;
use crate::auth::Patterns;
use pool::Pool;

/// Whose tasks: a pool of workers, or of those that this server posts.
pub(super) type PoolName = (HandlerKind, String);

/// Which tasks a worker may have.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    pub(super) pools: Vec<PoolName>,
    pub(super) streams: Patterns,
}

/// A task that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) task_id: TaskId,
    pub(super) pool: PoolName,
    pub(super) stream_id: String,
    priority: u8,
    /// The newest `queued`, and its time.
    queued_index: Index,
    queued_at: Timestamp,
}

impl Candidate {
    /// A task as one that waits; none where it does not.
    fn of(open: &Open) -> Option<Self> {
        (open.standing.state == State::Queued).then(|| Self {
            task_id: open.task_id,
            pool: (open.kind, open.pool.clone()),
            stream_id: open.stream_id.clone(),
            priority: open.priority,
            queued_index: open.queued_index,
            queued_at: open.queued_at,
        })
    }
}

/// What waits in a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Depth {
    pub(super) pool: PoolName,
    pub(super) tasks: usize,
    /// How long the oldest has waited.
    pub(super) oldest: Duration,
    pub(super) workers: usize,
}

impl Depth {
    /// Of a pool that nothing waits in any more.
    pub(super) fn nothing(pool: PoolName) -> Self {
        Self { pool, tasks: 0, oldest: Duration::ZERO, workers: 0 }
    }
}

/// As many workers wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{waiters_max} claims wait for a task, and more may not")]
pub(super) struct Full {
    pub(super) waiters_max: usize,
}

/// The tasks that wait, and the workers.
#[derive(Debug)]
pub(super) struct Waiting {
    state: Mutex<Waiters>,
    waiters_max: usize,
}

#[derive(Debug, Default)]
struct Waiters {
    pools: BTreeMap<PoolName, Pool>,
    /// Where each task stands.
    tasks: HashMap<TaskId, Candidate>,
    waiters: BTreeMap<u64, Waiter>,
    /// Who waits for which pool, the longest first.
    by_pool: BTreeMap<PoolName, BTreeSet<u64>>,
    next_waiter: u64,
}

#[derive(Debug)]
struct Waiter {
    reach: Reach,
    hand: oneshot::Sender<Candidate>,
}

/// A candidate that was handed out. Comes back when dropped, unless it was used up.
#[derive(Debug)]
pub(super) struct Handed {
    of: Arc<Waiting>,
    candidate: Option<Candidate>,
}

/// A worker that waits; stops to when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    of: Arc<Waiting>,
    id: u64,
    hand: oneshot::Receiver<Candidate>,
}

/// What a claim finds.
#[derive(Debug)]
pub(super) enum Found {
    Now(Handed),
    /// Nothing: wait for it.
    Later(Turn),
}

impl Waiting {
    pub(super) fn new(waiters_max: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), waiters_max })
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a task as it is now. Seeing it again unchanged changes nothing, also while it is handed out.
    pub(super) fn see(&self, open: &Open) {
        let candidate = Candidate::of(open);
        let mut state = self.lock();
        if state.tasks.get(&open.task_id) == candidate.as_ref() {
            return;
        }
        state.remove(open.task_id);
        if let Some(candidate) = candidate {
            state.tasks.insert(candidate.task_id, candidate.clone());
            state.offer(candidate);
        }
    }

    /// Drops a task that is not there any more.
    pub(super) fn forget(&self, task_id: TaskId) {
        self.lock().remove(task_id);
    }

    /// The next task within reach, if one waits.
    pub(super) fn take(self: &Arc<Self>, reach: &Reach) -> Option<Handed> {
        let candidate = self.lock().take(reach)?;
        Some(Handed { of: Arc::clone(self), candidate: Some(candidate) })
    }

    /// The next task within reach, or a place in the row of those who wait for one.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn take_or_wait(self: &Arc<Self>, reach: &Reach) -> Result<Found, Full> {
        let mut state = self.lock();
        if let Some(candidate) = state.take(reach) {
            return Ok(Found::Now(Handed { of: Arc::clone(self), candidate: Some(candidate) }));
        }
        if state.waiters.len() >= self.waiters_max {
            return Err(Full { waiters_max: self.waiters_max });
        }
        let (sender, hand) = oneshot::channel();
        let id = state.next_waiter;
        state.next_waiter += 1;
        for pool in &reach.pools {
            state.by_pool.entry(pool.clone()).or_default().insert(id);
        }
        state.waiters.insert(id, Waiter { reach: reach.clone(), hand: sender });
        Ok(Found::Later(Turn { of: Arc::clone(self), id, hand }))
    }

    /// What waits, by pool: every pool that has a task or a worker.
    pub(super) fn depths(&self, now: Timestamp) -> Vec<Depth> {
        let state = self.lock();
        let names: BTreeSet<&PoolName> = state.pools.keys().chain(state.by_pool.keys()).collect();
        let depths = names.into_iter().map(|name| {
            let pool = state.pools.get(name);
            Depth {
                pool: name.clone(),
                tasks: pool.map_or(0, Pool::len),
                oldest: pool.and_then(Pool::oldest).map_or(Duration::ZERO, |oldest| between(oldest, now)),
                workers: state.by_pool.get(name).map_or(0, BTreeSet::len),
            }
        });
        depths.collect()
    }

    /// What waits of these streams, by pool: every pool that has a task of theirs. Looks at every task that waits.
    pub(super) fn depths_of(&self, streams: &Patterns, now: Timestamp) -> Vec<Depth> {
        let state = self.lock();
        let depths = state.pools.iter().filter_map(|(name, pool)| {
            let of_theirs = pool.all().filter(|found| streams.matches(&found.stream_id));
            let ages = of_theirs.map(|found| between(found.queued_at, now));
            let (tasks, oldest) = ages.fold((0, Duration::ZERO), |(n, oldest), age| (n + 1, oldest.max(age)));
            let workers = state.by_pool.get(name).map_or(0, BTreeSet::len);
            (tasks > 0).then(|| Depth { pool: name.clone(), tasks, oldest, workers })
        });
        depths.collect()
    }

    /// At most `most` tasks that wait and that the predicate selects.
    pub(super) fn some(&self, most: usize, selects: impl Fn(&Candidate) -> bool) -> Vec<Candidate> {
        let state = self.lock();
        state.pools.values().flat_map(Pool::all).filter(|found| selects(found)).take(most).cloned().collect()
    }
}

impl Waiters {
    /// Gives a task to the worker that waits longest for one such as this, or puts it into the pool.
    fn offer(&mut self, candidate: Candidate) {
        let mut candidate = candidate;
        while let Some(waiter) = self.longest_waiting(&candidate).and_then(|id| self.leave(id)) {
            match waiter.hand.send(candidate) {
                Ok(()) => return,
                Err(back) => candidate = back,
            }
        }
        self.pools.entry(candidate.pool.clone()).or_default().insert(candidate);
    }

    fn longest_waiting(&self, candidate: &Candidate) -> Option<u64> {
        let mut waiters = self.by_pool.get(&candidate.pool)?.iter().copied();
        waiters.find(|id| {
            let waiter = self.waiters.get(id);
            waiter.is_some_and(|waiter| waiter.reach.streams.matches(&candidate.stream_id))
        })
    }

    /// Takes a worker out of the row.
    fn leave(&mut self, id: u64) -> Option<Waiter> {
        let waiter = self.waiters.remove(&id)?;
        for pool in &waiter.reach.pools {
            if let Some(waiters) = self.by_pool.get_mut(pool) {
                waiters.remove(&id);
                if waiters.is_empty() {
                    self.by_pool.remove(pool);
                }
            }
        }
        Some(waiter)
    }

    /// The highest priority of all that is within reach, of equal ones the oldest of those whose turn it is.
    fn take(&mut self, reach: &Reach) -> Option<Candidate> {
        let Reach { pools, streams } = reach;
        let first = pools.iter().filter_map(|name| Some((self.pools.get(name)?.peek(streams)?, name)));
        let (_, name) = first.max_by_key(|(rank, _)| *rank)?;
        let candidate = self.pools.get_mut(name).and_then(|pool| pool.take(streams));
        if self.pools.get(name).is_some_and(Pool::is_empty) {
            self.pools.remove(name);
        }
        candidate
    }

    fn remove(&mut self, task_id: TaskId) {
        let Some(known) = self.tasks.remove(&task_id) else { return };
        if let Some(pool) = self.pools.get_mut(&known.pool) {
            pool.remove(&known);
            if pool.is_empty() {
                self.pools.remove(&known.pool);
            }
        }
    }

    /// Takes back what was handed out, unless the task has changed since.
    fn give_back(&mut self, candidate: Candidate) {
        if self.tasks.get(&candidate.task_id) == Some(&candidate) {
            self.offer(candidate);
        }
    }
}

impl Handed {
    pub(super) fn task_id(&self) -> Option<TaskId> {
        self.candidate.as_ref().map(|candidate| candidate.task_id)
    }

    /// The task was claimed, or waits no more: it does not come back.
    pub(super) fn use_up(mut self) {
        self.candidate = None;
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if let Some(candidate) = self.candidate.take() {
            self.of.lock().give_back(candidate);
        }
    }
}

impl Turn {
    /// Waits for a task; none where the server ends.
    pub(super) async fn handed(&mut self) -> Option<Handed> {
        let candidate = (&mut self.hand).await.ok()?;
        Some(Handed { of: Arc::clone(&self.of), candidate: Some(candidate) })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.of.lock();
        state.leave(self.id);
        // Handed over in the moment in which the worker gave up.
        if let Ok(candidate) = self.hand.try_recv() {
            state.give_back(candidate);
        }
    }
}
