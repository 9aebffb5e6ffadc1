//! The entry that says a sealed segment's keys are complete: written last, so that a crash before it leaves the
//! segment missing.

use super::SealedSegment;

/// Everything about a covered segment that is not its pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) segment: SealedSegment,
    /// Postings in all pages.
    pub(super) postings: u64,
    pub(super) filter: Part,
    pub(super) offsets: Part,
}

/// A value that is stored in pieces: its length in bytes and its BLAKE3 digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub(super) len: u64,
    pub(super) digest: [u8; 32],
}

impl Part {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { len: bytes.len() as u64, digest: *blake3::hash(bytes).as_bytes() }
    }
}

impl Entry {
    /// The stored form: first, end, seal, postings, filter and offsets (length, digest), and the BLAKE3 digest of all
    /// that; integers big-endian.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(168);
        bytes.extend_from_slice(&self.segment.first.to_be_bytes());
        bytes.extend_from_slice(&self.segment.end.to_be_bytes());
        bytes.extend_from_slice(&self.segment.seal);
        bytes.extend_from_slice(&self.postings.to_be_bytes());
        for part in [self.filter, self.offsets] {
            bytes.extend_from_slice(&part.len.to_be_bytes());
            bytes.extend_from_slice(&part.digest);
        }
        let digest = blake3::hash(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        bytes
    }

    /// Reads the stored form. `None` where it is not what [`Entry::to_bytes`] made.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (body, digest) = bytes.split_last_chunk::<32>()?;
        if blake3::hash(body).as_bytes() != digest {
            return None;
        }
        let mut rest = body;
        let entry = Self {
            segment: SealedSegment {
                first: number(&mut rest)?,
                end: number(&mut rest)?,
                seal: take(&mut rest)?,
            },
            postings: number(&mut rest)?,
            filter: part(&mut rest)?,
            offsets: part(&mut rest)?,
        };
        rest.is_empty().then_some(entry)
    }
}

fn part(rest: &mut &[u8]) -> Option<Part> {
    Some(Part { len: number(rest)?, digest: take(rest)? })
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_be_bytes)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_written_and_no_other_way() {
        let entry = Entry {
            segment: SealedSegment { first: 3, end: 9, seal: [7; 32] },
            postings: 11,
            filter: Part::of(b"filter"),
            offsets: Part::of(b""),
        };
        let bytes = entry.to_bytes();
        assert_eq!(Entry::from_bytes(&bytes), Some(entry));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Entry::from_bytes(&changed), None, "bit {bit}");
        }
        assert_eq!(Entry::from_bytes(&bytes[..bytes.len() - 1]), None);
    }
}
