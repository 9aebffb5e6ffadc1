//! Reads a file from front to back through one buffer.

use std::io;

use crate::disk::File;
use crate::size;

/// Bytes that one read asks for, where a file is read from front to back.
const READ_BYTES: usize = 1 << 20;

/// A file's bytes from a position on, as far as they have been read.
pub struct Window<'f, F> {
    file: &'f F,
    buffer: Vec<u8>,
    /// Where the unread part of the buffer begins.
    start: usize,
    /// Where that place lies in the file.
    at: u64,
    ended: bool,
    read_bytes: usize,
}

impl<'f, F: File> Window<'f, F> {
    /// Begins at the byte `at`.
    pub fn new(file: &'f F, at: u64) -> Self {
        Self::of_reads(file, at, READ_BYTES)
    }

    /// Begins at the byte `at`, for whoever needs little of the file: one read asks for `read_bytes`, or for what was
    /// wanted where that is more.
    pub(super) fn of_reads(file: &'f F, at: u64, read_bytes: usize) -> Self {
        Self { file, buffer: Vec::new(), start: 0, at, ended: false, read_bytes }
    }

    /// Where the window begins in the file.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The bytes from here on: at least `want` of them unless the file ends before.
    ///
    /// # Errors
    /// As the file's reads.
    pub fn peek(&mut self, want: usize) -> io::Result<&[u8]> {
        if self.buffer.len() - self.start < want && !self.ended {
            self.fill(want)?;
        }
        Ok(self.buffer.get(self.start..).unwrap_or_default())
    }

    fn fill(&mut self, want: usize) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        while self.buffer.len() < want && !self.ended {
            let have = self.buffer.len();
            self.buffer.resize(have + self.read_bytes.max(want - have), 0);
            let place = self.buffer.get_mut(have..).unwrap_or_default();
            let wanted = place.len();
            let read = self.file.read_at(place, self.at + size::of(have))?;
            self.buffer.truncate(have + read);
            self.ended = read < wanted;
        }
        Ok(())
    }

    /// Moves `len` bytes on; at most to the end of what has been read.
    pub fn advance(&mut self, len: usize) {
        let len = len.min(self.buffer.len() - self.start);
        self.start += len;
        self.at += size::of(len);
    }

    /// Reads to the end of the file and returns all bytes from here to the last that is not zero, and the length of
    /// the file.
    ///
    /// # Errors
    /// As the file's reads.
    pub fn into_rest(mut self) -> io::Result<(Vec<u8>, u64)> {
        let mut rest: Vec<u8> = Vec::new();
        let mut zeroes = 0;
        loop {
            let bytes = self.peek(1)?;
            let len = bytes.len();
            if len == 0 {
                return Ok((rest, self.at));
            }
            match bytes.iter().rposition(|byte| *byte != 0) {
                Some(last) => {
                    rest.resize(rest.len() + zeroes, 0);
                    rest.extend_from_slice(bytes.get(..=last).unwrap_or_default());
                    zeroes = len - last - 1;
                }
                None => zeroes += len,
            }
            self.advance(len);
        }
    }
}

impl<F: File> Window<'_, F> {
    /// Moves `len` bytes on and returns them; at most what has been read.
    pub fn take(&mut self, len: usize) -> &[u8] {
        let from = self.start;
        self.advance(len);
        self.buffer.get(from..self.start).unwrap_or_default()
    }
}
