//! The `gesta-replay` command: verifies a log that its user does not trust. No network, no server, nothing written
//! but standard output and the report files that are asked for.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
