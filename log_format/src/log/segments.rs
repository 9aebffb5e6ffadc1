//! The segments that readers share with the writer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::offsets::SparseOffsets;
use crate::segment::SegmentId;
use crate::{Index, size};

/// One segment as readers see it.
#[derive(Debug)]
pub struct Segment<F> {
    id: SegmentId,
    file: F,
    /// Where the first record begins.
    first_byte: u64,
    extent: RwLock<Extent>,
    verified: RwLock<Vec<AtomicU64>>,
}

/// How far a segment reaches. Written by the writer alone, after the sync that makes it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// First index that is not durable, or the first of the next segment.
    pub(super) next: Index,
    /// One past the last byte of the last durable record.
    pub(super) end: u64,
    pub(super) sealed: bool,
}

/// A segment that is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedSegment {
    /// The segment.
    pub id: SegmentId,
    /// The first index after it.
    pub next: Index,
    /// BLAKE3 of the whole file, its seal included: what tells this segment from any other.
    pub blake3: [u8; 32],
    /// Where its first record begins.
    pub first_byte: u64,
    /// Where its seal begins.
    pub seal_at: u64,
}

impl<F> Segment<F> {
    pub(super) fn new(id: SegmentId, file: F, first_byte: u64, extent: Extent) -> Self {
        Self { id, file, first_byte, extent: RwLock::new(extent), verified: RwLock::default() }
    }

    /// The segment's name.
    pub fn id(&self) -> SegmentId {
        self.id
    }

    pub(super) fn file(&self) -> &F {
        &self.file
    }

    pub(super) fn first_byte(&self) -> u64 {
        self.first_byte
    }

    pub(super) fn extent(&self) -> Extent {
        *read(&self.extent)
    }

    pub(super) fn set_extent(&self, extent: Extent) {
        *write(&self.extent) = extent;
    }

    /// The first index after the segment's durable records.
    pub fn next(&self) -> Index {
        self.extent().next
    }

    /// Bytes up to the end of the last durable record.
    pub fn bytes(&self) -> u64 {
        self.extent().end
    }

    /// Whether the segment is sealed.
    pub fn is_sealed(&self) -> bool {
        self.extent().sealed
    }

    /// Whether this process has checked the checksums of the whole block of records that `index` is in.
    pub(super) fn is_verified(&self, index: Index) -> bool {
        let (word, bit) = self.verified_bit(index);
        read(&self.verified).get(word).is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// Notes that the checksums of all records of the block that `index` is in hold.
    pub(super) fn set_verified(&self, index: Index) {
        let (word, bit) = self.verified_bit(index);
        if let Some(word) = read(&self.verified).get(word) {
            word.fetch_or(bit, Ordering::Relaxed);
            return;
        }
        let mut words = write(&self.verified);
        while words.len() <= word {
            words.push(AtomicU64::new(0));
        }
        if let Some(word) = words.get(word) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Forgets what was checked, so that the next pass reads it from the disk with its checksums.
    pub(super) fn clear_verified(&self) {
        write(&self.verified).clear();
    }

    fn verified_bit(&self, index: Index) -> (usize, u64) {
        let block = index.since(self.id.0) / SparseOffsets::EVERY;
        (size::mem(block / 64), 1 << (block % 64))
    }
}

/// All segments, in order, and the sparse offsets of each.
#[derive(Debug)]
pub(super) struct Segments<F> {
    list: RwLock<Vec<Arc<Segment<F>>>>,
    offsets: RwLock<std::collections::BTreeMap<SegmentId, SparseOffsets>>,
}

impl<F> Segments<F> {
    pub(super) fn new(list: Vec<Arc<Segment<F>>>) -> Self {
        Self { list: RwLock::new(list), offsets: RwLock::default() }
    }

    pub(super) fn push(&self, segment: Arc<Segment<F>>) {
        write(&self.list).push(segment);
    }

    pub(super) fn all(&self) -> Vec<Arc<Segment<F>>> {
        read(&self.list).clone()
    }

    /// The segment that `index` is in or, behind the head, the last.
    pub(super) fn holding(&self, index: Index) -> Option<Arc<Segment<F>>> {
        let list = read(&self.list);
        let after = list.partition_point(|segment| segment.id.0 <= index);
        list.get(after.checked_sub(1)?).cloned()
    }

    pub(super) fn first(&self) -> Option<Arc<Segment<F>>> {
        read(&self.list).first().cloned()
    }

    pub(super) fn last(&self) -> Option<Arc<Segment<F>>> {
        read(&self.list).last().cloned()
    }

    pub(super) fn offsets(
        &self,
    ) -> RwLockReadGuard<'_, std::collections::BTreeMap<SegmentId, SparseOffsets>> {
        read(&self.offsets)
    }

    pub(super) fn offsets_mut(
        &self,
    ) -> RwLockWriteGuard<'_, std::collections::BTreeMap<SegmentId, SparseOffsets>> {
        write(&self.offsets)
    }
}

/// A panic while a lock is held ends the process (the writer's) or leaves only whole values behind (the readers').
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
