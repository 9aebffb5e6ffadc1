//! Bearer tokens: made once, kept only as their SHA-256.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::access::{Patterns, Roles};

/// SHA-256 of a token or ticket. Equality takes the same time wherever the first difference lies, and `Debug` shows
/// the first six hex digits alone, which is how logs name a token.
#[derive(Clone, Copy, Eq)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Reads 64 lower- or upper-case hex digits.
    pub fn parse(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().try_fold(0, |high, digit| {
                let value = char::from(*digit).to_digit(16)?;
                u8::try_from(value).ok().map(|value| high << 4 | value)
            })?;
        }
        Some(Self(bytes))
    }

    /// The whole digest in hex: for `gesta token new`, which writes it for a configuration file.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// The first six hex digits.
    pub fn short(&self) -> String {
        hex(&self.0[..3])
    }

    /// The first bytes, as a key for a map. They are no secret worth hiding: who can choose a digest's beginning has
    /// no token by it, and the whole is compared in constant time.
    pub(super) fn bucket(&self) -> [u8; 8] {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        first
    }
}

impl PartialEq for TokenDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.short())
    }
}

/// One entry of `[[auth.tokens]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub name: String,
    pub digest: TokenDigest,
    pub roles: Roles,
    pub streams: Patterns,
    pub actors: Patterns,
    /// Ids of the workers for which a token with the role `worker` may speak.
    pub workers: Patterns,
    /// Pools of which it may claim tasks.
    pub pools: Patterns,
}

/// A new secret: `prefix`, an underscore and 64 hex digits from the operating system's random source.
///
/// # Errors
/// The random source cannot be read.
pub fn random(prefix: &str) -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{prefix}_{}", hex(&bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_and_shows_only_its_beginning() {
        let digest = TokenDigest::of(b"abc");
        assert_eq!(digest.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(TokenDigest::parse(&digest.hex().to_uppercase()), Some(digest));
        assert_eq!(format!("{digest:?}"), "ba7816…");
    }

    #[test]
    fn what_is_not_64_hex_digits_is_no_digest() {
        for bad in ["", "ab", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65), &"é".repeat(32)] {
            assert_eq!(TokenDigest::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn two_random_tokens_differ() {
        let (one, two) = (random("gesta").unwrap(), random("gesta").unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), "gesta_".len() + 64);
    }
}
