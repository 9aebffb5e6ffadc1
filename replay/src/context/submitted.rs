//! What a decision reads of an INTENT `submitted`: its anchors, and the members of its payload as values.
//!
//! A member may stand in the record as a `$blob`, because the record was too large for it. The value is then the
//! blob's content, and everything that quotes it in a DECISION quotes the reference instead, so that erasing the blob
//! erases the text everywhere.

use std::borrow::Cow;

use gesta_log_format::Digest;
use gesta_log_format::blob::Reference;
use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical::{self, Members};
use gesta_log_format::json::{self, Reader};

use super::prefix::{Blob, ContextError, Prefix};

/// The media type of a value that an author moved out of a record.
const MEDIA_TYPE: &str = "application/json";

/// Largest blob that is read as a value; a reference to more is a value itself. No body that becomes a record is larger.
pub const VALUE_BYTES_MAX: u64 = 64 << 20;

/// A member of an INTENT's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// It stands in the record.
    Inline(&'a [u8]),
    /// It is the content of the blob that the record refers to.
    Blob { reference: &'a [u8], content: Vec<u8> },
    /// It was the content of a blob that was erased.
    Erased { reference: &'a [u8] },
}

/// Which JSON a member is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Array,
    Object,
}

impl<'a> Value<'a> {
    /// Reads a member, which stands in the record as `text`. Content that is not the canonical text of such a value
    /// was not moved out of a record: the reference itself is then what the client sent.
    pub(crate) fn read<P: Prefix>(
        prefix: &P,
        text: &'a [u8],
        shape: Shape,
    ) -> Result<Self, ContextError<P::Error>> {
        let movable =
            |found: &Reference<'_>| found.media_type == MEDIA_TYPE && found.size_bytes <= VALUE_BYTES_MAX;
        let Some(reference) = Reference::parse(text).filter(movable) else {
            return Ok(Self::Inline(text));
        };
        let digest = reference.digest;
        let content = match prefix.blob(&reference).map_err(ContextError::Prefix)? {
            Blob::Content(content) => content,
            Blob::Erased => return Ok(Self::Erased { reference: text }),
            Blob::Missing => return Err(ContextError::BlobMissing { digest }),
        };
        if Digest::of(&content) != digest {
            return Err(ContextError::BlobDiffers { digest });
        }
        let opening = match shape {
            Shape::Array => b'[',
            Shape::Object => b'{',
        };
        let is_value = content.first() == Some(&opening) && json::is_canonical(&content);
        Ok(if is_value { Self::Blob { reference: text, content } } else { Self::Inline(text) })
    }

    /// The value's canonical text; of an erased one the reference.
    pub(crate) fn text(&self) -> &[u8] {
        match self {
            Self::Inline(text) => text,
            Self::Blob { content, .. } => content,
            Self::Erased { reference } => reference,
        }
    }

    pub(crate) fn is_erased(&self) -> bool {
        matches!(self, Self::Erased { .. })
    }
}

/// The payload of an INTENT, its members as they stand in the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Submitted<'a> {
    pub(crate) surface: Cow<'a, str>,
    pub(crate) payload: &'a [u8],
    pub(crate) declared_refs: &'a [u8],
    pub(crate) roles: Vec<Cow<'a, str>>,
}

impl<'a> Submitted<'a> {
    /// Reads the members that a decision needs; one that is missing is empty. `None` where one is of another form.
    pub(crate) fn read(view: &View<'a>) -> Option<Self> {
        let mut found =
            Self { surface: Cow::Borrowed(""), payload: b"{}", declared_refs: b"[]", roles: Vec::new() };
        for member in Members::new(view.payload) {
            let (key, value) = member.ok()?;
            match key {
                b"surface" => found.surface = canonical::string(value)?,
                b"payload" => found.payload = value,
                b"declared_refs" => found.declared_refs = value,
                b"principal" => found.roles = roles(value)?,
                _ => {}
            }
        }
        (found.payload.first() == Some(&b'{')).then_some(found)
    }
}

fn roles(principal: &[u8]) -> Option<Vec<Cow<'_, str>>> {
    let list = Members::new(principal).find_map(|member| match member {
        Ok((b"roles", value)) => Some(Some(value)),
        Ok(_) => None,
        Err(_) => Some(None),
    });
    let mut roles = Vec::new();
    let Some(list) = list else { return Some(roles) };
    let mut reader = Reader::new(list?).ok()?;
    reader.begin_array().ok()?;
    while reader.next_element().ok()? {
        roles.push(reader.string().ok()?);
    }
    Some(roles)
}

/// Appends an intent's `user_input` as a canonical JSON string: its payload's `message` without the white space
/// (U+0009 to U+000D, U+0020) around it, if that is a string; else the payload's canonical text.
pub(crate) fn write_user_input(payload: &[u8], out: &mut Vec<u8>) {
    match canonical::member(payload, "message").and_then(canonical::string) {
        Some(message) => {
            let is_white = |character| matches!(character, '\u{9}'..='\u{D}' | ' ');
            json::write_string(out, message.trim_matches(is_white));
        }
        None => json::write_string(out, &String::from_utf8_lossy(payload)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(payload: &str, expected: &str) {
        assert!(json::is_canonical(payload.as_bytes()), "{payload}");
        let mut out = Vec::new();
        write_user_input(payload.as_bytes(), &mut out);
        assert_eq!(canonical::string(&out).unwrap(), expected);
    }

    #[test]
    fn user_input_is_the_trimmed_message_or_the_whole_payload() {
        check(r#"{"message":"hello"}"#, "hello");
        check(r#"{"message":"\t\u000b hel lo\r\n"}"#, "hel lo");
        check(r#"{"message":"  "}"#, "");
        check("{\"message\":\"\u{a0}x\u{feff}\"}", "\u{a0}x\u{feff}");
        check(r#"{"message":"a\"b"}"#, "a\"b");
        check(r#"{"message":1}"#, r#"{"message":1}"#);
        check(r#"{"a":{"message":"x"}}"#, r#"{"a":{"message":"x"}}"#);
        check("{}", "{}");
    }
}
