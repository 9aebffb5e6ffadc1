//! The operating system below one directory.
//!
//! Owns no state but the path of its root: each call goes to the file system. It never retries a write or a sync,
//! and never follows a name out of its root (a symbolic link that somebody put there excepted).

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Disk, File, name};

/// How often [`RealDisk::lock`] steps aside for probes by [`RealDisk::is_locked`] before it gives up. A probe holds
/// its shared lock for two system calls, unless it is preempted between them: the bound outlasts a time slice.
const PROBES_MAX: u32 = 100_000;

/// A directory of the operating system. Clones name the same directory.
#[derive(Clone, Debug)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// The disk below `root`. Touches nothing: `create_dir("")` creates a missing root.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory that names are relative to.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn file_path(&self, name: &str) -> io::Result<PathBuf> {
        Ok(self.root.join(name::file(name)?))
    }

    fn dir_path(&self, name: &str) -> io::Result<PathBuf> {
        let name = name::directory(name)?;
        // Joining the empty name would append a slash.
        Ok(if name.is_empty() { self.root.clone() } else { self.root.join(name) })
    }

    /// Creates the root and syncs the parents that got a new entry: they lie outside this disk, where no caller can
    /// name them for [`Disk::sync_dir`].
    fn create_root(&self) -> io::Result<()> {
        let missing: Vec<&Path> = self.root.ancestors().take_while(|path| is_missing(path)).collect();
        fs::create_dir_all(&self.root)?;
        for parent in missing.iter().rev().filter_map(|path| path.parent()) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            sync_directory(parent)?;
        }
        Ok(())
    }
}

/// The empty path, last ancestor of every relative one, is the working directory.
fn is_missing(path: &Path) -> bool {
    !path.as_os_str().is_empty() && !path.exists()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = fs::File::open(path)?;
    // A file by this name would sync as readily and make nothing of the directory durable.
    if !directory.metadata()?.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    directory.sync_all()
}

impl Disk for RealDisk {
    type File = RealFile;
    type Lock = RealLock;

    fn lock(&self, name: &str) -> io::Result<RealLock> {
        let path = self.file_path(name)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        take(&file)?;
        // The line is for people who look at the directory. The lock is held without it, also on a full disk, where
        // the server still starts for readers.
        let _ =
            file.set_len(0).and_then(|()| (&file).write_all(format!("{}\n", std::process::id()).as_bytes()));
        Ok(RealLock { _file: file })
    }

    fn is_locked(&self, name: &str) -> io::Result<bool> {
        let file = match fs::File::open(self.file_path(name)?) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        // A shared lock is refused beside the holder's exclusive one and leaves it alone; closing the descriptor
        // lets go of it.
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn create_dir(&self, name: &str) -> io::Result<()> {
        let path = self.dir_path(name)?;
        if is_missing(&self.root) {
            self.create_root()?;
        }
        fs::create_dir_all(path)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.dir_path(dir)?)? {
            let entry = entry?;
            if !entry.file_type()?.is_file() {
                continue;
            }
            // No name that this crate gives is anything but UTF-8: others are foreign files.
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_new(&self, name: &str) -> io::Result<RealFile> {
        let path = self.file_path(name)?;
        OpenOptions::new().read(true).write(true).create_new(true).open(path).map(RealFile)
    }

    fn open(&self, name: &str) -> io::Result<RealFile> {
        OpenOptions::new().read(true).write(true).open(self.file_path(name)?).map(RealFile)
    }

    fn open_read(&self, name: &str) -> io::Result<RealFile> {
        let file = fs::File::open(self.file_path(name)?)?;
        if file.metadata()?.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        Ok(RealFile(file))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the disk module, whose callers sync the directory"
    )]
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.file_path(from)?, self.file_path(to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.file_path(name)?)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        sync_directory(&self.dir_path(dir)?)
    }
}

/// Takes the exclusive lock, stepping aside for probes: only they ever hold a shared one, and for an instant.
fn take(file: &fs::File) -> io::Result<()> {
    for _ in 0..PROBES_MAX {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {}
        }
        match file.try_lock_shared() {
            Ok(()) => file.unlock()?,
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => break,
        }
        std::thread::yield_now();
    }
    Err(ErrorKind::WouldBlock.into())
}

/// The lock on a directory. The operating system lets go of it when this is dropped or the process ends.
#[derive(Debug)]
pub struct RealLock {
    _file: fs::File,
}

/// A file of the operating system, on a descriptor of its own.
#[derive(Debug)]
pub struct RealFile(fs::File);

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        let mut at = offset;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, at) {
                Ok(0) => break,
                Ok(count) => {
                    filled = filled.saturating_add(count);
                    at = at.saturating_add(u64::try_from(count).map_err(io::Error::other)?);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_holds_the_pid_line_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("LOCK"), "a longer line of another process\n").unwrap();
        let disk = RealDisk::new(root.path());
        let lock = disk.lock("LOCK").unwrap();
        let line = format!("{}\n", std::process::id());
        assert_eq!(fs::read_to_string(root.path().join("LOCK")).unwrap(), line);
        drop(lock);
        assert_eq!(fs::read_to_string(root.path().join("LOCK")).unwrap(), line);
    }

    #[test]
    fn a_probe_neither_takes_the_lock_nor_refuses_it_to_another() {
        let root = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(root.path());
        drop(disk.lock("LOCK").unwrap());
        std::thread::scope(|scope| {
            let prober = scope.spawn(|| {
                (0..20_000).for_each(|_| {
                    disk.is_locked("LOCK").unwrap();
                })
            });
            while !prober.is_finished() {
                drop(disk.lock("LOCK").unwrap());
            }
        });
    }

    #[test]
    fn a_missing_root_is_created_with_its_parents() {
        let root = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(root.path().join("a/b/data"));
        disk.create_dir("").unwrap();
        assert!(disk.root().is_dir());
        assert_eq!(disk.list("").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn only_plain_files_are_listed() {
        let root = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(root.path());
        disk.create_dir("sub").unwrap();
        disk.create_new("plain").unwrap();
        std::os::unix::fs::symlink("plain", root.path().join("link")).unwrap();
        assert_eq!(disk.list("").unwrap(), ["plain"]);
    }
}
