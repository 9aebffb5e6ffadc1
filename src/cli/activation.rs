//! What `gesta policy` and `gesta context` share: files that are read, a server that is asked.

use std::io::Write as _;

use hyper::{Request, StatusCode};
use serde_json::{Map, Value};

use super::{Exit, Failure, args, output, remote};
use crate::activation::directory::DirectoryError;
use crate::client::{Answer, Body, Caller};

/// The members of an answer that say what is in force, in the order in which they are printed.
const SHOWN: [&str; 5] = ["index", "policy_id", "policy_version", "policy_digest", "context_config_digest"];

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        Self::new(Exit::Failed, error)
    }
}

/// Asks a server to activate `body` and prints what is in force then.
///
/// # Errors
/// A server that does not answer or refuses.
pub(super) fn activate(target: &args::Target, path: &str, body: &Value, form: Form) -> Result<(), Failure> {
    let server = remote::server(target)?;
    let request = server.post(path, Body::from(body.to_string()));
    let answer = call(&mut Caller::new(server), request)?;
    if !answer.status.is_success() {
        return Err(remote::refusal(&answer));
    }
    print(&answer, form)?;
    if answer.status == StatusCode::OK {
        eprintln!("note: it was active before; nothing was appended");
    }
    Ok(())
}

/// Prints what is in force on a server.
///
/// # Errors
/// A server that does not answer or refuses.
pub(super) fn show(arguments: &args::Show, path: &str) -> Result<(), Failure> {
    let server = remote::server(&arguments.target)?;
    let request = server.get(path);
    let answer = call(&mut Caller::new(server), request)?;
    if !answer.status.is_success() {
        return Err(remote::refusal(&answer));
    }
    print(&answer, Form::of(arguments.json))
}

fn call(caller: &mut Caller, request: Request<Body>) -> Result<Answer, Failure> {
    remote::runtime()?
        .block_on(caller.call(request))
        .map_err(|error| Failure::new(Exit::Failed, error).hint(remote::UNREACHABLE))
}

/// For whom a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    People,
    Json,
}

impl Form {
    pub(super) const fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::People }
    }
}

fn print(answer: &Answer, form: Form) -> Result<(), Failure> {
    let body: Map<String, Value> = remote::json(answer)?;
    match form {
        Form::Json => {
            let body = Value::from(body);
            output::write(|out| writeln!(out, "{body:#}"))
        }
        Form::People => output::write(|out| {
            for name in SHOWN {
                match body.get(name) {
                    Some(Value::String(text)) => writeln!(out, "{name:<21} {text}")?,
                    Some(value) => writeln!(out, "{name:<21} {value}")?,
                    None => {}
                }
            }
            Ok(())
        }),
    }
}
