//! `gesta config`: the effective configuration, value by value with its source.

use std::io::Write as _;

use super::{Failure, args, output};
use crate::config::{json, toml};

/// # Errors
/// A wrong configuration, or a failed write.
pub fn run(arguments: args::Config) -> Result<(), Failure> {
    let loaded = arguments.settings.load()?;
    output::write(|out| {
        if arguments.json {
            writeln!(out, "{:#}", json(&loaded))
        } else {
            out.write_all(toml(&loaded).as_bytes())
        }
    })
}
