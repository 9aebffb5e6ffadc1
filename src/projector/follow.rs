//! The projector's thread: wait, read, fold, publish, now and then a snapshot.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::executor::block_on;
use futures::future::{Either, select};
use gesta_log_format::Index;
use gesta_log_format::disk::Disk;
use gesta_log_format::log::{Cursor, ReadError};
use gesta_log_format::record;
use gesta_replay::{Fold, FoldError};
use tokio::sync::{oneshot, watch};

use super::schedule::Schedule;
use super::{Failure, Shared, Snapshots, Source};

pub(super) struct Follower<D: Disk> {
    source: Source<D>,
    shared: Arc<Shared>,
    applied: watch::Sender<Index>,
    snapshots: Snapshots,
    schedule: Schedule,
    /// The first index that is not folded.
    next: Index,
}

/// Where history is read, and the buffer for it.
struct History<D: Disk> {
    cursor: Cursor<D::File>,
    buffer: Vec<u8>,
}

/// What the thread does next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Fold,
    Stop,
}

impl<D: Disk> Follower<D> {
    pub(super) fn new(
        source: Source<D>,
        shared: Arc<Shared>,
        applied: watch::Sender<Index>,
        snapshots: Snapshots,
        schedule: Schedule,
    ) -> Self {
        let next = *applied.borrow();
        Self { source, shared, applied, snapshots, schedule, next }
    }

    /// Follows the head until it is told to stop, nobody moves the head any more, or a record cannot be folded.
    pub(super) fn run(mut self, stopped: oneshot::Receiver<()>) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.follow(stopped)));
        if let Err(failure) = outcome.unwrap_or(Err(Failure::Panicked)) {
            failure.log();
            // Set before `applied` closes, so that whoever sees it closed sees why.
            let _ = self.shared.failure.set(failure);
        }
    }

    fn follow(&mut self, mut stopped: oneshot::Receiver<()>) -> Result<(), Failure> {
        let mut history = History { cursor: Cursor::at(self.next), buffer: Vec::new() };
        loop {
            let end = *self.source.head.borrow_and_update();
            let next = self.catch_up(end, &mut history, &mut stopped)?;
            if next == Next::Stop || wait(&mut self.source.head, &mut stopped) == Next::Stop {
                break;
            }
        }
        if self.schedule.is_behind(self.next) {
            self.snapshot();
        }
        Ok(())
    }

    /// Folds all below `end`, piece by piece.
    fn catch_up(
        &mut self,
        end: Index,
        history: &mut History<D>,
        stopped: &mut oneshot::Receiver<()>,
    ) -> Result<Next, Failure> {
        while self.next < end {
            if stopped.try_recv() != Err(oneshot::error::TryRecvError::Empty) {
                return Ok(Next::Stop);
            }
            let before = self.next;
            match (self.source.recent)(before..end) {
                Some(recent) => self.fold(&recent)?,
                None => {
                    let records = self.read(end, history)?;
                    self.fold(records)?;
                }
            }
            if self.next == before {
                // Published and not there: the next head tells more.
                break;
            }
            if self.schedule.is_due(self.next) {
                self.snapshot();
            }
        }
        Ok(Next::Fold)
    }

    /// Reads a piece of what is not in memory any more.
    fn read<'h>(&self, end: Index, history: &'h mut History<D>) -> Result<&'h [u8], Failure> {
        if history.cursor.next() != self.next {
            history.cursor = Cursor::at(self.next);
        }
        let (cursor, buffer) = (&mut history.cursor, &mut history.buffer);
        let chunk = self.source.reader.read(cursor, end, buffer, self.schedule.pace().chunk_bytes)?;
        Ok(history.buffer.get(..chunk.len).unwrap_or_default())
    }

    /// Folds whole records, and publishes how far that went each time that the lock was let go.
    fn fold(&mut self, mut records: &[u8]) -> Result<(), Failure> {
        self.schedule.folded(records.len());
        while !records.is_empty() {
            let outcome = {
                let mut state = self.shared.state();
                let mut fold = Fold::new(state.folded());
                let outcome = fold_some(&mut fold, records, self.schedule.pace().chunk_bytes);
                self.next = fold.next();
                self.shared.undecided.store(state.decisions.lag(), Ordering::Relaxed);
                outcome
            };
            self.applied.send_replace(self.next);
            records = outcome.map_err(|cause| self.failure(cause))?;
        }
        Ok(())
    }

    /// Finds out where the record lies that cannot be folded.
    #[cold]
    fn failure(&self, cause: FoldError) -> Failure {
        let (mut cursor, mut buffer) = (Cursor::at(self.next), Vec::new());
        let read = self.source.reader.read(&mut cursor, self.next.next(), &mut buffer, 1);
        match (read, cursor.place()) {
            (Err(unreadable), _) => unreadable.into(),
            (Ok(chunk), Some((segment, end))) => {
                Failure::Fold { segment, byte: end - chunk.len as u64, index: self.next, cause }
            }
            (Ok(_), None) => ReadError::Gone { index: self.next, first: self.source.reader.first() }.into(),
        }
    }

    /// Writes a snapshot. Where that fails, the next start folds more; it is tried again when the next one is due.
    fn snapshot(&mut self) {
        // Nothing changes meanwhile, for this thread alone folds: so the lock is let go behind each projection, and who
        // asks for the state waits for one of them at most.
        let count = self.shared.state().projections().len();
        let snapshots: Vec<_> = (0..count)
            .filter_map(|nth| {
                let state = self.shared.state();
                let projection = *state.projections().get(nth)?;
                Some((projection.name(), projection.snapshot()))
            })
            .collect();
        self.snapshots.write(&snapshots, self.next);
        let bytes = snapshots.iter().map(|(_, snapshot)| snapshot.len() as u64).sum();
        self.schedule.written(self.next, bytes);
    }
}

/// Folds records until `bytes_max` are behind it, at least one; gives the rest.
fn fold_some<'r>(fold: &mut Fold<'_>, records: &'r [u8], bytes_max: usize) -> Result<&'r [u8], FoldError> {
    let mut rest = records;
    while !rest.is_empty() && records.len() - rest.len() < bytes_max {
        let record = record::decode_trusted(rest).expect("only whole records are handed out");
        fold.record(record.data)?;
        rest = rest.get(record.bytes.len()..).unwrap_or_default();
    }
    Ok(rest)
}

/// Sleeps until the head moves.
fn wait(head: &mut watch::Receiver<Index>, stopped: &mut oneshot::Receiver<()>) -> Next {
    match block_on(select(pin!(head.changed()), stopped)) {
        Either::Left((Ok(()), _)) => Next::Fold,
        Either::Left((Err(_), _)) | Either::Right(_) => Next::Stop,
    }
}
