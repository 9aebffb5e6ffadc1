//! `--name value` pairs. A name that nobody asks for is an error, so that a misspelt flag never
//! silently measures something else.

use std::collections::BTreeMap;
use std::str::FromStr;

pub(crate) struct Args(BTreeMap<String, String>);

impl Args {
    /// Takes `--name value` pairs.
    ///
    /// # Errors
    /// A word that is not a flag, or a flag without a value.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut pairs = BTreeMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("unexpected argument {word:?}"))?;
            let value = words.next().ok_or_else(|| format!("--{name} needs a value"))?;
            pairs.insert(name.to_owned(), value);
        }
        Ok(Self(pairs))
    }

    /// The flag's value, or `None` where it was not given.
    ///
    /// # Errors
    /// The value does not read as a `T`.
    pub(crate) fn optional<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = self.0.remove(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("--{name} cannot be {text:?}"))
    }

    /// The flag's value.
    ///
    /// # Errors
    /// It was not given, or does not read as a `T`.
    pub(crate) fn required<T: FromStr>(&mut self, name: &str) -> Result<T, String> {
        self.optional(name)?.ok_or_else(|| format!("--{name} is missing"))
    }

    /// Refuses what no mode has taken.
    pub(crate) fn finish(&self) -> Result<(), String> {
        match self.0.keys().next() {
            Some(name) => Err(format!("--{name} is not a flag of this mode")),
            None => Ok(()),
        }
    }
}
