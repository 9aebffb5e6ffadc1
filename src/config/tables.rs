//! Every field of the configuration, once. The macro makes the typed tables, the reference and the conversion from it,
//! so that a field cannot be in one and not in the others.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Settings;
use super::field::{Fallback, Field, Kind, Unit, Value};
use crate::auth::Token;
use crate::executor::registration::Registration;
use crate::limits;

macro_rules! variable {
    () => {
        None
    };
    ($name:literal) => {
        Some($name)
    };
}

macro_rules! tables {
    ($($(#[doc = $table_doc:literal])+ $table:ident: $Table:ident {
        $($(#[doc = $doc:literal])+ $name:ident: $type:ty, $kind:expr, $fallback:expr $(, $variable:literal)?;)+
    })+) => {
        $(
            $(#[doc = $table_doc])+
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $Table {
                $($(#[doc = $doc])+ pub $name: $type,)+
            }
        )+

        /// The whole configuration, checked.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Config {
            $($(#[doc = $table_doc])+ pub $table: $Table,)+
            /// The entries of `[[auth.tokens]]`.
            pub tokens: Vec<Token>,
            /// The entries of `[[handlers]]`, in the order of the file.
            pub handlers: Vec<Registration<'static>>,
        }

        impl Config {
            pub(super) fn from_settings(settings: &Settings) -> Self {
                Self {
                    $($table: $Table {
                        $($name: Typed::typed(
                            settings.value(concat!(stringify!($table), ".", stringify!($name)))
                        ),)+
                    },)+
                    tokens: settings.tokens.clone(),
                    handlers: settings.handlers.clone(),
                }
            }
        }

        /// Name and document of each table.
        pub(super) const TABLES: &[(&str, &[&str])] = &[$((stringify!($table), &[$($table_doc),+]),)+];

        const FIELDS: &[Field] = &[$($(Field {
            table: stringify!($table),
            name: stringify!($name),
            doc: &[$($doc),+],
            kind: $kind,
            fallback: $fallback,
            variable: variable!($($variable)?),
        },)+)+];
    };
}

/// Every field, table by table.
pub fn fields() -> impl Iterator<Item = &'static Field> {
    FIELDS.iter()
}

const fn number(default: usize) -> Fallback {
    Fallback::Integer(default as u64)
}

const fn range(unit: Unit, min: u64, max: u64) -> Kind {
    Kind::Integer { unit, min, max }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

tables! {
    /// Where the server listens, where its data lies and how it speaks.
    server: Server {
        /// Directory of the log and of all that is derived from it.
        data: PathBuf, Kind::Path, Fallback::Text("./gesta-data"), "GESTA_DATA";
        /// Address of the HTTP listener. Without tokens it must be a loopback address.
        listen: SocketAddr, Kind::Address, Fallback::Text("127.0.0.1:7070"), "GESTA_LISTEN";
        /// Address of the listener for the code that runs tasks; empty means that there is none.
        listen_task: Option<SocketAddr>, Kind::OptionalAddress, Fallback::Text(""), "GESTA_LISTEN_TASK";
        /// Address of the listener for workers; empty means that there is none.
        listen_internal: Option<SocketAddr>, Kind::OptionalAddress, Fallback::Text(""), "GESTA_LISTEN_INTERNAL";
        /// Whether these two may speak plain HTTP on loopback where no certificate is configured.
        insecure_loopback: bool, Kind::Switch, Fallback::Switch(false);
        /// Name of the log, fixed at its first start; empty means that a new log names itself.
        origin: Option<String>, Kind::Origin, Fallback::Text(""), "GESTA_ORIGIN";
        /// Form of the server's own log lines on standard error.
        log_format: LogFormat, Kind::Choice(&["text", "json"]), Fallback::Text("text");
        /// Web origins whose pages may call this server.
        cors_origins: Vec<String>, Kind::WebOrigins, Fallback::EmptyList;
        /// Threads that serve sockets; 0 means one for each core.
        worker_threads: usize, range(Unit::Count, 0, 1024), Fallback::Integer(0);
    }
    /// What the listeners show who connects; SIGHUP reads the files again.
    tls: Tls {
        /// PEM file of the certificate chain, the server's own first; empty means no TLS.
        certificate: Option<PathBuf>, Kind::OptionalPath, Fallback::Text("");
        /// PEM file of the certificate's key.
        key: Option<PathBuf>, Kind::OptionalPath, Fallback::Text("");
        /// PEM file of the authorities one of which must have signed the certificate that a client of the internal listener
        /// shows, besides its token; empty means that none is asked for.
        client_ca: Option<PathBuf>, Kind::OptionalPath, Fallback::Text("");
        /// Whether the public listener speaks TLS too.
        public: bool, Kind::Switch, Fallback::Switch(false);
    }
    /// How records are gathered, written and synced.
    log: Log {
        /// Size at which a segment is sealed and the next one begins.
        segment_bytes: u64, range(Unit::Bytes, 64 * KIB, 64 * GIB), Fallback::Integer(limits::SEGMENT_BYTES);
        /// Most records that wait for the sequencer.
        queue_records_max: usize, range(Unit::Count, 1, 1_000_000), number(limits::QUEUE_RECORDS_MAX);
        /// Most records that one sync makes durable.
        batch_records_max: usize, range(Unit::Count, 1, 65_536), number(limits::BATCH_RECORDS_MAX);
        /// Most bytes that one sync makes durable.
        batch_bytes_max: usize, range(Unit::Bytes, 64 * KIB, 900 * KIB), number(limits::BATCH_BYTES_MAX);
        /// Whether the active segment is filled with zeroes ahead of the writer, which makes syncs faster.
        fill_ahead: bool, Kind::Switch, Fallback::Switch(true);
        /// Farthest that the filler runs ahead of the writer.
        fill_ahead_bytes_max: u64, range(Unit::Bytes, 4 * KIB, GIB), Fallback::Integer(limits::FILL_AHEAD_BYTES_MAX);
        /// Most zeroes that the filler writes and syncs at once.
        fill_piece_bytes_max: usize, range(Unit::Bytes, 4 * KIB, 16 * MIB), number(limits::FILL_PIECE_BYTES_MAX);
        /// Time without an append after which the frontier is written.
        frontier_idle_ms: u64, range(Unit::Milliseconds, 1, 60_000), Fallback::Integer(limits::FRONTIER_IDLE_MS);
        /// Time between two passes that read all sealed segments again and check their checksums.
        scrub_seconds: u64, range(Unit::Seconds, 60, 31_536_000), Fallback::Integer(limits::SCRUB_SECONDS);
    }
    /// How followers are served.
    tail: Tail {
        /// Most followers at once.
        followers_max: usize, range(Unit::Count, 1, 1_000_000), number(limits::FOLLOWERS_MAX);
        /// Longest time in which a follower takes no byte although some wait.
        reader_idle_seconds_max: u64, range(Unit::Seconds, 1, 3600), Fallback::Integer(limits::READER_IDLE_SECONDS_MAX);
        /// Delay before a client reconnects, before jitter.
        retry_ms: u64, range(Unit::Milliseconds, 1, 600_000), Fallback::Integer(limits::RETRY_MS);
        /// Largest piece of history that one follower reads at once.
        chunk_bytes: usize, range(Unit::Bytes, 64 * KIB, 16 * MIB), number(limits::TAIL_CHUNK_BYTES);
        /// Piece of history that a follower reads while the budget is spent.
        chunk_small_bytes: usize, range(Unit::Bytes, 4 * KIB, MIB), number(limits::TAIL_CHUNK_SMALL_BYTES);
        /// Memory for the pieces of history of all followers together.
        budget_bytes: usize, range(Unit::Bytes, 64 * KIB, 64 * GIB), number(limits::TAIL_BUDGET_BYTES);
        /// Newest durable bytes that are kept in memory for followers at the head.
        live_bytes: usize, range(Unit::Bytes, MIB, 16 * GIB), number(limits::TAIL_LIVE_BYTES);
        /// Longest silence of a tail.
        heartbeat_seconds: u64, range(Unit::Seconds, 1, 15), Fallback::Integer(limits::HEARTBEAT_SECONDS);
        /// Longest time for which a filtered tail skips records before it sends a cursor.
        cursor_ms: u64, range(Unit::Milliseconds, 10, 1000), Fallback::Integer(limits::CURSOR_MS);
        /// Shortest time between two wake-ups of the followers under load.
        fanout_interval_us: u64, range(Unit::Microseconds, 0, 100_000), Fallback::Integer(limits::FANOUT_INTERVAL_US);
    }
    /// What one request or connection may take.
    limits: Limits {
        /// Largest request body outside the blob routes.
        body_bytes_max: usize, range(Unit::Bytes, KIB, 64 * MIB), number(limits::BODY_BYTES_MAX);
        /// Longest time for a request body to arrive.
        body_read_seconds_max: u64, range(Unit::Seconds, 1, 3600), Fallback::Integer(limits::BODY_READ_SECONDS_MAX);
        /// Largest sum of a request's header names and values.
        header_bytes_max: usize, range(Unit::Bytes, 8 * KIB, MIB), number(limits::HEADER_BYTES_MAX);
        /// Longest time for a request head to arrive.
        header_read_seconds_max: u64, range(Unit::Seconds, 1, 3600), Fallback::Integer(limits::HEADER_READ_SECONDS_MAX);
        /// Most sockets that are open at once on one listener.
        connections_max: usize, range(Unit::Count, 1, 1_000_000), number(limits::CONNECTIONS_MAX);
        /// Longest time from the signal to the end of the process.
        shutdown_seconds_max: u64, range(Unit::Seconds, 1, 600), Fallback::Integer(limits::SHUTDOWN_SECONDS_MAX);
        /// Most envelopes in one page of `GET /events`.
        events_page_max: usize, range(Unit::Count, 1, 2000), number(limits::EVENTS_PAGE_MAX);
        /// Envelopes in one page of `GET /events` where the request names no limit.
        events_page_default: usize, range(Unit::Count, 1, 2000), number(limits::EVENTS_PAGE_DEFAULT);
    }
    /// Who may call; the tokens themselves are the entries of `[[auth.tokens]]`.
    auth: Auth {
        /// Most tail tickets that are held in memory.
        tickets_max: usize, range(Unit::Count, 1, 1_000_000), number(limits::TICKETS_MAX);
        /// Time within which a tail ticket is first used.
        ticket_seconds_max: u64, range(Unit::Seconds, 1, 60), Fallback::Integer(limits::TICKET_SECONDS_MAX);
        /// Time for which a used ticket waits for its client to reconnect.
        ticket_reconnect_seconds_max: u64, range(Unit::Seconds, 1, 86_400),
            Fallback::Integer(limits::TICKET_RECONNECT_SECONDS_MAX);
    }
    /// By what intents are decided.
    decider: Decider {
        /// Whether intents are decided. Without, no policy is activated and nothing follows an intent: a plain log.
        enabled: bool, Kind::Switch, Fallback::Switch(true);
        /// Directory of the policy bundle that each start activates unless it is active; empty means that a log without
        /// a policy gets the one that comes with the server.
        policy: Option<PathBuf>, Kind::OptionalPath, Fallback::Text("");
        /// File of the context's configuration that each start activates unless it is active; empty means that a log
        /// without one gets the default.
        context: Option<PathBuf>, Kind::OptionalPath, Fallback::Text("");
        /// Most intents that await their decision before new ones are refused.
        lag_intents_max: usize, range(Unit::Count, 1, 1_000_000_000), number(limits::DECIDER_LAG_INTENTS_MAX);
    }
    /// How what is allowed is run.
    executor: Executor {
        /// Most builtin handlers that run at once.
        running_max: usize, range(Unit::Count, 1, 65_536), number(limits::EXECUTIONS_RUNNING_MAX);
        /// Time for one invocation of a builtin handler whose registration has no `timeout_seconds`.
        invoke_seconds_default: u64, range(Unit::Seconds, 1, 86_400),
            Fallback::Integer(limits::EXECUTION_INVOKE_SECONDS_DEFAULT);
        /// Longest time for one invocation of a builtin handler, whatever its registration says.
        invoke_seconds_max: u64, range(Unit::Seconds, 1, 86_400), Fallback::Integer(limits::EXECUTION_INVOKE_SECONDS_MAX);
    }
    /// What workers are given.
    tasks: Tasks {
        /// Delay before the first retry of a task would be, doubled with each attempt and spread by half.
        retry_ms: u64, range(Unit::Milliseconds, 1, limits::TASK_RETRY_MS_MAX), Fallback::Integer(limits::TASK_RETRY_MS);
        /// Most claims that wait for a task at once.
        claims_waiting_max: usize, range(Unit::Count, 1, 1_000_000), number(limits::TASK_CLAIMS_WAITING_MAX);
        /// Where the code that runs tasks reaches the task listener, for URLs that it is sent; empty means the address
        /// that the listener has, with its scheme.
        public_url: Option<String>, Kind::OptionalWebOrigin, Fallback::Text("");
        /// File of a secret of at least 32 bytes by which capability tokens are signed (HS256) instead of by the key of
        /// ES256, for local use; empty means none.
        hs256_secret_file: Option<PathBuf>, Kind::OptionalPath, Fallback::Text("");
    }
    /// How tasks of kind `push` are posted.
    push: Push {
        /// Hosts that may be called, each exactly, with the port unless that is 443; without one nothing is posted.
        allow_hosts: Vec<String>, Kind::Hosts, Fallback::EmptyList;
        /// Those of them that may lie at addresses of this machine or of its network.
        allow_private: Vec<String>, Kind::Hosts, Fallback::EmptyList;
        /// PEM file of the authorities by which hosts are known; empty means those of the platform.
        ca_file: Option<PathBuf>, Kind::OptionalPath, Fallback::Text("");
        /// Most tasks that are posted at once, half of them for one handler.
        calls_max: usize, range(Unit::Count, 1, 65_536), number(limits::PUSH_CALLS_MAX);
        /// Longest time until a connection stands.
        connect_seconds_max: u64, range(Unit::Seconds, 1, 300), Fallback::Integer(limits::PUSH_CONNECT_SECONDS_MAX);
        /// Longest time until a host has answered, the connection included.
        answer_seconds_max: u64, range(Unit::Seconds, 1, 300), Fallback::Integer(limits::PUSH_ANSWER_SECONDS_MAX);
        /// Delay before an attempt is first posted again, doubled each time and spread by half.
        resend_ms: u64, range(Unit::Milliseconds, 1, limits::PUSH_RESEND_MS_MAX), Fallback::Integer(limits::PUSH_RESEND_MS);
        /// Longest such delay.
        resend_ms_max: u64, range(Unit::Milliseconds, 1, limits::PUSH_RESEND_MS_MAX),
            Fallback::Integer(limits::PUSH_RESEND_MS_MAX);
        /// Most calls of one host that fail in a row before it is left alone.
        failures_max: u32, range(Unit::Count, 1, 10_000), Fallback::Integer(limits::PUSH_FAILURES_MAX as u64);
        /// Time for which it is then left alone.
        open_seconds: u64, range(Unit::Seconds, 1, 3600), Fallback::Integer(limits::PUSH_OPEN_SECONDS);
    }
    /// How the log signs what it holds.
    checkpoint: Checkpoint {
        /// Time between two checkpoints of a log that grows.
        interval_seconds: u64, range(Unit::Seconds, 1, 86_400), Fallback::Integer(limits::CHECKPOINT_INTERVAL_SECONDS);
        /// File of the key that signs; empty means `keys/checkpoint.key` in the data directory, made at the first start.
        key_file: Option<PathBuf>, Kind::OptionalPath, Fallback::Text("");
        /// File, on another disk or machine, that also gets each checkpoint, and against which a start is compared.
        second_file: Option<PathBuf>, Kind::OptionalPath, Fallback::Text("");
    }
    /// Content that is too large for a record.
    blobs: Blobs {
        /// Largest blob.
        blob_bytes_max: u64, range(Unit::Bytes, KIB, 64 * GIB), Fallback::Integer(limits::BLOB_BYTES_MAX);
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::from_settings(&Settings::defaults())
    }
}

/// How the server writes its own log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// The Rust type of a field. The value has passed its field's check, so what does not fit is a defect of the table.
trait Typed {
    fn typed(value: &Value) -> Self;
}

const MISFIT: &str = "a checked value fits the type of its field";

impl Typed for u64 {
    fn typed(value: &Value) -> Self {
        if let Value::Integer(number) = value { *number } else { unreachable!("{MISFIT}") }
    }
}

impl Typed for u32 {
    fn typed(value: &Value) -> Self {
        Self::try_from(u64::typed(value)).expect(MISFIT)
    }
}

impl Typed for usize {
    fn typed(value: &Value) -> Self {
        usize::try_from(u64::typed(value)).expect(MISFIT)
    }
}

impl Typed for bool {
    fn typed(value: &Value) -> Self {
        if let Value::Switch(switch) = value { *switch } else { unreachable!("{MISFIT}") }
    }
}

impl Typed for String {
    fn typed(value: &Value) -> Self {
        if let Value::Text(text) = value { text.clone() } else { unreachable!("{MISFIT}") }
    }
}

impl Typed for Vec<String> {
    fn typed(value: &Value) -> Self {
        if let Value::List(list) = value { list.clone() } else { unreachable!("{MISFIT}") }
    }
}

impl Typed for Option<String> {
    fn typed(value: &Value) -> Self {
        Some(String::typed(value)).filter(|text| !text.is_empty())
    }
}

impl Typed for PathBuf {
    fn typed(value: &Value) -> Self {
        String::typed(value).into()
    }
}

impl Typed for Option<PathBuf> {
    fn typed(value: &Value) -> Self {
        Option::<String>::typed(value).map(PathBuf::from)
    }
}

impl Typed for SocketAddr {
    fn typed(value: &Value) -> Self {
        String::typed(value).parse().expect(MISFIT)
    }
}

impl Typed for Option<SocketAddr> {
    fn typed(value: &Value) -> Self {
        Option::<String>::typed(value).map(|text| text.parse().expect(MISFIT))
    }
}

impl Typed for LogFormat {
    fn typed(value: &Value) -> Self {
        match String::typed(value).as_str() {
            "text" => Self::Text,
            "json" => Self::Json,
            other => unreachable!("{MISFIT}: {other}"),
        }
    }
}
