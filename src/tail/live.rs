//! The newest durable records in memory, and the one task that tells followers of them.
//!
//! The writer appends each batch to a pending group and wakes one task, whatever the number of followers. That task
//! makes the group immutable, puts it into a ring that all followers share, and wakes those that wait: at most once
//! in a millisecond or two, so that under load a wake-up serves many records.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gesta_log_format::Index;
use gesta_log_format::log::Batch;
use tokio::sync::{Notify, watch};

use super::fields::Fields;

/// Consecutive records that became durable within one interval.
#[derive(Debug)]
pub struct Group {
    start: Index,
    bytes: Bytes,
    /// For each record, where its envelope begins and where the record ends.
    places: Vec<Place>,
    fields: OnceLock<Box<[Option<Fields>]>>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    data: u32,
    end: u32,
}

impl Group {
    /// The first index behind the group.
    pub fn end(&self) -> Index {
        self.start.plus(self.places.len() as u64)
    }

    /// The bytes of the records from `from` up to `to`, both within the group.
    pub fn slice(&self, from: Index, to: Index) -> Bytes {
        self.bytes.slice(self.byte_before(from)..self.byte_before(to))
    }

    /// The bytes of those records from `from` up to `to` that `wanted` accepts.
    pub fn select(
        &self,
        from: Index,
        to: Index,
        wanted: impl Fn(&Fields, &[u8]) -> bool,
    ) -> Vec<(Index, Bytes)> {
        let fields = self.fields.get_or_init(|| self.extract());
        let nth = |index: Index| usize::try_from(index.since(self.start)).unwrap_or(usize::MAX);
        let mut selected: Vec<(Index, Bytes)> = Vec::new();
        for at in nth(from)..nth(to).min(self.places.len()) {
            let index = self.start.plus(at as u64);
            let data = self.data(at);
            // A record whose fields cannot be read is shown: nothing is left out silently.
            if fields.get(at).and_then(Option::as_ref).is_none_or(|fields| wanted(fields, data)) {
                selected.push((index, self.slice(index, index.next())));
            }
        }
        selected
    }

    /// The group's memory, emptied, where nobody is sending from it.
    fn into_memory(self) -> Option<(BytesMut, Vec<Place>)> {
        let (mut bytes, mut places) = (self.bytes.try_into_mut().ok()?, self.places);
        bytes.clear();
        places.clear();
        Some((bytes, places))
    }

    fn byte_before(&self, index: Index) -> usize {
        match usize::try_from(index.since(self.start)).unwrap_or(usize::MAX) {
            0 => 0,
            nth => self.places.get(nth - 1).map_or(self.bytes.len(), |place| place.end as usize),
        }
    }

    fn data(&self, at: usize) -> &[u8] {
        let Some(place) = self.places.get(at) else { return &[] };
        self.bytes.get(place.data as usize..place.end as usize - 2).unwrap_or_default()
    }

    fn extract(&self) -> Box<[Option<Fields>]> {
        (0..self.places.len()).map(|at| Fields::of(self.data(at))).collect()
    }
}

/// The ring of groups, and whoever waits for the next.
#[derive(Debug)]
pub struct Live {
    pending: Mutex<Pending>,
    /// The writer has said that something is pending and the task has not looked yet.
    told: AtomicBool,
    some: Notify,
    ring: Mutex<Ring>,
    /// The first index that no request may see yet: everything below is durable and has its keys.
    published: AtomicU64,
    /// The first index that followers were not told of yet. Never ahead of `published`.
    head: AtomicU64,
    watched: watch::Sender<Index>,
    waiters: Mutex<Waiters>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Pending {
    start: Index,
    end: Index,
    bytes: BytesMut,
    places: Vec<Place>,
}

#[derive(Debug, Default)]
struct Ring {
    groups: VecDeque<Arc<Group>>,
    bytes: usize,
    /// Memory of groups that nobody holds any more.
    spare: Option<(BytesMut, Vec<Place>)>,
}

#[derive(Debug, Default)]
struct Waiters {
    /// How often waiters were woken; a registration holds until it moves on.
    round: u64,
    wakers: Vec<Waker>,
}

/// What a follower remembers of its registration, so that it registers once a round.
#[derive(Debug, Default)]
pub struct Registration(Option<(u64, Waker)>);

impl Live {
    /// Begins with a log of `head` records and keeps up to `bytes_max` bytes of newer ones.
    pub fn new(head: Index, bytes_max: usize) -> Self {
        Self {
            pending: Mutex::new(Pending { start: head, end: head, ..Pending::default() }),
            told: AtomicBool::new(false),
            some: Notify::new(),
            ring: Mutex::default(),
            published: AtomicU64::new(head.0),
            head: AtomicU64::new(head.0),
            watched: watch::channel(head).0,
            waiters: Mutex::default(),
            bytes_max,
        }
    }

    /// The first index that no request may see yet. What was acknowledged lies below.
    pub fn published(&self) -> Index {
        Index(self.published.load(Ordering::Acquire))
    }

    /// The first index that followers were not told of yet.
    pub fn head(&self) -> Index {
        Index(self.head.load(Ordering::Acquire))
    }

    /// Tells of every change of the head.
    pub fn watch(&self) -> watch::Receiver<Index> {
        self.watched.subscribe()
    }

    /// Takes a durable batch whose keys are inserted. Called by the writer alone, once a batch, before it acknowledges.
    pub fn publish(&self, batch: &Batch) {
        self.published.store(batch.end().0, Ordering::Release);
        let mut pending = lock(&self.pending);
        if pending.bytes.len() + batch.bytes().len() > self.bytes_max {
            // The task is far behind: what it would hold too much of, followers read from the disk.
            pending.bytes.clear();
            pending.places.clear();
            pending.start = batch.start();
        }
        let base = u32::try_from(pending.bytes.len()).unwrap_or(u32::MAX);
        pending.bytes.extend_from_slice(batch.bytes());
        pending.places.extend(
            batch.placed().iter().map(|placed| Place { data: base + placed.data, end: base + placed.end }),
        );
        pending.end = batch.end();
        drop(pending);
        if !self.told.swap(true, Ordering::AcqRel) {
            self.some.notify_one();
        }
    }

    /// Turns pending batches into groups and wakes followers, at most once each `interval`, for ever.
    pub async fn fan_out(self: Arc<Self>, interval: Duration, mut each: impl FnMut(Index) + Send) {
        loop {
            self.some.notified().await;
            self.told.store(false, Ordering::Release);
            self.turn();
            each(self.head());
            tokio::time::sleep(interval).await;
        }
    }

    fn turn(&self) {
        // Pages that were used before need no clearing by the system.
        let (bytes, places) = lock(&self.ring).spare.take().unwrap_or_default();
        let group = {
            let mut pending = lock(&self.pending);
            if pending.places.is_empty() {
                return;
            }
            let next = Pending { start: pending.end, end: pending.end, bytes, places };
            let taken = std::mem::replace(&mut *pending, next);
            Group {
                start: taken.start,
                bytes: taken.bytes.freeze(),
                places: taken.places,
                fields: OnceLock::new(),
            }
        };
        let end = group.end();
        lock(&self.ring).push(Arc::new(group), self.bytes_max);
        self.head.store(end.0, Ordering::Release);
        self.watched.send_replace(end);
        let woken = {
            let mut waiters = lock(&self.waiters);
            waiters.round += 1;
            std::mem::take(&mut waiters.wakers)
        };
        for waker in woken {
            waker.wake();
        }
    }

    /// The group that holds `index`, if it is still in memory.
    pub fn holding(&self, index: Index) -> Option<Arc<Group>> {
        let ring = lock(&self.ring);
        let at = ring.groups.partition_point(|group| group.end() <= index);
        ring.groups.get(at).filter(|group| group.start <= index).cloned()
    }

    /// Has the task of `cx` woken when the head moves on.
    pub fn register(&self, cx: &Context<'_>, registration: &mut Registration) {
        let mut waiters = lock(&self.waiters);
        if let Some((round, waker)) = &registration.0
            && *round == waiters.round
            && waker.will_wake(cx.waker())
        {
            return;
        }
        waiters.wakers.push(cx.waker().clone());
        registration.0 = Some((waiters.round, cx.waker().clone()));
    }

    /// Wakes every follower, so that each looks whether it should end.
    pub fn wake_all(&self) {
        let woken = {
            let mut waiters = lock(&self.waiters);
            waiters.round += 1;
            std::mem::take(&mut waiters.wakers)
        };
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Ring {
    fn push(&mut self, group: Arc<Group>, bytes_max: usize) {
        if self.groups.back().is_some_and(|last| last.end() != group.start) {
            self.groups.clear();
            self.bytes = 0;
        }
        self.bytes += group.bytes.len();
        self.groups.push_back(group);
        while self.bytes > bytes_max && self.groups.len() > 1 {
            let Some(oldest) = self.groups.pop_front() else { return };
            self.bytes -= oldest.bytes.len();
            self.spare = Arc::into_inner(oldest).and_then(Group::into_memory).or(self.spare.take());
        }
    }
}

/// Nothing panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
