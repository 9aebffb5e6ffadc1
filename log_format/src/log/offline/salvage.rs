//! Takes every sound record out of a damaged log, in its original bytes, and says what is lost.
//!
//! Never stops at damage: behind it the next record is looked for whose checksum holds and whose index is larger.
//! Sound is what the walk of an undamaged log accepts: frame, envelope, order. What an ordinary start would cut as
//! never acknowledged is not lost, and is not kept either. Changes nothing.

use std::collections::BTreeMap;
use std::io;

use super::super::LOCK;
use super::super::judge::{self, Failing, Remains};
use super::super::scan::{End, Hashing, ScanError, Scanned, SegmentScan};
use super::super::takeover::check_seal;
use super::super::window::Window;
use super::{Depth, OfflineError, envelope_fault, first_index, frontier, io_error, segment_ids};
use crate::disk::{Disk, File};
use crate::record::{NotARecord, Record};
use crate::saved_tail::{Item, Reader};
use crate::segment::{Fill, HEADER_BYTES_MAX, Header, Seal, SegmentId};
use crate::{Index, size};

mod patient;
mod tail;

use patient::Patient;

/// Gets each record that is kept, and the log's origin and generation as far as they are known by then.
pub type Keep<'k> = &'k mut dyn FnMut(&Record<'_>, Option<(&str, u64)>) -> io::Result<()>;

/// What a salvage found.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Salvaged {
    /// The log's name and generation, as most headers or the first `log` block say.
    pub origin: Option<(String, u64)>,
    /// The first index that was kept.
    pub first: Option<Index>,
    /// The first index behind those that were kept.
    pub head: Index,
    /// How many records were kept.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is lost, in the order of the log.
    pub losses: Vec<Loss>,
    /// Indexes that a saved tail does not hold although nothing in it is damaged: it may be filtered.
    pub gaps: Vec<Gap>,
    /// Bytes of an unfinished write at the end, which was never acknowledged.
    pub torn_bytes: u64,
    /// The disk could not read some of what is lost.
    pub unreadable: bool,
}

/// Why nothing can be salvaged.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// A server holds the directory: what it is writing may still be taken back.
    #[error("a server holds the data directory")]
    Held,
    /// The log cannot be read at all.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// A record that was found cannot be kept.
    #[error("cannot keep a record")]
    Keep(#[source] io::Error),
}

/// Something that is lost, or that is not as it should be without a record being lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The segment; none in a saved tail.
    pub segment: Option<SegmentId>,
    /// The first byte that is not sound.
    pub from_byte: u64,
    /// One past the last byte that is not sound; `from_byte` where nothing is there.
    pub until_byte: u64,
    /// The first index that is lost.
    pub from: Index,
    /// The first index that is there again, `from` where no record is lost; none where nothing follows that tells.
    pub until: Option<Index>,
    /// What is wrong there, at its beginning.
    pub why: Lost,
}

/// Why something is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The segment's header cannot be read.
    #[error("the segment's header cannot be read")]
    Header,
    /// The segment is that of another log.
    #[error("the segment belongs to another log")]
    Foreign,
    /// A record cannot be read.
    #[error("a record cannot be read: {0}")]
    Record(NotARecord),
    /// Something that is no record stands where one should.
    #[error("no record begins here")]
    Garbage,
    /// The envelope does not carry its own index or digest.
    #[error("the envelope's own {0} is not right")]
    Envelope(&'static str),
    /// A record whose checksum holds does not follow the one before it.
    #[error("a record that does not continue the log")]
    DoesNotContinue,
    /// Another record came before under the same index.
    #[error("another record came before under the same index")]
    Different,
    /// Records are not there.
    #[error("records are missing")]
    Missing,
    /// The seal does not fit the records before it.
    #[error("the seal does not fit the segment: {0} differs")]
    Seal(&'static str),
    /// The segment ends without a seal, and another follows it.
    #[error("the segment ends without its seal")]
    NoSeal,
    /// Something other than zeroes lies behind the seal.
    #[error("something lies behind the seal")]
    BehindSeal,
}

/// Indexes that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first that is not there.
    pub from: Index,
    /// The first that is there again.
    pub until: Index,
}

/// Salvages the log of a directory.
///
/// # Errors
/// [`SalvageError`]; damage is not an error but [`Salvaged::losses`].
pub fn salvage<D: Disk>(disk: &D, keep: Keep<'_>) -> Result<Salvaged, SalvageError> {
    if disk.is_locked(LOCK).unwrap_or(false) {
        return Err(SalvageError::Held);
    }
    let (floor, _) = frontier(disk)?;
    let ids = segment_ids(disk)?;
    if ids.is_empty() && floor.is_none() {
        return Err(OfflineError::NoLog.into());
    }
    let mut files = Vec::with_capacity(ids.len());
    for id in ids {
        files.push((id, Patient::new(disk.open_read(&id.path()).map_err(|cause| io_error(id, cause))?)));
    }
    let mut rescue = Rescue::new(keep, most_named(files.iter().filter_map(|(_, file)| header(file))));
    rescue.floor = floor.unwrap_or_default();
    for (nth, (id, file)) in files.iter().enumerate() {
        let limit = files.get(nth + 1).map(|(next, _)| next.0);
        rescue.segment(file, *id, limit).map_err(|stop| stop.at(*id))?;
    }
    rescue.missing_until(rescue.floor, files.last().map(|(id, _)| *id));
    rescue.found.unreadable = files.iter().any(|(_, file)| file.is_unreadable());
    Ok(rescue.found)
}

/// Salvages one segment by itself.
///
/// # Errors
/// As [`salvage`].
pub fn salvage_segment<F: File>(file: F, keep: Keep<'_>) -> Result<Salvaged, SalvageError> {
    let file = Patient::new(file);
    let id = first_index(&file).map_err(|cause| io_error(SegmentId(Index::ZERO), cause))?;
    let mut rescue = Rescue::new(keep, header(&file));
    rescue.next = id.0;
    rescue.segment(&file, id, None).map_err(|stop| stop.at(id))?;
    rescue.found.unreadable = file.is_unreadable();
    Ok(rescue.found)
}

/// Salvages a saved tail. Each index is kept once; where two records claim one, the first is.
///
/// # Errors
/// As [`salvage`].
pub fn salvage_tail<F: File>(file: F, keep: Keep<'_>) -> Result<Salvaged, SalvageError> {
    let file = Patient::new(file);
    let mut rescue = Rescue::new(keep, None);
    rescue.tail(&file).map_err(|stop| stop.at(SegmentId(Index::ZERO)))?;
    rescue.found.unreadable = file.is_unreadable();
    Ok(rescue.found)
}

fn header<F: File>(file: &F) -> Option<(String, u64)> {
    let mut bytes = [0; HEADER_BYTES_MAX];
    let read = file.read_at(&mut bytes, 0).ok()?;
    Header::decode(bytes.get(..read)?).map(|(header, _)| (header.origin, header.generation))
}

/// The log that most headers name, so that one foreign segment does not pass for the log.
fn most_named(headers: impl Iterator<Item = (String, u64)>) -> Option<(String, u64)> {
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    headers.for_each(|named| *counts.entry(named).or_default() += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(named, _)| named)
}

enum Stop {
    Read(io::Error),
    Keep(io::Error),
}

impl Stop {
    fn at(self, id: SegmentId) -> SalvageError {
        match self {
            Self::Read(cause) => io_error(id, cause).into(),
            Self::Keep(cause) => SalvageError::Keep(cause),
        }
    }
}

struct Rescue<'k> {
    keep: Keep<'k>,
    found: Salvaged,
    /// The index that should come next.
    next: Index,
    /// Every record below it was acknowledged.
    floor: Index,
    /// What is lost since the last sound record, until the next one tells how much that is.
    open: Option<Loss>,
}

impl<'k> Rescue<'k> {
    fn new(keep: Keep<'k>, origin: Option<(String, u64)>) -> Self {
        let found = Salvaged { origin, ..Salvaged::default() };
        Self { keep, found, next: Index::ZERO, floor: Index::ZERO, open: None }
    }

    fn take(&mut self, record: &Record<'_>) -> Result<(), Stop> {
        self.close(Some(record.index));
        let origin = self.found.origin.as_ref().map(|(origin, generation)| (origin.as_str(), *generation));
        (self.keep)(record, origin).map_err(Stop::Keep)?;
        self.found.first.get_or_insert(record.index);
        self.next = record.index.next();
        self.found.head = self.next;
        self.found.records += 1;
        self.found.bytes += size::of(record.bytes.len());
        Ok(())
    }

    /// Notes that from `byte` on something is not sound. What is wrong first is what is told.
    fn lose(&mut self, segment: Option<SegmentId>, byte: u64, why: Lost) {
        let from = self.next;
        let loss = Loss { segment, from_byte: byte, until_byte: byte, from, until: None, why };
        self.open.get_or_insert(loss);
    }

    /// Notes how far what is not sound reaches.
    fn lost_until(&mut self, byte: u64) {
        if let Some(loss) = &mut self.open {
            loss.until_byte = loss.until_byte.max(byte);
        }
    }

    /// Ends what is lost at the index that is there again.
    fn close(&mut self, until: Option<Index>) {
        if let Some(loss) = self.open.take() {
            let until = until.map(|until| until.max(loss.from));
            self.next = self.next.max(until.unwrap_or_default());
            self.found.losses.push(Loss { until, ..loss });
        }
    }

    /// Notes records that should be there before `next` and are not: what is lost already, or nothing at all.
    fn missing_until(&mut self, next: Index, segment: Option<SegmentId>) {
        if let Some(loss) = self.found.losses.last_mut().filter(|loss| loss.until.is_none()) {
            loss.until = (next > loss.from).then_some(next);
        } else if next > self.next {
            self.lose(segment, 0, Lost::Missing);
            self.close(Some(next));
        }
        self.next = self.next.max(next);
    }

    /// Salvages one segment. Its records lie below `limit`, the first index of the segment behind it.
    fn segment<F: File>(
        &mut self,
        file: &Patient<F>,
        id: SegmentId,
        limit: Option<Index>,
    ) -> Result<(), Stop> {
        self.missing_until(id.0, Some(id));
        match SegmentScan::begin(file, id, Hashing::Whole) {
            Ok(scan) if self.is_foreign(scan.header()) => {
                self.lose(Some(id), 0, Lost::Foreign);
                self.lost_until(file.len().map_err(Stop::Read)?);
            }
            Ok(scan) => {
                let fill = Some(scan.header().fill);
                if let Some(byte) = self.sound_beginning(scan, file, id, limit)? {
                    self.behind_damage(file, id, byte, limit, fill)?;
                }
            }
            Err(ScanError::Damaged(_)) => {
                self.lose(Some(id), 0, Lost::Header);
                self.behind_damage(file, id, 0, limit, None)?;
            }
            Err(ScanError::Io { cause, .. }) => return Err(Stop::Read(cause)),
        }
        self.close(limit);
        Ok(())
    }

    fn is_foreign(&self, header: &Header) -> bool {
        let named = (header.origin.as_str(), header.generation);
        self.found.origin.as_ref().is_some_and(|(origin, generation)| named != (origin, *generation))
    }

    /// Keeps the records up to the first damage and gives the byte where it begins; none where the segment ends as it
    /// should.
    fn sound_beginning<F: File>(
        &mut self,
        mut scan: SegmentScan<'_, Patient<F>>,
        file: &Patient<F>,
        id: SegmentId,
        limit: Option<Index>,
    ) -> Result<Option<u64>, Stop> {
        while let Some(Scanned { record, byte, .. }) = scan.next_record().map_err(read)? {
            if let Some(what) = envelope_fault(Depth::Envelopes, &record) {
                self.lose(Some(id), byte, Lost::Envelope(what));
                return Ok(Some(byte));
            }
            if limit.is_some_and(|limit| record.index >= limit) {
                self.lose(Some(id), byte, Lost::DoesNotContinue);
                return Ok(Some(byte));
            }
            self.take(&record)?;
        }
        let next = scan.next_index();
        match scan.end().map_err(read)? {
            End::Sealed { seal, seal_at, end, behind, blake3, .. } => {
                if let Err(what) = check_seal(&seal, id.0, next, blake3, None) {
                    self.lose(Some(id), seal_at, Lost::Seal(what));
                    self.lost_until(end);
                }
                if behind != Remains::Nothing && (limit.is_some() || behind != Remains::Zeroes) {
                    self.lose(Some(id), end, Lost::BehindSeal);
                    self.lost_until(file.len().map_err(Stop::Read)?);
                }
                self.close(Some(seal.next));
                Ok(None)
            }
            End::Open { end, remains, file_len, .. } => Ok(self.open_end(id, limit, end, remains, file_len)),
        }
    }

    /// Judges the end of a segment without a seal. Gives the byte from which on sound records have to be looked for.
    fn open_end(
        &mut self,
        id: SegmentId,
        limit: Option<Index>,
        end: u64,
        remains: Remains,
        file_len: u64,
    ) -> Option<u64> {
        match remains {
            Remains::Nothing | Remains::Zeroes => {
                if limit.is_some() {
                    self.lose(Some(id), end, Lost::NoSeal);
                }
                None
            }
            Remains::Torn if limit.is_none() && self.next >= self.floor => {
                self.found.torn_bytes = file_len - end;
                None
            }
            Remains::DoesNotContinue => {
                self.lose(Some(id), end, Lost::DoesNotContinue);
                Some(end)
            }
            Remains::Torn | Remains::Changed | Remains::BeforeLaterBatch => Some(end),
        }
    }

    /// Looks for sound records behind damage, which begins at `from`.
    fn behind_damage<F: File>(
        &mut self,
        file: &Patient<F>,
        id: SegmentId,
        from: u64,
        limit: Option<Index>,
        fill: Option<Fill>,
    ) -> Result<(), Stop> {
        let mut reader = Reader::new(file, from);
        let mut sound_to = from;
        while let Some((item, byte)) = reader.next().map_err(Stop::Read)? {
            let why = match &item {
                Item::Record(record) if record.index < self.next => Lost::DoesNotContinue,
                Item::Record(record) if limit.is_some_and(|limit| record.index >= limit) => {
                    Lost::DoesNotContinue
                }
                Item::Record(record) => match envelope_fault(Depth::Envelopes, record) {
                    Some(what) => Lost::Envelope(what),
                    None => {
                        if byte > sound_to {
                            self.lose(Some(id), sound_to, Lost::Garbage);
                        } else if record.index > self.next {
                            self.lose(Some(id), byte, Lost::Missing);
                        }
                        self.lost_until(byte);
                        self.take(record)?;
                        sound_to = byte + size::of(record.bytes.len());
                        continue;
                    }
                },
                Item::Control { .. } => Lost::Garbage,
                Item::CutOff { len } => {
                    Lost::Record(NotARecord::CutOff { len: size::of_u32(*len), have: *len })
                }
                Item::Bad { reason, .. } => Lost::Record(*reason),
            };
            self.lose(Some(id), sound_to, why);
        }
        self.end_behind_damage(file, id, sound_to, limit, fill)
    }

    /// Judges what lies behind the last sound record of a segment that is damaged before it.
    fn end_behind_damage<F: File>(
        &mut self,
        file: &Patient<F>,
        id: SegmentId,
        at: u64,
        limit: Option<Index>,
        fill: Option<Fill>,
    ) -> Result<(), Stop> {
        let (bytes, file_len) = Window::new(file, at).into_rest().map_err(Stop::Read)?;
        let seal_at = seal_at(&bytes);
        if limit.is_some() && seal_at.is_none() {
            self.lose(Some(id), at, Lost::NoSeal);
        }
        let bytes = bytes.get(..seal_at.unwrap_or(bytes.len())).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        // Without a header nothing is known of how the segment was written, and nothing passes for a tear.
        let failing = fill.map(|fill| Failing { bytes, at, file_len, fill, next: self.next });
        let torn = failing.is_some_and(|failing| judge::classify(failing) == Remains::Torn);
        let behind_sound = seal_at.is_none() && self.open.as_ref().is_none_or(|loss| loss.from_byte == at);
        let acknowledged = limit.is_some() || self.next < self.floor;
        if behind_sound && !acknowledged && torn {
            self.open = None;
            self.found.torn_bytes = file_len - at;
            return Ok(());
        }
        self.lose(Some(id), at, Lost::Garbage);
        self.lost_until(at + size::of(bytes.len()));
        Ok(())
    }
}

/// Where the seal begins that ends `bytes`.
fn seal_at(bytes: &[u8]) -> Option<usize> {
    let at = memchr::memmem::rfind(bytes, b": s1 ")?;
    let rest = bytes.get(at..)?;
    Seal::decode(rest).filter(|(_, len)| *len == rest.len()).map(|_| at)
}

fn read(error: ScanError) -> Stop {
    match error {
        ScanError::Io { cause, .. } => Stop::Read(cause),
        ScanError::Damaged(damaged) => Stop::Read(io::Error::other(damaged)),
    }
}
