//! The storage seam: everything that the log asks of a file system, in a dozen calls.
//!
//! [`real::RealDisk`] is the operating system below one directory; [`sim::SimDisk`] is a disk in memory that
//! loses, tears and flips what a real one may. Names are relative to the disk's root and use `/`
//! (`log/00000000000000000000.log`). Nothing here retries: a failed write or sync leaves the file in an
//! unknown state, and the caller's only safe step is to stop, reopen and recover.

use std::io;

mod name;
pub mod real;
pub mod sim;

#[cfg(test)]
mod conformance;

/// A directory that holds a log, and its exclusive lock.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: File;
    /// Held for as long as this process owns the directory; dropping it lets go.
    type Lock: Send + 'static;

    /// Takes the exclusive lock on `name`, creating the file where it is missing.
    ///
    /// # Errors
    /// `WouldBlock` where another process holds it.
    fn lock(&self, name: &str) -> io::Result<Self::Lock>;

    /// Says whether another process holds the lock, without taking it.
    fn is_locked(&self, name: &str) -> io::Result<bool>;

    /// Creates the directory `name` and its parents where they are missing. Durable once [`Disk::sync_dir`] of each
    /// parent returned.
    fn create_dir(&self, name: &str) -> io::Result<()>;

    /// The names of the files directly in `dir`, sorted. A missing directory is an error (`NotFound`).
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Creates a file that must not exist (`AlreadyExists`), open for reading and writing.
    fn create_new(&self, name: &str) -> io::Result<Self::File>;

    /// Opens an existing file for reading and writing, as a descriptor of its own: a sync on it reports the errors
    /// of its own writes and hides none of another descriptor's.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Opens an existing file for reading.
    fn open_read(&self, name: &str) -> io::Result<Self::File>;

    /// Replaces `to` by `from`, atomically for every reader. Durable once [`Disk::sync_dir`] returned.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable once [`Disk::sync_dir`] returned.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals directly in `dir` durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
}

/// An open file. Offsets and lengths are bytes. All calls are positional: a file has no cursor.
pub trait File: Send + Sync + 'static {
    /// Reads up to `buf.len()` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, extending the file where needed. Not durable before [`File::sync`].
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written to this file so far durable, its length included (`fdatasync`).
    fn sync(&self) -> io::Result<()>;

    /// The length of the file.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or extends (with zeroes) the file to `len`. Durable after [`File::sync`].
    fn set_len(&self, len: u64) -> io::Result<()>;
}
