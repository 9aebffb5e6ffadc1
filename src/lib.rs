//! The Gesta server: an append-only decision log over HTTP.

pub mod auth;
pub mod cli;
pub mod config;
pub mod exchange;
pub mod keys;
pub mod limits;
pub mod problem;
