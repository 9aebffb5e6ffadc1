//! The hashes of the newest records' leaves, as the writer made them, so that the tree's files need no record read and
//! hashed a second time.
//!
//! Nothing depends on what is here: where the tree is further behind than this reaches, it reads the records.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use gesta_log_format::Index;
use gesta_log_format::tree::Hash;

use crate::limits::FRESH_LEAVES_MAX;

/// Leaf hashes of consecutive records, the newest last.
#[derive(Debug, Default)]
pub struct FreshLeaves {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    start: Index,
    leaves: VecDeque<Hash>,
}

impl FreshLeaves {
    /// Keeps those of the records from `start` on, and lets go of the oldest beyond [`FRESH_LEAVES_MAX`].
    pub fn push(&self, start: Index, leaves: &[Hash]) {
        let mut kept = self.kept();
        if kept.start.plus(kept.leaves.len() as u64) != start {
            kept.leaves.clear();
            kept.start = start;
        }
        kept.leaves.extend(leaves);
        let over = kept.leaves.len().saturating_sub(FRESH_LEAVES_MAX);
        kept.leaves.drain(..over);
        kept.start = kept.start.plus(over as u64);
    }

    /// Those of the records from `from` up to `until`, as far as they are here; none where that of `from` is not. All
    /// that lies below what is given is let go of.
    pub(super) fn take(&self, from: Index, until: Index) -> Vec<Hash> {
        let mut kept = self.kept();
        let Some(before) = from.0.checked_sub(kept.start.0) else { return Vec::new() };
        let behind = until.0.saturating_sub(kept.start.0);
        let behind = usize::try_from(behind).unwrap_or(usize::MAX).min(kept.leaves.len());
        let before = usize::try_from(before).unwrap_or(usize::MAX).min(behind);
        let taken = kept.leaves.drain(..behind).skip(before).collect();
        kept.start = kept.start.plus(behind as u64);
        taken
    }

    /// A panic while the lock is held ends the process (the writer's) or leaves whole hashes.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(range: std::ops::Range<u8>) -> Vec<Hash> {
        range.map(|byte| Hash([byte; 32])).collect()
    }

    #[test]
    fn what_was_pushed_is_taken_once_and_in_order() {
        let fresh = FreshLeaves::default();
        fresh.push(Index(10), &hashes(10..13));
        fresh.push(Index(13), &hashes(13..16));
        assert_eq!(fresh.take(Index(11), Index(14)), hashes(11..14));
        assert_eq!(fresh.take(Index(11), Index(14)), []);
        assert_eq!(fresh.take(Index(14), Index(99)), hashes(14..16));
        assert_eq!(fresh.take(Index(16), Index(99)), []);
    }

    #[test]
    fn what_is_not_there_any_more_or_not_yet_is_not_given() {
        let fresh = FreshLeaves::default();
        fresh.push(Index(10), &hashes(10..13));
        assert_eq!(fresh.take(Index(9), Index(12)), []);
        fresh.push(Index(20), &hashes(20..22));
        assert_eq!(fresh.take(Index(10), Index(22)), [], "a gap begins anew");
        assert_eq!(fresh.take(Index(30), Index(40)), []);
        fresh.push(Index(22), &hashes(22..23));
        assert_eq!(fresh.take(Index(22), Index(23)), hashes(22..23));
    }

    #[test]
    fn the_oldest_are_let_go_of_first() {
        let fresh = FreshLeaves::default();
        for start in 0..=FRESH_LEAVES_MAX as u64 {
            fresh.push(Index(start), &[Hash([u8::try_from(start % 251).unwrap_or(0); 32])]);
        }
        assert_eq!(fresh.take(Index(0), Index(2)), []);
        assert_eq!(fresh.take(Index(2), Index(3)), [Hash([2; 32])]);
    }
}
