//! The Gesta server: an append-only decision log over HTTP.

pub mod keys;
pub mod auth;
pub mod cli;
pub mod config;
pub mod exchange;
pub mod limits;
pub mod problem;
