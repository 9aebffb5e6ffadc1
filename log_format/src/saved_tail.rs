//! A saved tail: what `curl -N …/tail` wrote into a file.
//!
//! It may begin anywhere in the log and holds control blocks (`log`, `caught-up`, `cursor`, `reset`, `retry:`) and
//! comments between the records. Only frames that begin with the 64-byte first line are the log. Where a connection
//! was cut within a record, the pieces of it are passed over, and the record is expected again behind them.
//!
//! [`Items`] walks bytes in memory and [`Reader`] a file, both by the same steps; [`walk`] also checks that the
//! records follow each other. Any bytes at all are walked to their end: nothing here panics, and each step takes in
//! at most [`STEP_BYTES_MAX`] bytes. A record whose checksum holds is found wherever it begins.

use crate::frame::{self, Letter, Line};
use crate::record::{self, NotARecord, Record};

mod reader;
mod repeats;
mod walk;

#[cfg(test)]
mod tests;

pub use reader::Reader;
pub(crate) use repeats::{Earlier, Repeats};
pub use walk::{Damage, Damaged, Note, Summary, walk};

/// The most bytes that one step takes in: room for two records of the largest size.
pub const STEP_BYTES_MAX: usize = 2 * 65_536;

const RECORD: &[u8] = b": g1 ";

/// What stands at one place of a saved tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A record whose checksum holds.
    Record(Record<'a>),
    /// A control block: its event name (empty where it has none), its id and its data.
    Control {
        /// The value of its last `event:` line.
        event: &'a str,
        /// The value of its last `id:` line.
        id: Option<&'a str>,
        /// The value of its last `data:` line.
        data: &'a str,
    },
    /// A record that is cut off, followed by the beginning of another connection or by the end of the file.
    CutOff {
        /// Its bytes.
        len: usize,
    },
    /// A record that was not cut off and cannot be read.
    Bad {
        /// Its bytes, to the blank line that ends it or to the next record.
        len: usize,
        /// What is wrong with it.
        reason: NotARecord,
    },
}

/// What one step found, before it borrows the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Nothing that matters: a comment, a blank line, zeroes.
    Skipped,
    Record,
    Control,
    CutOff,
    Bad(NotARecord),
}

/// Walks the items of a saved tail that lies in memory.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Items<'a> {
    /// Begins at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Where the next item begins.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
            let (len, found) = step(rest);
            self.at += len;
            if let Some(item) = item(rest.get(..len).unwrap_or_default(), found) {
                return Some(item);
            }
        }
    }
}

/// What stands at the beginning of `rest` and how many bytes it has, at least one. `rest` is not empty and holds
/// [`STEP_BYTES_MAX`] bytes, unless the file ends before.
fn step(rest: &[u8]) -> (usize, Found) {
    let rest = rest.get(..STEP_BYTES_MAX).unwrap_or(rest);
    match rest.first() {
        _ if rest.starts_with(RECORD) => match record::decode(rest) {
            Ok(record) => (record.bytes.len(), Found::Record),
            Err(reason) => broken(rest, reason),
        },
        Some(0) => (rest.iter().take_while(|byte| **byte == 0).count(), Found::Skipped),
        Some(b'\n') => (1, Found::Skipped),
        // Heartbeats, and the headers and seals of segments.
        Some(b':') => {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            (frame_within(rest, end).unwrap_or(end), Found::Skipped)
        }
        _ => block(rest),
    }
}

/// A record that cannot be read: cut off where another connection or the end of the file follows before it is
/// whole. No piece of a record holds a blank line, so one that does was not cut but changed.
fn broken(rest: &[u8], reason: NotARecord) -> (usize, Found) {
    let end = blank_line(rest);
    let restart = restart_within(rest, end.unwrap_or(rest.len()));
    let len = restart.or(end).unwrap_or(rest.len());
    let whole = record::len(rest).unwrap_or(frame::LINE_LEN);
    let cut_off = len < whole && (restart.is_some() || end.is_none());
    (len, if cut_off { Found::CutOff } else { Found::Bad(reason) })
}

/// A control block, through its blank line, or to where a record begins.
fn block(rest: &[u8]) -> (usize, Found) {
    let end = blank_line(rest).unwrap_or(rest.len());
    let len = frame_within(rest, end).unwrap_or(end);
    let envelope = fields(rest.get(..len).unwrap_or_default()).0 == "envelope";
    (len, if envelope { Found::Bad(NotARecord::NoFirstLine) } else { Found::Control })
}

/// One past the first blank line.
fn blank_line(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, b"\n\n").map(|at| at + 2)
}

/// Where behind the first byte and before `end` another frame or another connection begins, even within a line.
/// Each of their marks ends with a line feed, which no JSON text holds: a client's text is never taken for one.
fn restart_within(bytes: &[u8], end: usize) -> Option<usize> {
    let behind = bytes.get(1..)?;
    let retry = memchr::memmem::find_iter(behind, b"retry:")
        .find(|at| behind.get(at + b"retry:".len()..).is_some_and(is_number_line));
    let log = memchr::memmem::find(behind, b"event: log\n");
    let connection = [retry, log].into_iter().flatten().map(|at| at + 1).filter(|at| *at < end).min();
    [frame_within(bytes, end), connection].into_iter().flatten().min()
}

/// Where behind the first byte and before `end` a record or a segment's header begins.
fn frame_within(bytes: &[u8], end: usize) -> Option<usize> {
    let behind = bytes.get(1..)?;
    memchr::memmem::find_iter(behind, b"1 ")
        .filter_map(|at| at.checked_sub(3))
        .find(|at| behind.get(*at..).is_some_and(begins_frame))
        .map(|at| at + 1)
        .filter(|at| *at < end)
}

fn begins_frame(bytes: &[u8]) -> bool {
    Line::parse(bytes).is_some_and(|line| match line.letter {
        Letter::Record => record::len(bytes).is_some(),
        Letter::Header => true,
        Letter::Seal | Letter::Frontier => false,
    })
}

/// Whether `bytes` begin with a space, digits and a line feed, as behind `retry:`; the space may be missing.
fn is_number_line(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b" ").unwrap_or(bytes);
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    count > 0 && digits.get(count) == Some(&b'\n')
}

/// The item that `bytes`, all of it, is.
fn item(bytes: &[u8], found: Found) -> Option<Item<'_>> {
    match found {
        Found::Skipped => None,
        Found::Record => record::decode_trusted(bytes).ok().map(Item::Record),
        Found::Control => {
            let (event, id, data) = fields(bytes);
            Some(Item::Control { event, id, data })
        }
        Found::CutOff => Some(Item::CutOff { len: bytes.len() }),
        Found::Bad(reason) => Some(Item::Bad { len: bytes.len(), reason }),
    }
}

/// The last `event`, `id` and `data` of a block's lines.
fn fields(block: &[u8]) -> (&str, Option<&str>, &str) {
    let (mut event, mut id, mut data) = ("", None, "");
    for line in block.split(|byte| *byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)) else { continue };
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => event = value,
            "id" => id = Some(value),
            "data" => data = value,
            _ => {}
        }
    }
    (event, id, data)
}
