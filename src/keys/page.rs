//! One page of a sealed segment's postings: sorted pairs under the segment and the page's first pair.
//!
//! Key: segment's first index (u64, big-endian) ‖ first pair of the page (zeroes for a segment's first page, so that
//! every look-up has a page before it). Value: checksum ‖ first pair of the next page (0xff bytes for the last) ‖
//! pairs. A pair is a fingerprint and an index within the segment (u32, big-endian), so that pairs sort as bytes.
//! The checksum is BLAKE3, first 16 bytes, over the key and what follows the checksum. It and the link to the next
//! page make a lost or changed page an error instead of an absent key.

use sled::IVec;

use super::Fingerprint;

/// Pairs of a full page. sled keeps 8 to 16 pages in a node and reads, copies and caches whole nodes: with 512 pairs a
/// look-up took twice as long and twice the memory. Tests use few, so that lists of postings span pages.
pub(super) const PAIRS: usize = if cfg!(test) { 4 } else { 128 };

const CHECKSUM_LEN: usize = 16;

/// One posting as it is stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Pair(pub(super) [u8; Self::LEN]);

impl Pair {
    pub(super) const LEN: usize = Fingerprint::LEN + 4;
    /// Below every pair: the first page's place.
    pub(super) const LOWEST: Self = Self([0; Self::LEN]);
    /// Above every pair: the end of the chain of pages.
    pub(super) const HIGHEST: Self = Self([0xff; Self::LEN]);

    pub(super) fn new(fingerprint: &Fingerprint, relative: u32) -> Self {
        let mut bytes = [0; Self::LEN];
        bytes[..Fingerprint::LEN].copy_from_slice(&fingerprint.0);
        bytes[Fingerprint::LEN..].copy_from_slice(&relative.to_be_bytes());
        Self(bytes)
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint(*self.0.first_chunk().expect("a pair has 20 bytes"))
    }

    pub(super) fn relative(&self) -> u32 {
        u32::from_be_bytes(*self.0.last_chunk().expect("a pair has 20 bytes"))
    }
}

/// Where a page is stored.
pub(super) type Key = [u8; 8 + Pair::LEN];

pub(super) fn key(segment: u64, first: Pair) -> Key {
    let mut key = [0; 8 + Pair::LEN];
    key[..8].copy_from_slice(&segment.to_be_bytes());
    key[8..].copy_from_slice(&first.0);
    key
}

/// The value that stores `pairs` under `key`.
pub(super) fn encode(key: &Key, pairs: &[Pair], next: Pair) -> Vec<u8> {
    let mut value = Vec::with_capacity(CHECKSUM_LEN + (1 + pairs.len()) * Pair::LEN);
    value.extend_from_slice(&[0; CHECKSUM_LEN]);
    value.extend_from_slice(&next.0);
    for pair in pairs {
        value.extend_from_slice(&pair.0);
    }
    let sum = checksum(key, &value[CHECKSUM_LEN..]);
    value[..CHECKSUM_LEN].copy_from_slice(&sum);
    value
}

/// A page that has been read and whose checksum holds.
#[derive(Debug)]
pub(super) struct Page {
    value: IVec,
    /// First pair of the next page, or [`Pair::HIGHEST`].
    pub(super) next: Pair,
}

impl Page {
    const HEAD: usize = CHECKSUM_LEN + Pair::LEN;

    /// Reads a stored value. `None` where it is not what was written under `key`.
    pub(super) fn read(key: &[u8], value: IVec) -> Option<Self> {
        let (sum, body) = value.split_first_chunk::<CHECKSUM_LEN>()?;
        if checksum(key, body) != *sum {
            return None;
        }
        let (next, pairs) = body.split_first_chunk()?;
        let next = Pair(*next);
        pairs.len().is_multiple_of(Pair::LEN).then_some(Self { value, next })
    }

    fn pairs(&self) -> &[[u8; Pair::LEN]] {
        self.value.get(Self::HEAD..).unwrap_or_default().as_chunks().0
    }

    /// Pairs at or above `from`, ascending.
    pub(super) fn from(&self, from: Pair) -> impl Iterator<Item = Pair> {
        let start = self.pairs().partition_point(|pair| *pair < from.0);
        self.pairs().iter().skip(start).map(|pair| Pair(*pair))
    }

    /// The highest pair at or below `to`.
    pub(super) fn last_to(&self, to: Pair) -> Option<Pair> {
        let end = self.pairs().partition_point(|pair| *pair <= to.0);
        self.pairs()[..end].last().map(|pair| Pair(*pair))
    }
}

fn checksum(key: &[u8], body: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key).update(body);
    *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(fingerprint: u8, relative: u32) -> Pair {
        Pair::new(&Fingerprint([fingerprint; 16]), relative)
    }

    #[test]
    fn a_page_gives_back_its_pairs_from_and_up_to_any_place() {
        let pairs = [pair(1, 5), pair(1, 9), pair(3, 0)];
        let key = key(42, Pair::LOWEST);
        let value = encode(&key, &pairs, pair(3, 7));
        let page = Page::read(&key, value.into()).unwrap();
        assert_eq!(page.next, pair(3, 7));
        assert_eq!(page.from(pair(1, 6)).collect::<Vec<_>>(), pairs[1..]);
        assert_eq!(page.from(pair(4, 0)).count(), 0);
        assert_eq!(page.last_to(pair(1, u32::MAX)), Some(pairs[1]));
        assert_eq!(page.last_to(pair(1, 4)), None);
        assert_eq!((pairs[1].fingerprint(), pairs[1].relative()), (Fingerprint([1; 16]), 9));
    }

    #[test]
    fn every_changed_bit_and_every_other_place_is_noticed() {
        let here = key(42, Pair::LOWEST);
        let value = encode(&here, &[pair(1, 5), pair(2, 6)], Pair::HIGHEST);
        for bit in 0..value.len() * 8 {
            let mut changed = value.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Page::read(&here, changed.into()).is_none(), "bit {bit}");
        }
        assert!(Page::read(&key(43, Pair::LOWEST), value.clone().into()).is_none());
        assert!(Page::read(&here, (&value[..value.len() - Pair::LEN]).into()).is_none());
    }
}
