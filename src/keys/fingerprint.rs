//! The sixteen bytes that stand for a key in the index.
//!
//! A fingerprint is the first half of a BLAKE3 hash over a tagged tuple. Two keys may collide in theory, so whoever
//! finds an index by fingerprint confirms it by reading the record.

use std::fmt;

use gesta_log_format::Digest;

/// Bytes of a tuple that are hashed from the stack in one call; a longer tuple goes through an incremental hasher.
const STACK_BYTES: usize = 512;

/// BLAKE3, first 16 bytes, over a tag byte and each part preceded by its length in bytes (u32, big-endian).
///
/// Its bytes are uniformly distributed, so tables and filters use them as their own hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; Self::LEN]);

/// What kind of key a tuple is. Part of the stored format: a number is never given a second meaning.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Tag {
    Subject = 1,
    Correlation = 2,
    Thread = 3,
    Turn = 4,
    TurnAnywhere = 5,
}

impl Fingerprint {
    /// Bytes of a fingerprint.
    pub const LEN: usize = 16;

    /// A subject of a compare-and-swap, such as `task/01J…`, within its stream.
    #[must_use]
    pub fn subject(stream: &str, subject: &str) -> Self {
        Self::of(Tag::Subject, &[stream, subject])
    }

    /// A client's request id, within its stream.
    #[must_use]
    pub fn correlation(stream: &str, id: &str) -> Self {
        Self::of(Tag::Correlation, &[stream, id])
    }

    /// A thread, within its stream.
    #[must_use]
    pub fn thread(stream: &str, id: &str) -> Self {
        Self::of(Tag::Thread, &[stream, id])
    }

    /// A turn of one thread.
    #[must_use]
    pub fn turn(stream: &str, thread: &str, turn: &str) -> Self {
        Self::of(Tag::Turn, &[stream, thread, turn])
    }

    /// A turn whose thread is not known.
    #[must_use]
    pub fn turn_anywhere(stream: &str, turn: &str) -> Self {
        Self::of(Tag::TurnAnywhere, &[stream, turn])
    }

    /// A digest: a record's own, or that of a blob it names. Its first half, for it is a hash already. Not scoped by
    /// stream.
    #[must_use]
    pub fn digest(digest: &Digest) -> Self {
        Self(*digest.0.first_chunk().expect("a digest has 32 bytes"))
    }

    fn of(tag: Tag, parts: &[&str]) -> Self {
        let mut buffer = [0_u8; STACK_BYTES];
        match lay_out(&mut buffer, tag, parts) {
            Some(len) => Self::truncate(&blake3::hash(&buffer[..len])),
            None => Self::of_long(tag, parts),
        }
    }

    fn of_long(tag: Tag, parts: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[tag as u8]);
        for part in parts {
            hasher.update(&length(part));
            hasher.update(part.as_bytes());
        }
        Self::truncate(&hasher.finalize())
    }

    fn truncate(hash: &blake3::Hash) -> Self {
        Self(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }

    /// The second half, big-endian: the hash of this fingerprint wherever one is wanted. The first byte chooses a
    /// shard, so it takes no part.
    #[must_use]
    pub fn hash64(&self) -> u64 {
        u64::from_be_bytes(*self.0.last_chunk().expect("a fingerprint has 16 bytes"))
    }
}

/// Writes the tuple to the front of `buffer`; its length in bytes, or `None` where it does not fit.
fn lay_out(buffer: &mut [u8; STACK_BYTES], tag: Tag, parts: &[&str]) -> Option<usize> {
    buffer[0] = tag as u8;
    let mut at = 1_usize;
    for part in parts {
        let text = at + 4;
        let end = text.checked_add(part.len()).filter(|end| *end <= STACK_BYTES)?;
        buffer[at..text].copy_from_slice(&length(part));
        buffer[text..end].copy_from_slice(part.as_bytes());
        at = end;
    }
    Some(at)
}

fn length(part: &str) -> [u8; 4] {
    u32::try_from(part.len()).expect("a key is part of a record, which is below 64 KiB").to_be_bytes()
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_blake3_over_the_tagged_tuple() {
        let hash = blake3::hash(b"\x01\x00\x00\x00\x07default\x00\x00\x00\x06task/1");
        assert_eq!(Fingerprint::subject("default", "task/1").0, hash.as_bytes()[..16]);
    }

    #[test]
    fn a_long_tuple_hashes_as_a_short_one_does() {
        for len in [480, 496, 500, 503, 504, 505, 600, 5000] {
            let text = "x".repeat(len);
            assert_eq!(
                Fingerprint::subject(&text, ""),
                Fingerprint::of_long(Tag::Subject, &[&text, ""]),
                "length {len}"
            );
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other_and_tags_differ() {
        let keys = [
            Fingerprint::subject("ab", "c"),
            Fingerprint::subject("a", "bc"),
            Fingerprint::correlation("a", "bc"),
            Fingerprint::thread("a", "bc"),
            Fingerprint::turn("a", "b", "c"),
            Fingerprint::turn_anywhere("a", "bc"),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{key:?}");
        }
    }
}
