//! The frontier file: a small synced mark below which every record was acknowledged.
//!
//! Two slots at bytes 0 and 4096, written in turn, each synced before the other is touched: at most one of them can
//! be torn, and the other then holds an earlier mark, which is true as well.

use std::io;

use super::{FRONTIER, damage::Damaged};
use crate::disk::{Disk, File};
use crate::frame::{self, Letter, Line};
use crate::segment::SegmentId;
use crate::{Index, size};

/// Where the second slot begins. Two pages, so that no disk writes both at once.
const SLOT_BYTES: u64 = 4096;

/// A mark below which every record was acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Frontier {
    /// Every record with a smaller index was acknowledged.
    pub index: Index,
    /// The segment in which the record before the mark lies.
    pub segment: SegmentId,
    /// One past that record's last byte.
    pub byte: u64,
}

impl Frontier {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        let at = frame::begin(&mut out);
        let lines = format!(": segment {:020}\n: byte {}\n", self.segment.0.0, self.byte);
        out.extend_from_slice(lines.as_bytes());
        frame::finish(&mut out, at, Letter::Frontier, self.index.0);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let line = Line::parse(bytes).filter(|line| line.letter == Letter::Frontier)?;
        let frame = line.frame(bytes).filter(|frame| line.matches(frame))?;
        let mut rest = frame.get(frame::LINE_LEN..)?;
        let segment = SegmentId(Index(frame::comment(&mut rest, "segment")?.parse().ok()?));
        let byte = frame::comment(&mut rest, "byte")?.parse().ok()?;
        Some(Self { index: Index(line.number), segment, byte })
    }
}

/// The open frontier file.
#[derive(Debug)]
pub struct FrontierFile<F> {
    file: F,
    /// The slot that the next mark goes to: 0 or 1.
    slot: u64,
    /// The newest mark in the file.
    mark: Option<Frontier>,
}

/// Why the frontier file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FrontierError {
    /// It cannot be read or created.
    #[error("cannot open the frontier file")]
    Io(#[source] io::Error),
    /// Neither of its slots can be read, and at most one can be torn.
    #[error("the frontier file is damaged: neither of its slots can be read")]
    Damaged,
    /// It fits no segment.
    #[error(transparent)]
    Log(#[from] Damaged),
}

/// Reads the newest mark without changing the file. `None` where there is no file or no mark in it yet.
///
/// # Errors
/// [`FrontierError::Damaged`] where both slots hold something and neither is a mark.
pub(super) fn peek<D: Disk>(disk: &D) -> Result<Option<Frontier>, FrontierError> {
    match disk.open_read(FRONTIER) {
        Ok(file) => slots(&file).map(|(mark, _)| mark),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FrontierError::Io(error)),
    }
}

/// The newest mark and the slot for the next one.
fn slots<F: File>(file: &F) -> Result<(Option<Frontier>, u64), FrontierError> {
    let mut marks = [None; 2];
    let mut unreadable = 0;
    for (slot, mark) in (0u64..).zip(&mut marks) {
        let mut bytes = [0; 512];
        let read = file.read_at(&mut bytes, slot * SLOT_BYTES).map_err(FrontierError::Io)?;
        let bytes = bytes.get(..read).unwrap_or_default();
        *mark = Frontier::decode(bytes);
        unreadable += u32::from(mark.is_none() && bytes.iter().any(|byte| *byte != 0));
    }
    match marks {
        [None, None] if unreadable == 2 => Err(FrontierError::Damaged),
        [first, second] if first >= second => Ok((first, 1)),
        [_, second] => Ok((second, 0)),
    }
}

impl<F: File> FrontierFile<F> {
    /// Opens the file, or creates it, and reads the newest mark.
    ///
    /// # Errors
    /// [`FrontierError`]; the file's name is durable when this returns.
    pub fn open<D: Disk<File = F>>(disk: &D) -> Result<Self, FrontierError> {
        let file = match disk.open(FRONTIER) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = disk.create_new(FRONTIER).map_err(FrontierError::Io)?;
                file.write_at(&vec![0; size::mem(SLOT_BYTES * 2)], 0).map_err(FrontierError::Io)?;
                file.sync().map_err(FrontierError::Io)?;
                disk.sync_dir("").map_err(FrontierError::Io)?;
                file
            }
            Err(error) => return Err(FrontierError::Io(error)),
        };
        let (mark, slot) = slots(&file)?;
        Ok(Self { file, slot, mark })
    }

    /// The newest mark.
    #[must_use]
    pub fn mark(&self) -> Option<Frontier> {
        self.mark
    }

    /// Makes `mark` durable. A mark that is not beyond the newest one is already so.
    ///
    /// # Errors
    /// A failed write or sync; the process then has to stop, as after any.
    pub fn write(&mut self, mark: Frontier) -> io::Result<()> {
        if self.mark.is_some_and(|newest| newest.index >= mark.index) {
            return Ok(());
        }
        self.file.write_at(&mark.encode(), self.slot * SLOT_BYTES)?;
        self.file.sync()?;
        self.slot = 1 - self.slot;
        self.mark = Some(mark);
        Ok(())
    }
}
