//! A file that holds the newest checkpoint: replaced as a whole, and durable when the call returns.

use std::io;
use std::path::{Path, PathBuf};

use gesta_log_format::checkpoint::{Checkpoint, OpenError};
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::disk::{Disk as _, File as _};
use gesta_log_format::note::{NOTE_BYTES_MAX, Note, NoteError, PublicKey, VerifyError};

/// Why a checkpoint's file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("cannot {doing} {path}: {cause}")]
    Io { doing: &'static str, path: PathBuf, cause: io::Error },
    #[error("{path} holds no checkpoint: {cause}")]
    NoCheckpoint { path: PathBuf, cause: OpenError },
}

/// A checkpoint and the note that it is signed as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub checkpoint: Checkpoint,
    pub note: String,
}

impl Signed {
    /// Reads a note without asking who signed it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, OpenError> {
        let note = Note::parse(bytes)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        Ok(Self { checkpoint, note: note.encode() })
    }

    /// Whether one of the keys has signed it. False where none of them is said to have.
    ///
    /// # Errors
    /// [`VerifyError::Wrong`]: a signature does not hold.
    pub fn is_signed_by(&self, keys: &[PublicKey]) -> Result<bool, VerifyError> {
        match Note::parse(self.note.as_bytes()).map(|note| note.verify(keys).map(drop)) {
            Ok(Ok(())) => Ok(true),
            Ok(Err(VerifyError::Unknown { .. })) | Err::<_, NoteError>(_) => Ok(false),
            Ok(Err(wrong @ VerifyError::Wrong { .. })) => Err(wrong),
        }
    }
}

/// The file.
#[derive(Debug, Clone)]
pub struct Place {
    path: PathBuf,
    disk: RealDisk,
    name: String,
}

impl Place {
    pub fn new(path: &Path) -> Self {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        Self { path: path.to_path_buf(), disk: RealDisk::new(directory.unwrap_or(Path::new("."))), name }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file holds; none where there is no file.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn read(&self) -> Result<Option<Signed>, PlaceError> {
        let file = match self.disk.open_read(&self.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(self.io("open"))?,
        };
        let mut bytes = vec![0; NOTE_BYTES_MAX + 1];
        let mut read = 0;
        while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, read as u64).map_err(self.io("read"))? {
                0 => break,
                some => read += some,
            }
        }
        bytes.truncate(read);
        let signed = Signed::parse(&bytes);
        signed.map(Some).map_err(|cause| PlaceError::NoCheckpoint { path: self.path.clone(), cause })
    }

    /// Replaces what the file holds: a temporary file, synced, renamed, the directory synced.
    ///
    /// # Errors
    /// [`PlaceError::Io`]; the file then holds the former checkpoint, or this one.
    pub fn write(&self, signed: &Signed) -> Result<(), PlaceError> {
        let temporary = format!("{}.new", self.name);
        match self.disk.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.io("remove")(error)),
            Ok(()) | Err(_) => {}
        }
        let file = self.disk.create_new(&temporary).map_err(self.io("create"))?;
        file.write_at(signed.note.as_bytes(), 0).map_err(self.io("write"))?;
        file.sync().map_err(self.io("sync"))?;
        self.disk.rename(&temporary, &self.name).map_err(self.io("replace"))?;
        self.disk.sync_dir("").map_err(self.io("sync the directory of"))
    }

    fn io(&self, doing: &'static str) -> impl Fn(io::Error) -> PlaceError + use<> {
        let path = self.path.clone();
        move |cause| PlaceError::Io { doing, path: path.clone(), cause }
    }
}
