//! Lease tokens: what shows that a worker holds the latest attempt of a task.
//!
//! A token is the beginning of an HMAC over what the claim's record says, with a key that is not in the log. So it can be
//! computed again after a crash, and the log holds no secret.

use std::fmt;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use gesta_log_format::hex;
use subtle::ConstantTimeEq as _;

/// Bytes of an HMAC that make a token.
const TOKEN_BYTES: usize = 16;

/// Bytes of a nonce.
const NONCE_BYTES: usize = 16;

/// The random number in a `claimed` record. Its text is 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; NONCE_BYTES]);

/// The text is not 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a nonce is 32 lower-case hex digits")]
pub struct NonceFault;

impl Nonce {
    /// A new one.
    ///
    /// # Errors
    /// The random source cannot be read.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; NONCE_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// # Errors
    /// [`NonceFault`].
    pub fn parse(text: &str) -> Result<Self, NonceFault> {
        hex::read(text.as_bytes()).map(Self).ok_or(NonceFault)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::text(&self.0))
    }
}

/// What a token is about: one claim of a task.
#[derive(Debug, Clone, Copy)]
pub struct Lease<'a> {
    pub stream_id: &'a str,
    pub task_id: &'a str,
    pub attempt: u64,
    pub nonce: Nonce,
}

/// The key of all lease tokens of a log. `Debug` does not show it.
pub struct LeaseKey(hmac::Key);

impl LeaseKey {
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, secret))
    }

    /// The token of a lease: 32 lower-case hex digits.
    pub fn token(&self, lease: &Lease<'_>) -> String {
        hex::text(&self.code(lease))
    }

    /// Whether this is the lease's token. Takes the same time wherever the first difference lies.
    pub fn verify(&self, lease: &Lease<'_>, token: &str) -> bool {
        self.token(lease).as_bytes().ct_eq(token.as_bytes()).into()
    }

    /// No id holds a NUL, so no two leases are the same bytes.
    fn code(&self, lease: &Lease<'_>) -> [u8; TOKEN_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(lease.stream_id.as_bytes());
        context.update(&[0]);
        context.update(lease.task_id.as_bytes());
        context.update(&[0]);
        context.update(&lease.attempt.to_be_bytes());
        context.update(&lease.nonce.0);
        let tag = context.sign();
        let mut code = [0; TOKEN_BYTES];
        code.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        code
    }
}

impl fmt::Debug for LeaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Lease<'_> = Lease {
        stream_id: "default",
        task_id: "01JD000000000000000000000A",
        attempt: 3,
        nonce: Nonce([0xab; NONCE_BYTES]),
    };

    #[test]
    fn a_token_is_that_of_the_written_rule() {
        // By Python's hmac module, over the bytes that the rule names.
        let key = LeaseKey::new(&[1; 32]);
        assert_eq!(key.token(&LEASE), "9a36da9300a76a6b1187ae0b5fb04a39");
        assert!(key.verify(&LEASE, &key.token(&LEASE)));
    }

    #[test]
    fn every_part_of_a_lease_and_the_key_make_another_token() {
        let key = LeaseKey::new(&[1; 32]);
        let token = key.token(&LEASE);
        let others = [
            Lease { stream_id: "default2", ..LEASE },
            Lease { task_id: "01JD000000000000000000000B", ..LEASE },
            Lease { attempt: 4, ..LEASE },
            Lease { nonce: Nonce([0; NONCE_BYTES]), ..LEASE },
        ];
        for other in others {
            assert!(!key.verify(&other, &token), "{other:?}");
        }
        assert!(!LeaseKey::new(&[2; 32]).verify(&LEASE, &token));
        for wrong in ["", &token[1..], &token.to_uppercase(), &format!("{token}0")] {
            assert!(!key.verify(&LEASE, wrong), "{wrong}");
        }
    }

    #[test]
    fn a_nonce_reads_back_and_nothing_else_does() {
        let nonce = Nonce::random().unwrap();
        assert_eq!(Nonce::parse(&nonce.to_string()), Ok(nonce));
        for wrong in ["", "ab", &"AB".repeat(16), &"+1".repeat(16), &"é".repeat(16), &"0".repeat(33)] {
            assert_eq!(Nonce::parse(wrong), Err(NonceFault), "{wrong}");
        }
    }
}
