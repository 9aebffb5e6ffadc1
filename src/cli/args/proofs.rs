//! The arguments of the commands about proofs.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
    /// Make the key that signs a log's checkpoints, for `checkpoint.key_file` or a data directory
    New(KeysNew),
    /// Have a server make a new key; the log says so, and the former one goes on signing beside it until the next time
    Rotate(KeysRotate),
    /// Print the public keys that checkpoints are verified with
    Show(KeysShow),
}

/// `gesta keys new`
#[derive(Debug, Clone, Args)]
pub struct KeysNew {
    /// The log's origin, which is the key's name
    #[arg(long, value_name = "NAME")]
    pub origin: String,
    /// File for the secret key; it must not exist
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
}

/// `gesta keys rotate`
#[derive(Debug, Clone, Args)]
pub struct KeysRotate {
    #[command(flatten)]
    pub target: Target,
}

/// `gesta keys show`
#[derive(Debug, Clone, Args)]
pub struct KeysShow {
    /// File of a secret key; without it a server is asked
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub target: Target,
}
