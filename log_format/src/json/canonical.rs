//! A fast walk over text that is already canonical: a record on disk whose checksum held.
//!
//! Believes what a strict reader once checked, and looks only at what it needs to find its way. Total all the same:
//! malformed text gives an error or a wrong member, never a panic and never more than one pass.

use std::borrow::Cow;

use memchr::memchr2;

use super::string;

/// The text is not the canonical object that it was said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a canonical JSON object")]
pub struct Malformed;

/// The text of the value of a top-level member of a canonical object, whose key is written without escapes. `None` where
/// there is none, or where the object is malformed before it.
#[must_use]
pub fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut members = Members::new(object).map_while(Result::ok);
    members.find_map(|(key, value)| (key == name.as_bytes()).then_some(value))
}

/// The top-level members of a canonical object, in order: the key's raw text without its quotes, and the value's
/// text. Nothing inside of either is checked. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    rest: &'a [u8],
    /// What must stand before the next member: `{`, then `,`; `None` once the walk has ended.
    opening: Option<u8>,
}

impl<'a> Members<'a> {
    /// A walk over `object`, which begins with its brace and ends with its brace.
    pub fn new(object: &'a [u8]) -> Self {
        Self { rest: object, opening: Some(b'{') }
    }

    /// The next member. `None` for malformed text; `Some(None)` at the object's end.
    fn step(&mut self, opening: u8) -> Option<Option<(&'a [u8], &'a [u8])>> {
        let rest = match self.rest {
            b"}" if opening == b',' => return Some(None),
            b"{}" if opening == b'{' => return Some(None),
            [first, rest @ ..] if *first == opening => rest,
            _ => return None,
        };
        let key_end = string_end(rest)?;
        let (key, rest) = rest.split_at_checked(key_end)?;
        let rest = rest.strip_prefix(b":")?;
        let (value, rest) = rest.split_at_checked(value_end(rest)?)?;
        self.rest = rest;
        Some(Some((key.get(1..key_end - 1)?, value)))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let opening = self.opening.take()?;
        match self.step(opening) {
            Some(Some(member)) => {
                self.opening = Some(b',');
                Some(Ok(member))
            }
            Some(None) => None,
            None => Some(Err(Malformed)),
        }
    }
}

/// The value of a string's raw text, which stands without its quotes; borrowed where it has no escapes. `None` where
/// that is not the inside of a JSON string.
pub fn unescape(raw: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(raw).ok()?;
    let mut end = string::plain_end(raw, 0);
    if end == raw.len() {
        return Some(Cow::Borrowed(text));
    }
    let mut value = String::with_capacity(raw.len());
    let mut start = 0;
    loop {
        value.push_str(text.get(start..end)?);
        if end == raw.len() {
            return Some(Cow::Owned(value));
        }
        if raw.get(end) != Some(&b'\\') {
            return None;
        }
        let (character, after) = string::escape(raw, end).ok()?;
        value.push(character);
        start = after;
        end = string::plain_end(raw, start);
    }
}

/// The value of a JSON string, quotes included. `None` where `value` is none.
pub fn string(value: &[u8]) -> Option<Cow<'_, str>> {
    unescape(value.strip_prefix(b"\"")?.strip_suffix(b"\"")?)
}

/// The length of the string that `text` begins with, both quotes included.
fn string_end(text: &[u8]) -> Option<usize> {
    text.strip_prefix(b"\"")?;
    let mut position = 1;
    loop {
        let rest = text.get(position..)?;
        let found = position + memchr2(b'"', b'\\', rest)?;
        if text.get(found) == Some(&b'"') {
            return Some(found + 1);
        }
        position = found + 2;
    }
}

/// The length of the value that `text` begins with. An object or array ends where as many brackets have closed as
/// opened, whichever they are.
pub fn value_end(text: &[u8]) -> Option<usize> {
    let (mut position, mut depth) = (0, 0_usize);
    loop {
        let rest = text.get(position..)?;
        match rest.first()? {
            b'"' => position += string_end(rest)?,
            b'{' | b'[' => {
                depth += 1;
                position += 1;
                continue;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                position += 1;
            }
            b',' | b':' if depth > 0 => {
                position += 1;
                continue;
            }
            b',' | b':' => return None,
            _ => position += scalar_end(rest)?,
        }
        if depth == 0 {
            return Some(position);
        }
    }
}

/// The length of the number or literal that `text` begins with.
fn scalar_end(text: &[u8]) -> Option<usize> {
    text.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b':' | b'"' | b'{' | b'['))
}
