//! Reads past what the disk cannot read.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk::File;
use crate::size;

/// Bytes that are given up together where the disk cannot read them.
const PIECE_BYTES: usize = 4096;

/// A file whose unreadable pieces read as zeroes, so that what lies behind them is reached.
pub(super) struct Patient<F> {
    file: F,
    unreadable: AtomicBool,
}

impl<F: File> Patient<F> {
    pub(super) fn new(file: F) -> Self {
        Self { file, unreadable: AtomicBool::new(false) }
    }

    /// Whether a piece could not be read so far.
    pub(super) fn is_unreadable(&self) -> bool {
        self.unreadable.load(Ordering::Relaxed)
    }
}

impl<F: File> File for Patient<F> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Ok(read) = self.file.read_at(buf, offset) {
            return Ok(read);
        }
        let len = size::mem(self.file.len()?.saturating_sub(offset)).min(buf.len());
        let mut at = offset;
        for piece in buf.get_mut(..len).unwrap_or_default().chunks_mut(PIECE_BYTES) {
            if self.file.read_at(piece, at).is_err() {
                piece.fill(0);
                self.unreadable.store(true, Ordering::Relaxed);
            }
            at += size::of(piece.len());
        }
        Ok(len)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}
