//! One line of NDJSON to one request.
//!
//! A line with `interface_version` is a whole `IntentEnvelope` and is sent as it stands. Any other is short for one: it
//! holds the members of the envelope's payload (`lane`, `actor`, `intent_type`, `thread_id`, `turn_id`, `payload` and
//! the optional ones), and may hold a `correlation_id` beside them.
//!
//! A missing correlation id is derived from the file's name, the line's number and the line, so that the same file
//! submitted again is recognised line by line and appends nothing.

use bytes::Bytes;
use gesta_log_format::json::{self, Reader};
use gesta_log_format::{Digest, json::Error};

/// Which line of which file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// Without its directory; `-` for standard input.
    pub file: &'a str,
    /// From 1.
    pub number: u64,
}

/// Hex digits of a derived correlation id.
const ID_DIGITS: usize = 32;

/// The request for a line.
///
/// # Errors
/// Where the line is not a JSON object as the server reads JSON.
pub(super) fn envelope(line: &[u8], place: Place<'_>) -> Result<Bytes, Error> {
    let mut reader = Reader::new(line)?;
    let (mut whole, mut correlation_id, mut members) = (false, None, Vec::new());
    reader.begin_object()?;
    while let Some(key) = reader.next_member()? {
        let value = reader.skip()?;
        match &*key {
            "interface_version" => whole = true,
            "correlation_id" => {
                correlation_id = Some(value);
                continue;
            }
            _ => {}
        }
        members.push((key, value));
    }
    reader.finish()?;
    let derived = || format!("\"{}\"", derived_id(line, place));
    let correlation_id = correlation_id.map_or_else(derived, str::to_owned);
    let mut out = Vec::with_capacity(line.len() + 96);
    out.extend_from_slice(b"{\"correlation_id\":");
    out.extend_from_slice(correlation_id.as_bytes());
    if !whole {
        out.extend_from_slice(b",\"interface_version\":2,\"payload\":{");
    }
    for (nth, (key, value)) in members.iter().enumerate() {
        if whole || nth > 0 {
            out.push(b',');
        }
        json::write_string(&mut out, key);
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(if whole { b"}" } else { b"}}" });
    Ok(out.into())
}

fn derived_id(line: &[u8], place: Place<'_>) -> String {
    let mut text = format!("{}\n{}\n", place.file, place.number).into_bytes();
    text.extend_from_slice(line);
    let hex = Digest::of(&text).hex();
    format!("line-{}", hex.get(..ID_DIGITS).unwrap_or(&hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'static> = Place { file: "f.ndjson", number: 3 };

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let made = envelope(line.as_bytes(), PLACE).unwrap();
        assert_eq!(std::str::from_utf8(&made).unwrap(), expected);
    }

    #[test]
    fn a_whole_envelope_keeps_its_members_and_spellings() {
        check(
            r#"{ "interface_version": 2, "payload": {"n": 1.50, "lane":"l"}, "correlation_id": "c\u0031" }"#,
            r#"{"correlation_id":"c\u0031","interface_version":2,"payload":{"n": 1.50, "lane":"l"}}"#,
        );
        // What the server refuses is the server's to refuse.
        check(
            r#"{"interface_version":1,"correlation_id":7}"#,
            r#"{"correlation_id":7,"interface_version":1}"#,
        );
    }

    #[test]
    fn a_short_line_becomes_an_envelopes_payload() {
        check(
            r#"{"lane":"l","correlation_id":"c","payload":{"a":[]}}"#,
            r#"{"correlation_id":"c","interface_version":2,"payload":{"lane":"l","payload":{"a":[]}}}"#,
        );
        check(r#"{"correlation_id":"c"}"#, r#"{"correlation_id":"c","interface_version":2,"payload":{}}"#);
    }

    #[test]
    fn a_derived_correlation_id_depends_on_file_line_and_content_alone() {
        let id = |line: &str, file, number| envelope(line.as_bytes(), Place { file, number }).unwrap();
        let line = r#"{"lane":"l"}"#;
        assert_eq!(id(line, "f", 1), id(line, "f", 1));
        assert_ne!(id(line, "f", 1), id(line, "f", 2));
        assert_ne!(id(line, "f", 1), id(line, "g", 1));
        assert_ne!(id(line, "f", 1), id(r#"{"lane":"m"}"#, "f", 1));
    }

    #[test]
    fn a_line_that_is_no_object_is_an_error() {
        for line in ["", "[]", "{", r#"{"a":1,"a":2}"#, "{} {}"] {
            assert!(envelope(line.as_bytes(), PLACE).is_err(), "{line}");
        }
    }
}
