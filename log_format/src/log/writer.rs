//! The one writer: appends batches to the active segment and rolls to the next.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::batch::Batch;
use super::fill::{Fill, Room, is_full};
use super::open::Options;
use super::segments::{Extent, SealedSegment, Segment, Segments};
use crate::disk::{Disk, File};
use crate::segment::{self, Header, Previous, SEAL_BYTES_MAX, Seal, SegmentId};
use crate::tree::{self, CompactRange};
use crate::{Index, size};

/// A write or sync that failed. What it should have made durable may or may not be, and trying again would answer
/// success for data that is lost: the process has to stop, reopen and recover.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} {file}")]
pub struct Dead {
    /// What was being done.
    pub doing: &'static str,
    /// The file, below the data directory.
    pub file: String,
    /// What the system says.
    #[source]
    pub cause: io::Error,
}

/// A rule that a test breaks on purpose, to see that something notices.
#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Sabotage {
    #[default]
    None,
    AcknowledgeBeforeSync,
    RetryFailedSync,
    PublishWithoutRewrite,
    CutWithoutZeroes,
    IgnoreFloor,
    OvertakeWriter,
}

/// What became of the wish to have room for a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Rolled {
    /// The active segment has room.
    No,
    /// It was full: it is sealed, and the next one is active.
    Sealed(SealedSegment),
    /// It is full, and the disk has no room for another. Nothing has changed; appends have to be rejected.
    DiskFull,
}

/// What a seal says of the records so far.
#[derive(Debug)]
struct Sums {
    /// BLAKE3 of the active segment, up to the last absorbed record.
    hasher: blake3::Hasher,
    tree: CompactRange,
}

/// Takes appended batches into the segment's hash and the tree: apart from the [`Writer`], so that the next batch can
/// be written meanwhile.
#[derive(Debug, Clone)]
pub struct Absorber(Arc<Mutex<Sums>>);

impl Absorber {
    pub(super) fn new(hasher: blake3::Hasher, tree: CompactRange) -> Self {
        Self(Arc::new(Mutex::new(Sums { hasher, tree })))
    }

    /// Absorbs the batch that was appended behind the last one that was absorbed.
    ///
    /// # Panics
    /// Where a batch was left out.
    pub fn absorb(&self, batch: &Batch) {
        let mut sums = self.sums();
        assert_eq!(batch.start().0, sums.tree.len(), "batches are absorbed in order");
        sums.hasher.update(batch.bytes());
        for leaf in batch.leaves() {
            sums.tree.append(*leaf);
        }
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Owns the end of the log. Every append consumes it and gives it back, so that after a failure there is none.
pub struct Writer<D: Disk> {
    pub(super) disk: D,
    pub(super) options: Options,
    pub(super) segments: Arc<Segments<D::File>>,
    pub(super) fill: Option<Arc<Fill>>,
    /// The header of the active segment.
    pub(super) header: Header,
    pub(super) active: Arc<Segment<D::File>>,
    pub(super) file: D::File,
    /// Where the next batch goes.
    pub(super) at: u64,
    /// The index of the next record.
    pub(super) next: Index,
    pub(super) absorber: Absorber,
    #[cfg(test)]
    pub(super) sabotage: Sabotage,
}

impl<D: Disk> Writer<D> {
    /// The index of the next record: the first that is not durable.
    #[must_use]
    pub fn next(&self) -> Index {
        self.next
    }

    /// The log's origin and generation.
    #[must_use]
    pub fn origin(&self) -> (&str, u64) {
        (&self.header.origin, self.header.generation)
    }

    /// The active segment.
    #[must_use]
    pub fn segment(&self) -> SegmentId {
        self.active.id()
    }

    /// The root of the RFC 6962 tree over all absorbed records.
    #[must_use]
    pub fn root(&self) -> tree::Hash {
        self.absorber.sums().tree.root()
    }

    /// Whether a batch of `bytes` may be written now.
    #[must_use]
    pub fn room(&self, bytes: usize) -> Room {
        self.fill.as_ref().map_or(Room::Ready, |fill| fill.room(self.end_of(bytes)))
    }

    /// As [`Writer::room`], but waits up to `patience` while the filler is on its way.
    #[must_use]
    pub fn wait_for_room(&self, bytes: usize, patience: Duration) -> Room {
        self.fill.as_ref().map_or(Room::Ready, |fill| fill.wait_for_room(self.end_of(bytes), patience))
    }

    /// Where the file has to reach for a batch of `bytes`, and for the seal behind it.
    fn end_of(&self, bytes: usize) -> u64 {
        self.at + size::of(bytes) + size::of(SEAL_BYTES_MAX)
    }

    /// Writes the batch and makes it durable with one sync; only then do readers see it. The batch has to begin at
    /// [`Writer::next`] and to fit ([`Writer::roll`], [`Writer::room`]).
    ///
    /// # Errors
    /// [`Dead`]: the outcome of every record of the batch is unknown.
    pub fn append(mut self, batch: &Batch) -> Result<Self, Dead> {
        assert_eq!(batch.start(), self.next, "a batch continues the log");
        self.file.write_at(batch.bytes(), self.at).map_err(|cause| self.dead("write to", cause))?;
        self.sync()?;
        self.publish(batch);
        Ok(self)
    }

    fn sync(&self) -> Result<(), Dead> {
        #[cfg(test)]
        match self.sabotage {
            Sabotage::AcknowledgeBeforeSync => return Ok(()),
            Sabotage::RetryFailedSync => {
                return self
                    .file
                    .sync()
                    .or_else(|_| self.file.sync())
                    .map_err(|cause| self.dead("sync", cause));
            }
            _ => {}
        }
        self.file.sync().map_err(|cause| self.dead("sync", cause))
    }

    fn publish(&mut self, batch: &Batch) {
        {
            let mut offsets = self.segments.offsets_mut();
            let offsets = offsets.entry(self.active.id()).or_default();
            let nth = self.next.since(self.active.id().0);
            for (nth, placed) in (nth..).zip(batch.placed()) {
                offsets.note(nth, self.at + u64::from(placed.start));
            }
        }
        self.at += size::of(batch.bytes().len());
        self.next = batch.end();
        self.active.set_extent(Extent { next: self.next, end: self.at, sealed: false });
        if let Some(fill) = &self.fill {
            fill.written(
                self.at,
                self.options.fill_ahead_bytes_max,
                size::of(self.options.fill_piece_bytes_max),
            );
        }
    }

    /// What takes an appended batch into the segment's hash and the tree. Apart from [`Writer::append`], so that
    /// neither an acknowledgement nor the next append waits for it; due before [`Writer::roll`] seals the segment.
    #[must_use]
    pub fn absorber(&self) -> Absorber {
        self.absorber.clone()
    }

    /// As [`Absorber::absorb`].
    pub fn absorb(&self, batch: &Batch) {
        self.absorber.absorb(batch);
    }

    /// Whether a batch of `bytes` does not fit into the active segment: [`Writer::roll`] would seal it.
    #[must_use]
    pub fn is_full_for(&self, bytes: usize) -> bool {
        self.next != self.active.id().0 && self.end_of(bytes) > self.options.segment_bytes
    }

    /// Seals the active segment and begins the next, if a batch of `bytes` does not fit any more.
    ///
    /// The next segment is made under a temporary name before anything else, so that a full disk leaves all as it was.
    ///
    /// # Errors
    /// [`Dead`]: the roll is finished when the log is opened again.
    pub fn roll(mut self, bytes: usize) -> Result<(Self, Rolled), Dead> {
        if !self.is_full_for(bytes) {
            return Ok((self, Rolled::No));
        }
        let successor = match Successor::prepare(&self.disk, SegmentId(self.next), &self.options) {
            Ok(successor) => successor,
            Err(cause) if is_full(&cause) => {
                let path = SegmentId(self.next).temporary_path();
                self.disk.remove(&path).map_err(|cause| Dead { doing: "remove", file: path, cause })?;
                return Ok((self, Rolled::DiskFull));
            }
            Err(cause) => {
                return Err(Dead { doing: "create", file: SegmentId(self.next).temporary_path(), cause });
            }
        };
        if let Some(fill) = &self.fill {
            fill.hold();
        }
        let previous = self.seal()?;
        let sealed = SealedSegment {
            id: self.active.id(),
            next: self.next,
            blake3: previous.blake3,
            first_byte: self.active.first_byte(),
            seal_at: previous.seal_at,
        };
        self.active.set_extent(Extent { next: self.next, end: self.at, sealed: true });
        self.begin(successor, previous)?;
        Ok((self, Rolled::Sealed(sealed)))
    }

    fn seal(&self) -> Result<Previous, Dead> {
        let mut sums = self.absorber.sums();
        assert_eq!(sums.tree.len(), self.next.0, "every record is absorbed before its segment is sealed");
        let seal = Seal {
            next: self.next,
            records: self.next.since(self.active.id().0),
            blake3: *sums.hasher.finalize().as_bytes(),
            root: sums.tree.root(),
            peaks: sums.tree.peaks().to_vec(),
        };
        let bytes = seal.encode();
        self.file.write_at(&bytes, self.at).map_err(|cause| self.dead("write the seal of", cause))?;
        self.file.sync().map_err(|cause| self.dead("sync", cause))?;
        let len = self.at + size::of(bytes.len());
        self.file.set_len(len).map_err(|cause| self.dead("cut the zeroes off", cause))?;
        self.file.sync().map_err(|cause| self.dead("sync", cause))?;
        sums.hasher.update(&bytes);
        let blake3 = *sums.hasher.finalize().as_bytes();
        Ok(Previous { id: self.active.id(), seal_at: self.at, len, blake3 })
    }

    fn begin(&mut self, successor: Successor<D>, previous: Previous) -> Result<(), Dead> {
        let id = successor.id;
        let failed = |cause| Dead { doing: "begin", file: id.path(), cause };
        self.header = Header {
            first: id.0,
            fill: self.options.fill,
            previous: Some(previous),
            origin: self.header.origin.clone(),
            generation: self.header.generation,
        };
        let created = successor.commit(&self.disk, &self.header).map_err(failed)?;
        let extent = Extent { next: id.0, end: created.first_byte, sealed: false };
        let reading = self.disk.open_read(&id.path()).map_err(failed)?;
        self.active = Arc::new(Segment::new(id, reading, created.first_byte, extent));
        self.segments.push(Arc::clone(&self.active));
        self.file = created.file;
        self.at = created.first_byte;
        self.absorber.sums().hasher = created.hasher;
        if let Some(fill) = &self.fill {
            fill.next(id, created.mark, self.at, self.options.segment_bytes);
        }
        Ok(())
    }

    fn dead(&self, doing: &'static str, cause: io::Error) -> Dead {
        Dead { doing, file: self.active.id().path(), cause }
    }
}

impl<D: Disk> Drop for Writer<D> {
    fn drop(&mut self) {
        if let Some(fill) = &self.fill {
            fill.stop();
        }
    }
}

/// A segment that is being prepared under its temporary name.
pub(super) struct Successor<D: Disk> {
    id: SegmentId,
    file: D::File,
    /// How far it is filled with zeroes.
    mark: u64,
}

/// A segment that has its name and its header, both durable.
pub(super) struct Created<F> {
    pub(super) file: F,
    pub(super) first_byte: u64,
    pub(super) mark: u64,
    pub(super) hasher: blake3::Hasher,
}

impl<D: Disk> Successor<D> {
    /// Makes the file under its temporary name, with its first zeroes. An older one of that name is replaced.
    pub(super) fn prepare(disk: &D, id: SegmentId, options: &Options) -> io::Result<Self> {
        let path = id.temporary_path();
        match disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = disk.create_new(&path)?;
        let mut mark = 0;
        if options.fill == segment::Fill::Zeroes {
            let piece = vec![0; options.fill_piece_bytes_max];
            mark = size::of(piece.len());
            file.write_at(&piece, 0)?;
            file.sync()?;
        }
        Ok(Self { id, file, mark })
    }

    /// Writes the header and gives the file its name. Durable when this returns.
    pub(super) fn commit(self, disk: &D, header: &Header) -> io::Result<Created<D::File>> {
        let bytes = header.encode();
        self.file.write_at(&bytes, 0)?;
        self.file.sync()?;
        disk.rename(&self.id.temporary_path(), &self.id.path())?;
        disk.sync_dir(segment::DIR)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes);
        let first_byte = size::of(bytes.len());
        Ok(Created { file: self.file, first_byte, mark: self.mark.max(first_byte), hasher })
    }
}
