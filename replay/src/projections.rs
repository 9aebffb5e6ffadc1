//! The states that are folded from the log.
//!
//! What grows without end is not kept: [`head`] holds a few values for each stream, and [`threads`] is folded for one
//! thread at a time, from the records that the keys find, whenever someone asks.

pub mod head;
pub mod threads;
