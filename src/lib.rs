//! The Gesta server: an append-only decision log over HTTP.

pub mod keys;
pub mod limits;
