//! One blob on its way out, piece by piece. A whole blob is hashed along, and its last piece is given only if the
//! digest holds: a client that counts bytes never takes damaged content for whole.

use std::io;
use std::ops::Range;

use axum::body::Bytes;
use futures::{Stream, stream};
use gesta_log_format::Digest;
use gesta_log_format::disk::{Disk, File};
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::{Store, blocking};
use crate::limits::BLOB_PIECE_BYTES;

/// A blob that is open for reading.
#[derive(Debug)]
pub struct Blob<F> {
    digest: Digest,
    file: F,
    len: u64,
}

#[expect(clippy::len_without_is_empty, reason = "whether a blob is empty is nothing that anyone asks")]
impl<F: File> Blob<F> {
    pub(super) fn new(digest: Digest, file: F) -> io::Result<Self> {
        let len = file.len()?;
        // An empty file has no last piece that could be held back.
        if len == 0 && digest != Digest::of(b"") {
            return Err(damaged(&digest));
        }
        Ok(Self { digest, file, len })
    }

    /// Its length in bytes.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// All its bytes. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Pieces::next_piece`].
    pub fn into_bytes(self) -> io::Result<Vec<u8>> {
        let len = self.len;
        let (mut pieces, mut bytes) = (self.pieces(0..len), Vec::new());
        while let Some(piece) = pieces.next_piece()? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// Its bytes within `range`, which lies within its length.
    pub fn pieces(self, range: Range<u64>) -> Pieces<F> {
        let hasher = (range == (0..self.len)).then(Sha256::new);
        Pieces { blob: self, rest: range, hasher }
    }
}

impl<D: Disk> Store<D> {
    /// All bytes of a blob, whose digest holds; none where it is not here. For what a record would hold if it fitted,
    /// not for clients' blobs of any size. Blocks on the disk.
    ///
    /// # Errors
    /// `InvalidData` where the bytes are not those of the digest; what the disk says.
    pub fn whole(&self, digest: &Digest) -> io::Result<Option<Vec<u8>>> {
        self.blob(digest)?.map(Blob::into_bytes).transpose()
    }
}

/// A walk over the bytes of a blob.
#[derive(Debug)]
pub struct Pieces<F> {
    blob: Blob<F>,
    rest: Range<u64>,
    /// None where only a part is read, which nothing says the digest of.
    hasher: Option<Sha256>,
}

impl<F: File> Pieces<F> {
    /// The next piece, of at most [`BLOB_PIECE_BYTES`]; none at the end. Blocks on the disk.
    ///
    /// # Errors
    /// `InvalidData` in place of the last piece where the bytes are not those of the blob's digest; what the disk says.
    pub fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        let left = self.rest.end - self.rest.start;
        if left == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(BLOB_PIECE_BYTES)];
        let read = self.blob.file.read_at(&mut piece, self.rest.start)?;
        if read < piece.len() {
            return Err(damaged(&self.blob.digest));
        }
        self.rest.start += piece.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
            if self.rest.is_empty() && Digest(std::mem::take(hasher).finalize().into()) != self.blob.digest {
                return Err(damaged(&self.blob.digest));
            }
        }
        Ok(Some(piece))
    }

    /// The pieces as a stream that reads one when it is asked for one, and keeps `permit` until it is dropped.
    pub(super) fn stream(self, permit: OwnedSemaphorePermit) -> impl Stream<Item = io::Result<Bytes>> {
        stream::try_unfold((self, permit), |(mut pieces, permit)| async move {
            let (piece, pieces) = blocking(move || (pieces.next_piece(), pieces)).await;
            Ok(piece?.map(|bytes| (Bytes::from(bytes), (pieces, permit))))
        })
    }
}

fn damaged(digest: &Digest) -> io::Error {
    tracing::error!(%digest, "a blob's file is damaged: its bytes are not those of its name");
    io::Error::new(io::ErrorKind::InvalidData, "the blob is damaged")
}
