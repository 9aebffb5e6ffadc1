//! Where in a document a byte lies, as an RFC 6901 pointer.
//!
//! Works on refused text, so it believes nothing: it walks the tokens before the offset, once, after the error. The
//! happy path therefore keeps no path at all.

use std::borrow::Cow;
use std::ops::Range;

use super::{canonical, string};

/// An open container, and the member or element of it that the walk is in.
enum Open {
    Object { key: Option<Range<usize>> },
    Array { index: usize },
}

/// The pointer to the value or member that begins at `offset`, or else to the innermost value around it.
pub fn at(text: &[u8], offset: usize) -> String {
    let mut stack: Vec<Open> = Vec::new();
    let mut position = 0;
    while let Some(&byte) = text.get(position).filter(|_| position <= offset) {
        if byte == b'"' {
            let Some(end) = string_end(text, position) else { break };
            match stack.last_mut() {
                Some(Open::Object { key: key @ None }) if position == offset || end <= offset => {
                    *key = Some(position + 1..end.saturating_sub(1));
                }
                Some(Open::Object { .. } | Open::Array { .. }) | None => {}
            }
            position = end;
            continue;
        }
        if position == offset {
            break;
        }
        match byte {
            b'{' => stack.push(Open::Object { key: None }),
            b'[' => stack.push(Open::Array { index: 0 }),
            b'}' | b']' => drop(stack.pop()),
            b',' => match stack.last_mut() {
                Some(Open::Object { key }) => *key = None,
                Some(Open::Array { index }) => *index += 1,
                None => {}
            },
            _ => {}
        }
        position += 1;
    }
    render(text, &stack)
}

/// The byte after the closing quote of the string that opens at `start`; `None` where it is not closed.
fn string_end(text: &[u8], start: usize) -> Option<usize> {
    let mut position = start + 1;
    loop {
        position = string::plain_end(text, position);
        match text.get(position)? {
            b'"' => return Some(position + 1),
            b'\\' => position += 2,
            _ => position += 1,
        }
    }
}

fn render(text: &[u8], stack: &[Open]) -> String {
    let mut pointer = String::new();
    for open in stack {
        match open {
            Open::Object { key: None } => {}
            Open::Object { key: Some(range) } => {
                let raw = text.get(range.clone()).unwrap_or_default();
                let key = canonical::unescape(raw).unwrap_or_else(|| lossy(raw));
                push(&mut pointer, &key);
            }
            Open::Array { index } => push(&mut pointer, &index.to_string()),
        }
    }
    pointer
}

/// Appends one reference token, escaped.
pub(super) fn push(pointer: &mut String, token: &str) {
    pointer.push('/');
    for character in token.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

fn lossy(raw: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(raw)
}
