//! `gesta bench generate`: a data directory with many sealed records, as a server would have written them one by one.
//!
//! The records are made, keyed, written and folded by the functions that a server uses, so that one that starts on the
//! directory has nothing to make again.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::envelope::Prepared;
use gesta_log_format::log::{Batch, Frontier, Rolled, Writer};
use gesta_log_format::{Index, Timestamp};
use indicatif::ProgressBar;
use tokio::sync::watch;

use super::intents::Intents;
use crate::cli::{Exit, Failure, args, output};
use crate::config::{self, Config, Flag, Inputs};
use crate::ingress;
use crate::keys::{Fingerprint, KeysError};
use crate::projector::{self, Projector, Snapshots};
use crate::sequencer::{Clock as _, SystemClock};
use crate::store::{self, Opened, Store};

/// Made records that wait for the writer.
const MADE_MAX: usize = 4096;

/// One record but for its index, and what it is found by.
type Made = (Prepared, Vec<Fingerprint>);

/// How a directory is filled.
struct Filling {
    store: Arc<Store>,
    batch_records_max: usize,
    batch_bytes_max: usize,
    newest: Timestamp,
    /// Wakes the thread that writes the keys of sealed segments; waits while it is one behind.
    sealed: SyncSender<()>,
    /// Wakes the projector.
    head: watch::Sender<Index>,
    bar: ProgressBar,
}

pub(super) fn run(arguments: &args::BenchGenerate) -> Result<(), Failure> {
    let began = Instant::now();
    let config = configuration(arguments)?;
    let Opened { store, writer, frontier: mut mark, state, lock, .. } =
        store::open(&config).map_err(|error| Failure::from(crate::server::ServeError::from(error)))?;
    if writer.next() != Index::ZERO {
        return Err(Failure::new(
            Exit::Usage,
            format!("the log in {} is not empty", arguments.data.display()),
        )
        .hint("name another directory with --data"));
    }
    let (head, projector) = project(&store, &state)?;
    let (sealed, told) = sync_channel(0);
    let flushing = {
        let store = Arc::clone(&store);
        thread::spawn(move || flush(&store, &told))
    };
    let filling = Filling {
        store: Arc::clone(&store),
        batch_records_max: config.log.batch_records_max,
        batch_bytes_max: config.log.batch_bytes_max,
        newest: Timestamp::default(),
        sealed,
        head,
        bar: output::progress(arguments.records, "writing"),
    };
    let made = make(arguments);
    let bytes = filling.fill(writer, &made, arguments.segment_bytes)?;
    match flushing.join() {
        Ok(flushed) => flushed.map_err(|error| Failure::new(Exit::Failed, error))?,
        Err(_panicked) => {
            return Err(Failure::new(Exit::Failed, "writing the keys panicked, which is a bug"));
        }
    }
    settle(&projector, store.reader.head())?;
    if let Some((index, segment, byte)) = store.reader.durable_end() {
        let written = mark.write(Frontier { index, segment, byte });
        written.map_err(|error| Failure::new(Exit::DiskFailed, error))?;
    }
    state.flush().map_err(|error| Failure::new(Exit::DiskFailed, error))?;
    drop(lock);
    output::write(|out| {
        use std::io::Write as _;
        let (records, segments) = (store.reader.head(), store.reader.segments().len() - 1);
        let seconds = began.elapsed().as_secs_f64();
        writeln!(out, "{records} records of {bytes} bytes in {segments} sealed segments, {seconds:.1} s")
    })
}

fn configuration(arguments: &args::BenchGenerate) -> Result<Config, Failure> {
    let flag = |key: &str, value: String| Flag { name: format!("--{key}"), key: key.to_owned(), value };
    let flags = vec![
        flag("server.data", arguments.data.display().to_string()),
        flag("log.segment_bytes", arguments.segment_bytes.to_string()),
        // Nobody waits for a single sync here.
        flag("log.fill_ahead", "false".to_owned()),
    ];
    Ok(config::load(&Inputs { file: None, environment: Vec::new(), flags })?.config)
}

/// Folds what is written, so that a start finds the projections' snapshot.
fn project(store: &Arc<Store>, state: &sled::Db) -> Result<(watch::Sender<Index>, Projector), Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, error);
    let snapshots = Snapshots::open(state, projector::Origin(store.origin.clone()))
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    let (head, told) = watch::channel(Index::ZERO);
    let source = projector::Source { reader: store.reader.clone(), head: told, recent: Box::new(|_| None) };
    Ok((
        head,
        Projector::start(source, snapshots, projector::Scope::Head, projector::Pace::default())
            .map_err(failed)?,
    ))
}

/// Waits for the projector's last snapshot.
fn settle(projector: &Projector, head: Index) -> Result<(), Failure> {
    let mut applied = projector.watch();
    // Closed once all is folded, for nothing tells of a further head.
    futures::executor::block_on(async { while applied.changed().await.is_ok() {} });
    projector.stop();
    match projector.failed() {
        None if projector.applied() == head => Ok(()),
        Some(failure) => Err(Failure::new(Exit::Failed, failure.to_string())),
        None => Err(Failure::new(Exit::Failed, "the records were not all folded")),
    }
}

/// Makes the records on a thread of its own.
fn make(arguments: &args::BenchGenerate) -> Receiver<Made> {
    let (sender, made) = sync_channel(MADE_MAX);
    let (intents, records) = (Intents::new(arguments.bytes), arguments.records);
    thread::spawn(move || {
        let maker = ingress::Maker::local();
        for nth in 0..records {
            let record = maker.record(&intents.body(nth, 0)).expect("an intent of a bench fits a record");
            if sender.send(record).is_err() {
                return;
            }
        }
    });
    made
}

fn flush(store: &Store, told: &Receiver<()>) -> Result<(), KeysError> {
    while told.recv().is_ok() {
        store.keys.flush_sealed()?;
    }
    store.keys.flush_sealed().map(drop)
}

impl Filling {
    /// Writes all that is made, seals the last segment, and gives the number of bytes of all records.
    fn fill(
        mut self,
        mut writer: Writer<RealDisk>,
        made: &Receiver<Made>,
        segment_bytes: u64,
    ) -> Result<u64, Failure> {
        let (mut batch, mut keys, mut ends) = (Batch::default(), Vec::new(), Vec::new());
        let mut bytes = 0;
        loop {
            batch.restart(writer.next());
            keys.clear();
            ends.clear();
            self.newest = self.newest.max(SystemClock.now());
            while batch.len() < self.batch_records_max && batch.bytes().len() < self.batch_bytes_max {
                let Ok((prepared, found)) = made.recv() else { break };
                batch.push(&prepared, self.newest);
                keys.extend_from_slice(&found);
                ends.push(keys.len());
            }
            if batch.is_empty() {
                break;
            }
            writer = self.roll(writer, batch.bytes().len())?;
            writer = writer.append(&batch).map_err(|dead| Failure::new(Exit::DiskFailed, dead))?;
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let records = starts.zip(&ends).map(|(start, end)| keys.get(start..*end).unwrap_or_default());
            self.store.keys.insert_batch((batch.start().0..).zip(records));
            writer.absorb(&batch);
            self.head.send_replace(writer.next());
            self.bar.inc(batch.len() as u64);
            bytes += batch.bytes().len() as u64;
        }
        self.bar.finish_and_clear();
        // More than a segment holds: the last one is sealed too.
        self.roll(writer, usize::try_from(segment_bytes).unwrap_or(usize::MAX)).map(drop)?;
        Ok(bytes)
    }

    fn roll(&self, writer: Writer<RealDisk>, bytes: usize) -> Result<Writer<RealDisk>, Failure> {
        let (writer, rolled) = writer.roll(bytes).map_err(|dead| Failure::new(Exit::DiskFailed, dead))?;
        match rolled {
            Rolled::No => {}
            Rolled::Sealed(segment) => {
                self.store.note_roll(segment, writer.next());
                // Where that thread has failed, its end says why.
                let _ = self.sealed.send(());
            }
            Rolled::DiskFull => return Err(Failure::new(Exit::DiskFailed, "the disk is full")),
        }
        Ok(writer)
    }
}
