//! The `gesta` command: arguments to calls, and failures to messages and exit codes.
//!
//! A command is one file with a `run` that takes its arguments, and one line in the list below; `serve` alone also takes
//! the solutions of the program. Standard output is
//! data; standard error is talk; failures are printed here and nowhere else.

mod activation;
pub mod args;
pub mod bench;
pub mod checkpoint;
pub mod config;
pub mod context;
pub mod dataset;
pub mod demo;
pub mod dump;
mod failure;
pub mod inspect;
pub mod keys;
pub mod logging;
pub mod output;
pub mod policy;
pub mod prove;
mod remote;
pub mod salvage;
mod scan_bar;
pub mod serve;
mod show;
mod source;
pub mod submit;
pub mod tail;
pub mod tasks;
pub mod token;
pub mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::runtime::Solution;

pub use failure::{Exit, Failure};

/// An append-only decision log over HTTP: durable acknowledgement, resumable tail, decisions that replay.
#[derive(Debug, Parser)]
#[command(name = "gesta", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 fine, 1 failed, 2 usage or configuration, 3 damaged log, 4 locked by another \
                        process, 5 disk failed."
)]
struct Gesta {
    #[command(subcommand)]
    command: Command,
}

macro_rules! commands {
    ($($(#[doc = $doc:literal])+ $name:ident($arguments:ty) => $run:path;)+) => {
        #[derive(Debug, Subcommand)]
        enum Command {
            /// Serve a log over HTTP
            Serve(args::Serve),
            $($(#[doc = $doc])+ $name($arguments),)+
        }

        impl Command {
            fn run(self, solutions: Vec<Box<dyn Solution>>) -> Result<(), Failure> {
                match self {
                    Self::Serve(arguments) => serve::run(arguments, solutions),
                    $(Self::$name(arguments) => $run(arguments),)+
                }
            }
        }
    };
}

commands! {
    /// Append one message, or an intent for each line of a file
    Submit(args::Submit) => submit::run;
    /// Print records as they come, from any point, over restarts of the server
    Tail(args::Tail) => tail::run;
    /// List, show, cancel and retry tasks
    Tasks(args::Tasks) => tasks::run;
    /// Show who runs which task, and until when
    Leases(args::Leases) => tasks::leases;
    /// Run a program for each task of a pool
    Worker(args::Worker) => worker::run;
    /// Print the effective configuration and where each value came from
    Config(args::Config) => config::run;
    /// Tell what a data directory holds, and check all of it
    Inspect(args::Inspect) => inspect::run;
    /// Print the records of a data directory, a segment or a saved tail, without a server
    Dump(args::Dump) => dump::run;
    /// Save the sound records of a damaged log, and say what is lost
    Salvage(args::Salvage) => salvage::run;
    /// Show that a record is in the signed log, and check it here
    Prove(args::Prove) => prove::run;
    /// Print the newest checkpoint of a server or a data directory, and verify it
    Checkpoint(args::Checkpoint) => checkpoint::run;
    /// Make, change or show the keys that sign a log's checkpoints
    Keys(args::Keys) => keys::run;
    /// Check, test and activate the policies that decide intents
    Policy(args::Policy) => policy::run;
    /// Check and activate the configuration by which contexts are made
    Context(args::Context) => context::run;
    /// Look at datasets: versions, rows, what was refused
    Dataset(args::Dataset) => dataset::run;
    /// Make access tokens
    Token(args::Token) => token::run;
    /// See in ten seconds what a log server does: post, tail, kill, restart, resume
    Demo(args::Demo) => demo::run;
    /// Measure a server, or make a large log
    Bench(args::Bench) => bench::run;
}

/// Runs the command that the process was started with. Servers have the handlers of these solutions, too.
pub fn main(solutions: Vec<Box<dyn Solution>>) -> ExitCode {
    match Gesta::parse().command.run(solutions) {
        Ok(()) => Exit::Fine.into(),
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Gesta;

    #[test]
    fn the_arguments_of_all_commands_are_consistent() {
        Gesta::command().debug_assert();
    }
}
