//! What a test may order to fail, and the record of what was asked of the disk.

use std::io;

use rustix::io::Errno;

/// What befalls one mutating call; see [`super::SimDisk::fail_at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies before the call has any effect.
    CrashBefore,
    /// The process dies within the call. A write has put a part of its bytes into the cache, up to a random sector
    /// boundary; a sync has put random sectors onto the platter and left all of them dirty; any other call has
    /// happened or not.
    CrashWithin,
    /// The process dies after the call took full effect and before it hears so.
    CrashAfter,
    /// The call fails with `EIO`. A write may have put a part of its bytes into the cache; any other call has no
    /// effect, and what was dirty stays so.
    Eio,
    /// The call fails with `ENOSPC`, with the effects of [`Fault::Eio`].
    Enospc,
    /// A writeback of the file fails: random dirty sectors reach the platter, and all are marked clean while the
    /// cache keeps showing the new bytes. A sync answers `EIO`; the next one answers `Ok` without having written
    /// them. On a write, which itself succeeds, the writeback fails behind the program's back, and the next sync of
    /// each open descriptor of the file says so once. On `sync_dir` random changes of directories are made durable,
    /// the rest stays pending, and the answer is `EIO`. Elsewhere as [`Fault::Eio`].
    EioCleanPages,
}

/// A mutating call, for the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are the parameters of the calls of `Disk` and `File`; len is in bytes"
)]
pub enum Op {
    /// `Disk::create_new`.
    CreateNew { name: String },
    /// `File::write_at`; `name` is what the file was opened by.
    Write { name: String, offset: u64, len: u64 },
    /// `File::sync`.
    Sync { name: String },
    /// `File::set_len`.
    SetLen { name: String, len: u64 },
    /// `Disk::rename`.
    Rename { from: String, to: String },
    /// `Disk::remove`.
    Remove { name: String },
    /// `Disk::sync_dir`.
    SyncDir { dir: String },
    /// `Disk::create_dir`.
    CreateDir { dir: String },
}

/// The cause of each error after a crash: a process that is gone makes no calls.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the simulated process is gone")]
pub struct ProcessGone;

impl ProcessGone {
    /// Whether `error` says that the simulated process is gone.
    #[must_use]
    pub fn is_cause_of(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|cause| cause.is::<Self>())
    }
}

pub(super) fn gone() -> io::Error {
    io::Error::other(ProcessGone)
}

pub(super) fn eio() -> io::Error {
    Errno::IO.into()
}

pub(super) fn enospc() -> io::Error {
    Errno::NOSPC.into()
}

pub(super) fn not_writable() -> io::Error {
    Errno::BADF.into()
}
