//! The right edge of a growing tree: all that is needed to append to it and to say its root.

use super::{Hash, empty_root, node_hash};

/// The roots of the complete subtrees that a tree of some size consists of, largest first.
///
/// There is one for each bit that is set in the size, so at most 64. Appending costs one hash on average, the root at
/// most 63.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactRange {
    len: u64,
    peaks: Vec<Hash>,
}

/// Peaks that cannot be those of a tree of this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tree of {len} leaves has {expected} peaks, not {found}")]
pub struct WrongPeakCount {
    /// Leaves in the tree.
    pub len: u64,
    /// Bits that are set in `len`.
    pub expected: usize,
    /// Peaks that were given.
    pub found: usize,
}

impl CompactRange {
    /// The range of the empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// The range of a tree of `len` leaves from its peaks, largest first. Whether they are those of the right
    /// leaves shows only in the root.
    ///
    /// # Errors
    /// [`WrongPeakCount`] unless there is one peak for each bit that is set in `len`.
    pub fn from_peaks(len: u64, peaks: Vec<Hash>) -> Result<Self, WrongPeakCount> {
        let expected = (0..u64::BITS).filter(|bit| len >> bit & 1 == 1).count();
        if peaks.len() != expected {
            return Err(WrongPeakCount { len, expected, found: peaks.len() });
        }
        Ok(Self { len, peaks })
    }

    /// Leaves so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the tree has no leaf.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The roots of the complete subtrees, largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Appends a leaf, given by its hash.
    pub fn append(&mut self, leaf: Hash) {
        let mut peak = leaf;
        for _ in 0..self.len.trailing_ones() {
            let left = self.peaks.pop().expect("there is a peak for each bit that is set in the length");
            peak = node_hash(&left, &peak);
        }
        self.peaks.push(peak);
        self.len += 1;
    }

    /// The root of the tree as it is.
    pub fn root(&self) -> Hash {
        let root = self.peaks.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        root.unwrap_or_else(empty_root)
    }
}
