//! Blobs: content that is too large for a record, kept by its SHA-256 in files of its own.
//!
//! `blobs/sha256/ab/<64 hex>` holds the bytes of one blob, `blobs/tmp` what is still arriving. The [`Store`] owns both
//! directories. Its invariant: a blob for which it has answered survives a power cut, and its bytes were those of its
//! name when they were written. It never tells whether a blob was there before, and never holds a whole one in memory.

mod bundle;
mod download;
mod puts;
mod range;
mod reference;
mod routes;
mod spill;
mod store;
mod upload;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use bundle::{__path_bundle, BundleQuery, Missing, bundle};
pub use download::{Blob, Pieces};
pub use gesta_log_format::blob::{Reference, references};
pub use reference::CheckError;
pub use routes::{__path_get_blob, __path_put_blob, References, Stored, get_blob, put_blob, router};
pub(crate) use routes::{deliver, receive, unreadable};
pub use store::{OpenError, Store};
pub use upload::PutError;

use crate::limits;

/// What a store may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Largest blob.
    pub blob_bytes_max: u64,
    /// Most uploads at once.
    pub uploads_max: usize,
    /// Most downloads at once.
    pub downloads_max: usize,
    /// Most bundles at once.
    pub bundles_max: usize,
    /// Most blobs in one bundle.
    pub bundle_blobs_max: usize,
    /// Longest time in which a piece of [`limits::BLOB_PIECE_BYTES`], or the rest of a blob, arrives.
    pub piece_patience: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            blob_bytes_max: limits::BLOB_BYTES_MAX,
            uploads_max: limits::BLOB_UPLOADS_MAX,
            downloads_max: limits::BLOB_DOWNLOADS_MAX,
            bundles_max: limits::BUNDLES_MAX,
            bundle_blobs_max: limits::BUNDLE_BLOBS_MAX,
            piece_patience: Duration::from_secs(limits::BODY_READ_SECONDS_MAX),
        }
    }
}

/// Runs what blocks on the disk on a thread that may wait for it. A panic there is one here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is ending, and this task with it.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}
