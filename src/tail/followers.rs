//! All open tails: how many there are, how far behind, and whether their clients still read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gesta_log_format::Index;

use crate::server::Connection;

/// The open tails.
#[derive(Debug)]
pub struct Followers {
    open: Mutex<HashMap<u64, Arc<Progress>>>,
    next_id: AtomicU64,
    max: usize,
    began: Instant,
}

#[derive(Debug)]
struct Progress {
    connection: Option<Connection>,
    /// Milliseconds after `began` at which the body was last polled.
    polled_ms: AtomicU64,
    next: AtomicU64,
}

/// One open tail; leaves the list when dropped.
#[derive(Debug)]
pub struct Follower {
    of: Arc<Followers>,
    id: u64,
    progress: Arc<Progress>,
}

impl Followers {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), next_id: AtomicU64::new(0), max, began: Instant::now() })
    }

    /// Adds a tail; none where there are too many.
    pub fn enter(self: &Arc<Self>, connection: Option<Connection>, next: Index) -> Option<Follower> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= self.max {
            return None;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let progress = Arc::new(Progress {
            connection,
            polled_ms: AtomicU64::new(self.now_ms()),
            next: AtomicU64::new(next.0),
        });
        open.insert(id, Arc::clone(&progress));
        Some(Follower { of: Arc::clone(self), id, progress })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// By how many records the slowest is behind `head`.
    pub fn lag_max(&self, head: Index) -> u64 {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let next = open.values().map(|progress| progress.next.load(Ordering::Relaxed)).min();
        next.map_or(0, |next| head.since(Index(next)))
    }

    /// Closes the connections of those whose body was not polled for `patience`, and says how many.
    pub fn close_stalled(&self, patience: Duration) -> usize {
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let now_ms = self.now_ms();
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let stalled = open.values().filter(|progress| {
            now_ms.saturating_sub(progress.polled_ms.load(Ordering::Relaxed)) > patience_ms
        });
        stalled.filter_map(|progress| progress.connection.as_ref()).map(Connection::close).count()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Follower {
    /// Notes that the body was polled, and how far it is.
    pub(super) fn stamp(&self, next: Index) {
        self.progress.polled_ms.store(self.of.now_ms(), Ordering::Relaxed);
        self.progress.next.store(next.0, Ordering::Relaxed);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.of.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
