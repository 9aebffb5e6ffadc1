//! The payload of a task's first `queued`: the registration that is in force, with the defaults filled in.

use gesta_log_format::Index;
use gesta_replay::EventError;
use gesta_replay::event::{Content, Registration};
use gesta_replay::projections::executions;
use gesta_replay::projections::handlers::Handler;

use crate::limits;
use crate::members::Members;

/// The pool of a worker's handler that names none, and that of what this server posts.
pub(super) const DEFAULT_POOL: &str = "default";

const NO_GRANTS: &[u8] = br#"{"datasets":[],"s3":{"read_prefixes":[],"write_prefixes":[]}}"#;

/// The payload.
///
/// # Errors
/// The registration is not as it should be.
pub(super) fn payload(execution: &executions::Open, handler: &Handler) -> Result<Vec<u8>, EventError> {
    let registration = handler.registration()?;
    let grants = match &registration.grants {
        Some(Content::Inline(grants)) => *grants,
        Some(Content::Blob(_)) | None => NO_GRANTS,
    };
    Ok(Members::new()
        .number("attempt", 0)
        .raw("grants", grants)
        .raw("handler", pin(&execution.intent_type, &registration, handler.index))
        .number("intent_index", execution.intent_index.0)
        .text("kind", handler.kind.text())
        .raw("limits", limits_of(&registration))
        .text("pool", registration.pool.as_deref().unwrap_or(DEFAULT_POOL))
        .number("priority", registration.priority.map_or(limits::TASK_PRIORITY_DEFAULT, u64::from))
        .finish())
}

fn pin(intent_type: &str, registration: &Registration<'_>, index: Index) -> Vec<u8> {
    Members::new()
        .text("handler_name", &registration.handler_name)
        .number("index", index.0)
        .text("intent_type", intent_type)
        .finish()
}

fn limits_of(registration: &Registration<'_>) -> Vec<u8> {
    let given = &registration.limits;
    let milliseconds = |seconds: Option<u64>, default: u64| seconds.unwrap_or(default).saturating_mul(1000);
    let lease_ms = milliseconds(given.lease_seconds, limits::TASK_LEASE_SECONDS);
    // A worker that is heard of less often than its lease lasts would lose it.
    let heartbeat_ms =
        milliseconds(given.heartbeat_seconds, limits::TASK_HEARTBEAT_SECONDS).min((lease_ms / 3).max(1));
    Members::new()
        .number("heartbeat_ms", heartbeat_ms)
        .number("lease_ms", lease_ms)
        .number("max_attempts", given.max_attempts.unwrap_or(limits::TASK_ATTEMPTS_MAX))
        .number("timeout_ms", milliseconds(given.timeout_seconds, limits::TASK_TIMEOUT_SECONDS))
        .finish()
}
