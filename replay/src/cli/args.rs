//! What the commands take.

use std::path::PathBuf;

use clap::Args;

/// Where the log is, and how it is read.
#[derive(Debug, Args)]
pub(super) struct Input {
    /// A data directory, one segment of it, or a saved tail
    #[arg(value_name = "PATH")]
    pub(super) path: PathBuf,
    /// Directory of the blobs, laid out as in a data directory; of a data directory its own by default
    #[arg(long, value_name = "DIR")]
    pub(super) blobs: Option<PathBuf>,
    /// Threads; by default one for each processor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) jobs: Option<u16>,
    /// Read the last batch of a log that a server holds open, although it may not be synced yet
    #[arg(long)]
    pub(super) unsynced: bool,
}

impl Input {
    /// How many threads.
    pub(super) fn jobs(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs.map_or_else(processors, usize::from)
    }
}

/// `gesta-replay verify`
#[derive(Debug, Args)]
pub(super) struct Verify {
    #[command(flatten)]
    pub(super) input: Input,
    /// Signed checkpoint that the log has to extend, several times for several
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(super) checkpoint: Vec<PathBuf>,
    /// Public key that has signed the checkpoints: the line that `gesta keys show` prints, or a file with it
    #[arg(long, value_name = "VKEY")]
    pub(super) key: Vec<String>,
    /// What `GET /snapshot` answered, to compare the projections with
    #[arg(long, value_name = "FILE")]
    pub(super) snapshot: Vec<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Write the report as JUnit XML; - for standard output
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,
    /// Write the findings as SARIF 2.1.0; - for standard output
    #[arg(long, value_name = "FILE")]
    pub(super) sarif: Option<PathBuf>,
    /// Print nothing but what is written to files
    #[arg(long, conflicts_with = "json")]
    pub(super) quiet: bool,
}

/// `gesta-replay explain`
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Index of the DECISION, or of its INTENT
    #[arg(value_name = "INDEX")]
    pub(super) index: u64,
    #[command(flatten)]
    pub(super) input: Input,
    /// Print it as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `gesta-replay whatif`
#[derive(Debug, Args)]
pub(super) struct WhatIf {
    /// Directory of the other policy bundle
    #[arg(long, value_name = "DIR")]
    pub(super) policy: PathBuf,
    #[command(flatten)]
    pub(super) input: Input,
    /// Print it as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// End with 1 where any decision would change
    #[arg(long)]
    pub(super) fail_on_change: bool,
}

/// `gesta-replay rebuild`
#[derive(Debug, Args)]
pub(super) struct Rebuild {
    #[command(flatten)]
    pub(super) input: Input,
    /// Fold the records below this index alone; all of them by default
    #[arg(long, value_name = "INDEX")]
    pub(super) at: Option<u64>,
    /// Print JSON, with the whole state of each projection
    #[arg(long)]
    pub(super) json: bool,
}

/// `gesta-replay diff`
#[derive(Debug, Args)]
pub(super) struct Diff {
    /// A log, or what `rebuild --json` printed
    #[arg(value_name = "A")]
    pub(super) a: PathBuf,
    /// Another one
    #[arg(value_name = "B")]
    pub(super) b: PathBuf,
    /// Print it as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `gesta-replay dump`
#[derive(Debug, Args)]
pub(super) struct Dump {
    #[command(flatten)]
    pub(super) input: Input,
    /// Print records with a greater index
    #[arg(long, value_name = "INDEX", allow_negative_numbers = true, default_value_t = -1)]
    pub(super) since: i64,
    /// Print no record with a greater index
    #[arg(long, value_name = "INDEX")]
    pub(super) until: Option<u64>,
    /// Print each record's envelope, one on a line
    #[arg(long)]
    pub(super) json: bool,
}
