//! Where a tail is, where it ends, and whether what arrives continues it.

use gesta_log_format::Index;
use gesta_log_format::record::{self, NotARecord};

/// What arrived does not continue the tail: the server, or something between, is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disorder {
    /// Not the next index.
    #[error("index {expected} should follow, and index {found} came: records are missing or came twice")]
    Index { expected: i64, found: i64 },
    /// Not a record, or spoilt.
    #[error("what came behind index {cursor} is not a record: {reason}")]
    Record { cursor: i64, reason: NotARecord },
    /// Not what a block of its name holds.
    #[error("a control block cannot be read: {data}")]
    Control { data: String },
}

#[derive(Debug)]
pub(super) struct Position {
    /// The last index that is behind the tail.
    cursor: i64,
    /// The last index that is wanted; −1 is none at all.
    end: Option<i64>,
    /// Whether records may be left out.
    filtered: bool,
}

pub(super) fn signed(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

impl Position {
    pub(super) fn new(since: i64, until: Option<u64>, filtered: bool) -> Self {
        Self { cursor: since.max(-1), end: until.map(signed), filtered }
    }

    pub(super) fn cursor(&self) -> i64 {
        self.cursor
    }

    pub(super) fn end(&self) -> Option<i64> {
        self.end
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.end.is_some_and(|end| self.cursor >= end)
    }

    /// The log's first record is `first`: from the beginning of the log means from there.
    pub(super) fn begin(&mut self, first: u64) {
        if self.cursor == -1 {
            self.move_to(first);
        }
    }

    /// The record at `first` comes next.
    pub(super) fn move_to(&mut self, first: u64) {
        self.cursor = signed(first) - 1;
    }

    /// Nothing at or behind `head` is wanted.
    pub(super) fn end_before(&mut self, head: u64) {
        let last = signed(head) - 1;
        self.end = Some(self.end.map_or(last, |end| end.min(last)));
    }

    /// Moves over what a filter left out.
    pub(super) fn skip_to(&mut self, id: &str) -> Result<(), Disorder> {
        let last: i64 = id.parse().map_err(|_| Disorder::Control { data: format!("id: {id}") })?;
        if last > self.cursor && !self.filtered {
            return Err(Disorder::Index { expected: self.cursor + 1, found: last });
        }
        self.cursor = self.cursor.max(last);
        Ok(())
    }

    /// Moves over the records, and says how many of their bytes are sound and continue the tail.
    pub(super) fn take(&mut self, records: &[u8]) -> (usize, Option<Disorder>) {
        let mut len = 0;
        while let Some(rest) = records.get(len..).filter(|rest| !rest.is_empty()) {
            let record = match record::decode(rest) {
                Ok(record) => record,
                Err(reason) => return (len, Some(Disorder::Record { cursor: self.cursor, reason })),
            };
            let Index(index) = record.index;
            let (expected, found) = (self.cursor + 1, signed(index));
            if found < expected || (found > expected && !self.filtered) {
                return (len, Some(Disorder::Index { expected, found }));
            }
            if self.end.is_some_and(|end| found > end) {
                self.cursor = self.cursor.max(found);
                break;
            }
            self.cursor = found;
            len += record.bytes.len();
        }
        (len, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(since: i64, until: Option<u64>, filtered: bool) -> Position {
        Position::new(since, until, filtered)
    }

    #[test]
    fn a_tail_of_an_empty_log_is_at_its_end() {
        let mut position = at(-1, None, false);
        position.end_before(0);
        assert!(position.is_at_end());
    }

    #[test]
    fn the_nearer_end_counts() {
        let mut position = at(-1, Some(3), false);
        position.end_before(10);
        assert_eq!(position.end(), Some(3));
        position.end_before(2);
        assert_eq!(position.end(), Some(1));
    }

    #[test]
    fn a_log_that_begins_later_is_taken_from_there_only_by_who_wants_all() {
        let mut position = at(-1, None, false);
        position.begin(8);
        assert_eq!(position.cursor(), 7);
        let mut position = at(5, None, false);
        position.begin(8);
        assert_eq!(position.cursor(), 5);
    }

    #[test]
    fn only_a_filter_lets_a_cursor_skip_and_none_lets_it_go_back() {
        assert!(at(4, None, false).skip_to("9").is_err());
        let mut position = at(4, None, true);
        position.skip_to("9").unwrap();
        position.skip_to("6").unwrap();
        assert_eq!(position.cursor(), 9);
        assert!(position.skip_to("x").is_err());
    }
}
