//! What a tail says besides records: blocks that a browser can see, because it sees neither status nor headers.

use bytes::Bytes;
use gesta_log_format::Index;

/// Why a cursor cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    /// It is not an index.
    Unreadable,
    /// The log begins behind it.
    Gone,
    /// It is ahead of the head.
    Ahead,
    /// It belongs to another log.
    Origin,
}

impl Reset {
    fn text(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Gone => "gone",
            Self::Ahead => "ahead",
            Self::Origin => "origin",
        }
    }
}

/// A comment that keeps proxies and clients from giving up. No blank line follows: two widespread clients would
/// dispatch an empty event for it.
pub(super) const HEARTBEAT: Bytes = Bytes::from_static(b": heartbeat\n");

/// The beginning of every tail: how long to wait before coming back, and which log this is. Without an id, so that
/// the client's cursor stays.
pub(super) fn opening(retry_ms: u64, origin: &str, generation: u64, first: Index, head: Index) -> String {
    let origin = serde_json::Value::from(origin);
    format!(
        "retry: {retry_ms}\nevent: log\ndata: {{\"first\":{first},\"generation\":{generation},\"head\":{head},\"origin\":{origin}}}\n\n"
    )
}

/// The client has everything up to the head.
pub(super) fn caught_up(head: Index) -> String {
    format!("event: caught-up\ndata: {{\"head\":{head}}}\n\n")
}

/// Moves the client's cursor over records that the filter left out. With an event and data of its own, because an id
/// alone moves a browser's cursor but not that of every client.
pub(super) fn cursor(last: Index) -> String {
    format!("id: {last}\nevent: cursor\ndata: {last}\n\n")
}

/// Sends the client back to the first record that there is. The stream ends behind it.
pub(super) fn reset(reason: Reset, first: Index, head: Index) -> String {
    let before_first = i128::from(first.0) - 1;
    let reason = reason.text();
    format!(
        "id: {before_first}\nevent: reset\ndata: {{\"first\":{first},\"head\":{head},\"reason\":\"{reason}\"}}\n\n"
    )
}
