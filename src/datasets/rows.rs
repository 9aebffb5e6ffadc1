//! The rows of all dataset versions, in the derived store.
//!
//! A fold of the log: what each TASK `buffer_committed` brought, in the order of the log, rows whose `dedupe_key` their
//! version has already left out. The mark says how far the log was followed; without it, or where it is another log's, all
//! is dropped and made again. There is one writer, the follower.
//!
//! One tree. Keys are 16 bytes of a hash of stream, dataset and version, then `n` (how many rows), `r` and the row's
//! number (the row), `k` and a `dedupe_key` (the row's number), `d` and an index (a dead letter), or `x` (the record from
//! which on rows are missing).

use gesta_log_format::Index;
use sled::{Batch, Tree};
use tracing::warn;

use super::batch::Row;
use super::name::Version;
use crate::projector::Origin;

const TREE: &str = "dataset_rows";

/// What these keys and values are, and of which log: the version of this form first.
const LABEL: &[u8] = b"label";
const MARK: &[u8] = b"mark";

const FORM: &str = "gesta rows 1";

/// The rows.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    tree: Tree,
}

/// Why the rows cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowsError {
    #[error("the derived store cannot be used: {0}")]
    Store(#[from] sled::Error),
    #[error("the derived store holds what was not written")]
    Form,
}

/// A row as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    /// From 0, in the order of the log.
    pub(super) number: u64,
    /// The TASK `buffer_committed` that brought it.
    pub(super) index: Index,
    pub(super) data: Vec<u8>,
}

/// The place of a version's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place([u8; 16]);

impl Place {
    fn of(version: &Version) -> Self {
        let mut hash = blake3::Hasher::new();
        for part in [&version.stream_id, &version.dataset_uuid, &version.dataset_version] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let mut place = [0; 16];
        hash.finalize_xof().fill(&mut place);
        Self(place)
    }

    fn key(self, what: u8, rest: &[u8]) -> Vec<u8> {
        [&self.0, [what].as_slice(), rest].concat()
    }
}

fn number(value: &[u8]) -> Result<u64, RowsError> {
    value.try_into().map(u64::from_be_bytes).map_err(|_| RowsError::Form)
}

impl Rows {
    /// The rows of the log with this origin, which ends at `head`.
    ///
    /// # Errors
    /// Where sled or the disk below it fails.
    pub(super) fn open(db: &sled::Db, origin: &Origin, head: Index) -> Result<Self, sled::Error> {
        let tree = db.open_tree(TREE)?;
        let label = format!("{FORM}\n{}", origin.0);
        let mark = tree.get(MARK)?.and_then(|mark| number(&mark).ok());
        let is_own = tree.get(LABEL)?.is_some_and(|found| found == label.as_bytes());
        if !is_own || mark.is_none_or(|mark| mark > head.0) {
            if !tree.is_empty() {
                warn!("the rows in the derived store are not this log's: they are made again");
            }
            tree.clear()?;
            let mut batch = Batch::default();
            batch.insert(LABEL, label.as_bytes());
            batch.insert(MARK, &0_u64.to_be_bytes());
            tree.apply_batch(batch)?;
        }
        Ok(Self { tree })
    }

    /// All records below were followed.
    pub(super) fn mark(&self) -> Result<Index, RowsError> {
        self.tree.get(MARK)?.map_or(Err(RowsError::Form), |mark| number(&mark)).map(Index)
    }

    pub(super) fn set_mark(&self, mark: Index) -> Result<(), RowsError> {
        self.tree.insert(MARK, &mark.0.to_be_bytes())?;
        Ok(())
    }

    /// Adds the rows of a batch, those left out whose identity is there, and gives how many rows there are then. The same
    /// batch again changes nothing.
    pub(super) fn add(&self, version: &Version, index: Index, rows: &[Row]) -> Result<u64, RowsError> {
        let place = Place::of(version);
        let mut count = self.count(version)?;
        let mut batch = Batch::default();
        let mut added = std::collections::HashSet::new();
        for row in rows {
            let identity = place.key(b'k', row.dedupe_key.as_bytes());
            if self.tree.contains_key(&identity)? || !added.insert(row.dedupe_key.as_str()) {
                continue;
            }
            batch.insert(identity, &count.to_be_bytes());
            let value = [&index.0.to_be_bytes(), row.data.as_slice()].concat();
            batch.insert(place.key(b'r', &count.to_be_bytes()), value);
            count += 1;
        }
        batch.insert(place.key(b'n', &[]), &count.to_be_bytes());
        self.tree.apply_batch(batch)?;
        Ok(count)
    }

    /// How many rows a version has.
    pub(super) fn count(&self, version: &Version) -> Result<u64, RowsError> {
        self.tree.get(Place::of(version).key(b'n', &[]))?.map_or(Ok(0), |count| number(&count))
    }

    /// At most `limit` rows from the number `from` on, and no more once they have `bytes_max` bytes.
    pub(super) fn page(
        &self,
        version: &Version,
        from: u64,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<Stored>, RowsError> {
        let place = Place::of(version);
        let (first, end) = (place.key(b'r', &from.to_be_bytes()), place.key(b's', &[]));
        let (mut page, mut bytes) = (Vec::new(), 0);
        for entry in self.tree.range(first..end).take(limit) {
            let (key, value) = entry?;
            let (index, data) = value.split_at_checked(8).ok_or(RowsError::Form)?;
            bytes += data.len();
            let number = number(key.get(17..).unwrap_or_default())?;
            page.push(Stored { number, index: Index(self::number(index)?), data: data.to_vec() });
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(page)
    }

    /// Notes a batch that was refused.
    pub(super) fn note_dead_letter(&self, version: &Version, index: Index) -> Result<(), RowsError> {
        self.tree.insert(Place::of(version).key(b'd', &index.0.to_be_bytes()), &[])?;
        Ok(())
    }

    /// At most `limit` TASK `buffer_dead_lettered` of a version at `since` or above.
    pub(super) fn dead_letters(
        &self,
        version: &Version,
        since: Index,
        limit: usize,
    ) -> Result<Vec<Index>, RowsError> {
        let place = Place::of(version);
        let (first, end) = (place.key(b'd', &since.0.to_be_bytes()), place.key(b'e', &[]));
        let entries = self.tree.range(first..end).keys().take(limit);
        entries.map(|key| number(key?.get(17..).unwrap_or_default()).map(Index)).collect()
    }

    /// Notes that the rows of a batch cannot be had: from its record on they are missing.
    pub(super) fn note_missing(&self, version: &Version, index: Index) -> Result<(), RowsError> {
        let key = Place::of(version).key(b'x', &[]);
        // An earlier note stays.
        let _ = self.tree.compare_and_swap(key, None::<&[u8]>, Some(&index.0.to_be_bytes()))?;
        Ok(())
    }

    /// The first record whose rows are missing.
    pub(super) fn missing(&self, version: &Version) -> Result<Option<Index>, RowsError> {
        let found = self.tree.get(Place::of(version).key(b'x', &[]))?;
        found.map(|index| number(&index).map(Index)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(db: &sled::Db, origin: &str, head: u64) -> Rows {
        Rows::open(db, &Origin(origin.to_owned()), Index(head)).unwrap()
    }

    fn store() -> sled::Db {
        sled::Config::new().temporary(true).open().unwrap()
    }

    fn version(name: &str) -> Version {
        Version::new("default", "d", name)
    }

    fn row(key: &str, data: &str) -> Row {
        Row { dedupe_key: key.to_owned(), data: data.as_bytes().to_vec() }
    }

    fn all(rows: &Rows, version: &Version) -> Vec<(u64, u64, String)> {
        let page = rows.page(version, 0, 100, usize::MAX).unwrap();
        let text = |stored: Stored| String::from_utf8(stored.data).unwrap();
        page.into_iter().map(|stored| (stored.number, stored.index.0, text(stored))).collect()
    }

    #[test]
    fn a_row_that_is_there_is_left_out_whoever_brings_it_again() {
        let db = store();
        let rows = open(&db, "o", 100);
        let (one, two) = (version("1"), version("2"));
        let first = [row("a", "A"), row("b", "B"), row("a", "again")];
        assert_eq!(rows.add(&one, Index(5), &first).unwrap(), 2);
        assert_eq!(rows.add(&one, Index(5), &first).unwrap(), 2, "the same batch again");
        assert_eq!(rows.add(&one, Index(9), &[row("b", "other"), row("c", "C")]).unwrap(), 3);
        assert_eq!(rows.add(&two, Index(11), &[row("a", "its own")]).unwrap(), 1);
        let expected = [(0, 5, "A"), (1, 5, "B"), (2, 9, "C")].map(|(n, i, d)| (n, i, d.to_owned()));
        assert_eq!(all(&rows, &one), expected);
        assert_eq!(all(&rows, &two).len(), 1);
        let page = rows.page(&one, 1, 1, usize::MAX).unwrap();
        assert_eq!((page.len(), page[0].number), (1, 1));
        assert_eq!(rows.page(&one, 0, 100, 1).unwrap().len(), 1, "one row however large");
    }

    #[test]
    fn another_logs_rows_are_dropped_and_so_are_those_ahead_of_the_log() {
        for (origin, head, kept) in [("o", 7, true), ("o", 6, false), ("p", 7, false)] {
            let db = store();
            let rows = open(&db, "o", 100);
            rows.add(&version("1"), Index(5), &[row("a", "A")]).unwrap();
            rows.set_mark(Index(7)).unwrap();
            let rows = open(&db, origin, head);
            assert_eq!(rows.count(&version("1")).unwrap(), u64::from(kept), "{origin} {head}");
            assert_eq!(rows.mark().unwrap(), Index(if kept { 7 } else { 0 }));
        }
    }

    #[test]
    fn dead_letters_and_what_is_missing_are_found_by_version() {
        let db = store();
        let rows = open(&db, "o", 100);
        for index in [9, 3, 300] {
            rows.note_dead_letter(&version("1"), Index(index)).unwrap();
        }
        let found = |since, limit| rows.dead_letters(&version("1"), Index(since), limit).unwrap();
        assert_eq!(found(0, 9), [Index(3), Index(9), Index(300)]);
        assert_eq!(found(4, 1), [Index(9)]);
        assert_eq!(rows.dead_letters(&version("2"), Index(0), 9).unwrap(), []);
        rows.note_missing(&version("1"), Index(4)).unwrap();
        rows.note_missing(&version("1"), Index(8)).unwrap();
        assert_eq!(rows.missing(&version("1")).unwrap(), Some(Index(4)));
        assert_eq!(rows.missing(&version("2")).unwrap(), None);
    }
}
