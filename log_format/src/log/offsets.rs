//! From an index to a byte: the place of every 32nd record of a segment.

use crate::segment::SegmentId;
use crate::{Index, size};

/// Where every [`SparseOffsets::EVERY`]th record of one segment begins. Derived: a scan makes it again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SparseOffsets(Vec<u32>);

impl SparseOffsets {
    /// One record of so many has its place kept.
    pub const EVERY: u64 = 32;

    /// Keeps the place of the record that lies `nth` in its segment, from 0, if it is one of those.
    pub fn note(&mut self, nth: u64, byte: u64) {
        if nth.is_multiple_of(Self::EVERY) && size::of(self.0.len()) == nth / Self::EVERY {
            self.0.push(u32::try_from(byte).unwrap_or(u32::MAX));
        }
    }

    /// The last kept record at or before `index`: its own index and place.
    #[must_use]
    pub fn at_or_before(&self, segment: SegmentId, index: Index) -> Option<(Index, u64)> {
        let nth = index.since(segment.0) / Self::EVERY;
        let byte = self.0.get(size::mem(nth))?;
        Some((segment.0.plus(nth * Self::EVERY), u64::from(*byte)))
    }

    /// As bytes: four for each place, little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|byte| byte.to_le_bytes()).collect()
    }

    /// Reads [`SparseOffsets::to_bytes`]. `None` where the length is not a multiple of four.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (places, rest) = bytes.as_chunks::<4>();
        rest.is_empty().then(|| Self(places.iter().map(|place| u32::from_le_bytes(*place)).collect()))
    }

    /// How many places are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no place is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
