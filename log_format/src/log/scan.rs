//! Walks one segment from its header to its end: recovery, verification and the tools call this one loop.

use std::io;

use super::damage::{Damage, Damaged};
use super::judge::{self, Failing, Remains};
use super::window::Window;
use crate::disk::File;
use crate::record::{self, NotARecord, RECORD_BYTES_MAX, Record};
use crate::segment::{HEADER_BYTES_MAX, Header, SEAL_BYTES_MAX, Seal, SegmentId};
use crate::tree::Hash;
use crate::{Index, size};

/// A segment as far as it has been walked.
pub struct SegmentScan<'f, F> {
    id: SegmentId,
    header: Header,
    window: Window<'f, F>,
    next: Index,
    /// The first index of the batch of the last record, and where that batch begins in the file.
    batch: Option<(Index, u64)>,
    hasher: Option<WholeHash>,
    foreign: bool,
}

/// BLAKE3 over a whole segment. It hashes a piece of many chunks on all lanes at once, but a record on one: what comes
/// in records is gathered first.
#[derive(Default)]
struct WholeHash {
    hasher: blake3::Hasher,
    gathered: Vec<u8>,
}

impl WholeHash {
    /// Bytes that are hashed at once.
    const PIECE: usize = 64 * 1024;

    fn update(&mut self, bytes: &[u8]) {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= Self::PIECE {
            self.settle();
        }
    }

    fn settle(&mut self) -> &blake3::Hasher {
        self.hasher.update(&self.gathered);
        self.gathered.clear();
        &self.hasher
    }

    fn value(&mut self) -> [u8; 32] {
        *self.settle().finalize().as_bytes()
    }

    fn into_hasher(mut self) -> Box<blake3::Hasher> {
        self.settle();
        Box::new(self.hasher)
    }
}

/// A good record, as it was found.
#[derive(Clone, Copy, Debug)]
pub struct Scanned<'a> {
    /// The record.
    pub record: Record<'a>,
    /// Where it begins in the file.
    pub byte: u64,
    /// The leaf hash of its envelope.
    pub leaf: Hash,
}

/// How a segment ends.
#[derive(Debug)]
pub enum End {
    /// With a seal.
    Sealed {
        /// The seal.
        seal: Seal,
        /// Where the seal begins.
        seal_at: u64,
        /// Where the seal ends.
        end: u64,
        /// What lies behind it: nothing, zeroes, or anything else.
        behind: Remains,
        /// BLAKE3 of all bytes before the seal, as found; none where it was not asked for.
        blake3: Option<[u8; 32]>,
        /// BLAKE3 of all bytes with the seal, as found.
        blake3_with_seal: Option<[u8; 32]>,
    },
    /// Without one.
    Open {
        /// Where the last good record ends.
        end: u64,
        /// What lies behind it.
        remains: Remains,
        /// The length of the file.
        file_len: u64,
        /// The hash of all bytes before `end`, ready to go on.
        hasher: Option<Box<blake3::Hasher>>,
    },
}

/// What a scan could not do.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The file cannot be read.
    #[error("cannot read segment {segment} at byte {byte}")]
    Io {
        /// The file.
        segment: SegmentId,
        /// Where the read began.
        byte: u64,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The header is not one.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// Whether a scan also hashes the whole segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hashing {
    /// BLAKE3 over every byte, to be compared with the seal or gone on with.
    Whole,
    /// Only the records' own checksums.
    Records,
}

impl<'f, F: File> SegmentScan<'f, F> {
    /// Reads the header of the segment `id`.
    ///
    /// # Errors
    /// [`ScanError::Damaged`] where it is none or belongs to another place, [`ScanError::Io`] where it cannot be read.
    pub fn begin(file: &'f F, id: SegmentId, hashing: Hashing) -> Result<Self, ScanError> {
        let mut window = Window::new(file, 0);
        let bytes =
            window.peek(HEADER_BYTES_MAX).map_err(|cause| ScanError::Io { segment: id, byte: 0, cause })?;
        let damaged = |damage| Damaged { segment: id, byte: 0, index: id.0, damage };
        let (header, len) = Header::decode(bytes).ok_or_else(|| damaged(Damage::Header))?;
        if header.first != id.0 {
            return Err(damaged(Damage::HeaderPlace { first: header.first }).into());
        }
        let mut hasher = (hashing == Hashing::Whole).then(WholeHash::default);
        if let Some(hasher) = &mut hasher {
            hasher.update(bytes.get(..len).unwrap_or_default());
        }
        window.advance(len);
        Ok(Self { id, next: header.first, header, window, batch: None, hasher, foreign: false })
    }

    /// The segment's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The index that the next record should have: the first one after those walked.
    pub fn next_index(&self) -> Index {
        self.next
    }

    /// Where the next record should begin.
    pub fn at(&self) -> u64 {
        self.window.at()
    }

    /// The first index of the batch of the last record, and the byte where that batch begins.
    pub fn batch(&self) -> Option<(Index, u64)> {
        self.batch
    }

    /// The next record, or none where the good ones end; [`SegmentScan::end`] then says how.
    ///
    /// A record is good where its checksum holds, its index follows, and its batch is that of the record before it or
    /// begins with it.
    ///
    /// # Errors
    /// [`ScanError::Io`] where the file cannot be read.
    pub fn next_record(&mut self) -> Result<Option<Scanned<'_>>, ScanError> {
        let at = self.window.at();
        let io = |cause| ScanError::Io { segment: self.id, byte: at, cause };
        // A first look at the first line spares reading past the end of a record that is whole.
        self.window.peek(RECORD_BYTES_MAX).map_err(io)?;
        let expected = (self.next, self.batch.map(|(start, _)| start));
        let (len, leaf) = match record::decode_with_leaf(self.window.peek(0).map_err(io)?) {
            Ok((record, leaf)) if continues(&record, expected) => {
                if record.batch_start == record.index {
                    self.batch = Some((record.index, at));
                }
                (record.bytes.len(), leaf)
            }
            Ok(_) => {
                self.foreign = true;
                return Ok(None);
            }
            Err(
                NotARecord::NoFirstLine
                | NotARecord::Length { .. }
                | NotARecord::CutOff { .. }
                | NotARecord::Checksum
                | NotARecord::Lines,
            ) => return Ok(None),
        };
        self.next = self.next.next();
        let bytes = self.window.take(len);
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        Ok(record::decode_trusted(bytes).ok().map(|record| Scanned { record, byte: at, leaf }))
    }

    /// Says how the segment ends, once no record follows.
    ///
    /// # Errors
    /// [`ScanError::Io`] where the file cannot be read.
    pub fn end(mut self) -> Result<End, ScanError> {
        let (segment, at) = (self.id, self.window.at());
        let io = |cause| ScanError::Io { segment, byte: at, cause };
        let bytes = self.window.peek(SEAL_BYTES_MAX).map_err(io)?;
        if let Some((seal, len)) = Seal::decode(bytes) {
            let blake3 = self.hasher.as_mut().map(WholeHash::value);
            if let Some(hasher) = &mut self.hasher {
                hasher.update(bytes.get(..len).unwrap_or_default());
            }
            let blake3_with_seal = self.hasher.as_mut().map(WholeHash::value);
            self.window.advance(len);
            let end = at + size::of(len);
            let (rest, file_len) = self.window.into_rest().map_err(io)?;
            let behind = match (rest.is_empty(), file_len == end) {
                (true, true) => Remains::Nothing,
                (true, false) => Remains::Zeroes,
                (false, _) => Remains::Changed,
            };
            return Ok(End::Sealed { seal, seal_at: at, end, behind, blake3, blake3_with_seal });
        }
        let (next, fill) = (self.next, self.header.fill);
        let (rest, file_len) = self.window.into_rest().map_err(io)?;
        let remains = if rest.is_empty() {
            if file_len == at { Remains::Nothing } else { Remains::Zeroes }
        } else if self.foreign {
            Remains::DoesNotContinue
        } else {
            judge::classify(Failing { bytes: &rest, at, file_len, fill, next })
        };
        Ok(End::Open { end: at, remains, file_len, hasher: self.hasher.map(WholeHash::into_hasher) })
    }
}

fn continues(record: &Record<'_>, (next, batch): (Index, Option<Index>)) -> bool {
    record.index == next && (record.batch_start == next || Some(record.batch_start) == batch)
}
