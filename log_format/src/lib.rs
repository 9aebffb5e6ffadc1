//! The format of the Gesta log: bytes to envelopes and back.
//!
//! `FORMAT.md` beside this crate is the specification; this crate is one implementation of it. No async, no clock,
//! no network: time, randomness and the disk enter through parameters.

pub mod disk;
pub mod json;
pub mod tree;
