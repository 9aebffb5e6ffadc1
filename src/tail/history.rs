//! Durable records read from the disk in chunks, out of one memory budget for all followers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gesta_log_format::disk::Disk;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::log::Cursor;
use gesta_log_format::{Index, record};

use super::filter::Filter;
use crate::keys::Fingerprint;
use crate::limits::TAIL_CHUNK_BYTES;
use crate::store::{LookupError, Store};

/// The most bytes of history that one read looks at for a filter before it tells the client how far it is.
const SCAN_BYTES_MAX: usize = 4 << 20;

/// The most records that one look-up by key takes.
const KEYED_RECORDS_MAX: usize = 256;

/// A place to read on from.
pub(super) type LogCursor = Cursor<<RealDisk as Disk>::File>;

/// Memory for chunks, shared by all followers.
#[derive(Debug)]
pub struct Budget {
    free_bytes: AtomicUsize,
    chunk_bytes: usize,
    small_bytes: usize,
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Budget {
    pub fn new(budget_bytes: usize, chunk_bytes: usize, small_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            free_bytes: AtomicUsize::new(budget_bytes),
            chunk_bytes,
            small_bytes,
            spare: Mutex::default(),
        })
    }

    /// Memory for a whole chunk, or for a small one while the budget is spent.
    fn take(self: &Arc<Self>) -> Chunk {
        let took = self
            .free_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(self.chunk_bytes));
        match took {
            Ok(_) => {
                let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
                Chunk {
                    bytes: spare.unwrap_or_default(),
                    len: 0,
                    size: self.chunk_bytes,
                    of: Some(Arc::clone(self)),
                }
            }
            Err(_) => Chunk { bytes: Vec::new(), len: 0, size: self.small_bytes, of: None },
        }
    }
}

/// One chunk's memory; given back to the budget when the last reference is gone.
struct Chunk {
    bytes: Vec<u8>,
    len: usize,
    size: usize,
    of: Option<Arc<Budget>>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(budget) = &self.of {
            let bytes = std::mem::take(&mut self.bytes);
            budget.spare.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
            budget.free_bytes.fetch_add(budget.chunk_bytes, Ordering::Relaxed);
        }
    }
}

/// What one read of history gives.
pub(super) struct Read {
    /// Records as they lie, or those that the filter shows; may be empty.
    pub bytes: Bytes,
    /// The first index that was not looked at.
    pub next: Index,
    /// The first index behind the last record in `bytes`; none where there is none.
    pub shown: Option<Index>,
    /// Where to read on.
    pub cursor: LogCursor,
}

/// Reads on from `cursor`, below `end`. Blocks on the disk.
///
/// # Errors
/// [`LookupError`]; damage is named with segment, byte and index.
pub(super) fn read(
    store: &Store,
    budget: &Arc<Budget>,
    filter: Option<&Filter>,
    cursor: LogCursor,
    end: Index,
) -> Result<Read, LookupError> {
    match filter {
        None => read_whole(store, budget, cursor, end),
        Some(filter) => match filter.key() {
            Some(key) => read_keyed(store, filter, key, &cursor, end),
            None => read_scanned(store, budget, filter, cursor, end),
        },
    }
}

fn read_whole(
    store: &Store,
    budget: &Arc<Budget>,
    mut cursor: LogCursor,
    end: Index,
) -> Result<Read, LookupError> {
    let mut chunk = budget.take();
    let read = store.reader.read(&mut cursor, end, &mut chunk.bytes, chunk.size)?;
    chunk.len = read.len;
    let shown = (read.len > 0).then_some(read.end);
    Ok(Read { bytes: Bytes::from_owner(chunk), next: read.end, shown, cursor })
}

fn read_scanned(
    store: &Store,
    budget: &Arc<Budget>,
    filter: &Filter,
    mut cursor: LogCursor,
    end: Index,
) -> Result<Read, LookupError> {
    let mut chunk = budget.take();
    let mut shown = None;
    let mut out = Vec::new();
    let mut scanned = 0;
    while out.is_empty() && scanned < SCAN_BYTES_MAX {
        let read = store.reader.read(&mut cursor, end, &mut chunk.bytes, chunk.size)?;
        if read.len == 0 {
            break;
        }
        scanned += read.len;
        let mut rest = chunk.bytes.get(..read.len).unwrap_or_default();
        while let Ok(found) = record::decode_trusted(rest) {
            if filter.matches(found.data) {
                out.extend_from_slice(found.bytes);
                shown = Some(found.index.next());
            }
            rest = rest.get(found.bytes.len()..).unwrap_or_default();
        }
    }
    Ok(Read { bytes: out.into(), next: cursor.next(), shown, cursor })
}

fn read_keyed(
    store: &Store,
    filter: &Filter,
    key: &Fingerprint,
    cursor: &LogCursor,
    end: Index,
) -> Result<Read, LookupError> {
    let start = cursor.next();
    let candidates = store.keys.postings(key, Some(start.0), KEYED_RECORDS_MAX)?;
    let whole = candidates.len() < KEYED_RECORDS_MAX;
    let mut out = Vec::new();
    let mut buffer = Vec::new();
    let (mut shown, mut next) = (None, start);
    for index in candidates.into_iter().map(Index).take_while(|index| *index < end) {
        if let Some(found) = store.reader.record(index, &mut buffer)?
            && filter.matches(found.data)
        {
            out.extend_from_slice(found.bytes);
            shown = Some(index.next());
        }
        next = index.next();
        if out.len() >= TAIL_CHUNK_BYTES {
            return Ok(Read { bytes: out.into(), next, shown, cursor: LogCursor::at(next) });
        }
    }
    let next = if whole { end } else { next };
    Ok(Read { bytes: out.into(), next, shown, cursor: LogCursor::at(next) })
}
