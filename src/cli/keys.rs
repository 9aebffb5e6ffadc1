//! `gesta keys`: the keys that sign a log's checkpoints.

use std::io::Write as _;

use gesta_log_format::note::SecretKey;
use hyper::StatusCode;
use serde::Deserialize;

use super::source::cannot;
use super::{Exit, Failure, args, output, remote};
use crate::client::{Body, Caller};
use crate::proofs::{KeyFiles, KeysError};

/// The answer of `GET /checkpoint/keys`.
#[derive(Deserialize)]
struct Shown {
    keys: Vec<String>,
}

/// The answer of `POST /checkpoint/keys`.
#[derive(Deserialize)]
struct Rotated {
    key: String,
    previous: String,
    index: u64,
}

/// # Errors
/// Wrong arguments, a file or a server that does not answer, or a failed write.
pub fn run(arguments: args::Keys) -> Result<(), Failure> {
    match arguments.command {
        args::KeysCommand::New(arguments) => new(&arguments),
        args::KeysCommand::Rotate(arguments) => rotate(&arguments),
        args::KeysCommand::Show(arguments) => show(&arguments),
    }
}

fn new(arguments: &args::KeysNew) -> Result<(), Failure> {
    if arguments.to.exists() {
        let message = format!("{} exists", arguments.to.display());
        return Err(Failure::new(Exit::Usage, message).hint("a key is never overwritten: name another file"));
    }
    let files = KeyFiles::new(std::path::Path::new(""), Some(&arguments.to), &arguments.origin);
    let key = files.create().map_err(|error| match error {
        KeysError::NoKey { cause, .. } => Failure::new(Exit::Usage, cause),
        other => Failure::new(Exit::Failed, other),
    })?;
    output::write(|out| writeln!(out, "{}", key.public()))?;
    eprintln!("note: the secret key is in {}, readable for you alone", arguments.to.display());
    Ok(())
}

fn rotate(arguments: &args::KeysRotate) -> Result<(), Failure> {
    let server = remote::server(&arguments.target)?;
    let mut caller = Caller::new(server.clone());
    let request = server.post("/checkpoint/keys", Body::default());
    let answer = remote::runtime()?
        .block_on(caller.call(request))
        .map_err(|error| Failure::new(Exit::Failed, error).hint(remote::UNREACHABLE))?;
    if answer.status != StatusCode::CREATED {
        return Err(remote::refusal(&answer));
    }
    let Rotated { key, previous, index } = remote::json(&answer)?;
    output::write(|out| writeln!(out, "{key}"))?;
    eprintln!(
        "note: recorded at index {index}; {previous} goes on signing beside it until the next rotation"
    );
    Ok(())
}

fn show(arguments: &args::KeysShow) -> Result<(), Failure> {
    let keys = match &arguments.file {
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|cause| cannot("read", file, cause))?;
            let key = SecretKey::parse(text.trim_end()).map_err(|error| Failure::new(Exit::Failed, error))?;
            vec![key.public().to_string()]
        }
        None => {
            let mut caller = Caller::new(remote::server(&arguments.target)?);
            let answer = remote::runtime()?.block_on(remote::get(&mut caller, "/checkpoint/keys"))?;
            if !answer.status.is_success() {
                return Err(remote::refusal(&answer));
            }
            remote::json::<Shown>(&answer)?.keys
        }
    };
    output::write(|out| keys.iter().try_for_each(|key| writeln!(out, "{key}")))
}
