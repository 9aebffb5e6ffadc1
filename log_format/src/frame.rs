//! The fixed first line that records, segment headers, seals and frontier slots share.
//!
//! ```text
//! byte  0  ": "                       an SSE comment: every SSE client ignores the line
//!       2  letter                     g record, h segment header, s seal, f frontier slot
//!       3  "1 "                       format version
//!       5  length                     8 hex digits: bytes of the whole frame, this line included
//!      13  " "
//!      14  number                     16 hex digits: what it counts depends on the letter
//!      30  " "
//!      31  checksum                   32 hex digits: BLAKE3, first 16 bytes, over bytes 0–30 and 64–end;
//!                                     of a record another (see `record`)
//!      63  "\n"
//! ```

use crate::digest::Checksum;
use crate::{hex, size};

/// The length of the first line, its line feed included.
pub const LINE_LEN: usize = 64;

/// Where the checksum begins; what lies before is covered by it.
pub(crate) const CHECKSUM_AT: usize = 31;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Letter {
    /// A record; the number is the first index of its batch.
    Record,
    /// The header of a segment; the number is the segment's first index.
    Header,
    /// The seal of a segment; the number is the first index after it.
    Seal,
    /// A slot of the frontier file; the number is the frontier.
    Frontier,
}

impl Letter {
    const fn byte(self) -> u8 {
        match self {
            Self::Record => b'g',
            Self::Header => b'h',
            Self::Seal => b's',
            Self::Frontier => b'f',
        }
    }

    const fn of(byte: u8) -> Option<Self> {
        match byte {
            b'g' => Some(Self::Record),
            b'h' => Some(Self::Header),
            b's' => Some(Self::Seal),
            b'f' => Some(Self::Frontier),
            _ => None,
        }
    }
}

/// A first line, read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// What the frame is.
    pub letter: Letter,
    /// Bytes of the whole frame, from the colon to its end.
    pub len: u32,
    /// What it counts depends on the letter.
    pub number: u64,
    /// BLAKE3, first 16 bytes, over bytes 0–30 and 64–end of the frame; of a record another (see
    /// [`record`](crate::record)).
    pub checksum: Checksum,
}

impl Line {
    /// Reads the first line of `bytes`. `None` says only that these bytes do not begin with one: whether that is
    /// the clean end of the log, a torn batch or damage, recovery alone can know.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let line = bytes.get(..LINE_LEN)?;
        let letter = Letter::of(*line.get(2)?)?;
        if line.get(..2)? != b": "
            || line.get(3..5)? != b"1 "
            || line.get(13)? != &b' '
            || line.get(30)? != &b' '
        {
            return None;
        }
        if line.get(63)? != &b'\n' {
            return None;
        }
        Some(Self {
            letter,
            len: hex::read_u32(line.get(5..13)?)?,
            number: hex::read_u64(line.get(14..30)?)?,
            checksum: Checksum(hex::read(line.get(CHECKSUM_AT..63)?)?),
        })
    }

    /// The whole frame at the beginning of `bytes`, if all of it is there.
    #[must_use]
    pub fn frame<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let len = size::mem(u64::from(self.len));
        if len < LINE_LEN { None } else { bytes.get(..len) }
    }

    /// Whether `frame`, the whole of it and no record's, is what the checksum was made over.
    #[must_use]
    pub fn matches(&self, frame: &[u8]) -> bool {
        checksum(frame) == Some(self.checksum)
    }
}

fn checksum(frame: &[u8]) -> Option<Checksum> {
    Some(Checksum::over(&[frame.get(..CHECKSUM_AT)?, frame.get(LINE_LEN..)?]))
}

/// Appends room for a first line and returns where the frame begins. [`finish`] fills it in.
pub fn begin(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[b' '; LINE_LEN]);
    at
}

/// Fills in the first line of the frame, no record's, that began at `at` and reaches to the end of `out`.
pub fn finish(out: &mut [u8], at: usize, letter: Letter, number: u64) {
    finish_with(out, at, letter, number, checksum);
}

/// As [`finish`], with the checksum that `sum` makes of the whole frame.
pub(crate) fn finish_with(
    out: &mut [u8],
    at: usize,
    letter: Letter,
    number: u64,
    sum: impl FnOnce(&[u8]) -> Option<Checksum>,
) {
    let Some(frame) = out.get_mut(at..) else { return };
    let len = size::of_u32(frame.len());
    let mut line = *b": g1 00000000 0000000000000000 00000000000000000000000000000000\n";
    fill(&mut line, 2, &[letter.byte()]);
    if let Some(place) = line.get_mut(5..13) {
        hex::write(place, &len.to_be_bytes());
    }
    if let Some(place) = line.get_mut(14..30) {
        hex::write(place, &number.to_be_bytes());
    }
    fill(frame, 0, &line);
    let Some(Checksum(sum)) = sum(frame) else { return };
    if let Some(place) = frame.get_mut(CHECKSUM_AT..CHECKSUM_AT + 32) {
        hex::write(place, &sum);
    }
}

fn fill(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// The value of the comment line `: name value` at the beginning of `rest`, which moves behind it.
pub(crate) fn comment<'a>(rest: &mut &'a [u8], name: &str) -> Option<&'a str> {
    let end = memchr::memchr(b'\n', rest)?;
    let (line, behind) = rest.split_at_checked(end)?;
    let value = line.strip_prefix(b": ")?.strip_prefix(name.as_bytes())?;
    *rest = behind.get(1..)?;
    std::str::from_utf8(value.strip_prefix(b" ").unwrap_or(value)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_frame_reads_back_and_every_flipped_bit_is_seen() {
        let mut bytes = b"before".to_vec();
        let at = begin(&mut bytes);
        bytes.extend_from_slice(b": value 7\n");
        finish(&mut bytes, at, Letter::Seal, 0x40);
        let frame = bytes.split_off(6);
        assert!(frame.starts_with(b": s1 0000004a 0000000000000040 "));
        let line = Line::parse(&frame).expect("a first line");
        assert_eq!((line.letter, line.len, line.number), (Letter::Seal, 74, 0x40));
        assert!(line.matches(&frame));
        for bit in 0..frame.len() * 8 {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let seen = Line::parse(&changed)
                .is_some_and(|line| line.frame(&changed).is_some_and(|frame| line.matches(frame)));
            assert!(!seen, "bit {bit} changed and the frame still passed");
        }
    }
}
