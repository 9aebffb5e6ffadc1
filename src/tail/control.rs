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

/// The beginning of every tail: how long to wait before coming back, and which log this is.
///
/// With the client's own cursor, the index before `next`, as the id: a widespread client forgets its cursor at the first
/// event without one and would come back from the beginning. None where the cursor cannot be served.
pub(super) fn opening(
    retry_ms: u64,
    origin: &str,
    generation: u64,
    first: Index,
    head: Index,
    next: Option<Index>,
) -> String {
    let origin = serde_json::Value::from(origin);
    let id = next.map(|next| format!("id: {}\n", before(next))).unwrap_or_default();
    format!(
        "retry: {retry_ms}\n{id}event: log\n\
         data: {{\"first\":{first},\"generation\":{generation},\"head\":{head},\"origin\":{origin}}}\n\n"
    )
}

/// The client has everything below `head`, which is below `next`.
pub(super) fn caught_up(next: Index, head: Index) -> String {
    format!("id: {}\nevent: caught-up\ndata: {{\"head\":{head}}}\n\n", before(next))
}

/// The cursor of a client that has everything below `next`: −1 where that is nothing.
fn before(next: Index) -> i128 {
    i128::from(next.0) - 1
}

/// Moves the client's cursor over records that the filter left out. With an event and data of its own, because an id
/// alone moves a browser's cursor but not that of every client.
pub(super) fn cursor(last: Index) -> String {
    format!("id: {last}\nevent: cursor\ndata: {last}\n\n")
}

/// Sends the client back to the first record that there is. The stream ends behind it.
pub(super) fn reset(reason: Reset, first: Index, head: Index) -> String {
    let before_first = before(first);
    let reason = reason.text();
    format!(
        "id: {before_first}\nevent: reset\ndata: {{\"first\":{first},\"head\":{head},\"reason\":\"{reason}\"}}\n\n"
    )
}
