//! Compares records that come a second time with the first.
//!
//! A tail that was resumed too early, or saved twice into one file, repeats records. They have to be the same bytes.
//! Keeping them would take memory without bound, so a second reader over the same file runs behind the first.

use std::io;

use super::{Item, Reader};
use crate::disk::File;
use crate::record::Record;
use crate::{Index, size};

/// Every so many records the place of one is kept.
const EVERY: u64 = 512;

/// What is known of a record that does not come next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Earlier {
    /// It came before, the same bytes.
    Same,
    /// Another record came before under its index.
    Different,
    /// None came before under its index.
    Never,
}

/// The places of the records so far, each index once and in order.
pub(crate) struct Repeats<'f, F> {
    file: &'f F,
    /// Index and byte of every [`EVERY`]th record, both ascending.
    marks: Vec<(Index, u64)>,
    records: u64,
    /// A reader, and the index before which it stands.
    behind: Option<(Reader<'f, F>, Index)>,
}

impl<'f, F: File> Repeats<'f, F> {
    pub(crate) fn new(file: &'f F) -> Self {
        Self { file, marks: Vec::new(), records: 0, behind: None }
    }

    /// Notes that the record `index`, larger than all before it, begins at `byte`.
    pub(crate) fn note(&mut self, index: Index, byte: u64) {
        if self.records.is_multiple_of(EVERY) {
            self.marks.push((index, byte));
        }
        self.records += 1;
    }

    /// Looks for the record that came first under the index of `record`, which begins at `byte`.
    ///
    /// # Errors
    /// As the file's reads.
    pub(crate) fn find(&mut self, record: &Record<'_>, byte: u64) -> io::Result<Earlier> {
        let after = self.marks.partition_point(|(index, _)| *index <= record.index);
        let Some((_, from)) = after.checked_sub(1).and_then(|at| self.marks.get(at)).copied() else {
            return Ok(Earlier::Never);
        };
        let until = self.marks.get(after).map_or(byte, |(_, next)| *next);
        let mut reader = match self.behind.take() {
            Some((reader, next)) if next == record.index => reader,
            _ => Reader::new(self.file, from),
        };
        while let Some((item, at)) = reader.next()? {
            if at >= until {
                break;
            }
            let Item::Record(first) = item else { continue };
            if first.index == record.index {
                let same = first.bytes == record.bytes;
                self.behind = Some((reader, record.index.next()));
                return Ok(if same { Earlier::Same } else { Earlier::Different });
            }
        }
        Ok(Earlier::Never)
    }

    /// How many records were noted.
    pub(crate) fn len(&self) -> usize {
        size::mem(self.records)
    }
}
