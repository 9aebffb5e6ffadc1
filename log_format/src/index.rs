//! Positions in the log.

use std::fmt;

/// A position in the log: the first record has index 0, the next 1, without gaps.
///
/// Marks (watermark, head, frontier, floor) are exclusive: the first index that is *not* below them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Index(pub u64);

impl Index {
    /// The first index.
    pub const ZERO: Self = Self(0);

    /// The largest index that JSON carries exactly in every reader: 2^53 − 1.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// The index that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The index `n` places on.
    #[must_use]
    pub const fn plus(self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    /// How many records lie from `earlier` up to here; 0 where `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
