//! The demo's follower: a tail in a task of its own, whose records the steps look at.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gesta_log_format::envelope::View;
use gesta_log_format::record;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cli::{Exit, Failure, show};
use crate::client::{Event, Outage, Server, Span, Tail};

/// Longest wait for a record, and for the server to be back.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// One record that was received.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) index: u64,
    pub(super) correlation_id: String,
    /// As `gesta tail` shows it.
    pub(super) line: String,
}

#[derive(Debug, Default)]
struct Seen {
    records: Vec<Received>,
    /// For each connection the index behind which it began.
    began_behind: Vec<i64>,
}

pub(super) struct Follower {
    seen: Arc<Mutex<Seen>>,
    count: watch::Receiver<usize>,
    task: JoinHandle<Result<(), String>>,
}

impl Follower {
    /// Tails from the first record on, over restarts.
    pub(super) fn start(server: Server, outage: Arc<Outage>) -> Self {
        let span = Span { since: -1, follow: true, ..Span::default() };
        let mut tail = Tail::new(server, span, Some(PATIENCE), outage);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (told, count) = watch::channel(0);
        let noting = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Some(event) = tail.next().await.map_err(|error| error.to_string())? {
                let mut seen = lock(&noting);
                match event {
                    Event::Records(records) => note(&mut seen.records, &records)?,
                    Event::Log { .. } => {
                        let last = seen.records.last().and_then(|last| i64::try_from(last.index).ok());
                        seen.began_behind.push(last.unwrap_or(-1));
                    }
                    Event::CaughtUp { .. } | Event::Gone { .. } => {}
                }
                told.send_replace(seen.records.len());
            }
            Ok(())
        });
        Self { seen, count, task }
    }

    /// Waits until so many records were received, and gives them all.
    ///
    /// # Errors
    /// The tail fails, or they do not come.
    pub(super) async fn wait_for(&mut self, records: usize) -> Result<Vec<Received>, Failure> {
        let there = self.count.wait_for(|count| *count >= records);
        match tokio::time::timeout(PATIENCE, there).await.map(|there| there.map(drop)) {
            Ok(Ok(())) => Ok(self.received()),
            Ok(Err(_ended)) => {
                let why = match (&mut self.task).await {
                    Ok(Err(why)) => why,
                    Ok(Ok(())) | Err(_) => "it ended".to_owned(),
                };
                Err(Failure::new(Exit::Failed, format!("the tail failed: {why}")))
            }
            Err(_elapsed) => Err(Failure::new(
                Exit::Failed,
                format!("the tail has {} of {records} records", self.received().len()),
            )),
        }
    }

    pub(super) fn received(&self) -> Vec<Received> {
        lock(&self.seen).records.clone()
    }

    /// The index behind which its second connection began.
    pub(super) fn resumed_behind(&self) -> Option<i64> {
        lock(&self.seen).began_behind.get(1).copied()
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn note(received: &mut Vec<Received>, mut records: &[u8]) -> Result<(), String> {
    while let Ok(record) = record::decode_trusted(records) {
        let view = View::parse(record.data).ok_or("a record is no envelope")?;
        let mut line = Vec::new();
        show::line(&mut line, &record).map_err(|error| error.to_string())?;
        received.push(Received {
            index: record.index.0,
            correlation_id: String::from_utf8_lossy(view.correlation_id).into_owned(),
            line: String::from_utf8_lossy(&line).trim_end().to_owned(),
        });
        records = records.get(record.bytes.len()..).unwrap_or_default();
    }
    Ok(())
}
