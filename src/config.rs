//! The configuration: defaults, then a TOML file, then the environment, then flags; the later wins.
//!
//! Every field stands once, in `tables`, with its document, unit, range and default; the typed [`Config`], the reference
//! table, the checks and `gesta config` follow from there. An unknown key is an error that names its place and the
//! nearest key there is. Secrets are never read from here: a token is known by its SHA-256.

mod environment;
mod error;
mod field;
mod file;
mod handlers;
mod print;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub use error::ConfigError;
pub use field::{Fallback, Field, Kind, Unit, Value};
pub(crate) use file::is_token_name;
pub use print::{json, toml};
pub use tables::{
    Auth, Blobs, Checkpoint, Config, Decider, Limits, Log, LogFormat, Push, Server, Tail, Tasks, Tls, fields,
};

use crate::auth::Token;
use crate::executor::registration::Registration;

/// Everything that decides a configuration, as values, so that a test needs neither process environment nor arguments.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    pub file: Option<PathBuf>,
    /// Name and value of variables; those that do not begin with `GESTA_` are ignored.
    pub environment: Vec<(String, String)>,
    pub flags: Vec<Flag>,
}

/// One setting from the command line.
#[derive(Debug, Clone)]
pub struct Flag {
    /// As the user wrote it, for messages: `--listen`.
    pub name: String,
    /// `table.field`.
    pub key: String,
    pub value: String,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Default,
    File { path: PathBuf, line: usize, column: usize },
    Environment(String),
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// The values of all fields by `table.field`, each with its source, and the tokens and handlers of the file.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    values: BTreeMap<String, (Value, Source)>,
    tokens: Vec<Token>,
    handler_entries: Vec<handlers::Entry>,
    /// What the entries say, once they are checked.
    handlers: Vec<Registration<'static>>,
}

impl Settings {
    fn defaults() -> Self {
        let values = fields().map(|field| (field.key(), (field.fallback.value(), Source::Default))).collect();
        Self { values, tokens: Vec::new(), handler_entries: Vec::new(), handlers: Vec::new() }
    }

    /// The value of a field, which is within its range.
    fn value(&self, key: &str) -> &Value {
        &self.values.get(key).expect("every field has at least its default").0
    }

    fn source(&self, key: &str) -> &Source {
        &self.values.get(key).expect("every field has at least its default").1
    }

    /// Sets a field, if the value is within its range.
    fn set(&mut self, field: &Field, value: Value, source: Source) -> Result<(), ConfigError> {
        match field.check(&value) {
            Ok(()) => {
                self.values.insert(field.key(), (value, source));
                Ok(())
            }
            Err(expected) => Err(ConfigError::Invalid {
                place: source,
                key: field.key(),
                value: value.to_string(),
                expected,
            }),
        }
    }
}

/// A configuration and the sources of its values.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    settings: Settings,
}

impl Loaded {
    /// Where the value of `table.field` came from; `None` for a key that does not exist.
    pub fn source(&self, key: &str) -> Option<&Source> {
        self.settings.values.get(key).map(|(_, source)| source)
    }
}

/// Reads, merges and checks a configuration.
///
/// # Errors
/// The first thing that is wrong, with its place and what to do.
pub fn load(inputs: &Inputs) -> Result<Loaded, ConfigError> {
    let mut settings = Settings::defaults();
    if let Some(path) = &inputs.file {
        file::read(path, &mut settings)?;
    }
    environment::read(&inputs.environment, &mut settings)?;
    for flag in &inputs.flags {
        let source = Source::Flag(flag.name.clone());
        let field = field::find(&flag.key).map_err(|nearest| error::unknown(&source, &flag.key, nearest))?;
        let value = field.parse(&flag.value, &source)?;
        settings.set(field, value, source)?;
    }
    check_relations(&settings)?;
    handlers::check(&mut settings)?;
    Ok(Loaded { config: Config::from_settings(&settings), settings })
}

/// Pairs of fields of which the first must not exceed the second.
const AT_MOST: [(&str, &str); 6] = [
    ("executor.invoke_seconds_default", "executor.invoke_seconds_max"),
    ("limits.events_page_default", "limits.events_page_max"),
    ("log.batch_records_max", "log.queue_records_max"),
    ("log.fill_piece_bytes_max", "log.fill_ahead_bytes_max"),
    ("tail.chunk_small_bytes", "tail.chunk_bytes"),
    ("tail.chunk_bytes", "tail.budget_bytes"),
];

fn check_relations(settings: &Settings) -> Result<(), ConfigError> {
    for (small, large) in AT_MOST {
        let (Value::Integer(low), Value::Integer(high)) = (settings.value(small), settings.value(large))
        else {
            unreachable!("both fields of a relation are integers");
        };
        if low > high {
            return Err(ConfigError::Relation {
                small: Box::new((small, *low, settings.source(small).clone())),
                large: Box::new((large, *high, settings.source(large).clone())),
            });
        }
    }
    Ok(())
}
