//! What the path of an offline command names: a data directory, one segment, or a saved tail. Read without a server
//! and without its lock.

use std::path::{Path, PathBuf};

use gesta_log_format::Index;
use gesta_log_format::disk::real::{RealDisk, RealFile};
use gesta_log_format::disk::{Disk as _, File as _};
use gesta_log_format::log::offline::{self, Depth, LastBatch, OfflineError, Summary};
use gesta_log_format::log::{Damage, LOCK};
use gesta_log_format::record::Record;
use gesta_log_format::saved_tail;

use super::{Exit, Failure};

/// How a segment begins; a saved tail begins otherwise.
const SEGMENT: &[u8] = b": h1 ";

pub(super) enum Source {
    Directory(RealDisk),
    /// One segment, and whether a server holds the directory that it is in.
    Segment(RealFile, bool),
    SavedTail(RealFile),
}

/// Gets each record; false ends the reading.
pub(super) type Visit<'v> = &'v mut dyn FnMut(&Record<'_>) -> bool;

impl Source {
    /// # Errors
    /// A path that cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |cause| cannot("open", path, cause);
        let path = path.canonicalize().map_err(failed)?;
        if path.is_dir() {
            return Ok(Self::Directory(RealDisk::new(path)));
        }
        let (disk, name) = file_of(&path)?;
        let file = disk.open_read(&name).map_err(failed)?;
        if !begins_segment(&file, 0).map_err(failed)? {
            return Ok(Self::SavedTail(file));
        }
        let held = path.parent().and_then(Path::parent).is_some_and(|data| {
            path.parent().is_some_and(|log| log.ends_with(gesta_log_format::segment::DIR))
                && RealDisk::new(data).is_locked(LOCK).unwrap_or(true)
        });
        Ok(Self::Segment(file, held))
    }

    /// Gives each record to `visit`, once and in order. What is not wrong and still worth knowing goes to standard
    /// error.
    ///
    /// # Errors
    /// Damage, after all records before it were visited; a file that cannot be read.
    pub(super) fn read(&self, last_batch: LastBatch, visit: Visit<'_>) -> Result<(), Failure> {
        match self {
            Self::Directory(disk) => {
                let each = &mut |record: &Record<'_>, _, _| visit(record);
                let summary = offline::walk(disk, Depth::Envelopes, last_batch, each)
                    .map_err(|error| unreadable(disk.root(), error))?;
                judged(&summary)
            }
            Self::Segment(file, held) => self.read_segment(file, *held, last_batch, visit),
            Self::SavedTail(file) => read_tail(file, visit),
        }
    }

    fn read_segment(
        &self,
        file: &RealFile,
        held: bool,
        last_batch: LastBatch,
        visit: Visit<'_>,
    ) -> Result<(), Failure> {
        let held = held && last_batch == LastBatch::OnlyIfSynced;
        let summary = {
            let each = &mut |record: &Record<'_>, _, _| visit(record);
            offline::walk_segment(file, Depth::Envelopes, held, each)
                .map_err(|error| Failure::new(Exit::Failed, error))?
        };
        let behind = summary.damage.as_ref().filter(|damaged| damaged.damage == Damage::BehindSeal);
        if behind.is_some_and(|damaged| begins_segment(file, damaged.byte).unwrap_or(false)) {
            // Several segments, one behind the other, are a saved tail.
            let head = summary.head;
            return read_tail(file, &mut |record| record.index < head || visit(record));
        }
        judged(&summary)
    }
}

/// The directory that a file is in, and its name there.
///
/// # Errors
/// A name that is no text.
pub(super) fn file_of(path: &Path) -> Result<(RealDisk, String), Failure> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok((RealDisk::new(parent), name.to_owned())),
        None => Err(Failure::new(Exit::Usage, format!("{} names no file", path.display()))),
    }
}

fn begins_segment(file: &RealFile, byte: u64) -> std::io::Result<bool> {
    let mut beginning = [0; SEGMENT.len()];
    Ok(file.read_at(&mut beginning, byte)? == SEGMENT.len() && beginning == SEGMENT)
}

fn read_tail(file: &RealFile, visit: Visit<'_>) -> Result<(), Failure> {
    let each = &mut |record: &Record<'_>, _| visit(record);
    let note = &mut |note| eprintln!("note: {note}");
    let summary = saved_tail::walk(file, 0, Depth::Envelopes, each, note)
        .map_err(|cause| Failure::new(Exit::Failed, CannotRead { cause }))?;
    summary.damage.map_or(Ok(()), |damaged| Err(Failure::new(Exit::Damaged, damaged).hint(SALVAGE)))
}

const SALVAGE: &str = "`gesta salvage PATH --to NEW.sse` keeps what is sound";

#[derive(Debug, thiserror::Error)]
#[error("cannot read the saved tail")]
struct CannotRead {
    #[source]
    cause: std::io::Error,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}", path.display())]
struct Cannot {
    doing: &'static str,
    path: PathBuf,
    #[source]
    cause: std::io::Error,
}

pub(super) fn cannot(doing: &'static str, path: &Path, cause: std::io::Error) -> Failure {
    Failure::new(Exit::Failed, Cannot { doing, path: path.to_owned(), cause })
}

/// The failure of a directory that holds no log.
pub(super) fn unreadable(root: &Path, error: OfflineError) -> Failure {
    let missing = matches!(error, OfflineError::NoLog);
    let failure = Failure::new(Exit::Failed, error);
    let hint = format!("a data directory has its segments in {}/log", root.display());
    if missing { failure.hint(hint) } else { failure }
}

/// Tells what a walk found besides records.
///
/// # Errors
/// Damage.
pub(super) fn judged(summary: &Summary) -> Result<(), Failure> {
    if summary.last_batch_left_out {
        eprintln!(
            "note: a server has the directory, and its last batch, from index {} on, may not be synced yet: it is \
             left out without --unsynced",
            summary.head
        );
    }
    if summary.torn_bytes > 0 {
        eprintln!(
            "note: {} bytes of an unfinished write at the end were never acknowledged; the next start cuts them off",
            summary.torn_bytes
        );
    }
    match &summary.damage {
        Some(damaged) => Err(Failure::new(Exit::Damaged, damaged.clone()).hint(SALVAGE)),
        None if summary.frontier_unreadable => Err(frontier_unreadable(summary.head)),
        None => Ok(()),
    }
}

fn frontier_unreadable(head: Index) -> Failure {
    Failure::new(Exit::Damaged, "the frontier file is damaged: neither of its slots can be read").hint(format!(
        "the {head} records before the end were read; whether more were acknowledged cannot be told without it"
    ))
}
