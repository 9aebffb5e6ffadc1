//! Giving records their indexes: the collector's part of the sequencer.

use std::collections::VecDeque;

use gesta_log_format::envelope::{Draft, Expectation, Prepared};
use gesta_log_format::{Index, Kind, Timestamp};
use ulid::Ulid;

use super::clock::{Clock, Reading, RecordClock};
use super::round::{Moved, Round};
use super::write::Sequencing;
use super::{Append, HANDS, Outcome};
use crate::keys::{Fingerprint, Keys};
use crate::store::KeyParts;

/// The stream of CONTROL records.
const SYSTEM_STREAM: &str = "_system";
const SYSTEM_THREAD: &str = "system";
const LOG_SUBJECT: &str = "log";

/// What the collector knows of records that are not durable yet. Whoever holds it decides the order.
pub(super) struct Plan<C> {
    clock: RecordClock<C>,
    /// The newest record of the subject `log` in the stream `_system`.
    log_subject: Option<Index>,
    /// Taken from the queue, not in a batch yet.
    pub(super) waiting: VecDeque<Append>,
    /// The index of the next record.
    next: Index,
    /// For each hand what its batch moves, until its keys are in memory.
    moved: [Moved; HANDS],
}

impl<C: Clock> Plan<C> {
    pub(super) fn new(clock: C, newest: Timestamp, log_subject: Option<Index>, next: Index) -> Self {
        Self {
            clock: RecordClock::new(clock, newest),
            log_subject,
            waiting: VecDeque::new(),
            next,
            moved: Default::default(),
        }
    }

    /// Begins a batch of `hand`, whose last one is in the keys.
    pub(super) fn begin(&mut self, hand: usize, round: &mut Round) {
        self.moved_by(hand).clear();
        round.restart(self.next);
    }

    /// The hand's batch is complete and will be written.
    pub(super) fn close(&mut self, round: &Round) {
        self.next = round.batch.end();
    }

    /// The hand's batch will not be written.
    pub(super) fn reject(&mut self, hand: usize, round: &mut Round) {
        self.moved_by(hand).clear();
        round.reject();
    }

    fn moved_by(&mut self, hand: usize) -> &mut Moved {
        self.moved.get_mut(hand).expect("hands are counted from 0 to HANDS")
    }

    /// Encodes as many waiting appends as the batch takes.
    pub(super) fn collect(&mut self, hand: usize, round: &mut Round, limits: Sequencing, keys: &Keys) {
        if self.waiting.is_empty() {
            return;
        }
        let reading = self.clock.read();
        if let Some(behind_us) = reading.fell_back_us {
            self.note_clock_behind(hand, round, behind_us, reading, keys);
        }
        let Sequencing { batch_records_max, batch_bytes_max } = limits;
        while round.batch.len() < batch_records_max && round.batch.bytes().len() < batch_bytes_max {
            let Some(append) = self.waiting.pop_front() else { return };
            let outcome = match self.conflict(&append.subjects, keys) {
                Some(conflict) => conflict,
                None => Outcome::Appended(round.push(
                    &append.prepared,
                    reading.recorded_at,
                    &append.keys,
                    append.subjects.iter().map(|(subject, _)| *subject),
                    self.moved_by(hand),
                )),
            };
            round.outcomes.push((append.reply, outcome));
            round.held.push((append.ticket, append.place));
        }
    }

    /// The first subject that is not as expected.
    fn conflict(&self, subjects: &[(Fingerprint, Option<Index>)], keys: &Keys) -> Option<Outcome> {
        subjects.iter().enumerate().find_map(|(subject, (key, expected))| {
            let newest = self.newest(key, keys)?;
            (Some(newest) != *expected).then_some(Outcome::Conflict { subject, newest })
        })
    }

    /// The newest record of a subject that is in memory. What is in flushed pages alone was compared before.
    fn newest(&self, subject: &Fingerprint, keys: &Keys) -> Option<Index> {
        // A hand's map may be older than the keys: it is emptied when that hand collects again.
        let moved = self.moved.iter().filter_map(|moved| moved.get(subject)).max().copied();
        moved.max(keys.newest_in_memory(subject).map(Index))
    }

    /// The clock has fallen back: a CONTROL record says so, once, because records do not show it.
    fn note_clock_behind(
        &mut self,
        hand: usize,
        round: &mut Round,
        behind_us: u64,
        reading: Reading,
        keys: &Keys,
    ) {
        let subject = Fingerprint::subject(SYSTEM_STREAM, LOG_SUBJECT);
        let expected = self.newest(&subject, keys).or(self.log_subject);
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
        let parts = KeyParts {
            stream_id: SYSTEM_STREAM,
            correlation_id: &turn_id,
            thread_id: SYSTEM_THREAD,
            turn_id: &turn_id,
            digest: prepared.digest(),
        };
        let keys = parts.keys(std::iter::once(subject), prepared.text());
        round.push(&prepared, reading.recorded_at, &keys, [subject], self.moved_by(hand));
    }
}

#[cfg(test)]
mod tests;
