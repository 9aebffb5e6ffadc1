//! One record: a framed envelope, byte for byte the same on disk and on the wire.
//!
//! ```text
//! : g1 000002a4 0000000000000040 3f9c…\n     first line, 64 bytes (see `frame`)
//! id: 66\n
//! event: envelope\n
//! data: {"actor":"…", … }\n                  one canonical JSON object, at most 65,000 bytes
//! \n
//! ```
//!
//! The checksum is the first 16 bytes of SHA-256 over bytes 0–30, bytes 64 to the envelope's first, and the envelope's
//! leaf hash. So one pass over an envelope serves the frame and the Merkle tree; the line feeds behind it are compared.

use crate::digest::Checksum;
use crate::envelope::Prepared;
use crate::frame::{self, Letter, Line};
use crate::timestamp::Timestamp;
use crate::tree::{self, Hash};
use crate::{Index, size};

/// The most bytes that the envelope of one record may have.
///
/// A whole record stays below 65,536 bytes, the default line or token limit of common SSE readers.
pub const DATA_BYTES_MAX: usize = 65_000;

/// The most bytes that one record may have.
pub const RECORD_BYTES_MAX: usize = 65_200;

/// The fewest bytes that one record can have.
const RECORD_BYTES_MIN: usize = frame::LINE_LEN + "id: 0\nevent: envelope\ndata: {}\n\n".len();

const EVENT_AND_DATA: &[u8] = b"\nevent: envelope\ndata: ";

/// The end of the `data:` line, and the blank line.
const END: &[u8] = b"\n\n";

/// A record whose frame is whole and whose checksum holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its position in the log.
    pub index: Index,
    /// First index of the batch that one sync made durable together with this record.
    pub batch_start: Index,
    /// The envelope: exactly the JSON text of the `data:` line.
    pub data: &'a [u8],
    /// The whole record, from the colon of its first line through the blank line.
    pub bytes: &'a [u8],
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotARecord {
    /// There is no first line of a record.
    #[error("no record begins here")]
    NoFirstLine,
    /// The first line gives a length that no record has.
    #[error("its length of {len} bytes is none that a record can have")]
    Length {
        /// The length that the first line gives.
        len: u32,
    },
    /// The bytes end before the record does.
    #[error("it is cut off: {have} of {len} bytes are there")]
    CutOff {
        /// The length that the first line gives.
        len: u32,
        /// The bytes that are there.
        have: usize,
    },
    /// The checksum does not hold.
    #[error("its checksum does not hold")]
    Checksum,
    /// The lines are not those of a record.
    #[error("its lines are not those of a record")]
    Lines,
}

/// Reads the record at the beginning of `bytes` and checks its checksum.
///
/// # Errors
/// Says what is wrong; whether that is a clean end, a torn batch or damage, recovery alone can know.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, NotARecord> {
    decode_with_leaf(bytes).map(|(record, _)| record)
}

/// As [`decode`]; the leaf hash of the envelope comes along, for the checksum needs it.
///
/// # Errors
/// As [`decode`].
pub fn decode_with_leaf(bytes: &[u8]) -> Result<(Record<'_>, Hash), NotARecord> {
    let (line, bytes) = framed(bytes)?;
    let record = lines(&line, bytes).ok_or(NotARecord::Lines)?;
    let leaf = tree::leaf_hash(record.data);
    let data_at = bytes.len() - record.data.len() - END.len();
    if checksum(bytes, data_at, &leaf) != Some(line.checksum) {
        return Err(NotARecord::Checksum);
    }
    Ok((record, leaf))
}

/// The checksum of the record whose frame is `bytes` and whose envelope begins at `data_at`.
fn checksum(bytes: &[u8], data_at: usize, leaf: &Hash) -> Option<Checksum> {
    let line = bytes.get(..frame::CHECKSUM_AT)?;
    Some(Checksum::sha256(&[line, bytes.get(frame::LINE_LEN..data_at)?, &leaf.0]))
}

/// Reads the record at the beginning of `bytes` without checking its checksum: for bytes that this process wrote or
/// has checked before.
///
/// # Errors
/// As [`decode`], but for the checksum.
pub fn decode_trusted(bytes: &[u8]) -> Result<Record<'_>, NotARecord> {
    let (line, bytes) = framed(bytes)?;
    lines(&line, bytes).ok_or(NotARecord::Lines)
}

/// The length of the record at the beginning of `bytes`, from its first line alone. `None` where none begins.
#[must_use]
pub fn len(bytes: &[u8]) -> Option<usize> {
    let line = Line::parse(bytes).filter(|line| line.letter == Letter::Record)?;
    Some(size::mem(u64::from(line.len))).filter(|len| (RECORD_BYTES_MIN..=RECORD_BYTES_MAX).contains(len))
}

fn framed(bytes: &[u8]) -> Result<(Line, &[u8]), NotARecord> {
    let line =
        Line::parse(bytes).filter(|line| line.letter == Letter::Record).ok_or(NotARecord::NoFirstLine)?;
    if !(RECORD_BYTES_MIN..=RECORD_BYTES_MAX).contains(&size::mem(u64::from(line.len))) {
        return Err(NotARecord::Length { len: line.len });
    }
    let frame = line.frame(bytes).ok_or(NotARecord::CutOff { len: line.len, have: bytes.len() })?;
    Ok((line, frame))
}

fn lines<'a>(line: &Line, bytes: &'a [u8]) -> Option<Record<'a>> {
    let rest = bytes.get(frame::LINE_LEN..)?.strip_prefix(b"id: ")?;
    let (index, digits) = decimal(rest)?;
    let data = rest.get(digits..)?.strip_prefix(EVENT_AND_DATA)?.strip_suffix(END)?;
    if data.len() > DATA_BYTES_MAX || index > Index::MAX.0 {
        return None;
    }
    Some(Record { index: Index(index), batch_start: Index(line.number), data, bytes })
}

/// A decimal number without leading zeroes and the count of its digits.
fn decimal(text: &[u8]) -> Option<(u64, usize)> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = text.get(..digits)?;
    if number.is_empty() || (digits > 1 && number.first() == Some(&b'0')) {
        return None;
    }
    let mut value: u64 = 0;
    for digit in number {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    Some((value, digits))
}

/// Appends the record that `prepared` becomes at `index`, and returns where its envelope begins in `out` with the
/// envelope's leaf hash.
pub fn encode(
    out: &mut Vec<u8>,
    prepared: &Prepared,
    index: Index,
    batch_start: Index,
    recorded_at: Timestamp,
) -> (usize, Hash) {
    let at = frame::begin(out);
    let mut digits = Decimal::default();
    let digits = digits.write(index.0);
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(digits);
    out.extend_from_slice(EVENT_AND_DATA);
    let data_at = out.len();
    prepared.splice(out, digits, recorded_at);
    debug_assert!(out.len() - data_at <= DATA_BYTES_MAX, "a prepared envelope fits whatever its index");
    let leaf = tree::leaf_hash(out.get(data_at..).unwrap_or_default());
    out.extend_from_slice(END);
    frame::finish_with(out, at, Letter::Record, batch_start.0, |bytes| checksum(bytes, data_at - at, &leaf));
    (data_at, leaf)
}

/// Frames lines that should be a record's, with a checksum that holds if they are: for tools and tests that write what
/// the encoder would not.
#[must_use]
pub fn framed_lines(batch_start: Index, lines: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(frame::LINE_LEN + lines.len());
    let at = frame::begin(&mut out);
    out.extend_from_slice(lines);
    frame::finish_with(&mut out, at, Letter::Record, batch_start.0, |bytes| {
        let record = self::lines(&Line::parse(bytes)?, bytes)?;
        checksum(bytes, bytes.len() - record.data.len() - END.len(), &tree::leaf_hash(record.data))
    });
    out
}

/// Room for the decimal digits of any index.
#[derive(Default)]
pub struct Decimal([u8; 20]);

impl Decimal {
    /// The digits of `value`.
    pub fn write(&mut self, mut value: u64) -> &[u8] {
        let mut at = self.0.len();
        for place in self.0.iter_mut().rev() {
            *place = b'0' + u8::try_from(value % 10).unwrap_or(0);
            value /= 10;
            at -= 1;
            if value == 0 {
                break;
            }
        }
        self.0.get(at..).unwrap_or_default()
    }
}
