//! The postings of one segment in memory: of the active segment, and of a sealed one until its pages are flushed.
//!
//! Split into shards by the fingerprint's first byte, so that no growth of a table or a vector moves more than a
//! 256th of the postings while the writer waits, and so that sorting for the flush needs little memory of its own.
//! About 34 bytes a posting. One writer inserts; the caller owns the lock.

use hashbrown::HashTable;

use super::Fingerprint;

const SHARDS: usize = 256;
const NONE: u32 = u32::MAX;

/// The keys of the records `first..`, each with the indexes that bear it, newest to oldest.
#[derive(Debug)]
pub struct ActiveKeys {
    first: u64,
    /// One more than the index that was last inserted, or `first`.
    end: u64,
    shards: Vec<Shard>,
}

#[derive(Debug, Default)]
struct Shard {
    /// In the order of insertion, so that a posting's position never changes.
    postings: Vec<Posting>,
    /// The newest posting of each fingerprint.
    newest: HashTable<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Posting {
    fingerprint: Fingerprint,
    /// Index within the segment.
    relative: u32,
    /// Position of the same fingerprint's previous posting, or [`NONE`].
    previous: u32,
}

/// Where one posting lies. Stays valid for as long as its [`ActiveKeys`] lives, whatever is inserted meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    shard: u8,
    at: u32,
}

impl ActiveKeys {
    /// No postings yet, of a segment whose first record has the index `first`.
    #[must_use]
    pub fn new(first: u64) -> Self {
        Self { first, end: first, shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }

    /// Index of the segment's first record.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// One more than the index that was last inserted, or [`ActiveKeys::first`].
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Adds the keys of the record `index`. A key that is named twice counts once.
    ///
    /// # Panics
    /// Where `index` is below an earlier one, or 2^32 − 1 or more above `first`: a segment holds fewer records.
    pub fn insert(&mut self, fingerprints: &[Fingerprint], index: u64) {
        assert!(index + 1 >= self.end, "keys arrive in the order of their records");
        let relative = index.checked_sub(self.first).and_then(|relative| u32::try_from(relative).ok());
        let relative =
            relative.filter(|relative| *relative != NONE).expect("a segment holds below 2^32 - 1 records");
        self.end = index + 1;
        for fingerprint in fingerprints {
            self.shards[usize::from(fingerprint.0[0])].insert(*fingerprint, relative);
        }
    }

    /// The highest index that bears this key.
    #[must_use]
    pub fn newest(&self, fingerprint: &Fingerprint) -> Option<u64> {
        self.newest_position(fingerprint).map(|position| self.step(position).0)
    }

    /// Every index that bears this key, newest to oldest.
    pub fn all(&self, fingerprint: &Fingerprint) -> impl Iterator<Item = u64> {
        let mut next = self.newest_position(fingerprint);
        std::iter::from_fn(move || {
            let (index, previous) = self.step(next?);
            next = previous;
            Some(index)
        })
    }

    /// Where the newest posting of this key lies: the start of a walk that may let go of the lock between steps.
    #[must_use]
    pub fn newest_position(&self, fingerprint: &Fingerprint) -> Option<Position> {
        let shard = fingerprint.0[0];
        self.shards[usize::from(shard)].newest(fingerprint).map(|at| Position { shard, at })
    }

    /// The index at `position`, and where the next older posting of the same key lies.
    ///
    /// # Panics
    /// Where `position` is of another `ActiveKeys`.
    #[must_use]
    pub fn step(&self, position: Position) -> (u64, Option<Position>) {
        let posting = self.shards[usize::from(position.shard)].postings[position.at as usize];
        let previous = (posting.previous != NONE).then_some(Position { at: posting.previous, ..position });
        (self.first + u64::from(posting.relative), previous)
    }

    /// Number of postings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.postings.len()).sum()
    }

    /// Whether there is no posting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.postings.is_empty())
    }

    /// Number of different keys.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.shards.iter().map(|shard| shard.newest.len()).sum()
    }

    /// Every posting as (fingerprint, index within the segment), ascending. Sorts one shard at a time.
    pub fn sorted(&self) -> impl Iterator<Item = (Fingerprint, u32)> {
        self.shards.iter().flat_map(|shard| {
            let mut pairs: Vec<_> =
                shard.postings.iter().map(|one| (one.fingerprint, one.relative)).collect();
            pairs.sort_unstable();
            pairs
        })
    }
}

impl Shard {
    fn insert(&mut self, fingerprint: Fingerprint, relative: u32) {
        let Self { postings, newest } = self;
        let at =
            u32::try_from(postings.len()).ok().filter(|at| *at != NONE).expect("a shard is far below 2^32");
        if postings.len() == postings.capacity() {
            // Growing by a quarter instead of doubling keeps the memory that lies idle below a fifth.
            postings.reserve_exact((postings.len() / 4).max(8));
        }
        let found =
            newest.find_mut(fingerprint.hash64(), |at| postings[*at as usize].fingerprint == fingerprint);
        let previous = match found {
            Some(slot) if postings[*slot as usize].relative == relative => return,
            Some(slot) => std::mem::replace(slot, at),
            None => {
                newest.insert_unique(fingerprint.hash64(), at, |at| {
                    postings[*at as usize].fingerprint.hash64()
                });
                NONE
            }
        };
        postings.push(Posting { fingerprint, relative, previous });
    }

    fn newest(&self, fingerprint: &Fingerprint) -> Option<u32> {
        self.newest
            .find(fingerprint.hash64(), |at| self.postings[*at as usize].fingerprint == *fingerprint)
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Fingerprint {
        Fingerprint::correlation("", &number.to_string())
    }

    #[test]
    fn a_key_lists_its_indexes_newest_first() {
        let mut keys = ActiveKeys::new(100);
        keys.insert(&[key(1), key(2)], 100);
        keys.insert(&[key(2), key(2)], 101);
        keys.insert(&[key(2), key(1)], 105);
        assert_eq!(keys.all(&key(1)).collect::<Vec<_>>(), [105, 100]);
        assert_eq!(keys.all(&key(2)).collect::<Vec<_>>(), [105, 101, 100]);
        assert_eq!(keys.newest(&key(3)), None);
        assert_eq!((keys.len(), keys.distinct(), keys.first(), keys.end()), (5, 2, 100, 106));
    }

    #[test]
    fn sorted_yields_every_posting_once_in_order() {
        let mut keys = ActiveKeys::new(7);
        for index in 7..5007 {
            keys.insert(&[key(u32::try_from(index % 1000).unwrap()), key(u32::MAX)], index);
        }
        let sorted: Vec<_> = keys.sorted().collect();
        assert_eq!(sorted.len(), 10_000);
        assert!(sorted.is_sorted_by(|one, next| one < next));
        assert_eq!(keys.distinct(), 1001);
    }

    #[test]
    fn a_walk_goes_on_where_it_stopped_after_later_inserts() {
        let mut keys = ActiveKeys::new(0);
        keys.insert(&[key(1)], 0);
        keys.insert(&[key(1)], 1);
        let position = keys.newest_position(&key(1)).unwrap();
        for index in 2..1000 {
            keys.insert(&[key(1)], index);
        }
        let (index, older) = keys.step(position);
        assert_eq!(index, 1);
        assert_eq!(keys.step(older.unwrap()).0, 0);
    }

    #[test]
    #[should_panic(expected = "in the order of their records")]
    fn an_index_below_an_earlier_one_is_refused() {
        let mut keys = ActiveKeys::new(0);
        keys.insert(&[key(1)], 5);
        keys.insert(&[key(1)], 4);
    }
}
