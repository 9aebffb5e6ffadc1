//! The projector: folds each durable record, and says how far it is.
//!
//! Owns the live projections. One thread of its own follows the log: it is woken once for each head that is
//! published, however many records lie below it, and reads the log as any follower does, so it never sees a record
//! that a power cut could take back. What it cannot read or understand stops it for good; the log itself is served
//! on, and readiness asks [`Projector::failed`].

mod failure;
mod follow;
mod schedule;
mod snapshots;
mod state;

#[cfg(test)]
mod tests;

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use gesta_log_format::disk::Disk;
use gesta_log_format::log::Reader;
use gesta_log_format::{Digest, Index};
use gesta_replay::Phase;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

pub use failure::Failure;
pub use snapshots::{Origin, Snapshots};
pub use state::{Scope, State};

use crate::limits::{PROJECTOR_CHUNK_BYTES, SNAPSHOT_BYTES_APART, SNAPSHOT_RECORDS_MIN};
use crate::problem::{Problem, ReasonCode};
use follow::Follower;
use schedule::Schedule;
use snapshots::Restored;

/// The live projections and the thread that folds them.
pub struct Projector {
    shared: Arc<Shared>,
    snapshots: Snapshots,
    applied: watch::Receiver<Index>,
    running: Mutex<Option<Running>>,
}

/// What the thread and those who ask it share.
struct Shared {
    /// Locked by the thread for one piece of the log at a time, at most [`PROJECTOR_CHUNK_BYTES`].
    state: Mutex<State>,
    failure: OnceLock<Failure>,
    /// INTENTs without a DECISION, as far as is folded.
    undecided: AtomicUsize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Running {
    /// Dropping it stops the thread.
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Where a stream stands, as `GET /status` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The first index that the rest does not reflect.
    pub applied: Index,
    /// The phase of the stream's last turn.
    pub phase: Phase,
    /// The index of the stream's last record; none where it has none.
    pub last_index: Option<Index>,
    /// How many records the stream has.
    pub count: u64,
}

/// A record was not applied within the time that a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record at index {min_index} is not applied: all below {applied} are")]
pub struct NotApplied {
    /// What was waited for.
    pub min_index: Index,
    /// The first index that was not applied when the wait ended.
    pub applied: Index,
}

impl From<NotApplied> for Problem {
    fn from(error: NotApplied) -> Self {
        Self::new(ReasonCode::IndexNotApplied)
            .detail(format!("Index {} is not applied: all below {} are.", error.min_index, error.applied))
            .extra("applied", error.applied.0)
    }
}

/// Where the projector gets the records from.
pub struct Source<D: Disk> {
    /// All that is durable.
    pub reader: Reader<D>,
    /// The first index that is not published, never above what is durable. Each change wakes the thread once.
    pub head: watch::Receiver<Index>,
    /// The newest records in memory, which cost neither a read nor a checksum.
    pub recent: Recent,
}

/// Gives whole durable records, as they lie on the disk, that begin with the first index of the range and end within
/// it; none where the first is not in memory any more.
pub type Recent = Box<dyn Fn(Range<Index>) -> Option<Bytes> + Send>;

/// How often the projector pauses to do something else.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The most bytes that are folded at once, give or take a record.
    pub chunk_bytes: usize,
    /// The fewest records between two snapshots.
    pub snapshot_records_min: u64,
    /// The fewest bytes of the log between two snapshots, for each byte of the former.
    pub snapshot_spacing: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            chunk_bytes: PROJECTOR_CHUNK_BYTES,
            snapshot_records_min: SNAPSHOT_RECORDS_MIN,
            snapshot_spacing: SNAPSHOT_BYTES_APART,
        }
    }
}

impl Projector {
    /// Takes up the newest snapshot and starts the thread, which folds what the source has published, then and
    /// whenever that grows. Dropping the sender of the source's head ends the thread once all of it is folded.
    ///
    /// A snapshot that does not belong to this log, or is not as it was written, is deleted, and the fold begins at
    /// index 0.
    ///
    /// # Errors
    /// Where the system starts no thread.
    pub fn start<D: Disk>(
        source: Source<D>,
        snapshots: Snapshots,
        scope: Scope,
        pace: Pace,
    ) -> io::Result<Self> {
        let Restored { state: restored, bytes } = snapshots.restore(scope, source.reader.head());
        let (applied_sender, applied) = watch::channel(restored.applied());
        let undecided = AtomicUsize::new(restored.decisions.lag());
        let shared = Arc::new(Shared { state: Mutex::new(restored), failure: OnceLock::new(), undecided });
        let (stop, stopped) = oneshot::channel();
        let schedule = Schedule::new(pace, *applied.borrow(), bytes);
        let follower =
            Follower::new(source, Arc::clone(&shared), applied_sender, snapshots.clone(), schedule);
        let thread =
            thread::Builder::new().name("projector".to_owned()).spawn(move || follower.run(stopped))?;
        Ok(Self { shared, snapshots, applied, running: Mutex::new(Some(Running { stop, thread })) })
    }

    /// The first index that is not applied.
    #[must_use]
    pub fn applied(&self) -> Index {
        *self.applied.borrow()
    }

    /// Tells of every change of [`Projector::applied`]; closed once the projector has stopped.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Index> {
        self.applied.clone()
    }

    /// How many INTENTs await their DECISION, as far as is folded. Costs no lock.
    #[must_use]
    pub fn undecided(&self) -> usize {
        self.shared.undecided.load(Ordering::Relaxed)
    }

    /// The digests of all projections over the records below `at`: those that are applied now, where it is none, else
    /// those of the stored snapshot; none where neither has this index. Blocks, for it writes the states down.
    #[must_use]
    pub fn digests(&self, at: Option<Index>) -> Option<(Index, Vec<(String, Digest)>)> {
        let now = self.look(|state| {
            let applied = state.applied();
            let together = state.projections().iter().all(|projection| projection.applied() == applied);
            if !together || at.is_some_and(|at| at != applied) {
                return None;
            }
            let digests = state.projections().into_iter();
            Some((
                applied,
                digests.map(|projection| (projection.name().to_owned(), projection.digest())).collect(),
            ))
        });
        now.or_else(|| self.snapshots.stored().filter(|(index, _)| at == Some(*index)))
    }

    /// What `look` finds in the projections. They stand still meanwhile, so it should be short.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.state())
    }

    /// Where a stream stands.
    #[must_use]
    pub fn status(&self, stream_id: &str) -> Status {
        let state = self.shared.state();
        let applied = state.applied();
        match state.head.stream(stream_id) {
            Some(stream) => Status {
                applied,
                phase: stream.phase,
                last_index: Some(stream.last_index),
                count: stream.count,
            },
            None => Status { applied, phase: Phase::Empty, last_index: None, count: 0 },
        }
    }

    /// Waits until the record at `min_index` is applied, at most `longest`, and gives the applied index.
    ///
    /// # Errors
    /// [`NotApplied`], at once where the projector has stopped.
    pub async fn wait_applied(&self, min_index: Index, longest: Duration) -> Result<Index, NotApplied> {
        let mut applied = self.watch();
        let found = timeout(longest, applied.wait_for(|applied| *applied > min_index)).await;
        match found {
            Ok(Ok(applied)) => Ok(*applied),
            Ok(Err(_)) | Err(_) => Err(NotApplied { min_index, applied: self.applied() }),
        }
    }

    /// Why the projector has stopped, if a failure stopped it.
    #[must_use]
    pub fn failed(&self) -> Option<&Failure> {
        self.shared.failure.get()
    }

    /// Stops the thread behind the piece that it is folding, and waits until its last snapshot is written. Blocks, so
    /// not for a task. A second call does nothing.
    pub fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { stop, thread }) = running {
            drop(stop);
            // A panic of the thread has become a failure that was logged.
            let _ = thread.join();
        }
    }
}
