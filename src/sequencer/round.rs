//! One batch in the making, and the subjects that are on their way to the disk.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use gesta_log_format::envelope::Prepared;
use gesta_log_format::log::Batch;
use gesta_log_format::{Index, Timestamp};
use tokio::sync::oneshot::Sender;

use super::{Outcome, Place};
use crate::keys::{Fingerprint, Ticket};

/// The newest record of each subject that a batch moves.
pub(super) type Moved = HashMap<Fingerprint, Index, BuildHasherDefault<Uniform>>;

/// Takes the hash from a key that is one already.
#[derive(Default)]
pub(super) struct Uniform(u64);

impl Hasher for Uniform {
    fn write(&mut self, bytes: &[u8]) {
        // A fingerprint comes as its length and then its bytes: the last eight are kept.
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_le_bytes(*last);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// One hand's batch; its memory is used again.
#[derive(Default)]
pub(super) struct Round {
    pub(super) batch: Batch,
    keys: Vec<Fingerprint>,
    /// For each record where its keys end.
    key_ends: Vec<usize>,
    pub(super) outcomes: Vec<(Sender<Outcome>, Outcome)>,
    /// Given back once the batch is acknowledged.
    pub(super) held: Vec<(Ticket, Place)>,
}

impl Round {
    /// Begins a batch whose first record will have the index `next`.
    pub(super) fn restart(&mut self, next: Index) {
        self.batch.restart(next);
        self.keys.clear();
        self.key_ends.clear();
    }

    pub(super) fn push(
        &mut self,
        prepared: &Prepared,
        recorded_at: Timestamp,
        keys: &[Fingerprint],
        subjects: impl IntoIterator<Item = Fingerprint>,
        moved: &mut Moved,
    ) -> Index {
        let index = self.batch.push(prepared, recorded_at);
        self.keys.extend_from_slice(keys);
        self.key_ends.push(self.keys.len());
        moved.extend(subjects.into_iter().map(|subject| (subject, index)));
        index
    }

    /// Each record's index with its keys.
    pub(super) fn records(&self) -> impl Iterator<Item = (u64, &[Fingerprint])> {
        let starts = std::iter::once(&0).chain(&self.key_ends);
        let ranges =
            starts.zip(&self.key_ends).map(|(start, end)| self.keys.get(*start..*end).unwrap_or_default());
        (self.batch.start().0..).zip(ranges)
    }

    /// Nothing of the batch is written: whoever conflicts with a record of it, conflicts with nothing.
    pub(super) fn reject(&mut self) {
        for (_, outcome) in &mut self.outcomes {
            *outcome = Outcome::DiskFull;
        }
    }
}
