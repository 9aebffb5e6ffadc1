//! The order of two hands: what one has on its way to the disk, the other compares with.

use gesta_log_format::envelope::{Draft, Expectation, Prepared};
use gesta_log_format::{Index, Kind, Timestamp};
use tokio::sync::oneshot;

use super::super::round::Round;
use super::super::{Append, Outcome, Places, Sequencing, SystemClock};
use super::Plan;
use crate::keys::sealed::SealedKeys;
use crate::keys::{Fingerprint, Keys, store};

const LIMITS: Sequencing = Sequencing { batch_records_max: 8, batch_bytes_max: 1 << 20 };
const FIRST: Index = Index(7);

struct World {
    plan: Plan<SystemClock>,
    keys: Keys,
    rounds: [Round; 2],
    _directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let db = store::open(directory.path(), 1 << 20).unwrap();
        let (keys, _) = Keys::new(SealedKeys::open(db).unwrap(), &[]).unwrap();
        keys.begin_segment(0);
        let plan = Plan::new(SystemClock, Timestamp::from_micros(0), None, FIRST);
        Self { plan, keys, rounds: Default::default(), _directory: directory }
    }

    /// One append of `subject`, that should have no record yet, is waiting.
    fn queue(&mut self, subject: &str) {
        let subjects = [Expectation { subject: subject.to_owned(), expected: None }];
        let draft = Draft {
            kind: Kind::Intent,
            type_name: "submitted",
            stream_id: "default",
            lane: "user",
            actor: "ann",
            intent_type: "chat.message",
            thread_id: "t",
            turn_id: "u",
            parent_turn_id: None,
            correlation_id: subject,
            cause: None,
            subjects: &subjects,
            payload: b"{}",
        };
        let key = Fingerprint::subject("default", subject);
        self.plan.waiting.push_back(Append {
            prepared: Prepared::new(&draft).unwrap(),
            keys: vec![key],
            subjects: vec![(key, None)],
            ticket: self.keys.checked_through(),
            place: Places::new(1).reserve().unwrap(),
            reply: oneshot::channel().0,
        });
    }

    fn begin(&mut self, hand: usize) {
        self.plan.begin(hand, &mut self.rounds[hand]);
    }

    /// Collects what waits and gives the outcomes so far.
    fn collect(&mut self, hand: usize) -> Vec<Outcome> {
        self.plan.collect(hand, &mut self.rounds[hand], LIMITS, &self.keys);
        self.rounds[hand].outcomes.iter().map(|(_, outcome)| *outcome).collect()
    }

    fn close(&mut self, hand: usize) {
        self.plan.close(&self.rounds[hand]);
    }

    /// The hand's batch is durable.
    fn publish(&mut self, hand: usize) {
        self.keys.insert_batch(self.rounds[hand].records());
        self.rounds[hand].outcomes.clear();
    }
}

fn conflict(newest: u64) -> Outcome {
    Outcome::Conflict { subject: 0, newest: Index(newest) }
}

#[test]
fn an_append_conflicts_with_one_that_the_other_hand_is_writing() {
    let mut world = World::new();
    world.begin(0);
    world.queue("a");
    assert_eq!(world.collect(0), [Outcome::Appended(Index(7))]);
    world.close(0);

    world.begin(1);
    world.queue("a");
    world.queue("b");
    assert_eq!(world.collect(1), [conflict(7), Outcome::Appended(Index(8))]);
    world.close(1);
    world.publish(0);

    world.begin(0);
    world.queue("a");
    world.queue("b");
    assert_eq!(world.collect(0), [conflict(7), conflict(8)]);
}

#[test]
fn what_a_hand_wrote_long_ago_does_not_hide_what_was_written_since() {
    let mut world = World::new();
    world.begin(0);
    world.queue("a");
    world.collect(0);
    world.close(0);
    world.publish(0);

    // Hand 0 stays idle, and its map full, while hand 1 moves the subject on.
    let key = Fingerprint::subject("default", "a");
    world.keys.insert_batch([(8, &[key][..])]);
    world.begin(1);
    world.queue("a");
    assert_eq!(world.collect(1), [conflict(8)]);
}

#[test]
fn nobody_conflicts_with_a_batch_that_was_rejected() {
    let mut world = World::new();
    world.begin(0);
    world.queue("a");
    world.collect(0);
    world.plan.reject(0, &mut world.rounds[0]);
    assert_eq!(world.rounds[0].outcomes[0].1, Outcome::DiskFull);
    world.rounds[0].outcomes.clear();

    world.begin(0);
    world.queue("a");
    assert_eq!(world.collect(0), [Outcome::Appended(FIRST)], "and the index is given anew");
}
