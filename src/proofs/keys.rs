//! The files of the keys that sign: `checkpoint.key`, and beside it `.previous` and, during a rotation, `.next`.
//!
//! A rotation is in the log before it is in the files: `.next` is durable, then the CONTROL record, then the names
//! change. Whether an interrupted one happened, the log says.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gesta_log_format::disk::Disk as _;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::note::{KeyError, KeyId, PublicKey, SecretKey};
use tracing::info;

use crate::key_file;

/// The file below the data directory where none is configured.
const DEFAULT_FILE: &str = "keys/checkpoint.key";

/// The keys that sign, the newest first; at most two, so that who knows the former one goes on for one rotation.
pub type SigningKeys = Arc<[SecretKey]>;

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("cannot {doing} {path}: {cause}")]
    Io { doing: &'static str, path: PathBuf, cause: io::Error },
    #[error("{path} holds no key: {cause}")]
    NoKey { path: PathBuf, cause: KeyError },
    #[error("{path} holds a key of {found}, and the log is {origin}")]
    Foreign { path: PathBuf, found: String, origin: String },
    #[error(
        "{path} is missing although the log has signed before: put it back, or make a new one with `gesta keys new`"
    )]
    Missing { path: PathBuf },
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

/// Where a log's keys lie.
#[derive(Debug, Clone)]
pub struct KeyFiles {
    path: PathBuf,
    disk: RealDisk,
    name: String,
    origin: String,
}

impl KeyFiles {
    /// The files of the log `origin`: `configured`, or those in its data directory.
    pub fn new(data: &Path, configured: Option<&Path>, origin: &str) -> Self {
        let path = configured.map_or_else(|| data.join(DEFAULT_FILE), Path::to_path_buf);
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let disk = RealDisk::new(directory.unwrap_or(Path::new(".")));
        Self { path, disk, name, origin: origin.to_owned() }
    }

    fn previous(&self) -> PathBuf {
        self.disk.root().join(format!("{}.previous", self.name))
    }

    fn next(&self) -> PathBuf {
        self.disk.root().join(format!("{}.next", self.name))
    }

    /// The keys, after an interrupted rotation was ended one way or the other: `is_rotated` says whether the log has its
    /// record. A missing key is made where the log has never signed.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn open(
        &self,
        has_signed: bool,
        is_rotated: impl FnOnce(KeyId) -> bool,
    ) -> Result<SigningKeys, KeysError> {
        match self.read(&self.next()) {
            Ok(None) => {}
            Ok(Some(next)) if is_rotated(next.public().id()) => self.take_over()?,
            // Half a key was never durable, so its rotation was never begun.
            Ok(Some(_)) | Err(KeysError::NoKey { .. }) => self.discard_next()?,
            Err(error) => return Err(error),
        }
        let current = match self.read(&self.path)? {
            Some(key) => key,
            None if has_signed => return Err(KeysError::Missing { path: self.path.clone() }),
            None => self.create()?,
        };
        key_file::warn_if_open_to_others(&self.path);
        let previous = self.read(&self.previous())?;
        Ok(std::iter::once(current).chain(previous).collect())
    }

    /// Makes the first key. Whoever calls this has seen that there is none.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn create(&self) -> Result<SecretKey, KeysError> {
        self.disk.create_dir("").map_err(|cause| self.io("create", self.disk.root(), cause))?;
        let key = self.prepare_next()?;
        self.take_over()?;
        info!(key = %key.public(), file = %self.path.display(), "a key that signs checkpoints was made");
        Ok(key)
    }

    /// Makes the key of the next rotation, durable but not used yet.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn prepare_next(&self) -> Result<SecretKey, KeysError> {
        let key = self.fresh()?;
        match self.discard_next() {
            Err(KeysError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {}
            discarded => discarded?,
        }
        self.write(&self.next(), &key)?;
        self.sync()?;
        Ok(key)
    }

    /// Removes the key of a rotation that did not happen.
    ///
    /// # Errors
    /// [`KeysError::Io`].
    pub fn discard_next(&self) -> Result<(), KeysError> {
        let name = format!("{}.next", self.name);
        self.disk.remove(&name).map_err(|cause| self.io("remove", &self.next(), cause))?;
        self.sync()
    }

    /// Makes the prepared key the current one and the current one the previous. May be repeated.
    ///
    /// # Errors
    /// [`KeysError::Io`].
    pub fn take_over(&self) -> Result<(), KeysError> {
        let (previous, next) = (format!("{}.previous", self.name), format!("{}.next", self.name));
        match self.disk.rename(&self.name, &previous) {
            // An earlier try came as far as this.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(|cause| self.io("rename", &self.path, cause))?,
        }
        self.sync()?;
        self.disk.rename(&next, &self.name).map_err(|cause| self.io("rename", &self.next(), cause))?;
        self.sync()
    }

    /// The public keys that are there, the newest first.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn public(&self) -> Result<Vec<PublicKey>, KeysError> {
        let keys = [self.read(&self.path)?, self.read(&self.previous())?];
        Ok(keys.iter().flatten().map(|key| key.public().clone()).collect())
    }

    fn fresh(&self) -> Result<SecretKey, KeysError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(KeysError::Random)?;
        SecretKey::new(&self.origin, seed)
            .map_err(|cause| KeysError::NoKey { path: self.path.clone(), cause })
    }

    fn read(&self, path: &Path) -> Result<Option<SecretKey>, KeysError> {
        let text = match key_file::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(self.io("read", path, cause)),
        };
        let key = SecretKey::parse(String::from_utf8_lossy(text.trim_ascii_end()).as_ref())
            .map_err(|cause| KeysError::NoKey { path: path.to_path_buf(), cause })?;
        if key.public().name() != self.origin {
            let (found, origin) = (key.public().name().to_owned(), self.origin.clone());
            return Err(KeysError::Foreign { path: path.to_path_buf(), found, origin });
        }
        Ok(Some(key))
    }

    fn write(&self, path: &Path, key: &SecretKey) -> Result<(), KeysError> {
        let text = format!("{}\n", key.secret_text());
        key_file::create(path, text.as_bytes()).map_err(|cause| self.io("write", path, cause))
    }

    fn sync(&self) -> Result<(), KeysError> {
        self.disk.sync_dir("").map_err(|cause| self.io("sync", self.disk.root(), cause))
    }

    fn io(&self, doing: &'static str, path: &Path, cause: io::Error) -> KeysError {
        KeysError::Io { doing, path: path.to_path_buf(), cause }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn ids(keys: &[SecretKey]) -> Vec<KeyId> {
        keys.iter().map(|key| key.public().id()).collect()
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_never_again_for_a_log_that_has_signed() {
        let data = tempfile::tempdir().unwrap();
        let files = KeyFiles::new(data.path(), None, "log.test/1");
        let first = ids(&files.open(false, |_| false).unwrap());
        let path = data.path().join(DEFAULT_FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ids(&files.open(true, |_| false).unwrap()), first);
        let other = KeyFiles::new(data.path(), None, "log.test/2").open(true, |_| false);
        assert!(matches!(other, Err(KeysError::Foreign { .. })));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(files.open(true, |_| false), Err(KeysError::Missing { .. })));
        assert!(!path.exists());
    }

    #[test]
    fn an_interrupted_rotation_ends_as_the_log_says() {
        for rotated in [false, true] {
            for renamed in [false, true] {
                let data = tempfile::tempdir().unwrap();
                let files = KeyFiles::new(data.path(), None, "log.test/1");
                let old = ids(&files.open(false, |_| false).unwrap());
                let next = files.prepare_next().unwrap().public().id();
                if rotated && renamed {
                    files.disk.rename("checkpoint.key", "checkpoint.key.previous").unwrap();
                }
                let keys = files.open(true, |id| id == next && rotated).unwrap();
                let expected = if rotated { vec![next, old[0]] } else { old };
                assert_eq!(ids(&keys), expected, "{rotated} {renamed}");
                assert!(!files.next().exists());
            }
        }
    }
}
