//! When leases run out and retries are due: one ordered set of deadlines, moved by what the projection shows.
//!
//! Nothing is scanned: each change of a task moves its one entry. Durations run on the monotonic clock from the moment
//! at which a change is seen, so that a wall clock that jumps neither ends a lease early nor keeps a dead one. Only what
//! was recorded before the process started is judged by the wall clock, because nothing else is left of that time.
//! Never decides that a lease has expired: it says that it may, and the record says that it has.

use std::collections::{BTreeSet, HashMap, hash_map};
use std::time::Duration;

use gesta_log_format::{Index, Timestamp};
use gesta_replay::event::{TaskId, TimeLimit};
use gesta_replay::projections::tasks::Open;
use gesta_replay::task_lifecycle::State;

use super::clock::{Now, after, between};
use super::retry::RETRY_SPREAD_MAX;
use crate::limits::TASK_RETRY_MS_MAX;

/// How many periods beyond its recorded deadline a lease may live after restarts.
const PERIODS_AFTER_RESTART: u32 = 3;

/// What has to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The attempt has broken a limit.
    Expired(TimeLimit),
    /// The task is queued again.
    Retry,
}

/// What an entry waits for, and by which change of the task: another change makes another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Lease { claim_index: Index, expires_at: Timestamp },
    Retry { next_retry_at: Timestamp },
}

impl Awaited {
    fn ends_at(self) -> Timestamp {
        match self {
            Self::Lease { expires_at, .. } => expires_at,
            Self::Retry { next_retry_at } => next_retry_at,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    awaited: Awaited,
    /// Of the lease, or of the retry.
    deadline: Duration,
    /// When the attempt has taken as long as it may in all.
    absolute: Duration,
    /// It was recorded before the process started: what it has left is a matter of grace.
    by_grace: bool,
}

impl Entry {
    fn first(&self) -> Duration {
        self.deadline.min(self.absolute)
    }
}

/// What is left of a lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Until it runs out.
    pub(super) lease: Duration,
    /// Until its attempt has taken as long as it may in all.
    pub(super) absolute: Duration,
    /// It outlives its recorded deadline, by the grace after a restart.
    pub(super) by_grace: bool,
}

/// The deadlines of all tasks that have one.
#[derive(Debug)]
pub(super) struct Timers {
    /// The first index that was not in the log when the process started.
    head_at_start: Index,
    entries: HashMap<TaskId, Entry>,
    order: BTreeSet<(Duration, TaskId)>,
    /// Tasks that are to be looked at again, whatever is due; and when each is.
    looks: BTreeSet<(Duration, TaskId)>,
    look_at: HashMap<TaskId, Duration>,
    /// When the leases began whose records this process has written and not seen yet: whoever follows the log is behind,
    /// and a lease is not longer for that.
    begun: HashMap<TaskId, Begun>,
}

/// When a lease began that ends at the recorded time.
#[derive(Clone, Copy, Debug)]
struct Begun {
    expires_at: Timestamp,
    at: Duration,
}

impl Timers {
    pub(super) fn new(head_at_start: Index) -> Self {
        Self {
            head_at_start,
            entries: HashMap::new(),
            order: BTreeSet::new(),
            looks: BTreeSet::new(),
            look_at: HashMap::new(),
            begun: HashMap::new(),
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Says when a lease begins whose record is about to be written: at the moment that its recorded deadline counts from.
    pub(super) fn begin(&mut self, task_id: TaskId, expires_at: Timestamp, at: Duration) {
        self.begun.insert(task_id, Begun { expires_at, at });
    }

    /// Takes a task as it is now. Seeing it again unchanged changes nothing.
    pub(super) fn see(&mut self, open: &Open, now: Now) {
        let Some(entry) = self.entry(open, now) else { return self.forget(open.task_id) };
        if self.entries.get(&open.task_id) == Some(&entry) {
            return;
        }
        // A record that is on its way comes after this one, with a deadline of its own.
        let begun =
            self.begun.remove(&open.task_id).filter(|begun| entry.awaited.ends_at() != begun.expires_at);
        self.forget(open.task_id);
        self.begun.extend(begun.map(|begun| (open.task_id, begun)));
        self.order.insert((entry.first(), open.task_id));
        self.entries.insert(open.task_id, entry);
    }

    /// The entry of a task that stands as `open` says: the one that is there, or one from now on.
    fn entry(&self, open: &Open, now: Now) -> Option<Entry> {
        let awaited = awaited(open)?;
        let known = self.entries.get(&open.task_id).copied();
        Some(match (known.filter(|known| known.awaited == awaited), awaited) {
            (Some(same), _) => same,
            (None, Awaited::Lease { .. }) => self.of_lease(open, awaited, known, now),
            (None, Awaited::Retry { next_retry_at }) => of_retry(awaited, next_retry_at, now),
        })
    }

    /// Whether the deadline is set of a task that stands as `open` says.
    #[cfg(test)]
    pub(super) fn know(&self, open: &Open) -> bool {
        self.entries.get(&open.task_id).map(|entry| entry.awaited) == awaited(open)
    }

    /// Drops what is known of a task.
    pub(super) fn forget(&mut self, task_id: TaskId) {
        self.begun.remove(&task_id);
        if let Some(entry) = self.entries.remove(&task_id) {
            self.order.remove(&(entry.first(), task_id));
        }
    }

    /// Has a task looked at again at that time: what had to be recorded of it could not be. Where it will be earlier,
    /// that is enough.
    pub(super) fn look_again(&mut self, task_id: TaskId, at: Duration) {
        if let hash_map::Entry::Vacant(free) = self.look_at.entry(task_id) {
            free.insert(at);
            self.looks.insert((at, task_id));
        }
    }

    /// The first deadline.
    pub(super) fn next(&self) -> Option<Duration> {
        let firsts = [self.order.first(), self.looks.first()];
        firsts.into_iter().flatten().map(|(deadline, _)| *deadline).min()
    }

    /// At most `most` tasks whose deadline has come. Each is told once.
    pub(super) fn take_due(&mut self, now: Now, most: usize) -> Vec<TaskId> {
        let mut due = Vec::new();
        for set in [&mut self.order, &mut self.looks] {
            while let Some((deadline, task_id)) = set.first().copied() {
                if deadline > now.running || due.len() == most {
                    break;
                }
                set.pop_first();
                due.push(task_id);
            }
        }
        for task_id in &due {
            // Whoever looks at it now says when to look again.
            if let Some(at) = self.look_at.remove(task_id) {
                self.looks.remove(&(at, *task_id));
            }
        }
        due
    }

    /// What is due of a task that stands as `open` says. None where it stands otherwise than when its deadline was set.
    pub(super) fn due(&self, open: &Open, now: Now) -> Option<Due> {
        let entry = self.entries.get(&open.task_id)?;
        if awaited(open) != Some(entry.awaited) || entry.first() > now.running {
            return None;
        }
        Some(match entry.awaited {
            Awaited::Retry { .. } => Due::Retry,
            Awaited::Lease { .. } if entry.absolute <= now.running => Due::Expired(TimeLimit::Absolute),
            Awaited::Lease { .. } => Due::Expired(TimeLimit::Lease),
        })
    }

    /// What is left of the live lease of a task that stands as `open` says, whether it was seen so or not. Sets nothing:
    /// who asks may know less than was seen since.
    pub(super) fn left(&self, open: &Open, now: Now) -> Option<Left> {
        let entry = self.entry(open, now)?;
        match entry.awaited {
            Awaited::Lease { .. } => Some(Left {
                lease: entry.deadline.saturating_sub(now.running),
                absolute: entry.absolute.saturating_sub(now.running),
                by_grace: entry.by_grace,
            }),
            Awaited::Retry { .. } => None,
        }
    }

    fn of_lease(&self, open: &Open, awaited: Awaited, known: Option<Entry>, now: Now) -> Entry {
        let Some(lease) = open.live_lease() else { unreachable!("only a live lease is awaited") };
        let period = Duration::from_millis(lease.lease_ms);
        let timeout = Duration::from_millis(open.limits.timeout_ms);
        let same_claim = known.filter(|known| match known.awaited {
            Awaited::Lease { claim_index, .. } => claim_index == lease.claim_index,
            Awaited::Retry { .. } => false,
        });
        let claimed_here = lease.claim_index >= self.head_at_start;
        let by_grace = same_claim.is_none() && !claimed_here;
        if !by_grace {
            let begun = self.begun.get(&open.task_id).filter(|begun| begun.expires_at == lease.expires_at);
            let begun = begun.map_or(now.running, |begun| begun.at);
            let absolute = same_claim.map_or(begun + timeout, |known| known.absolute);
            let deadline = begun + period;
            return Entry { awaited, deadline, absolute, by_grace };
        }
        let last = between(now.wall, after(lease.expires_at, period * PERIODS_AFTER_RESTART));
        let grace = period.min(last);
        let absolute = timeout.saturating_sub(between(lease.claimed_at, now.wall)).max(grace);
        Entry { awaited, deadline: now.running + grace, absolute: now.running + absolute, by_grace }
    }
}

/// No retry waits longer than the longest delay that is drawn, whatever the wall clock says.
fn of_retry(awaited: Awaited, next_retry_at: Timestamp, now: Now) -> Entry {
    let longest = Duration::from_millis(TASK_RETRY_MS_MAX).mul_f64(RETRY_SPREAD_MAX);
    let deadline = now.running + between(now.wall, next_retry_at).min(longest);
    Entry { awaited, deadline, absolute: Duration::MAX, by_grace: false }
}

fn awaited(open: &Open) -> Option<Awaited> {
    match open.standing.state {
        State::Running => open
            .lease
            .as_ref()
            .map(|lease| Awaited::Lease { claim_index: lease.claim_index, expires_at: lease.expires_at }),
        State::RetryScheduled => open.next_retry_at.map(|next_retry_at| Awaited::Retry { next_retry_at }),
        State::Queued
        | State::TimedOut
        | State::AttemptFailed
        | State::Completed
        | State::Failed
        | State::Canceled => None,
    }
}

#[cfg(test)]
mod tests;
