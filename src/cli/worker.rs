//! `gesta worker`: claims tasks, runs a program for each, keeps its lease alive, and reports what came of it.
//!
//! It holds nothing that is not in the log: killed at any moment, its leases run out, and others go on.

mod attempt;
mod claims;
mod command;
mod control;
mod journal;
mod link;
mod outcome;
mod program;
mod shift;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use self::journal::Journal;
use self::shift::Shift;
use super::{Exit, Failure, args, remote};
use crate::client::{Identity, Outage, Server};
use crate::limits::WORKER_ID_BYTES_MAX;

/// For how long a claim waits for a task; then it is asked again.
const CLAIM_WAIT: Duration = Duration::from_secs(30);

/// For how long a report waits at most until standard error is kept.
const BLOB_PATIENCE: Duration = Duration::from_secs(10);

/// What all attempts of a worker share.
struct Ground {
    internal: Server,
    tasks: Server,
    worker_id: String,
    pools: Vec<String>,
    command: Vec<String>,
    /// For how long a claim waits.
    wait: Duration,
    kill_after: Duration,
    blob_patience: Duration,
    journal: Journal,
    outage: Outage,
    /// How many attempts were told that the server ends. Until it is back there is nothing to claim.
    draining: watch::Sender<usize>,
}

/// # Errors
/// Wrong arguments, a server that does not want this worker; with a number of tasks, one that was not completed.
pub fn run(arguments: args::Worker) -> Result<(), Failure> {
    let tasks_max = if arguments.once { Some(1) } else { arguments.max };
    let shift = Shift {
        concurrency: usize::from(arguments.concurrency),
        tasks_max,
        grace: Duration::from_secs(arguments.grace),
    };
    let ground = Arc::new(ground(arguments)?);
    let tally = remote::runtime()?.block_on(async { shift.work(ground, signals()?).await })?;
    match tasks_max {
        Some(_) if tally.failed + tally.canceled + tally.abandoned > 0 => {
            Err(Failure::new(Exit::Failed, "not every task was completed"))
        }
        Some(_) | None => Ok(()),
    }
}

fn ground(arguments: args::Worker) -> Result<Ground, Failure> {
    let usage = |error: command::CommandError| Failure::new(Exit::Usage, error);
    let command = command::split(&arguments.exec).map_err(usage)?;
    command::must_exist(&command[0]).map_err(usage)?;
    let worker_id = arguments.worker_id.clone().unwrap_or_else(own_id);
    if !is_worker_id(&worker_id) {
        return Err(Failure::new(Exit::Usage, format!("`{worker_id}` is no id of a worker"))
            .hint(format!("use 1 to {WORKER_ID_BYTES_MAX} letters, digits, `.`, `_` or `-`")));
    }
    let token = token(&arguments)?;
    let identity = arguments.cert.clone().zip(arguments.key.clone());
    let identity = identity.map(|(certificate, key)| Identity { certificate, key });
    let trust = remote::trust(arguments.ca.as_deref(), identity.as_ref())?;
    Ok(Ground {
        internal: remote::server_at(&arguments.url, token.as_deref(), trust.as_ref())?,
        // It takes the capability tokens of attempts and no other.
        tasks: remote::server_at(&arguments.task_url, None, trust.as_ref())?,
        worker_id,
        pools: arguments.pools,
        command,
        wait: CLAIM_WAIT,
        kill_after: Duration::from_secs(arguments.kill_after),
        blob_patience: BLOB_PATIENCE,
        journal: if arguments.json { Journal::Json } else { Journal::People },
        outage: remote::outage(None),
        draining: watch::Sender::new(0),
    })
}

fn token(arguments: &args::Worker) -> Result<Option<String>, Failure> {
    let Some(file) = &arguments.token_file else { return Ok(arguments.token.clone()) };
    let text = std::fs::read_to_string(file).map_err(|cause| {
        Failure::new(Exit::Usage, format!("cannot read the token of {}: {cause}", file.display()))
    })?;
    Ok(Some(text.trim().to_owned()))
}

/// Host and process: the same as long as the process lives, and nobody else's.
fn own_id() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String = host.chars().map(|char| if is_of_id(char) { char } else { '-' }).collect();
    let process = std::process::id().to_string();
    let room = WORKER_ID_BYTES_MAX.saturating_sub(process.len() + 1);
    format!("{}-{process}", host.get(..room).unwrap_or(&host))
}

fn is_of_id(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-')
}

fn is_worker_id(id: &str) -> bool {
    (1..=WORKER_ID_BYTES_MAX).contains(&id.len()) && id.chars().all(is_of_id)
}

/// One message for each SIGTERM or SIGINT.
fn signals() -> Result<mpsc::Receiver<()>, Failure> {
    let failed = |error| Failure::new(Exit::Failed, error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (told, signals) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if told.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(signals)
}
