//! The states that are folded from the log.
//!
//! What grows without end is not kept: [`head`] holds a few values for each stream, and [`threads`] is folded for one
//! thread at a time, from the records that the keys find, whenever someone asks. [`decisions`], [`executions`] and
//! [`handlers`] hold what is live: INTENTs without a DECISION, executions that have not ended, what is in force now.
//! [`tasks`], [`leases`] and [`outbox`] hold the work that waits or is being done; [`counts`] holds 24 bytes for each
//! thread and actor, and a little air, and [`datasets`] each version that was registered.
//!
//! [`audit`] grows with the number of subjects. It is an auditor's, and no server folds it.

use crate::event::{Event, SYSTEM_STREAM};
use crate::fingerprint::{Fingerprint, Tag};
use crate::projection::FoldError;
use crate::rule::Rule;

pub mod audit;
pub mod counts;
pub mod datasets;
pub mod decisions;
pub mod executions;
pub mod handlers;
pub mod head;
pub mod leases;
pub mod outbox;
pub mod tasks;
pub mod threads;

/// What configures the server for everyone stands where no tenant writes.
fn in_system_stream(event: &Event<'_>) -> Result<(), FoldError> {
    if event.view().stream_id == SYSTEM_STREAM.as_bytes() {
        return Ok(());
    }
    Err(FoldError::broken(event, Rule::ControlStream))
}

/// Where a record is anchored, by the texts as they are written: canonical, so equal ones are equal values.
pub(crate) fn anchors(buffer: &mut Vec<u8>, event: &Event<'_>) -> Fingerprint {
    let view = event.view();
    let (given, parent_turn_id): (&[u8], _) = match view.parent_turn_id {
        Some(parent_turn_id) => (b"1", parent_turn_id),
        None => (b"0", &[][..]),
    };
    let parts =
        [view.stream_id, view.lane, view.correlation_id, view.thread_id, view.turn_id, given, parent_turn_id];
    Fingerprint::of(buffer, Tag::Anchors, &parts)
}
