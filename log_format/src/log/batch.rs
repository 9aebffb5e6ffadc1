//! The records that one sync makes durable together.

use crate::envelope::Prepared;
use crate::record;
use crate::timestamp::Timestamp;
use crate::tree::Hash;
use crate::{Index, size};

/// Where one record of a batch lies, in bytes from the batch's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its first byte.
    pub start: u32,
    /// The first byte of its envelope.
    pub data: u32,
    /// One past its last byte.
    pub end: u32,
}

/// Encoded records with consecutive indexes, ready to be appended.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    start: Index,
    bytes: Vec<u8>,
    placed: Vec<Placed>,
    leaves: Vec<Hash>,
}

impl Batch {
    /// An empty batch whose first record will have the index `start`.
    #[must_use]
    pub fn new(start: Index) -> Self {
        Self { start, ..Self::default() }
    }

    /// Empties the batch for records from `start` on, and keeps its memory.
    pub fn restart(&mut self, start: Index) {
        self.start = start;
        self.bytes.clear();
        self.placed.clear();
        self.leaves.clear();
    }

    /// Encodes one more record and returns its index.
    pub fn push(&mut self, prepared: &Prepared, recorded_at: Timestamp) -> Index {
        let index = self.end();
        let start = size::of_u32(self.bytes.len());
        let (data, leaf) = record::encode(&mut self.bytes, prepared, index, self.start, recorded_at);
        self.placed.push(Placed { start, data: size::of_u32(data), end: size::of_u32(self.bytes.len()) });
        self.leaves.push(leaf);
        index
    }

    /// The index of the first record.
    #[must_use]
    pub const fn start(&self) -> Index {
        self.start
    }

    /// The first index after the batch.
    #[must_use]
    pub fn end(&self) -> Index {
        self.start.plus(size::of(self.placed.len()))
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.placed.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.placed.is_empty()
    }

    /// The records' bytes, one after the other.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where each record lies.
    #[must_use]
    pub fn placed(&self) -> &[Placed] {
        &self.placed
    }

    /// The envelopes' leaf hashes, in order.
    #[must_use]
    pub fn leaves(&self) -> &[Hash] {
        &self.leaves
    }

    /// The envelopes, in order.
    pub fn data(&self) -> impl Iterator<Item = &[u8]> {
        self.placed.iter().map(|placed| {
            // The envelope ends before the line feed of its line and the blank line.
            let range = size::mem(placed.data.into())..size::mem(placed.end.into()).saturating_sub(2);
            self.bytes.get(range).unwrap_or_default()
        })
    }
}
