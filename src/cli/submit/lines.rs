//! The lines of a file or of standard input, read on a thread of their own.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use tokio::sync::mpsc;

use crate::limits::BODY_BYTES_MAX;

/// Bytes that are read from the file at once.
const PIECE_BYTES: usize = 256 * 1024;

/// One line.
#[derive(Debug)]
pub(super) struct Line {
    /// From 1.
    pub number: u64,
    /// Without its line feed; longer than a request may be where the line is.
    pub text: Vec<u8>,
}

/// Where the lines come from.
pub(super) struct Source {
    reader: Box<dyn BufRead + Send>,
    /// For derived correlation ids and messages.
    pub name: String,
    /// How many lines there are, where that can be told.
    pub lines: Option<u64>,
}

impl Source {
    /// Opens the file; `-` is standard input.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            let reader = Box::new(BufReader::with_capacity(PIECE_BYTES, io::stdin()));
            return Ok(Self { reader, name: "-".to_owned(), lines: None });
        }
        let file = File::open(path)?;
        // A pipe cannot be read twice.
        let lines = file.metadata()?.is_file().then(|| count(path)).transpose()?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { reader: Box::new(BufReader::with_capacity(PIECE_BYTES, file)), name, lines })
    }

    /// Sends each line behind the first `skip` until nobody takes any more.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn send(mut self, skip: u64, to: &mpsc::Sender<Line>) -> io::Result<()> {
        let mut number = 0;
        loop {
            let mut text = Vec::new();
            // One byte more than a request may have tells a line that is too long.
            let read = (&mut self.reader).take(BODY_BYTES_MAX as u64 + 1).read_until(b'\n', &mut text)?;
            if read == 0 {
                return Ok(());
            }
            if text.pop_if(|last| *last == b'\n').is_none() && text.len() > BODY_BYTES_MAX {
                self.pass_over_rest()?;
            }
            number += 1;
            if number > skip && to.blocking_send(Line { number, text }).is_err() {
                return Ok(());
            }
        }
    }

    fn pass_over_rest(&mut self) -> io::Result<()> {
        self.reader.skip_until(b'\n').map(drop)
    }
}

fn count(path: &Path) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(PIECE_BYTES, File::open(path)?);
    let (mut lines, mut unfinished) = (0, false);
    loop {
        let piece = reader.fill_buf()?;
        let Some(last) = piece.last() else { break };
        unfinished = *last != b'\n';
        lines += memchr::memchr_iter(b'\n', piece).count() as u64;
        let len = piece.len();
        reader.consume(len);
    }
    Ok(lines + u64::from(unfinished))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &[u8], skip: u64, expected: &[(u64, usize)]) {
        let source = Source {
            reader: Box::new(BufReader::new(io::Cursor::new(text.to_vec()))),
            name: String::new(),
            lines: None,
        };
        let (sender, mut receiver) = mpsc::channel(16);
        source.send(skip, &sender).unwrap();
        drop(sender);
        let mut found = Vec::new();
        while let Some(line) = receiver.blocking_recv() {
            found.push((line.number, line.text.len()));
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn lines_are_numbered_from_one_also_where_some_are_passed_over() {
        check(b"a\n\nbc", 0, &[(1, 1), (2, 0), (3, 2)]);
        check(b"a\nb\nc\n", 2, &[(3, 1)]);
        check(b"", 0, &[]);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_the_next_is_read() {
        let long = [vec![b'x'; 2 * BODY_BYTES_MAX], b"\nab\n".to_vec()].concat();
        check(&long, 0, &[(1, BODY_BYTES_MAX + 1), (2, 2)]);
    }
}
