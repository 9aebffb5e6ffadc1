//! References to blobs within records: `{"$blob":"sha256:…","media_type":"…","size_bytes":n}`, as the whole value of a
//! member, at any depth, with these three members and no other. FORMAT.md, "Blob references".
//!
//! Finds and writes them, and ([`spill`]) says which members of a record that is too large become blobs. Never touches
//! a blob itself.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::{Digest, Index, hex, json};

pub mod spill;

const OPENING: &[u8] = b"{\"$blob\":\"sha256:";
const HEX_LEN: usize = 64;

/// In JSON this can only begin an object: within a string its quotes would be escaped, and behind a string's end no
/// dollar sign can stand.
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(OPENING));

/// What stands in a record for content that is in a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference<'a> {
    /// Of the content.
    pub digest: Digest,
    /// As it is written, without quotes, still escaped.
    pub media_type: &'a str,
    /// The length of the content.
    pub size_bytes: u64,
}

impl<'a> Reference<'a> {
    /// The reference that is the whole of `text`, in canonical form.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        Self::beginning(text).filter(|(_, len)| *len == text.len()).map(|(reference, _)| reference)
    }

    /// The reference that `text` begins with, and its length in bytes.
    fn beginning(text: &'a [u8]) -> Option<(Self, usize)> {
        let (digits, rest) = text.strip_prefix(OPENING)?.split_at_checked(HEX_LEN)?;
        let digest = Digest(hex::read(digits)?);
        let rest = rest.strip_prefix(b"\",\"media_type\":")?;
        let (media_type, rest) = rest.split_at_checked(json::canonical::value_end(rest)?)?;
        let media_type =
            media_type.strip_prefix(b"\"")?.strip_suffix(b"\"").filter(|text| !text.is_empty())?;
        let rest = rest.strip_prefix(b",\"size_bytes\":")?;
        let (size, rest) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'}')?)?;
        let reference =
            Self { digest, media_type: std::str::from_utf8(media_type).ok()?, size_bytes: number(size)? };
        Some((reference, text.len() - rest.len() + 1))
    }

    /// Appends the reference in canonical form.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"$blob\":\"");
        self.digest.push(out);
        out.extend_from_slice(b"\",\"media_type\":\"");
        out.extend_from_slice(self.media_type.as_bytes());
        out.extend_from_slice(b"\",\"size_bytes\":");
        out.extend_from_slice(self.size_bytes.to_string().as_bytes());
        out.push(b'}');
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let plain = digits.iter().all(u8::is_ascii_digit) && (digits.len() == 1 || digits.first() != Some(&b'0'));
    let number = std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()?;
    Some(number).filter(|number| *number <= Index::MAX.0)
}

/// The references in a canonical text, a payload or a whole envelope, in order, each with the byte at which it
/// begins. A text that is a reference itself counts as one: it is some member's value elsewhere.
pub fn find(text: &[u8]) -> impl Iterator<Item = (usize, Reference<'_>)> {
    FINDER.find_iter(text).filter_map(|at| {
        let is_member = at.checked_sub(1).is_none_or(|before| text.get(before) == Some(&b':'));
        let (reference, _) = is_member.then(|| text.get(at..).and_then(Reference::beginning)).flatten()?;
        Some((at, reference))
    })
}

/// The digests of all blobs that a canonical text, a payload or a whole envelope, refers to, in order; one that is
/// referred to twice comes twice. A text without references costs one search through its bytes.
pub fn references(text: &[u8]) -> impl Iterator<Item = Digest> {
    find(text).map(|(_, reference)| reference.digest)
}

/// Whether a canonical text is a reference.
#[must_use]
pub fn is_reference(value: &[u8]) -> bool {
    Reference::parse(value).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(content: &[u8]) -> String {
        let mut out = Vec::new();
        let size_bytes = crate::size::of(content.len());
        Reference { digest: Digest::of(content), media_type: "text/plain", size_bytes }.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[track_caller]
    fn check(text: &str, expected: &[&[u8]]) {
        assert!(json::is_canonical(text.as_bytes()), "{text}");
        let expected: Vec<_> = expected.iter().map(|content| Digest::of(content)).collect();
        assert_eq!(references(text.as_bytes()).collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn a_reference_is_canonical_and_reads_back() {
        let text = written(b"abc");
        assert!(json::is_canonical(text.as_bytes()));
        let reference = Reference::parse(text.as_bytes()).unwrap();
        let expected = Reference { digest: Digest::of(b"abc"), media_type: "text/plain", size_bytes: 3 };
        assert_eq!(reference, expected);
    }

    #[test]
    fn references_are_found_as_values_of_members_at_any_depth() {
        let (a, b) = (written(b"a"), written(b"b"));
        check(&a, &[b"a"]);
        check(&format!("{{\"x\":{a}}}"), &[b"a"]);
        check(&format!("{{\"x\":[{{\"y\":{b}}}],\"z\":{a}}}"), &[b"b", b"a"]);
        check(&format!("{{\"x\":{a},\"y\":{a}}}"), &[b"a", b"a"]);
    }

    #[test]
    fn an_element_a_text_and_another_shape_are_no_references() {
        let a = written(b"a");
        check(&format!("[{a}]"), &[]);
        check(&format!("{{\"x\":{}}}", serde_json::to_string(&a).unwrap()), &[]);
        check(&format!("{{\"x\":{}}}", a.replace("size_bytes", "size")), &[]);
        check(&format!("{{\"x\":{}}}", a.replace(":1}", ":1,\"x\":1}")), &[]);
        check(&format!("{{\"x\":{}}}", a.replace(":1}", ":-1}")), &[]);
        check(&format!("{{\"x\":{}}}", a.replace(":1}", ":\"1\"}")), &[]);
        check(&format!("{{\"x\":{}}}", a.replace("text/plain", "")), &[]);
        check(&format!("{{\"x\":{}}}", a.replace("sha256:c", "sha256:C")), &[]);
        check("{\"$blob\":\"sha256:\"}", &[]);
    }

    #[test]
    fn no_prefix_of_a_reference_is_one_or_panics() {
        let text = format!("{{\"x\":{}}}", written(b"a"));
        for end in 0..text.len() - 1 {
            assert_eq!(references(&text.as_bytes()[..end]).count(), 0, "{end}");
        }
    }
}
