//! Reads a log without a server and without its lock: every record of every segment, every check that the bytes
//! alone allow, up to the first damage, which it names.

use std::io;

use super::damage::{Damage, Damaged};
use super::frontier::{self, FrontierError};
use super::judge::{Place, Remains, Verdict, judge};
use super::open::{check_first, check_link, judge_open};
use super::scan::{End, Hashing, ScanError, SegmentScan};
use super::takeover::check_seal;
use super::{LOCK, OpenError};
use crate::Index;
use crate::disk::Disk;
use crate::envelope::{self, View};
use crate::record::Record;
use crate::segment::{self, Header, SegmentId};
use crate::tree::{self, CompactRange};

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
    /// It is left out while a server holds the directory.
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
    /// The root of the RFC 6962 tree over the records that were read.
    pub root: Option<tree::Hash>,
    /// The segments, in order.
    pub segments: Vec<SegmentSummary>,
    /// Bytes of an unfinished write at the end: never acknowledged, cut at the next start.
    pub torn_bytes: u64,
    /// The last batch was left out because a server holds the directory.
    pub last_batch_left_out: bool,
    /// The frontier file's mark.
    pub frontier: Option<Index>,
    /// The first damage; nothing behind it was read.
    pub damage: Option<Damaged>,
}

/// Why a log cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// There is no segment.
    #[error("there is no log here: no segment under {}/", segment::DIR)]
    NoLog,
    /// The frontier file cannot be read.
    #[error(transparent)]
    Frontier(#[from] FrontierError),
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
    let names = disk.list(segment::DIR).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => OfflineError::NoLog,
        _ => OfflineError::Io { file: segment::DIR.to_owned(), cause },
    })?;
    let ids: Vec<_> = names.iter().filter_map(|name| SegmentId::of_file_name(name)).collect();
    let Some(first) = ids.first().copied() else { return Err(OfflineError::NoLog) };
    let held = last_batch == LastBatch::OnlyIfSynced && disk.is_locked(LOCK).unwrap_or(false);
    let floor = frontier::peek(disk)?.map(|mark| mark.index);
    let summary = Summary { first: first.0, head: first.0, frontier: floor, ..Summary::default() };
    let mut walk = Walk {
        disk,
        depth,
        visit,
        summary,
        tree: Some(CompactRange::default()),
        held,
        floor,
        previous: None,
    };
    for (nth, id) in ids.iter().enumerate() {
        match walk.segment(*id, nth + 1 == ids.len()) {
            Ok(true) => {}
            Ok(false) => break,
            Err(Stop::Damaged(damaged)) => {
                walk.summary.damage = Some(damaged);
                break;
            }
            Err(Stop::Io(error)) => return Err(error),
        }
    }
    let mut summary = walk.summary;
    summary.root = walk.tree.map(|tree| tree.root());
    Ok(summary)
}

struct Walk<'w, D: Disk> {
    disk: &'w D,
    depth: Depth,
    visit: &'w mut dyn FnMut(&Record<'_>, SegmentId, u64) -> bool,
    summary: Summary,
    /// Known from the log's beginning on; unknown once a segment was missing in front.
    tree: Option<CompactRange>,
    held: bool,
    floor: Option<Index>,
    previous: Option<(Header, u64, D::File)>,
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
            ScanError::Io { segment, cause, .. } => {
                Self::Io(OfflineError::Io { file: segment.path(), cause })
            }
        }
    }
}

impl<D: Disk> Walk<'_, D> {
    /// Walks one segment. False stops the walk: the visitor wants no more.
    fn segment(&mut self, id: SegmentId, last: bool) -> Result<bool, Stop> {
        let io = |cause| Stop::Io(OfflineError::Io { file: id.path(), cause });
        let file = self.disk.open_read(&id.path()).map_err(io)?;
        let mut scan = SegmentScan::begin(&file, id, Hashing::Whole)?;
        let (header, first_byte) = (scan.header().clone(), scan.at());
        self.link(id, &header)?;
        (self.summary.origin, self.summary.generation) = (header.origin.clone(), header.generation);
        // Kept back until it is known whether a batch follows: the last one may not be synced yet.
        let left_out = if last && self.held { last_batch_start(&file, id)? } else { None };
        let mut wanted = true;
        while let Some((record, byte)) = scan.next_record()? {
            if left_out.is_some_and(|start| record.batch_start >= start) {
                self.summary.last_batch_left_out = true;
                continue;
            }
            check_envelope(self.depth, id, &record, byte)?;
            if let Some(tree) = &mut self.tree {
                tree.append(tree::leaf_hash(record.data));
            }
            self.summary.head = record.index.next();
            wanted = (self.visit)(&record, id, byte);
            if !wanted {
                return Ok(false);
            }
        }
        let (next, at) = (scan.next_index(), scan.at());
        let end = scan.end()?;
        let file_bytes = crate::disk::File::len(&file).map_err(io)?;
        let sealed = matches!(end, End::Sealed { .. });
        self.summary.segments.push(SegmentSummary {
            id,
            records: self.summary.head.since(id.0),
            bytes: if let End::Sealed { end, .. } = &end { *end } else { at },
            file_bytes,
            sealed,
        });
        self.check_end(id, next, &end, last, file_bytes)?;
        self.previous = Some((header, first_byte, file));
        Ok(wanted)
    }

    /// Checks that this segment is the one that follows, and that the one before it is the one that it names.
    fn link(&mut self, id: SegmentId, header: &Header) -> Result<(), Stop> {
        let Some((previous, first_byte, file)) = &self.previous else {
            return Ok(check_first(id, header)?);
        };
        match check_link(previous, *first_byte, file, header) {
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

    fn check_end(
        &mut self,
        id: SegmentId,
        next: Index,
        end: &End,
        last: bool,
        file_len: u64,
    ) -> Result<(), Stop> {
        match end {
            End::Sealed { seal, seal_at, end, behind, blake3, .. } => {
                let damaged = |byte, damage| Damaged { segment: id, byte, index: next, damage };
                let place = if last { Place::SealedLast } else { Place::Sealed };
                if judge(place, *behind) == Verdict::Damage {
                    return Err(damaged(*end, Damage::BehindSeal).into());
                }
                check_seal(seal, id.0, next, *blake3, self.tree.as_ref())
                    .map_err(|what| damaged(*seal_at, Damage::Seal { what }))?;
                if last && self.floor.is_some_and(|floor| next < floor) {
                    let floor = self.floor.unwrap_or_default();
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
            // A server may be writing behind what was read: its own recovery judges it.
            End::Open { .. } if self.held => Ok(()),
            End::Open { end, remains, .. } => {
                let verdict = judge_open(id, next, self.floor.unwrap_or_default(), *end, *remains)?;
                if verdict == Verdict::TornBatch {
                    self.summary.torn_bytes = file_len - end;
                }
                Ok(())
            }
        }
    }
}

/// The first index of the last batch of an open segment.
fn last_batch_start<F: crate::disk::File>(file: &F, id: SegmentId) -> Result<Option<Index>, Stop> {
    let mut scan = SegmentScan::begin(file, id, Hashing::Records)?;
    while scan.next_record()?.is_some() {}
    Ok(scan.batch().map(|(start, _)| start))
}

fn check_envelope(depth: Depth, segment: SegmentId, record: &Record<'_>, byte: u64) -> Result<(), Damaged> {
    if depth == Depth::Frames {
        return Ok(());
    }
    let damaged = |what| Damaged { segment, byte, index: record.index, damage: Damage::Envelope { what } };
    let view = View::parse(record.data).ok_or_else(|| damaged("text"))?;
    if view.index != record.index {
        return Err(damaged("index"));
    }
    if envelope::digest_of(record.data) != view.digest() {
        return Err(damaged("digest"));
    }
    Ok(())
}
