//! The format of the Gesta log: bytes to envelopes and back.
//!
//! `FORMAT.md` beside this crate is the specification; this crate is one implementation of it. No async, no clock,
//! no network: time, randomness and the disk enter through parameters.

pub mod blob;
pub mod checkpoint;
pub mod digest;
pub mod disk;
pub mod envelope;
pub mod frame;
pub mod hex;
mod index;
pub mod json;
pub mod kind;
pub mod log;
pub mod note;
pub mod record;
pub mod saved_tail;
pub mod segment;
pub mod size;
pub mod tile;
pub mod timestamp;
pub mod tree;

pub use digest::{Checksum, Digest};
pub use index::Index;
pub use kind::Kind;
pub use timestamp::Timestamp;
