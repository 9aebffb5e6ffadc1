//! The file that a salvage writes: under a temporary name until it is whole and synced, and never over another.

use std::io;
use std::path::{Path, PathBuf};

use gesta_log_format::disk::real::{RealDisk, RealFile};
use gesta_log_format::disk::{Disk as _, File as _};
use gesta_log_format::json;
use gesta_log_format::record::Record;

use crate::cli::source::{cannot, file_of};
use crate::cli::{Exit, Failure};

/// Bytes that are gathered before they are written.
const OUT_BYTES: usize = 1024 * 1024;

pub(super) struct Sink {
    path: PathBuf,
    disk: RealDisk,
    name: String,
    temporary: String,
    file: RealFile,
    buffer: Vec<u8>,
    /// Bytes written so far, without the buffer's.
    written: u64,
}

impl Sink {
    /// # Errors
    /// A file of this name or of its temporary name, or a directory that cannot be written to.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let (disk, name) = file_of(path)?;
        refuse_existing(path)?;
        let temporary = format!("{name}.new");
        let file = disk.create_new(&temporary).map_err(|cause| {
            let failure = cannot("create", &path.with_file_name(&temporary), cause);
            failure.hint("a salvage that was interrupted leaves such a file: remove it")
        })?;
        let buffer = Vec::with_capacity(OUT_BYTES);
        Ok(Self { path: path.to_owned(), disk, name, temporary, file, buffer, written: 0 })
    }

    /// Adds a record; before the first one, the block that names its log.
    pub(super) fn keep(&mut self, record: &Record<'_>, log: Option<(&str, u64)>) -> io::Result<()> {
        if let Some((origin, generation)) = log.filter(|_| self.written == 0 && self.buffer.is_empty()) {
            let first = record.index;
            let block =
                format!("event: log\ndata: {{\"first\":{first},\"generation\":{generation},\"origin\":");
            self.buffer.extend_from_slice(block.as_bytes());
            json::write_string(&mut self.buffer, origin);
            self.buffer.extend_from_slice(b"}\n\n");
        }
        self.buffer.extend_from_slice(record.bytes);
        if self.buffer.len() >= OUT_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Gives the file its name. It is durable when this returns.
    ///
    /// # Errors
    /// A failed write or sync, or a file that came to have this name meanwhile.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let done = self.write().and_then(|()| self.file.sync());
        if let Err(cause) = done {
            let failure =
                Failure::new(Exit::DiskFailed, format!("cannot write {}: {cause}", self.path.display()));
            self.discard();
            return Err(failure);
        }
        if let Err(failure) = refuse_existing(&self.path) {
            self.discard();
            return Err(failure);
        }
        self.disk
            .rename(&self.temporary, &self.name)
            .and_then(|()| self.disk.sync_dir(""))
            .map_err(|cause| cannot("give its name to", &self.path, cause))
    }

    /// Removes what was written.
    pub(super) fn discard(self) {
        if let Err(error) = self.disk.remove(&self.temporary) {
            eprintln!("note: cannot remove {}: {error}", self.path.with_file_name(&self.temporary).display());
        }
    }
}

/// # Errors
/// Anything of this name, a dangling link too.
fn refuse_existing(path: &Path) -> Result<(), Failure> {
    match path.symlink_metadata() {
        Ok(_) => Err(Failure::new(Exit::Usage, format!("{} exists already", path.display()))
            .hint("a salvage writes a new file: choose another name")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(cannot("look for", path, cause)),
    }
}
