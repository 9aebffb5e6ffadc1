//! The projector's thread: wait, read, fold, publish, now and then a snapshot.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;

use futures::executor::block_on;
use futures::future::{Either, select};
use gesta_log_format::Index;
use gesta_log_format::disk::Disk;
use gesta_log_format::log::{Chunk, Cursor, Reader};
use gesta_log_format::record;
use gesta_replay::{Fold, FoldError, Projection};
use tokio::sync::{oneshot, watch};

use super::{Failure, Pace, Shared, Snapshots};

pub(super) struct Follower<D: Disk> {
    reader: Reader<D>,
    shared: Arc<Shared>,
    applied: watch::Sender<Index>,
    snapshots: Snapshots,
    pace: Pace,
    cursor: Cursor<D::File>,
    buffer: Vec<u8>,
    /// The index of the newest snapshot.
    snapshot_at: Index,
}

/// What the thread does next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Fold,
    Stop,
}

impl<D: Disk> Follower<D> {
    pub(super) fn new(
        reader: Reader<D>,
        shared: Arc<Shared>,
        applied: watch::Sender<Index>,
        snapshots: Snapshots,
        pace: Pace,
    ) -> Self {
        let next = *applied.borrow();
        let (cursor, buffer) = (Cursor::at(next), Vec::new());
        Self { reader, shared, applied, snapshots, pace, cursor, buffer, snapshot_at: next }
    }

    /// Follows `head` until it is told to stop, nobody moves the head any more, or a record cannot be folded.
    pub(super) fn run(mut self, head: watch::Receiver<Index>, stopped: oneshot::Receiver<()>) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.follow(head, stopped)));
        if let Err(failure) = outcome.unwrap_or(Err(Failure::Panicked)) {
            failure.log();
            // Set before `applied` closes, so that whoever sees it closed sees why.
            let _ = self.shared.failure.set(failure);
        }
    }

    fn follow(
        &mut self,
        mut head: watch::Receiver<Index>,
        mut stopped: oneshot::Receiver<()>,
    ) -> Result<(), Failure> {
        loop {
            let end = *head.borrow_and_update();
            let next = self.catch_up(end, &mut stopped)?;
            if next == Next::Stop || wait(&mut head, &mut stopped) == Next::Stop {
                break;
            }
        }
        if self.cursor.next() > self.snapshot_at {
            self.snapshot();
        }
        Ok(())
    }

    /// Folds all below `end`, piece by piece.
    fn catch_up(&mut self, end: Index, stopped: &mut oneshot::Receiver<()>) -> Result<Next, Failure> {
        while self.cursor.next() < end {
            if stopped.try_recv() != Err(oneshot::error::TryRecvError::Empty) {
                return Ok(Next::Stop);
            }
            let chunk = self.reader.read(&mut self.cursor, end, &mut self.buffer, self.pace.chunk_bytes)?;
            if chunk.len == 0 {
                break;
            }
            self.fold(chunk)?;
            if chunk.end.since(self.snapshot_at) >= self.pace.snapshot_records_max {
                self.snapshot();
            }
        }
        Ok(Next::Fold)
    }

    /// Folds the records of a piece that was just read, and publishes how far that went.
    fn fold(&self, chunk: Chunk) -> Result<(), Failure> {
        let (applied, outcome) = {
            let mut head = self.shared.head();
            let mut fold = Fold::new(vec![&mut *head]);
            let outcome = fold_all(&mut fold, self.buffer.get(..chunk.len).unwrap_or_default());
            (fold.next(), outcome)
        };
        self.applied.send_replace(applied);
        outcome.map_err(|Unfolded { behind, cause }| {
            let (segment, end) = self.cursor.place().expect("a piece was just read");
            Failure::Fold { segment, byte: end - behind as u64, cause }
        })
    }

    /// Writes a snapshot. Where that fails, the next start folds more; it is tried again after as many records.
    fn snapshot(&mut self) {
        let (snapshot, applied) = {
            let head = self.shared.head();
            (head.snapshot(), head.applied())
        };
        self.snapshots.write(&snapshot, applied);
        self.snapshot_at = applied;
    }
}

/// A record that cannot be folded.
struct Unfolded {
    /// Bytes from its beginning to the end of the piece.
    behind: usize,
    cause: FoldError,
}

fn fold_all(fold: &mut Fold<'_>, mut rest: &[u8]) -> Result<(), Unfolded> {
    while !rest.is_empty() {
        let record = record::decode_trusted(rest).expect("the reader returns whole records");
        fold.record(record.data).map_err(|cause| Unfolded { behind: rest.len(), cause })?;
        rest = rest.get(record.bytes.len()..).unwrap_or_default();
    }
    Ok(())
}

/// Sleeps until the head moves.
fn wait(head: &mut watch::Receiver<Index>, stopped: &mut oneshot::Receiver<()>) -> Next {
    match block_on(select(pin!(head.changed()), stopped)) {
        Either::Left((Ok(()), _)) => Next::Fold,
        Either::Left((Err(_), _)) | Either::Right(_) => Next::Stop,
    }
}
