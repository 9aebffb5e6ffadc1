//! The bounded queue in front of the sequencer, and the two roles that its hands take in turn.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Append;

/// So many waiting appends are worth waking the collector while a batch is being written.
const WORTH_A_WAKE: usize = 8;

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
    /// The collector waits here: for appends, or for its turn to write.
    collector: Condvar,
    /// A hand without a role waits here until nobody collects.
    idle: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<Append>,
    closed: bool,
    /// A hand has failed: nothing is written any more.
    dead: bool,
    collecting: bool,
    writing: bool,
    /// The collector sleeps: whoever makes its wish true wakes it. While it works, nobody pays for a wake-up.
    asleep: bool,
    /// The collector has something that waits for its turn.
    ready: bool,
}

impl State {
    /// Whether the collector should be woken; then it is taken to be awake.
    fn wakes(&mut self) -> bool {
        let wish = match self.writing {
            true => self.waiting.len() >= WORTH_A_WAKE,
            false => self.ready || !self.waiting.is_empty(),
        };
        wish && std::mem::take(&mut self.asleep)
    }
}

/// Why the collector goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// There are more appends, and the batch before this one is still being written.
    More,
    /// The role of the writer is the collector's: until [`Queue::end_writing`].
    Turn,
    /// The queue is closed and empty, or a hand has failed.
    Over,
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
        let wake = state.wakes();
        drop(state);
        if wake {
            self.collector.notify_one();
        }
        Ok(())
    }

    /// Takes the role of the collector, once nobody has it.
    pub(super) fn begin_collecting(&self) {
        let mut state = self.lock();
        while state.collecting {
            state = self.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.collecting = true;
    }

    /// Leaves the role of the collector to another hand.
    pub(super) fn end_collecting(&self) {
        self.lock().collecting = false;
        self.idle.notify_one();
    }

    /// Moves everything that waits behind what is in `taken`, in order. Waits until the collector has something and may
    /// write it, or until enough has gathered meanwhile; `some` says that its batch holds something already.
    pub(super) fn gather(&self, taken: &mut VecDeque<Append>, some: bool) -> Gathered {
        let some = some || !taken.is_empty();
        let mut state = self.lock();
        loop {
            if state.dead {
                return Gathered::Over;
            }
            if !state.writing && (some || !state.waiting.is_empty()) {
                state.writing = true;
                taken.extend(state.waiting.drain(..));
                return Gathered::Turn;
            }
            if taken.is_empty() && state.waiting.len() >= WORTH_A_WAKE {
                taken.extend(state.waiting.drain(..));
                return Gathered::More;
            }
            if state.closed && !some && state.waiting.is_empty() {
                return Gathered::Over;
            }
            state.asleep = true;
            state.ready = some;
            state = self.collector.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.asleep = false;
        }
    }

    /// Leaves the role of the writer: the next batch may be written.
    pub(super) fn end_writing(&self) {
        let mut state = self.lock();
        state.writing = false;
        let wake = state.wakes();
        drop(state);
        if wake {
            self.collector.notify_one();
        }
    }

    /// Everything that waits, for a test that stands in for the sequencer.
    #[cfg(test)]
    pub(crate) fn drain(&self) -> Vec<Append> {
        std::mem::take(&mut self.lock().waiting)
    }

    /// Takes no more appends; those that wait are still served.
    pub fn close(&self) {
        self.lock().closed = true;
        self.collector.notify_one();
    }

    /// Drops everything that waits: its outcome is unknown. The other hands end.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.dead = true;
        state.collecting = false;
        let dropped = std::mem::take(&mut state.waiting);
        drop(state);
        self.collector.notify_all();
        self.idle.notify_all();
        drop(dropped);
    }
}
