//! The sequencer's loop.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gesta_log_format::envelope::{Draft, Expectation, Prepared};
use gesta_log_format::log::{Batch, Dead, Rolled, Room, Writer};
use gesta_log_format::{Index, Kind, Timestamp, disk::Disk};
use tokio::sync::oneshot::Sender;
use ulid::Ulid;

use super::acknowledge::Acknowledgements;
use super::clock::{Clock, Reading, RecordClock};
use super::queue::Queue;
use super::{Append, Outcome};
use crate::keys::Fingerprint;
use crate::metrics::LogMetrics;
use crate::store::{KeyParts, Store};

/// How long the sequencer waits for the filler before it looks again whether it should end.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);

/// The stream of CONTROL records.
const SYSTEM_STREAM: &str = "_system";
const SYSTEM_THREAD: &str = "system";
const LOG_SUBJECT: &str = "log";

/// How much one batch takes.
#[derive(Clone, Copy, Debug)]
pub struct Sequencing {
    pub batch_records_max: usize,
    pub batch_bytes_max: usize,
}

/// The state of the sequencer's thread.
pub struct Sequencer<D: Disk, C> {
    store: Arc<Store>,
    queue: Arc<Queue>,
    replies: Arc<Acknowledgements>,
    metrics: LogMetrics,
    limits: Sequencing,
    clock: RecordClock<C>,
    /// The newest record of the subject `log` in the stream `_system`.
    log_subject: Option<Index>,
    on_roll: Box<dyn Fn() + Send>,
    round: Round,
    _disk: std::marker::PhantomData<fn(D)>,
}

/// Takes the hash from a key that is one already.
#[derive(Default)]
struct Uniform(u64);

impl Hasher for Uniform {
    fn write(&mut self, bytes: &[u8]) {
        // A fingerprint comes as its length and then its bytes: the last eight are kept.
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_le_bytes(*last);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// One batch in the making; its memory is used again.
#[derive(Default)]
struct Round {
    batch: Batch,
    /// The newest record of each subject that this batch moves.
    moved: HashMap<Fingerprint, Index, BuildHasherDefault<Uniform>>,
    keys: Vec<Fingerprint>,
    /// For each record where its keys end.
    key_ends: Vec<usize>,
    outcomes: Vec<(Sender<Outcome>, Outcome)>,
    /// Given back once the batch is acknowledged.
    held: Vec<(crate::keys::Ticket, super::Place)>,
}

impl<D: Disk, C: Clock> Sequencer<D, C> {
    /// `on_roll` is told of each sealed segment, on this thread.
    #[expect(clippy::too_many_arguments, reason = "the parts of the server that meet here, each once")]
    pub fn new(
        store: Arc<Store>,
        queue: Arc<Queue>,
        replies: Arc<Acknowledgements>,
        metrics: LogMetrics,
        limits: Sequencing,
        clock: C,
        newest: Timestamp,
        log_subject: Option<Index>,
        on_roll: Box<dyn Fn() + Send>,
    ) -> Self {
        let clock = RecordClock::new(clock, newest);
        let round = Round::default();
        Self {
            store,
            queue,
            replies,
            metrics,
            limits,
            clock,
            log_subject,
            on_roll,
            round,
            _disk: std::marker::PhantomData,
        }
    }

    /// Serves the queue until it is closed and empty, and gives the writer back.
    ///
    /// # Errors
    /// [`Dead`] at the first failed write or sync; everything that waits is dropped without an outcome.
    pub fn run(mut self, mut writer: Writer<D>) -> Result<Writer<D>, Dead> {
        let mut waiting = Vec::new();
        while self.queue.take(&mut waiting) {
            let mut appends = waiting.drain(..).peekable();
            while appends.peek().is_some() {
                let started = Instant::now();
                self.collect(&mut appends, writer.next());
                writer = self.write(writer)?;
                self.round.held.clear();
                self.metrics.append_seconds.record(started.elapsed());
            }
        }
        Ok(writer)
    }

    /// Encodes as many appends as one batch takes.
    fn collect(&mut self, appends: &mut impl Iterator<Item = Append>, next: Index) {
        self.round.restart(next);
        let reading = self.clock.read();
        if let Some(behind_us) = reading.fell_back_us {
            self.note_clock_behind(behind_us, reading);
        }
        let Sequencing { batch_records_max, batch_bytes_max } = self.limits;
        while self.round.batch.len() < batch_records_max && self.round.batch.bytes().len() < batch_bytes_max {
            let Some(append) = appends.next() else { return };
            let outcome = match self.conflict(&append.subjects) {
                Some(conflict) => conflict,
                None => Outcome::Appended(self.round.push(
                    &append.prepared,
                    reading.recorded_at,
                    &append.keys,
                    append.subjects.iter().map(|(subject, _)| *subject),
                )),
            };
            self.round.outcomes.push((append.reply, outcome));
            self.round.held.push((append.ticket, append.place));
        }
    }

    /// The first subject that is not as expected.
    fn conflict(&self, subjects: &[(Fingerprint, Option<Index>)]) -> Option<Outcome> {
        subjects.iter().enumerate().find_map(|(subject, (key, expected))| {
            let newest = self.newest(key)?;
            (Some(newest) != *expected).then_some(Outcome::Conflict { subject, newest })
        })
    }

    /// The newest record of a subject that is in memory. What is in flushed pages alone was compared before.
    fn newest(&self, subject: &Fingerprint) -> Option<Index> {
        let moved = self.round.moved.get(subject).copied();
        moved.or_else(|| self.store.keys.newest_in_memory(subject).map(Index))
    }

    /// The clock has fallen back: a CONTROL record says so, once, because records do not show it.
    fn note_clock_behind(&mut self, behind_us: u64, reading: Reading) {
        let subject = Fingerprint::subject(SYSTEM_STREAM, LOG_SUBJECT);
        let expected = self.newest(&subject).or(self.log_subject);
        let turn_id = Ulid::generate().to_string();
        let subjects = [Expectation { subject: LOG_SUBJECT.to_owned(), expected }];
        let payload = format!("{{\"behind_us\":{}}}", behind_us.min(Index::MAX.0));
        let draft = Draft {
            kind: Kind::Control,
            type_name: "clock_behind",
            stream_id: SYSTEM_STREAM,
            lane: "system",
            actor: "gesta",
            intent_type: "system.clock_behind",
            thread_id: SYSTEM_THREAD,
            turn_id: &turn_id,
            parent_turn_id: None,
            correlation_id: &turn_id,
            cause: None,
            subjects: &subjects,
            payload: payload.as_bytes(),
        };
        let prepared = Prepared::new(&draft).expect("a record of our own making fits");
        let digest = prepared.digest().to_string();
        let mut keys = vec![subject];
        let parts = KeyParts {
            stream_id: SYSTEM_STREAM,
            correlation_id: &turn_id,
            thread_id: SYSTEM_THREAD,
            turn_id: &turn_id,
            digest: &digest,
        };
        parts.push(&mut keys);
        self.round.push(&prepared, reading.recorded_at, &keys, [subject]);
    }

    /// Writes and syncs the batch, publishes it, acknowledges it; rejects it where the disk is full.
    fn write(&mut self, writer: Writer<D>) -> Result<Writer<D>, Dead> {
        if self.round.batch.is_empty() {
            self.replies.send(&mut self.round.outcomes);
            return Ok(writer);
        }
        let bytes = self.round.batch.bytes().len();
        let (writer, rolled) = writer.roll(bytes)?;
        let room = match rolled {
            Rolled::No => Room::Ready,
            Rolled::Sealed(segment) => {
                self.store.note_roll(segment, writer.next());
                (self.on_roll)();
                Room::Ready
            }
            Rolled::DiskFull => Room::Full,
        };
        if room == Room::Full || self.wait_for_room(&writer, bytes) == Room::Full {
            self.reject();
            return Ok(writer);
        }
        let synced = Instant::now();
        let mut writer = writer.append(&self.round.batch)?;
        self.metrics.sync_seconds.record(synced.elapsed());
        self.store.keys.insert_batch(self.round.records());
        self.store.live.publish(&self.round.batch);
        self.replies.send(&mut self.round.outcomes);
        self.metrics.appended(&self.round.batch);
        writer.absorb(&self.round.batch);
        Ok(writer)
    }

    fn wait_for_room(&self, writer: &Writer<D>, bytes: usize) -> Room {
        loop {
            match writer.wait_for_room(bytes, ROOM_PATIENCE) {
                Room::Filling => {}
                room @ (Room::Ready | Room::Full) => return room,
            }
        }
    }

    /// Nothing of the batch was written: whoever conflicts with a record of it, conflicts with nothing.
    fn reject(&mut self) {
        for (_, outcome) in &mut self.round.outcomes {
            *outcome = Outcome::DiskFull;
        }
        self.replies.send(&mut self.round.outcomes);
    }
}

impl<D: Disk, C> Drop for Sequencer<D, C> {
    /// Whoever waits when the sequencer ends learns that it did.
    fn drop(&mut self) {
        self.queue.abandon();
    }
}

impl Round {
    fn restart(&mut self, next: Index) {
        self.batch.restart(next);
        self.moved.clear();
        self.keys.clear();
        self.key_ends.clear();
    }

    fn push(
        &mut self,
        prepared: &Prepared,
        recorded_at: Timestamp,
        keys: &[Fingerprint],
        subjects: impl IntoIterator<Item = Fingerprint>,
    ) -> Index {
        let index = self.batch.push(prepared, recorded_at);
        self.keys.extend_from_slice(keys);
        self.key_ends.push(self.keys.len());
        self.moved.extend(subjects.into_iter().map(|subject| (subject, index)));
        index
    }

    fn records(&self) -> impl Iterator<Item = (u64, &[Fingerprint])> {
        let starts = std::iter::once(&0).chain(&self.key_ends);
        let ranges =
            starts.zip(&self.key_ends).map(|(start, end)| self.keys.get(*start..*end).unwrap_or_default());
        (self.batch.start().0..).zip(ranges)
    }
}
