//! `gesta tail`: records as they come, each once and in order, whatever happens to the server meanwhile.

mod keep;

use std::io::{self, BufWriter, StdoutLock, Write};
use std::sync::Arc;
use std::time::Duration;

use gesta_log_format::record::{self, Record};

use self::keep::Keeper;
use super::args::TailForm;
use super::{Exit, Failure, args, remote, show};
use crate::client::{Event, Span, Tail, TailError};

/// Bytes that are gathered before they are written. A record is longer at no time.
const OUT_BYTES: usize = 256 * 1024;

/// How long a tail that is to end tries a server that is away.
const PATIENCE: Duration = Duration::from_secs(60);

/// # Errors
/// A server that cannot be reached or refuses, a tail that does not continue, blobs that are missing.
pub fn run(arguments: args::Tail) -> Result<(), Failure> {
    let server = remote::server(&arguments.target)?;
    let outage = Arc::new(remote::outage(None));
    let patience = match arguments.retry_seconds {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => (!arguments.follow).then_some(PATIENCE),
    };
    let span = Span {
        since: arguments.since,
        until: arguments.until,
        follow: arguments.follow,
        filters: arguments.filters.query(),
    };
    let keeper = match &arguments.with_blobs {
        Some(directory) => Some(Keeper::open(directory, server.clone(), patience, Arc::clone(&outage))?),
        None => None,
    };
    let tail = Tail::new(server, span, patience, outage);
    let printer =
        Printer { form: arguments.form(), out: BufWriter::with_capacity(OUT_BYTES, io::stdout().lock()) };
    remote::runtime()?.block_on(print(tail, printer, keeper))
}

async fn print(mut tail: Tail, mut printer: Printer, mut keeper: Option<Keeper>) -> Result<(), Failure> {
    while let Some(event) = tail.next().await.map_err(|error| failure(&error))? {
        match event {
            Event::Records(records) => {
                // Before the records, so that whoever reads them finds the blobs.
                if let Some(keeper) = &mut keeper {
                    keeper.keep(&records).await?;
                }
                printer.print(&records).map_err(Failure::of_stdout)?;
            }
            Event::Gone { first } => {
                eprintln!("note: records before index {first} are gone from the log; the tail goes on there");
            }
            Event::Log { .. } | Event::CaughtUp { .. } => {}
        }
    }
    keeper.map_or(Ok(()), |keeper| keeper.verdict())
}

struct Printer {
    form: TailForm,
    out: BufWriter<StdoutLock<'static>>,
}

impl Printer {
    /// Prints whole records whose checksums were looked at, and hides nothing in a buffer.
    fn print(&mut self, records: &[u8]) -> io::Result<()> {
        match self.form {
            TailForm::Raw => self.out.write_all(records)?,
            TailForm::Json => each(records, |record| {
                self.out.write_all(record.data)?;
                self.out.write_all(b"\n")
            })?,
            TailForm::Pretty => each(records, |record| show::line(&mut self.out, record))?,
        }
        self.out.flush()
    }
}

/// Calls `visit` with each of the records, which lie one behind the other.
fn each(mut records: &[u8], mut visit: impl FnMut(&Record<'_>) -> io::Result<()>) -> io::Result<()> {
    while let Ok(record) = record::decode_trusted(records) {
        visit(&record)?;
        records = records.get(record.bytes.len()..).unwrap_or_default();
    }
    Ok(())
}

fn failure(error: &TailError) -> Failure {
    let failure = Failure::new(Exit::Failed, error.to_string());
    match error {
        TailError::Refused(refusal) => remote::refused(refusal),
        TailError::GaveUp { .. } => failure.hint(remote::UNREACHABLE),
        TailError::OtherLog { .. } => failure.hint(
            "what was printed belongs to the first log: go on where that is served, or begin the other one with \
             --since -1 into a new file",
        ),
        TailError::Ahead { .. } => failure.hint(
            "the cursor is of another log, or this one was restored from an older copy: compare what you have with \
             `gesta tail --since -1`",
        ),
        TailError::Reset { .. } => failure.hint("begin again with --since -1"),
        TailError::Disorder(_) => failure.hint(
            "nothing behind this was printed; check the log with `gesta inspect DIR` beside the server, and what lies \
             between it and here",
        ),
    }
}
