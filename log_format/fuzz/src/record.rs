//! The record reader and its neighbours: frames, headers, seals, envelopes.

use gesta_log_format::envelope::{View, digest_of};
use gesta_log_format::frame::Letter;
use gesta_log_format::record;
use gesta_log_format::segment::{Header, Seal};

use crate::sample::{encoded_again, framed};

/// Reads the bytes as they are, and as the body of a frame whose checksum holds.
pub fn check(data: &[u8]) {
    check_record(data);
    check_frames(data);
    let number = u64::try_from(data.len()).unwrap_or(0);
    check_record(&framed(Letter::Record, number, data));
    check_frames(&framed(Letter::Header, number, data));
    check_frames(&framed(Letter::Seal, number, data));
    let _ = (View::parse(data), digest_of(data));
}

fn check_record(bytes: &[u8]) {
    let len = record::len(bytes);
    let Ok(found) = record::decode(bytes) else { return };
    assert_eq!(len, Some(found.bytes.len()));
    assert_eq!(found.bytes, &bytes[..found.bytes.len()]);
    assert_eq!(encoded_again(&found), found.bytes, "what is read is all that was written");
    assert_eq!(record::decode_trusted(bytes), Ok(found));
    if let Some(view) = View::parse(found.data) {
        let _ = (view.digest(), view.recorded_at(), view.payload_member("_obs"), view.subjects().count());
        assert!(digest_of(found.data).is_some(), "what has members has a digest");
    }
}

fn check_frames(bytes: &[u8]) {
    if let Some((header, len)) = Header::decode(bytes) {
        assert!(len <= bytes.len());
        let again = header.encode();
        assert_eq!(Header::decode(&again), Some((header, again.len())));
    }
    if let Some((seal, len)) = Seal::decode(bytes) {
        assert!(len <= bytes.len());
        let again = seal.encode();
        assert_eq!(Seal::decode(&again), Some((seal, again.len())));
    }
}
