//! The files of a log, read again at a place; and its blobs.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use gesta_log_format::disk::real::{RealDisk, RealFile};
use gesta_log_format::disk::{Disk as _, File as _};
use gesta_log_format::{Digest, record};
use gesta_replay::context::VALUE_BYTES_MAX;
use gesta_replay::verify::{Place, Store};

/// Bits of a place that say the byte; the ones above say which file.
const BYTE_BITS: u32 = 40;

/// Most files that are held open.
const OPEN_MAX: usize = 128;

/// Bytes that are read of a record at first: few have more.
const FIRST_BYTES: usize = 2048;

/// Why something could not be read again.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Unread {
    #[error("cannot read {file} at byte {byte}")]
    Record {
        file: String,
        byte: u64,
        #[source]
        cause: io::Error,
    },
    #[error("cannot read the blob {}", path.display())]
    Blob {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

/// The files of a log, by number.
pub(in crate::cli) struct Files {
    disk: RealDisk,
    names: Vec<String>,
    open: Mutex<BTreeMap<usize, Arc<RealFile>>>,
    blobs: Option<PathBuf>,
}

impl Files {
    pub(super) fn new(disk: RealDisk, names: Vec<String>, blobs: Option<PathBuf>) -> Self {
        Self { disk, names, open: Mutex::default(), blobs }
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The place of the byte of a file.
    pub(super) fn place(file: usize, byte: u64) -> Place {
        Place((file as u64) << BYTE_BITS | byte)
    }

    /// The file and the byte of a place.
    pub(in crate::cli) fn locate(&self, place: Place) -> (&str, u64) {
        let byte = place.0 & ((1 << BYTE_BITS) - 1);
        (self.names.get(Self::number(place)).map_or("", String::as_str), byte)
    }

    fn number(place: Place) -> usize {
        usize::try_from(place.0 >> BYTE_BITS).unwrap_or(usize::MAX)
    }

    pub(super) fn file(&self, number: usize) -> io::Result<Arc<RealFile>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&number) {
            return Ok(Arc::clone(file));
        }
        let name = self.names.get(number).ok_or(io::ErrorKind::NotFound)?;
        let file = Arc::new(self.disk.open_read(name)?);
        while open.len() >= OPEN_MAX {
            open.pop_first();
        }
        open.insert(number, Arc::clone(&file));
        Ok(file)
    }

    fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let file = self.file(Self::number(place))?;
        let (_, byte) = self.locate(place);
        let mut bytes = vec![0; FIRST_BYTES];
        let mut have = file.read_at(&mut bytes, byte)?;
        let len = bytes.get(..have).and_then(record::len).ok_or(io::ErrorKind::InvalidData)?;
        bytes.resize(len, 0);
        while have < len {
            let rest = bytes.get_mut(have..).unwrap_or_default();
            match file.read_at(rest, byte + have as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => have += read,
            }
        }
        let found = record::decode(&bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(found.data.to_vec())
    }
}

impl Store for Files {
    type Error = Unread;

    fn record(&self, place: Place) -> Result<Vec<u8>, Unread> {
        self.read(place).map_err(|cause| {
            let (file, byte) = self.locate(place);
            Unread::Record { file: file.to_owned(), byte, cause }
        })
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Unread> {
        let Some(blobs) = &self.blobs else { return Ok(None) };
        let hex = digest.hex();
        let (shard, _) = hex.split_at_checked(2).unwrap_or((&hex, ""));
        // As in a data directory; or one level up, where the archive of `GET /blobs/bundle` was unpacked.
        let below = |dir: &Path| dir.join("sha256").join(shard).join(&hex);
        for path in [below(blobs), below(&blobs.join("blobs"))] {
            match read_blob(&path) {
                Ok(content) => return Ok(Some(content)),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => return Err(Unread::Blob { path, cause }),
            }
        }
        Ok(None)
    }
}

/// The content of a blob; of a larger one than any value has its beginning alone, which its digest will not fit.
fn read_blob(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    fs::File::open(path)?.take(VALUE_BYTES_MAX + 1).read_to_end(&mut content)?;
    Ok(content)
}
