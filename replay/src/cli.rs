//! Arguments to calls, and failures to messages and exit codes.
//!
//! Standard output is data; standard error is talk.

mod args;
mod failure;
mod output;
mod progress;
mod report;
mod source;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::{Failure, USAGE};

/// Verifies the log of a Gesta server without the server: its bytes, its tree, and every decision in it.
#[derive(Debug, Parser)]
#[command(name = "gesta-replay", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 sound, 1 a decision diverged, 2 tampered or damaged, 3 incomplete, 4 usage or I/O."
)]
struct GestaReplay {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check everything that can be checked of a log
    Verify(args::Verify),
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
