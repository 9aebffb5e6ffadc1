//! What the server offers to handlers: records and blobs, read off the tasks that serve sockets.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gesta_log_format::envelope::View;
use gesta_log_format::{Digest, Index, Kind};

use crate::blobs;
use crate::limits::RECORDS_KEPT_BYTES_MAX;
use crate::store::{LookupError, RecordBytes, Store};

/// Reads on behalf of handlers.
pub struct Works {
    store: Arc<Store>,
    blobs: Arc<blobs::Store>,
    kept: Mutex<Kept>,
}

/// Most bytes that are read for one record and those behind it.
const READ_AHEAD_BYTES: usize = 32 * 1024;

/// Old records that were read lately: an INTENT is asked for at each step of what comes of it. Records never change.
#[derive(Default)]
struct Kept {
    records: HashMap<Index, RecordBytes>,
    /// The oldest first.
    order: VecDeque<Index>,
    bytes: usize,
}

impl Kept {
    fn keep(&mut self, index: Index, record: RecordBytes) {
        let bytes = record.data().len();
        if self.records.insert(index, record).is_some() {
            return;
        }
        self.order.push_back(index);
        self.bytes += bytes;
        while self.bytes > RECORDS_KEPT_BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            let gone = self.records.remove(&oldest);
            self.bytes -= gone.map_or(0, |record| record.data().len());
        }
    }
}

/// Why something that a handler needs cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum WorksError {
    #[error("the record at index {index} cannot be read")]
    Record {
        index: Index,
        #[source]
        cause: LookupError,
    },
    #[error("there is no record at index {index}")]
    NoRecord { index: Index },
    #[error("the blob {digest} cannot be read")]
    Blob {
        digest: Digest,
        #[source]
        cause: io::Error,
    },
    #[error("the blob {digest} is not here")]
    NoBlob { digest: Digest },
    #[error("the blob {digest} has {len_bytes} bytes, more than the {bytes_max} that are read")]
    BlobTooLarge { digest: Digest, len_bytes: u64, bytes_max: u64 },
    #[error("a thread that reads has panicked")]
    Panicked,
}

impl Works {
    pub fn new(store: Arc<Store>, blobs: Arc<blobs::Store>) -> Self {
        Self { store, blobs, kept: Mutex::default() }
    }

    /// A durable record: from memory where it is among the newest or was read lately, else from the disk.
    ///
    /// # Errors
    /// [`WorksError`].
    pub async fn record(&self, index: Index) -> Result<RecordBytes, WorksError> {
        let kept = self.kept().records.get(&index).cloned();
        if let Some(record) = kept.or_else(|| self.store.recent(index)) {
            return Ok(record);
        }
        let store = Arc::clone(&self.store);
        let read = tokio::task::spawn_blocking(move || store.records(index, READ_AHEAD_BYTES)).await;
        let read = read.map_err(|_panicked| WorksError::Panicked)?;
        let read = read.map_err(|cause| WorksError::Record { index, cause: cause.into() })?;
        let mut read = read.into_iter();
        let (found, record) = read.next().ok_or(WorksError::NoRecord { index })?;
        let mut kept = self.kept();
        kept.keep(found, record.clone());
        // Tasks are claimed in the order of their intents: whoever comes next asks for what stands behind.
        for (index, record) in read {
            if View::parse(record.data()).is_some_and(|view| view.kind == Kind::Intent) {
                kept.keep(index, record);
            }
        }
        Ok(record)
    }

    /// A panic while the lock is held leaves a count of bytes that is too large.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole content of a blob of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`WorksError`].
    pub async fn blob(&self, digest: Digest, bytes_max: u64) -> Result<Vec<u8>, WorksError> {
        let blobs = Arc::clone(&self.blobs);
        let read = tokio::task::spawn_blocking(move || read_blob(&blobs, digest, bytes_max)).await;
        read.map_err(|_panicked| WorksError::Panicked)?
    }
}

fn read_blob(blobs: &blobs::Store, digest: Digest, bytes_max: u64) -> Result<Vec<u8>, WorksError> {
    let unreadable = |cause| WorksError::Blob { digest, cause };
    let blob = blobs.blob(&digest).map_err(unreadable)?.ok_or(WorksError::NoBlob { digest })?;
    let len_bytes = blob.len();
    if len_bytes > bytes_max {
        return Err(WorksError::BlobTooLarge { digest, len_bytes, bytes_max });
    }
    blob.into_bytes().map_err(unreadable)
}
