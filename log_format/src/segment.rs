//! A segment: one file of the log, `<20-digit first index>.log`.
//!
//! A header frame, then records, then a seal frame once the segment is full. Every byte of it is valid
//! `text/event-stream`: header and seal are comments, and no blank line follows them.

use std::fmt;

use crate::frame::{self, Letter, Line};
use crate::tree;
use crate::{Index, hex, size};

/// The directory of the segments below the data directory.
pub const DIR: &str = "log";

/// The most bytes that a header may have: a first line and five short lines.
pub const HEADER_BYTES_MAX: usize = 1024;

/// The most bytes that a seal may have: a tree of 2^53 leaves has at most 53 peaks.
pub const SEAL_BYTES_MAX: usize = 4096;

/// The longest origin in bytes.
pub const ORIGIN_BYTES_MAX: usize = 256;

const SUFFIX: &str = ".log";
const TEMPORARY_SUFFIX: &str = ".log.new";

/// A segment, by its first index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub Index);

impl SegmentId {
    /// The file's name without its directory.
    #[must_use]
    pub fn file_name(self) -> String {
        format!("{:020}{SUFFIX}", self.0.0)
    }

    /// The file's name below the data directory.
    #[must_use]
    pub fn path(self) -> String {
        format!("{DIR}/{:020}{SUFFIX}", self.0.0)
    }

    /// The name under which the segment is prepared, below the data directory.
    #[must_use]
    pub fn temporary_path(self) -> String {
        format!("{DIR}/{:020}{TEMPORARY_SUFFIX}", self.0.0)
    }

    /// The segment that `file_name` names, if it names one.
    #[must_use]
    pub fn of_file_name(file_name: &str) -> Option<Self> {
        let digits = file_name.strip_suffix(SUFFIX)?;
        let id = Self(Index(digits.parse().ok()?));
        (digits.len() == 20 && id.0 <= Index::MAX && id.file_name() == file_name).then_some(id)
    }

    /// Whether `file_name` is one under which segments are prepared.
    #[must_use]
    pub fn is_temporary(file_name: &str) -> bool {
        file_name.ends_with(TEMPORARY_SUFFIX)
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file_name())
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file_name())
    }
}

/// Whether the file is filled with zeroes ahead of the writer. Recovery judges the end of a filled file more
/// strictly: in it a record that was never finished leaves a mark that a changed bit does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fill {
    /// Zeroes lie behind the last record.
    Zeroes,
    /// The file ends with its last record.
    None,
}

/// The segment before, as a header names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Previous {
    /// Its first index.
    pub id: SegmentId,
    /// Where its seal begins, in bytes.
    pub seal_at: u64,
    /// Its length in bytes, the seal included.
    pub len: u64,
    /// BLAKE3 over all of its bytes, the seal included.
    pub blake3: [u8; 32],
}

/// What the first frame of a segment says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The log's name, which its checkpoints carry.
    pub origin: String,
    /// How often the log was restored or salvaged, from 1.
    pub generation: u64,
    /// The segment's first index.
    pub first: Index,
    /// Whether zeroes lie ahead of the writer.
    pub fill: Fill,
    /// The segment before; none for the first.
    pub previous: Option<Previous>,
}

impl Header {
    /// The frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES_MAX);
        let at = frame::begin(&mut out);
        let fill = match self.fill {
            Fill::Zeroes => "zeroes",
            Fill::None => "none",
        };
        let previous = match &self.previous {
            Some(p) => format!("{:020} {} {} {}", p.id.0.0, p.seal_at, p.len, hex::text(&p.blake3)),
            None => "none".to_owned(),
        };
        let lines = format!(
            ": origin {}\n: generation {}\n: fill {fill}\n: previous {previous}\n",
            self.origin, self.generation
        );
        out.extend_from_slice(lines.as_bytes());
        frame::finish(&mut out, at, Letter::Header, self.first.0);
        out
    }

    /// Reads the frame at the beginning of `bytes` and returns it with its length. `None` where it is not whole, its
    /// checksum does not hold, or its lines are not those of a header.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let line = Line::parse(bytes).filter(|line| line.letter == Letter::Header)?;
        let frame = line.frame(bytes).filter(|frame| line.matches(frame))?;
        let mut rest = frame.get(frame::LINE_LEN..)?;
        let origin = frame::comment(&mut rest, "origin")?.to_owned();
        let generation = frame::comment(&mut rest, "generation")?.parse().ok()?;
        let fill = match frame::comment(&mut rest, "fill")? {
            "zeroes" => Fill::Zeroes,
            "none" => Fill::None,
            _ => return None,
        };
        let previous = match frame::comment(&mut rest, "previous")? {
            "none" => None,
            text => Some(previous(text)?),
        };
        if !rest.is_empty() || line.number > Index::MAX.0 {
            return None;
        }
        Some((Self { origin, generation, first: Index(line.number), fill, previous }, frame.len()))
    }
}

fn previous(text: &str) -> Option<Previous> {
    let mut words = text.split(' ');
    let found = Previous {
        id: SegmentId(Index(words.next()?.parse().ok()?)),
        seal_at: words.next()?.parse().ok()?,
        len: words.next()?.parse().ok()?,
        blake3: hex::read(words.next()?.as_bytes())?,
    };
    words.next().is_none().then_some(found)
}

/// What the last frame of a full segment says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seal {
    /// The first index after the segment.
    pub next: Index,
    /// How many records the segment holds.
    pub records: u64,
    /// BLAKE3 over all bytes before the seal.
    pub blake3: [u8; 32],
    /// The root of the RFC 6962 tree over all records below `next`.
    pub root: tree::Hash,
    /// The roots of that tree's perfect subtrees, largest first: what is needed to go on without the leaves.
    pub peaks: Vec<tree::Hash>,
}

impl Seal {
    /// The frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let at = frame::begin(&mut out);
        let mut lines = format!(
            ": records {}\n: blake3 {}\n: root {}\n: peaks",
            self.records,
            hex::text(&self.blake3),
            hex::text(&self.root.0)
        );
        for peak in &self.peaks {
            lines.push(' ');
            lines.push_str(&hex::text(&peak.0));
        }
        lines.push('\n');
        out.extend_from_slice(lines.as_bytes());
        frame::finish(&mut out, at, Letter::Seal, self.next.0);
        out
    }

    /// Reads the frame at the beginning of `bytes` and returns it with its length. `None` where it is not whole, its
    /// checksum does not hold, its lines are not those of a seal, or its root does not follow from its peaks.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let line = Line::parse(bytes).filter(|line| line.letter == Letter::Seal)?;
        let frame = line.frame(bytes).filter(|frame| line.matches(frame))?;
        let mut rest = frame.get(frame::LINE_LEN..)?;
        let records = frame::comment(&mut rest, "records")?.parse().ok()?;
        let blake3 = hex::read(frame::comment(&mut rest, "blake3")?.as_bytes())?;
        let root = tree::Hash(hex::read(frame::comment(&mut rest, "root")?.as_bytes())?);
        let peaks = frame::comment(&mut rest, "peaks")?;
        let peaks: Option<Vec<_>> =
            peaks.split(' ').map(|peak| hex::read(peak.as_bytes()).map(tree::Hash)).collect();
        let seal = Self { next: Index(line.number), records, blake3, root, peaks: peaks? };
        let range = tree::CompactRange::from_peaks(seal.next.0, seal.peaks.clone()).ok()?;
        (rest.is_empty() && range.root() == seal.root).then_some((seal, frame.len()))
    }

    /// The length of the seal frame that begins at `bytes`, from its first line alone.
    #[must_use]
    pub fn len(bytes: &[u8]) -> Option<usize> {
        let line = Line::parse(bytes).filter(|line| line.letter == Letter::Seal)?;
        Some(size::mem(u64::from(line.len))).filter(|len| *len <= SEAL_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_and_a_seal_read_back_and_hold_no_blank_line() {
        let header = Header {
            origin: "gesta.local/01JD0000000000000000000000".to_owned(),
            generation: 1,
            first: Index(7),
            fill: Fill::Zeroes,
            previous: Some(Previous { id: SegmentId(Index(0)), seal_at: 4000, len: 4400, blake3: [7; 32] }),
        };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some((header, bytes.len())));
        assert!(bytes.len() <= HEADER_BYTES_MAX && memchr::memmem::find(&bytes, b"\n\n").is_none());

        let mut range = tree::CompactRange::default();
        for leaf in 0..7u8 {
            range.append(tree::leaf_hash(&[leaf]));
        }
        let seal = Seal {
            next: Index(7),
            records: 7,
            blake3: [9; 32],
            root: range.root(),
            peaks: range.peaks().to_vec(),
        };
        let bytes = seal.encode();
        assert_eq!(Seal::decode(&bytes), Some((seal, bytes.len())));
        assert!(memchr::memmem::find(&bytes, b"\n\n").is_none());
    }

    #[test]
    fn only_a_segments_own_name_names_it() {
        let id = SegmentId(Index(42));
        assert_eq!(SegmentId::of_file_name(&id.file_name()), Some(id));
        for other in ["42.log", "00000000000000000042.log.new", "+0000000000000000042.log", "x.log", ".log"] {
            assert_eq!(SegmentId::of_file_name(other), None, "{other}");
        }
    }
}
