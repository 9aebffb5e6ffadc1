//! `gesta bench`: what a server does under load, seen from its clients; and large logs to start it with.
//!
//! The clients run on one thread, so that the rest of the machine is the server's. Figures of one machine and one run
//! compare with each other and with nothing else.

mod append;
mod fanout;
mod generate;
mod histogram;
mod intents;
mod report;
mod tail;

use super::args::BenchCommand;
use super::{Failure, args};

/// # Errors
/// A server that cannot be reached or refuses, a directory that cannot be written.
pub fn run(arguments: args::Bench) -> Result<(), Failure> {
    match arguments.command {
        BenchCommand::Append(arguments) => append::run(&arguments),
        BenchCommand::Tail(arguments) => tail::run(&arguments),
        BenchCommand::Fanout(arguments) => fanout::run(&arguments),
        BenchCommand::Generate(arguments) => generate::run(&arguments),
    }
}
