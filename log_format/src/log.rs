//! The log in a directory: opening and recovering it, appending to it, reading it.
//!
//! One [`Writer`] owns the end; any number of [`Reader`]s see what it has made durable, never more. The order in
//! [`Writer::append`] is the durability contract: write, sync, publish. A failed write or sync consumes the writer
//! ([`Dead`]): the only safe step is to reopen and recover.

mod batch;
mod damage;
mod fill;
mod frontier;
mod judge;
pub mod offline;
mod offsets;
mod open;
mod reader;
mod scan;
mod segments;
mod takeover;
mod window;
mod writer;

#[cfg(test)]
mod tests;

pub use batch::{Batch, Placed};
pub use damage::{Damage, Damaged};
pub use fill::{FillStep, Filler, Room};
pub use frontier::{Frontier, FrontierError, FrontierFile};
pub use judge::{Place, Remains, Verdict, judge};
pub use offsets::SparseOffsets;
pub use open::{Marks, OpenError, Opened, Options, Recovery, open};
pub use reader::{Chunk, Cursor, ReadError, Reader};
pub use scan::{End, Hashing, ScanError, Scanned, SegmentScan};
pub use segments::{SealedSegment, Segment};
pub use window::Window;
pub use writer::{Absorber, Dead, Rolled, Writer};

/// The name of the file whose lock says that a process owns the directory.
pub const LOCK: &str = "lock";

/// The name of the frontier file.
pub const FRONTIER: &str = "frontier";
