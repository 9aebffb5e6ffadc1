//! Arguments to calls, and failures to messages and exit codes.
//!
//! Standard output is data; standard error is talk.

mod args;
mod diff;
mod dump;
mod explain;
mod failure;
mod output;
mod progress;
mod rebuild;
mod report;
mod source;
mod verify;
mod whatif;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::{Failure, USAGE};

/// Verifies the log of a Gesta server without the server: its bytes, its tree, and every decision in it.
#[derive(Debug, Parser)]
#[command(name = "gesta-replay", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 sound, 1 a decision diverged, 2 tampered or damaged, 3 incomplete, 4 usage or I/O. \
                  `diff` ends with 1 where there is a difference, `whatif --fail-on-change` where there is a change."
)]
struct GestaReplay {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check everything that can be checked of a log
    Verify(args::Verify),
    /// Tell what one decision was made from: what the policy saw, and which of its lines decided
    Explain(args::Explain),
    /// List the past decisions that another policy bundle would have changed
    Whatif(args::WhatIf),
    /// Fold the log into its projections, at any index
    Rebuild(args::Rebuild),
    /// Find the first difference of two logs, or of two files of projections
    Diff(args::Diff),
    /// Print the records
    Dump(args::Dump),
}

/// Runs the command that the process was started with.
pub(crate) fn main() -> ExitCode {
    let parsed = match GestaReplay::try_parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // A reader that went away has what it wanted.
            let _ = error.print();
            return code.into();
        }
    };
    let done = match parsed.command {
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Whatif(arguments) => whatif::run(&arguments),
        Command::Rebuild(arguments) => rebuild::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Dump(arguments) => dump::run(&arguments),
    };
    done.unwrap_or_else(|failure| failure.report()).into()
}

type Done = Result<u8, Failure>;

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::GestaReplay;

    #[test]
    fn the_arguments_of_all_commands_are_consistent() {
        GestaReplay::command().debug_assert();
    }
}
