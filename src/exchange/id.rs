//! The correlation id of an exchange, and what a trace context looks like.

use axum::body::Bytes;
use axum::http::HeaderValue;
use ulid::Ulid;

use crate::limits::CORRELATION_ID_BYTES_MAX;

/// The client's id if it is 1 to 128 visible ASCII characters, else a new ULID, which comes along. A client whose id is replaced is
/// told so by the response's header, and the log by a line.
pub(super) fn taken_over_or_new(sent: Option<&HeaderValue>) -> (HeaderValue, Option<Ulid>) {
    match sent {
        Some(value) if is_correlation_id(value.as_bytes()) => (value.clone(), None),
        Some(value) => {
            let new = new();
            tracing::warn!(bytes = value.len(), replaced_by = ?new.0, "an unusable X-Correlation-Id was replaced");
            new
        }
        None => new(),
    }
}

fn is_correlation_id(value: &[u8]) -> bool {
    (1..=CORRELATION_ID_BYTES_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

fn new() -> (HeaderValue, Option<Ulid>) {
    let ulid = Ulid::generate();
    let mut text = [0; ulid::ULID_LEN];
    ulid.array_to_str(&mut text);
    let value =
        HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&text)).expect("a ULID is visible ASCII");
    (value, Some(ulid))
}

/// `version-trace-parent-flags` in lower-case hex (W3C Trace Context, 3.2); later versions may be longer.
pub(super) fn is_traceparent(value: &[u8]) -> bool {
    const DASHES: [usize; 3] = [2, 35, 52];
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let Some((known, later)) = value.split_at_checked(55) else { return false };
    let shaped = known.iter().enumerate().all(
        |(at, byte)| {
            if DASHES.contains(&at) { *byte == b'-' } else { hex(byte) }
        },
    );
    let lasts = later.is_empty() || (later.starts_with(b"-") && !known.starts_with(b"00"));
    shaped
        && lasts
        && value.len() <= 256
        && !known.starts_with(b"ff")
        && value.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_id_is_a_ulid() {
        let (id, ulid) = taken_over_or_new(None);
        assert_eq!(Ulid::from_string(id.to_str().unwrap()).ok(), ulid);
        assert_ne!(id, taken_over_or_new(None).0);
    }

    #[test]
    fn a_usable_id_is_taken_over_and_another_is_replaced() {
        let longest = "x".repeat(CORRELATION_ID_BYTES_MAX);
        for good in ["a", "!~", longest.as_str()] {
            let sent = HeaderValue::from_str(good).unwrap();
            assert_eq!(taken_over_or_new(Some(&sent)), (sent.clone(), None), "{good:?}");
        }
        for bad in ["", "a b", "\u{e9}", &format!("{longest}x")] {
            let sent = HeaderValue::from_bytes(bad.as_bytes()).unwrap();
            assert_ne!(taken_over_or_new(Some(&sent)).0, sent);
        }
    }

    #[test]
    fn a_trace_context_is_known_by_its_form() {
        const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let later = GOOD.replacen("00", "cc", 1) + "-more";
        for good in [GOOD, later.as_str()] {
            assert!(is_traceparent(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD.replace('-', "_"),
            &format!("{GOOD}-x"),
            &format!("{GOOD}0"),
        ] {
            assert!(!is_traceparent(bad.as_bytes()), "{bad}");
        }
        assert!(!is_traceparent(GOOD.replacen("00", "ff", 1).as_bytes()));
    }
}
