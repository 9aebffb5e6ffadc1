//! Settings and tokens from a TOML file, each with the line and column at which it stands.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::{ConfigError, nearest, unknown};
use super::field::{Field, Kind, Value, find};
use super::{Settings, Source, handlers, tables};
use crate::auth::{Patterns, Role, Roles, Token, TokenDigest};
use crate::limits;

/// Reads the file over what is in `settings`.
pub(super) fn read(path: &Path, settings: &mut Settings) -> Result<(), ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
    let file = File { path, text: &text };
    let document = DeTable::parse(&text).map_err(|error| ConfigError::Syntax {
        place: file.place(error.span().unwrap_or_default()),
        message: error.message().to_owned(),
    })?;
    for (name, table) in document.get_ref() {
        if name.get_ref() == "handlers" {
            settings.handler_entries = file.handlers(name, table)?;
            continue;
        }
        let names = tables::TABLES.iter().map(|(name, _)| *name).chain(["handlers"]);
        if !names.clone().any(|known| known == name.get_ref()) {
            let place = file.place(name.span());
            return Err(unknown(&place, name.get_ref(), nearest(name.get_ref(), names)));
        }
        let Some(entries) = table.get_ref().as_table() else {
            let place = file.place(name.span());
            return Err(invalid(place, name.get_ref(), table.get_ref(), "a table"));
        };
        file.read_table(name.get_ref(), entries, settings)?;
    }
    Ok(())
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    /// Line and column, both from 1, of the beginning of a span; the column counts characters.
    fn place(&self, span: Range<usize>) -> Source {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Source::File {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }

    fn read_table(
        &self,
        table: &str,
        entries: &DeTable<'_>,
        settings: &mut Settings,
    ) -> Result<(), ConfigError> {
        for (name, value) in entries {
            let key = format!("{table}.{}", name.get_ref());
            if key == "auth.tokens" {
                settings.tokens = self.tokens(name, value)?;
                continue;
            }
            let place = self.place(name.span());
            let field = find(&key).map_err(|nearest| unknown(&place, &key, nearest))?;
            let place = self.place(value.span());
            let Some(value) = field_value(field, value.get_ref()) else {
                return Err(invalid(place, &key, value.get_ref(), &field.range()));
            };
            settings.set(field, value, place)?;
        }
        Ok(())
    }

    /// The entries of `[[handlers]]`, which are judged once all settings are known.
    fn handlers(
        &self,
        name: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<handlers::Entry>, ConfigError> {
        const EXPECTED: &str = "a list of tables, each under [[handlers]]";
        let Some(entries) = value.get_ref().as_array() else {
            return Err(invalid(self.place(name.span()), "handlers", value.get_ref(), EXPECTED));
        };
        let entry = |entry: &Spanned<DeValue<'_>>| {
            let place = self.place(entry.span());
            match entry.get_ref().as_table() {
                Some(table) => Ok(handlers::Entry::of(place, table, |span| self.place(span))),
                None => Err(invalid(place, "handlers", entry.get_ref(), EXPECTED)),
            }
        };
        entries.iter().map(entry).collect()
    }

    fn tokens(
        &self,
        name: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<Token>, ConfigError> {
        const EXPECTED: &str = "a list of tables, each under [[auth.tokens]]";
        let Some(entries) = value.get_ref().as_array() else {
            return Err(invalid(self.place(name.span()), "auth.tokens", value.get_ref(), EXPECTED));
        };
        let mut tokens: Vec<Token> = Vec::with_capacity(entries.len());
        let (mut names, mut digests) = (HashSet::new(), HashSet::new());
        for entry in entries.iter() {
            let place = self.place(entry.span());
            let Some(table) = entry.get_ref().as_table() else {
                return Err(invalid(place, "auth.tokens", entry.get_ref(), EXPECTED));
            };
            let token = self.token(&place, table)?;
            let problem = if tokens.len() >= limits::TOKENS_MAX {
                Some(format!("one of at most {} tokens", limits::TOKENS_MAX))
            } else if !names.insert(token.name.clone()) {
                Some("a name of its own".to_owned())
            } else if !digests.insert(token.digest.hex()) {
                Some("a token of its own: another entry has the same sha256".to_owned())
            } else {
                None
            };
            if let Some(expected) = problem {
                let value = format!("\"{}\"", token.name);
                return Err(ConfigError::Invalid {
                    place,
                    key: "auth.tokens.name".to_owned(),
                    value,
                    expected,
                });
            }
            tokens.push(token);
        }
        Ok(tokens)
    }

    fn token(&self, place: &Source, table: &DeTable<'_>) -> Result<Token, ConfigError> {
        const KEYS: [&str; 7] = ["name", "sha256", "roles", "streams", "actors", "workers", "pools"];
        if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.get_ref().as_ref())) {
            return Err(unknown(&self.place(key.span()), key.get_ref(), nearest(key.get_ref(), KEYS)));
        }
        let entry = Entry { file: self, place, table };
        Ok(Token {
            name: entry.name()?,
            digest: entry.digest()?,
            roles: entry.roles()?,
            streams: entry.patterns(
                "streams",
                "a list of stream ids; `*` stands for any ending",
                "default",
            )?,
            actors: entry.patterns("actors", "a list of actors; `*` stands for any ending", "*")?,
            workers: entry.patterns("workers", "a list of worker ids; `*` stands for any ending", "*")?,
            pools: entry.patterns("pools", "a list of pools; `*` stands for any ending", "*")?,
        })
    }
}

/// One `[[auth.tokens]]`. Its messages never repeat the value of `sha256`, lest it be a token.
struct Entry<'a> {
    file: &'a File<'a>,
    place: &'a Source,
    table: &'a DeTable<'a>,
}

impl Entry<'_> {
    fn find(&self, key: &str) -> Option<(Source, &DeValue<'_>)> {
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((self.file.place(value.span()), value.get_ref()))
    }

    fn required(&self, key: &'static str, expected: &str) -> Result<(Source, &DeValue<'_>), ConfigError> {
        self.find(key).ok_or_else(|| ConfigError::Missing {
            place: self.place.clone(),
            key,
            expected: expected.to_owned(),
        })
    }

    fn name(&self) -> Result<String, ConfigError> {
        const EXPECTED: &str = "1 to 64 letters, digits, `.`, `_` or `-`";
        let (place, value) = self.required("name", EXPECTED)?;
        match value.as_str() {
            Some(name) if is_token_name(name) => Ok(name.to_owned()),
            Some(_) | None => Err(invalid(place, "name", value, EXPECTED)),
        }
    }

    fn digest(&self) -> Result<TokenDigest, ConfigError> {
        const EXPECTED: &str = "the SHA-256 of the token in 64 hex digits (`gesta token new` prints one)";
        let (place, value) = self.required("sha256", EXPECTED)?;
        value.as_str().and_then(TokenDigest::parse).ok_or_else(|| ConfigError::Invalid {
            place,
            key: "sha256".to_owned(),
            value: "something else".to_owned(),
            expected: EXPECTED.to_owned(),
        })
    }

    fn roles(&self) -> Result<Roles, ConfigError> {
        let names: Vec<&str> = Role::ALL.iter().map(|role| role.name()).collect();
        let expected = format!("a list of at least one of {}", names.join(", "));
        let (place, value) = self.required("roles", &expected)?;
        let roles: Option<Roles> =
            texts(value).and_then(|list| list.iter().map(|name| Role::parse(name)).collect());
        match roles {
            Some(roles) if !roles.is_empty() => Ok(roles),
            Some(_) | None => Err(invalid(place, "roles", value, &expected)),
        }
    }

    fn patterns(&self, key: &'static str, expected: &str, default: &str) -> Result<Patterns, ConfigError> {
        let Some((place, value)) = self.find(key) else {
            return Ok(Patterns::parse([default]).expect("the default is a pattern"));
        };
        match texts(value).filter(|list| !list.is_empty()).map(Patterns::parse) {
            Some(Ok(patterns)) => Ok(patterns),
            Some(Err(_)) | None => Err(invalid(place, key, value, expected)),
        }
    }
}

/// Whether a token may have this name.
pub(crate) fn is_token_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn texts<'a>(value: &'a DeValue<'_>) -> Option<Vec<&'a str>> {
    value.as_array()?.iter().map(|item| item.get_ref().as_str()).collect()
}

/// The value for a field, if it is of the right TOML type. Sizes may be texts with a unit.
fn field_value(field: &Field, value: &DeValue<'_>) -> Option<Value> {
    match (field.kind, value) {
        (Kind::Integer { .. }, DeValue::Integer(number)) => {
            u64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::Integer)
        }
        (Kind::Integer { .. }, DeValue::String(text)) => field.parse(text, &Source::Default).ok(),
        (Kind::Switch, value) => value.as_bool().map(Value::Switch),
        (Kind::WebOrigins | Kind::Hosts, value) => {
            texts(value).map(|list| Value::List(list.into_iter().map(str::to_owned).collect()))
        }
        (
            Kind::Choice(_)
            | Kind::Path
            | Kind::OptionalPath
            | Kind::Address
            | Kind::OptionalAddress
            | Kind::Origin
            | Kind::OptionalWebOrigin,
            value,
        ) => value.as_str().map(|text| Value::Text(text.to_owned())),
        (Kind::Integer { .. }, _) => None,
    }
}

fn invalid(place: Source, key: &str, value: &DeValue<'_>, expected: &str) -> ConfigError {
    let value = match value {
        DeValue::String(text) => Value::Text(text.to_string()).to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(switch) => switch.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Array(_) => "another list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    };
    ConfigError::Invalid { place, key: key.to_owned(), value, expected: expected.to_owned() }
}
