//! The segments whose postings are in memory, and the tickets that keep them there.
//!
//! A request looks its keys up in the flushed pages and is then compared, by the writer, in memory only. So a segment
//! that was flushed after the request's look-up must still be in memory when the request reaches the writer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use super::Fingerprint;
use super::active::ActiveKeys;

/// Steps of a walk through a long list of postings between two takings of the lock, so that the writer never waits
/// for more than these.
const STEPS_LOCKED_MAX: usize = 4096;

/// Proof that a request's look-up saw every segment that had been flushed when it was taken. While it lives, the
/// segments flushed later stay in memory.
#[derive(Clone, Debug)]
pub struct Ticket {
    epoch: Arc<Epoch>,
}

/// Number of segments flushed since the start.
#[derive(Debug)]
struct Epoch(u64);

impl Ticket {
    /// Number of segments that had been flushed since the start when this ticket was taken.
    #[must_use]
    pub fn flushed(&self) -> u64 {
        self.epoch.0
    }
}

/// One segment's postings in memory.
#[derive(Debug)]
pub(super) struct MemorySegment {
    pub(super) first: u64,
    /// Written by the writer thread alone, and no more once the segment is sealed.
    pub(super) keys: RwLock<ActiveKeys>,
}

impl MemorySegment {
    fn new(first: u64) -> Self {
        Self { first, keys: RwLock::new(ActiveKeys::new(first)) }
    }

    pub(super) fn newest(&self, fingerprint: &Fingerprint) -> Option<u64> {
        self.read(|keys| keys.newest(fingerprint))
    }

    pub(super) fn insert<'a>(&self, records: impl IntoIterator<Item = (u64, &'a [Fingerprint])>) {
        let mut keys = self.keys.write().expect("a panic of the writer ends the process");
        for (index, fingerprints) in records {
            keys.insert(fingerprints, index);
        }
    }

    /// Every index at or above `since` that bears this key, ascending.
    pub(super) fn since(&self, fingerprint: &Fingerprint, since: u64) -> Vec<u64> {
        let mut found = Vec::new();
        let mut next = self.read(|keys| keys.newest_position(fingerprint));
        while next.is_some() {
            self.read(|keys| {
                for _ in 0..STEPS_LOCKED_MAX {
                    let Some(position) = next else { break };
                    let (index, older) = keys.step(position);
                    next = older.filter(|_| index >= since);
                    if index >= since {
                        found.push(index);
                    }
                }
            });
        }
        found.reverse();
        found
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&ActiveKeys) -> T) -> T {
        look(&self.keys.read().expect("a panic of the writer ends the process"))
    }
}

/// The segments in memory, ascending, without the means to change them.
pub(super) type Snapshot = Arc<[Arc<MemorySegment>]>;

/// The segments in memory and the tickets.
#[derive(Debug)]
pub(super) struct Memory {
    /// Ascending; the last is the active one. Replaced whole, so that a look-up holds the lock for one clone.
    segments: RwLock<Snapshot>,
    tickets: Mutex<Tickets>,
}

#[derive(Debug)]
struct Tickets {
    /// What a ticket taken now refers to.
    current: Arc<Epoch>,
    /// Epochs that ended, while tickets of theirs may live.
    older: VecDeque<(u64, Weak<Epoch>)>,
    /// Segments that are in memory although they were flushed: first index, and the epoch that the flush began.
    flushed: VecDeque<(u64, u64)>,
}

impl Memory {
    pub(super) fn new() -> Self {
        let tickets =
            Tickets { current: Arc::new(Epoch(0)), older: VecDeque::new(), flushed: VecDeque::new() };
        Self { segments: RwLock::new(Arc::new([])), tickets: Mutex::new(tickets) }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn begin(&self, first: u64) {
        self.replace(|segments| {
            assert!(segments.last().is_none_or(|last| last.first < first), "segments begin in order");
            segments.iter().cloned().chain([Arc::new(MemorySegment::new(first))]).collect()
        });
    }

    pub(super) fn ticket(&self) -> Ticket {
        Ticket { epoch: self.tickets.lock().unwrap_or_else(PoisonError::into_inner).current.clone() }
    }

    /// Notes that look-ups in the flushed pages now see the segment that begins at `first`.
    pub(super) fn flushed(&self, first: u64) {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let next = tickets.current.0 + 1;
        let ended = std::mem::replace(&mut tickets.current, Arc::new(Epoch(next)));
        tickets.older.push_back((ended.0, Arc::downgrade(&ended)));
        tickets.flushed.push_back((first, next));
    }

    /// Drops the flushed segments that no ticket needs; the number of those that one still needs.
    pub(super) fn release(&self) -> usize {
        let (droppable, kept) = {
            let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
            tickets.older.retain(|(_, epoch)| epoch.strong_count() > 0);
            let oldest = tickets.older.front().map_or(tickets.current.0, |(epoch, _)| *epoch);
            let free = tickets.flushed.partition_point(|(_, epoch)| *epoch <= oldest);
            let droppable: Vec<u64> = tickets.flushed.drain(..free).map(|(first, _)| first).collect();
            (droppable, tickets.flushed.len())
        };
        if !droppable.is_empty() {
            self.replace(|segments| {
                segments.iter().filter(|segment| !droppable.contains(&segment.first)).cloned().collect()
            });
        }
        kept
    }

    /// Puts another list in place. The old one, and perhaps 80 MB with it, is freed after the lock is let go of.
    fn replace(&self, change: impl FnOnce(&Snapshot) -> Snapshot) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *segments, Arc::new([]));
        *segments = change(&old);
        drop(segments);
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_keeps_the_segments_that_were_flushed_after_it() {
        let memory = Memory::new();
        memory.begin(0);
        memory.begin(10);
        memory.begin(20);
        let firsts = || memory.snapshot().iter().map(|segment| segment.first).collect::<Vec<_>>();
        memory.flushed(0);
        let between = memory.ticket();
        assert_eq!((memory.release(), firsts()), (0, vec![10, 20]));
        memory.flushed(10);
        let after = memory.ticket();
        assert_eq!((memory.release(), firsts()), (1, vec![10, 20]));
        drop(between.clone());
        drop(after);
        assert_eq!((memory.release(), firsts()), (1, vec![10, 20]));
        drop(between);
        assert_eq!((memory.release(), firsts()), (0, vec![20]));
    }

    #[test]
    fn a_long_list_is_read_whole_and_in_order() {
        let segment = MemorySegment::new(5);
        let key = [Fingerprint::thread("default", "long")];
        let records = || (5..20_005).map(|index| (index, key.as_slice()));
        segment.insert(records());
        assert_eq!(segment.since(&key[0], 0), (5..20_005).collect::<Vec<_>>());
        assert_eq!(segment.since(&key[0], 20_003), [20_003, 20_004]);
        assert_eq!(segment.since(&key[0], 20_005), Vec::<u64>::new());
    }
}
