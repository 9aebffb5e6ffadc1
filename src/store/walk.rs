//! A walk along the log for a follower that reads what is applied, a piece at a time, and marks now and then how far it is.

use gesta_log_format::disk::real::RealFile;
use gesta_log_format::log::Cursor;
use gesta_log_format::{Index, record};

use super::{LookupError, RecordBytes, Store};

/// Where a follower is.
pub struct Walk {
    cursor: Cursor<RealFile>,
    buffer: Vec<u8>,
    /// The first index that was not looked at.
    next: Index,
    /// The first index that the stored mark does not cover.
    marked: Index,
}

/// Which records a follower looks for.
pub struct Interest {
    /// Whether bytes may hold one: asked of a whole piece, then of each record.
    pub may_be: fn(&[u8]) -> bool,
    /// Whether an envelope is one, of those that may be.
    pub is: fn(&[u8]) -> bool,
}

impl Walk {
    /// Begins at a stored mark.
    #[must_use]
    pub fn from(mark: Index) -> Self {
        Self { cursor: Cursor::at(mark), buffer: Vec::new(), next: mark, marked: mark }
    }

    #[must_use]
    pub fn next(&self) -> Index {
        self.next
    }

    /// Whether the mark is as many records behind.
    #[must_use]
    pub fn is_unmarked_for(&self, records: u64) -> bool {
        self.next.since(self.marked) >= records
    }

    /// Notes that the stored mark covers everything so far.
    pub fn note_marked(&mut self) {
        self.marked = self.next;
    }

    /// Reads a piece of the log below `end`, from memory where it is new, and gives the records of it that are of
    /// interest. May read the disk.
    ///
    /// # Errors
    /// [`LookupError::Read`]; the walk stays where it is, and finds its place anew.
    pub fn read(
        &mut self,
        store: &Store,
        end: Index,
        bytes_max: usize,
        interest: &Interest,
    ) -> Result<Vec<(Index, RecordBytes)>, LookupError> {
        if let Some(group) = store.live.holding(self.next) {
            let end = end.min(group.end());
            let found = interest.among(&group.slice(self.next, end));
            self.next = end;
            return Ok(found);
        }
        if self.cursor.next() != self.next {
            self.cursor = Cursor::at(self.next);
        }
        let read = store.reader.read(&mut self.cursor, end, &mut self.buffer, bytes_max);
        let chunk = read.inspect_err(|_| self.cursor = Cursor::at(self.next))?;
        self.next = self.cursor.next();
        Ok(interest.among(self.buffer.get(..chunk.len).unwrap_or_default()))
    }
}

impl Interest {
    /// Those of these whole records that are of interest.
    fn among(&self, records: &[u8]) -> Vec<(Index, RecordBytes)> {
        let mut found = Vec::new();
        let mut rest = if (self.may_be)(records) { records } else { &[] };
        while let Ok(one) = record::decode_trusted(rest) {
            if (self.may_be)(one.data) && (self.is)(one.data) {
                found.push((one.index, RecordBytes::of(&one)));
            }
            rest = rest.get(one.bytes.len()..).unwrap_or_default();
        }
        found
    }
}
