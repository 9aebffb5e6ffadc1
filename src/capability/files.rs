//! The files of the keys: `keys/task/current.pem`, beside it `previous.pem` and, during a rotation, `next.pem`; and
//! `keys/lease.key`. All are readable for their owner alone.
//!
//! A rotation is in the log before it is in the files: `next.pem` is durable, then the CONTROL record, then the names
//! change. Whether an interrupted one happened, the log says.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gesta_log_format::disk::Disk as _;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::hex;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use tracing::info;

use super::keys::{Key, KeyFault};
use super::lease::LeaseKey;
use crate::key_file;

/// Characters of one line of a PEM file (RFC 7468).
const PEM_LINE: usize = 64;

const CURRENT: &str = "current.pem";
const PREVIOUS: &str = "previous.pem";
const NEXT: &str = "next.pem";

const LEASE: &str = "lease.key";
const OBJECTS: &str = "objects.key";

/// Why a key's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFilesError {
    #[error("cannot {doing} {path}: {cause}")]
    Io { doing: &'static str, path: PathBuf, cause: io::Error },
    #[error("{path} holds no key: {fault}")]
    NoKey { path: PathBuf, fault: KeyFault },
    #[error("{path} is no key: 64 hex digits")]
    NoSecret { path: PathBuf },
    #[error("no random numbers")]
    Random,
    #[error("cannot ask the log whether a key was changed: {0}")]
    Log(io::Error),
}

/// A directory of secrets.
#[derive(Debug, Clone)]
struct Secrets {
    disk: RealDisk,
}

impl Secrets {
    fn path(&self, name: &str) -> PathBuf {
        self.disk.root().join(name)
    }

    fn io(&self, doing: &'static str, name: &str) -> impl FnOnce(io::Error) -> KeyFilesError {
        let path = self.path(name);
        move |cause| KeyFilesError::Io { doing, path, cause }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, KeyFilesError> {
        let path = self.path(name);
        match read_bounded(&path) {
            Ok(bytes) => {
                key_file::warn_if_open_to_others(&path);
                Ok(Some(bytes))
            }
            Err(KeyFilesError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a file that is durable afterwards, in the place of one that was left behind.
    fn write(&self, name: &str, text: &str) -> Result<(), KeyFilesError> {
        self.disk.create_dir("").map_err(self.io("create", ""))?;
        self.remove(name)?;
        key_file::create(&self.path(name), text.as_bytes()).map_err(self.io("write", name))?;
        self.sync()
    }

    /// Nothing is done where the file is missing.
    fn rename(&self, from: &str, to: &str) -> Result<(), KeyFilesError> {
        unless_missing(self.disk.rename(from, to)).map_err(self.io("rename", from))?;
        self.sync()
    }

    /// Nothing is done where the file is missing.
    fn remove(&self, name: &str) -> Result<(), KeyFilesError> {
        unless_missing(self.disk.remove(name)).map_err(self.io("remove", name))?;
        self.sync()
    }

    fn sync(&self) -> Result<(), KeyFilesError> {
        self.disk.sync_dir("").map_err(self.io("sync", ""))
    }
}

fn unless_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Where the keys of capabilities lie.
#[derive(Debug, Clone)]
pub struct TaskKeyFiles(Secrets);

impl TaskKeyFiles {
    /// The files in a data directory. Touches nothing.
    pub fn new(data: &Path) -> Self {
        Self(Secrets { disk: RealDisk::new(data.join("keys/task")) })
    }

    /// The keys, the newest first, after an interrupted rotation was ended one way or the other: `is_rotated` says
    /// whether the log has its record. A missing key is made.
    ///
    /// # Errors
    /// [`KeyFilesError`].
    pub(super) fn open(
        &self,
        is_rotated: impl FnOnce(&str) -> io::Result<bool>,
    ) -> Result<Vec<Arc<Key>>, KeyFilesError> {
        match self.read(NEXT) {
            Ok(None) => {}
            Ok(Some(next)) if is_rotated(next.id()).map_err(KeyFilesError::Log)? => self.take_over()?,
            // Half a key was never durable, so its rotation was never begun.
            Ok(Some(_)) | Err(KeyFilesError::NoKey { .. }) => self.discard_next()?,
            Err(error) => return Err(error),
        }
        let current = match self.read(CURRENT)? {
            Some(key) => key,
            None => {
                let key = self.prepare_next()?;
                self.0.rename(NEXT, CURRENT)?;
                info!(key = key.id(), "a key that signs capability tokens was made");
                key
            }
        };
        let previous = self.read(PREVIOUS)?;
        Ok(std::iter::once(current).chain(previous).map(Arc::new).collect())
    }

    /// Makes the key of the next rotation, durable but not used yet.
    ///
    /// # Errors
    /// [`KeyFilesError`].
    pub(super) fn prepare_next(&self) -> Result<Key, KeyFilesError> {
        let pkcs8 = Key::generate().map_err(|_failed| KeyFilesError::Random)?;
        self.0.write(NEXT, &pem(&pkcs8))?;
        self.key(NEXT, &pkcs8)
    }

    /// Removes the key of a rotation that did not happen.
    ///
    /// # Errors
    /// [`KeyFilesError::Io`].
    pub(super) fn discard_next(&self) -> Result<(), KeyFilesError> {
        self.0.remove(NEXT)
    }

    /// Makes the prepared key the current one and the current one the previous. May be repeated.
    ///
    /// # Errors
    /// [`KeyFilesError::Io`].
    pub(super) fn take_over(&self) -> Result<(), KeyFilesError> {
        if self.0.path(NEXT).exists() {
            self.0.rename(CURRENT, PREVIOUS)?;
        }
        self.0.rename(NEXT, CURRENT)
    }

    fn read(&self, name: &str) -> Result<Option<Key>, KeyFilesError> {
        let Some(text) = self.0.read(name)? else { return Ok(None) };
        self.key(name, &of_pem(&text).unwrap_or_default()).map(Some)
    }

    fn key(&self, name: &str, pkcs8: &[u8]) -> Result<Key, KeyFilesError> {
        Key::es256(pkcs8).map_err(|fault| KeyFilesError::NoKey { path: self.0.path(name), fault })
    }
}

/// The key of lease tokens in a data directory; made where it is missing, which ends the leases that were live.
///
/// # Errors
/// [`KeyFilesError`].
pub fn lease_key(data: &Path) -> Result<LeaseKey, KeyFilesError> {
    secret(data, LEASE).map(|secret| LeaseKey::new(&secret))
}

/// The key of credentials for objects in a data directory; made where it is missing, which ends those that were given.
///
/// # Errors
/// [`KeyFilesError`].
pub fn objects_key(data: &Path) -> Result<[u8; 32], KeyFilesError> {
    secret(data, OBJECTS)
}

/// 32 bytes that a file has as 64 hex digits.
fn secret(data: &Path, name: &'static str) -> Result<[u8; 32], KeyFilesError> {
    let secrets = Secrets { disk: RealDisk::new(data.join("keys")) };
    if let Some(text) = secrets.read(name)? {
        let text = std::str::from_utf8(&text).unwrap_or_default().trim_end();
        return hex::read(text.as_bytes())
            .ok_or_else(|| KeyFilesError::NoSecret { path: secrets.path(name) });
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|_failed| KeyFilesError::Random)?;
    let next = format!("{name}.next");
    secrets.write(&next, &format!("{}\n", hex::text(&secret)))?;
    secrets.rename(&next, name)?;
    info!(name, "a key was made");
    Ok(secret)
}

/// The key of ES256 in a PEM file.
///
/// # Errors
/// [`KeyFilesError`].
pub fn read_pem(path: &Path) -> Result<Key, KeyFilesError> {
    let pkcs8 = of_pem(&read_bounded(path)?).unwrap_or_default();
    Key::es256(&pkcs8).map_err(|fault| KeyFilesError::NoKey { path: path.to_path_buf(), fault })
}

/// Makes a key of ES256 in a new PEM file.
///
/// # Errors
/// [`KeyFilesError`]; the file exists.
pub fn create_pem(path: &Path) -> Result<Key, KeyFilesError> {
    let pkcs8 = Key::generate().map_err(|_failed| KeyFilesError::Random)?;
    key_file::create(path, pem(&pkcs8).as_bytes()).map_err(|cause| KeyFilesError::Io {
        doing: "write",
        path: path.to_path_buf(),
        cause,
    })?;
    read_pem(path)
}

/// The key of HS256 that a file holds; white space around it is none of the secret.
///
/// # Errors
/// [`KeyFilesError`].
pub fn read_secret(path: &Path) -> Result<Key, KeyFilesError> {
    let secret = read_bounded(path)?;
    key_file::warn_if_open_to_others(path);
    Key::hs256(secret.trim_ascii()).map_err(|fault| KeyFilesError::NoKey { path: path.to_path_buf(), fault })
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, KeyFilesError> {
    key_file::read(path).map_err(|cause| KeyFilesError::Io { doing: "read", path: path.to_path_buf(), cause })
}

fn of_pem(text: &[u8]) -> Option<Vec<u8>> {
    PrivatePkcs8KeyDer::from_pem_slice(text).ok().map(|key| key.secret_pkcs8_der().to_vec())
}

fn pem(pkcs8: &[u8]) -> String {
    let text = STANDARD.encode(pkcs8);
    let mut pem = "-----BEGIN PRIVATE KEY-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn ids(keys: &[Arc<Key>]) -> Vec<String> {
        keys.iter().map(|key| key.id().to_owned()).collect()
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn keys_are_made_once_for_their_owner_alone() {
        let data = tempfile::tempdir().unwrap();
        let files = TaskKeyFiles::new(data.path());
        let first = ids(&files.open(|_| Ok(false)).unwrap());
        assert_eq!(ids(&files.open(|_| Ok(false)).unwrap()), first);
        assert_eq!(mode(&data.path().join("keys/task/current.pem")), 0o600);
        let lease = super::super::Lease {
            stream_id: "s",
            task_id: "t",
            attempt: 1,
            nonce: super::super::Nonce::random().unwrap(),
        };
        let token = lease_key(data.path()).unwrap().token(&lease);
        assert!(lease_key(data.path()).unwrap().verify(&lease, &token));
        assert_eq!(mode(&data.path().join("keys/lease.key")), 0o600);
    }

    #[test]
    fn an_interrupted_rotation_ends_as_the_log_says() {
        for rotated in [false, true] {
            for renamed in [false, true] {
                let data = tempfile::tempdir().unwrap();
                let files = TaskKeyFiles::new(data.path());
                let old = ids(&files.open(|_| Ok(false)).unwrap());
                let next = files.prepare_next().unwrap().id().to_owned();
                if rotated && renamed {
                    files.0.rename(CURRENT, PREVIOUS).unwrap();
                }
                let keys = files.open(|id| Ok(id == next && rotated)).unwrap();
                let expected = if rotated { vec![next, old[0].clone()] } else { old };
                assert_eq!(ids(&keys), expected, "{rotated} {renamed}");
                assert!(!files.0.path(NEXT).exists());
                files.take_over().unwrap();
                assert_eq!(
                    ids(&files.open(|_| Ok(false)).unwrap()),
                    expected,
                    "a repeated end changes nothing"
                );
            }
        }
    }

    #[test]
    fn a_file_that_holds_no_key_is_named_and_never_replaced() {
        let data = tempfile::tempdir().unwrap();
        let directory = data.path().join("keys/task");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(CURRENT), "nonsense").unwrap();
        std::fs::write(data.path().join("keys/lease.key"), "nonsense").unwrap();
        let refused = TaskKeyFiles::new(data.path()).open(|_| Ok(false)).unwrap_err();
        assert!(refused.to_string().contains("current.pem holds no key"), "{refused}");
        assert!(matches!(lease_key(data.path()), Err(KeyFilesError::NoSecret { .. })));
        assert_eq!(std::fs::read_to_string(directory.join(CURRENT)).unwrap(), "nonsense");
    }

    #[test]
    fn a_secret_is_read_without_its_line_end_and_has_to_be_long() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("secret");
        std::fs::write(&path, format!("{}\n", "s".repeat(32))).unwrap();
        assert_eq!(read_secret(&path).unwrap().id(), super::super::HS256_KEY_ID);
        std::fs::write(&path, format!("{}\n", "s".repeat(31))).unwrap();
        assert!(matches!(
            read_secret(&path),
            Err(KeyFilesError::NoKey { fault: KeyFault::ShortSecret(31), .. })
        ));
        std::fs::write(&path, "s".repeat(5000)).unwrap();
        assert!(matches!(read_secret(&path), Err(KeyFilesError::Io { .. })));
    }
}
