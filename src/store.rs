//! The opened log with its key index: what the writer, the routes and the background share.

mod kept;
mod look_up;
mod open;
mod record_keys;
mod walk;

use std::sync::Arc;

use gesta_log_format::Index;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::log::{Cursor, ReadError, Reader, SealedSegment};
use gesta_log_format::record::{self, Record};
use gesta_log_format::tree::Hash;

pub use kept::Kept;
pub use look_up::{blocking, unreadable};
pub use open::{Opened, StoreError, open};
pub use record_keys::KeyParts;
pub use walk::{Interest, Walk};

use crate::keys::{self, Fingerprint, Keys, KeysError};
use crate::proofs::FreshLeaves;
use crate::tail::Live;

/// What every part of the server knows of the log.
pub struct Store {
    /// Sees every durable record.
    pub reader: Reader<RealDisk>,
    /// Finds records by what they bear.
    pub keys: Arc<Keys>,
    /// The newest durable records, and whoever waits for more.
    pub live: Arc<Live>,
    /// Old records that were read lately.
    pub kept: Kept,
    /// What the newest records are in the tree.
    pub fresh_leaves: FreshLeaves,
    /// The log's name.
    pub origin: String,
    /// How often the log was restored or salvaged, from 1.
    pub generation: u64,
    /// The root of the tree when the log was opened, and its size then.
    pub opened_at: (Index, Hash),
}

/// Why a look-up failed.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The key index cannot be read.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A record cannot be folded.
    #[error("a record cannot be folded: {0}")]
    Fold(String),
}

impl Store {
    /// Notes that a segment is sealed and that the next one, whose first record will have the index `next`, is active.
    /// The sealed one's keys wait to be flushed. Only the writer thread calls this.
    pub fn note_roll(&self, sealed: SealedSegment, next: Index) {
        let offsets = self.reader.offsets(sealed.id).unwrap_or_default().to_bytes();
        let segment = keys::SealedSegment { first: sealed.id.0.0, end: sealed.next.0, seal: sealed.blake3 };
        self.keys.seal_segment(segment, offsets);
        self.keys.begin_segment(next.0);
    }

    /// The bytes of one durable record; `None` where it is not there yet. May read the disk.
    ///
    /// # Errors
    /// As [`Reader::record`].
    pub fn record(&self, index: Index) -> Result<Option<RecordBytes>, ReadError> {
        let mut buffer = Vec::new();
        let Some((at, len)) = self.reader.record(index, &mut buffer)?.map(|record| data_range(&record))
        else {
            return Ok(None);
        };
        Ok(Some(RecordBytes { buffer, at, len }))
    }

    /// A durable record and those behind it, as many as `bytes_max` bytes hold; none where it is not there yet. Reads the
    /// disk.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn records(&self, index: Index, bytes_max: usize) -> Result<Vec<(Index, RecordBytes)>, ReadError> {
        let (mut cursor, mut buffer) = (Cursor::at(index), Vec::new());
        let chunk = self.reader.read(&mut cursor, self.reader.head(), &mut buffer, bytes_max)?;
        let mut rest = buffer.get(..chunk.len).unwrap_or_default();
        let mut found = Vec::new();
        while let Ok(record) = record::decode_trusted(rest) {
            found.push((record.index, RecordBytes::of(&record)));
            rest = rest.get(record.bytes.len()..).unwrap_or_default();
        }
        Ok(found)
    }

    /// The bytes of one of the newest durable records, from memory; `None` where it is not there any more, or not yet.
    pub fn recent(&self, index: Index) -> Option<RecordBytes> {
        let bytes = self.live.holding(index)?.slice(index, index.next());
        record::decode_trusted(&bytes).ok().map(|record| RecordBytes::of(&record))
    }

    /// The lowest `limit` records at or above `since` that may bear the key, confirmed by `matches`. May read the disk.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn find(
        &self,
        key: &Fingerprint,
        since: Index,
        limit: usize,
        mut matches: impl FnMut(&[u8]) -> bool,
    ) -> Result<Vec<(Index, RecordBytes)>, LookupError> {
        let mut found = Vec::new();
        for index in self.keys.postings(key, Some(since.0), limit)? {
            if let Some(record) = self.record(Index(index))?
                && matches(record.data())
            {
                found.push((Index(index), record));
            }
        }
        Ok(found)
    }
}

/// One record's bytes.
#[derive(Debug, Clone)]
pub struct RecordBytes {
    buffer: Vec<u8>,
    at: usize,
    len: usize,
}

impl AsRef<[u8]> for RecordBytes {
    fn as_ref(&self) -> &[u8] {
        self.data()
    }
}

impl RecordBytes {
    /// A copy of a record.
    pub fn of(record: &Record<'_>) -> Self {
        Self { buffer: record.data.to_vec(), at: 0, len: record.data.len() }
    }

    /// The envelope.
    pub fn data(&self) -> &[u8] {
        self.buffer.get(self.at..self.at + self.len).unwrap_or_default()
    }
}

fn data_range(record: &Record<'_>) -> (usize, usize) {
    // The envelope is followed by the line feed of its line and the blank line.
    (record.bytes.len() - 2 - record.data.len(), record.data.len())
}
