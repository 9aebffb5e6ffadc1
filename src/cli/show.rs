//! One record in one line, for people.

use std::io::{self, Write};

use gesta_log_format::Kind;
use gesta_log_format::envelope::View;
use gesta_log_format::record::Record;

/// Characters of the payload that are shown.
const PAYLOAD_CHARS: usize = 80;

/// Writes index, time, kind and type, stream, thread and turn, correlation id, and the beginning of its content.
pub(super) fn line(out: &mut impl Write, record: &Record<'_>) -> io::Result<()> {
    let Some(view) = View::parse(record.data) else {
        write!(out, "{}  ", record.index)?;
        visible(out, record.data, PAYLOAD_CHARS)?;
        return out.write_all(b"\n");
    };
    write!(out, "{}  ", record.index)?;
    visible(out, view.recorded_at, usize::MAX)?;
    write!(out, "  {}/{}  ", view.kind.text(), view.type_name)?;
    visible(out, view.stream_id, usize::MAX)?;
    out.write_all(b"  ")?;
    visible(out, view.thread_id, usize::MAX)?;
    out.write_all(b"/")?;
    visible(out, view.turn_id, usize::MAX)?;
    out.write_all(b"  ")?;
    visible(out, view.correlation_id, usize::MAX)?;
    out.write_all(b"  ")?;
    visible(out, content(&view), PAYLOAD_CHARS)?;
    out.write_all(b"\n")
}

/// What a person wants to see: of an intent the client's own content, of other records the whole payload.
fn content<'a>(view: &View<'a>) -> &'a [u8] {
    match view.kind {
        Kind::Intent => view.payload_member("payload").unwrap_or(view.payload),
        Kind::Decision
        | Kind::Execution
        | Kind::Task
        | Kind::Artifact
        | Kind::Session
        | Kind::Control
        | Kind::Ledger => view.payload,
    }
}

/// Writes the first `chars_max` characters of a client's text, with an ellipsis where it is longer. What could move
/// the cursor or turn the direction of a terminal is escaped.
fn visible(out: &mut impl Write, text: &[u8], chars_max: usize) -> io::Result<()> {
    let mut rest = text;
    let mut room = chars_max;
    while !rest.is_empty() {
        // A chunk of text, and the bytes behind it that are none.
        let chunk = rest.utf8_chunks().next();
        let Some(chunk) = chunk else { break };
        for char in chunk.valid().chars().chain((!chunk.invalid().is_empty()).then_some('\u{fffd}')) {
            if room == 0 {
                return out.write_all("…".as_bytes());
            }
            room -= 1;
            if moves_terminal(char) {
                write!(out, "\\u{:04x}", u32::from(char))?;
            } else {
                write!(out, "{char}")?;
            }
        }
        rest = &rest[chunk.valid().len() + chunk.invalid().len()..];
    }
    Ok(())
}

fn moves_terminal(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &[u8], chars_max: usize, expected: &str) {
        let mut out = Vec::new();
        visible(&mut out, text, chars_max).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_clients_text_is_shortened_by_characters_and_cannot_steer_a_terminal() {
        check(b"plain", 80, "plain");
        check("äöü".as_bytes(), 2, "äö…");
        check("äö".as_bytes(), 2, "äö");
        check("a\u{9b}31mb\u{7f}".as_bytes(), 80, "a\\u009b31mb\\u007f");
        check("a\u{202e}b\u{2028}".as_bytes(), 80, "a\\u202eb\\u2028");
        check(b"a\xffb", 80, "a\u{fffd}b");
    }
}
