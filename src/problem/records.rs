//! The codes that stand in records alone: why an execution has failed, and why a DECISION is a DENY.
//!
//! An external handler and a policy choose codes of their own besides; those are theirs to explain.

use super::catalogue::{AppearsIn, Entry, ReasonCode, Source};

/// The codes that no answer over HTTP has, first those of DECISIONs, then those of EXECUTIONs.
const RECORD_CODES: &[Entry] = &[
    record(
        "POLICY_DENIED",
        Source::Policy,
        "Denied by the policy",
        "The DECISION of the intent is DENY: its execution is `failed` with this code, and no EXECUTION record \
         says so.",
        "The DECISION's `reasons` say why; `gesta-replay explain INDEX` shows them with the policy's lines.",
    ),
    record(
        "NO_PERMIT",
        Source::Policy,
        "No policy permits it",
        "A DECISION's reason: no policy of the active bundle permits the intent, and none forbids it.",
        "Add a policy that permits it, check and test the bundle, and activate it for the intents to come.",
    ),
    record(
        "EVALUATION_ERROR",
        Source::Policy,
        "A policy could not be evaluated",
        "A DECISION's reason: a policy, the bundle or the intent's payload could not be evaluated, which denies; \
         `params` says which.",
        "`gesta policy check DIR` and `gesta policy test DIR` find what a policy cannot cope with; correct it \
         and activate the bundle.",
    ),
    record(
        "CONTENT_ERASED",
        Source::Policy,
        "What it is decided by was erased",
        "A DECISION's reason: the content of the intent or of a reference was erased before it was decided.",
        "Submit it again without what was erased.",
    ),
    record(
        "NO_HANDLER",
        Source::Worker,
        "Nobody handles its type",
        "No handler is registered for the intent's type when it is to be run, or a builtin one that this server \
         does not have.",
        "Register one with `POST /api/intent/handlers` or under [[handlers]], then submit the intent anew.",
    ),
    record(
        "PARAMS_UNAVAILABLE",
        Source::Worker,
        "What the intent brings cannot be read",
        "A handler in Rust has asked for the intent's payload, which lies in a blob that is not here or cannot be read.",
        "The message names it; put the blob again, or look with `gesta inspect`.",
    ),
    record(
        "CONTEXT_INVALID",
        Source::Worker,
        "A defect of the server",
        "The ids of an execution's context are missing or not its intent's. The handler was not called.",
        "Report it with the intent's records.",
    ),
    record(
        "PARAMS_INVALID",
        Source::Worker,
        "Not what its handler asks for",
        "The intent's payload does not satisfy the `params_schema` of the handler's registration; `pointer` says where. \
         The handler was not given it, and no task was queued.",
        "Submit an intent whose payload fits; `GET /api/intent/handlers` shows the schema.",
    ),
    record(
        "RETRIES_EXHAUSTED",
        Source::Worker,
        "It was tried as often as may be",
        "A handler was given it as often as `EXECUTION_DELIVERIES_MAX` allows, and the process ended each time \
         before it did.",
        "The server's log says how it ended; mend the handler if it ends the process, then submit the intent anew.",
    ),
    record(
        "DEADLINE_EXCEEDED",
        Source::Worker,
        "Not in time",
        "A builtin handler did not end within the time for an invocation; or nobody reported `running`, or after \
         it an end, within the `timeout_seconds` of an external one. That time begins anew with a start of the \
         server.",
        "Register the handler with a larger `timeout_seconds`, or mend what is slow, then submit the intent anew.",
    ),
    record(
        "HANDLER_PANICKED",
        Source::Worker,
        "A defect of the handler",
        "The builtin handler has panicked. Nothing else is affected.",
        "Report it with the server's log, which has the panic's text.",
    ),
    record(
        "HANDLER_OUTPUT_INVALID",
        Source::Worker,
        "A defect of the handler",
        "What the builtin handler gave is not canonical JSON, an event is no object, or there are more than\
         `EXECUTION_EVENTS_MAX`.",
        "Mend the handler.",
    ),
    record(
        "OUTPUT_NOT_KEPT",
        Source::Worker,
        "Its output could not be kept",
        "The output is larger than `blobs.blob_bytes_max`, or the disk has failed.",
        "Give less, or raise the limit; check the disk.",
    ),
    record(
        "CONTEXT_UNAVAILABLE",
        Source::Worker,
        "What the DECISION refers to cannot be read",
        "`assemble_prompt` cannot read a record or blob that the DECISION's context names.",
        "The message names it; put the blob again, or look with `gesta inspect`.",
    ),
    record(
        "CONTEXT_DIFFERS",
        Source::Worker,
        "What is read is not what was decided",
        "`assemble_prompt` has read a record or blob whose digest is not the one that the DECISION bound.",
        "Verify the log: `gesta-replay verify`.",
    ),
    record(
        "PROMPT_TOO_LARGE",
        Source::Worker,
        "The prompt is too large",
        "The messages that `assemble_prompt` would give exceed `PROMPT_BYTES_MAX`.",
        "Refer to less, or to a later turn.",
    ),
    record(
        "PUSH_REFUSED",
        Source::Worker,
        "The handler's URL refuses it",
        "The URL of a handler of kind `push` answered with a status from 400 to 499 other than 408, 425 and 429.",
        "The message has the status: mend the handler behind the URL, then submit the intent anew.",
    ),
    record(
        "PUSH_UNDELIVERED",
        Source::Worker,
        "Nobody accepted it",
        "An attempt was posted as often as `PUSH_RESENDS_MAX` allows, and nobody accepted it.",
        "The message says what came back last; mend the host, then submit the intent anew if no attempt was left.",
    ),
    record(
        "PUSH_TARGET_REFUSED",
        Source::Worker,
        "Its handler's URL may not be called",
        "The host is not in `push.allow_hosts` any more, or is at an address that is not public.",
        "The message says what to change in the configuration; then submit the intent anew.",
    ),
];

/// The whole catalogue: what answers have, then what records have.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    ReasonCode::ALL.iter().map(|code| code.entry()).chain(RECORD_CODES)
}

const fn record(
    reason_code: &'static str,
    source: Source,
    title: &'static str,
    cause: &'static str,
    remedy: &'static str,
) -> Entry {
    let appears_in = &[AppearsIn::Record];
    Entry { reason_code, status: None, appears_in, title, cause, remedy, retriable: false, source }
}
