//! The arguments of the commands that read a log without a server.

use std::path::PathBuf;

use clap::Args;

/// `gesta inspect`
#[derive(Debug, Clone, Args)]
pub struct Inspect {
    /// Data directory
    pub dir: PathBuf,
    /// Include the last batch even while a server has the directory
    #[arg(long)]
    pub unsynced: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `gesta dump`
#[derive(Debug, Clone, Args)]
pub struct Dump {
    /// Data directory, segment or saved tail
    #[arg(value_name = "DIR|FILE")]
    pub path: PathBuf,
    /// Index after which the dump begins
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_name = "INDEX")]
    pub since: i64,
    /// Last index of the dump
    #[arg(long, value_name = "INDEX")]
    pub until: Option<u64>,
    /// One envelope for each line, its exact bytes, instead of a summary
    #[arg(long, conflicts_with = "raw")]
    pub json: bool,
    /// The records' exact bytes, a saved tail
    #[arg(long)]
    pub raw: bool,
    /// Include the last batch even while a server has the directory
    #[arg(long)]
    pub unsynced: bool,
}

/// `gesta salvage`
#[derive(Debug, Clone, Args)]
pub struct Salvage {
    /// Data directory, segment or saved tail
    #[arg(value_name = "DIR|FILE")]
    pub path: PathBuf,
    /// File for the sound records, as a saved tail; it must not exist
    #[arg(long, value_name = "NEW.sse")]
    pub to: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
