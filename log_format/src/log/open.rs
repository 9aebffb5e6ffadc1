//! Opens the log of a directory: creates it, or recovers it. FORMAT.md, "Recovery".

use std::io;
use std::sync::Arc;

use super::damage::{Damage, Damaged};
use super::fill::{Fill, Filler};
use super::frontier::{FrontierError, FrontierFile};
use super::judge::{Place, Remains, Verdict, judge};
use super::offsets::SparseOffsets;
use super::reader::Reader;
use super::scan::{End, Hashing, ScanError, Scanned, SegmentScan};
use super::segments::{Extent, SealedSegment, Segment, Segments};
use super::writer::{Absorber, Created, Successor, Writer};
use super::{FRONTIER, LOCK};
use crate::disk::{Disk, File};
use crate::record::Record;
use crate::segment::{self, HEADER_BYTES_MAX, Header, Previous, SEAL_BYTES_MAX, Seal, SegmentId};
use crate::tree::CompactRange;
use crate::{Index, size};

/// How a log is written.
#[derive(Clone, Debug)]
pub struct Options {
    /// A segment is sealed before it grows beyond this many bytes. At most 2^32 − 1.
    pub segment_bytes: u64,
    /// Whether new segments are filled with zeroes ahead of the writer.
    pub fill: segment::Fill,
    /// The most bytes that are filled ahead.
    pub fill_ahead_bytes_max: u64,
    /// The most bytes that one step of the filler writes; a multiple of 512.
    pub fill_piece_bytes_max: usize,
    /// The most bytes that a batch may have.
    pub batch_bytes_max: usize,
    /// The origin that the log has to have; none accepts what is there.
    pub origin: Option<String>,
    /// The origin of a new log, if `origin` gives none.
    pub new_origin: String,
}

impl Options {
    /// The bytes that a segment needs at least: its frames and one batch.
    #[must_use]
    pub fn segment_bytes_min(&self) -> u64 {
        size::of(HEADER_BYTES_MAX + self.batch_bytes_max + SEAL_BYTES_MAX)
    }
}

/// Marks outside of the log's own files below which every record was acknowledged, and what set them.
pub type Marks<'m> = &'m [(&'static str, Index)];

/// A log that is ready.
pub struct Opened<D: Disk> {
    /// Owns the end.
    pub writer: Writer<D>,
    /// Sees all that is durable.
    pub reader: Reader<D>,
    /// Fills ahead of the writer; none where that is turned off.
    pub filler: Option<Filler<D>>,
    /// The frontier file.
    pub frontier: FrontierFile<D::File>,
    /// The segments that are full, in order.
    pub sealed: Vec<SealedSegment>,
    /// What was found.
    pub recovery: Recovery,
    /// Owns the directory.
    pub lock: D::Lock,
}

/// What opening a log found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The log is new.
    pub created: bool,
    /// Bytes of an unfinished write that were cut off; 0 where there was none.
    pub torn_bytes: u64,
    /// A full segment was sealed without a successor, which was then made.
    pub roll_finished: bool,
    /// Records of the active segment that were read.
    pub records: u64,
}

/// Why a log cannot be opened for writing.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the data directory is in use by another process")]
    Locked,
    /// The log is not as it was acknowledged.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// Both slots of the frontier file are unreadable.
    #[error("the frontier file is damaged: neither of its slots can be read")]
    Frontier,
    /// The log is another one than asked for.
    #[error("the log's origin is {found}, and {wanted} was asked for")]
    Origin {
        /// The log's.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// The options do not go together.
    #[error("a segment needs at least {min} bytes and at most {max} with these limits")]
    SegmentBytes {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// The system refuses.
    #[error("cannot {doing} {file}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file, below the data directory.
        file: String,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
}

impl From<ScanError> for OpenError {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Io { segment, cause, .. } => io_error("read", &segment.path())(cause),
            ScanError::Damaged(damaged) => Self::Damaged(damaged),
        }
    }
}

impl From<FrontierError> for OpenError {
    fn from(error: FrontierError) -> Self {
        match error {
            FrontierError::Io(cause) => io_error("open", FRONTIER)(cause),
            FrontierError::Damaged => Self::Frontier,
            FrontierError::Log(damaged) => Self::Damaged(damaged),
        }
    }
}

pub(super) fn io_error(doing: &'static str, file: &str) -> impl Fn(io::Error) -> OpenError + use<> {
    let file = file.to_owned();
    move |cause| OpenError::Io { doing, file: file.clone(), cause }
}

/// Opens the log for writing. `visit` gets each record of the active segment with the byte at which it begins.
///
/// Nothing is published before the last batch was rewritten and file and directory were synced: after a failed sync
/// or a killed process the page cache shows data that a power cut would take back.
///
/// # Errors
/// [`OpenError`]; nothing is changed where the log is damaged.
pub fn open<D: Disk>(
    disk: D,
    options: &Options,
    marks: Marks<'_>,
    visit: &mut dyn FnMut(&Record<'_>, u64),
) -> Result<Opened<D>, OpenError> {
    Opening::begin(disk, options)?.run(marks, visit)
}

pub(super) struct Opening<'o, D: Disk> {
    pub(super) disk: D,
    pub(super) options: &'o Options,
    pub(super) lock: D::Lock,
    pub(super) frontier: FrontierFile<D::File>,
    pub(super) ids: Vec<SegmentId>,
    #[cfg(test)]
    pub(super) sabotage: super::writer::Sabotage,
}

impl<'o, D: Disk> Opening<'o, D> {
    pub(super) fn begin(disk: D, options: &'o Options) -> Result<Self, OpenError> {
        let (min, max) = (options.segment_bytes_min(), u64::from(u32::MAX));
        if !(min..=max).contains(&options.segment_bytes) {
            return Err(OpenError::SegmentBytes { min, max });
        }
        let lock = disk.lock(LOCK).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked,
            _ => io_error("lock", LOCK)(error),
        })?;
        disk.create_dir(segment::DIR).map_err(io_error("create", segment::DIR))?;
        disk.sync_dir("").map_err(io_error("sync", "the data directory"))?;
        let names = disk.list(segment::DIR).map_err(io_error("list", segment::DIR))?;
        for name in names.iter().filter(|name| SegmentId::is_temporary(name)) {
            let path = format!("{}/{name}", segment::DIR);
            disk.remove(&path).map_err(io_error("remove", &path))?;
        }
        let ids = names.iter().filter_map(|name| SegmentId::of_file_name(name)).collect();
        let frontier = FrontierFile::open(&disk)?;
        Ok(Self {
            disk,
            options,
            lock,
            frontier,
            ids,
            #[cfg(test)]
            sabotage: super::writer::Sabotage::None,
        })
    }

    pub(super) fn run(
        self,
        marks: Marks<'_>,
        visit: &mut dyn FnMut(&Record<'_>, u64),
    ) -> Result<Opened<D>, OpenError> {
        let floor =
            marks.iter().map(|(_, index)| *index).chain(self.frontier.mark().map(|mark| mark.index)).max();
        let floor = floor.unwrap_or_default();
        let Some((&last, full)) = self.ids.split_last() else {
            return self.create(floor);
        };
        let (sealed, list, last_seal, header) = self.full_segments(full, last)?;
        if let Some(wanted) = self.options.origin.as_ref().filter(|wanted| **wanted != header.origin) {
            return Err(OpenError::Origin { found: header.origin, wanted: wanted.clone() });
        }
        let tree = match last_seal {
            Some(seal) => CompactRange::from_peaks(seal.next.0, seal.peaks).unwrap_or_default(),
            None => CompactRange::default(),
        };
        let active = self.scan_active(last, tree, visit)?;
        self.finish(active, floor, sealed, list)
    }

    fn create(self, floor: Index) -> Result<Opened<D>, OpenError> {
        if floor > Index::ZERO {
            let damage = Damage::RecordsMissing { head: Index::ZERO, floor };
            let segment = SegmentId(Index::ZERO);
            return Err(Damaged { segment, byte: 0, index: Index::ZERO, damage }.into());
        }
        let header = Header {
            origin: self.options.origin.clone().unwrap_or_else(|| self.options.new_origin.clone()),
            generation: 1,
            first: Index::ZERO,
            fill: self.options.fill,
            previous: None,
        };
        let created = self.create_segment(&header)?;
        let recovery = Recovery { created: true, ..Recovery::default() };
        self.start(Ready::empty(header, created, CompactRange::default()), Vec::new(), Vec::new(), recovery)
    }

    pub(super) fn create_segment(&self, header: &Header) -> Result<Created<D::File>, OpenError> {
        let id = SegmentId(header.first);
        let failed = io_error("create", &id.path());
        let successor = Successor::prepare(&self.disk, id, self.options).map_err(&failed)?;
        successor.commit(&self.disk, header).map_err(failed)
    }

    /// Checks that each full segment is the one that its successor's header names, and that none is missing. Their
    /// records are checked when they are read.
    #[expect(clippy::type_complexity, reason = "four results of one walk, each named where it is bound")]
    fn full_segments(
        &self,
        full: &[SegmentId],
        last: SegmentId,
    ) -> Result<(Vec<SealedSegment>, Vec<Arc<Segment<D::File>>>, Option<Seal>, Header), OpenError> {
        let mut headers = Vec::with_capacity(full.len() + 1);
        for id in full.iter().copied().chain([last]) {
            let file = self.disk.open_read(&id.path()).map_err(io_error("open", &id.path()))?;
            let (header, first_byte) = {
                let scan = SegmentScan::begin(&file, id, Hashing::Records)?;
                (scan.header().clone(), scan.at())
            };
            headers.push((id, header, first_byte, file));
        }
        let (mut sealed, mut list, mut last_seal) = (Vec::new(), Vec::new(), None);
        let mut headers = headers.into_iter();
        let Some((id, mut header, mut first_byte, mut file)) = headers.next() else {
            return Err(OpenError::Frontier);
        };
        check_first(id, &header)?;
        for (next_id, next, next_first_byte, next_file) in headers {
            let (segment, seal) = check_link(&header, first_byte, &file, &next)?;
            list.push(Arc::new(Segment::new(
                segment.id,
                file,
                first_byte,
                Extent { next: next_id.0, end: segment.seal_at, sealed: true },
            )));
            sealed.push(segment);
            last_seal = Some(seal);
            (header, first_byte, file) = (next, next_first_byte, next_file);
        }
        Ok((sealed, list, last_seal, header))
    }

    fn scan_active(
        &self,
        id: SegmentId,
        mut tree: CompactRange,
        visit: &mut dyn FnMut(&Record<'_>, u64),
    ) -> Result<Active<D::File>, OpenError> {
        let file = self.disk.open(&id.path()).map_err(io_error("open", &id.path()))?;
        let mut offsets = SparseOffsets::default();
        let mut scan = SegmentScan::begin(&file, id, Hashing::Whole)?;
        let (header, first_byte) = (scan.header().clone(), scan.at());
        while let Some(Scanned { record, byte, leaf }) = scan.next_record()? {
            offsets.note(record.index.since(id.0), byte);
            tree.append(leaf);
            visit(&record, byte);
        }
        let (next, batch_at) = (scan.next_index(), scan.batch().map(|(_, byte)| byte));
        let end = scan.end()?;
        Ok(Active { id, header, first_byte, offsets, tree, next, batch_at, end, file })
    }

    pub(super) fn start(
        self,
        ready: Ready<D::File>,
        mut list: Vec<Arc<Segment<D::File>>>,
        sealed: Vec<SealedSegment>,
        recovery: Recovery,
    ) -> Result<Opened<D>, OpenError> {
        let id = SegmentId(ready.header.first);
        let reading = self.disk.open_read(&id.path()).map_err(io_error("open", &id.path()))?;
        let extent = Extent { next: ready.next, end: ready.at, sealed: false };
        let active = Arc::new(Segment::new(id, reading, ready.first_byte, extent));
        list.push(Arc::clone(&active));
        let segments = Arc::new(Segments::new(list));
        segments.offsets_mut().insert(id, ready.offsets);
        let options = self.options.clone();
        let fill = match ready.header.fill {
            segment::Fill::Zeroes => {
                Some(Arc::new(Fill::new(id, ready.mark, ready.at, options.segment_bytes)))
            }
            segment::Fill::None => None,
        };
        let filler = fill.clone().map(|fill| {
            Filler::new(self.disk.clone(), fill, options.fill_ahead_bytes_max, options.fill_piece_bytes_max)
        });
        let reader = Reader::new(Arc::clone(&segments));
        let writer = Writer {
            disk: self.disk,
            options,
            segments,
            fill,
            header: ready.header,
            active,
            file: ready.file,
            at: ready.at,
            next: ready.next,
            absorber: Absorber::new(ready.hasher, ready.tree),
            #[cfg(test)]
            sabotage: self.sabotage,
        };
        Ok(Opened { writer, reader, filler, frontier: self.frontier, sealed, recovery, lock: self.lock })
    }
}

/// The active segment as it was found.
pub(super) struct Active<F> {
    pub(super) id: SegmentId,
    pub(super) header: Header,
    pub(super) first_byte: u64,
    pub(super) offsets: SparseOffsets,
    pub(super) tree: CompactRange,
    pub(super) next: Index,
    pub(super) batch_at: Option<u64>,
    pub(super) end: End,
    pub(super) file: F,
}

/// The active segment as the writer takes it over.
pub(super) struct Ready<F> {
    pub(super) header: Header,
    pub(super) file: F,
    pub(super) first_byte: u64,
    pub(super) at: u64,
    pub(super) next: Index,
    pub(super) mark: u64,
    pub(super) offsets: SparseOffsets,
    pub(super) hasher: blake3::Hasher,
    pub(super) tree: CompactRange,
}

impl<F> Ready<F> {
    pub(super) fn empty(header: Header, created: Created<F>, tree: CompactRange) -> Self {
        Self {
            next: header.first,
            header,
            file: created.file,
            first_byte: created.first_byte,
            at: created.first_byte,
            mark: created.mark,
            offsets: SparseOffsets::default(),
            hasher: created.hasher,
            tree,
        }
    }
}

/// The first segment that is there has to be the first of the log.
pub(super) fn check_first(id: SegmentId, header: &Header) -> Result<(), Damaged> {
    let damage = Damage::SegmentMissing { index: Index::ZERO, next: id.0 };
    if id.0 == Index::ZERO && header.previous.is_none() {
        Ok(())
    } else {
        Err(Damaged { segment: id, byte: 0, index: Index::ZERO, damage })
    }
}

/// Checks that the segment with `header` is the one that `next` names as the one before it, and reads its seal.
pub(super) fn check_link<F: File>(
    header: &Header,
    first_byte: u64,
    file: &F,
    next: &Header,
) -> Result<(SealedSegment, Seal), OpenError> {
    let id = SegmentId(header.first);
    let next_id = SegmentId(next.first);
    let Some(previous) = &next.previous else {
        return Err(Damaged { segment: next_id, byte: 0, index: next.first, damage: Damage::Header }.into());
    };
    if previous.id != id {
        let damage = Damage::SegmentMissing { index: previous.id.0, next: next.first };
        return Err(Damaged { segment: next_id, byte: 0, index: previous.id.0, damage }.into());
    }
    if (&next.origin, next.generation) != (&header.origin, header.generation) {
        let damage = Damage::Foreign { origin: next.origin.clone(), generation: next.generation };
        return Err(Damaged { segment: next_id, byte: 0, index: next.first, damage }.into());
    }
    let seal = read_seal(id, file, previous, next.first)?;
    let (seal_at, blake3) = (previous.seal_at, previous.blake3);
    Ok((SealedSegment { id, next: next.first, blake3, first_byte, seal_at }, seal))
}

fn read_seal<F: File>(id: SegmentId, file: &F, previous: &Previous, next: Index) -> Result<Seal, OpenError> {
    let damaged = |byte, damage| Damaged { segment: id, byte, index: next, damage };
    let io = io_error("read", &id.path());
    let len = file.len().map_err(&io)?;
    if len != previous.len {
        return Err(damaged(len.min(previous.len), Damage::NotThePrevious { what: "length" }).into());
    }
    let mut bytes = [0; SEAL_BYTES_MAX];
    let read = file.read_at(&mut bytes, previous.seal_at).map_err(io)?;
    let found = Seal::decode(bytes.get(..read).unwrap_or_default());
    let (seal, seal_len) = found.ok_or_else(|| damaged(previous.seal_at, Damage::NoSeal))?;
    if previous.seal_at + size::of(seal_len) != len || seal.next != next {
        return Err(damaged(previous.seal_at, Damage::NotThePrevious { what: "seal" }).into());
    }
    Ok(seal)
}

pub(super) fn place_of(next: Index, floor: Index) -> Place {
    if next < floor { Place::BelowFloor } else { Place::Active }
}

/// Whether an open segment may be taken over, and what is wrong where not.
pub(super) fn judge_open(
    active: SegmentId,
    next: Index,
    floor: Index,
    end: u64,
    remains: Remains,
) -> Result<Verdict, Damaged> {
    let verdict = judge(place_of(next, floor), remains);
    if verdict != Verdict::Damage {
        return Ok(verdict);
    }
    let damage = match remains {
        Remains::Nothing | Remains::Zeroes => Damage::RecordsMissing { head: next, floor },
        Remains::Torn => Damage::Record,
        Remains::Changed => Damage::Changed,
        Remains::DoesNotContinue => Damage::DoesNotContinue,
        Remains::BeforeLaterBatch => Damage::BeforeLaterBatch,
    };
    Err(Damaged { segment: active, byte: end, index: next, damage })
}
