//! Reads durable records by index.

use std::io;
use std::sync::Arc;

use super::damage::{Damage, Damaged};
use super::offsets::SparseOffsets;
use super::segments::{Segment, Segments};
use super::window::Window;
use crate::disk::{Disk, File};
use crate::record::{self, RECORD_BYTES_MAX};
use crate::segment::{SEAL_BYTES_MAX, Seal, SegmentId};
use crate::{Index, size};

/// Why durable records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes on the disk are not those that were acknowledged.
    #[error(transparent)]
    Damaged(#[from] Damaged),
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
    /// The log begins behind the index.
    #[error("index {index} is gone: the log begins at {first}")]
    Gone {
        /// What was asked for.
        index: Index,
        /// The first index that is there.
        first: Index,
    },
}

/// Sees every record that the writer has made durable, and nothing else. Cheap to clone.
pub struct Reader<D: Disk> {
    segments: Arc<Segments<D::File>>,
}

impl<D: Disk> Clone for Reader<D> {
    fn clone(&self) -> Self {
        Self { segments: Arc::clone(&self.segments) }
    }
}

/// A segment and a byte in it.
type Place<F> = (Arc<Segment<F>>, u64);

/// A place between two records, with what makes reading on from there cheap.
#[derive(Debug)]
pub struct Cursor<F> {
    next: Index,
    place: Option<Place<F>>,
}

impl<F> Clone for Cursor<F> {
    fn clone(&self) -> Self {
        Self { next: self.next, place: self.place.clone() }
    }
}

impl<F> Cursor<F> {
    /// In front of the record `next`.
    #[must_use]
    pub const fn at(next: Index) -> Self {
        Self { next, place: None }
    }

    /// The index of the record that is read next.
    #[must_use]
    pub const fn next(&self) -> Index {
        self.next
    }

    /// The segment of the record that was read last and the byte behind it; none before the first read.
    #[must_use]
    pub fn place(&self) -> Option<(SegmentId, u64)> {
        self.place.as_ref().map(|(segment, byte)| (segment.id(), *byte))
    }
}

/// Whole records, as they lie on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The index of the first.
    pub start: Index,
    /// The first index behind the last.
    pub end: Index,
    /// How many bytes they have, from the beginning of the buffer.
    pub len: usize,
}

/// Bytes that are read at once on the way from a known offset to a record: about as many as the way has, for records
/// of a kilobyte.
const PLACE_BYTES: usize = 16 << 10;

impl<D: Disk> Reader<D> {
    pub(super) fn new(segments: Arc<Segments<D::File>>) -> Self {
        Self { segments }
    }

    /// The number of durable records: the first index that is not there yet.
    #[must_use]
    pub fn head(&self) -> Index {
        self.segments.last().map_or(Index::ZERO, |segment| segment.next())
    }

    /// The first index that is there.
    #[must_use]
    pub fn first(&self) -> Index {
        self.segments.first().map_or(Index::ZERO, |segment| segment.id().0)
    }

    /// The head with the place where the last durable record ends.
    #[must_use]
    pub fn durable_end(&self) -> Option<(Index, SegmentId, u64)> {
        let segment = self.segments.last()?;
        let extent = segment.extent();
        Some((extent.next, segment.id(), extent.end))
    }

    /// All segments, in order.
    #[must_use]
    pub fn segments(&self) -> Vec<Arc<Segment<D::File>>> {
        self.segments.all()
    }

    /// Gives the sparse offsets of a segment, so that they need not be made by a scan.
    pub fn set_offsets(&self, segment: SegmentId, offsets: SparseOffsets) {
        self.segments.offsets_mut().insert(segment, offsets);
    }

    /// The sparse offsets of a segment, if they are known.
    #[must_use]
    pub fn offsets(&self, segment: SegmentId) -> Option<SparseOffsets> {
        self.segments.offsets().get(&segment).cloned()
    }

    /// Fills `buffer` with whole records from the cursor on, below `end` and from one segment, and moves the cursor
    /// behind them. At most `bytes_max` bytes, but always at least one record where one is durable; an empty chunk
    /// says that none is. `buffer` grows where it is shorter; what it held is overwritten.
    ///
    /// The checksums of a block of records are checked the first time that this process reads it.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] names the segment, byte and index of the first bad record, once all before it were
    /// returned.
    pub fn read(
        &self,
        cursor: &mut Cursor<D::File>,
        end: Index,
        buffer: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<Chunk, ReadError> {
        let start = cursor.next;
        let empty = Chunk { start, end: start, len: 0 };
        if start >= end.min(self.head()) {
            return Ok(empty);
        }
        let (segment, byte) = self.place(cursor)?;
        let extent = segment.extent();
        let limit = end.min(extent.next);
        let available = size::mem(extent.end.saturating_sub(byte));
        let mut wanted = bytes_max.min(available);
        loop {
            if buffer.len() < wanted {
                buffer.resize(wanted, 0);
            }
            let place = buffer.get_mut(..wanted).unwrap_or_default();
            let read = read_full(segment.file(), place, byte).map_err(|cause| ReadError::Io {
                segment: segment.id(),
                byte,
                cause,
            })?;
            let bytes = buffer.get(..read).unwrap_or_default();
            let walked = walk(&segment, bytes, start, limit);
            if walked.len > 0 {
                cursor.next = walked.end;
                cursor.place = Some((segment, byte + size::of(walked.len)));
                return Ok(walked);
            }
            let wanted_more = RECORD_BYTES_MAX.min(available);
            if wanted >= wanted_more {
                let damaged = Damaged { segment: segment.id(), byte, index: start, damage: Damage::Record };
                return Err(damaged.into());
            }
            wanted = wanted_more;
        }
    }

    /// The sparse offsets of a segment, made by a scan of its first lines where they are not known.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn make_offsets(&self, id: SegmentId) -> Result<SparseOffsets, ReadError> {
        if let Some(offsets) = self.offsets(id) {
            return Ok(offsets);
        }
        let gone = ReadError::Gone { index: id.0, first: self.first() };
        let segment = self.segments.holding(id.0).filter(|segment| segment.id() == id).ok_or(gone)?;
        let offsets = scan_offsets(&segment)?;
        self.set_offsets(id, offsets.clone());
        Ok(offsets)
    }

    /// The segment and byte at which the cursor's next record begins.
    fn place(&self, cursor: &Cursor<D::File>) -> Result<Place<D::File>, ReadError> {
        let index = cursor.next;
        if let Some((segment, byte)) = &cursor.place
            && index < segment.next()
        {
            return Ok((Arc::clone(segment), *byte));
        }
        let first = self.first();
        let segment = self.segments.holding(index).ok_or(ReadError::Gone { index, first })?;
        if index == segment.id().0 {
            let byte = segment.first_byte();
            return Ok((segment, byte));
        }
        let known = self
            .segments
            .offsets()
            .get(&segment.id())
            .map(|offsets| offsets.at_or_before(segment.id(), index));
        let (mut at, mut byte) = match known.flatten() {
            Some(place) => place,
            None => {
                let place = self.make_offsets(segment.id())?.at_or_before(segment.id(), index);
                place.unwrap_or((segment.id().0, segment.first_byte()))
            }
        };
        let mut window = Window::of_reads(segment.file(), byte, PLACE_BYTES);
        while at < index {
            byte += pass_over(&segment, &mut window, at)?;
            at = at.next();
        }
        Ok((segment, byte))
    }

    /// Reads one record into `buffer`; `None` where it is not durable yet.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn record<'b>(
        &self,
        index: Index,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Option<record::Record<'b>>, ReadError> {
        let mut cursor = Cursor::at(index);
        let chunk = self.read(&mut cursor, index.next(), buffer, 4096)?;
        if chunk.len == 0 {
            return Ok(None);
        }
        Ok(record::decode_trusted(buffer.get(..chunk.len).unwrap_or_default()).ok())
    }

    /// The seal of a segment; `None` where it is not sealed.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] where the seal cannot be read or belongs to another place.
    pub fn seal(&self, segment: &Segment<D::File>) -> Result<Option<Seal>, ReadError> {
        let extent = segment.extent();
        if !extent.sealed {
            return Ok(None);
        }
        let (id, byte) = (segment.id(), extent.end);
        let mut bytes = [0; SEAL_BYTES_MAX];
        let read = read_full(segment.file(), &mut bytes, byte);
        let read = read.map_err(|cause| ReadError::Io { segment: id, byte, cause })?;
        let found = Seal::decode(bytes.get(..read).unwrap_or_default()).map(|(seal, _)| seal);
        let found = found.filter(|seal| seal.next == extent.next);
        let damaged = Damaged { segment: id, byte, index: extent.next, damage: Damage::NoSeal };
        found.map(Some).ok_or_else(|| damaged.into())
    }

    /// Forgets which checksums were checked: the next pass over a segment reads and checks them again.
    pub fn forget_verified(&self, segment: SegmentId) {
        if let Some(segment) = self.segments.holding(segment.0) {
            segment.clear_verified();
        }
    }
}

/// Counts the whole records at the beginning of `bytes`, from index `start` on and below `limit`, and checks the
/// checksums of those that were not checked before. Stops in front of a bad one.
fn walk<F>(segment: &Segment<F>, bytes: &[u8], start: Index, limit: Index) -> Chunk {
    let mut at = 0;
    let mut index = start;
    // Where checking of the current block began, if that was at the block's beginning.
    let mut block_from_start = false;
    while index < limit {
        let rest = bytes.get(at..).unwrap_or_default();
        let nth = index.since(segment.id().0) % SparseOffsets::EVERY;
        if nth == 0 {
            block_from_start = true;
        }
        let record =
            if segment.is_verified(index) { record::decode_trusted(rest) } else { record::decode(rest) };
        let Some(record) = record.ok().filter(|record| record.index == index) else { break };
        if nth == SparseOffsets::EVERY - 1 && block_from_start {
            segment.set_verified(index);
        }
        at += record.bytes.len();
        index = index.next();
    }
    Chunk { start, end: index, len: at }
}

/// Moves the window behind the record at its beginning, which has to be that of index `at`, and gives its length.
fn pass_over<F: File>(segment: &Segment<F>, window: &mut Window<'_, F>, at: Index) -> Result<u64, ReadError> {
    let byte = window.at();
    let damaged = Damaged { segment: segment.id(), byte, index: at, damage: Damage::Record };
    let mut want = 1;
    loop {
        let bytes =
            window.peek(want).map_err(|cause| ReadError::Io { segment: segment.id(), byte, cause })?;
        // Its length is all that is asked: the record that is read is checked, and is where the lengths say or nowhere.
        if let Some(record) = record::decode_trusted(bytes).ok().filter(|record| record.index == at) {
            let len = record.bytes.len();
            window.advance(len);
            return Ok(size::of(len));
        }
        // Cut off by the window's end, perhaps.
        let have = bytes.len();
        if have < want || have >= RECORD_BYTES_MAX {
            return Err(damaged.into());
        }
        want = (have + PLACE_BYTES).min(RECORD_BYTES_MAX);
    }
}

/// Fills the buffer from `offset` on; fewer bytes only at the end of the file.
pub(super) fn read_full<F: File>(file: &F, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + size::of(done))? {
            0 => break,
            read => done += read,
        }
    }
    Ok(done)
}

/// Makes the sparse offsets of a segment from its records' first lines.
fn scan_offsets<F: File>(segment: &Segment<F>) -> Result<SparseOffsets, ReadError> {
    let mut offsets = SparseOffsets::default();
    let mut window = Window::new(segment.file(), segment.first_byte());
    let count = segment.next().since(segment.id().0);
    for nth in 0..count {
        let byte = window.at();
        offsets.note(nth, byte);
        let index = segment.id().0.plus(nth);
        let damaged = Damaged { segment: segment.id(), byte, index, damage: Damage::Record };
        let bytes = window.peek(RECORD_BYTES_MAX).map_err(|cause| ReadError::Io {
            segment: segment.id(),
            byte,
            cause,
        })?;
        let len = record::len(bytes).ok_or(damaged)?;
        window.advance(len);
    }
    Ok(offsets)
}
