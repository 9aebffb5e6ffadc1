//! The two hashes of the log: BLAKE3 for integrity inside, SHA-256 for all that others see.

use std::fmt;

use sha2::Digest as _;

use crate::hex;

/// The first 16 bytes of a hash: the integrity of one frame. SHA-256 for a record, BLAKE3 for the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checksum(pub [u8; 16]);

impl Checksum {
    /// BLAKE3 over `parts`, one after the other.
    #[must_use]
    pub fn over(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part);
        }
        Self::first(hasher.finalize().as_bytes())
    }

    /// SHA-256 over `parts`, one after the other.
    #[must_use]
    pub fn sha256(parts: &[&[u8]]) -> Self {
        let mut hasher = sha2::Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self::first(&hasher.finalize().into())
    }

    fn first(hash: &[u8; 32]) -> Self {
        let mut out = [0; 16];
        for (to, from) in out.iter_mut().zip(hash) {
            *to = *from;
        }
        Self(out)
    }
}

/// A SHA-256 hash, written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// What every written digest begins with.
    pub const PREFIX: &'static str = "sha256:";

    /// The length of a written digest in bytes.
    pub const TEXT_LEN: usize = 71;

    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Reads `sha256:` and 64 lower-case hexadecimal digits; anything else is `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        hex::read(text.strip_prefix(Self::PREFIX)?.as_bytes()).map(Self)
    }

    /// Appends the written digest.
    pub fn push(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(Self::PREFIX.as_bytes());
        hex::push(out, &self.0);
    }

    /// The 64 hexadecimal digits alone.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::text(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_as_written_and_no_other_spelling_is_one() {
        let digest = Digest::of(b"abc");
        let text = digest.to_string();
        assert_eq!(text, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(text.len(), Digest::TEXT_LEN);
        assert_eq!(Digest::parse(&text), Some(digest));
        assert_eq!(Digest::parse(&text.to_uppercase()), None);
        assert_eq!(Digest::parse(&text[..70]), None);
    }
}
