//! The keys of sealed segments, in sled: pages of sorted pairs, and a filter in memory for each segment.
//!
//! Trees: `keys.pages` (see `page.rs`), `keys.parts` (filter and offset table, in pieces), `keys.entries` (one
//! `Entry` a segment, written and flushed after all the rest) and `keys.format` (the version of all these). An absent
//! key costs one look into each filter; a present one, one page a segment that has it. Answers are candidates:
//! fingerprints may collide, so the caller reads the record.

use std::sync::{Arc, PoisonError, RwLock};

use sled::{Db, Tree};
use tracing::warn;

use super::entry::{Entry, Part};
use super::filter::Filter;
use super::page::{self, Page, Pair};
use super::{Fingerprint, KeysError, SealedSegment};

/// Version of everything stored here. Another one drops the trees, and the segments are indexed again.
const FORMAT: &[u8] = b"gesta keys 2";
const PIECE_BYTES: usize = 16 * 1024;

/// Postings of sealed segments. Look-ups may read the disk.
#[derive(Debug)]
pub struct SealedKeys {
    db: Db,
    pages: Tree,
    parts: Tree,
    entries: Tree,
    /// Ascending by first index. Replaced whole, so that a look-up holds the lock for one clone.
    covered: RwLock<Covered>,
}

type Covered = Arc<[Arc<Segment>]>;

/// What is in memory of a covered segment.
#[derive(Debug)]
struct Segment {
    entry: Entry,
    filter: Filter,
}

/// Which part of a segment a piece belongs to.
#[derive(Clone, Copy)]
#[repr(u8)]
enum PartKind {
    Filter = 1,
    Offsets = 2,
}

impl SealedKeys {
    /// Reads the entries and filters of a database. A segment whose entry or filter is not as it was written is
    /// dropped, and so counts as missing.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub fn open(db: Db) -> Result<Self, KeysError> {
        drop_other_formats(&db)?;
        let keys = Self {
            pages: db.open_tree("keys.pages")?,
            parts: db.open_tree("keys.parts")?,
            entries: db.open_tree("keys.entries")?,
            covered: RwLock::default(),
            db,
        };
        let mut covered = Vec::new();
        let mut broken = Vec::new();
        for stored in &keys.entries {
            let (key, value) = stored?;
            match keys.load(&value)? {
                Some(segment) if segment.entry.segment.first.to_be_bytes() == *key => {
                    covered.push(Arc::new(segment))
                }
                Some(_) | None => broken.push(key),
            }
        }
        for key in broken {
            warn!(
                ?key,
                "a segment's key entry or filter is not as it was written: the segment is indexed again"
            );
            keys.entries.remove(key)?;
        }
        keys.publish(covered);
        Ok(keys)
    }

    fn load(&self, entry: &[u8]) -> Result<Option<Segment>, KeysError> {
        let Some(entry) = Entry::from_bytes(entry) else { return Ok(None) };
        let filter = self.read_part(entry.segment.first, PartKind::Filter, entry.filter)?;
        Ok(filter.and_then(|bytes| Filter::from_bytes(&bytes)).map(|filter| Segment { entry, filter }))
    }

    /// The segments whose keys are complete here, ascending.
    #[must_use]
    pub fn segments(&self) -> Vec<SealedSegment> {
        self.covered().iter().map(|segment| segment.entry.segment).collect()
    }

    /// End of the highest segment whose keys are complete and flushed; 0 where there is none. Everything below it was
    /// acknowledged once: a floor for the log's recovery.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.covered().last().map_or(0, |segment| segment.entry.segment.end)
    }

    /// Stores the keys of a sealed segment and the caller's offset table, in place of any that it had. Durable, and
    /// seen by look-ups, once this returns; a crash before that leaves the segment missing. Only one thread may write.
    ///
    /// `postings` ascend by (fingerprint, index within the segment), without a repeat.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub fn put_segment(
        &self,
        segment: SealedSegment,
        postings: impl IntoIterator<Item = (Fingerprint, u32)>,
        offsets: &[u8],
    ) -> Result<(), KeysError> {
        self.drop_segment(segment.first)?;
        let (hashes, postings) = self.put_pages(segment.first, postings)?;
        let filter = Filter::build(&hashes);
        drop(hashes);
        let filter_bytes = filter.to_bytes();
        self.put_part(segment.first, PartKind::Filter, &filter_bytes)?;
        self.put_part(segment.first, PartKind::Offsets, offsets)?;
        self.db.flush()?;
        let entry = Entry { segment, postings, filter: Part::of(&filter_bytes), offsets: Part::of(offsets) };
        self.entries.insert(segment.first.to_be_bytes(), entry.to_bytes())?;
        self.db.flush()?;
        let others = self.covered();
        let others = others.iter().filter(|other| other.entry.segment.first != segment.first).cloned();
        self.publish(others.chain([Arc::new(Segment { entry, filter })]).collect());
        Ok(())
    }

    /// Writes the pages; the hash of each different fingerprint, and the number of postings.
    fn put_pages(
        &self,
        segment: u64,
        postings: impl IntoIterator<Item = (Fingerprint, u32)>,
    ) -> Result<(Vec<u64>, u64), KeysError> {
        let mut hashes = Vec::new();
        let mut count = 0;
        let mut last = Pair::LOWEST;
        let mut place = Pair::LOWEST;
        let mut pairs = Vec::with_capacity(page::PAIRS);
        for (fingerprint, relative) in postings {
            let pair = Pair::new(&fingerprint, relative);
            assert!(count == 0 || last < pair, "postings ascend without a repeat");
            if count == 0 || last.fingerprint() != fingerprint {
                hashes.push(fingerprint.hash64());
            }
            if pairs.len() == page::PAIRS {
                self.put_page(segment, place, &pairs, pair)?;
                pairs.clear();
                place = pair;
            }
            pairs.push(pair);
            last = pair;
            count += 1;
        }
        self.put_page(segment, place, &pairs, Pair::HIGHEST)?;
        Ok((hashes, count))
    }

    fn put_page(&self, segment: u64, place: Pair, pairs: &[Pair], next: Pair) -> Result<(), KeysError> {
        let key = page::key(segment, place);
        // One insert at a time: a sled batch would shut out every reader of the database while it is applied.
        self.pages.insert(key, page::encode(&key, pairs, next))?;
        Ok(())
    }

    /// Removes a segment's keys, if it has any. Durable with the next flush.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub fn drop_segment(&self, first: u64) -> Result<(), KeysError> {
        let prefix = first.to_be_bytes();
        if self.entries.remove(prefix)?.is_some() {
            let covered = self.covered();
            self.publish(
                covered.iter().filter(|other| other.entry.segment.first != first).cloned().collect(),
            );
            // The entry must be gone for good before the first page is.
            self.db.flush()?;
        }
        for tree in [&self.pages, &self.parts] {
            for key in tree.scan_prefix(prefix).keys() {
                tree.remove(key?)?;
            }
        }
        Ok(())
    }

    /// The offset table that the caller stored with this segment. `None` where the segment is not covered.
    ///
    /// # Errors
    /// [`KeysError::Store`]; [`KeysError::Damaged`] where it is not as it was written.
    pub fn offsets(&self, first: u64) -> Result<Option<Vec<u8>>, KeysError> {
        let covered = self.covered();
        let Some(segment) = covered.iter().find(|segment| segment.entry.segment.first == first) else {
            return Ok(None);
        };
        let bytes = self.read_part(first, PartKind::Offsets, segment.entry.offsets)?;
        bytes.map(Some).ok_or(KeysError::Damaged { segment: first })
    }

    /// The highest index that may bear this key.
    ///
    /// # Errors
    /// [`KeysError::Store`]; [`KeysError::Damaged`]: drop that segment and index it again.
    pub fn newest(&self, fingerprint: &Fingerprint) -> Result<Option<u64>, KeysError> {
        for segment in self.covered().iter().rev().filter(|segment| segment.filter.may_have(fingerprint)) {
            let first = segment.entry.segment.first;
            let highest = Pair::new(fingerprint, u32::MAX);
            match self.page_at(first, highest)?.last_to(highest) {
                Some(pair) if pair.fingerprint() == *fingerprint => {
                    return Ok(Some(first + u64::from(pair.relative())));
                }
                Some(_) | None => {}
            }
        }
        Ok(None)
    }

    /// The lowest index that may bear this key.
    ///
    /// # Errors
    /// As [`SealedKeys::newest`].
    pub fn oldest(&self, fingerprint: &Fingerprint) -> Result<Option<u64>, KeysError> {
        Ok(self.all(fingerprint, None, 1)?.first().copied())
    }

    /// The lowest `limit` indexes at or above `since` that may bear this key, ascending.
    ///
    /// # Errors
    /// As [`SealedKeys::newest`].
    pub fn all(
        &self,
        fingerprint: &Fingerprint,
        since: Option<u64>,
        limit: usize,
    ) -> Result<Vec<u64>, KeysError> {
        let since = since.unwrap_or(0);
        let mut found = Vec::new();
        for segment in self.covered().iter().filter(|segment| segment.entry.segment.end > since) {
            if found.len() == limit {
                break;
            }
            if segment.filter.may_have(fingerprint) {
                self.scan(segment.entry.segment.first, fingerprint, since, limit, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Adds this segment's postings to `found`, following the chain of pages, until there are `limit`.
    fn scan(
        &self,
        first: u64,
        fingerprint: &Fingerprint,
        since: u64,
        limit: usize,
        found: &mut Vec<u64>,
    ) -> Result<(), KeysError> {
        let Ok(relative) = u32::try_from(since.saturating_sub(first)) else { return Ok(()) };
        let from = Pair::new(fingerprint, relative);
        let mut page = self.page_at(first, from)?;
        loop {
            for pair in page.from(from) {
                if found.len() == limit || pair.fingerprint() != *fingerprint {
                    return Ok(());
                }
                found.push(first + u64::from(pair.relative()));
            }
            if page.next.fingerprint() != *fingerprint {
                return Ok(());
            }
            let next = page::key(first, page.next);
            let value = self.pages.get(next)?.ok_or(KeysError::Damaged { segment: first })?;
            page = Page::read(&next, value).ok_or(KeysError::Damaged { segment: first })?;
        }
    }

    /// The page in whose range `pair` falls. Every segment's first page is at [`Pair::LOWEST`], so there is one.
    fn page_at(&self, segment: u64, pair: Pair) -> Result<Page, KeysError> {
        let range = page::key(segment, Pair::LOWEST)..=page::key(segment, pair);
        let found = self.pages.range(range).next_back().transpose()?;
        let page = found.and_then(|(key, value)| Page::read(&key, value));
        // A page that ends before the pair says that the one between is lost.
        page.filter(|page| page.next > pair).ok_or(KeysError::Damaged { segment })
    }

    fn put_part(&self, segment: u64, kind: PartKind, bytes: &[u8]) -> Result<(), KeysError> {
        for (number, piece) in (0_u32..).zip(bytes.chunks(PIECE_BYTES)) {
            self.parts.insert(piece_key(segment, kind, number), piece)?;
        }
        Ok(())
    }

    /// Reads a part. `None` where it is not as it was written.
    fn read_part(&self, segment: u64, kind: PartKind, part: Part) -> Result<Option<Vec<u8>>, KeysError> {
        let mut bytes = Vec::new();
        for piece in self.parts.range(piece_key(segment, kind, 0)..=piece_key(segment, kind, u32::MAX)) {
            bytes.extend_from_slice(&piece?.1);
        }
        Ok((Part::of(&bytes) == part).then_some(bytes))
    }

    fn covered(&self) -> Covered {
        // A panic cannot leave the list half replaced, so a poisoned lock says nothing about it.
        self.covered.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn publish(&self, mut covered: Vec<Arc<Segment>>) {
        covered.sort_unstable_by_key(|segment| segment.entry.segment.first);
        *self.covered.write().unwrap_or_else(PoisonError::into_inner) = covered.into();
    }
}

fn drop_other_formats(db: &Db) -> Result<(), KeysError> {
    let format = db.open_tree("keys.format")?;
    let found = format.get("format")?;
    if found.as_deref() == Some(FORMAT) {
        return Ok(());
    }
    if found.is_some() {
        warn!(?found, "the key index has another format: every segment is indexed again");
    }
    // Entries first: without them the rest is leftovers of a crash.
    for name in ["keys.entries", "keys.pages", "keys.parts"] {
        db.drop_tree(name)?;
        db.flush()?;
    }
    format.insert("format", FORMAT)?;
    db.flush()?;
    Ok(())
}

fn piece_key(segment: u64, kind: PartKind, number: u32) -> [u8; 13] {
    let mut key = [0; 13];
    key[..8].copy_from_slice(&segment.to_be_bytes());
    key[8] = kind as u8;
    key[9..].copy_from_slice(&number.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::super::store;
    use super::*;

    const SEGMENT: SealedSegment = SealedSegment { first: 100, end: 200, seal: [3; 32] };

    fn key(number: u64) -> Fingerprint {
        Fingerprint::correlation("", &number.to_string())
    }

    /// A database with one segment of a hundred keys, changed by `change` while nothing has it open as an index.
    fn reopened(change: impl FnOnce(&Db)) -> (tempfile::TempDir, SealedKeys) {
        let dir = tempfile::tempdir().unwrap();
        let db = store::open(dir.path(), 1 << 20).unwrap();
        let keys = SealedKeys::open(db.clone()).unwrap();
        let mut postings: Vec<_> = (0..100).map(|number| (key(u64::from(number)), number)).collect();
        postings.sort_unstable();
        keys.put_segment(SEGMENT, postings, &vec![5; 100_000]).unwrap();
        drop(keys);
        change(&db);
        (dir, SealedKeys::open(db).unwrap())
    }

    #[test]
    fn a_reopened_index_has_its_segments_and_offset_tables() {
        let (_dir, keys) = reopened(|_| ());
        assert_eq!(keys.segments(), [SEGMENT]);
        assert_eq!(keys.offsets(100).unwrap().unwrap(), vec![5; 100_000]);
        assert_eq!(keys.newest(&key(42)).unwrap(), Some(142));
        assert_eq!(keys.newest(&key(1000)).unwrap(), None);
    }

    #[test]
    fn another_format_is_dropped_whole() {
        let (_dir, keys) = reopened(|db| {
            db.open_tree("keys.format").unwrap().insert("format", "gesta keys 0").unwrap();
        });
        assert_eq!(keys.segments(), []);
        assert_eq!((keys.pages.len(), keys.parts.len()), (0, 0));
    }

    #[test]
    fn a_changed_entry_or_filter_leaves_the_segment_missing() {
        for (tree, at) in [("keys.entries", 20), ("keys.parts", 60)] {
            let (_dir, keys) = reopened(|db| {
                let tree = db.open_tree(tree).unwrap();
                let (key, value) = tree.first().unwrap().unwrap();
                let mut value = value.to_vec();
                value[at] ^= 1;
                tree.insert(key, value).unwrap();
            });
            assert_eq!(keys.segments(), [], "{tree}");
        }
    }

    #[test]
    fn a_lost_page_is_damage_and_never_an_absent_key() {
        let pages = reopened(|_| ()).1.pages.len();
        for lost in 0..pages {
            let (_dir, keys) = reopened(|db| {
                let tree = db.open_tree("keys.pages").unwrap();
                let key = tree.iter().keys().nth(lost).unwrap().unwrap();
                tree.remove(key).unwrap();
            });
            let answers: Vec<_> =
                (0..100).map(|number| keys.newest(&key(number)).map(|at| at == Some(100 + number))).collect();
            assert!(
                answers
                    .iter()
                    .all(|answer| matches!(answer, Ok(true) | Err(KeysError::Damaged { segment: 100 })))
            );
            assert!(answers.iter().any(Result::is_err), "page {lost}");
        }
    }
}
