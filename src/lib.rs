//! The Gesta server: an append-only decision log over HTTP.
//!
//! Data flows ingress -> sequencer -> projector -> tail; `ARCHITECTURE.md` is the tour.

pub mod activation;
pub mod append;
pub mod auth;
pub mod blobs;
pub mod capability;
pub mod cli;
pub mod client;
pub mod config;
pub mod control;
pub mod datasets;
pub mod decider;
pub mod exchange;
pub mod execution;
pub mod executor;
mod follower_id;
pub mod ingress;
pub mod key_file;
pub mod keys;
pub mod limits;
mod members;
pub mod metrics;
pub mod objects;
pub mod outbound;
pub mod page;
pub mod prefix;
pub mod problem;
pub mod projector;
pub mod proofs;
pub mod publish;
pub mod push;
pub mod reads;
pub mod runtime;
pub mod sequencer;
pub mod server;
pub mod state;
pub mod store;
pub mod tail;
pub mod tasks;

use std::process::ExitCode;

/// Runs the `gesta` command that the process was started with; its servers have the handlers of these solutions besides
/// those that ship with them.
#[must_use]
pub fn run_with(solutions: Vec<Box<dyn runtime::Solution>>) -> ExitCode {
    capability::install_provider();
    cli::main(solutions)
}
