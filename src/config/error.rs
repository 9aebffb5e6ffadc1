//! What can be wrong with a configuration: the place, the cause, and what to do about it.

use std::path::PathBuf;

use super::Source;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {path}")]
    Read {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("{place}: not TOML: {message}")]
    Syntax { place: Source, message: String },
    #[error("{place}: unknown setting `{key}`")]
    Unknown { place: Source, key: String, nearest: Option<String> },
    #[error("{place}: `{key}` is {value}, but must be {expected}")]
    Invalid { place: Source, key: String, value: String, expected: String },
    #[error("{place}: `{key}` is missing")]
    Missing { place: Source, key: &'static str, expected: String },
    #[error("`{}` is {} ({}), more than `{}`, which is {} ({})", small.0, small.1, small.2, large.0, large.1, large.2)]
    Relation { small: Box<(&'static str, u64, Source)>, large: Box<(&'static str, u64, Source)> },
    #[error("{first} and {second} both set `{key}`")]
    Twice { first: Source, second: Source, key: String },
}

impl ConfigError {
    /// What the user does next.
    pub fn hint(&self) -> String {
        match self {
            Self::Read { .. } => {
                "check the path after --config, and that this user may read the file".to_owned()
            }
            Self::Syntax { .. } => "the file is TOML: tables in [brackets], text in \"quotes\"".to_owned(),
            Self::Unknown { nearest: Some(nearest), .. } => format!("the nearest setting is `{nearest}`"),
            Self::Unknown { nearest: None, .. } => "`gesta config` prints every setting".to_owned(),
            Self::Invalid { key, expected, .. } => format!("set `{key}` to {expected}"),
            Self::Missing { key, expected, .. } => format!("add `{key}`: {expected}"),
            Self::Relation { small, large } => format!("lower `{}` or raise `{}`", small.0, large.0),
            Self::Twice { .. } => "keep one of the two".to_owned(),
        }
    }
}

/// An unknown key at a place.
pub(super) fn unknown(place: &Source, key: &str, nearest: Option<String>) -> ConfigError {
    ConfigError::Unknown { place: place.clone(), key: key.to_owned(), nearest }
}

/// The candidate that differs least from `word`, if it is near enough to be what was meant.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.6)
        .max_by(|(one, _), (two, _)| one.total_cmp(two))
        .map(|(_, candidate)| candidate.to_owned())
}
