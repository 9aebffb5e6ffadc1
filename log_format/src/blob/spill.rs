//! What a record is too small for goes into blobs, and references stand in its place.
//!
//! Pure: says which members are replaced and which bytes are to be stored. Its callers are the authors of records,
//! who make the blobs durable before they append the record. The choice depends on the texts and the budget alone.

use std::borrow::Cow;
use std::cmp::Reverse;

use super::{Reference, is_reference};
use crate::{Digest, json, size};

/// Canonical JSON, whatever it was in.
const MEDIA_TYPE: &str = "application/json";

/// Content that becomes a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spill<'a> {
    /// Its name.
    pub digest: Digest,
    /// The canonical text of the value that is replaced.
    pub bytes: &'a [u8],
}

/// Why a record cannot be made to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpillError {
    /// With all that can be replaced by references, `least_bytes` are left.
    #[error(
        "the content takes {least_bytes} bytes of the record even with its large members as blobs, and {budget_bytes} are free"
    )]
    TooLarge {
        /// With references in place of all that is longer than one.
        least_bytes: usize,
        /// What there was room for.
        budget_bytes: usize,
    },
    /// The payload is not one canonical JSON object: its author's bug.
    #[error("the payload is not a canonical JSON object")]
    NotAnObject,
}

/// What an INTENT's record holds of its client's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent<'a> {
    /// The client's payload, or the reference to it.
    pub payload: Cow<'a, [u8]>,
    /// The declared references, or the reference to them.
    pub declared_refs: Cow<'a, [u8]>,
    /// To be stored before the record is appended.
    pub spills: Vec<Spill<'a>>,
}

/// What any other record holds as its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members<'a> {
    /// The payload, with references in place of members.
    pub payload: Cow<'a, [u8]>,
    /// To be stored before the record is appended, in the order in which the members were replaced.
    pub spills: Vec<Spill<'a>>,
}

/// Fits the two canonical texts of an intent into `budget_bytes` together: the client's `payload` is replaced first,
/// as a whole, then `declared_refs`. What is a reference already, or not longer than one, stays.
///
/// # Errors
/// `TooLarge`.
pub fn intent<'a>(
    payload: &'a [u8],
    declared_refs: &'a [u8],
    budget_bytes: usize,
) -> Result<Intent<'a>, SpillError> {
    let mut intent = Intent {
        payload: Cow::Borrowed(payload),
        declared_refs: Cow::Borrowed(declared_refs),
        spills: Vec::new(),
    };
    let len = |intent: &Intent<'_>| intent.payload.len() + intent.declared_refs.len();
    if len(&intent) > budget_bytes
        && let Some((text, spill)) = replace(payload)
    {
        intent.payload = Cow::Owned(text);
        intent.spills.push(spill);
    }
    if len(&intent) > budget_bytes
        && let Some((text, spill)) = replace(declared_refs)
    {
        intent.declared_refs = Cow::Owned(text);
        intent.spills.push(spill);
    }
    let least_bytes = len(&intent);
    if least_bytes > budget_bytes {
        Err(SpillError::TooLarge { least_bytes, budget_bytes })
    } else {
        Ok(intent)
    }
}

/// Whether `recorded` is what a record may hold of `payload`: its members, or references in the place of some.
#[must_use]
pub fn is_of(recorded: &[u8], payload: &[u8]) -> bool {
    let (mut recorded, mut members) =
        (json::canonical::Members::new(recorded), json::canonical::Members::new(payload));
    loop {
        match (recorded.next(), members.next()) {
            (None, None) => return true,
            (Some(Ok((found, holds))), Some(Ok((key, value)))) if found == key => {
                let is_its_reference = || replace(value).is_some_and(|(text, _)| text == holds);
                if holds != value && !is_its_reference() {
                    return false;
                }
            }
            (Some(_), _) | (None, Some(_)) => return false,
        }
    }
}

/// Fits a canonical payload into `budget_bytes`: its top-level members are replaced, the largest canonical value
/// first, of equal ones the first by name, until it fits. What is a reference already, or not longer than one, stays.
///
/// # Errors
/// `TooLarge`; `NotAnObject`.
pub fn members(payload: &[u8], budget_bytes: usize) -> Result<Members<'_>, SpillError> {
    if payload.len() <= budget_bytes {
        return Ok(Members { payload: Cow::Borrowed(payload), spills: Vec::new() });
    }
    let mut members = Vec::new();
    for member in json::canonical::Members::new(payload) {
        let (key, value) = member.map_err(|_| SpillError::NotAnObject)?;
        members.push((key, Cow::Borrowed(value)));
    }
    // Canonical order is the order of names, and the sort keeps it among equals.
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|place| Reverse(members.get(*place).map_or(0, |(_, value)| value.len())));
    let mut len = payload.len();
    let mut spills = Vec::new();
    for place in order {
        if len <= budget_bytes {
            break;
        }
        let Some((_, value)) = members.get_mut(place) else { continue };
        if let Cow::Borrowed(bytes) = *value
            && let Some((text, spill)) = replace(bytes)
        {
            len -= bytes.len() - text.len();
            *value = Cow::Owned(text);
            spills.push(spill);
        }
    }
    if len > budget_bytes {
        return Err(SpillError::TooLarge { least_bytes: len, budget_bytes });
    }
    Ok(Members { payload: Cow::Owned(object(&members, len)), spills })
}

/// The reference to a value and the blob it refers to, unless that would not make it shorter.
fn replace(value: &[u8]) -> Option<(Vec<u8>, Spill<'_>)> {
    if is_reference(value) {
        return None;
    }
    let digest = Digest::of(value);
    let mut text = Vec::new();
    Reference { digest, media_type: MEDIA_TYPE, size_bytes: size::of(value.len()) }.write(&mut text);
    (text.len() < value.len()).then_some((text, Spill { digest, bytes: value }))
}

/// The object of the members, `len` bytes long.
fn object(members: &[(&[u8], Cow<'_, [u8]>)], len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len);
    for (place, (key, value)) in members.iter().enumerate() {
        out.extend_from_slice(if place == 0 { b"{\"" } else { b",\"" });
        out.extend_from_slice(key);
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value);
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(len: usize) -> String {
        format!("\"{}\"", "x".repeat(len - 2))
    }

    fn reference(value: &str) -> String {
        let mut out = Vec::new();
        let digest = Digest::of(value.as_bytes());
        Reference { digest, media_type: "application/json", size_bytes: size::of(value.len()) }
            .write(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// `expected` is the payload that is left and the values that were taken out, in order.
    #[track_caller]
    fn check(payload: &str, budget_bytes: usize, expected: &str, taken: &[&str]) {
        assert!(json::is_canonical(payload.as_bytes()) && json::is_canonical(expected.as_bytes()));
        let spilled = members(payload.as_bytes(), budget_bytes).unwrap();
        assert_eq!(String::from_utf8_lossy(&spilled.payload), expected);
        assert!(spilled.payload.len() <= budget_bytes);
        let spills: Vec<_> = spilled.spills.iter().map(|spill| spill.bytes).collect();
        assert_eq!(spills, taken.iter().map(|value| value.as_bytes()).collect::<Vec<_>>());
        assert!(spilled.spills.iter().all(|spill| spill.digest == Digest::of(spill.bytes)));
        assert!(is_of(&spilled.payload, payload.as_bytes()));
    }

    #[test]
    fn a_record_is_of_one_payload_alone() {
        let (one, other) = (text(1000), text(1001));
        let recorded = format!("{{\"a\":{},\"b\":1}}", reference(&one));
        for (payload, is_its) in [
            (format!("{{\"a\":{one},\"b\":1}}"), true),
            (recorded.clone(), true),
            (format!("{{\"a\":{other},\"b\":1}}"), false),
            (format!("{{\"a\":{one},\"b\":2}}"), false),
            (format!("{{\"a\":{one}}}"), false),
            (format!("{{\"a\":{one},\"b\":1,\"c\":1}}"), false),
            (format!("{{\"a\":{one},\"c\":1}}"), false),
            ("[]".to_owned(), false),
        ] {
            assert_eq!(is_of(recorded.as_bytes(), payload.as_bytes()), is_its, "{payload}");
        }
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let payload = format!("{{\"a\":{}}}", text(1000));
        check(&payload, payload.len(), &payload, &[]);
        let whole = intent(payload.as_bytes(), b"[]", payload.len() + 2).unwrap();
        assert_eq!((&*whole.payload, &*whole.declared_refs), (payload.as_bytes(), &b"[]"[..]));
        assert!(whole.spills.is_empty());
    }

    #[test]
    fn the_largest_member_goes_first_and_of_equal_ones_the_first_by_name() {
        let (big, small) = (text(900), text(500));
        let payload = format!("{{\"a\":{small},\"b\":{big},\"c\":{small},\"d\":1}}");
        let one = format!("{{\"a\":{small},\"b\":{},\"c\":{small},\"d\":1}}", reference(&big));
        check(&payload, payload.len() - 1, &one, &[&big]);
        let two = format!("{{\"a\":{},\"b\":{},\"c\":{small},\"d\":1}}", reference(&small), reference(&big));
        check(&payload, one.len() - 1, &two, &[&big, &small]);
    }

    #[test]
    fn a_reference_and_what_is_shorter_than_one_are_not_replaced() {
        let (value, short) = (reference("a").replace("application/json", &"m".repeat(300)), text(100));
        let payload = format!("{{\"a\":{value},\"b\":{short}}}");
        assert!(Reference::parse(value.as_bytes()).is_some());
        let refused = members(payload.as_bytes(), payload.len() - 1);
        let least_bytes = payload.len();
        assert_eq!(refused, Err(SpillError::TooLarge { least_bytes, budget_bytes: least_bytes - 1 }));
    }

    #[test]
    fn an_intent_gives_up_its_payload_as_a_whole_and_then_its_references() {
        let (payload, refs) = (format!("{{\"a\":{}}}", text(5000)), format!("[{}]", text(8000)));
        let spilled = intent(payload.as_bytes(), refs.as_bytes(), refs.len() + 200).unwrap();
        assert_eq!(&*spilled.payload, reference(&payload).as_bytes());
        assert_eq!(&*spilled.declared_refs, refs.as_bytes());
        let both = intent(payload.as_bytes(), refs.as_bytes(), 300).unwrap();
        assert_eq!(&*both.declared_refs, reference(&refs).as_bytes());
        assert_eq!(both.spills.len(), 2);
        let refused = intent(payload.as_bytes(), refs.as_bytes(), 200).unwrap_err();
        assert!(matches!(refused, SpillError::TooLarge { budget_bytes: 200, .. }));
    }

    #[test]
    fn the_payload_of_a_record_must_be_an_object() {
        for bad in ["[1,2,3]", "{\"a\":1", "\"text\""] {
            let refused = members(bad.as_bytes(), 0);
            assert_eq!(refused, Err(SpillError::NotAnObject), "{bad}");
        }
    }
}
