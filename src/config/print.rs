//! The effective configuration, as TOML that can be read back or as JSON, with the source of each value.

use std::fmt::Write as _;

use serde_json::json;

use super::field::{Kind, Unit, Value};
use super::{Loaded, tables};
use crate::auth::Token;
use crate::executor::registration::Registration;

const INFALLIBLE: &str = "writing to a string does not fail";

/// TOML, each value followed by a comment that says where it came from. Tokens show the first six digits of their
/// SHA-256, in comments, so that no copy of the output grants or breaks anything.
pub fn toml(loaded: &Loaded) -> String {
    let mut out = String::new();
    for (table, doc) in tables::TABLES {
        write!(out, "#{}\n[{table}]\n", doc.join("\n#")).expect(INFALLIBLE);
        for field in tables::fields().filter(|field| field.table == *table) {
            let key = field.key();
            let value = loaded.settings.value(&key);
            let source = loaded.settings.source(&key);
            let size = size(field.kind, value);
            writeln!(out, "{} = {value} # {size}{source}", field.name).expect(INFALLIBLE);
        }
        out.push('\n');
    }
    for token in &loaded.config.tokens {
        write!(
            out,
            "# [[auth.tokens]]\n# name = \"{}\"\n# sha256 = \"{}…\"\n# roles = {}\n# streams = {}\n# actors = {}\n\n",
            token.name,
            token.digest.short(),
            list(token.roles.iter().map(|role| role.name().to_owned())),
            list(token.streams.iter()),
            list(token.actors.iter()),
        )
        .expect(INFALLIBLE);
    }
    for handler in &loaded.config.handlers {
        out.push_str("[[handlers]]\n");
        let members = handler_json(handler);
        for (name, value) in members.as_object().into_iter().flatten() {
            let value = toml::Value::try_from(value).expect("what was read from TOML can be written in it");
            writeln!(out, "{name} = {value}").expect(INFALLIBLE);
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// `{"table": {"field": {"value": …, "source": "…"}}, "tokens": […], "handlers": […]}`.
pub fn json(loaded: &Loaded) -> serde_json::Value {
    let mut out = serde_json::Map::new();
    for (table, _) in tables::TABLES {
        let fields = tables::fields().filter(|field| field.table == *table).map(|field| {
            let key = field.key();
            let source = loaded.settings.source(&key).to_string();
            (field.name.to_owned(), json!({"value": loaded.settings.value(&key), "source": source}))
        });
        out.insert((*table).to_owned(), fields.collect());
    }
    out.insert("tokens".to_owned(), loaded.config.tokens.iter().map(token_json).collect());
    out.insert("handlers".to_owned(), loaded.config.handlers.iter().map(handler_json).collect());
    out.into()
}

fn handler_json(handler: &Registration<'_>) -> serde_json::Value {
    serde_json::from_slice(&handler.payload()).expect("a registration is written as JSON")
}

fn token_json(token: &Token) -> serde_json::Value {
    json!({
        "name": token.name,
        "sha256": format!("{}…", token.digest.short()),
        "roles": token.roles.iter().map(|role| role.name()).collect::<Vec<_>>(),
        "streams": token.streams.iter().collect::<Vec<_>>(),
        "actors": token.actors.iter().collect::<Vec<_>>(),
    })
}

/// `256 MiB, ` for a round number of bytes, else nothing.
fn size(kind: Kind, value: &Value) -> String {
    let (Kind::Integer { unit: Unit::Bytes, .. }, Value::Integer(bytes)) = (kind, value) else {
        return String::new();
    };
    [(30, "GiB"), (20, "MiB"), (10, "KiB")]
        .into_iter()
        .find(|(shift, _)| *bytes > 0 && bytes.trailing_zeros() >= *shift)
        .map(|(shift, unit)| format!("{} {unit}, ", bytes >> shift))
        .unwrap_or_default()
}

fn list(items: impl Iterator<Item = String>) -> String {
    toml::Value::from(items.collect::<Vec<_>>()).to_string()
}
