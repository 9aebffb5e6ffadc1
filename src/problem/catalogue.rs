//! Every reason code that a client may meet, with its status, cause and remedy. The order is that of a request's way
//! through the server. Codes are stable: one may be added, none renamed.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// Which part of the system refused or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    Ingress,
    Policy,
    Log,
    Worker,
    Adapter,
}

/// Where a code is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppearsIn {
    /// `reason_code` of an answer over HTTP.
    Response,
    /// `error.code` of an EXECUTION `failed`, or a reason of a DECISION.
    Record,
}

/// One row of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Entry {
    /// Stable, UPPER_SNAKE.
    pub reason_code: &'static str,
    /// The usual HTTP status; the cause says where another is used. Null for what stands in records alone.
    pub status: Option<u16>,
    /// Where it is met, at least one.
    #[schema(value_type = Vec<AppearsIn>)]
    pub appears_in: &'static [AppearsIn],
    pub title: &'static str,
    pub cause: &'static str,
    pub remedy: &'static str,
    /// Whether the same request may succeed later, unchanged.
    pub retriable: bool,
    pub source: Source,
}

macro_rules! catalogue {
    (@appears_in) => { &[AppearsIn::Response] };
    (@appears_in record) => { &[AppearsIn::Response, AppearsIn::Record] };
    ($($code:ident $name:literal $status:literal $source:ident $retriable:literal $($also:ident)?
        $title:literal, $cause:literal, $remedy:literal;)+) => {
        /// Why a request was refused or failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ReasonCode {
            $($code,)+
        }

        impl ReasonCode {
            /// Every code, in the order of the catalogue.
            pub const ALL: &[Self] = &[$(Self::$code,)+];

            /// The row of this code.
            pub const fn entry(self) -> &'static Entry {
                match self {
                    $(Self::$code => &Entry {
                        reason_code: $name,
                        status: Some($status),
                        appears_in: catalogue!(@appears_in $($also)?),
                        title: $title,
                        cause: $cause,
                        remedy: $remedy,
                        retriable: $retriable,
                        source: Source::$source,
                    },)+
                }
            }
        }
    };
}

impl ReasonCode {
    /// The code as clients see it.
    pub const fn name(self) -> &'static str {
        self.entry().reason_code
    }

    /// The usual status.
    pub fn status(self) -> StatusCode {
        let status = self.entry().status.and_then(|status| StatusCode::from_u16(status).ok());
        status.expect("a code of answers has a valid status")
    }
}

catalogue! {
    NotFound "NOT_FOUND" 404 Ingress false
        "No such route or resource",
        "The path names nothing that this server has.",
        "Check the path; `GET /` lists what there is.";
    MethodNotAllowed "METHOD_NOT_ALLOWED" 405 Ingress false
        "Method not allowed",
        "The route exists, but not for this method.",
        "Use a method that the `Allow` header names.";
    UnsupportedMediaType "UNSUPPORTED_MEDIA_TYPE" 415 Ingress false
        "Unsupported media type",
        "A POST with a body needs `Content-Type: application/json`.",
        "Send JSON and say so in the header.";
    RequestTimeout "REQUEST_TIMEOUT" 408 Ingress true
        "The request took too long to arrive",
        "The body did not arrive within `limits.body_read_seconds_max`. Nothing was appended.",
        "Send the request again, faster, or put large content as a blob.";
    HeadersTooLarge "HEADERS_TOO_LARGE" 431 Ingress false
        "Request headers too large",
        "The names and values of the request's headers exceed `limits.header_bytes_max` together.",
        "Send fewer or shorter headers.";
    NotLoopbackHost "NOT_LOOPBACK_HOST" 403 Ingress false
        "Host is not a loopback name",
        "The server runs without tokens, on loopback only, and the Host header names another machine: a page of a \
         foreign site may be calling (DNS rebinding).",
        "Call it as 127.0.0.1, [::1] or localhost, or configure tokens.";
    MissingToken "MISSING_TOKEN" 401 Ingress false
        "No token",
        "The request has neither `Authorization: Bearer` nor the header of its listener: `X-API-Key` on the public one, \
         `X-Trace-Task-Capability` on that of tasks, `X-Trace-Worker-Token` on the internal one.",
        "Send a token: `gesta token new` makes one, and a task's capability comes with its claim.";
    BadToken "BAD_TOKEN" 401 Ingress false
        "Unknown token",
        "The token or ticket is malformed, expired or not known here, or not of the kind that this route is for.",
        "Check the token; its SHA-256 must stand under [[auth.tokens]]. A ticket is used within 60 s of its making; a \
         task's capability comes with its claim and with each heartbeat.";
    Forbidden "FORBIDDEN" 403 Ingress false
        "Not permitted",
        "The token lacks the role or the stream that this request needs.",
        "Use a token that has them, or add them to this one's entry.";
    ActorForbidden "ACTOR_FORBIDDEN" 403 Ingress false
        "Not permitted for this actor",
        "The token may not act for the actor that the request names.",
        "Name an actor that the token's `actors` patterns cover.";
    WrongTask "WRONG_TASK" 403 Worker false
        "For another task",
        "The capability token is for another task or another attempt than the request names. Nothing was changed.",
        "Send the token that came with this attempt's claim, or with its latest heartbeat.";
    TaskNotFound "TASK_NOT_FOUND" 404 Worker false
        "No such task",
        "No task has this id, or it is not one that the token may see.",
        "Check the id: it is that of the execution.";
    StaleAttempt "STALE_ATTEMPT" 409 Worker false
        "Not the latest attempt",
        "The attempt was replaced, timed out, cancelled or reported otherwise, or the lease token is not its own.",
        "Stop working on it: nothing that it reports has an effect.";
    ResultInvalid "RESULT_INVALID" 422 Worker false
        "Not the result that the handler promises",
        "The result is not what the `result_schema` of the handler's registration asks for. The attempt goes on.",
        "Report a result that fits, or report Failed; `faults` names what does not fit.";
    DatasetVersionConflict "DATASET_VERSION_CONFLICT" 409 Worker false
        "The dataset version is published as something else",
        "A version that is published again has to bring the same metadata; this brings other. The whole report is refused.",
        "Publish another version, or the same metadata.";
    StateConflict "STATE_CONFLICT" 409 Worker false
        "The state is another by now",
        "The last change of the state is not the one that `expected` names; `index` is it, null where there is no state. \
         Nothing was appended.",
        "Get the state, make the change of what it is now, and set it with its `index` as `expected`.";
    ArtifactExists "ARTIFACT_EXISTS" 409 Worker false
        "The artifact is registered as something else",
        "The stream has an artifact of this id, by the record at `index`: of another execution, or not the same. Nothing was \
         appended.",
        "Register it under another id, or leave the id out.";
    BadSignature "BAD_SIGNATURE" 403 Worker false
        "Signature refused",
        "The query is not signed for this method and path, or not any more. Nothing was done.",
        "Sign as README, \"Objects\", says, with a credential from `POST /v1/task/credentials` that has not expired.";
    PrefixForbidden "PREFIX_FORBIDDEN" 403 Worker false
        "Outside of the task's prefixes",
        "No prefix that the task was granted covers the object for this. Nothing was done.",
        "Name an object below one of the prefixes in the handler's `grants`, or grant the prefix.";
    ObjectNotFound "OBJECT_NOT_FOUND" 404 Worker false
        "No such object",
        "Nothing was put under this name in the task's stream.",
        "Put it first with `PUT /objects/{bucket}/{key}`.";
    ObjectExists "OBJECT_EXISTS" 409 Worker false
        "The name has other content",
        "A name stands for one content for ever; `index` is the record that gave it. Nothing was stored.",
        "Put it under another name, such as one with the attempt in it.";
    BatchInvalid "BATCH_INVALID" 400 Worker false
        "Not a batch of rows",
        "A batch is an object of this server, `application/jsonl`, of the size that is given and of 16 MiB at most. Nothing \
         was appended.",
        "Put the object first, and publish it with its own size.";
    DatasetForbidden "DATASET_FORBIDDEN" 403 Worker false
        "Not a dataset of the task's",
        "The capability does not name this dataset version. Nothing was appended.",
        "Name one of the datasets in the handler's `grants`, with its version where it grants several.";
    DatasetNotRegistered "DATASET_NOT_REGISTERED" 409 Worker false
        "The dataset version has no row schema",
        "Rows are taken for versions that are registered with a `row_schema` only. Nothing was appended.",
        "Register the version with `POST /api/dataset`, then publish the batch again.";
    DatasetNotFound "DATASET_NOT_FOUND" 404 Log false
        "No such dataset version",
        "The stream has neither a registration nor an event of it.",
        "`GET /api/dataset` lists them; name the stream with `stream_id`.";
    RowsLost "ROWS_LOST" 500 Log false
        "Rows are lost",
        "The blob of a batch that was committed, by the record at `index`, is damaged or gone.",
        "Restore the blob from a backup, delete state.sled while the server is stopped, and start it: rows are made again.";
    ClaimsFull "CLAIMS_FULL" 503 Worker true
        "Too many claims wait",
        "As many claims wait for a task as `tasks.claims_waiting_max` allows.",
        "Claim again later, without `wait_ms`, or raise the bound.";
    TicketsFull "TICKETS_FULL" 503 Ingress true
        "Too many tail tickets",
        "As many tickets are in use as `auth.tickets_max` allows.",
        "Wait, or close tails that are no longer watched.";
    BodyTooLarge "BODY_TOO_LARGE" 413 Ingress false
        "Body, blob or record too large",
        "The body exceeds its limit, or the record would exceed 65,000 bytes even with its large members as blobs. \
         Nothing was appended.",
        "Put the content with `PUT /api/blob/sha256/{hex}` and refer to it as \
         `{\"$blob\": \"sha256:…\", \"size_bytes\": n, \"media_type\": \"…\"}`.";
    InvalidJson "INVALID_JSON" 400 Ingress false
        "Not strict JSON",
        "The body is not JSON, repeats a key, holds a number that no double stands for exactly, a lone surrogate, or \
         is nested deeper than 64.",
        "Correct what the pointer names; send numbers out of range as text.";
    InvalidInput "INVALID_INPUT" 400 Ingress false
        "Wrong shape",
        "A field or parameter is missing, unknown, of the wrong type or out of its range.",
        "Correct what the pointer or the detail names.";
    UnsupportedInterfaceVersion "UNSUPPORTED_INTERFACE_VERSION" 400 Ingress false
        "Unsupported interface version",
        "`interface_version` is missing or not 2.",
        "Send `\"interface_version\": 2`.";
    IdempotencyKeyMismatch "IDEMPOTENCY_KEY_MISMATCH" 400 Ingress false
        "Idempotency-Key differs from the correlation id",
        "The header `Idempotency-Key` is there and does not equal `correlation_id`, which is the key here.",
        "Leave the header out, or send the correlation id in it.";
    SecretsPresent "SECRETS_PRESENT" 400 Ingress false
        "A secret in the content",
        "A key such as `password`, `api_key` or `token` holds text. The log is for ever, so nothing was stored; the \
         value was neither echoed nor logged.",
        "Remove the value and treat it as exposed if it was real; send a reference to a vault instead.";
    InvalidParent "INVALID_PARENT" 400 Ingress false
        "Invalid parent turn",
        "`parent_turn_id` is unknown in the thread, equals the turn, or closes a cycle.",
        "Name an earlier turn of the same thread, or null.";
    RefNotFound "REF_NOT_FOUND" 400 Ingress false record
        "Reference not found",
        "A declared reference resolves to nothing in this stream.",
        "Refer to a correlation id or turn that has been acknowledged.";
    CrossThreadRef "CROSS_THREAD_REF" 400 Ingress false record
        "Reference into another thread",
        "A declared reference resolves only in another thread of the stream.",
        "Refer within the thread.";
    MaxRefsExceeded "MAX_REFS_EXCEEDED" 400 Ingress false record
        "Too many references",
        "There are more declared references than `context.max_refs`.",
        "Declare fewer.";
    EmptyRefsDenied "EMPTY_REFS_DENIED" 400 Ingress false record
        "No references",
        "The context configuration demands declared references, and there are none.",
        "Declare at least one.";
    CorrelationIdReused "CORRELATION_ID_REUSED" 409 Ingress false
        "Correlation id already used",
        "Another request with this correlation id is in the stream, at `index`. Nothing was appended.",
        "Choose a new correlation id for a new request.";
    IntentNotFound "INTENT_NOT_FOUND" 404 Ingress false
        "Intent not found",
        "The stream has no intent with this correlation id.",
        "Check the stream and the correlation id; report what belongs to an acknowledged intent.";
    ExecutionNotFound "EXECUTION_NOT_FOUND" 404 Ingress false
        "Execution not found",
        "No execution of this id is open in a stream of yours, and none has ended in the stream that the request names. \
         A denied intent has none.",
        "Take `execution_id` of the INTENT's payload, and give its stream as `tenant_id` if it may have ended.";
    NotAllowed "NOT_ALLOWED" 409 Policy false
        "Not allowed",
        "The intent has no DECISION yet, or was denied: it has no execution. Nothing was appended.",
        "Report once the stream has the intent's DECISION with the result ALLOW.";
    NotExternal "NOT_EXTERNAL" 409 Ingress false
        "Not run from outside",
        "The handler of the intent's type is not of kind external, or there is none. Nothing was appended.",
        "Register an external handler for the type with `POST /api/intent/handlers` before its intents are submitted.";
    IllegalTransition "ILLEGAL_TRANSITION" 409 Log false
        "Not a step of an execution's life",
        "created -> running -> completed | failed | cancelled, and created -> failed | cancelled: this report would be \
         another step, or the execution has ended. Nothing was appended.",
        "Look at the execution's records in the timeline of its thread; report `running` first.";
    HandlerNotFound "HANDLER_NOT_FOUND" 404 Ingress false
        "Handler not found",
        "No handler of this name is registered for the type.",
        "`GET /api/intent/handlers` lists them; what ships with the server is not registered and cannot be removed.";
    BlobNotFound "BLOB_NOT_FOUND" 404 Ingress false
        "Blob not found",
        "No blob of this digest is here, or none that a record in a stream of yours names. Where an intent or \
         a report refers to it, the status is 400 and nothing was appended.",
        "Put it first with `PUT /api/blob/sha256/{hex}`, for a task's report with `PUT /v1/task/blob/sha256/{hex}`.";
    BlobDigestMismatch "BLOB_DIGEST_MISMATCH" 400 Ingress false
        "Content differs from its digest",
        "The SHA-256 of the bytes that arrived is not the one in the path. Nothing was stored.",
        "Compute the digest of the content that is sent, and send it whole.";
    IndexNotFound "INDEX_NOT_FOUND" 404 Log false
        "No record at this index",
        "The index is not below the head, or not in a stream that the caller may read.",
        "`GET /status` says where the head is.";
    IndexNotApplied "INDEX_NOT_APPLIED" 503 Log true
        "Not applied yet",
        "The projections have not reached `min_index` within the time that a request waits.",
        "Ask again.";
    TileNotFound "TILE_NOT_FOUND" 404 Log false
        "No such tile",
        "The path names no tile, or one that the log has not filled.",
        "Name tiles as C2SP's tlog-tiles does, and ask for no more than a checkpoint covers.";
    ProofNotReady "PROOF_NOT_READY" 503 Log true
        "Not covered by a checkpoint yet",
        "The tree has not reached this size, or is being made again from the log.",
        "Ask again: a log that grows is signed each `checkpoint.interval_seconds`.";
    CheckpointRefused "CHECKPOINT_REFUSED" 503 Log false
        "The log does not sign",
        "Key or tree are not what the newest checkpoint demands, and a second history is never signed.",
        "The server's log says what is wrong; it signs again once that is mended and it was started anew.";
    NoSnapshot "NO_SNAPSHOT" 404 Log false
        "No snapshot",
        "There is no snapshot at this length.",
        "Ask for the head, or for a length that has one.";
    RangeNotSatisfiable "RANGE_NOT_SATISFIABLE" 416 Ingress false
        "Range not satisfiable",
        "The header `Range` begins behind the end of the blob; `Content-Range` gives its length.",
        "Ask for a range within the length, or for the whole.";
    BlobTransfersFull "BLOB_TRANSFERS_FULL" 503 Ingress true
        "Too many blobs on their way",
        "As many blobs are being uploaded, or downloaded, as the server allows at once. Nothing was stored.",
        "Send it again after Retry-After.";
    QueueFull "QUEUE_FULL" 503 Log true
        "Queue full",
        "As many records wait for the disk as `log.queue_records_max` allows. Nothing was appended.",
        "Send it again after Retry-After, with the same correlation id.";
    Draining "DRAINING" 503 Log true
        "Shutting down",
        "The server takes no new requests because it is being stopped. Nothing was appended.",
        "Send it again after Retry-After; a restarted server takes it.";
    Recovering "RECOVERING" 503 Log true
        "Starting",
        "The server is still recovering its log. Nothing was appended.",
        "Wait until `GET /readyz` answers 200.";
    DiskFull "DISK_FULL" 503 Log true
        "Disk full",
        "There is no space for new records. Reads and tails go on. Nothing was appended.",
        "Make space on the volume of `server.data`; appends go on by themselves.";
    SubjectConflict "SUBJECT_CONFLICT" 409 Log true
        "Something else came first",
        "Another record has moved the subject meanwhile. Nothing was appended.",
        "Look at what changed, then send it again.";
    DeciderLagging "DECIDER_LAGGING" 503 Policy true
        "Decisions are behind",
        "More intents wait for a decision than are allowed. Nothing was appended.",
        "Send it again after Retry-After.";
    InvalidPolicy "INVALID_POLICY" 400 Policy false
        "Invalid policy bundle",
        "The bundle cannot be read, or its policies do not fit its schema. Nothing was appended.",
        "Correct what `faults` names by file, line and column; `gesta policy check DIR` says the same without a server.";
    InvalidContext "INVALID_CONTEXT" 400 Policy false
        "Invalid configuration of the context",
        "A key is unknown or a value is out of its range. Nothing was appended.",
        "Correct what the pointer names; `gesta context check FILE` says the same without a server.";
    PolicyVersionReused "POLICY_VERSION_REUSED" 409 Policy false
        "Another bundle has this version",
        "A bundle with this `policy_id` and `policy_version` and other files was activated before, at `index`. Nothing \
         was appended.",
        "Raise `policy_version` in bundle.json: decisions are known by it.";
    RateLimited "RATE_LIMITED" 429 Ingress true
        "Too many requests",
        "The token or stream has used up its rate. Nothing was appended.",
        "Send it again after Retry-After.";
    LogDamaged "LOG_DAMAGED" 500 Log false
        "A record is damaged",
        "Stored bytes fail their checksum. They are not served, and nothing is skipped.",
        "Stop the server, look with `gesta inspect`, and restore a backup or use `gesta salvage`.";
    OutcomeUnknown "OUTCOME_UNKNOWN" 500 Log true
        "Outcome unknown",
        "The server cannot tell whether the record became durable, because the disk failed or the process is ending.",
        "Send it again with the same correlation id: if it was stored, the answer says so, and nothing is stored \
         twice.";
    Internal "INTERNAL" 500 Ingress false
        "A defect of the server",
        "The request ran into a defect. Nothing that was acknowledged is affected.",
        "Report it with the correlation id, under which the server's log has the cause.";
}
