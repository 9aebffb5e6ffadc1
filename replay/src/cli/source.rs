//! What a path names: a data directory, one segment, or a saved tail, read from front to back in steps.

mod segments;
mod store;
mod tail;

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;

use gesta_log_format::Index;
use gesta_log_format::disk::real::{RealDisk, RealFile};
use gesta_log_format::disk::{Disk as _, File as _};
use gesta_log_format::log::LOCK;
use gesta_log_format::record::Record as Framed;
use gesta_log_format::segment::{self, Header, Seal, SegmentId};
use gesta_log_format::tree::Hash;
use gesta_replay::verify::{Finding, Place, Record};

use super::Failure;
use super::args::Input;
pub(super) use store::Files;

/// How a segment begins; a saved tail begins otherwise.
const SEGMENT: &[u8] = b": h1 ";

/// Bytes of envelopes that are handed over at once. The same for any number of threads.
const CHUNK_BYTES: usize = 1 << 20;

/// Chunks for each thread that may wait between the thread that reads and those that verify, and that are verified at
/// once.
const CHUNKS_PER_JOB: usize = 4;

/// Most chunks that are verified at once, however many threads there are.
const CHUNKS_AT_ONCE_MAX: usize = 64;

/// How many chunks are worth handing on together: with one thread none waits for another.
pub(super) fn chunks_at_once(jobs: usize) -> usize {
    if jobs < 2 { 1 } else { (jobs * CHUNKS_PER_JOB).min(CHUNKS_AT_ONCE_MAX) }
}

/// One step of the reading.
pub(super) enum Step {
    /// Records that follow.
    Records(Chunk),
    /// The segment's records are all there, and this is its seal.
    Seal(String, Seal),
    /// What lies before this index and did not come is not there.
    Skip(Index),
    /// Something is wrong, or worth knowing.
    Found(Finding),
    /// Something is not checked.
    NotChecked(String),
    /// Records at the end were left out on purpose.
    EndsEarly,
}

/// Gets each step; false ends the reading.
pub(super) type Give<'g> = &'g mut dyn FnMut(Step) -> bool;

/// Envelopes of consecutive records.
#[derive(Default)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    places: Vec<Placed>,
    /// With their frames.
    file_bytes: u64,
}

struct Placed {
    index: Index,
    place: Place,
    end: usize,
    leaf: Hash,
}

impl Chunk {
    fn push(&mut self, record: &Framed<'_>, place: Place, leaf: Hash) {
        self.bytes.extend_from_slice(record.data);
        self.file_bytes += record.bytes.len() as u64;
        self.places.push(Placed { index: record.index, place, end: self.bytes.len(), leaf });
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= CHUNK_BYTES
    }

    fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes that they take in their file.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The nth record.
    pub(super) fn record(&self, nth: usize) -> Option<Record<'_>> {
        let placed = self.places.get(nth)?;
        let start =
            nth.checked_sub(1).and_then(|before| self.places.get(before)).map_or(0, |before| before.end);
        let data = self.bytes.get(start..placed.end)?;
        Some(Record { index: placed.index, place: placed.place, data, leaf: placed.leaf })
    }

    pub(super) fn records(&self) -> Vec<Record<'_>> {
        (0..self.places.len()).filter_map(|nth| self.record(nth)).collect()
    }
}

/// What is known of a log besides its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogFacts {
    /// The log's name; empty where nothing says it.
    pub(super) origin: String,
    /// How often the log was restored or salvaged; 0 where nothing says it.
    pub(super) generation: u64,
    /// Segments that were read.
    pub(super) segments: u64,
    /// Bytes that an unfinished write left at the end.
    pub(super) torn_bytes: u64,
}

enum Kind {
    Directory,
    Segment,
    SavedTail,
}

/// An opened path.
pub(super) struct Source {
    kind: Kind,
    files: Files,
    disk: RealDisk,
    unsynced: bool,
    total_bytes: u64,
}

impl Source {
    /// # Errors
    /// A path that cannot be opened, or a directory without a log.
    pub(super) fn open(input: &Input) -> Result<Self, Failure> {
        let failed = |cause| Failure::cannot("open", &input.path, cause);
        let path = input.path.canonicalize().map_err(failed)?;
        if path.is_dir() {
            return Self::directory(path, input);
        }
        let (disk, name) = file_of(&path)?;
        let file = disk.open_read(&name).map_err(failed)?;
        let total_bytes = file.len().map_err(failed)?;
        let kind = if begins_segment(&file, 0).map_err(failed)? { Kind::Segment } else { Kind::SavedTail };
        let files = Files::new(disk.clone(), vec![name], input.blobs.clone());
        Ok(Self { kind, files, disk, unsynced: input.unsynced, total_bytes })
    }

    fn directory(path: PathBuf, input: &Input) -> Result<Self, Failure> {
        let disk = RealDisk::new(&path);
        let names = disk.list(segment::DIR).unwrap_or_default();
        let names: Vec<_> =
            names.into_iter().filter(|name| SegmentId::of_file_name(name).is_some()).collect();
        if names.is_empty() {
            let error = format!("there is no log in {}: no segment under log/", input.path.display());
            return Err(Failure::new(error).hint("give a data directory, a segment file, or a saved tail"));
        }
        let names: Vec<_> = names.iter().map(|name| format!("{}/{name}", segment::DIR)).collect();
        let lens = names.iter().map(|name| disk.open_read(name).and_then(|file| file.len()).unwrap_or(0));
        let total_bytes = lens.sum();
        let blobs = input.blobs.clone().or_else(|| Some(path.join("blobs")));
        let files = Files::new(disk.clone(), names, blobs);
        Ok(Self { kind: Kind::Directory, files, disk, unsynced: input.unsynced, total_bytes })
    }

    /// What is read again.
    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// The data directory, if the path is one.
    pub(super) fn data_directory(&self) -> Option<&Path> {
        match self.kind {
            Kind::Directory => Some(self.disk.root()),
            Kind::Segment | Kind::SavedTail => None,
        }
    }

    /// Bytes in all files.
    pub(super) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Gives everything to `take`, in order. With more than one job a thread of its own reads ahead.
    ///
    /// # Errors
    /// A file that cannot be read; what `take` fails with.
    pub(super) fn walk(
        &self,
        jobs: usize,
        take: &mut dyn FnMut(Step) -> Result<bool, Failure>,
    ) -> Result<LogFacts, Failure> {
        if jobs < 2 {
            let mut failed = None;
            let facts = self.steps(&mut |step| {
                take(step).unwrap_or_else(|failure| {
                    failed = Some(failure);
                    false
                })
            });
            return failed.map_or(facts, Err);
        }
        thread::scope(|scope| {
            let (send, receive) = sync_channel(chunks_at_once(jobs));
            let reader = scope.spawn(move || self.steps(&mut |step| send.send(step).is_ok()));
            let mut taken = Ok(true);
            while let (Ok(true), Ok(step)) = (&taken, receive.recv()) {
                taken = take(step);
            }
            drop(receive);
            let facts = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            taken.and(facts)
        })
    }

    fn steps(&self, give: Give<'_>) -> Result<LogFacts, Failure> {
        match self.kind {
            Kind::Directory => {
                let is_held = || self.disk.is_locked(LOCK).unwrap_or(true);
                segments::walk_directory(&self.files, &self.disk, !self.unsynced && is_held(), give)
            }
            Kind::Segment => segments::walk_one(&self.files, !self.unsynced && self.is_held(), give),
            Kind::SavedTail => tail::walk(&self.files, 0, Index::ZERO, give),
        }
    }

    /// Whether a server holds the data directory that a segment is in.
    fn is_held(&self) -> bool {
        let log = self.disk.root();
        let data = log.parent().filter(|_| log.ends_with(segment::DIR));
        data.is_some_and(|data| RealDisk::new(data).is_locked(LOCK).unwrap_or(true))
    }
}

/// The directory that a file is in, and its name there.
pub(super) fn file_of(path: &Path) -> Result<(RealDisk, String), Failure> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok((RealDisk::new(parent), name.to_owned())),
        None => Err(Failure::new(format!("{} names no file", path.display()))),
    }
}

fn begins_segment(file: &RealFile, byte: u64) -> std::io::Result<bool> {
    let mut beginning = [0; SEGMENT.len()];
    Ok(file.read_at(&mut beginning, byte)? == SEGMENT.len() && beginning == SEGMENT)
}

/// The segment that a file's header says it is; the first one where it has none.
fn first_index(file: &RealFile) -> std::io::Result<Index> {
    let mut bytes = [0; segment::HEADER_BYTES_MAX];
    let read = file.read_at(&mut bytes, 0)?;
    let header = Header::decode(bytes.get(..read).unwrap_or_default());
    Ok(header.map(|(header, _)| header.first).unwrap_or_default())
}
