//! `gesta token`: a secret, shown once, and the entry by which the server knows it; or a signed token of a service.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::{Exit, Failure, args, output};
use crate::auth::{Patterns, Role, TokenDigest, random};
use crate::capability::{self, Issue, KeySet, ServiceGrant};
use crate::config::is_token_name;

/// # Errors
/// Wrong arguments, no random source, or a failed write.
pub fn run(arguments: args::Token) -> Result<(), Failure> {
    match arguments.command {
        args::TokenCommand::New(arguments) => new(&arguments),
        args::TokenCommand::Service(arguments) => service(arguments),
    }
}

/// Whoever may read the server's key may make one; the server is not asked.
fn service(arguments: args::TokenService) -> Result<(), Failure> {
    let args::TokenService { name, issuer, key, secret, seconds } = arguments;
    if !is_token_name(&name) {
        let message = format!("`{name}` is no name for a service");
        return Err(Failure::new(Exit::Usage, message).hint("use 1 to 64 letters, digits, `.`, `_` or `-`"));
    }
    let key = match (key, secret) {
        (Some(file), _) => capability::read_pem(&file),
        (None, secret) => capability::read_secret(&secret.unwrap_or_default()),
    };
    let key = key.map_err(|error| Failure::new(Exit::Failed, error))?;
    let grant = ServiceGrant { name, lifetime: Duration::from_secs(seconds) };
    let token = KeySet::new(&issuer, vec![Arc::new(key)]).mint_service(&grant, &Issue::now());
    let token = token.map_err(|error| Failure::new(Exit::Failed, error))?;
    output::write(|out| writeln!(out, "{token}"))
}

fn new(arguments: &args::TokenNew) -> Result<(), Failure> {
    if !is_token_name(&arguments.name) {
        let message = format!("`{}` is no name for a token", arguments.name);
        return Err(Failure::new(Exit::Usage, message).hint("use 1 to 64 letters, digits, `.`, `_` or `-`"));
    }
    for list in [&arguments.streams, &arguments.actors, &arguments.workers, &arguments.pools] {
        Patterns::parse(list.iter().map(String::as_str)).map_err(|pattern| {
            Failure::new(Exit::Usage, format!("`{pattern}` is no pattern"))
                .hint("write an id, or the beginning of one and `*`")
        })?;
    }
    let token = random("gesta").map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let entry = entry(arguments, &token);
    output::write(|out| write!(out, "{token}\n\n{entry}"))?;
    eprintln!(
        "The first line is the token: it is shown this once. The rest belongs into the file of --config."
    );
    Ok(())
}

/// The entry for a configuration file; it does not hold the token. What a worker is bound to is there for workers alone.
fn entry(arguments: &args::TokenNew, token: &str) -> String {
    let list = |items: Vec<&str>| toml::Value::from(items).to_string();
    let texts = |items: &[String]| list(items.iter().map(String::as_str).collect());
    let mut entry = format!(
        "[[auth.tokens]]\nname = \"{}\"\nsha256 = \"{}\"\nroles = {}\nstreams = {}\nactors = {}\n",
        arguments.name,
        TokenDigest::of(token.as_bytes()).hex(),
        list(arguments.roles.iter().copied().map(Role::name).collect()),
        texts(&arguments.streams),
        texts(&arguments.actors),
    );
    if arguments.roles.contains(&Role::Worker) {
        let (workers, pools) = (texts(&arguments.workers), texts(&arguments.pools));
        entry.push_str(&format!("workers = {workers}\npools = {pools}\n"));
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inputs, load};

    #[test]
    fn the_printed_entry_is_one_that_the_server_reads() {
        let arguments = args::TokenNew {
            name: "ci".into(),
            roles: vec![Role::IntentWrite, Role::Auditor, Role::Worker],
            streams: vec!["team-*".into(), "default".into()],
            actors: vec!["*".into()],
            workers: vec!["w-*".into()],
            pools: vec!["gpu".into()],
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gesta.toml");
        std::fs::write(&path, entry(&arguments, "gesta_1")).unwrap();
        let token =
            load(&Inputs { file: Some(path), ..Inputs::default() }).unwrap().config.tokens.pop().unwrap();
        assert_eq!((token.name.as_str(), token.digest), ("ci", TokenDigest::of(b"gesta_1")));
        assert!(token.roles.allow(Role::Auditor) && !token.roles.allow(Role::Operator));
        assert!(token.workers.matches("w-1") && token.pools.matches("gpu") && !token.pools.matches("cpu"));
        assert!(token.streams.matches("team-a") && !token.streams.matches("other"));
    }
}
