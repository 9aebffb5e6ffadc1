//! The states that are folded from the log.
//!
//! What grows without end is not kept: [`head`] holds a few values for each stream, and [`threads`] is folded for one
//! thread at a time, from the records that the keys find, whenever someone asks. [`decisions`], [`executions`] and
//! [`handlers`] hold what is live: INTENTs without a DECISION, executions that have not ended, what is in force now.
//! [`counts`] holds 24 bytes for each thread and actor, and a little air.
//!
//! [`audit`] grows with the number of subjects. It is an auditor's, and no server folds it.

use crate::event::{Event, SYSTEM_STREAM};
use crate::projection::FoldError;
use crate::rule::Rule;

pub mod audit;
pub mod counts;
pub mod decisions;
pub mod executions;
pub mod handlers;
pub mod head;
pub mod leases;
pub mod tasks;
pub mod threads;

/// What configures the server for everyone stands where no tenant writes.
fn in_system_stream(event: &Event<'_>) -> Result<(), FoldError> {
    if event.view().stream_id == SYSTEM_STREAM.as_bytes() {
        return Ok(());
    }
    Err(FoldError::broken(event, Rule::ControlStream))
}
