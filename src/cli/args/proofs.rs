//! The arguments of the commands about proofs.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Target;

/// `gesta prove`
#[derive(Debug, Clone, Args)]
pub struct Prove {
    /// The record's index
    pub index: u64,
    #[command(flatten)]
    pub target: Target,
    /// Key that must have signed the checkpoint, name+id+base64; several may be given
    #[arg(long = "key", value_name = "VKEY")]
    pub keys: Vec<String>,
    /// Print the proof as JSON
    #[arg(long)]
    pub json: bool,
}

/// `gesta checkpoint`
#[derive(Debug, Clone, Args)]
pub struct Checkpoint {
    /// Data directory, or a file with a checkpoint; without it a server is asked
    #[arg(value_name = "DIR|FILE")]
    pub path: Option<PathBuf>,
    #[command(flatten)]
    pub target: Target,
    /// Key that must have signed it, name+id+base64; several may be given
    #[arg(long = "key", value_name = "VKEY")]
    pub keys: Vec<String>,
}

/// `gesta keys`
#[derive(Debug, Clone, Args)]
pub struct Keys {
    #[command(subcommand)]
    pub command: KeysCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum KeysCommand {
    /// Make a key that signs, as a file
    New(KeysNew),
    /// Have a server make a new key; the log says so, and the former one stays good beside it until the next time
    Rotate(KeysRotate),
    /// Print the public keys that checkpoints, or the capability tokens of tasks, are verified with
    Show(KeysShow),
}

/// What a key is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum KeyUse {
    /// Signs the log's checkpoints
    #[default]
    Checkpoint,
    /// Signs the capability tokens of tasks
    Task,
}

/// `gesta keys new`
#[derive(Debug, Clone, Args)]
pub struct KeysNew {
    /// What the key is for
    #[arg(long = "use", value_name = "USE", value_enum, default_value_t)]
    pub purpose: KeyUse,
    /// The log's origin, which is the name of a checkpoint's key; others have none
    #[arg(long, value_name = "NAME")]
    pub origin: Option<String>,
    /// File for the secret key, such as `checkpoint.key_file` or keys/task/current.pem; it must not exist
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
}

/// `gesta keys rotate`
#[derive(Debug, Clone, Args)]
pub struct KeysRotate {
    /// What the key is for
    #[arg(long = "use", value_name = "USE", value_enum, default_value_t)]
    pub purpose: KeyUse,
    #[command(flatten)]
    pub target: Target,
}

/// `gesta keys show`
#[derive(Debug, Clone, Args)]
pub struct KeysShow {
    /// What the key is for
    #[arg(long = "use", value_name = "USE", value_enum, default_value_t)]
    pub purpose: KeyUse,
    /// File of a secret key; without it a server is asked
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub target: Target,
}
