//! How the payload of a recorded DECISION differs from the one that was derived again.

use std::fmt;

use gesta_log_format::Digest;
use gesta_log_format::blob::Reference;
use gesta_log_format::envelope::OBSERVATIONAL;
use gesta_log_format::json::canonical::{self, Members};

use super::recorded::find;

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Nothing differs.
    Same,
    /// Nothing but `engine` differs: another version came to the same answer.
    EngineDiffers(Difference),
    /// The recorded decision is not the one that its inputs demand. The first difference, causes before effects.
    Diverged(Difference),
}

/// One member that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// RFC 6901 pointer into the payload.
    pub field: String,
    /// What was derived, as canonical text; none where nothing should stand there.
    pub expected: Option<String>,
    /// What is recorded; none where nothing stands there.
    pub got: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "{}: expected {}, got {}", self.field, text(&self.expected), text(&self.got))
    }
}

/// The members of a payload but `engine`, what is decided from before what is decided.
const ORDER: [&str; 9] = [
    "intent_index",
    "policy",
    "boundary",
    "context_spec",
    "assembled_context",
    "context_digest",
    "result",
    "reasons",
    "transforms",
];

/// Compares a recorded payload with the derived one; both are canonical objects. A member that became a blob is equal
/// to the text that the blob's digest is of. `_obs` is not compared.
#[must_use]
pub fn compare(recorded: &[u8], derived: &[u8]) -> Comparison {
    if recorded == derived {
        return Comparison::Same;
    }
    let found = ORDER.iter().find_map(|name| member(recorded, derived, name));
    if let Some(difference) = found.or_else(|| surplus(recorded)) {
        return Comparison::Diverged(difference);
    }
    match member(recorded, derived, "engine") {
        Some(difference) => Comparison::EngineDiffers(difference),
        None => Comparison::Same,
    }
}

fn member(recorded: &[u8], derived: &[u8], name: &str) -> Option<Difference> {
    let (expected, got) = (find(derived, name), find(recorded, name));
    if let (Some(expected), Some(got)) = (expected, got)
        && let Some(reference) = Reference::parse(got)
    {
        // What is in the blob cannot be looked into from here; that it is something else is enough.
        let is_same = Digest::of(expected) == reference.digest;
        let (expected, got) = (Some(excerpt(expected)), Some(excerpt(got)));
        return (!is_same).then(|| Difference { field: format!("/{name}"), expected, got });
    }
    differ(&mut format!("/{name}"), expected, got)
}

/// A member that no DECISION has. Payloads that are no canonical objects end here, too.
fn surplus(recorded: &[u8]) -> Option<Difference> {
    for member in Members::new(recorded) {
        let Ok((key, value)) = member else {
            return Some(Difference { field: String::new(), expected: None, got: Some(excerpt(recorded)) });
        };
        let is_known = |name: &&str| name.as_bytes() == key;
        if !ORDER.iter().chain(&["engine", OBSERVATIONAL]).any(is_known) {
            let mut field = String::new();
            push(&mut field, key);
            return Some(Difference { field, expected: None, got: Some(excerpt(value)) });
        }
    }
    None
}

/// The first place at which two values differ, as deep as both have the same form.
fn differ(field: &mut String, expected: Option<&[u8]>, got: Option<&[u8]>) -> Option<Difference> {
    if expected == got {
        return None;
    }
    if let (Some(expected), Some(got)) = (expected, got) {
        let inner = match (expected.first(), got.first()) {
            (Some(b'{'), Some(b'{')) => objects(field, expected, got),
            (Some(b'['), Some(b'[')) => arrays(field, expected, got),
            (_, _) => None,
        };
        if inner.is_some() {
            return inner;
        }
    }
    Some(Difference { field: field.clone(), expected: expected.map(excerpt), got: got.map(excerpt) })
}

fn objects(field: &mut String, expected: &[u8], got: &[u8]) -> Option<Difference> {
    let members = |object| Members::new(object).map_while(Result::ok);
    let extra = members(got).filter(|(key, _)| members(expected).all(|(other, _)| other != *key));
    for (key, _) in members(expected).chain(extra) {
        let side = |object| members(object).find(|(other, _)| *other == key).map(|(_, value)| value);
        let len = field.len();
        push(field, key);
        let found = differ(field, side(expected), side(got));
        field.truncate(len);
        if found.is_some() {
            return found;
        }
    }
    None
}

fn arrays(field: &mut String, expected: &[u8], got: &[u8]) -> Option<Difference> {
    let (expected, got) = (elements(expected), elements(got));
    for nth in 0..expected.len().max(got.len()) {
        let len = field.len();
        push(field, nth.to_string().as_bytes());
        let found = differ(field, expected.get(nth).copied(), got.get(nth).copied());
        field.truncate(len);
        if found.is_some() {
            return found;
        }
    }
    None
}

/// The elements of a canonical array, as far as it is one.
fn elements(array: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = array.get(1..).unwrap_or_default();
    while let Some((value, behind)) = canonical::value_end(rest).and_then(|end| rest.split_at_checked(end)) {
        found.push(value);
        rest = behind.strip_prefix(b",").unwrap_or_default();
    }
    found
}

fn push(field: &mut String, key: &[u8]) {
    let key = canonical::unescape(key).unwrap_or_else(|| String::from_utf8_lossy(key));
    field.push('/');
    field.push_str(&key.replace('~', "~0").replace('/', "~1"));
}

/// The most bytes of a value that a difference repeats.
const EXCERPT_BYTES_MAX: usize = 512;

fn excerpt(value: &[u8]) -> String {
    let (start, rest) = value.split_at_checked(EXCERPT_BYTES_MAX).unwrap_or((value, &[]));
    let more = if rest.is_empty() { "" } else { "…" };
    format!("{}{more}", String::from_utf8_lossy(start))
}
