//! One blob on its way in: a temporary file, synced and checked before it gets its name.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::{Stream, StreamExt as _};
use gesta_log_format::Digest;
use gesta_log_format::blob::spill::Spill;
use gesta_log_format::disk::{Disk, File};
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::{Store, blocking};
use crate::limits::BLOB_PIECE_BYTES;
use crate::problem::{Problem, ReasonCode};

/// Why a blob was not stored. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    #[error("as many blobs are being uploaded as are allowed")]
    Busy,
    #[error("the blob is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    #[error("the content's digest is {actual}")]
    Mismatch { actual: Digest },
    #[error("a piece of the blob took longer than {patience:?}")]
    TooSlow { patience: Duration },
    #[error("the client broke off")]
    BrokenOff,
    #[error("the disk is full")]
    DiskFull,
    /// A failed sync leaves the file in an unknown state: it is deleted, never synced again.
    #[error("cannot {doing} the blob's file")]
    Io {
        doing: &'static str,
        #[source]
        cause: io::Error,
    },
}

impl From<PutError> for Problem {
    fn from(error: PutError) -> Self {
        let code = match &error {
            PutError::Busy => return Self::new(ReasonCode::BlobTransfersFull),
            PutError::TooSlow { .. } => return Self::new(ReasonCode::RequestTimeout),
            PutError::DiskFull => return Self::new(ReasonCode::DiskFull),
            PutError::TooLarge { .. } => ReasonCode::BodyTooLarge,
            PutError::Mismatch { .. } => ReasonCode::BlobDigestMismatch,
            PutError::BrokenOff => ReasonCode::InvalidInput,
            PutError::Io { doing, cause } => {
                tracing::error!(%cause, "cannot {doing} a blob's file");
                return Self::new(ReasonCode::Internal).detail("The disk failed. The blob was not stored.");
            }
        };
        Self::new(code).detail(format!("Nothing was stored: {error}."))
    }
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> PutError {
    move |cause| match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PutError::DiskFull,
        _ => PutError::Io { doing, cause },
    }
}

impl<D: Disk> Store<D> {
    /// Stores what `body` yields, if its digest is `expected`, and returns its length in bytes. Durable on return, by
    /// a sync of the file and one of its directory. The same work is done whether the blob was there before.
    ///
    /// Holds at most [`BLOB_PIECE_BYTES`] and one item of `body` in memory. Dropping the future stores nothing.
    ///
    /// # Errors
    /// [`PutError`]; the blob is then no more here than before.
    pub async fn put<B, E>(self: &Arc<Self>, expected: Digest, mut body: B) -> Result<u64, PutError>
    where
        B: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        let permit = self.upload_permit().ok_or(PutError::Busy)?;
        let store = Arc::clone(self);
        let mut upload = blocking(move || Upload::begin(store, Some(permit))).await?;
        let patience = self.bounds.piece_patience;
        let mut buffer = Vec::new();
        loop {
            let filled = match tokio::time::timeout(patience, fill(&mut body, &mut buffer)).await {
                Ok(filled) => filled,
                Err(_elapsed) => Err(PutError::TooSlow { patience }),
            };
            let filled = match filled {
                Ok(filled) => filled,
                Err(error) => {
                    blocking(move || upload.discard()).await;
                    return Err(error);
                }
            };
            (upload, buffer) = blocking(move || upload.write(buffer)).await?;
            if matches!(filled, Filled::End) {
                return blocking(move || upload.finish(&expected)).await;
            }
        }
    }

    /// Stores `bytes` under their digest. Durable on return, as [`Store::put`]. Blocks on the disk.
    ///
    /// # Errors
    /// `DiskFull`, `Io`, `TooLarge`.
    pub fn put_bytes(self: &Arc<Self>, bytes: &[u8]) -> Result<Digest, PutError> {
        let digest = Digest::of(bytes);
        self.put_spilled(&Spill { digest, bytes })?;
        Ok(digest)
    }

    /// Stores what a record is too small for, before the record is appended. Durable on return, as [`Store::put`].
    /// Blocks on the disk.
    ///
    /// # Errors
    /// `DiskFull`, `Io`, `TooLarge`.
    pub fn put_spilled(self: &Arc<Self>, spill: &Spill<'_>) -> Result<(), PutError> {
        let mut upload = Upload::begin(Arc::clone(self), None)?;
        if let Err(error) = upload.append(spill.bytes) {
            upload.discard();
            return Err(error);
        }
        upload.finish(&spill.digest).map(drop)
    }
}

/// Whether more may follow.
enum Filled {
    Piece,
    End,
}

/// Gathers a piece in `buffer`, so that a body of many small items costs few writes.
async fn fill<B, E>(body: &mut B, buffer: &mut Vec<u8>) -> Result<Filled, PutError>
where
    B: Stream<Item = Result<Bytes, E>> + Unpin,
{
    while buffer.len() < BLOB_PIECE_BYTES {
        match body.next().await {
            Some(Ok(bytes)) => buffer.extend_from_slice(&bytes),
            Some(Err(_)) => return Err(PutError::BrokenOff),
            None => return Ok(Filled::End),
        }
    }
    Ok(Filled::Piece)
}

/// A temporary file that is being written. It is gone when this is, unless it was given its name.
struct Upload<D: Disk> {
    store: Arc<Store<D>>,
    name: String,
    /// None once the file has its name, or is removed.
    file: Option<D::File>,
    written: u64,
    hasher: Sha256,
    permit: Option<OwnedSemaphorePermit>,
}

impl<D: Disk> Upload<D> {
    fn begin(store: Arc<Store<D>>, permit: Option<OwnedSemaphorePermit>) -> Result<Self, PutError> {
        let name = store.temporary_name();
        let file = store.disk.create_new(&name).map_err(failed("create"))?;
        Ok(Self { store, name, file: Some(file), written: 0, hasher: Sha256::new(), permit })
    }

    /// Appends the buffer and gives it back empty. Takes `self`: after a failure there is nothing left to write to.
    fn write(mut self, mut buffer: Vec<u8>) -> Result<(Self, Vec<u8>), PutError> {
        match self.append(&buffer) {
            Ok(()) => {
                buffer.clear();
                Ok((self, buffer))
            }
            Err(error) => {
                self.discard();
                Err(error)
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        let bytes_max = self.store.bounds.blob_bytes_max;
        let len = self.written.saturating_add(bytes.len() as u64);
        if len > bytes_max {
            return Err(PutError::TooLarge { bytes_max });
        }
        let file = self.file.as_ref().expect("an upload has its file until it is finished or discarded");
        file.write_at(bytes, self.written).map_err(failed("write"))?;
        self.hasher.update(bytes);
        self.written = len;
        Ok(())
    }

    /// Checks the digest, makes the content durable, then its name. The length in bytes.
    fn finish(mut self, expected: &Digest) -> Result<u64, PutError> {
        match self.try_finish(expected) {
            Ok(()) => {
                self.file = None;
                Ok(self.written)
            }
            Err(error) => {
                self.discard();
                Err(error)
            }
        }
    }

    fn try_finish(&mut self, expected: &Digest) -> Result<(), PutError> {
        let actual = Digest(std::mem::take(&mut self.hasher).finalize().into());
        if actual != *expected {
            return Err(PutError::Mismatch { actual });
        }
        let file = self.file.as_ref().expect("an upload has its file until it is finished or discarded");
        file.sync().map_err(failed("sync"))?;
        self.store.publish(&self.name, expected).map_err(failed("name"))
    }

    /// Removes the file, on this thread. What cannot be removed is left to the next start.
    fn discard(mut self) {
        remove(&self.store.disk, &self.name, self.file.take());
    }
}

impl<D: Disk> Drop for Upload<D> {
    /// The client has gone away, and the task with it: the file is removed by a thread that may block.
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        let (disk, name, permit) =
            (self.store.disk.clone(), std::mem::take(&mut self.name), self.permit.take());
        let work = move || {
            remove(&disk, &name, Some(file));
            drop(permit);
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(work)),
            Err(_outside) => work(),
        }
    }
}

fn remove<D: Disk>(disk: &D, name: &str, file: Option<D::File>) {
    drop(file);
    match disk.remove(name) {
        Ok(()) => {}
        // It was given its name, and the sync of the directory failed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, name, "cannot remove an unfinished upload; the next start does"),
    }
}
