//! The closed lists of kinds and types. FORMAT.md, "Kinds and types", gives each one's subject and payload.

use std::fmt;

/// What a record is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Someone asks for something.
    Intent,
    /// A policy answered an intent.
    Decision,
    /// What became of an allowed intent.
    Execution,
    /// Work that a worker claims under a lease.
    Task,
    /// Something that was produced.
    Artifact,
    /// A session's life.
    Session,
    /// The server's own configuration, as it changes.
    Control,
    /// An event of a run's ledger.
    Ledger,
}

impl Kind {
    /// Every kind, in the order of the table in FORMAT.md.
    pub const ALL: [Self; 8] = [
        Self::Intent,
        Self::Decision,
        Self::Execution,
        Self::Task,
        Self::Artifact,
        Self::Session,
        Self::Control,
        Self::Ledger,
    ];

    /// The written form: upper case.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Intent => "INTENT",
            Self::Decision => "DECISION",
            Self::Execution => "EXECUTION",
            Self::Task => "TASK",
            Self::Artifact => "ARTIFACT",
            Self::Session => "SESSION",
            Self::Control => "CONTROL",
            Self::Ledger => "LEDGER",
        }
    }

    /// Reads the written form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.text() == text)
    }

    /// The types that records of this kind may have.
    #[must_use]
    pub const fn types(self) -> &'static [&'static str] {
        match self {
            Self::Intent => INTENT,
            Self::Decision => DECISION,
            Self::Execution => EXECUTION,
            Self::Task => TASK,
            Self::Artifact => ARTIFACT,
            Self::Session => SESSION,
            Self::Control => CONTROL,
            Self::Ledger => LEDGER,
        }
    }

    /// The type named `text`, if this kind has it.
    #[must_use]
    pub fn type_named(self, text: &str) -> Option<&'static str> {
        self.types().iter().copied().find(|name| *name == text)
    }
}

const INTENT: &[&str] = &["submitted", "cancel_requested"];

const DECISION: &[&str] = &["decided"];

const EXECUTION: &[&str] =
    &["running", "event", "state_set", "step_completed", "step_failed", "completed", "failed", "cancelled"];

const TASK: &[&str] = &[
    "queued",
    "claimed",
    "extended",
    "cancel_requested",
    "completed",
    "failed",
    "timed_out",
    "retry_scheduled",
    "canceled",
    "event",
    "buffer_published",
    "buffer_committed",
    "buffer_dead_lettered",
    "placed",
    "started",
    "dropped",
];

const ARTIFACT: &[&str] =
    &["registered", "materialized", "lifecycle_changed", "dataset_registered", "dataset_event", "erased"];

const SESSION: &[&str] = &["created", "upgraded", "state_set", "renewed", "expired", "closed"];

const CONTROL: &[&str] = &[
    "policy_activated",
    "context_activated",
    "handler_registered",
    "handler_removed",
    "pool_set",
    "pool_draining",
    "reload_started",
    "reload_completed",
    "reload_failed",
    "model_set",
    "model_removed",
    "model_verified",
    "key_rotated",
    "token_created",
    "token_revoked",
    "erasure",
    "clock_behind",
    "log_base",
];

const LEDGER: &[&str] = &[
    "run_started",
    "phase_start",
    "plan_generated",
    "build_completed",
    "tool_result",
    "model_output",
    "verification_completed",
    "gate_decided",
    "evidence_published",
    "pr_opened",
    "approval_request",
    "approval_recorded",
    "phase_failed",
    "run_completed",
    "run_failed",
    "run_cancelled",
];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
