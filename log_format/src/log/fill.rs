//! Zeroes ahead of the writer.
//!
//! A sync of data written into blocks that already hold zeroes changes no metadata and is two to three times as fast
//! as one that grows the file. The filler runs on a thread of its own and opens the file by itself: on a shared
//! descriptor its sync would swallow the writer's error. It never writes below the fill mark and raises the mark only
//! after its own sync; the writer never passes the mark.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::writer::Dead;
use crate::disk::{Disk, File};
use crate::segment::SegmentId;
use crate::size;

/// The least that is kept filled ahead, in bytes.
const AHEAD_BYTES_MIN: u64 = 1 << 20;

/// What filler and writer share.
#[derive(Debug)]
pub(super) struct Fill {
    state: Mutex<State>,
    for_filler: Condvar,
    for_writer: Condvar,
}

#[derive(Debug)]
struct State {
    segment: SegmentId,
    /// Below it all is written and synced. The writer never passes it.
    mark: u64,
    /// Where the writer is.
    written: u64,
    /// How far the writer has asked for.
    wanted: u64,
    /// Where the segment ends at the latest.
    limit: u64,
    /// A piece is being written: a roll waits.
    busy: bool,
    no_space: bool,
    stopped: bool,
}

/// Whether the writer may go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// The bytes fit below the fill mark.
    Ready,
    /// The filler is on its way.
    Filling,
    /// The disk is full: appends are rejected until space is found.
    Full,
}

/// What one step of the filler did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FillStep {
    /// Raised the mark.
    Filled,
    /// All is filled that should be.
    Idle,
    /// The disk is full: try again later.
    NoSpace,
    /// The writer is gone.
    Stopped,
}

impl Fill {
    pub(super) fn new(segment: SegmentId, mark: u64, written: u64, limit: u64) -> Self {
        let state =
            State { segment, mark, written, wanted: 0, limit, busy: false, no_space: false, stopped: false };
        Self { state: Mutex::new(state), for_filler: Condvar::new(), for_writer: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the file is filled up to `end`.
    pub(super) fn room(&self, end: u64) -> Room {
        let mut state = self.lock();
        if end <= state.mark {
            return Room::Ready;
        }
        state.wanted = state.wanted.max(end);
        let room = if state.no_space { Room::Full } else { Room::Filling };
        drop(state);
        self.for_filler.notify_one();
        room
    }

    /// Waits until the file is filled up to `end`, the disk is full, or `patience` is over.
    pub(super) fn wait_for_room(&self, end: u64, patience: Duration) -> Room {
        if self.room(end) == Room::Ready {
            return Room::Ready;
        }
        let state = self.lock();
        let waits = |state: &mut State| end > state.mark && !state.no_space;
        let waited = self.for_writer.wait_timeout_while(state, patience, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        self.room(end)
    }

    /// Notes how far the writer is; wakes the filler where a piece is due.
    pub(super) fn written(&self, end: u64, ahead_max: u64, piece: u64) {
        let mut state = self.lock();
        state.written = end;
        if state.is_due(ahead_max, piece) {
            drop(state);
            self.for_filler.notify_one();
        }
    }

    /// Holds the filler back, once its current piece is done: a segment is about to be sealed.
    pub(super) fn hold(&self) {
        let state = self.lock();
        let waited = self.for_writer.wait_while(state, |state| state.busy);
        waited.unwrap_or_else(PoisonError::into_inner).limit = 0;
    }

    /// Sets the filler on the next segment.
    pub(super) fn next(&self, segment: SegmentId, mark: u64, written: u64, limit: u64) {
        let mut state = self.lock();
        let stopped = state.stopped;
        *state = State { segment, mark, written, wanted: 0, limit, busy: false, no_space: false, stopped };
        drop(state);
        self.for_filler.notify_one();
    }

    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.for_filler.notify_all();
    }
}

impl State {
    /// Whether a piece should be written now: a whole one, or what the writer waits for. Smaller ones would cost a sync
    /// for each batch, beside the writer's own and on the same file.
    fn is_due(&self, ahead_max: u64, piece: u64) -> bool {
        let target = self.target(ahead_max);
        let wanted = self.wanted.min(self.limit) > self.mark;
        let whole = target >= self.mark.saturating_add(piece.min(ahead_max.max(2) / 2));
        let last = target == self.limit && self.mark < target;
        wanted || whole || last
    }

    /// How far the file should be filled: as far ahead as it is long, so that a small log stays small, and at least
    /// as far as the writer asks for.
    fn target(&self, ahead_max: u64) -> u64 {
        let ahead = self.written.clamp(AHEAD_BYTES_MIN.min(ahead_max), ahead_max.max(1));
        self.written.saturating_add(ahead).max(self.wanted).min(self.limit)
    }
}

/// Fills the active segment ahead of the writer, one piece a step.
pub struct Filler<D: Disk> {
    disk: D,
    shared: Arc<Fill>,
    open: Option<(SegmentId, D::File)>,
    ahead_max: u64,
    zeroes: Vec<u8>,
    #[cfg(test)]
    pub(super) sabotage: super::writer::Sabotage,
}

impl<D: Disk> Filler<D> {
    pub(super) fn new(disk: D, shared: Arc<Fill>, ahead_max: u64, piece_bytes: usize) -> Self {
        let zeroes = vec![0; piece_bytes];
        Self {
            disk,
            shared,
            open: None,
            ahead_max,
            zeroes,
            #[cfg(test)]
            sabotage: super::writer::Sabotage::None,
        }
    }

    /// Writes and syncs one piece of zeroes, if one is wanted.
    ///
    /// # Errors
    /// [`Dead`] where a write or sync failed for another reason than a full disk.
    pub fn step(&mut self) -> Result<FillStep, Dead> {
        let mut state = self.shared.lock();
        if state.stopped {
            return Ok(FillStep::Stopped);
        }
        if !state.is_due(self.ahead_max, size::of(self.zeroes.len())) {
            return Ok(FillStep::Idle);
        }
        let target = state.target(self.ahead_max);
        let (segment, from) = (state.segment, state.mark);
        #[cfg(test)]
        let place = match self.sabotage {
            super::writer::Sabotage::OvertakeWriter => from.saturating_sub(16 * 1024),
            _ => from,
        };
        #[cfg(not(test))]
        let place = from;
        let len = size::mem(target - from).min(self.zeroes.len());
        state.busy = true;
        drop(state);
        let filled = self.fill(segment, place, len);
        let mut state = self.shared.lock();
        state.busy = false;
        let step = match filled {
            Ok(()) => {
                state.mark = state.mark.max(from + size::of(len));
                state.no_space = false;
                Ok(FillStep::Filled)
            }
            Err(cause) if is_full(&cause) => {
                state.no_space = true;
                Ok(FillStep::NoSpace)
            }
            Err(cause) => Err(Dead { doing: "fill ahead in", file: segment.path(), cause }),
        };
        drop(state);
        self.shared.for_writer.notify_all();
        step
    }

    fn fill(&mut self, segment: SegmentId, from: u64, len: usize) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != segment) {
            self.open = Some((segment, self.disk.open(&segment.path())?));
        }
        let Some((_, file)) = &self.open else { return Ok(()) };
        file.write_at(self.zeroes.get(..len).unwrap_or_default(), from)?;
        file.sync()
    }

    /// Waits until there is something to fill, at most `patience`.
    pub fn wait(&self, patience: Duration) {
        let state = self.shared.lock();
        let piece = size::of(self.zeroes.len());
        let idle = |state: &mut State| !state.stopped && !state.is_due(self.ahead_max, piece);
        drop(self.shared.for_filler.wait_timeout_while(state, patience, idle));
    }
}

/// Whether an error says that the disk, or the quota, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
