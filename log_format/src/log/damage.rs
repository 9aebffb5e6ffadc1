//! What is wrong with a log, and where.

use crate::Index;
use crate::segment::SegmentId;

/// Bytes of the log that are not what was acknowledged. Never cut, never skipped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("segment {segment} is damaged at byte {byte}, at index {index}: {damage}")]
pub struct Damaged {
    /// The file.
    pub segment: SegmentId,
    /// The first byte that is not as it should be.
    pub byte: u64,
    /// The index of the record that lies there or should.
    pub index: Index,
    /// What is wrong.
    pub damage: Damage,
}

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The segment's header cannot be read.
    #[error("the segment's header cannot be read")]
    Header,
    /// The header belongs to another place than the file's name says.
    #[error("the segment's header says that it begins at index {first}")]
    HeaderPlace {
        /// What the header says.
        first: Index,
    },
    /// The header names another log.
    #[error(
        "the segment belongs to {origin}, generation {generation}, and the segment before it to another log"
    )]
    Foreign {
        /// What the header says.
        origin: String,
        /// What the header says.
        generation: u64,
    },
    /// A record in a full segment, or below the floor, cannot be read.
    #[error("an acknowledged record cannot be read")]
    Record,
    /// Bytes at the end fail and show no lost sector, so they are a changed bit and no unfinished write.
    #[error("bytes were changed after they were written: no unfinished write leaves such a mark")]
    Changed,
    /// A record whose checksum holds does not follow the one before it.
    #[error("a record that does not continue the log: it was written at another time or in another log")]
    DoesNotContinue,
    /// A later batch is whole, so this one was acknowledged.
    #[error("an acknowledged record cannot be read: a later batch follows it")]
    BeforeLaterBatch,
    /// Something other than zeroes lies behind the seal.
    #[error("something lies behind the seal")]
    BehindSeal,
    /// The segment ends without a seal, and another follows it.
    #[error("the segment ends without its seal, and another segment follows it")]
    NoSeal,
    /// The seal does not fit the records before it.
    #[error("the seal does not fit the segment: {what} differs")]
    Seal {
        /// Which of the seal's values differs.
        what: &'static str,
    },
    /// The next segment's header names another seal than the one that is here.
    #[error("the segment is not the one that the next segment's header names: {what} differs")]
    NotThePrevious {
        /// Which of the values differs.
        what: &'static str,
    },
    /// A segment between two others is not there.
    #[error("a segment is missing: records {index} to {until} are not there", until = next.0.saturating_sub(1))]
    SegmentMissing {
        /// The first index that is not there.
        index: Index,
        /// The first index that is there again.
        next: Index,
    },
    /// Records that were acknowledged are not there.
    #[error(
        "acknowledged records are missing: the log ends at {head}, and {floor} is known to have been reached"
    )]
    RecordsMissing {
        /// The number of records that are there.
        head: Index,
        /// The number of records that were acknowledged, as a mark outside of the segments shows.
        floor: Index,
    },
    /// A record's envelope does not carry its own index or digest.
    #[error("the envelope's own {what} is not right")]
    Envelope {
        /// `index` or `digest`.
        what: &'static str,
    },
}
