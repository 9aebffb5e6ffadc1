//! `gesta checkpoint`: the newest checkpoint of a server or a data directory, verified.

use std::fmt;
use std::path::Path;

use gesta_log_format::checkpoint::{self, Checkpoint};
use gesta_log_format::note::{Note, PublicKey};

use super::source::cannot;
use super::{Exit, Failure, args, output, remote};
use crate::client::Caller;
use crate::proofs::KeyFiles;

/// Who is known to have signed.
pub(super) enum Trust {
    /// These keys, which were known before.
    Verified(Vec<PublicKey>),
    /// No key was given.
    NotAsked,
}

impl Trust {
    pub(super) fn signers(&self) -> Vec<String> {
        match self {
            Self::Verified(keys) => keys.iter().map(PublicKey::to_string).collect(),
            Self::NotAsked => Vec::new(),
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verified(keys) => {
                let names: Vec<_> = keys.iter().map(|key| format!("{}+{}", key.name(), key.id())).collect();
                write!(f, "verified: {}", names.join(", "))
            }
            Self::NotAsked => f.write_str("not verified: give the log's key with --key"),
        }
    }
}

/// # Errors
/// What cannot be read; a checkpoint that is none or that no given key has signed.
pub fn run(arguments: args::Checkpoint) -> Result<(), Failure> {
    let mut known = keys(&arguments.keys)?;
    let bytes = match &arguments.path {
        Some(path) => read(path)?,
        None => {
            let mut caller = Caller::new(remote::server(&arguments.target)?);
            let answer = remote::runtime()?.block_on(remote::get(&mut caller, "/checkpoint"))?;
            if !answer.status.is_success() {
                return Err(remote::refusal(&answer));
            }
            answer.body.to_vec()
        }
    };
    let note = Note::parse(&bytes).map_err(|error| Failure::new(Exit::Failed, error))?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|error| Failure::new(Exit::Failed, error))?;
    if let Some(path) = arguments.path.as_deref().filter(|path| known.is_empty() && path.is_dir()) {
        // What the directory itself says of its keys: enough to see that the file was not changed by itself.
        known = KeyFiles::new(path, None, &checkpoint.origin).public().unwrap_or_default();
    }
    let trust = trust(&note, &checkpoint, &known)?;
    output::write(|out| std::io::Write::write_all(out, note.encode().as_bytes()))?;
    eprintln!("note: {trust}");
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let file = if path.is_dir() { path.join(checkpoint::FILE) } else { path.to_path_buf() };
    std::fs::read(&file).map_err(|cause| cannot("read", &file, cause))
}

/// The keys of a command line.
///
/// # Errors
/// A text that is none.
pub(super) fn keys(texts: &[String]) -> Result<Vec<PublicKey>, Failure> {
    let read = |text: &String| {
        PublicKey::parse(text).map_err(|error| {
            Failure::new(Exit::Usage, error).hint("`gesta keys show` prints a log's keys as they are written")
        })
    };
    texts.iter().map(read).collect()
}

/// Who has signed the checkpoint, if any key was given: at least one of them, and none wrongly.
///
/// # Errors
/// A signature that does not hold, or none by a given key.
pub(super) fn trust(note: &Note, checkpoint: &Checkpoint, known: &[PublicKey]) -> Result<Trust, Failure> {
    if known.is_empty() {
        return Ok(Trust::NotAsked);
    }
    let signed = note.verify(known).map_err(|error| {
        Failure::new(Exit::Failed, error)
            .hint("the checkpoint was changed, or signed with another key than the one given")
    })?;
    if let Some(key) = signed.iter().find(|key| key.name() != checkpoint.origin) {
        let message = format!("{} has signed a checkpoint of {}", key.name(), checkpoint.origin);
        return Err(Failure::new(Exit::Failed, message));
    }
    Ok(Trust::Verified(signed.into_iter().cloned().collect()))
}
