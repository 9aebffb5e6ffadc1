//! Fetching blobs into a store of one's own: checked, and durable before they are known.

use std::sync::Arc;
use std::time::Duration;

use gesta_log_format::Digest;
use http_body_util::BodyDataStream;
use hyper::StatusCode;
use tokio::time::Instant;

use super::call::collect;
use super::{
    ANSWER_BYTES_MAX, Backoff, CallError, Connection, FIRST_WAIT, LONGEST_WAIT, Outage, Refusal, Server,
};
use crate::blobs::{PutError, Store};

/// What became of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// It is in the store.
    Stored,
    /// The server does not have it.
    Missing,
}

/// Why a blob is not in the store.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("blob {digest} was refused: {refusal}")]
    Refused { digest: Digest, refusal: Refusal },
    #[error("blob {digest} given up after {} s: {last}", .patience.as_secs())]
    GaveUp { digest: Digest, patience: Duration, last: BlobTrouble },
    /// The store's disk.
    #[error("blob {digest} cannot be kept")]
    Store {
        digest: Digest,
        #[source]
        cause: PutError,
    },
}

/// How one try ended that may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum BlobTrouble {
    #[error("{0}")]
    Lost(#[from] CallError),
    #[error("{0}")]
    Refused(Refusal),
    #[error("{0}")]
    Content(PutError),
}

/// Why one try failed.
enum Failed {
    ForGood(BlobError),
    Perhaps(BlobTrouble),
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        Self::Perhaps(error.into())
    }
}

/// Fetches one blob after the other.
#[derive(Debug)]
pub struct BlobFetcher {
    server: Server,
    patience: Option<Duration>,
    outage: Arc<Outage>,
    store: Arc<Store>,
}

impl BlobFetcher {
    /// `patience` is how long one blob is tried after its first failure; none is for ever.
    #[must_use]
    pub fn new(server: Server, patience: Option<Duration>, outage: Arc<Outage>, store: Arc<Store>) -> Self {
        Self { server, patience, outage, store }
    }

    /// Brings a blob into the store, if it is not there.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn fetch(&mut self, digest: Digest) -> Result<Fetched, BlobError> {
        let store = Arc::clone(&self.store);
        let kept = tokio::task::spawn_blocking(move || store.contains(&digest)).await;
        if let Ok(Ok(true)) = kept {
            return Ok(Fetched::Stored);
        }
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut failing_since: Option<Instant> = None;
        loop {
            let trouble = match self.try_fetch(digest).await {
                Ok(fetched) => {
                    self.outage.back();
                    return Ok(fetched);
                }
                Err(Failed::ForGood(error)) => return Err(error),
                Err(Failed::Perhaps(trouble)) => trouble,
            };
            self.outage.lost(&trouble);
            let wait = backoff.wait();
            let since = *failing_since.get_or_insert_with(Instant::now);
            if let Some(patience) = self.patience
                && Instant::now() + wait > since + patience
            {
                return Err(BlobError::GaveUp { digest, patience, last: trouble });
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn try_fetch(&self, digest: Digest) -> Result<Fetched, Failed> {
        let mut connection: Connection = self.server.connect().await?;
        let request = self.server.get(&format!("/api/blob/sha256/{}", digest.hex()));
        let response = connection.send(request).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(Fetched::Missing),
            status => {
                let authority = self.server.base().authority();
                let body = collect(response.into_body(), ANSWER_BYTES_MAX, authority).await?;
                let refusal = Refusal::of(status, &body);
                return Err(if refusal.retriable || status.is_server_error() {
                    Failed::Perhaps(BlobTrouble::Refused(refusal))
                } else {
                    Failed::ForGood(BlobError::Refused { digest, refusal })
                });
            }
        }
        match self.store.put(digest, BodyDataStream::new(response.into_body())).await {
            Ok(_len) => Ok(Fetched::Stored),
            Err(cause @ (PutError::DiskFull | PutError::Io { .. })) => {
                Err(Failed::ForGood(BlobError::Store { digest, cause }))
            }
            Err(
                cause @ (PutError::Busy
                | PutError::TooLarge { .. }
                | PutError::Mismatch { .. }
                | PutError::TooSlow { .. }
                | PutError::BrokenOff),
            ) => Err(Failed::Perhaps(BlobTrouble::Content(cause))),
        }
    }
}
