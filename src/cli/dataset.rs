//! `gesta dataset`: versions, their rows, and what was refused.

use std::io::{self, BufWriter, Write as _};

use hyper::StatusCode;
use serde_json::{Value, json};

use super::{Exit, Failure, args, output, remote};
use crate::client::{Answer, Body, Caller};

/// The header that leads on from a page of rows.
const NEXT: &str = "gesta-next-after";

/// # Errors
/// A server that does not answer or refuses, a schema that cannot be read.
pub fn run(arguments: args::Dataset) -> Result<(), Failure> {
    match arguments.command {
        args::DatasetCommand::Ls(arguments) => list(&arguments),
        args::DatasetCommand::Register(arguments) => register(&arguments),
        args::DatasetCommand::Export(arguments) => export(&arguments),
        args::DatasetCommand::DeadLetters(arguments) => dead_letters(&arguments),
    }
}

/// A call for each item of `ask`, on one connection: an answer's path gives the next, until there is none.
fn ask(
    target: &args::Target,
    first: String,
    mut take: impl FnMut(&Answer) -> Result<Option<String>, Failure>,
) -> Result<(), Failure> {
    let mut caller = Caller::new(remote::server(target)?);
    remote::runtime()?.block_on(async {
        let mut next = Some(first);
        while let Some(path) = next {
            let answer = remote::get(&mut caller, &path).await?;
            if !answer.status.is_success() {
                return Err(remote::refusal(&answer));
            }
            next = take(&answer)?;
        }
        Ok(())
    })
}

fn list(arguments: &args::DatasetList) -> Result<(), Failure> {
    ask(&arguments.target, format!("/api/dataset?stream_id={}", arguments.stream), |answer| {
        let body: Value = remote::json(answer)?;
        if arguments.json {
            output::write(|out| writeln!(out, "{body:#}"))?;
            return Ok(None);
        }
        output::write(|out| {
            for one in body["datasets"].as_array().into_iter().flatten() {
                let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
                let current = if one["current"] == true { "current" } else { "" };
                writeln!(
                    out,
                    "{}  {}  {} rows  {} events  {current}",
                    text("dataset_uuid"),
                    text("dataset_version"),
                    one["rows"],
                    one["events"]
                )?;
            }
            Ok(())
        })?;
        Ok(None)
    })
}

fn register(arguments: &args::DatasetRegister) -> Result<(), Failure> {
    let (name, path) = (&arguments.name, &arguments.row_schema);
    let schema = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read {}: {error}", path.display())))?;
    let schema: Value = serde_json::from_str(&schema)
        .map_err(|error| Failure::new(Exit::Usage, format!("{} is no JSON: {error}", path.display())))?;
    let body = json!({
        "stream_id": name.stream, "dataset_uuid": name.uuid, "dataset_version": name.version, "row_schema": schema,
    });
    let server = remote::server(&arguments.target)?;
    let request = server.post("/api/dataset", Body::from(body.to_string()));
    let answer = remote::runtime()?
        .block_on(Caller::new(server).call(request))
        .map_err(|error| Failure::new(Exit::Failed, error).hint(remote::UNREACHABLE))?;
    if !answer.status.is_success() {
        return Err(remote::refusal(&answer));
    }
    let body: Value = remote::json(&answer)?;
    output::write(|out| writeln!(out, "{}", body["index"]))?;
    if answer.status == StatusCode::OK {
        eprintln!("note: it was registered before; nothing was appended");
    }
    Ok(())
}

fn export(arguments: &args::DatasetExport) -> Result<(), Failure> {
    let args::DatasetName { uuid, version, stream } = &arguments.name;
    let page = |after: &str| {
        format!("/api/dataset/{uuid}/{version}/rows?stream_id={stream}&limit=10000&after={after}")
    };
    let mut out = BufWriter::new(io::stdout().lock());
    ask(&arguments.target, page(&arguments.after.to_string()), |answer| {
        out.write_all(&answer.body).map_err(Failure::of_stdout)?;
        Ok(answer.headers.get(NEXT).and_then(|next| next.to_str().ok()).map(page))
    })?;
    out.flush().map_err(Failure::of_stdout)
}

fn dead_letters(arguments: &args::DatasetDeadLetters) -> Result<(), Failure> {
    let args::DatasetName { uuid, version, stream } = &arguments.name;
    let page =
        |since: i64| format!("/api/dataset/{uuid}/{version}/dead-letters?stream_id={stream}&since={since}");
    ask(&arguments.target, page(-1), |answer| {
        let body: Value = remote::json(answer)?;
        output::write(|out| {
            for one in body["dead_letters"].as_array().into_iter().flatten() {
                if arguments.json {
                    writeln!(out, "{one}")?;
                    continue;
                }
                let (uri, error) = (one["batch_uri"].as_str().unwrap_or_default(), &one["error"]);
                let line = error["line"].as_u64().map_or_else(String::new, |line| format!(":{line}"));
                let pointer = error["pointer"].as_str().unwrap_or_default();
                let message = error["message"].as_str().unwrap_or_default();
                writeln!(out, "{}  {uri}{line}  {pointer}  {message}", one["index"])?;
            }
            Ok(())
        })?;
        Ok(body["next"].as_i64().map(page))
    })
}
