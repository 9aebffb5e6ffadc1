//! What the annotations `@reason` and `@obligation` of a policy say.
//!
//! ```text
//! @reason("TOO_MANY_INTENTS max=20")
//! @obligation("redact:payload.email; notify:team/security severity=high")
//! ```
//!
//! A reason is a code, then parameters; an obligation is `op:target`, then parameters, and several are separated by
//! semicolons. A parameter is `name=value` without white space: an integer or `true` and `false` are what they look
//! like, all else is a string.

use gesta_log_format::json;

use crate::context::{Reason, Rule, Transform};

/// Codes that only the decider gives, so that they always mean what DECISIONS.md says.
const RESERVED_CODES: [&str; 7] = [
    "CONTENT_ERASED",
    "CROSS_THREAD_REF",
    "EMPTY_REFS_DENIED",
    "EVALUATION_ERROR",
    "MAX_REFS_EXCEEDED",
    "NO_PERMIT",
    "REF_NOT_FOUND",
];

/// Longest code, op, target, name and value, in bytes.
const WORD_BYTES_MAX: usize = 128;

/// Reads a `@reason`.
///
/// # Errors
/// What is wrong with it, as a clause.
pub(super) fn reason(text: &str) -> Result<Reason, String> {
    let mut words = text.split_ascii_whitespace();
    let code = words.next().ok_or("is empty: give a code such as NOT_AN_OPERATOR")?;
    let is_code = code.starts_with(|first: char| first.is_ascii_uppercase())
        && code.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    if !is_code || code.len() > WORD_BYTES_MAX {
        return Err(format!("has the code {code:?}: give upper-case letters, digits and underscores"));
    }
    if RESERVED_CODES.contains(&code) {
        return Err(format!("has the code {code}, which only the decider gives: choose another"));
    }
    Ok(Reason::new(code, &params(words)?))
}

/// Reads an `@obligation`.
///
/// # Errors
/// What is wrong with it, as a clause.
pub(super) fn obligations(text: &str) -> Result<Vec<Transform>, String> {
    text.split(';').map(obligation).collect()
}

fn obligation(text: &str) -> Result<Transform, String> {
    let mut words = text.split_ascii_whitespace();
    let first = words.next().ok_or("has an empty part: write op:target, with semicolons between several")?;
    let (op, target) = first.split_once(':').ok_or_else(|| format!("has {first:?}: write op:target"))?;
    let is_op = is_name(op, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if !is_op || target.is_empty() || target.len() > WORD_BYTES_MAX {
        return Err(format!("has {first:?}: write op:target, the op being letters, digits, - and _"));
    }
    if op == "EXPAND_LAST_N" || Rule::ALL.iter().any(|rule| rule.text() == op) {
        return Err(format!("has the op {op}, which is normalisation's own: choose another"));
    }
    Ok(Transform::new(op, target, &params(words)?))
}

fn is_name(text: &str, others: impl Fn(char) -> bool) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(others)
        && text.len() <= WORD_BYTES_MAX
}

/// The canonical object of the parameters.
fn params<'a>(words: impl Iterator<Item = &'a str>) -> Result<String, String> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for word in words {
        let (name, value) =
            word.split_once('=').ok_or_else(|| format!("has {word:?}: write a parameter as name=value"))?;
        if !is_name(name, |c| c.is_ascii_alphanumeric() || c == '_') || value.len() > WORD_BYTES_MAX {
            return Err(format!("has {word:?}: the name must be letters, digits and underscores"));
        }
        if found.iter().any(|(other, _)| *other == name) {
            return Err(format!("has the parameter {name} twice: keep one of them"));
        }
        found.push((name, value));
    }
    found.sort_unstable();
    let mut text = b"{".to_vec();
    for (nth, (name, value)) in found.iter().enumerate() {
        if nth > 0 {
            text.push(b',');
        }
        json::write_string(&mut text, name);
        text.push(b':');
        if is_plain(value) {
            text.extend_from_slice(value.as_bytes());
        } else {
            json::write_string(&mut text, value);
        }
    }
    text.push(b'}');
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Whether a value stands for itself: a canonical integer within JSON's exact range, or a boolean.
fn is_plain(value: &str) -> bool {
    let integer = value.parse().ok().filter(|number: &i64| number.to_string() == value);
    matches!(value, "true" | "false") || integer.is_some_and(|number| number.abs() <= json::INTEGER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(entry: &[u8]) -> &str {
        assert!(json::is_canonical(entry));
        std::str::from_utf8(entry).unwrap()
    }

    #[test]
    fn a_reason_is_a_code_and_parameters_in_canonical_order() {
        let found = reason("TOO_MANY max=20 hard=true  by=a\u{e9}\"x zero=-0 big=9007199254740992").unwrap();
        let expected = r#"{"code":"TOO_MANY","params":{"big":"9007199254740992","by":"aé\"x","hard":true,"max":20,"zero":"-0"}}"#;
        assert_eq!(text_of(found.text()), expected);
        assert_eq!(text_of(reason(" OK ").unwrap().text()), r#"{"code":"OK","params":{}}"#);
    }

    #[test]
    fn an_obligation_is_an_op_a_target_and_parameters() {
        let found = obligations("redact:payload.email; notify:team/security severity=high n=1").unwrap();
        let texts: Vec<_> = found.iter().map(|one| text_of(one.text())).collect();
        assert_eq!(texts[0], r#"{"op":"redact","params":{},"target":"payload.email"}"#);
        assert_eq!(
            texts[1],
            r#"{"op":"notify","params":{"n":1,"severity":"high"},"target":"team/security"}"#
        );
    }

    #[test]
    fn anything_else_is_refused_with_the_remedy() {
        for (text, says) in [
            ("", "is empty"),
            ("lower", "upper-case"),
            ("A-B", "upper-case"),
            ("NO_PERMIT", "only the decider"),
            ("A b", "name=value"),
            ("A =1", "letters, digits"),
            ("A b=1 b=2", "twice"),
        ] {
            assert!(reason(text).unwrap_err().contains(says), "{text}");
        }
        for (text, says) in [
            ("", "empty part"),
            ("a:b;", "empty part"),
            ("ab", "op:target"),
            (":b", "op:target"),
            ("a:", "op:target"),
            ("1:b", "op:target"),
            ("DEDUPE_REFS:x", "normalisation's own"),
            ("EXPAND_LAST_N:x", "normalisation's own"),
            ("a:b c", "name=value"),
        ] {
            assert!(obligations(text).unwrap_err().contains(says), "{text}");
        }
    }
}
