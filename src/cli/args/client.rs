//! The arguments of the commands that call a server.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use crate::limits::SEGMENT_BYTES;

/// Which server is called, and as whom.
#[derive(Clone, Args)]
pub struct Target {
    /// Base URL of the server
    #[arg(long, default_value = "http://127.0.0.1:7070", env = "GESTA_URL")]
    pub url: String,
    /// Access token; better in the environment, where other users do not see it
    #[arg(long, env = "GESTA_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// PEM file of the authorities that are believed where the URL is https
    #[arg(long, env = "GESTA_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

impl std::fmt::Debug for Target {
    /// Leaves the token out, so that no log line holds it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("url", &self.url).finish_non_exhaustive()
    }
}

/// `gesta submit`
#[derive(Debug, Clone, Args)]
pub struct Submit {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub source: SubmitSource,
    #[command(flatten)]
    pub message_fields: MessageFields,
    /// Requests under way at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024), value_name = "N")]
    pub concurrency: u16,
    /// Lines that an earlier run has submitted, to be passed over
    #[arg(long, default_value_t = 0, requires = "ndjson", value_name = "LINES")]
    pub skip: u64,
    /// How long an intent is tried again where the server is away, busy or does not know the outcome
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub retry_seconds: u64,
    /// Print the summary of many as JSON
    #[arg(long, requires = "ndjson")]
    pub json: bool,
}

/// What is submitted.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct SubmitSource {
    /// Text of one chat message
    #[arg(long, requires = "thread", value_name = "TEXT")]
    pub message: Option<String>,
    /// File with one intent for each line, or - for standard input
    ///
    /// A line is a whole IntentEnvelope, or short for one: the members of its `payload`, perhaps with a
    /// `correlation_id` beside them. A missing correlation id is derived from the file's name, the line's number and
    /// the line, so that the same file submitted again appends nothing.
    #[arg(long, value_name = "FILE")]
    pub ndjson: Option<PathBuf>,
}

/// The fields of one message.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Fields of one message")]
pub struct MessageFields {
    /// Thread of the message
    #[arg(long, requires = "message", value_name = "ID")]
    pub thread: Option<String>,
    /// Turn within the thread [default: a new ULID]
    #[arg(long, requires = "message", value_name = "ID")]
    pub turn: Option<String>,
    /// The turn that this one answers
    #[arg(long, requires = "message", value_name = "ID")]
    pub parent_turn: Option<String>,
    /// On whose behalf; use a pseudonym, for the log keeps it
    #[arg(long, requires = "message", default_value = "user")]
    pub actor: String,
    #[arg(long, requires = "message", default_value = "user")]
    pub lane: String,
    #[arg(long, requires = "message", default_value = "chat.message")]
    pub intent_type: String,
    #[arg(long, requires = "message", default_value = "default")]
    pub stream: String,
    /// Give the same one to repeat a request [default: a new ULID]
    #[arg(long, requires = "message", value_name = "ID")]
    pub correlation_id: Option<String>,
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

impl Filters {
    /// The filters that are given, as `GET /tail` names them.
    #[must_use]
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let list = |values: &[String]| (!values.is_empty()).then(|| values.join(","));
        let given = [
            ("stream_id", self.stream_id.clone()),
            ("lanes", list(&self.lanes)),
            ("kinds", list(&self.kinds)),
            ("thread_id", self.thread_id.clone()),
            ("correlation_id", self.correlation_id.clone()),
            ("actor", self.actor.clone()),
            ("intent_type", self.intent_type.clone()),
            ("subject", self.subject.clone()),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
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
    /// Last index of the tail
    #[arg(long, value_name = "INDEX")]
    pub until: Option<u64>,
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
    /// Keep the blobs that the records name in DIR/blobs/sha256
    #[arg(long, value_name = "DIR")]
    pub with_blobs: Option<PathBuf>,
    /// How long a server that is away is tried again [default: for ever with --follow, else 60]
    #[arg(long, value_name = "SECONDS")]
    pub retry_seconds: Option<u64>,
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
    /// A data directory with many sealed records, made without a server
    Generate(BenchGenerate),
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

/// `gesta bench generate`
#[derive(Debug, Clone, Args)]
pub struct BenchGenerate {
    /// Data directory; its log must be empty
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// How many records
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000), value_name = "N")]
    pub records: u64,
    /// Size at which a segment is sealed
    #[arg(long, default_value_t = SEGMENT_BYTES, value_name = "BYTES")]
    pub segment_bytes: u64,
    /// Size of one intent
    #[arg(long, default_value_t = 450, value_parser = clap::value_parser!(u32).range(300..=60_000))]
    pub bytes: u32,
}
