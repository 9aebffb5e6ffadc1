//! One field of the configuration: what it means, and how its text is read and checked.

use std::fmt;
use std::net::SocketAddr;

use super::error::{ConfigError, nearest};
use super::{Source, tables};
use crate::outbound;

/// A field, as the reference table shows it.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub table: &'static str,
    pub name: &'static str,
    /// Lines as written, to be joined with spaces.
    pub doc: &'static [&'static str],
    pub kind: Kind,
    pub fallback: Fallback,
    /// A variable besides `GESTA_TABLE__NAME`.
    pub variable: Option<&'static str>,
}

/// What values a field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Both ends are included.
    Integer {
        unit: Unit,
        min: u64,
        max: u64,
    },
    Switch,
    Choice(&'static [&'static str]),
    /// A path, relative to the working directory of the process.
    Path,
    /// A path, or empty.
    OptionalPath,
    /// An IP address and a port.
    Address,
    /// An IP address and a port, or empty.
    OptionalAddress,
    /// The log's name, or empty.
    Origin,
    /// `scheme://host[:port]`, or empty.
    OptionalWebOrigin,
    /// A list of `scheme://host[:port]`.
    WebOrigins,
    /// A list of `host[:port]`.
    Hosts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Seconds,
    Milliseconds,
    Microseconds,
    Count,
}

/// A default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    Integer(u64),
    Switch(bool),
    Text(&'static str),
    EmptyList,
}

/// A value of any field. `Display` is its TOML.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Value {
    Integer(u64),
    Switch(bool),
    Text(String),
    List(Vec<String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            Self::Switch(switch) => write!(f, "{switch}"),
            Self::Text(text) => write!(f, "{}", toml::Value::from(text.as_str())),
            Self::List(list) => write!(f, "{}", toml::Value::from(list.clone())),
        }
    }
}

impl Fallback {
    pub fn value(self) -> Value {
        match self {
            Self::Integer(number) => Value::Integer(number),
            Self::Switch(switch) => Value::Switch(switch),
            Self::Text(text) => Value::Text(text.to_owned()),
            Self::EmptyList => Value::List(Vec::new()),
        }
    }
}

impl Unit {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
            Self::Microseconds => "microseconds",
            Self::Count => "",
        }
    }
}

impl Field {
    /// `table.name`.
    pub fn key(&self) -> String {
        format!("{}.{}", self.table, self.name)
    }

    /// `GESTA_TABLE__NAME`.
    pub fn long_variable(&self) -> String {
        format!("GESTA_{}__{}", self.table.to_uppercase(), self.name.to_uppercase())
    }

    /// The values that the field takes, as the end of a sentence: "a number of bytes from 1 to 9".
    pub fn range(&self) -> String {
        match self.kind {
            Kind::Integer { unit: Unit::Count, min, max } => format!("a whole number from {min} to {max}"),
            Kind::Integer { unit, min, max } => format!("a number of {} from {min} to {max}", unit.name()),
            Kind::Switch => "true or false".to_owned(),
            Kind::Choice(choices) => format!("one of \"{}\"", choices.join("\", \"")),
            Kind::Path => "a path".to_owned(),
            Kind::OptionalPath => "a path, or empty".to_owned(),
            Kind::Address => "an IP address and a port, such as \"127.0.0.1:7070\"".to_owned(),
            Kind::OptionalAddress => {
                "an IP address and a port, such as \"127.0.0.1:7070\", or empty".to_owned()
            }
            Kind::Origin => "1 to 255 visible ASCII characters without `+`, or empty".to_owned(),
            Kind::OptionalWebOrigin => {
                "an origin, such as \"https://tasks.example:7071\", or empty".to_owned()
            }
            Kind::WebOrigins => "a list of origins, such as \"https://app.example\"".to_owned(),
            Kind::Hosts => "a list of hosts, such as \"runner.example\" or \"10.0.0.5:8443\"".to_owned(),
        }
    }

    /// Reads the text of a variable or a flag. Bytes may have a unit (`64MiB`), lists are separated by commas.
    pub(super) fn parse(&self, text: &str, place: &Source) -> Result<Value, ConfigError> {
        let value = match self.kind {
            Kind::Integer { unit, .. } => integer(text, unit).map(Value::Integer),
            Kind::Switch => text.parse().ok().map(Value::Switch),
            Kind::Choice(_)
            | Kind::Path
            | Kind::OptionalPath
            | Kind::Address
            | Kind::OptionalAddress
            | Kind::Origin
            | Kind::OptionalWebOrigin => Some(Value::Text(text.to_owned())),
            Kind::WebOrigins | Kind::Hosts => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Some(Value::List(parts.map(str::to_owned).collect()))
            }
        };
        value.ok_or_else(|| ConfigError::Invalid {
            place: place.clone(),
            key: self.key(),
            value: format!("`{text}`"),
            expected: self.range(),
        })
    }

    /// Whether the value is of the field's kind and in its range; if not, what it must be.
    pub(super) fn check(&self, value: &Value) -> Result<(), String> {
        let good = match (self.kind, value) {
            (Kind::Integer { min, max, .. }, Value::Integer(number)) => (min..=max).contains(number),
            (Kind::Switch, Value::Switch(_)) => true,
            (Kind::Choice(choices), Value::Text(text)) => choices.contains(&text.as_str()),
            (Kind::Path, Value::Text(text)) => !text.is_empty(),
            (Kind::OptionalPath, Value::Text(_)) => true,
            (Kind::Address, Value::Text(text)) => text.parse::<SocketAddr>().is_ok(),
            (Kind::OptionalAddress, Value::Text(text)) => {
                text.is_empty() || text.parse::<SocketAddr>().is_ok()
            }
            (Kind::Origin, Value::Text(text)) => {
                text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'+')
            }
            (Kind::OptionalWebOrigin, Value::Text(text)) => text.is_empty() || is_web_origin(text),
            (Kind::WebOrigins, Value::List(list)) => list.iter().all(|origin| is_web_origin(origin)),
            (Kind::Hosts, Value::List(list)) => list.iter().all(|host| outbound::is_host(host)),
            (Kind::Integer { .. }, Value::Switch(_) | Value::Text(_) | Value::List(_))
            | (Kind::Switch, Value::Integer(_) | Value::Text(_) | Value::List(_))
            | (
                Kind::Choice(_)
                | Kind::Path
                | Kind::OptionalPath
                | Kind::Address
                | Kind::OptionalAddress
                | Kind::Origin
                | Kind::OptionalWebOrigin,
                Value::Integer(_) | Value::Switch(_) | Value::List(_),
            )
            | (Kind::WebOrigins | Kind::Hosts, Value::Integer(_) | Value::Switch(_) | Value::Text(_)) => {
                false
            }
        };
        if good { Ok(()) } else { Err(self.range()) }
    }
}

/// The field of this key, or the nearest key there is.
pub(super) fn find(key: &str) -> Result<&'static Field, Option<String>> {
    if let Some(field) = tables::fields().find(|field| field.key() == key) {
        return Ok(field);
    }
    let keys: Vec<String> = tables::fields().map(Field::key).collect();
    Err(nearest(key, keys.iter().map(String::as_str)))
}

fn integer(text: &str, unit: Unit) -> Option<u64> {
    const SIZES: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let sized = SIZES.iter().find_map(|(suffix, size)| Some((text.strip_suffix(suffix)?, *size)));
    let (digits, size) = match sized {
        Some(sized) if unit == Unit::Bytes => sized,
        Some(_) | None => (text, 1),
    };
    digits.trim_end().replace('_', "").parse::<u64>().ok()?.checked_mul(size)
}

fn is_web_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@*,\"".contains(&byte))
    })
}
