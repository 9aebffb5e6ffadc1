//! Conversions between the sizes of memory (`usize`) and those of files (`u64`).
//!
//! Every supported target has pointers of 32 or 64 bits, so the first conversion is exact; the second saturates,
//! and a saturated length fails the bounds check of whatever it is used for.

/// A length in memory as a length in a file.
#[must_use]
pub fn of(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A length in a file as a length in memory.
#[must_use]
pub fn mem(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// A length in memory as 32 bits.
#[must_use]
pub fn of_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
