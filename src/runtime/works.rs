//! What the server offers to handlers: blobs, calls to hosts that are allowed, ids, time, telemetry.

use std::sync::Arc;

use gesta_log_format::{Digest, Timestamp};
use metrics::{counter, histogram};
use tracing::Span;
use ulid::Ulid;

use super::HttpClient;
use crate::blobs::{self, PutError};
use crate::executor::{Works, WorksError};
use crate::limits::PUBLIC_BLOB_BYTES_MAX;
use crate::outbound::Outbound;
use crate::sequencer::{Clock as _, SystemClock};
use crate::store::Store;

/// What the server offers. Cheap to clone.
#[derive(Clone)]
pub struct PublicWorks {
    works: Arc<Works>,
    blobs: Blobs,
    http: HttpClient,
}

/// Content by its SHA-256.
#[derive(Clone)]
pub struct Blobs {
    works: Arc<Works>,
    store: Arc<blobs::Store>,
}

/// Why a blob cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum BlobsError {
    #[error(transparent)]
    Read(#[from] WorksError),
    #[error(transparent)]
    Put(#[from] PutError),
    #[error("a thread that writes has panicked")]
    Panicked,
}

/// Figures and spans of handlers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Telemetry(());

impl PublicWorks {
    pub(crate) fn new(store: Arc<Store>, blobs: Arc<blobs::Store>, outbound: Arc<Outbound>) -> Self {
        let works = Arc::new(Works::new(store, Arc::clone(&blobs)));
        let blobs = Blobs { works: Arc::clone(&works), store: blobs };
        Self { works, blobs, http: HttpClient::new(outbound) }
    }

    /// Content by its SHA-256.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Calls hosts of `push.allow_hosts`, and no others.
    #[must_use]
    pub fn http(&self) -> &HttpClient {
        &self.http
    }

    /// UTC now, as the server's records have it; may jump either way.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// An id that is nobody else's: a ULID of [`PublicWorks::now`].
    #[must_use]
    pub fn new_id(&self) -> String {
        Ulid::from_parts(self.now().micros() / 1000, Ulid::generate().random()).to_string()
    }

    /// Figures and spans.
    #[must_use]
    pub fn telemetry(&self) -> Telemetry {
        Telemetry(())
    }

    /// Records, for handlers of the server's own.
    pub(crate) fn works(&self) -> &Works {
        &self.works
    }
}

impl Blobs {
    /// The whole content of a blob.
    ///
    /// # Errors
    /// `Read`: it is not here, cannot be read, or has more than [`PUBLIC_BLOB_BYTES_MAX`] bytes.
    pub async fn get(&self, digest: Digest) -> Result<Vec<u8>, BlobsError> {
        Ok(self.works.blob(digest, PUBLIC_BLOB_BYTES_MAX).await?)
    }

    /// Keeps content, durable on return. `{"$blob": digest, "size_bytes", "media_type"}` in an output or an event then
    /// refers to it, and opens it to whoever may read that record.
    ///
    /// # Errors
    /// `Put`: the disk is full, or it is larger than `blobs.blob_bytes_max`.
    pub async fn put(&self, content: Vec<u8>) -> Result<Digest, BlobsError> {
        let store = Arc::clone(&self.store);
        let put = tokio::task::spawn_blocking(move || store.put_bytes(&content)).await;
        Ok(put.map_err(|_panicked| BlobsError::Panicked)??)
    }
}

impl Telemetry {
    /// Counts in `handler_{name}` of `/metrics`.
    pub fn count(self, name: &str, by: u64) {
        counter!(format!("handler_{name}")).increment(by);
    }

    /// Notes a value in the histogram `handler_{name}` of `/metrics`.
    pub fn observe(self, name: &str, value: f64) {
        histogram!(format!("handler_{name}")).record(value);
    }

    /// A span in the server's own log.
    #[must_use]
    pub fn span(self, name: &str) -> Span {
        tracing::info_span!("handler", name)
    }
}
