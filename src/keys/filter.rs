//! The filter of one sealed segment: says "absent" without a look at the disk.
//!
//! A binary fuse filter: 9 bits a key and 0.4 % false positives, where a blocked Bloom filter of 10 bits has 1.2 %.
//! With dozens of segments it is the false positives, each a page from disk, that an absent key costs.
//! The stored form relies on the hash of the `xorf` crate; a test holds that still, and the format stamp changes
//! with it.

use xorf::{BinaryFuse8, DmaSerializable, Filter as _};

use super::Fingerprint;

/// Says of a fingerprint whether the segment may have it. `None` stands for "may have anything".
#[derive(Debug, Clone)]
pub(super) struct Filter(Option<BinaryFuse8>);

impl Filter {
    /// Bytes before the table in the stored form.
    const HEAD: usize = BinaryFuse8::DESCRIPTOR_LEN;

    /// Builds the filter of these different keys ([`Fingerprint::hash64`]).
    pub(super) fn build(hashes: &[u64]) -> Self {
        // Construction fails less than once in all the segments that will ever be; then everything passes.
        Self(BinaryFuse8::try_from(hashes).ok())
    }

    pub(super) fn may_have(&self, fingerprint: &Fingerprint) -> bool {
        self.0.as_ref().is_none_or(|filter| filter.contains(&fingerprint.hash64()))
    }

    /// The stored form: the descriptor (seed u64, segment length u32, its mask u32, segment count length u32, all
    /// little-endian), then one byte a slot. Empty for a filter that lets everything pass.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Some(filter) = &self.0 else { return Vec::new() };
        let mut bytes = vec![0; Self::HEAD];
        filter.dma_copy_descriptor_to(&mut bytes);
        bytes.extend_from_slice(filter.dma_fingerprints());
        bytes
    }

    /// Reads the stored form. `None` where its parts do not fit each other.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self(None));
        }
        let (head, slots) = bytes.split_at_checked(Self::HEAD)?;
        let (seed, head) = head.split_first_chunk()?;
        let (segment_length, head) = head.split_first_chunk()?;
        let (mask, head) = head.split_first_chunk()?;
        let (count_length, _) = head.split_first_chunk()?;
        let descriptor = xorf::Descriptor {
            seed: u64::from_le_bytes(*seed),
            segment_length: u32::from_le_bytes(*segment_length),
            segment_length_mask: u32::from_le_bytes(*mask),
            segment_count_length: u32::from_le_bytes(*count_length),
        };
        let reach = u64::from(descriptor.segment_count_length) + 2 * u64::from(descriptor.segment_length);
        let sound = descriptor.segment_length.is_power_of_two()
            && descriptor.segment_length_mask == descriptor.segment_length - 1
            && reach == slots.len() as u64;
        sound.then(|| Self(Some(BinaryFuse8 { descriptor, fingerprints: slots.into() })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(numbers: std::ops::Range<u32>) -> Vec<Fingerprint> {
        numbers.map(|number| Fingerprint::correlation("", &number.to_string())).collect()
    }

    fn built(keys: &[Fingerprint]) -> Filter {
        Filter::build(&keys.iter().map(Fingerprint::hash64).collect::<Vec<_>>())
    }

    #[test]
    fn every_key_passes_and_few_others_do() {
        for count in [0, 1, 2, 3, 10, 1000, 50_000] {
            let keys_in = keys(0..count);
            let filter = Filter::from_bytes(&built(&keys_in).to_bytes()).expect("what was stored is read");
            assert!(keys_in.iter().all(|key| filter.may_have(key)), "{count} keys");
            let others = keys(1_000_000..1_020_000);
            let passed = others.iter().filter(|key| filter.may_have(key)).count();
            assert!(passed < 200, "{passed} of 20000 with {count} keys");
        }
    }

    #[test]
    fn a_cut_or_stretched_filter_is_not_one() {
        let mut bytes = built(&keys(0..100)).to_bytes();
        assert!(Filter::from_bytes(&bytes[..bytes.len() - 1]).is_none());
        assert!(Filter::from_bytes(&bytes[..7]).is_none());
        bytes.push(0);
        assert!(Filter::from_bytes(&bytes).is_none());
    }

    /// A stored filter of another hash would hide keys, so this changes only together with the format stamp.
    #[test]
    fn the_stored_filter_is_the_same_as_ever() {
        let bytes = built(&keys(0..1000)).to_bytes();
        assert_eq!(
            blake3::hash(&bytes).to_hex().as_str(),
            "863f74bf72ca5e646cf4a35fd65019f2a3901f5fd0ec4c6bc95ad3753b682d6c"
        );
    }
}
