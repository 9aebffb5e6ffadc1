//! `gesta keys`: the keys that sign a log's checkpoints, and those that sign the capability tokens of tasks.

use std::io::Write as _;

use gesta_log_format::note::SecretKey;
use hyper::StatusCode;
use serde::Deserialize;

use super::args::KeyUse;
use super::source::cannot;
use super::{Exit, Failure, args, output, remote};
use crate::capability;
use crate::client::{Body, Caller};
use crate::proofs::{KeyFiles, KeysError};

/// The answer of `GET /checkpoint/keys`.
#[derive(Deserialize)]
struct Shown {
    keys: Vec<String>,
}

/// The answer of `GET /control/keys/task`.
#[derive(Deserialize)]
struct ShownSet {
    keys: Vec<serde_json::Value>,
}

/// The answer of `POST` to either.
#[derive(Deserialize)]
struct Rotated {
    key: String,
    previous: Option<String>,
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

/// Where a server shows and changes the keys of this use.
const fn path(purpose: KeyUse) -> &'static str {
    match purpose {
        KeyUse::Checkpoint => "/checkpoint/keys",
        KeyUse::Task => "/control/keys/task",
    }
}

fn new(arguments: &args::KeysNew) -> Result<(), Failure> {
    if arguments.to.exists() {
        let message = format!("{} exists", arguments.to.display());
        return Err(Failure::new(Exit::Usage, message).hint("a key is never overwritten: name another file"));
    }
    let public = match arguments.purpose {
        KeyUse::Checkpoint => {
            let Some(origin) = arguments.origin.as_deref() else {
                return Err(Failure::new(Exit::Usage, "a checkpoint's key bears the name of its log")
                    .hint("name it with --origin, or make another key with --use task"));
            };
            let files = KeyFiles::new(std::path::Path::new(""), Some(&arguments.to), origin);
            let key = files.create().map_err(|error| match error {
                KeysError::NoKey { cause, .. } => Failure::new(Exit::Usage, cause),
                other => Failure::new(Exit::Failed, other),
            })?;
            key.public().to_string()
        }
        KeyUse::Task => {
            let key =
                capability::create_pem(&arguments.to).map_err(|error| Failure::new(Exit::Failed, error))?;
            jwk(&key)
        }
    };
    output::write(|out| writeln!(out, "{public}"))?;
    eprintln!("note: the secret key is in {}, readable for you alone", arguments.to.display());
    Ok(())
}

fn rotate(arguments: &args::KeysRotate) -> Result<(), Failure> {
    let server = remote::server(&arguments.target)?;
    let mut caller = Caller::new(server.clone());
    let request = server.post(path(arguments.purpose), Body::default());
    let answer = remote::runtime()?
        .block_on(caller.call(request))
        .map_err(|error| Failure::new(Exit::Failed, error).hint(remote::UNREACHABLE))?;
    if answer.status != StatusCode::CREATED {
        return Err(remote::refusal(&answer));
    }
    let Rotated { key, previous, index } = remote::json(&answer)?;
    output::write(|out| writeln!(out, "{key}"))?;
    let previous = previous.unwrap_or_default();
    let stays = match arguments.purpose {
        KeyUse::Checkpoint => "goes on signing beside it until the next rotation",
        KeyUse::Task => "stays good for the tokens that it signed, until the next rotation",
    };
    eprintln!("note: recorded at index {index}; {previous} {stays}");
    Ok(())
}

fn show(arguments: &args::KeysShow) -> Result<(), Failure> {
    let keys = match (&arguments.file, arguments.purpose) {
        (Some(file), KeyUse::Checkpoint) => {
            let text = std::fs::read_to_string(file).map_err(|cause| cannot("read", file, cause))?;
            let key = SecretKey::parse(text.trim_end()).map_err(|error| Failure::new(Exit::Failed, error))?;
            vec![key.public().to_string()]
        }
        (Some(file), KeyUse::Task) => {
            let key = capability::read_pem(file).map_err(|error| Failure::new(Exit::Failed, error))?;
            vec![jwk(&key)]
        }
        (None, purpose) => {
            let mut caller = Caller::new(remote::server(&arguments.target)?);
            let answer = remote::runtime()?.block_on(remote::get(&mut caller, path(purpose)))?;
            if !answer.status.is_success() {
                return Err(remote::refusal(&answer));
            }
            match purpose {
                KeyUse::Checkpoint => remote::json::<Shown>(&answer)?.keys,
                KeyUse::Task => {
                    remote::json::<ShownSet>(&answer)?.keys.iter().map(ToString::to_string).collect()
                }
            }
        }
    };
    output::write(|out| keys.iter().try_for_each(|key| writeln!(out, "{key}")))
}

/// The public half, as a JSON Web Key on one line.
fn jwk(key: &capability::Key) -> String {
    key.public().and_then(|public| serde_json::to_string(public).ok()).unwrap_or_default()
}
