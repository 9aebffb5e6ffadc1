//! The arguments of the commands that call a server.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

/// Which server is called, and as whom.
#[derive(Clone, Args)]
pub struct Target {
    /// Base URL of the server
    #[arg(long, default_value = "http://127.0.0.1:7070", env = "GESTA_URL")]
    pub url: String,
    /// Access token; better in the environment, where other users do not see it
    #[arg(long, env = "GESTA_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

impl std::fmt::Debug for Target {
    /// Leaves the token out, so that no log line holds it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("url", &self.url).finish_non_exhaustive()
    }
}

/// `gesta submit`
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("source").required(true).args(["message", "ndjson"])))]
pub struct Submit {
    #[command(flatten)]
    pub target: Target,
    /// Text of one chat message
    #[arg(long, requires = "thread")]
    pub message: Option<String>,
    /// Thread of the message
    #[arg(long, requires = "message")]
    pub thread: Option<String>,
    /// File with one intent for each line, or - for standard input
    #[arg(long, value_name = "FILE")]
    pub ndjson: Option<PathBuf>,
    /// Requests under way at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    /// Lines that an earlier run has submitted, to be passed over
    #[arg(long, default_value_t = 0, requires = "ndjson", value_name = "LINES")]
    pub skip: u64,
}

/// Which records are of interest; all that are given must hold.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Filters")]
pub struct Filters {
    #[arg(long)]
    pub stream_id: Option<String>,
    /// Lanes, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub lanes: Vec<String>,
    /// Kinds, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub kinds: Vec<String>,
    #[arg(long)]
    pub thread_id: Option<String>,
    #[arg(long)]
    pub correlation_id: Option<String>,
    #[arg(long)]
    pub actor: Option<String>,
    #[arg(long)]
    pub intent_type: Option<String>,
    #[arg(long)]
    pub subject: Option<String>,
}

/// `gesta tail`
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("form").args(["raw", "json", "pretty"])))]
pub struct Tail {
    #[command(flatten)]
    pub target: Target,
    /// Index after which the tail begins; -1 is the beginning of the log
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_name = "INDEX")]
    pub since: i64,
    /// Wait for new records instead of ending at the head
    #[arg(long)]
    pub follow: bool,
    #[command(flatten)]
    pub filters: Filters,
    /// The bytes as they lie on disk: a saved tail
    #[arg(long)]
    pub raw: bool,
    /// One envelope for each line
    #[arg(long)]
    pub json: bool,
    /// For people (the default)
    #[arg(long)]
    pub pretty: bool,
    /// Keep the blobs that the records name in this directory
    #[arg(long, value_name = "DIR")]
    pub with_blobs: Option<PathBuf>,
}

/// The form in which `gesta tail` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailForm {
    Raw,
    Json,
    Pretty,
}

impl Tail {
    pub fn form(&self) -> TailForm {
        match (self.raw, self.json) {
            (true, _) => TailForm::Raw,
            (false, true) => TailForm::Json,
            (false, false) => TailForm::Pretty,
        }
    }
}

/// `gesta bench`
#[derive(Debug, Clone, Args)]
pub struct Bench {
    #[command(subcommand)]
    pub command: BenchCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum BenchCommand {
    /// Acknowledged appends, and how long each took
    Append(BenchAppend),
    /// Followers that catch up on what there is
    Tail(BenchTail),
    /// Followers at the head, and how long each record takes to reach them
    Fanout(BenchFanout),
}

/// `gesta bench append`
#[derive(Debug, Clone, Args)]
pub struct BenchAppend {
    #[command(flatten)]
    pub target: Target,
    /// Connections, each with one request outstanding
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub connections: u16,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Appends a second in all, sent by the clock whether or not answers came; 0 is as fast as they come
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    pub rate: u64,
    /// Size of one intent
    #[arg(long, default_value_t = 450, value_parser = clap::value_parser!(u32).range(300..=60_000))]
    pub bytes: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `gesta bench tail`
#[derive(Debug, Clone, Args)]
pub struct BenchTail {
    #[command(flatten)]
    pub target: Target,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub followers: u16,
    /// Index after which each follower begins
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_name = "INDEX")]
    pub since: i64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `gesta bench fanout`
#[derive(Debug, Clone, Args)]
pub struct BenchFanout {
    #[command(flatten)]
    pub target: Target,
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub followers: u16,
    /// Records a second
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub rate: u64,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
