//! The files of the blobs: which are there durably, and how one more gets there.
//!
//! Owns `blobs/` below the data directory, whose lock its opener holds. Everything here blocks but [`Store::put`].

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gesta_log_format::Digest;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::disk::{Disk, File};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Bounds;
use super::download::Blob;
use super::puts::Puts;

const BLOBS: &str = "blobs";
const ROOT: &str = "blobs/sha256";
pub(super) const TEMPORARY: &str = "blobs/tmp";

/// One directory for each first byte of a digest.
const SHARDS: usize = 256;

/// The blob store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {name}")]
pub struct OpenError {
    pub doing: &'static str,
    /// The file or directory, below the data directory.
    pub name: String,
    #[source]
    pub cause: io::Error,
}

/// All blobs of one data directory.
#[derive(Debug)]
pub struct Store<D: Disk = RealDisk> {
    pub(super) disk: D,
    pub(super) bounds: Bounds,
    pub(super) puts: Puts,
    shards: Vec<Shard>,
    /// Blobs whose file may be visible and not durable: their directory is being synced, or that has failed. A later
    /// put takes a blob out again, so there is at most one entry for each failed sync.
    doubtful: Mutex<HashSet<Digest>>,
    /// The number in the name of the next temporary file.
    temporary_next: AtomicU64,
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    bundles: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Shard {
    /// Held while a file is put into the directory and the directory is synced.
    publishing: Mutex<()>,
    /// The directory, and what it held at the time, is known to be durable. A former process may have been killed
    /// between a rename and the sync, so this is false until the first sync of this one.
    settled: AtomicBool,
}

impl Store {
    /// Opens or creates the store below the data directory, and removes what former uploads have left unfinished.
    ///
    /// # Errors
    /// A directory cannot be made, synced or cleaned.
    pub fn open(data: &Path, bounds: Bounds) -> Result<Self, OpenError> {
        Self::on(RealDisk::new(data), bounds)
    }
}

impl<D: Disk> Store<D> {
    /// As [`Store::open`], on any disk.
    ///
    /// # Errors
    /// As there.
    pub fn on(disk: D, bounds: Bounds) -> Result<Self, OpenError> {
        let failed = |doing, name: &str| {
            let name = name.to_owned();
            move |cause| OpenError { doing, name, cause }
        };
        for directory in [ROOT, TEMPORARY] {
            disk.create_dir(directory).map_err(failed("create", directory))?;
        }
        for directory in ["", BLOBS] {
            disk.sync_dir(directory).map_err(failed("sync", directory))?;
        }
        for name in disk.list(TEMPORARY).map_err(failed("list", TEMPORARY))? {
            let name = format!("{TEMPORARY}/{name}");
            disk.remove(&name).map_err(failed("remove", &name))?;
        }
        // Renames out of it by a former process are durable only by this.
        disk.sync_dir(TEMPORARY).map_err(failed("sync", TEMPORARY))?;
        Ok(Self {
            disk,
            bounds,
            puts: Puts::default(),
            shards: std::iter::repeat_with(Shard::default).take(SHARDS).collect(),
            doubtful: Mutex::default(),
            temporary_next: AtomicU64::new(0),
            uploads: Arc::new(Semaphore::new(bounds.uploads_max)),
            downloads: Arc::new(Semaphore::new(bounds.downloads_max)),
            bundles: Arc::new(Semaphore::new(bounds.bundles_max)),
        })
    }

    /// Whether the blob is here and survives a power cut. Blocks on the disk.
    ///
    /// # Errors
    /// The disk cannot tell.
    pub fn contains(&self, digest: &Digest) -> io::Result<bool> {
        self.len(digest).map(|len| len.is_some())
    }

    /// The length of the blob in bytes, if it is here and survives a power cut. Blocks on the disk.
    ///
    /// # Errors
    /// The disk cannot tell.
    pub fn len(&self, digest: &Digest) -> io::Result<Option<u64>> {
        let Some(file) = self.file(digest)? else { return Ok(None) };
        if !self.shard(digest).settled.load(Ordering::Acquire) {
            let _publishing = self.lock_shard(digest);
            self.settle(digest)?;
        }
        // Looked at after the file was seen: what was in doubt then and is not now has been synced since.
        if self.doubtful().contains(digest) { Ok(None) } else { file.len().map(Some) }
    }

    /// Opens the blob for reading, if it is here. Blocks on the disk.
    ///
    /// # Errors
    /// The disk cannot tell.
    pub fn blob(&self, digest: &Digest) -> io::Result<Option<Blob<D::File>>> {
        self.file(digest)?.map(|file| Blob::new(*digest, file)).transpose()
    }

    /// The name of a temporary file that no other upload of this process has.
    pub(super) fn temporary_name(&self) -> String {
        format!("{TEMPORARY}/{:016x}", self.temporary_next.fetch_add(1, Ordering::Relaxed))
    }

    /// Gives a temporary file, whose content is synced and has this digest, its name, durably. A file that is there
    /// by this name is replaced by its equal, so that this costs the same whether there is one.
    ///
    /// # Errors
    /// The blob is then not here unless it was before; the temporary file may be.
    pub(super) fn publish(&self, temporary: &str, digest: &Digest) -> io::Result<()> {
        let directory = directory(digest);
        let name = name(digest);
        let _publishing = self.lock_shard(digest);
        if !self.shard(digest).settled.load(Ordering::Relaxed) {
            self.disk.create_dir(&directory)?;
            self.settle(digest)?;
        }
        let was_durable = self.file(digest)?.is_some() && !self.doubtful().contains(digest);
        if !was_durable {
            self.doubtful().insert(*digest);
        }
        self.disk.rename(temporary, &name)?;
        // A rename from one directory into another is durable once both are.
        let synced = self.disk.sync_dir(&directory).and_then(|()| self.disk.sync_dir(TEMPORARY));
        match (&synced, was_durable) {
            (Ok(()), _) => drop(self.doubtful().remove(digest)),
            // On the disk the name stands for the old file or for the new one, and both are whole and synced.
            (Err(_), true) => {}
            // A second sync could answer Ok and have made nothing durable. The entry in `doubtful` stays: a put that
            // renames anew takes it out.
            (Err(_), false) => drop(self.disk.remove(&name)),
        }
        synced
    }

    /// Makes the shard's directory durable, and what was put into it before this process began. The caller holds the
    /// shard's lock.
    fn settle(&self, digest: &Digest) -> io::Result<()> {
        let settled = &self.shard(digest).settled;
        if !settled.load(Ordering::Relaxed) {
            self.disk.sync_dir(ROOT)?;
            self.disk.sync_dir(&directory(digest))?;
            settled.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn file(&self, digest: &Digest) -> io::Result<Option<D::File>> {
        match self.disk.open_read(&name(digest)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn shard(&self, digest: &Digest) -> &Shard {
        &self.shards[usize::from(digest.0[0])]
    }

    /// A thread that panicked with the lock has left a name in doubt, which `doubtful` says.
    fn lock_shard(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        self.shard(digest).publishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doubtful(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place among the uploads, if one is free.
    pub(super) fn upload_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.uploads).try_acquire_owned().ok()
    }

    /// A place among the downloads, if one is free.
    pub(super) fn download_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.downloads).try_acquire_owned().ok()
    }

    /// A place among the bundles, if one is free.
    pub(super) fn bundle_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.bundles).try_acquire_owned().ok()
    }
}

fn directory(digest: &Digest) -> String {
    format!("{ROOT}/{:02x}", digest.0[0])
}

/// The name of the blob's file below the data directory, which is also its name in a bundle.
pub(super) fn name(digest: &Digest) -> String {
    format!("{ROOT}/{:02x}/{}", digest.0[0], digest.hex())
}
