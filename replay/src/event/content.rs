//! Values of payloads that may stand in a blob, and lists that are walked in place.

use std::borrow::Cow;

use gesta_log_format::json::canonical::{self, Members};
use gesta_log_format::{Digest, Index};

/// A value of a payload: in the record, or in a blob that the record names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// The value's canonical text.
    Inline(&'a [u8]),
    /// Where the value is.
    Blob(BlobReference<'a>),
}

/// What stands in a record for content that is in a blob: FORMAT.md, "Blob references".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobReference<'a> {
    /// The content's name.
    pub digest: Digest,
    /// As it is written, without quotes, still escaped.
    pub media_type: &'a [u8],
    /// The content's length.
    pub size_bytes: u64,
}

impl<'a> Content<'a> {
    /// What a member's canonical value is. An object that is not exactly a reference is a value like any other.
    #[must_use]
    pub fn of(value: &'a [u8]) -> Self {
        BlobReference::parse(value).map_or(Self::Inline(value), Self::Blob)
    }
}

impl<'a> BlobReference<'a> {
    /// The reference that is the whole of `value`.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        if !value.starts_with(b"{\"$blob\":") {
            return None;
        }
        let mut members = Members::new(value);
        let mut next = |name: &str| -> Option<&'a [u8]> {
            let (key, value) = members.next()?.ok()?;
            (key == name.as_bytes()).then_some(value)
        };
        let digest = Digest::parse(&canonical::string(next("$blob")?)?)?;
        let media_type = next("media_type")?.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let size_bytes = whole_number(next("size_bytes")?)?;
        members.next().is_none().then_some(Self { digest, media_type, size_bytes })
    }
}

/// The elements of a canonical array, each as its text. An item is `None` where the text is none; nothing follows it.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// A walk over `array`, from bracket to bracket.
    #[must_use]
    pub fn new(array: &'a [u8]) -> Self {
        match array.strip_prefix(b"[") {
            Some(b"]") => Self { rest: b"" },
            Some(rest) => Self { rest },
            // Malformed, which the first step says.
            None => Self { rest: b"]" },
        }
    }

    fn step(&mut self) -> Option<&'a [u8]> {
        let (element, behind) = self.rest.split_at_checked(canonical::value_end(self.rest)?)?;
        self.rest = match behind.split_first()? {
            (b',', more) if !more.is_empty() => more,
            (b']', []) => b"",
            _ => return None,
        };
        Some(element)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let found = self.step();
        if found.is_none() {
            self.rest = b"";
        }
        Some(found)
    }
}

/// A canonical number from 0 to 2^53 − 1.
pub(super) fn whole_number(value: &[u8]) -> Option<u64> {
    let plain = value.iter().all(u8::is_ascii_digit) && (value.len() == 1 || value.first() != Some(&b'0'));
    let number = std::str::from_utf8(value).ok().filter(|_| plain)?.parse().ok()?;
    Some(number).filter(|number| *number <= Index::MAX.0)
}

/// A list of texts, unescaped. `None` where the value is another.
pub(super) fn texts(value: &[u8]) -> Option<Vec<Cow<'_, str>>> {
    value.first().filter(|first| **first == b'[')?;
    Elements::new(value).map(|element| canonical::string(element?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_three_members_and_anything_else_is_a_value() {
        let digest = Digest::of(b"abc");
        let text = format!("{{\"$blob\":\"{digest}\",\"media_type\":\"text/plain\",\"size_bytes\":3}}");
        let expected = BlobReference { digest, media_type: b"text/plain", size_bytes: 3 };
        assert_eq!(Content::of(text.as_bytes()), Content::Blob(expected));
        for other in [
            text.replace(":3}", ":3,\"z\":1}"),
            text.replace(":3}", ":-3}"),
            text.replace("$blob", "$bolb"),
            text.replace("sha256:b", "sha256:B"),
            text.replace(",\"size_bytes\":3", ""),
            "{}".to_owned(),
            "{\"$blob\":".to_owned(),
        ] {
            assert_eq!(Content::of(other.as_bytes()), Content::Inline(other.as_bytes()));
        }
    }

    #[track_caller]
    fn check(array: &str, expected: &[Option<&str>]) {
        let found: Vec<_> = Elements::new(array.as_bytes()).collect();
        let expected: Vec<_> = expected.iter().map(|element| element.map(str::as_bytes)).collect();
        assert_eq!(found, expected, "{array}");
    }

    #[test]
    fn the_elements_of_a_list_are_its_values_and_a_malformed_one_ends_the_walk() {
        check("[]", &[]);
        check("[1]", &[Some("1")]);
        check("[\"a,]\",{\"b\":[2]},[3]]", &[Some("\"a,]\""), Some("{\"b\":[2]}"), Some("[3]")]);
        check("{}", &[None]);
        check("[1", &[None]);
        check("[1,]", &[Some("1"), None]);
        check("[1]2", &[None]);
    }
}
