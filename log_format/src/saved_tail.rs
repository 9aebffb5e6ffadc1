//! A saved tail: what `curl -N …/tail` wrote into a file.
//!
//! It may begin anywhere in the log and holds control blocks (`log`, `caught-up`, `cursor`, `reset`, `retry:`) and
//! comments between the records. Only frames that begin with the 64-byte first line are the log. Where a connection
//! was cut within a record, the pieces of it are passed over, and the record is expected again behind them.

use crate::frame;
use crate::record::{self, NotARecord, Record};

/// What each connection begins with.
const RETRY: &[u8] = b"retry: ";

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
    /// A record that is whole and whose checksum does not hold.
    Bad {
        /// Its length as its first line gives it, or to the next line.
        len: usize,
        /// What is wrong with it.
        reason: NotARecord,
    },
}

/// Walks the items of a saved tail that lies in memory or in a buffer.
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

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn record(&mut self) -> Item<'a> {
        let rest = self.rest();
        match record::decode(rest) {
            Ok(record) => {
                self.at += record.bytes.len();
                Item::Record(record)
            }
            Err(reason) => {
                // Where another connection's first block or another record begins within it, it was cut off.
                let len = record::len(rest).unwrap_or(rest.len()).min(rest.len());
                let cut = restart_within(rest, len);
                self.at += cut.unwrap_or(len);
                match (cut, reason) {
                    (Some(len), _) | (None, NotARecord::CutOff { have: len, .. }) => Item::CutOff { len },
                    (None, NotARecord::NoFirstLine) if len < frame::LINE_LEN => Item::CutOff { len },
                    (None, reason) => Item::Bad { len, reason },
                }
            }
        }
    }

    /// Takes one line, without its line feed.
    fn line(&mut self) -> &'a [u8] {
        let rest = self.rest();
        let end = memchr::memchr(b'\n', rest);
        self.at += end.map_or(rest.len(), |end| end + 1);
        let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    fn block(&mut self) -> Item<'a> {
        let (mut event, mut id, mut data) = ("", None, "");
        while !self.rest().is_empty() && !self.rest().starts_with(b": g1 ") {
            let line = self.line();
            if line.is_empty() {
                break;
            }
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "event" => event = value,
                "id" => id = Some(value),
                "data" => data = value,
                _ => {}
            }
        }
        Item::Control { event, id, data }
    }
}

/// Where, within the first `len` bytes of `rest`, which begin a record that is not whole, the first line of another
/// record or the first block of another connection begins. Either may reach beyond them: the cut may be near the end.
fn restart_within(rest: &[u8], len: usize) -> Option<usize> {
    let behind = |longest: usize| rest.get(1..rest.len().min(len + longest - 1)).unwrap_or_default();
    let lines = behind(frame::LINE_LEN);
    let record = memchr::memmem::find_iter(lines, b": g1 ")
        .find(|at| lines.get(*at..).is_some_and(|line| record::len(line).is_some()));
    let retry = memchr::memmem::find(behind(RETRY.len()), RETRY);
    [record, retry].into_iter().flatten().min().map(|at| at + 1)
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            let rest = self.rest();
            if rest.is_empty() {
                return None;
            }
            if rest.starts_with(b": g1 ") {
                return Some(self.record());
            }
            if rest.starts_with(b":") || rest.starts_with(b"\n") {
                // Comments: heartbeats, headers and seals of a concatenated segment.
                self.line();
                continue;
            }
            if rest.first() == Some(&0) {
                let zeroes = rest.iter().take_while(|byte| **byte == 0).count();
                self.at += zeroes;
                continue;
            }
            return Some(self.block());
        }
    }
}
