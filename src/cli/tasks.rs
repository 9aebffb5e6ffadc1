//! `gesta tasks` and `gesta leases`: what waits, what runs and where, and what an operator does about it.

mod page;
mod table;

use std::io::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::page::{Query, pages};
use self::table::Table;
use super::{Exit, Failure, args, output, remote};
use crate::client::{Answer, Body, Caller, query_text};

/// # Errors
/// A server that cannot be reached, a refusal.
pub fn run(arguments: args::Tasks) -> Result<(), Failure> {
    match arguments.command {
        args::TasksCommand::Ls(arguments) => ls(&arguments),
        args::TasksCommand::Show(arguments) => show(&arguments),
        args::TasksCommand::Cancel(arguments) => {
            let body = match &arguments.reason {
                Some(reason) => json!({ "reason": reason }),
                None => json!({}),
            };
            change(&arguments.target, &arguments.task_id, "cancel", &body, arguments.json)
        }
        args::TasksCommand::Retry(arguments) => {
            change(&arguments.target, &arguments.task_id, "retry", &json!({}), arguments.json)
        }
    }
}

/// # Errors
/// As [`run`].
pub fn leases(arguments: args::Leases) -> Result<(), Failure> {
    let state = Some("running");
    let columns = ["TASK", "ATTEMPT", "WORKER", "POOL", "TYPE", "STREAM", "EXPIRES", "FENCE"];
    list(&arguments.target, state, &arguments.which, &columns, |task| {
        let details = task.details.as_ref()?;
        let lease = details.lease.as_ref().filter(|lease| lease.is_live)?;
        Some(vec![
            task.task_id.clone(),
            task.attempt.to_string(),
            lease.worker_id.clone(),
            details.pool.clone(),
            details.intent_type.clone(),
            task.stream_id.clone(),
            lease.expires_at.clone(),
            lease.claim_index.to_string(),
        ])
    })
}

/// A task as the server shows it; what is not needed here is left out.
#[derive(Deserialize)]
struct Task {
    task_id: String,
    state: String,
    stream_id: String,
    attempt: u64,
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    pool: String,
    priority: u8,
    intent_type: String,
    max_attempts: u64,
    queued_at: String,
    next_retry_at: Option<String>,
    cancel_requested: bool,
    lease: Option<Lease>,
}

#[derive(Deserialize)]
struct Lease {
    worker_id: String,
    is_live: bool,
    expires_at: String,
    claim_index: u64,
}

fn ls(arguments: &args::TasksLs) -> Result<(), Failure> {
    let columns = ["TASK", "STATE", "ATTEMPT", "POOL", "PRIORITY", "TYPE", "STREAM", "WHO OR WHEN"];
    list(&arguments.target, arguments.state.as_deref(), &arguments.which, &columns, |task| {
        let details = task.details.as_ref();
        let of = |text: fn(&Details) -> String| details.map(text).unwrap_or_default();
        let most = of(|details| format!("/{}", details.max_attempts));
        Some(vec![
            task.task_id.clone(),
            task.state.clone(),
            format!("{}{most}", task.attempt),
            of(|details| details.pool.clone()),
            of(|details| details.priority.to_string()),
            of(|details| details.intent_type.clone()),
            task.stream_id.clone(),
            details.map(|details| who_or_when(task, details)).unwrap_or_default(),
        ])
    })
}

/// What a person asks next: who runs it, when it is tried again, since when it waits.
fn who_or_when(task: &Task, details: &Details) -> String {
    let lease = details.lease.as_ref().filter(|lease| lease.is_live);
    let canceled = if details.cancel_requested { ", told to stop" } else { "" };
    match (lease, &details.next_retry_at) {
        (Some(lease), _) => format!("{}{canceled}", lease.worker_id),
        (None, Some(next_retry_at)) => format!("again at {next_retry_at}"),
        (None, None) if task.state == "queued" => format!("since {}", details.queued_at),
        (None, None) => String::new(),
    }
}

/// Prints tasks as they come: the rows of a table, or what the server says, one for each line.
fn list(
    target: &args::Target,
    state: Option<&str>,
    which: &args::Which,
    columns: &[&'static str],
    row: impl Fn(&Task) -> Option<Vec<String>>,
) -> Result<(), Failure> {
    let mut caller = Caller::new(remote::server(target)?);
    let query = Query { state, pool: which.pool.as_deref(), stream_id: which.stream.as_deref() };
    let tasks = remote::runtime()?.block_on(pages(&mut caller, &query, which.limit))?;
    if tasks.more {
        eprintln!("note: there are more; --limit says how many are listed");
    }
    if which.json {
        return output::write(|out| tasks.found.iter().try_for_each(|task| writeln!(out, "{task}")));
    }
    let mut table = Table::new(columns);
    for task in &tasks.found {
        let task: Task = understood(task)?;
        row(&task).into_iter().for_each(|row| table.push(row));
    }
    output::write(|out| table.write(out))
}

fn show(arguments: &args::TasksShow) -> Result<(), Failure> {
    let mut caller = Caller::new(remote::server(&arguments.target)?);
    let path = path_of(&arguments.task_id, "");
    let answer = remote::runtime()?.block_on(remote::get(&mut caller, &path))?;
    print(&demand_success(answer)?, arguments.json)
}

fn change(
    target: &args::Target,
    task_id: &str,
    action: &str,
    body: &Value,
    as_json: bool,
) -> Result<(), Failure> {
    let mut caller = Caller::new(remote::server(target)?);
    let path = path_of(task_id, &format!("/{action}"));
    let request = caller.server().post(&path, Body::new(body.to_string().into()));
    let answer = remote::runtime()?.block_on(caller.call(request));
    let answer = answer.map_err(|error| Failure::new(Exit::Failed, error).hint(remote::UNREACHABLE))?;
    print(&demand_success(answer)?, as_json)
}

fn path_of(task_id: &str, action: &str) -> String {
    format!("/api/task/{}{action}", query_text(task_id))
}

fn demand_success(answer: Answer) -> Result<Answer, Failure> {
    if answer.status.is_success() { Ok(answer) } else { Err(remote::refusal(&answer)) }
}

/// The members of an answer, one on each line, those within others with both names.
fn print(answer: &Answer, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return output::write(|out| {
            out.write_all(answer.body.trim_ascii())?;
            out.write_all(b"\n")
        });
    }
    let mut rows = Table::plain();
    flatten("", &remote::json(answer)?, &mut rows);
    output::write(|out| rows.write(out))
}

fn flatten(name: &str, value: &Value, rows: &mut Table) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                let name = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
                flatten(&name, value, rows);
            }
        }
        Value::Null => {}
        Value::String(text) => rows.push(vec![name.to_owned(), text.clone()]),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            rows.push(vec![name.to_owned(), value.to_string()]);
        }
    }
}

fn understood<'a, T: Deserialize<'a>>(task: &'a RawValue) -> Result<T, Failure> {
    serde_json::from_str(task.get()).map_err(|error| {
        Failure::new(Exit::Failed, error).hint("this is not an answer of gesta: is --url right?")
    })
}
