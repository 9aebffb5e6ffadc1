//! Cuts the bytes of a tail, as they arrive, into runs of whole records and control blocks.

use bytes::{Bytes, BytesMut};
use gesta_log_format::frame::LINE_LEN;
use gesta_log_format::record;

/// Longest control block or comment, in bytes.
const BLOCK_BYTES_MAX: usize = 64 * 1024;

/// How a record begins.
const RECORD: &[u8] = b": g1 ";

/// What arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Whole records, one behind the other, their checksums not looked at.
    Records(Bytes),
    /// A block that is not in the log. The fields are empty where it has none.
    Control { event: String, id: String, data: String, retry: String },
}

/// Why the bytes are not those of a tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a record's first line gives no length that a record has")]
    FirstLine,
    #[error("a line or block that is no record has more than {BLOCK_BYTES_MAX} bytes")]
    BlockTooLong,
}

/// What has arrived and was not taken yet; at most one unfinished item besides what was put last.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// Adds what arrived.
    pub fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Drops what a connection that is gone has left unfinished.
    pub fn clear(&mut self) {
        self.buffer.clear();
    }

    /// The next whole item; none until more arrives.
    ///
    /// # Errors
    /// [`FrameError`]; nothing behind it can be read.
    pub fn take(&mut self) -> Result<Option<Item>, FrameError> {
        loop {
            match self.buffer.first() {
                None => return Ok(None),
                Some(b'\n') => drop(self.buffer.split_to(1)),
                Some(b':') if self.begins_record() => return Ok(self.records()?.map(Item::Records)),
                Some(b':') => {
                    let Some(end) = self.end_of(b"\n")? else { return Ok(None) };
                    drop(self.buffer.split_to(end));
                }
                Some(_) => {
                    let Some(end) = self.end_of(b"\n\n")? else { return Ok(None) };
                    return Ok(Some(control(&self.buffer.split_to(end))));
                }
            }
        }
    }

    /// Whether a record may begin here, as far as the bytes go.
    fn begins_record(&self) -> bool {
        let len = self.buffer.len().min(RECORD.len());
        self.buffer.get(..len) == RECORD.get(..len)
    }

    fn records(&mut self) -> Result<Option<Bytes>, FrameError> {
        let mut end = 0;
        loop {
            let rest = self.buffer.get(end..).unwrap_or_default();
            match record::len(rest) {
                Some(len) if len <= rest.len() => end += len,
                None if rest.len() >= LINE_LEN && rest.starts_with(RECORD) && end == 0 => {
                    return Err(FrameError::FirstLine);
                }
                Some(_) | None => break,
            }
        }
        Ok((end > 0).then(|| self.buffer.split_to(end).freeze()))
    }

    fn end_of(&self, end: &[u8]) -> Result<Option<usize>, FrameError> {
        match memchr::memmem::find(&self.buffer, end) {
            Some(at) => Ok(Some(at + end.len())),
            None if self.buffer.len() > BLOCK_BYTES_MAX => Err(FrameError::BlockTooLong),
            None => Ok(None),
        }
    }
}

fn control(block: &[u8]) -> Item {
    let (mut event, mut id, mut data, mut retry) =
        (String::new(), String::new(), String::new(), String::new());
    for line in String::from_utf8_lossy(block).lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => event = value.to_owned(),
            "id" => id = value.to_owned(),
            "data" => data = value.to_owned(),
            "retry" => retry = value.to_owned(),
            _ => {}
        }
    }
    Item::Control { event, id, data, retry }
}

#[cfg(test)]
mod tests {
    use gesta_log_format::envelope::{Draft, Expectation, Prepared};
    use gesta_log_format::{Index, Kind, Timestamp};

    use super::*;

    fn record_bytes(index: u64) -> Vec<u8> {
        let subjects = [Expectation { subject: format!("intent/{index}"), expected: None }];
        let prepared = Prepared::new(&Draft {
            kind: Kind::Intent,
            type_name: "submitted",
            stream_id: "default",
            lane: "l",
            actor: "a",
            intent_type: "t",
            thread_id: "th",
            turn_id: "tu",
            parent_turn_id: None,
            correlation_id: "c",
            cause: None,
            subjects: &subjects,
            payload: b"{}",
        })
        .unwrap();
        let mut out = Vec::new();
        record::encode(&mut out, &prepared, Index(index), Index(index), Timestamp::default());
        out
    }

    fn control(event: &str, id: &str, data: &str, retry: &str) -> Item {
        let [event, id, data, retry] = [event, id, data, retry].map(str::to_owned);
        Item::Control { event, id, data, retry }
    }

    /// The items, with neighbouring runs of records as one.
    fn all(frames: &mut Frames, items: &mut Vec<Item>) {
        while let Some(item) = frames.take().unwrap() {
            match (items.last_mut(), item) {
                (Some(Item::Records(before)), Item::Records(more)) => {
                    *before = [before.as_ref(), more.as_ref()].concat().into();
                }
                (_, item) => items.push(item),
            }
        }
    }

    #[test]
    fn a_tail_is_cut_into_the_same_items_wherever_its_bytes_are_divided() {
        let records = [record_bytes(0), record_bytes(1)].concat();
        let mut tail = b"retry: 900\nevent: log\ndata: {}\n\n".to_vec();
        tail.extend_from_slice(&records);
        tail.extend_from_slice(b": heartbeat\nevent: caught-up\ndata: {\"head\":2}\n\n: heartbeat\n");
        tail.extend_from_slice(b"id: 7\nevent: cursor\ndata: 7\n\n");
        let expected = [
            control("log", "", "{}", "900"),
            Item::Records(records.into()),
            control("caught-up", "", "{\"head\":2}", ""),
            control("cursor", "7", "7", ""),
        ];
        for piece in [1, 2, 3, 7, 64, 65, 1000, tail.len()] {
            let (mut frames, mut items) = (Frames::default(), Vec::new());
            for bytes in tail.chunks(piece) {
                frames.put(bytes);
                all(&mut frames, &mut items);
            }
            assert_eq!(items, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn bytes_that_are_no_tail_are_an_error_and_not_a_growing_buffer() {
        let mut frames = Frames::default();
        frames.put(&[b"<html>".as_slice(), &vec![b'x'; BLOCK_BYTES_MAX]].concat());
        assert_eq!(frames.take(), Err(FrameError::BlockTooLong));
        let mut frames = Frames::default();
        frames.put(format!(": g1 {}\n", "z".repeat(58)).as_bytes());
        assert_eq!(frames.take(), Err(FrameError::FirstLine));
    }
}
