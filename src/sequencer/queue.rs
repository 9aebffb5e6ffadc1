//! The bounded queue in front of the sequencer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Append;

/// Free places in the queue.
#[derive(Debug)]
pub struct Places {
    free: AtomicUsize,
    max: usize,
}

/// One place; given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<Places>);

impl Places {
    /// As many places as `max`.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { free: AtomicUsize::new(max), max })
    }

    /// Takes a place if one is free.
    pub fn reserve(self: &Arc<Self>) -> Option<Place> {
        let took =
            self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(1)).is_ok();
        took.then(|| Place(Arc::clone(self)))
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.max.saturating_sub(self.free.load(Ordering::Relaxed))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::Relaxed);
    }
}

/// What waits for the sequencer. Bounded by the places that its members hold.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<Append>,
    closed: bool,
    /// The sequencer sleeps: whoever adds the first append wakes it. While it works, nobody pays for a wake-up.
    asleep: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one append. Gives it back where the queue is closed.
    ///
    /// # Errors
    /// The append, if the sequencer has ended or is about to.
    pub fn push(&self, append: Append) -> Result<(), Box<Append>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Box::new(append));
        }
        state.waiting.push(append);
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Moves everything that waits into `taken`, in order; waits while there is nothing. False once the queue is
    /// closed and empty.
    pub(super) fn take(&self, taken: &mut Vec<Append>) -> bool {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return false;
            }
            state.asleep = true;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.asleep = false;
        std::mem::swap(taken, &mut state.waiting);
        true
    }

    /// Takes no more appends; those that wait are still served.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Drops everything that waits: its outcome is unknown.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        let dropped = std::mem::take(&mut state.waiting);
        drop(state);
        drop(dropped);
    }
}
