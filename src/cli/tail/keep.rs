//! Keeps the blobs that records name beside a saved tail.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gesta_log_format::Digest;
use gesta_log_format::disk::Disk as _;
use gesta_log_format::disk::real::{RealDisk, RealLock};
use gesta_log_format::log::LOCK;

use crate::blobs::{Bounds, Store, references};
use crate::cli::{Exit, Failure};
use crate::client::{BlobFetcher, Fetched, Outage, Server};

pub(super) struct Keeper {
    fetcher: BlobFetcher,
    missing: u64,
    /// The store's directory has one owner.
    _lock: RealLock,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot keep blobs in {directory}")]
struct CannotOpen {
    directory: String,
    #[source]
    cause: std::io::Error,
}

impl Keeper {
    /// Opens or creates the directory.
    ///
    /// # Errors
    /// It cannot be made, or another process keeps blobs in it.
    pub(super) fn open(
        directory: &Path,
        server: Server,
        patience: Option<Duration>,
        outage: Arc<Outage>,
    ) -> Result<Self, Failure> {
        let disk = RealDisk::new(directory);
        let lock = disk.create_dir("").and_then(|()| disk.lock(LOCK)).map_err(|cause| {
            let exit =
                if cause.kind() == std::io::ErrorKind::WouldBlock { Exit::Locked } else { Exit::Failed };
            let directory = directory.display().to_string();
            Failure::new(exit, CannotOpen { directory, cause })
                .hint("another process keeps blobs there or serves it: name another directory")
        })?;
        // What the server took is not judged again.
        let bounds = Bounds { blob_bytes_max: u64::MAX, ..Bounds::default() };
        let store = Store::open(directory, bounds).map_err(|error| Failure::new(Exit::Failed, error))?;
        let fetcher = BlobFetcher::new(server, patience, outage, Arc::new(store));
        Ok(Self { fetcher, missing: 0, _lock: lock })
    }

    /// Fetches what the records name.
    ///
    /// # Errors
    /// A blob that the server refuses, or the disk.
    pub(super) async fn keep(&mut self, records: &[u8]) -> Result<(), Failure> {
        // Frames between envelopes hold nothing that looks like a reference.
        for digest in references(records) {
            self.keep_one(digest).await?;
        }
        Ok(())
    }

    async fn keep_one(&mut self, digest: Digest) -> Result<(), Failure> {
        match self.fetcher.fetch(digest).await.map_err(|error| Failure::new(Exit::Failed, error))? {
            Fetched::Stored => {}
            Fetched::Missing => {
                eprintln!("note: the server does not have blob {digest}");
                self.missing += 1;
            }
        }
        Ok(())
    }

    /// # Errors
    /// Some blobs are missing.
    pub(super) fn verdict(self) -> Result<(), Failure> {
        match self.missing {
            0 => Ok(()),
            missing => Err(Failure::new(Exit::Failed, format!("{missing} references lead to no blob"))
                .hint("they were erased, or the token may not read them; the records are complete")),
        }
    }
}
