//! The entries of `[[handlers]]`: what an operator would post to `/api/intent/handlers`, judged by the same function.

use std::collections::HashSet;

use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::{Settings, Source, Value};
use crate::executor::registration::{self, Registration};
use crate::limits;

/// An entry as it stands in the file.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    place: Source,
    /// Each member, and where its value stands.
    members: Vec<(String, Source)>,
    /// JSON; none where a value has no form in it.
    body: Option<serde_json::Value>,
}

impl Entry {
    /// Takes an entry as it stands, whatever is in it.
    pub(super) fn of(
        place: Source,
        table: &DeTable<'_>,
        at: impl Fn(std::ops::Range<usize>) -> Source,
    ) -> Self {
        let members = table.iter().map(|(name, value)| (name.get_ref().to_string(), at(value.span())));
        Self { place, members: members.collect(), body: json(&DeValue::Table(table.clone())) }
    }

    fn place_of(&self, member: &str) -> Source {
        let found = self.members.iter().find(|(name, _)| name == member);
        found.map_or_else(|| self.place.clone(), |(_, place)| place.clone())
    }

    fn wrong(&self, member: &str, expected: &str) -> ConfigError {
        let key = if member.is_empty() { "handlers".to_owned() } else { format!("handlers.{member}") };
        let value = self.body.as_ref().and_then(|body| body.get(member));
        // What lies deeper is not repeated, lest it be a secret.
        let value = match value {
            None => "not given".to_owned(),
            Some(serde_json::Value::Object(_)) => "a table".to_owned(),
            Some(serde_json::Value::Array(_)) => "a list".to_owned(),
            Some(value) => value.to_string(),
        };
        ConfigError::Invalid { place: self.place_of(member), key, value, expected: expected.to_owned() }
    }

    fn read(&self, builtin_seconds_max: u64) -> Result<Registration<'static>, ConfigError> {
        let Some(body) = &self.body else {
            return Err(
                self.wrong("metadata", "made of texts, numbers that end, true, false, lists and tables")
            );
        };
        let found = registration::parse(body.to_string().as_bytes(), builtin_seconds_max)
            .map(Registration::into_owned);
        found.map_err(|problem| {
            let body = problem.body();
            let member = body.pointer().unwrap_or_default().trim_start_matches('/');
            let member = member.split('/').next().unwrap_or_default();
            let detail = body.detail();
            let detail = detail.split_once(": ").map_or(detail, |(_, what)| what).trim_end_matches('.');
            self.wrong(member, &format!("right: {detail}"))
        })
    }
}

/// Judges all entries, once all settings are known.
///
/// # Errors
/// The first that is wrong, with its place.
pub(super) fn check(settings: &mut Settings) -> Result<(), ConfigError> {
    let Value::Integer(builtin_seconds_max) = *settings.value("executor.invoke_seconds_max") else {
        unreachable!("a number of seconds is an integer");
    };
    let (mut handlers, mut names) = (Vec::new(), HashSet::new());
    for entry in &settings.handler_entries {
        let handler = entry.read(builtin_seconds_max)?;
        if handlers.len() >= limits::HANDLERS_MAX {
            return Err(entry.wrong("", &format!("one of at most {} handlers", limits::HANDLERS_MAX)));
        }
        if !names.insert(handler.subject()) {
            return Err(entry.wrong("handler_name", "a name of its own among the handlers of its type"));
        }
        handlers.push(handler);
    }
    settings.handlers = handlers;
    Ok(())
}

fn json(value: &DeValue<'_>) -> Option<serde_json::Value> {
    Some(match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.into(),
        DeValue::Float(number) => serde_json::Number::from_f64(number.as_str().parse().ok()?)?.into(),
        DeValue::Boolean(switch) => (*switch).into(),
        DeValue::Datetime(datetime) => datetime.to_string().into(),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| json(item.get_ref()));
            serde_json::Value::Array(items.collect::<Option<_>>()?)
        }
        DeValue::Table(members) => {
            let members = members
                .iter()
                .map(|(name, value)| Some((name.get_ref().to_string(), json(value.get_ref())?)));
            serde_json::Value::Object(members.collect::<Option<_>>()?)
        }
    })
}
