//! `gesta context`: configurations of the context, checked and activated.

use std::io::Write as _;
use std::path::Path;

use gesta_replay::context::Config;
use serde_json::json;

use super::activation::{self, Form};
use super::{Exit, Failure, args, output};
use crate::activation::directory;

/// # Errors
/// A file that cannot be read or is wrong, a server that does not answer or refuses.
pub fn run(arguments: args::Context) -> Result<(), Failure> {
    match arguments.command {
        args::ContextCommand::Check(arguments) => check(&arguments),
        args::ContextCommand::Activate(arguments) => activate(&arguments),
        args::ContextCommand::Show(arguments) => activation::show(&arguments, "/control/context"),
    }
}

fn check(arguments: &args::ContextCheck) -> Result<(), Failure> {
    let config = read(&arguments.file, Form::of(arguments.json))?;
    if arguments.json {
        let body = json!({
            "ok": true, "faults": [], "context_config_digest": config.digest().to_string(), "config": value(&config)?,
        });
        return output::write(|out| writeln!(out, "{body:#}"));
    }
    output::write(|out| {
        writeln!(out, "context_config_digest {}", config.digest())?;
        out.write_all(b"config                ")?;
        out.write_all(config.canonical())?;
        out.write_all(b"\n")
    })
}

fn activate(arguments: &args::ContextActivate) -> Result<(), Failure> {
    let form = Form::of(arguments.json);
    let config = read(&arguments.file, form)?;
    let body = json!({"config": value(&config)?});
    activation::activate(&arguments.target, "/control/context", &body, form)
}

/// Reads a configuration; what is wrong with it is printed, as data, and is the command's failure.
fn read(file: &Path, form: Form) -> Result<Config, Failure> {
    let text = directory::read_context(file)?;
    Config::parse(&text).map_err(|error| {
        let (line, column) = directory::place(&text, &error);
        let (kind, pointer) = (error.0.kind.to_string(), &error.0.pointer);
        let printed = match form {
            Form::Json => {
                let name = file.display().to_string();
                let fault =
                    json!({"file": name, "line": line, "column": column, "pointer": pointer, "message": kind});
                let body = json!({"ok": false, "faults": [fault]});
                output::write(|out| writeln!(out, "{body:#}"))
            }
            Form::People => {
                let at = if pointer.is_empty() { "the document's root" } else { pointer };
                output::write(|out| writeln!(out, "{}:{line}:{column}: {kind}; at {at}", file.display()))
            }
        };
        printed.err().unwrap_or_else(|| Failure::new(Exit::Failed, "the configuration has one fault"))
    })
}

fn value(config: &Config) -> Result<serde_json::Value, Failure> {
    serde_json::from_slice(config.canonical()).map_err(|error| Failure::new(Exit::Failed, error))
}
