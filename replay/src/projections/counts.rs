//! How many INTENTs were submitted before: in a thread, and by an actor, per stream.
//!
//! A decision sees the counts below its INTENT's index, whenever it is made, so they are set aside as the INTENT comes
//! in and kept until its DECISION. Memory: about 36 bytes for each thread and each actor, under a fingerprint of
//! sixteen bytes, and 40 for each INTENT that awaits its DECISION.
//!
//! The state in a snapshot, version 1:
//!
//! ```text
//! {"applied":9,"counts":"{32 digits}={count},{32 digits}={count},…","undecided":[[7,3,12],…]}
//! ```
//!
//! `counts` by ascending fingerprint, threads and actors together; `undecided` by ascending index, each with its
//! counts in the thread and of the actor.

use std::collections::BTreeMap;

use gesta_log_format::Index;
use serde::{Deserialize, Serialize};

use crate::event::{Body, Decision, Event, EventError, Intent};
use crate::fingerprint::{Fingerprint, Table, Tag};
use crate::projection::{FoldError, Projection};
use crate::snapshot::{self, RestoreError, ensure};

const NAME: &str = "counts";
const VERSION: u32 = 1;

/// How many INTENTs were submitted, by thread and by actor.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    applied: Index,
    table: Table,
    undecided: BTreeMap<Index, PriorIntents>,
    /// Of no meaning: where the next fingerprint is laid out.
    buffer: Vec<u8>,
}

/// How many INTENTs were submitted before one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PriorIntents {
    /// In its thread.
    pub thread: u64,
    /// By its actor, in its stream.
    pub actor: u64,
}

impl Counts {
    /// The state of a log of which nothing below `first` is known, as where its beginning is not at hand.
    #[must_use]
    pub fn starting_at(first: Index) -> Self {
        Self { applied: first, ..Self::default() }
    }

    /// How many INTENTs were submitted before the one at `index`; told while it awaits its DECISION.
    #[must_use]
    pub fn before(&self, index: Index) -> Option<PriorIntents> {
        self.undecided.get(&index).copied()
    }

    /// How many INTENTs were submitted so far: what [`Counts::before`] will tell of one that comes next.
    #[must_use]
    pub fn now(&self, stream_id: &str, thread_id: &str, actor: &str) -> PriorIntents {
        let count = |tag, id: &str| {
            let parts = [stream_id.as_bytes(), id.as_bytes()];
            self.table.number(Fingerprint::of(&mut Vec::new(), tag, &parts)).unwrap_or(0)
        };
        PriorIntents { thread: count(Tag::Thread, thread_id), actor: count(Tag::Actor, actor) }
    }

    fn submitted(&mut self, event: &Event<'_>) -> Result<(), EventError> {
        let (stream_id, thread_id, actor) = (event.stream_id()?, event.thread_id()?, event.actor()?);
        let mut add = |tag, id: &str| {
            let fingerprint = Fingerprint::of(&mut self.buffer, tag, &[stream_id.as_bytes(), id.as_bytes()]);
            self.table.add(fingerprint)
        };
        let prior = PriorIntents { thread: add(Tag::Thread, &thread_id), actor: add(Tag::Actor, &actor) };
        self.undecided.insert(event.index(), prior);
        Ok(())
    }
}

impl PartialEq for Counts {
    fn eq(&self, other: &Self) -> bool {
        (self.applied, &self.table, &self.undecided) == (other.applied, &other.table, &other.undecided)
    }
}

impl Eq for Counts {}

impl Projection for Counts {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Takes a DECISION for what it says: whether there may be one is asked by [`super::decisions`].
    fn take_in(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        match event.body() {
            Body::Intent(Intent::Submitted) => self.submitted(event)?,
            Body::Decision(Decision::Decided) => {
                self.undecided.remove(&event.intent_index()?);
            }
            Body::Intent(Intent::CancelRequested)
            | Body::Execution(_)
            | Body::Task(_)
            | Body::Artifact(_)
            | Body::Session(_)
            | Body::Control(_)
            | Body::Ledger(_) => {}
        }
        Ok(())
    }

    fn applied(&self) -> Index {
        self.applied
    }

    fn applied_mut(&mut self) -> &mut Index {
        &mut self.applied
    }

    fn snapshot(&self) -> Vec<u8> {
        let undecided = self.undecided.iter().map(|(index, prior)| [index.0, prior.thread, prior.actor]);
        let form =
            Form { applied: self.applied.0, counts: self.table.text(), undecided: undecided.collect() };
        snapshot::write(NAME, VERSION, &form)
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        let form: Form = snapshot::read(NAME, VERSION, snapshot)?;
        let table = Table::parse(&form.counts, 1..=form.applied)?;
        let mut counts = Self { applied: Index(form.applied), table, ..Self::default() };
        let in_order = form.undecided.is_sorted_by(|[one, ..], [next, ..]| one < next);
        ensure(in_order, "the undecided INTENTs are not in order")?;
        let applied = form.undecided.last().is_none_or(|[last, ..]| *last < form.applied);
        ensure(applied, "an INTENT is not applied")?;
        for [index, thread, actor] in form.undecided {
            ensure(thread.max(actor) <= index, "more INTENTs than records lie before one")?;
            counts.undecided.insert(Index(index), PriorIntents { thread, actor });
        }
        Ok(counts)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    applied: u64,
    counts: String,
    undecided: Vec<[u64; 3]>,
}
