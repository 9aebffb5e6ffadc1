//! What the server offers to handlers: records and blobs, read off the tasks that serve sockets.

use std::io;
use std::sync::Arc;

use gesta_log_format::envelope::View;
use gesta_log_format::{Digest, Index, Kind};

use crate::blobs;
use crate::store::{LookupError, RecordBytes, Store};

/// Reads on behalf of handlers.
pub struct Works {
    store: Arc<Store>,
    blobs: Arc<blobs::Store>,
}

/// Most bytes that are read for one record and those behind it.
const READ_AHEAD_BYTES: usize = 32 * 1024;

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
        Self { store, blobs }
    }

    /// A durable record: from memory where it is among the newest or was read lately, else from the disk.
    ///
    /// # Errors
    /// [`WorksError`].
    pub async fn record(&self, index: Index) -> Result<RecordBytes, WorksError> {
        if let Some(record) = self.store.kept.record(index).or_else(|| self.store.recent(index)) {
            return Ok(record);
        }
        let store = Arc::clone(&self.store);
        let read = tokio::task::spawn_blocking(move || store.records(index, READ_AHEAD_BYTES)).await;
        let read = read.map_err(|_panicked| WorksError::Panicked)?;
        let read = read.map_err(|cause| WorksError::Record { index, cause: cause.into() })?;
        let mut read = read.into_iter();
        let first = read.next().ok_or(WorksError::NoRecord { index })?;
        let record = first.1.clone();
        // Tasks are claimed in the order of their intents: whoever comes next asks for what stands behind.
        let is_intent =
            |record: &RecordBytes| View::parse(record.data()).is_some_and(|view| view.kind == Kind::Intent);
        let intents = read.filter(|(_, record)| is_intent(record));
        self.store.kept.keep(std::iter::once(first).chain(intents));
        Ok(record)
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
