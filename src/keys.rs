//! Key -> index: which records bear a subject, a correlation id, a thread, a turn or a digest.
//!
//! Owns the postings of every record: of sealed segments in flushed pages ([`sealed`]), of the active segment and of
//! those not flushed yet in memory ([`active`]). All of it is derived: what is missing is indexed again from the log.
//! It never reads a record, so every answer is a candidate that the caller confirms.
//!
//! The writer thread inserts each batch once it is durable, and compares in memory only; look-ups that may read the
//! disk run in ingress, under a [`Ticket`]. Every posting is, at every moment, in memory or in the pages that a
//! look-up sees, or in both.

pub mod active;
mod entry;
mod filter;
mod fingerprint;
mod memory;
mod page;
pub mod sealed;
pub mod store;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

pub use fingerprint::Fingerprint;
pub use memory::Ticket;

use self::active::ActiveKeys;
use self::memory::{Memory, MemorySegment};
use self::sealed::SealedKeys;

/// A sealed segment of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedSegment {
    /// Index of its first record.
    pub first: u64,
    /// One more than the index of its last record.
    pub end: u64,
    /// Digest of its seal: other bytes in the segment, another seal.
    pub seal: [u8; 32],
}

/// Why a look-up or a write of the key index failed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// sled, or the disk below it.
    #[error("the key index cannot be read or written")]
    Store {
        /// What sled says.
        #[from]
        cause: sled::Error,
    },
    /// A page or table is lost or changed. The log is untouched: drop the segment's keys and index it again.
    #[error("the key index of the segment that begins at index {segment} is damaged")]
    Damaged {
        /// Index of the segment's first record.
        segment: u64,
    },
}

/// The whole key index of a running server.
#[derive(Debug)]
pub struct Keys {
    sealed: SealedKeys,
    memory: Memory,
    /// Sealed segments whose pages are not flushed yet, oldest first.
    unflushed: Mutex<VecDeque<Unflushed>>,
    /// Held by the one thread that writes pages.
    flushing: Mutex<()>,
}

#[derive(Clone, Debug)]
struct Unflushed {
    segment: SealedSegment,
    offsets: Arc<[u8]>,
    postings: Arc<MemorySegment>,
}

impl Keys {
    /// Takes the flushed keys of the log's sealed segments `log`, and says which of these segments are missing:
    /// each must be indexed again ([`Keys::index_again`]) before the first look-up. Keys of segments that the log does
    /// not have, or has with another seal, are dropped.
    ///
    /// [`SealedKeys::mark`] is a floor for the log's recovery, so it is read before this.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub fn new(sealed: SealedKeys, log: &[SealedSegment]) -> Result<(Self, Vec<SealedSegment>), KeysError> {
        for other in sealed.segments().iter().filter(|segment| !log.contains(segment)) {
            sealed.drop_segment(other.first)?;
        }
        let covered = sealed.segments();
        let missing = log.iter().filter(|segment| !covered.contains(segment)).copied().collect();
        let keys =
            Self { sealed, memory: Memory::new(), unflushed: Mutex::default(), flushing: Mutex::default() };
        Ok((keys, missing))
    }

    /// Stores the keys of a missing segment, read from the log again, and its offset table.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub fn index_again(
        &self,
        segment: SealedSegment,
        postings: &ActiveKeys,
        offsets: &[u8],
    ) -> Result<(), KeysError> {
        let _flushing = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        self.sealed.put_segment(segment, postings.sorted(), offsets)
    }

    /// Starts the active segment, whose first record will have the index `first`. The one before it must be sealed.
    pub fn begin_segment(&self, first: u64) {
        self.memory.begin(first);
    }

    /// Adds the keys of durable records to the active segment, in the order of their indexes. Only the writer thread
    /// calls this.
    ///
    /// # Panics
    /// Before the first [`Keys::begin_segment`].
    pub fn insert_batch<'a>(&self, records: impl IntoIterator<Item = (u64, &'a [Fingerprint])>) {
        let memory = self.memory.snapshot();
        memory.last().expect("a segment was begun before its first record").insert(records);
    }

    /// Notes that the active segment is sealed, and hands it to the next [`Keys::flush_sealed`] with the caller's
    /// offset table. It stays in memory until then.
    ///
    /// # Panics
    /// Where `segment` is not the active one.
    pub fn seal_segment(&self, segment: SealedSegment, offsets: impl Into<Arc<[u8]>>) {
        let memory = self.memory.snapshot();
        let postings = memory.last().filter(|active| active.first == segment.first).cloned();
        let postings = postings.expect("the segment that is sealed is the active one");
        let mut unflushed = self.unflushed.lock().unwrap_or_else(PoisonError::into_inner);
        unflushed.push_back(Unflushed { segment, offsets: offsets.into(), postings });
    }

    /// Writes the pages of every sealed segment that has none yet, and frees what memory it may; the number of
    /// segments written. For a background thread: it takes about half a second a segment.
    ///
    /// # Errors
    /// [`KeysError::Store`]; the segment stays in memory and is tried again by the next call.
    pub fn flush_sealed(&self) -> Result<usize, KeysError> {
        let _flushing = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut written = 0;
        while let Some(Unflushed { segment, offsets, postings }) = self.oldest_unflushed() {
            // A sealed segment is not written to any more, so holding its lock keeps nobody waiting.
            postings.read(|keys| self.sealed.put_segment(segment, keys.sorted(), &offsets))?;
            self.memory.flushed(segment.first);
            self.unflushed.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            written += 1;
        }
        self.release_flushed();
        Ok(written)
    }

    fn oldest_unflushed(&self) -> Option<Unflushed> {
        self.unflushed.lock().unwrap_or_else(PoisonError::into_inner).front().cloned()
    }

    /// Frees the memory of flushed segments that no ticket needs any more; the number of those that one still needs.
    /// For a background thread: freeing a segment takes milliseconds.
    pub fn release_flushed(&self) -> usize {
        self.memory.release()
    }

    /// Taken by a request before its look-ups, and dropped once the writer has compared it.
    #[must_use]
    pub fn checked_through(&self) -> Ticket {
        self.memory.ticket()
    }

    /// End of the highest segment whose keys are in flushed pages; 0 where there is none. Once no segment is missing,
    /// the keys of everything below it are.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.sealed.mark()
    }

    /// The highest index in memory that bears this key: what the writer compares. Never reads the disk.
    #[must_use]
    pub fn newest_in_memory(&self, fingerprint: &Fingerprint) -> Option<u64> {
        self.memory.snapshot().iter().rev().find_map(|segment| segment.newest(fingerprint))
    }

    /// The highest index that may bear this key. May read the disk.
    ///
    /// # Errors
    /// [`KeysError::Store`]; [`KeysError::Damaged`].
    pub fn newest(&self, fingerprint: &Fingerprint) -> Result<Option<u64>, KeysError> {
        // Memory first: a segment leaves it only after look-ups see its pages.
        match self.newest_in_memory(fingerprint) {
            Some(index) => Ok(Some(index)),
            None => self.sealed.newest(fingerprint),
        }
    }

    /// The lowest index that may bear this key. May read the disk.
    ///
    /// # Errors
    /// [`KeysError::Store`]; [`KeysError::Damaged`].
    pub fn oldest(&self, fingerprint: &Fingerprint) -> Result<Option<u64>, KeysError> {
        Ok(self.postings(fingerprint, None, 1)?.first().copied())
    }

    /// The lowest `limit` indexes at or above `since` that may bear this key, ascending. May read the disk.
    ///
    /// # Errors
    /// [`KeysError::Store`]; [`KeysError::Damaged`].
    pub fn postings(
        &self,
        fingerprint: &Fingerprint,
        since: Option<u64>,
        limit: usize,
    ) -> Result<Vec<u64>, KeysError> {
        // The list of memory segments is taken first, as in `newest`; what it holds is read last, being the highest.
        let memory = self.memory.snapshot();
        let mut found = self.sealed.all(fingerprint, since, limit)?;
        for segment in memory.iter() {
            if found.len() >= limit {
                break;
            }
            // A segment that is in memory and in pages would be listed twice.
            let above = found.last().map_or(0, |last| last + 1).max(since.unwrap_or(0));
            found.extend(segment.since(fingerprint, above));
        }
        found.truncate(limit);
        Ok(found)
    }

    /// The offset table that was stored with this sealed segment. `None` until its pages are flushed.
    ///
    /// # Errors
    /// [`KeysError::Store`]; [`KeysError::Damaged`].
    pub fn offsets(&self, first: u64) -> Result<Option<Vec<u8>>, KeysError> {
        self.sealed.offsets(first)
    }

    /// Removes the keys of a segment that retention has dropped, or whose pages are damaged and will be made again.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub fn drop_segment(&self, first: u64) -> Result<(), KeysError> {
        let _flushing = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        self.sealed.drop_segment(first)
    }
}

#[cfg(test)]
mod tests;
