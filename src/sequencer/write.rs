//! The sequencer's loop, as each of its hands runs it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gesta_log_format::log::{Absorber, Dead, Rolled, Room, Writer};
use gesta_log_format::{Index, Timestamp, disk::Disk};

use super::acknowledge::Acknowledgements;
use super::clock::Clock;
use super::plan::Plan;
use super::queue::{Gathered, Queue};
use super::round::Round;
use crate::metrics::LogMetrics;
use crate::store::Store;

/// How long the writer waits for the filler before it looks again whether it should end.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);

/// A batch of fewer appends than this is written before the next is begun: there is too little to overlap, and its
/// hand goes on without waking another.
const OVERLAPPED_MIN: usize = 4;

/// How much one batch takes.
#[derive(Clone, Copy, Debug)]
pub struct Sequencing {
    pub batch_records_max: usize,
    pub batch_bytes_max: usize,
}

/// What the hands of the sequencer share. Three locks, taken in this order and let go of in any: the plan, by the
/// collector; the writer, by whoever has its role; the publisher, from before the writer's role is left until the
/// batch is acknowledged and absorbed, so that batches are published in their order.
pub struct Sequencer<D: Disk, C> {
    store: Arc<Store>,
    queue: Arc<Queue>,
    replies: Arc<Acknowledgements>,
    metrics: LogMetrics,
    limits: Sequencing,
    on_roll: Box<dyn Fn() + Send + Sync>,
    plan: Mutex<Plan<C>>,
    /// None while a batch is being written, and for good after a failed write or sync.
    writer: Mutex<Option<Writer<D>>>,
    publisher: Mutex<Absorber>,
}

/// Ends the other hand too when one ends by an error or a panic.
struct Abandon<'a>(Option<&'a Queue>);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        if let Some(queue) = self.0 {
            queue.abandon();
        }
    }
}

impl<D: Disk, C: Clock> Sequencer<D, C> {
    /// `on_roll` is told of each sealed segment, on the thread of a hand.
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
        on_roll: Box<dyn Fn() + Send + Sync>,
        writer: Writer<D>,
    ) -> Self {
        Self {
            store,
            queue,
            replies,
            metrics,
            limits,
            on_roll,
            plan: Mutex::new(Plan::new(clock, newest, log_subject, writer.next())),
            publisher: Mutex::new(writer.absorber()),
            writer: Mutex::new(Some(writer)),
        }
    }

    /// Serves the queue as the hand of this number, below [`HANDS`](super::HANDS), until the queue is closed and empty.
    ///
    /// # Errors
    /// [`Dead`] at the first failed write or sync; everything that waits is dropped without an outcome, and the other
    /// hands end.
    pub fn run(&self, hand: usize) -> Result<(), Dead> {
        let mut abandon = Abandon(Some(&self.queue));
        let mut round = Round::default();
        let mut collecting = false;
        loop {
            if !collecting {
                self.queue.begin_collecting();
            }
            let mut plan = lock(&self.plan);
            if !self.gather(hand, &mut plan, &mut round) {
                // After a failure these wait for nothing: their clients learn that the outcome is unknown.
                plan.waiting.clear();
                drop(plan);
                self.queue.end_collecting();
                abandon.0 = None;
                return Ok(());
            }
            collecting = self.write(hand, plan, &mut round)?;
        }
    }

    /// Builds a batch until it may be written; false where there is nothing left to do.
    fn gather(&self, hand: usize, plan: &mut Plan<C>, round: &mut Round) -> bool {
        plan.begin(hand, round);
        loop {
            let gathered = self.queue.gather(&mut plan.waiting, !round.outcomes.is_empty());
            if gathered == Gathered::Over {
                return false;
            }
            plan.collect(hand, round, self.limits, &self.store.keys);
            if gathered == Gathered::Turn {
                return true;
            }
        }
    }

    /// Writes and syncs the batch, publishes it, acknowledges it; rejects it where the disk is full. Says whether the
    /// hand is the collector still.
    fn write(&self, hand: usize, mut plan: MutexGuard<'_, Plan<C>>, round: &mut Round) -> Result<bool, Dead> {
        let started = Instant::now();
        let writer = lock(&self.writer).take().expect("whoever has the writer's role finds the writer");
        let bytes = round.batch.bytes().len();
        let (mut writer, room) =
            if bytes == 0 { (writer, Room::Full) } else { self.make_room(writer, bytes)? };
        let mut keeps_plan = None;
        if room == Room::Full {
            if bytes > 0 {
                plan.reject(hand, round);
            }
            keeps_plan = Some(plan);
        } else {
            plan.close(round);
            if round.outcomes.len() < OVERLAPPED_MIN {
                keeps_plan = Some(plan);
            } else {
                drop(plan);
                self.queue.end_collecting();
            }
            let synced = Instant::now();
            writer = writer.append(&round.batch)?;
            self.metrics.sync_seconds.record(synced.elapsed());
        }
        let absorber = lock(&self.publisher);
        *lock(&self.writer) = Some(writer);
        self.queue.end_writing();
        if room == Room::Full {
            self.replies.send(&mut round.outcomes);
        } else {
            self.store.keys.insert_batch(round.records());
            self.store.fresh_leaves.push(round.batch.start(), round.batch.leaves());
            self.store.live.publish(&round.batch);
            self.replies.send(&mut round.outcomes);
            self.metrics.appended(&round.batch);
            absorber.absorb(&round.batch);
        }
        drop(absorber);
        // At once: this hand may be idle for long.
        round.held.clear();
        self.metrics.append_seconds.record(started.elapsed());
        Ok(keeps_plan.is_some())
    }

    /// Rolls where the segment is full, and waits for the filler.
    fn make_room(&self, writer: Writer<D>, bytes: usize) -> Result<(Writer<D>, Room), Dead> {
        let mut writer = writer;
        if writer.is_full_for(bytes) {
            // The batch before this one has to be published and absorbed.
            let _published = lock(&self.publisher);
            let (rolling, rolled) = writer.roll(bytes)?;
            writer = rolling;
            match rolled {
                Rolled::No => {}
                Rolled::Sealed(segment) => {
                    self.store.note_roll(segment, writer.next());
                    (self.on_roll)();
                }
                Rolled::DiskFull => return Ok((writer, Room::Full)),
            }
        }
        loop {
            match writer.wait_for_room(bytes, ROOM_PATIENCE) {
                Room::Filling => {}
                room @ (Room::Ready | Room::Full) => return Ok((writer, room)),
            }
        }
    }
}

/// A hand that panics ends the process: what another finds behind its lock is never used.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
