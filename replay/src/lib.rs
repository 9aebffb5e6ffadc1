//! Folds a Gesta log into state.
//!
//! Pure: no clock, no randomness, no I/O, no order that differs between runs. The live server, its restart and an
//! auditor's replay call the same functions here, in the same order of records, and get equal states and digests.
//!
//! [`event`] gives a record's envelope its types; [`lifecycle`] says what may happen to an execution and
//! [`task_lifecycle`] what to a task, [`Rule`] what a log keeps to beyond its bytes; a [`Projection`] is a state that records are folded into; [`Fold`] drives several
//! over a log and insists on every index.

pub mod context;
pub mod decide;
pub mod event;
mod fingerprint;
mod fold;
pub mod lifecycle;
pub mod phase;
pub mod policy;
mod projection;
pub mod projections;
mod rule;
mod snapshot;
pub mod task_lifecycle;
pub mod verify;

#[cfg(test)]
mod tests;

pub use event::{Event, EventError};
pub use fold::Fold;
pub use phase::Phase;
pub use projection::{FoldError, Projection};
pub use rule::Rule;
pub use snapshot::RestoreError;
