//! A verification's report in the forms that people, scripts and CI systems read. None of them says when, where or
//! by how many threads it was made: equal logs have equal reports.

pub(super) mod json;
pub(super) mod junit;
pub(super) mod sarif;
pub(super) mod text;

use gesta_replay::verify::Report;

use super::source::LogFacts;

/// A report with what is known of the log besides its records.
pub(super) struct Whole {
    pub(super) facts: LogFacts,
    pub(super) report: Report,
}

/// The checks that findings belong to, in the order in which they are told.
pub(super) const CHECKS: [(&str, &str); 7] = [
    ("bytes", "frames, checksums, seals, the order of segments and records"),
    ("envelopes", "each envelope's form, index and digest, and that of each request"),
    ("rules", "subjects, anchors, causes, times, one INTENT and one DECISION each"),
    ("executions", "no EXECUTION without an ALLOW, and every transition"),
    ("decisions", "every context digest and every decision, derived again"),
    ("tree", "the Merkle tree against seals, checkpoints and snapshots"),
    ("projections", "the digests of projections"),
];

/// Which check a rule belongs to.
pub(super) fn check_of(rule: &str) -> &'static str {
    match rule {
        "INDEX"
        | "DIGEST"
        | "CANONICAL"
        | "ENVELOPE"
        | "PAYLOAD"
        | "UNKNOWN_TYPE"
        | "REQUEST_DIGEST"
        | "REQUEST_NOT_REPLAYABLE" => "envelopes",
        "EXECUTION_WITHOUT_ALLOW" | "EXECUTION_NOT_OPEN" | "EXECUTION_ID_REUSED" | "ILLEGAL_TRANSITION" => {
            "executions"
        }
        "DIVERGED"
        | "ENGINE_DIFFERS"
        | "BLOB_MISSING"
        | "BLOB_DIFFERS"
        | "BLOB_ERASED"
        | "UNUSABLE"
        | "DECISION_MISSING"
        | "INTENT_UNREADABLE"
        | "POLICY_DIGEST"
        | "POLICY_NAME"
        | "POLICY_UNREADABLE"
        | "CONTEXT_CONFIG"
        | "CONTEXT_CONFIG_DIGEST" => "decisions",
        "CHECKPOINT"
        | "CHECKPOINT_ORIGIN"
        | "CHECKPOINT_UNTRUSTED"
        | "CHECKPOINT_OUT_OF_REACH"
        | "SNAPSHOT_ROOT" => "tree",
        "SNAPSHOT" | "SNAPSHOT_UNKNOWN" | "SNAPSHOT_OUT_OF_REACH" => "projections",
        _ if is_of_bytes(rule) => "bytes",
        _ => "rules",
    }
}

fn is_of_bytes(rule: &str) -> bool {
    let of_bytes =
        ["SEGMENT_", "RECORD_", "RECORDS_", "SEAL", "BEHIND_SEAL", "FRONTIER", "TORN", "CUT_OFF", "ORDER"];
    of_bytes.iter().any(|beginning| rule.starts_with(beginning))
}
