//! What the bytes behind the last good record are. FORMAT.md, "Recovery", is this table in words.

use crate::frame::{self, Letter, Line};
use crate::record;
use crate::segment::Fill;
use crate::{Index, size};

/// Sectors of this many bytes are written whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// Which segment the bytes are in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Another segment follows: all of it was acknowledged.
    Sealed,
    /// It is sealed, and no segment follows.
    SealedLast,
    /// It is open, and the failing record lies below the floor.
    BelowFloor,
    /// It is open.
    Active,
}

/// What lies behind the last good record, or behind the seal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remains {
    /// The file ends.
    Nothing,
    /// Every byte to the end of the file is zero.
    Zeroes,
    /// A write that was not finished.
    Torn,
    /// Failing bytes that cannot be a tear.
    Changed,
    /// A record whose checksum holds and that does not follow the one before it.
    DoesNotContinue,
    /// Failing bytes, and a whole record of a later batch behind them.
    BeforeLaterBatch,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The segment ends here as it should.
    CleanEnd,
    /// Finish sealing and begin the next segment.
    UnfinishedRoll,
    /// Cut from here to the end of the file: none of it was acknowledged.
    TornBatch,
    /// Stop and name it.
    Damage,
}

/// Only a suffix that was never acknowledged may be cut. Below the floor everything was; garbage in front of a later
/// batch was, since a batch is written only after the one before it was synced; a valid record that does not
/// continue is a stale or foreign one; and failing bytes that show no lost sector are not a tear but a changed bit.
#[must_use]
pub const fn judge(place: Place, remains: Remains) -> Verdict {
    match (place, remains) {
        (Place::Sealed, Remains::Nothing) => Verdict::CleanEnd,
        (Place::SealedLast, Remains::Nothing | Remains::Zeroes) => Verdict::UnfinishedRoll,
        (Place::Sealed, Remains::Zeroes)
        | (
            Place::Sealed | Place::SealedLast,
            Remains::Torn | Remains::Changed | Remains::DoesNotContinue | Remains::BeforeLaterBatch,
        )
        | (Place::BelowFloor, _) => Verdict::Damage,
        (Place::Active, Remains::Nothing | Remains::Zeroes) => Verdict::CleanEnd,
        (Place::Active, Remains::Torn) => Verdict::TornBatch,
        (Place::Active, Remains::Changed | Remains::DoesNotContinue | Remains::BeforeLaterBatch) => {
            Verdict::Damage
        }
    }
}

/// The bytes from the end of the last good record to the last byte of the file that is not zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failing<'a> {
    /// The bytes; the first and the last may not be zero.
    pub(super) bytes: &'a [u8],
    /// Where they begin in the file.
    pub(super) at: u64,
    /// The length of the file.
    pub(super) file_len: u64,
    /// Whether the segment is filled with zeroes ahead of the writer.
    pub(super) fill: Fill,
    /// The index that the next record should have.
    pub(super) next: Index,
}

/// Says what failing bytes are: bytes that are there, and whose first record cannot be read.
#[must_use]
pub(super) fn classify(failing: Failing<'_>) -> Remains {
    if later_batch(failing) {
        Remains::BeforeLaterBatch
    } else if lost_sector(failing) || cut_at_sector(failing) || ends_with_file(failing) {
        Remains::Torn
    } else {
        Remains::Changed
    }
}

/// Whether a whole record of a later batch lies among the bytes. A batch is written only after the one before it was
/// synced, so what lies in front of a later batch was acknowledged.
fn later_batch(failing: Failing<'_>) -> bool {
    memchr::memmem::find_iter(failing.bytes, b": g1 ").any(|at| {
        failing
            .bytes
            .get(at..)
            .and_then(|bytes| record::decode(bytes).ok())
            .is_some_and(|record| record.batch_start > failing.next)
    })
}

/// Whether a whole sector among the bytes is zero: JSON holds no NUL, so a sector that was never written shows, and a
/// changed bit does not pass for one. Of the first sector only the bytes behind the last good record count.
fn lost_sector(failing: Failing<'_>) -> bool {
    let mut rest = failing.bytes;
    let mut room = SECTOR_BYTES - failing.at % SECTOR_BYTES;
    while !rest.is_empty() {
        let (sector, behind) = rest.split_at_checked(size::mem(room)).unwrap_or((rest, &[]));
        if sector.iter().all(|byte| *byte == 0) {
            return true;
        }
        rest = behind;
        room = SECTOR_BYTES;
    }
    false
}

/// Whether the bytes end exactly at a sector's end, without the closing blank line, while the failing record's first
/// line is cut off or its length reaches beyond that end: the sectors behind were never written.
fn cut_at_sector(failing: Failing<'_>) -> bool {
    let end = failing.at + size::of(failing.bytes.len());
    if !end.is_multiple_of(SECTOR_BYTES) || failing.bytes.ends_with(b"\n\n") {
        return false;
    }
    if failing.bytes.len() < frame::LINE_LEN {
        return true;
    }
    Line::parse(failing.bytes)
        .is_some_and(|line| line.letter != Letter::Frontier && failing.at + u64::from(line.len) > end)
}

/// Whether the bytes end with a file that is not filled ahead: such a file grows with each write, so an unfinished
/// one ends it anywhere.
fn ends_with_file(failing: Failing<'_>) -> bool {
    failing.fill == Fill::None && failing.at + size::of(failing.bytes.len()) == failing.file_len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(place: Place, remains: Remains, expected: Verdict) {
        assert_eq!(judge(place, remains), expected);
    }

    #[test]
    fn a_sealed_segment_with_anything_behind_it_is_damage() {
        check(Place::Sealed, Remains::Nothing, Verdict::CleanEnd);
        check(Place::Sealed, Remains::Zeroes, Verdict::Damage);
        check(Place::Sealed, Remains::Changed, Verdict::Damage);
    }

    #[test]
    fn a_sealed_segment_without_a_successor_is_an_unfinished_roll() {
        check(Place::SealedLast, Remains::Nothing, Verdict::UnfinishedRoll);
        check(Place::SealedLast, Remains::Zeroes, Verdict::UnfinishedRoll);
        check(Place::SealedLast, Remains::Torn, Verdict::Damage);
    }

    #[test]
    fn only_a_torn_batch_above_the_floor_is_cut() {
        check(Place::Active, Remains::Torn, Verdict::TornBatch);
        check(Place::Active, Remains::Changed, Verdict::Damage);
        check(Place::Active, Remains::DoesNotContinue, Verdict::Damage);
        check(Place::Active, Remains::BeforeLaterBatch, Verdict::Damage);
        check(Place::BelowFloor, Remains::Torn, Verdict::Damage);
        check(Place::BelowFloor, Remains::Nothing, Verdict::Damage);
    }
}
