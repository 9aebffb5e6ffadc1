//! Reads a log without a server and without its lock: every record of every segment, every check that the bytes
//! alone allow, up to the first damage, which it names.

use std::io;

use super::damage::{Damage, Damaged};
use super::frontier::{self, FrontierError};
use super::judge::{Place, Remains, Verdict, judge};
use super::open::{check_first, check_link, judge_open};
use super::scan::{End, Hashing, ScanError, Scanned, SegmentScan};
use super::takeover::check_seal;
use super::{FRONTIER, LOCK, OpenError};
use crate::disk::{Disk, File};
use crate::envelope::{self, View};
use crate::record::Record;
use crate::segment::{self, HEADER_BYTES_MAX, Header, SegmentId};
use crate::tree::{self, CompactRange};
use crate::{Index, size};

mod salvage;

pub use salvage::{Gap, Keep, Loss, Lost, SalvageError, Salvaged, salvage, salvage_segment, salvage_tail};

/// How much is checked of each record, beyond its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// Frame, checksum, index order, batches, seals.
    Frames,
    /// Also that each envelope is whole and carries its own index and digest.
    Envelopes,
}

/// Whether the last batch of a log that a server holds open is read: it may not be synced yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastBatch {
    /// It is left out while a server holds the directory, unless the frontier shows that it is synced.
    OnlyIfSynced,
    /// It is read all the same.
    Always,
}

/// One segment as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// The segment.
    pub id: SegmentId,
    /// How many records of it were read.
    pub records: u64,
    /// Bytes up to the end of its last record or of its seal.
    pub bytes: u64,
    /// The length of the file, zeroes included.
    pub file_bytes: u64,
    /// Whether it is sealed.
    pub sealed: bool,
}

/// A log as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Summary {
    /// The log's name; empty where not even a header was read.
    pub origin: String,
    /// How often the log was restored or salvaged, from 1.
    pub generation: u64,
    /// The first index that was read.
    pub first: Index,
    /// The first index that was not read.
    pub head: Index,
    /// The root of the RFC 6962 tree over all records below `head`; none where the log's beginning was not read.
    pub root: Option<tree::Hash>,
    /// The segments as far as they were read, in order.
    pub segments: Vec<SegmentSummary>,
    /// Bytes of an unfinished write at the end: never acknowledged, cut at the next start.
    pub torn_bytes: u64,
    /// The last batch was left out because a server holds the directory.
    pub last_batch_left_out: bool,
    /// The frontier file's mark.
    pub frontier: Option<Index>,
    /// The frontier file is there and neither of its slots can be read: what it said is not checked.
    pub frontier_unreadable: bool,
    /// The first damage; nothing behind it was read.
    pub damage: Option<Damaged>,
}

/// Why a log cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// There is no segment.
    #[error("there is no log here: no segment under {}/", segment::DIR)]
    NoLog,
    /// The system refuses.
    #[error("cannot read {file}")]
    Io {
        /// The file, below the data directory.
        file: String,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
}

/// Reads the log of a directory from front to back. `visit` gets each record with its segment and byte, and may stop
/// the walk by returning false.
///
/// # Errors
/// [`OfflineError`] where nothing can be read; damage is not an error but [`Summary::damage`].
pub fn walk<D: Disk>(
    disk: &D,
    depth: Depth,
    last_batch: LastBatch,
    visit: &mut dyn FnMut(&Record<'_>, SegmentId, u64) -> bool,
) -> Result<Summary, OfflineError> {
    let is_held = || disk.is_locked(LOCK).unwrap_or(true);
    // The lock before the frontier, the frontier before the list: each mark is then true of what is read after it.
    let held = last_batch == LastBatch::OnlyIfSynced && is_held();
    let (floor, frontier_unreadable) = frontier(disk)?;
    let ids = segment_ids(disk)?;
    let first = ids.first().copied().unwrap_or(SegmentId(Index::ZERO));
    let mut walk = Walk::new(depth, visit, held, &is_held, floor);
    walk.summary =
        Summary { first: first.0, head: first.0, frontier: floor, frontier_unreadable, ..Summary::default() };
    if ids.is_empty() {
        let Some(floor) = floor.filter(|floor| *floor > Index::ZERO) else { return Err(OfflineError::NoLog) };
        let damage = Damage::RecordsMissing { head: Index::ZERO, floor };
        walk.summary.damage = Some(Damaged { segment: first, byte: 0, index: Index::ZERO, damage });
        return Ok(walk.finish());
    }
    for (nth, id) in ids.iter().enumerate() {
        let file = disk.open_read(&id.path()).map_err(|cause| io_error(*id, cause))?;
        let Some(found) = walk.file(&file, *id, nth + 1 == ids.len())? else { break };
        walk.previous = Some((found, file));
    }
    Ok(walk.finish())
}

/// Reads one segment by itself, as [`walk`] reads it within its log. `held` says that a server holds the directory
/// that it is in, so that its last batch is left out.
///
/// # Errors
/// [`OfflineError::Io`]; damage is not an error but [`Summary::damage`].
pub fn walk_segment<F: File>(
    file: &F,
    depth: Depth,
    held: bool,
    visit: &mut dyn FnMut(&Record<'_>, SegmentId, u64) -> bool,
) -> Result<Summary, OfflineError> {
    let id = first_index(file).map_err(|cause| io_error(SegmentId(Index::ZERO), cause))?;
    let is_held = || held;
    let mut walk: Walk<'_, F> = Walk::new(depth, visit, held, &is_held, None);
    walk.alone = true;
    walk.summary = Summary { first: id.0, head: id.0, ..Summary::default() };
    if id.0 > Index::ZERO {
        walk.tree = None;
    }
    walk.file(file, id, true)?;
    Ok(walk.finish())
}

/// The segment that a file's header says it is; the first one where it has none.
fn first_index<F: File>(file: &F) -> io::Result<SegmentId> {
    let mut bytes = [0; HEADER_BYTES_MAX];
    let read = file.read_at(&mut bytes, 0)?;
    let header = Header::decode(bytes.get(..read).unwrap_or_default());
    Ok(SegmentId(header.map(|(header, _)| header.first).unwrap_or_default()))
}

/// The segments of a directory, in order. None where there is no directory for them.
fn segment_ids<D: Disk>(disk: &D) -> Result<Vec<SegmentId>, OfflineError> {
    match disk.list(segment::DIR) {
        Ok(names) => Ok(names.iter().filter_map(|name| SegmentId::of_file_name(name)).collect()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(cause) => Err(OfflineError::Io { file: segment::DIR.to_owned(), cause }),
    }
}

/// The frontier, and whether its file is there and cannot be understood, which keeps nobody from reading the log.
fn frontier<D: Disk>(disk: &D) -> Result<(Option<Index>, bool), OfflineError> {
    match frontier::peek(disk) {
        Ok(mark) => Ok((mark.map(|mark| mark.index), false)),
        Err(FrontierError::Damaged | FrontierError::Log(_)) => Ok((None, true)),
        Err(FrontierError::Io(cause)) => Err(OfflineError::Io { file: FRONTIER.to_owned(), cause }),
    }
}

fn io_error(id: SegmentId, cause: io::Error) -> OfflineError {
    OfflineError::Io { file: id.path(), cause }
}

struct Walk<'w, F> {
    depth: Depth,
    visit: &'w mut dyn FnMut(&Record<'_>, SegmentId, u64) -> bool,
    summary: Summary,
    /// Known from the log's beginning on.
    tree: Option<CompactRange>,
    /// A server held the directory when the walk began.
    held: bool,
    /// Whether a server holds the directory now.
    is_held: &'w dyn Fn() -> bool,
    floor: Option<Index>,
    /// One segment, without the log that it belongs to.
    alone: bool,
    /// The segment before, and its file.
    previous: Option<(Walked, F)>,
}

/// A segment that was walked to its end: what its successor's header has to name.
struct Walked {
    header: Header,
    first_byte: u64,
    /// BLAKE3 over all of it.
    blake3: Option<[u8; 32]>,
}

enum Stop {
    Damaged(Damaged),
    Io(OfflineError),
}

impl From<Damaged> for Stop {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(damaged)
    }
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Damaged(damaged) => Self::Damaged(damaged),
            ScanError::Io { segment, cause, .. } => Self::Io(io_error(segment, cause)),
        }
    }
}

impl<'w, F: File> Walk<'w, F> {
    fn new(
        depth: Depth,
        visit: &'w mut dyn FnMut(&Record<'_>, SegmentId, u64) -> bool,
        held: bool,
        is_held: &'w dyn Fn() -> bool,
        floor: Option<Index>,
    ) -> Self {
        let tree = Some(CompactRange::default());
        Self {
            depth,
            visit,
            summary: Summary::default(),
            tree,
            held,
            is_held,
            floor,
            alone: false,
            previous: None,
        }
    }

    fn finish(mut self) -> Summary {
        self.summary.root = self.tree.map(|tree| tree.root());
        self.summary
    }

    /// Walks one segment and notes its damage. None where the walk ends with it.
    fn file(&mut self, file: &F, id: SegmentId, last: bool) -> Result<Option<Walked>, OfflineError> {
        match self.segment(file, id, last) {
            Ok(walked) => Ok(walked),
            Err(Stop::Damaged(damaged)) => {
                self.summary.damage = Some(damaged);
                Ok(None)
            }
            Err(Stop::Io(error)) => Err(error),
        }
    }

    /// Walks one segment. None stops the walk: the visitor wants no more.
    fn segment(&mut self, file: &F, id: SegmentId, last: bool) -> Result<Option<Walked>, Stop> {
        let file_bytes = file.len().map_err(|cause| Stop::Io(io_error(id, cause)))?;
        self.summary.segments.push(SegmentSummary { id, records: 0, bytes: 0, file_bytes, sealed: false });
        let mut scan = SegmentScan::begin(file, id, Hashing::Whole)?;
        let (header, first_byte) = (scan.header().clone(), scan.at());
        self.link(id, &header)?;
        (self.summary.origin, self.summary.generation) = (header.origin.clone(), header.generation);
        self.reached(0, first_byte, false);
        // Kept back until it is known whether a batch follows: the last one may not be synced yet.
        let left_out = if last && self.held { last_batch_start(file, id)? } else { None };
        if !self.records(&mut scan, id, left_out)? {
            return Ok(None);
        }
        let (next, end) = (scan.next_index(), scan.end()?);
        let blake3 = match &end {
            End::Sealed { end, blake3_with_seal, .. } => {
                self.reached(0, *end, true);
                *blake3_with_seal
            }
            End::Open { .. } => None,
        };
        self.check_end(file, id, next, &end, last)?;
        Ok(Some(Walked { header, first_byte, blake3 }))
    }

    /// Visits the records of a segment. False where the visitor wants no more.
    fn records(
        &mut self,
        scan: &mut SegmentScan<'_, F>,
        id: SegmentId,
        left_out: Option<Index>,
    ) -> Result<bool, Stop> {
        let synced = self.floor.unwrap_or_default();
        while let Some(Scanned { record, byte, leaf }) = scan.next_record()? {
            if left_out.is_some_and(|start| record.batch_start >= start) && record.index >= synced {
                self.summary.last_batch_left_out = true;
                continue;
            }
            if let Some(what) = envelope_fault(self.depth, &record) {
                let damage = Damage::Envelope { what };
                return Err(Damaged { segment: id, byte, index: record.index, damage }.into());
            }
            if let Some(tree) = &mut self.tree {
                tree.append(leaf);
            }
            self.summary.head = record.index.next();
            self.reached(1, byte + size::of(record.bytes.len()), false);
            if !(self.visit)(&record, id, byte) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Notes how far the segment has been read.
    fn reached(&mut self, records: u64, byte: u64, sealed: bool) {
        if let Some(segment) = self.summary.segments.last_mut() {
            segment.records += records;
            segment.bytes = byte;
            segment.sealed = sealed;
        }
    }

    /// Checks that this segment is the one that follows, and that the one before it is the one that it names.
    fn link(&mut self, id: SegmentId, header: &Header) -> Result<(), Stop> {
        if self.alone {
            return Ok(());
        }
        let Some((previous, file)) = &self.previous else {
            return Ok(check_first(id, header)?);
        };
        match check_link(&previous.header, previous.first_byte, file, header) {
            Ok((segment, _)) if previous.blake3.is_some_and(|found| found != segment.blake3) => {
                let damage = Damage::NotThePrevious { what: "BLAKE3 hash" };
                Err(Damaged { segment: segment.id, byte: 0, index: previous.header.first, damage }.into())
            }
            Ok(_) => Ok(()),
            Err(OpenError::Damaged(damaged)) => Err(damaged.into()),
            Err(OpenError::Io { file, cause, .. }) => Err(Stop::Io(OfflineError::Io { file, cause })),
            Err(
                OpenError::Locked
                | OpenError::Frontier
                | OpenError::Origin { .. }
                | OpenError::SegmentBytes { .. },
            ) => Ok(()),
        }
    }

    fn check_end(&mut self, file: &F, id: SegmentId, next: Index, end: &End, last: bool) -> Result<(), Stop> {
        let floor = self.floor.unwrap_or_default();
        match end {
            End::Sealed { seal, seal_at, end, behind, blake3, .. } => {
                let damaged = |byte, damage| Damaged { segment: id, byte, index: next, damage };
                let place = if last { Place::SealedLast } else { Place::Sealed };
                if judge(place, *behind) == Verdict::Damage {
                    return Err(damaged(*end, Damage::BehindSeal).into());
                }
                // The tree lacks a batch that was left out before its segment was sealed.
                let tree = self.tree.as_ref().filter(|_| !self.summary.last_batch_left_out);
                check_seal(seal, id.0, next, *blake3, tree)
                    .map_err(|what| damaged(*seal_at, Damage::Seal { what }))?;
                if last && next < floor {
                    return Err(damaged(*end, Damage::RecordsMissing { head: next, floor }).into());
                }
                Ok(())
            }
            End::Open { end, remains, .. } if !last => {
                let damage = match remains {
                    Remains::Nothing | Remains::Zeroes => Damage::NoSeal,
                    Remains::DoesNotContinue => Damage::DoesNotContinue,
                    Remains::Torn | Remains::Changed | Remains::BeforeLaterBatch => Damage::Record,
                };
                Err(Damaged { segment: id, byte: *end, index: next, damage }.into())
            }
            End::Open { end, remains, file_len, .. } => {
                if next >= floor && (self.held || (self.is_held)()) && !still_fails(file, id, *end, *remains)?
                {
                    return Ok(());
                }
                if judge_open(id, next, floor, *end, *remains)? == Verdict::TornBatch {
                    self.summary.torn_bytes = file_len - end;
                }
                Ok(())
            }
        }
    }
}

/// Whether the bytes at the end of a segment that a server may be writing cannot be read and are no batch on its way.
/// Only a later batch shows that, and only to a second look: the first may have passed here before they were written.
fn still_fails<F: File>(file: &F, id: SegmentId, end: u64, remains: Remains) -> Result<bool, Stop> {
    if remains != Remains::BeforeLaterBatch {
        return Ok(false);
    }
    let mut again = SegmentScan::begin(file, id, Hashing::Records)?;
    while again.next_record()?.is_some() {}
    Ok(again.at() == end)
}

/// The first index of the last batch of an open segment; none where it is sealed, since a seal is written only after
/// the last batch was synced.
fn last_batch_start<F: File>(file: &F, id: SegmentId) -> Result<Option<Index>, Stop> {
    let mut scan = SegmentScan::begin(file, id, Hashing::Records)?;
    while scan.next_record()?.is_some() {}
    let start = scan.batch().map(|(start, _)| start);
    Ok(match scan.end()? {
        End::Sealed { .. } => None,
        End::Open { .. } => start,
    })
}

/// What is not right about a record's envelope, as far as `depth` asks: its `text`, its `index` or its `digest`.
pub(crate) fn envelope_fault(depth: Depth, record: &Record<'_>) -> Option<&'static str> {
    if depth == Depth::Frames {
        return None;
    }
    let Some(view) = View::parse(record.data) else { return Some("text") };
    if view.index != record.index {
        return Some("index");
    }
    (envelope::digest_of(record.data) != view.digest()).then_some("digest")
}
