//! Kind and type as closed enums. The lists are those of `gesta_log_format::kind`; a test compares them.

use gesta_log_format::Kind;

macro_rules! types {
    ($($(#[doc = $doc:literal])+ $name:ident { $($variant:ident = $text:literal,)+ })+) => {
        /// Kind and type of a record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Body {
            $($(#[doc = $doc])+ $name($name),)+
        }

        impl Body {
            /// The body of a record of this kind with the type named `type_name`, if the kind has it.
            #[must_use]
            pub fn of(kind: Kind, type_name: &str) -> Option<Self> {
                match kind {
                    $(Kind::$name => $name::parse(type_name).map(Self::$name),)+
                }
            }

            /// The written form of the type.
            #[must_use]
            pub const fn type_name(self) -> &'static str {
                match self {
                    $(Self::$name(body) => body.text(),)+
                }
            }
        }

        $(
            $(#[doc = $doc])+
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum $name {
                $(#[doc = concat!("`", $text, "`.")] $variant,)+
            }

            impl $name {
                /// Every type of this kind, in the order of FORMAT.md.
                pub const ALL: &[Self] = &[$(Self::$variant),+];

                /// The written form.
                #[must_use]
                pub const fn text(self) -> &'static str {
                    match self {
                        $(Self::$variant => $text,)+
                    }
                }

                /// Reads the written form.
                #[must_use]
                pub fn parse(text: &str) -> Option<Self> {
                    match text {
                        $($text => Some(Self::$variant),)+
                        _ => None,
                    }
                }
            }
        )+
    };
}

types! {
    /// Someone asks for something.
    Intent {
        Submitted = "submitted",
        CancelRequested = "cancel_requested",
    }
    /// A policy answered an intent.
    Decision {
        Decided = "decided",
    }
    /// What became of an allowed intent.
    Execution {
        Running = "running",
        Event = "event",
        StateSet = "state_set",
        StepCompleted = "step_completed",
        StepFailed = "step_failed",
        Completed = "completed",
        Failed = "failed",
        Cancelled = "cancelled",
    }
    /// Work that a worker claims under a lease.
    Task {
        Queued = "queued",
        Claimed = "claimed",
        Extended = "extended",
        CancelRequested = "cancel_requested",
        Completed = "completed",
        Failed = "failed",
        TimedOut = "timed_out",
        RetryScheduled = "retry_scheduled",
        Canceled = "canceled",
        Event = "event",
        BufferPublished = "buffer_published",
        BufferCommitted = "buffer_committed",
        BufferDeadLettered = "buffer_dead_lettered",
        Placed = "placed",
        Started = "started",
        Dropped = "dropped",
    }
    /// Something that was produced.
    Artifact {
        Registered = "registered",
        Materialized = "materialized",
        LifecycleChanged = "lifecycle_changed",
        DatasetRegistered = "dataset_registered",
        DatasetEvent = "dataset_event",
        Erased = "erased",
    }
    /// A session's life.
    Session {
        Created = "created",
        Upgraded = "upgraded",
        StateSet = "state_set",
        Renewed = "renewed",
        Expired = "expired",
        Closed = "closed",
    }
    /// The server's own configuration, as it changes.
    Control {
        PolicyActivated = "policy_activated",
        ContextActivated = "context_activated",
        HandlerRegistered = "handler_registered",
        HandlerRemoved = "handler_removed",
        PoolSet = "pool_set",
        PoolDraining = "pool_draining",
        ReloadStarted = "reload_started",
        ReloadCompleted = "reload_completed",
        ReloadFailed = "reload_failed",
        ModelSet = "model_set",
        ModelRemoved = "model_removed",
        ModelVerified = "model_verified",
        KeyRotated = "key_rotated",
        TokenCreated = "token_created",
        TokenRevoked = "token_revoked",
        Erasure = "erasure",
        ClockBehind = "clock_behind",
        LogBase = "log_base",
    }
    /// An event of a run's ledger.
    Ledger {
        RunStarted = "run_started",
        PhaseStart = "phase_start",
        PlanGenerated = "plan_generated",
        BuildCompleted = "build_completed",
        ToolResult = "tool_result",
        ModelOutput = "model_output",
        VerificationCompleted = "verification_completed",
        GateDecided = "gate_decided",
        EvidencePublished = "evidence_published",
        PrOpened = "pr_opened",
        ApprovalRequest = "approval_request",
        ApprovalRecorded = "approval_recorded",
        PhaseFailed = "phase_failed",
        RunCompleted = "run_completed",
        RunFailed = "run_failed",
        RunCancelled = "run_cancelled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_are_those_of_the_format() {
        let texts = |kind: Kind| -> Vec<&str> {
            fn all<T: Copy>(types: &[T], text: fn(T) -> &'static str) -> Vec<&'static str> {
                types.iter().map(|one| text(*one)).collect()
            }
            match kind {
                Kind::Intent => all(Intent::ALL, Intent::text),
                Kind::Decision => all(Decision::ALL, Decision::text),
                Kind::Execution => all(Execution::ALL, Execution::text),
                Kind::Task => all(Task::ALL, Task::text),
                Kind::Artifact => all(Artifact::ALL, Artifact::text),
                Kind::Session => all(Session::ALL, Session::text),
                Kind::Control => all(Control::ALL, Control::text),
                Kind::Ledger => all(Ledger::ALL, Ledger::text),
            }
        };
        for kind in Kind::ALL {
            assert_eq!(texts(kind), kind.types(), "{kind}");
            for name in kind.types() {
                assert_eq!(Body::of(kind, name).map(Body::type_name), Some(*name), "{kind}");
            }
            assert_eq!(Body::of(kind, "no such type"), None);
        }
    }
}
