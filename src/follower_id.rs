//! Ids that are derived from a record: FORMAT.md, "Ids that a follower makes".

use gesta_log_format::{Digest, Timestamp};
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

/// The id of what follows from a record, whoever makes it.
pub(crate) fn follower_id(recorded_at: Timestamp, cause: &Digest, type_name: &str, ordinal: u64) -> Ulid {
    let hash = Sha256::new()
        .chain_update(cause.0)
        .chain_update(type_name)
        .chain_update(ordinal.to_be_bytes())
        .finalize();
    let mut bytes = [0; 16];
    let milliseconds = (recorded_at.micros() / 1000).to_be_bytes();
    bytes.iter_mut().zip(milliseconds.iter().skip(2).chain(hash.iter())).for_each(|(to, from)| *to = *from);
    Ulid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_that_of_the_written_example() {
        let cause =
            Digest::parse("sha256:c9dd7d5813a1a65713844363852645c2c5a24f4a11305c3336f9ea1dd53105d3").unwrap();
        let time = Timestamp::parse(b"2026-11-02T04:10:33.123456Z").unwrap();
        assert_eq!(follower_id(time, &cause, "registered", 0).to_string(), "01M6D779S3FFMW33H0JQ7PJY93");
        assert_ne!(follower_id(time, &cause, "registered", 1), follower_id(time, &cause, "registered", 0));
    }
}
