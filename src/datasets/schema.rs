//! What the rows of a dataset version look like: strictly so.
//!
//! A schema is an object `{column: type}`. A type is `string`, `integer`, `number`, `boolean`, `object`, `array` or `any`;
//! with a closing `?` the column may be missing or null. Besides its columns a row has `dedupe_key`, and nothing else:
//! `org_id` is the stream's and never a row's.

use std::collections::BTreeMap;

use gesta_log_format::json::canonical::{self, Members};

use crate::limits::{DATASET_COLUMNS_MAX, DEDUPE_KEY_BYTES_MAX};

/// The row's identity within its dataset version.
pub(super) const DEDUPE_KEY: &str = "dedupe_key";

/// What the server knows better.
const ORG_ID: &str = "org_id";

/// Longest name of a column, in bytes.
const COLUMN_BYTES_MAX: usize = 64;

/// The columns of a dataset version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowSchema(BTreeMap<String, Column>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Column {
    wanted: Type,
    is_optional: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    String,
    Integer,
    Number,
    Boolean,
    Object,
    Array,
    Any,
}

impl Type {
    const ALL: [Self; 7] =
        [Self::String, Self::Integer, Self::Number, Self::Boolean, Self::Object, Self::Array, Self::Any];

    const fn text(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Object => "object",
            Self::Array => "array",
            Self::Any => "any",
        }
    }

    /// Whether a canonical value is one.
    fn fits(self, value: &[u8]) -> bool {
        let is_number = value.first().is_some_and(|first| first.is_ascii_digit() || *first == b'-');
        match self {
            Self::String => value.first() == Some(&b'"'),
            Self::Integer => is_number && value.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-'),
            Self::Number => is_number,
            Self::Boolean => value == b"true" || value == b"false",
            Self::Object => value.first() == Some(&b'{'),
            Self::Array => value.first() == Some(&b'['),
            Self::Any => value != b"null",
        }
    }
}

/// What is wrong with a schema, or with a row: where, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The member; none where the whole is meant.
    pub(super) member: Option<String>,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn whole(message: impl Into<String>) -> Self {
        Self { member: None, message: message.into() }
    }

    fn at(member: impl Into<String>, message: impl Into<String>) -> Self {
        Self { member: Some(member.into()), message: message.into() }
    }
}

impl RowSchema {
    /// Reads a schema: a canonical value.
    ///
    /// # Errors
    /// [`Fault`].
    pub(super) fn parse(schema: &[u8]) -> Result<Self, Fault> {
        if schema.first() != Some(&b'{') {
            return Err(Fault::whole("it is an object of columns and their types"));
        }
        let mut columns = BTreeMap::new();
        for (key, value) in Members::new(schema).map_while(Result::ok) {
            // A name without escapes is as it is written.
            let name = std::str::from_utf8(key).map_err(|_| Fault::whole("it is text"))?;
            let is_name = (1..=COLUMN_BYTES_MAX).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !is_name {
                let message = format!("a column has 1 to {COLUMN_BYTES_MAX} letters, digits or underscores");
                return Err(Fault::at(name, message));
            }
            if [DEDUPE_KEY, ORG_ID].contains(&name) {
                return Err(Fault::at(name, "every row has it: leave it out"));
            }
            let text = canonical::string(value).unwrap_or_default();
            let (text, is_optional) = match text.strip_suffix('?') {
                Some(text) => (text, true),
                None => (&*text, false),
            };
            let wanted = Type::ALL.into_iter().find(|known| known.text() == text).ok_or_else(|| {
                let types = Type::ALL.map(Type::text).join(", ");
                Fault::at(name, format!("give one of {types}, with ? where it may be missing"))
            })?;
            columns.insert(name.to_owned(), Column { wanted, is_optional });
        }
        match columns.len() {
            1..=DATASET_COLUMNS_MAX => Ok(Self(columns)),
            _ => Err(Fault::whole(format!("give 1 to {DATASET_COLUMNS_MAX} columns"))),
        }
    }

    /// Whether a canonical value is a row.
    ///
    /// # Errors
    /// [`Fault`].
    pub(super) fn check(&self, row: &[u8]) -> Result<(), Fault> {
        let mut there = 0;
        for (key, value) in Members::new(row).map_while(Result::ok) {
            if key == DEDUPE_KEY.as_bytes() {
                continue;
            }
            let name = String::from_utf8_lossy(key);
            let Some(column) = self.0.get(&*name) else {
                return Err(match &*name {
                    ORG_ID => Fault::at(name, "it is the stream's: leave it out"),
                    _ => Fault::at(name, "there is no such column"),
                });
            };
            there += usize::from(!column.is_optional);
            if !(column.wanted.fits(value) || (column.is_optional && value == b"null")) {
                return Err(Fault::at(name, format!("it is no {}", column.wanted.text())));
            }
        }
        let required = self.0.iter().filter(|(_, column)| !column.is_optional);
        if there == required.clone().count() {
            return Ok(());
        }
        let given = |wanted: &str| Members::new(row).flatten().any(|(key, _)| key == wanted.as_bytes());
        let missing = required.map(|(name, _)| name).find(|name| !given(name));
        Err(Fault::at(missing.map_or("", String::as_str), "it is missing"))
    }
}

/// The identity of a row: a canonical value.
///
/// # Errors
/// [`Fault`] where it is no object, or has none.
pub(super) fn dedupe_key(row: &[u8]) -> Result<String, Fault> {
    if row.first() != Some(&b'{') {
        return Err(Fault::whole("a row is an object"));
    }
    let key = Members::new(row).flatten().find(|(key, _)| *key == DEDUPE_KEY.as_bytes());
    let key = key.and_then(|(_, value)| canonical::string(value));
    let is_key = |key: &str| (1..=DEDUPE_KEY_BYTES_MAX).contains(&key.len());
    key.filter(|key| is_key(key)).map(|key| key.into_owned()).ok_or_else(|| {
        Fault::at(DEDUPE_KEY, format!("every row has one: a text of 1 to {DEDUPE_KEY_BYTES_MAX} bytes"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &[u8] =
        br#"{"a":"array","b":"boolean","i":"integer","n":"number?","o":"object?","s":"string","x":"any?"}"#;

    #[track_caller]
    fn check(row: &str, fault: Option<&str>) {
        let schema = RowSchema::parse(SCHEMA).unwrap();
        let found = schema.check(row.as_bytes()).err().map(|fault| fault.member.unwrap_or_default());
        assert_eq!(found.as_deref(), fault, "{row}");
    }

    #[test]
    fn a_row_has_its_columns_and_no_others() {
        check(r#"{"a":[],"b":true,"dedupe_key":"k","i":-7,"n":1.5,"o":{},"s":"","x":[1]}"#, None);
        check(r#"{"a":[1],"b":false,"dedupe_key":"k","i":0,"n":null,"s":"t"}"#, None);
        check(r#"{"a":[],"b":true,"i":1,"s":"","y":1}"#, Some("y"));
        check(r#"{"a":[],"b":true,"i":1,"org_id":"default","s":""}"#, Some("org_id"));
        check(r#"{"a":[],"b":true,"i":1}"#, Some("s"));
        check("{}", Some("a"));
        for (column, value) in
            [("a", "{}"), ("b", "1"), ("b", "null"), ("i", "1.5"), ("i", "1e30"), ("i", "\"1\""), ("s", "1")]
        {
            let mut row: BTreeMap<_, _> = [("a", "[]"), ("b", "true"), ("i", "1"), ("s", "\"\"")].into();
            row.insert(column, value);
            let members: Vec<_> = row.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            check(&format!("{{{}}}", members.join(",")), Some(column));
        }
    }

    #[test]
    fn a_schema_names_columns_by_known_types() {
        for (schema, member) in [
            ("[]", None),
            ("{}", None),
            (r#"{"a":"text"}"#, Some("a")),
            (r#"{"a":"string??"}"#, Some("a")),
            (r#"{"a":1}"#, Some("a")),
            (r#"{"a b":"string"}"#, Some("a b")),
            (r#"{"dedupe_key":"string"}"#, Some("dedupe_key")),
            (r#"{"org_id":"string"}"#, Some("org_id")),
        ] {
            let fault = RowSchema::parse(schema.as_bytes()).unwrap_err();
            assert_eq!(fault.member.as_deref(), member, "{schema}");
        }
    }

    #[test]
    fn every_row_has_an_identity() {
        assert_eq!(dedupe_key(br#"{"dedupe_key":"k\"1"}"#).unwrap(), "k\"1");
        let long = format!(r#"{{"dedupe_key":"{}"}}"#, "k".repeat(DEDUPE_KEY_BYTES_MAX + 1));
        for row in ["[]", "{}", r#"{"dedupe_key":""}"#, r#"{"dedupe_key":1}"#, &long] {
            assert!(dedupe_key(row.as_bytes()).is_err(), "{row}");
        }
    }
}
