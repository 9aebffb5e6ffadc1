//! Every bound of the server, once: name, default, unit (the last word before `_MAX`) and why it is what it is.
//!
//! A bound that may be configured is the default of the field of the same meaning in `config`; a bound that is part
//! of the contract with clients (identifiers, depth) is fixed. Reaching a bound is always a named error or a closed
//! socket, never silent growth.

/// One bound, for reference tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The constant's name; its unit is part of it.
    pub name: &'static str,
    /// The default, in that unit.
    pub value: u64,
    /// What it bounds and what happens there; lines as written, to be joined with spaces.
    pub doc: &'static [&'static str],
}

macro_rules! bounds {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ty = $value:expr;)+) => {
        $($(#[doc = $doc])+ pub const $name: $kind = $value;)+

        /// Every bound above, in the order of this file.
        pub const ALL: &[Bound] = &[
            $(Bound { name: stringify!($name), value: $name as u64, doc: &[$($doc),+] },)+
        ];
    };
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

bounds! {
    /// Largest request body outside the blob routes, in bytes; more is 413 `BODY_TOO_LARGE`.
    BODY_BYTES_MAX: usize = MIB;
    /// Longest time for a request body to arrive, in seconds; longer is 408 `REQUEST_TIMEOUT`.
    BODY_READ_SECONDS_MAX: u64 = 30;
    /// Largest sum of header names and values of a request, in bytes; more is 431 `HEADERS_TOO_LARGE`.
    HEADER_BYTES_MAX: usize = 16 * KIB;
    /// Longest time for a request head to arrive, in seconds; the socket is then closed.
    HEADER_READ_SECONDS_MAX: u64 = 10;
    /// Most sockets that are open at once on one listener; more wait in the listen backlog.
    CONNECTIONS_MAX: usize = 4096;
    /// Longest time from the signal to the end of the process, in seconds, whatever the clients do.
    SHUTDOWN_SECONDS_MAX: u64 = 10;
    /// Deepest nesting of JSON that is read; deeper is 400 `INVALID_JSON`.
    JSON_DEPTH_MAX: usize = 64;
    /// Longest correlation id, in bytes, of an intent and of the header `X-Correlation-Id`.
    CORRELATION_ID_BYTES_MAX: usize = 128;
    /// Longest actor, thread, turn and reference id, in bytes of UTF-8.
    TEXT_ID_BYTES_MAX: usize = 256;
    /// Most parent turns that are walked in search of a cycle; a longer chain is 400 `INVALID_PARENT`.
    PARENT_WALK_MAX: usize = 10_000;
    /// Most references that an intent may declare; more is 400 `MAX_REFS_EXCEEDED`.
    DECLARED_REFS_MAX: usize = 500;
    /// Most envelopes in one page of `GET /events`.
    EVENTS_PAGE_MAX: usize = 2000;
    /// Envelopes in one page of `GET /events` where the request names no limit.
    EVENTS_PAGE_DEFAULT: usize = 500;

    /// Most turns in one page of a thread's timeline.
    TIMELINE_TURNS_MAX: usize = 500;
    /// Turns in one page of a thread's timeline where the request names no limit.
    TIMELINE_TURNS_DEFAULT: usize = 100;
    /// Most records of a thread that its timeline folds; a longer one is 400 `INVALID_INPUT`.
    TIMELINE_RECORDS_MAX: usize = 100_000;
    /// Longest time for which a read waits until `min_index` is applied, in seconds.
    MIN_INDEX_SECONDS_MAX: u64 = 10;

    /// Most bytes that are still read, and dropped, of a request that was answered with an error before it was whole; then
    /// its socket is closed.
    LINGER_BYTES_MAX: usize = 8 * MIB;
    /// Longest time for which they are read, in seconds.
    LINGER_SECONDS_MAX: u64 = 2;

    /// Size at which a segment is sealed and the next one begins, in bytes.
    SEGMENT_BYTES: u64 = 256 * MIB as u64;
    /// Most records that wait for the sequencer; more is 503 `QUEUE_FULL`.
    QUEUE_RECORDS_MAX: usize = 4096;
    /// Most records that one sync makes durable.
    BATCH_RECORDS_MAX: usize = 256;
    /// Most bytes that one sync makes durable; one batch fits one message of a replicated log.
    BATCH_BYTES_MAX: usize = 900 * KIB;
    /// Farthest that the filler runs ahead of the writer, in bytes, so that a small log stays small.
    FILL_AHEAD_BYTES_MAX: u64 = 16 * MIB as u64;
    /// Most zeroes that the filler writes and syncs at once, in bytes; larger pieces delay the writer's syncs.
    FILL_PIECE_BYTES_MAX: usize = 256 * KIB;
    /// Time without an append after which the frontier is written, in milliseconds.
    FRONTIER_IDLE_MS: u64 = 50;
    /// Time between two passes of the scrub over the sealed segments, in seconds.
    SCRUB_SECONDS: u64 = 86_400;

    /// Most followers of all tails together; the socket of one more is closed.
    FOLLOWERS_MAX: usize = 2000;
    /// Longest time in which a follower's socket takes no byte although some wait, in seconds; it is then closed.
    READER_IDLE_SECONDS_MAX: u64 = 30;
    /// Delay that clients are told to wait before they reconnect, in milliseconds, before jitter.
    RETRY_MS: u64 = 1000;
    /// Largest piece of history that one follower reads at once, in bytes.
    TAIL_CHUNK_BYTES: usize = 256 * KIB;
    /// Piece of history that a follower reads while the budget is spent, in bytes.
    TAIL_CHUNK_SMALL_BYTES: usize = 16 * KIB;
    /// Memory for the pieces of history of all followers together, in bytes.
    TAIL_BUDGET_BYTES: usize = 32 * MIB;
    /// Newest durable bytes that are kept in memory for followers at the head.
    TAIL_LIVE_BYTES: usize = 8 * MIB;
    /// Longest silence of a tail, in seconds; then a heartbeat comment is sent.
    HEARTBEAT_SECONDS: u64 = 15;
    /// Longest time for which a filtered tail skips records before it sends a cursor, in milliseconds.
    CURSOR_MS: u64 = 1000;
    /// Shortest time between two wake-ups of the followers under load, in microseconds.
    FANOUT_INTERVAL_US: u64 = 1500;

    /// Largest piece of the log that the projector folds at once, in bytes.
    PROJECTOR_CHUNK_BYTES: usize = 256 * KIB;
    /// Records between two snapshots of the projections, at least; while the snapshots are small, a start folds no more
    /// than these again.
    SNAPSHOT_RECORDS_MIN: u64 = 100_000;
    /// Bytes of the log between two snapshots of the projections, at least, for each byte of the former: so snapshots
    /// are no more bytes than the log, and a start folds about as many bytes as it restores.
    SNAPSHOT_BYTES_APART: u64 = 1;
    /// Longest wait of a request for `min_index`, in milliseconds; then it is 503 `INDEX_NOT_APPLIED`.
    APPLIED_WAIT_MS: u64 = 2000;

    /// Largest policy bundle, paths and files together, in bytes; a larger one is refused before it is read.
    POLICY_BYTES_MAX: usize = MIB;
    /// Most faults of a policy bundle that one answer names.
    POLICY_FAULTS_MAX: usize = 100;
    /// Most intents that await their decision; one more is 503 `DECIDER_LAGGING`.
    DECIDER_LAG_INTENTS_MAX: usize = 1_000_000;

    /// Most builtin handlers that run at once; what else is allowed waits in the log.
    EXECUTIONS_RUNNING_MAX: usize = 256;
    /// Time for one invocation of a builtin handler whose registration names none, in seconds; then its execution fails,
    /// `DEADLINE_EXCEEDED`.
    EXECUTION_INVOKE_SECONDS_DEFAULT: u64 = 60;
    /// Longest time for one invocation of a builtin handler, whatever its registration names, in seconds.
    EXECUTION_INVOKE_SECONDS_MAX: u64 = 3600;
    /// Largest `timeout_seconds` of a registration; more is 400 `INVALID_INPUT`.
    HANDLER_TIMEOUT_SECONDS_MAX: u64 = 31_536_000;
    /// Longest reason of a request to cancel, in bytes; more is 400 `INVALID_INPUT`.
    CANCEL_REASON_BYTES_MAX: usize = 4096;
    /// Most times that a builtin handler is given one execution; then it fails, `RETRIES_EXHAUSTED`.
    EXECUTION_DELIVERIES_MAX: u64 = 3;
    /// Delay before the executor tries an append again that a full disk kept it from, in milliseconds.
    EXECUTION_RETRY_MS: u64 = 1000;
    /// Most open executions that are looked at while the projections stand still.
    EXECUTIONS_LOOKED_AT_MAX: usize = 1024;
    /// Longest time that running handlers have at the end of the process, in milliseconds.
    EXECUTIONS_END_MS: u64 = 1000;
    /// Most reports of one execution that may be faster than another one, which is then 409 `SUBJECT_CONFLICT`.
    EXECUTION_CONFLICTS_MAX: usize = 16;
    /// Largest prompt that the handler `assemble_prompt` makes, in bytes; more fails its execution, `PROMPT_TOO_LARGE`.
    PROMPT_BYTES_MAX: usize = 8 * MIB;
    /// Most handlers that are registered; one more is 400 `INVALID_INPUT`.
    HANDLERS_MAX: usize = 10_000;

    /// Time that a worker's lease lasts where the registration says nothing, in seconds.
    TASK_LEASE_SECONDS: u64 = 120;
    /// Time between two heartbeats that a worker is asked for where the registration says nothing, in seconds.
    TASK_HEARTBEAT_SECONDS: u64 = 30;
    /// Longest time for one attempt where the registration says nothing, in seconds.
    TASK_TIMEOUT_SECONDS: u64 = 3600;
    /// Longest time for one attempt, or for a lease, that a registration may say, in seconds.
    TASK_SECONDS_MAX: u64 = 86_400;
    /// Most attempts of a task where the registration says nothing.
    TASK_ATTEMPTS_MAX: u64 = 3;
    /// Most attempts of a task that a registration may say.
    TASK_ATTEMPTS_REGISTERED_MAX: u64 = 100;
    /// Priority of a task whose registration says nothing.
    TASK_PRIORITY_DEFAULT: u64 = 5;
    /// Delay before a task is looked at again of which something could not be recorded, in milliseconds.
    TASK_LOOK_AGAIN_MS: u64 = 30_000;
    /// Delay before an attempt of which none came before, in milliseconds; doubled with each attempt and spread by half.
    TASK_RETRY_MS: u64 = 30_000;
    /// Longest delay before another attempt, in milliseconds, before it is spread by half.
    TASK_RETRY_MS_MAX: u64 = 600_000;
    /// Most tasks that one claim gets.
    TASK_CLAIM_TASKS_MAX: usize = 100;
    /// Most pools that one claim names.
    TASK_CLAIM_POOLS_MAX: usize = 100;
    /// Longest wait of a claim, in milliseconds.
    TASK_CLAIM_WAIT_MS_MAX: u64 = 55_000;
    /// Most claims that wait for a task at once; one more is 503 `CLAIMS_FULL`.
    TASK_CLAIMS_WAITING_MAX: usize = 4096;
    /// Most TASK records that requests have on their way; one more is 503 `QUEUE_FULL`.
    TASK_RECORDS_MAX: usize = 4096;
    /// Most records of states, artifacts and steps that requests have on their way; one more is 503 `QUEUE_FULL`.
    STATE_RECORDS_MAX: usize = 4096;
    /// How often a handler in Rust tries to change a state that others change meanwhile.
    STATE_UPDATES_MAX: usize = 8;
    /// Largest state of a session or an execution, in bytes of its canonical text; more is 413 `BODY_TOO_LARGE`.
    STATE_BYTES_MAX: usize = MIB;
    /// Most parents of an artifact; more is 400 `INVALID_INPUT`.
    ARTIFACT_PARENTS_MAX: usize = 100;
    /// Most materializations that an artifact is registered with; more is 400 `INVALID_INPUT`.
    ARTIFACT_MATERIALIZATIONS_MAX: usize = 100;
    /// Longest `uri` of a materialization, in bytes; more is 400 `INVALID_INPUT`.
    ARTIFACT_URI_BYTES_MAX: usize = 2 * KIB;
    /// Most tasks for which the server itself has a record on its way; the others wait.
    TASKS_AT_ONCE_MAX: usize = 256;
    /// Most tasks that are looked at while the projections stand still.
    TASKS_LOOKED_AT_MAX: usize = 1024;
    /// Most records of one task that may be faster than a request, which is then 409 `SUBJECT_CONFLICT`.
    TASK_CONFLICTS_MAX: usize = 16;
    /// Most records of a task that are read in search of a report that was made before.
    TASK_WALK_RECORDS_MAX: usize = 1000;
    /// Most streams in which a task is looked for that is not there any more.
    TASK_STREAMS_LOOKED_AT_MAX: usize = 1000;
    /// Most elements of a list in a worker's report; more is 400 `INVALID_INPUT`.
    TASK_ITEMS_MAX: usize = 1000;
    /// Longest message of a worker, or reason for a cancellation, in bytes; more is cut.
    TASK_MESSAGE_BYTES_MAX: usize = 4 * KIB;
    /// Most tasks in one page of `GET /api/task`.
    TASK_PAGE_MAX: usize = 500;
    /// Tasks in one page of `GET /api/task` where the request names no limit.
    TASK_PAGE_DEFAULT: usize = 100;
    /// Hints of waiting tasks that a stream of wake-ups may be behind before it misses some.
    WAKEUPS_KEPT_MAX: usize = 1024;
    /// Most events that a handler gives at its end; more fails its execution, `HANDLER_OUTPUT_INVALID`, or is 422
    /// `RESULT_INVALID`.
    EXECUTION_EVENTS_MAX: usize = 1000;
    /// Largest event in the result of a task, in bytes; more is 422 `RESULT_INVALID`.
    TASK_RETURNED_EVENT_BYTES_MAX: usize = 32 * KIB;
    /// Largest blob that a handler in Rust reads whole, in bytes.
    PUBLIC_BLOB_BYTES_MAX: u64 = 64 * MIB as u64;
    /// Largest answer that a handler in Rust gets of another host, in bytes.
    HTTP_ANSWER_BYTES_MAX: usize = 16 * MIB;
    /// Most calls of handlers in Rust to other hosts at once; others wait.
    HTTP_CALLS_MAX: usize = 64;

    /// Largest schema of a registration, in bytes; more is 400 `INVALID_INPUT`.
    SCHEMA_BYTES_MAX: usize = 256 * KIB;
    /// Largest grants of a registration, in bytes: every capability token carries them.
    GRANTS_BYTES_MAX: usize = 4 * KIB;
    /// Most datasets that one handler subscribes to: they stand in the record of its registration, never in a blob.
    SUBSCRIPTIONS_MAX: usize = 64;
    /// Largest payload of an intent that is compared with a `params_schema`, in bytes: as large as `limits.body_bytes_max`
    /// can be.
    PARAMS_BYTES_MAX: u64 = 64 * MIB as u64;
    /// Most schemas that are kept compiled.
    SCHEMAS_KEPT_MAX: usize = 256;
    /// Most faults of a result that one answer names.
    RESULT_FAULTS_MAX: usize = 20;
    /// Longest time that records of tasks on their way have at the end of the process, in milliseconds.
    TASKS_END_MS: u64 = 1000;

    /// Most tasks that one `gesta worker` runs at once.
    WORKER_TASKS_MAX: u16 = 1024;
    /// Longest id of a worker that `gesta worker` takes, in bytes.
    WORKER_ID_BYTES_MAX: usize = 128;
    /// Most that a program of `gesta worker` may write to standard output, in bytes; more is no result.
    WORKER_STDOUT_BYTES_MAX: usize = 16 * MIB;
    /// What is kept of a program's standard error, in bytes: its end.
    WORKER_STDERR_BYTES_MAX: usize = MIB;
    /// Longest error message that `gesta worker` reports, in bytes.
    WORKER_ERROR_BYTES_MAX: usize = 4 * KIB;
    /// Most tasks that are claimed or posted to their handlers' URLs at once, half of them for one handler; the others
    /// wait in the log.
    PUSH_CALLS_MAX: usize = 64;
    /// Most attempts for one registration of a handler that were claimed and that nobody has accepted; the others wait in
    /// the log.
    PUSH_UNACCEPTED_MAX: usize = 256;
    /// Longest time until a connection to a handler's URL stands, in seconds.
    PUSH_CONNECT_SECONDS_MAX: u64 = 5;
    /// Longest time until a handler's URL has answered, the connection included, in seconds.
    PUSH_ANSWER_SECONDS_MAX: u64 = 30;
    /// Largest head of its answer, in bytes; more is no answer. The body is not read.
    PUSH_ANSWER_HEAD_BYTES_MAX: usize = 16 * KIB;
    /// Most headers of its answer; more is no answer.
    PUSH_ANSWER_HEADERS_MAX: usize = 100;
    /// Most times that one attempt is posted again; it then fails, `PUSH_UNDELIVERED`.
    PUSH_RESENDS_MAX: u32 = 20;
    /// Delay before an attempt is posted again, in milliseconds; doubled each time and spread by half.
    PUSH_RESEND_MS: u64 = 1000;
    /// Longest such delay, in milliseconds.
    PUSH_RESEND_MS_MAX: u64 = 300_000;
    /// Longest delay that an answer's `Retry-After` may ask for, in seconds; more is taken as this.
    PUSH_RETRY_AFTER_SECONDS_MAX: u64 = 3600;
    /// Most failed calls of one host in a row; it is then left alone for a while.
    PUSH_FAILURES_MAX: u32 = 5;
    /// Time for which it is left alone, in seconds; then it is called once.
    PUSH_OPEN_SECONDS: u64 = 30;
    /// Longest time that calls have at the end of the process, in milliseconds; the next start posts them again.
    PUSH_END_MS: u64 = 1000;

    /// Largest blob, in bytes; more is 413 `BODY_TOO_LARGE`.
    BLOB_BYTES_MAX: u64 = 64 * MIB as u64;
    /// Piece of a blob that is held in memory, read, written and hashed at once, in bytes.
    BLOB_PIECE_BYTES: usize = 128 * KIB;
    /// Most blobs that are being uploaded at once; one more is 503 `BLOB_TRANSFERS_FULL`.
    BLOB_UPLOADS_MAX: usize = 32;
    /// Most bytes of records that were read for executions and are kept for the next reader.
    RECORDS_KEPT_BYTES_MAX: usize = 16 * MIB;
    /// Most artifacts without an id of their own that one record leads to: the first place that is free is looked for.
    ARTIFACTS_OF_CAUSE_MAX: usize = 1000;
    /// Most puts that are remembered, about 100 bytes each: whoever has put a blob may refer to it.
    BLOB_PUTS_MAX: usize = 65_536;
    /// Most blobs that are being downloaded at once; one more is 503 `BLOB_TRANSFERS_FULL`.
    BLOB_DOWNLOADS_MAX: usize = 256;
    /// Most bundles of blobs that are being written at once; one more is 503 `BLOB_TRANSFERS_FULL`.
    BUNDLES_MAX: usize = 4;
    /// Most blobs in one bundle; more is 400 `INVALID_INPUT`, which says where to divide the range.
    BUNDLE_BLOBS_MAX: usize = 100_000;

    /// Time between two checkpoints of a log that grows, in seconds.
    CHECKPOINT_INTERVAL_SECONDS: u64 = 1;
    /// Most records of objects that are on their way; one more is 503 `QUEUE_FULL`.
    OBJECT_RECORDS_MAX: usize = 1024;
    /// Time for which a credential for objects is good, in seconds; never longer than the capability that it is asked for with.
    OBJECT_CREDENTIAL_SECONDS: u64 = 3600;

    /// Largest batch of rows that a task publishes, in bytes; more is 400 `BATCH_INVALID`.
    ROW_BATCH_BYTES_MAX: u64 = 16 * MIB as u64;
    /// Most rows of a batch; more is a dead letter.
    ROW_BATCH_ROWS_MAX: usize = 100_000;
    /// Most batches that the sink takes between two looks at the outbox, each the first of its dataset version.
    ROW_BATCHES_LOOKED_AT_MAX: usize = 64;
    /// Longest row, in bytes; a longer one is a dead letter.
    ROW_BYTES_MAX: usize = 256 * KIB;
    /// Longest identity of a row, in bytes; a longer one is a dead letter.
    DEDUPE_KEY_BYTES_MAX: usize = 256;
    /// Largest file of a key that is read, in bytes.
    KEY_FILE_BYTES_MAX: u64 = 4 * KIB as u64;
    /// Most columns of a row schema; more is 400 `INVALID_INPUT`.
    DATASET_COLUMNS_MAX: usize = 256;
    /// Most records of datasets that the server itself has on their way; the others wait.
    DATASET_RECORDS_MAX: usize = 64;
    /// Most records of a dataset version that may be faster than a request, which is then 409 `SUBJECT_CONFLICT`.
    DATASET_CONFLICTS_MAX: usize = 16;
    /// Delay before something is tried again that a dataset needs, in milliseconds.
    DATASET_RETRY_MS: u64 = 500;
    /// Most events that are posted to webhooks at once.
    PUBLISH_CALLS_MAX: usize = 32;
    /// Most of them of one handler, each of another execution.
    PUBLISH_CALLS_OF_HANDLER_MAX: usize = 8;
    /// Most events of one handler that are in memory to be posted; the others wait in the derived store.
    PUBLISH_WINDOW_MAX: usize = 256;
    /// Time between two looks at the log on behalf of webhooks, in milliseconds: under load one serves many records.
    PUBLISH_PAUSE_MS: u64 = 5;
    /// Delay before what the disk refused on behalf of webhooks is tried again, in milliseconds.
    PUBLISH_RETRY_MS: u64 = 1000;
    /// Largest piece of the log that is looked at at once on behalf of webhooks, in bytes.
    PUBLISH_CHUNK_BYTES: usize = 256 * KIB;
    /// Most records that a restart looks at again on behalf of webhooks, if none was of interest.
    PUBLISH_MARK_RECORDS_MAX: u64 = 10_000;
    /// Longest time that events on their way to webhooks have at the end of the process, in milliseconds.
    PUBLISH_END_MS: u64 = 1000;

    /// Time between two looks at the log on behalf of datasets, in milliseconds: under load one serves many records.
    DATASET_PAUSE_MS: u64 = 5;
    /// Largest piece of the log that is looked at at once on behalf of datasets, in bytes.
    DATASET_CHUNK_BYTES: usize = 256 * KIB;
    /// Most records that a restart looks at again on behalf of datasets, if none was of interest.
    DATASET_MARK_RECORDS_MAX: u64 = 10_000;
    /// Most rows in one page of `GET /api/dataset/{uuid}/{version}/rows`.
    DATASET_PAGE_MAX: usize = 10_000;
    /// Rows in such a page where the request names no limit.
    DATASET_PAGE_DEFAULT: usize = 1000;
    /// Size at which such a page ends, in bytes.
    DATASET_PAGE_BYTES: usize = 16 * MIB;
    /// Most dead letters in one page.
    DEAD_LETTER_PAGE_MAX: usize = 100;
    /// Most registrations of one handler that are read to know what it had subscribed to.
    REGISTRATIONS_LOOKED_AT_MAX: usize = 1000;
    /// Longest time that records of datasets on their way have at the end of the process, in milliseconds.
    DATASETS_END_MS: u64 = 1000;

    /// Most bundles of entries that are read at once, of at most 16 MiB each; others wait.
    ENTRY_BUNDLES_MAX: usize = 4;
    /// Most leaf hashes that are kept for the tree's files until they take them, of 32 bytes each: four seconds of 60,000
    /// appends; a tree that is further behind reads the records.
    FRESH_LEAVES_MAX: usize = 262_144;
    /// Largest piece of the log whose leaves are hashed at once, in bytes.
    TREE_CHUNK_BYTES: usize = MIB;

    /// Most capability tokens whose signature is not verified again, about 100 bytes each.
    CAPABILITIES_KNOWN_MAX: usize = 131_072;
    /// Longest life of a capability or service token, in seconds.
    CAPABILITY_SECONDS_MAX: u64 = 86_400;
    /// Time by which a capability outlives its attempt's absolute limit, in seconds.
    CAPABILITY_SPARE_SECONDS: u64 = 300;
    /// Time by which the clocks of issuer and checker may differ, in seconds.
    CAPABILITY_LEEWAY_SECONDS: u64 = 5;
    /// Largest capability token, in bytes; it fits a request's headers. A larger one is neither made nor read.
    CAPABILITY_BYTES_MAX: usize = 8 * KIB;

    /// Most tokens in the configuration.
    TOKENS_MAX: usize = 1000;
    /// Most tail tickets that are held in memory; more is 503 `TICKETS_FULL`.
    TICKETS_MAX: usize = 10_000;
    /// Time within which a tail ticket is first used, in seconds.
    TICKET_SECONDS_MAX: u64 = 60;
    /// Time for which a used ticket waits for its client to reconnect, in seconds.
    TICKET_RECONNECT_SECONDS_MAX: u64 = 600;
}

const _: () = {
    assert!(EXECUTION_INVOKE_SECONDS_DEFAULT <= EXECUTION_INVOKE_SECONDS_MAX);
    assert!(EVENTS_PAGE_DEFAULT <= EVENTS_PAGE_MAX);
    assert!(BATCH_RECORDS_MAX <= QUEUE_RECORDS_MAX);
    assert!(BATCH_BYTES_MAX as u64 <= SEGMENT_BYTES, "a batch never spans segments");
    assert!(FILL_PIECE_BYTES_MAX as u64 <= FILL_AHEAD_BYTES_MAX);
    assert!(TAIL_CHUNK_SMALL_BYTES <= TAIL_CHUNK_BYTES && TAIL_CHUNK_BYTES <= TAIL_BUDGET_BYTES);
    assert!(TAIL_CHUNK_BYTES >= 65_536, "a chunk holds at least one whole record");
    assert!(FOLLOWERS_MAX <= CONNECTIONS_MAX);
    assert!(TASK_CLAIMS_WAITING_MAX <= CONNECTIONS_MAX);
    assert!(TASK_CLAIM_TASKS_MAX <= TASK_RECORDS_MAX);
    assert!(BLOB_PIECE_BYTES as u64 <= BLOB_BYTES_MAX);
    assert!(ROW_BATCH_BYTES_MAX <= BLOB_BYTES_MAX, "a batch is an object");
    assert!(CAPABILITY_BYTES_MAX < HEADER_BYTES_MAX, "a capability is a header");
    assert!(CAPABILITY_LEEWAY_SECONDS <= 5, "the contract's");
};

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn every_bound_names_its_unit_or_counts_things() {
        const UNITS: [&str; 6] = ["_BYTES", "_SECONDS", "_MS", "_US", "_MAX", "_MIN"];
        for bound in ALL {
            assert!(
                bound.name.ends_with("_DEFAULT") || UNITS.iter().any(|unit| bound.name.contains(unit)),
                "{} names no unit",
                bound.name
            );
            assert!(bound.value > 0, "{} bounds nothing", bound.name);
        }
    }
}
