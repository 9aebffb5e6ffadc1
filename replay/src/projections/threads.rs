//! The turns of one thread, with the records of each.
//!
//! No thread is kept folded: a [`Timeline`] is made when someone asks, from the records that the thread's key finds.
//! Memory: 8 bytes a record and about 300 bytes a turn, so whoever feeds it bounds the records.
//!
//! The state in a snapshot, version 1, turns in the order of their first index:
//!
//! ```text
//! {"applied":9,"stream_id":"default","thread_id":"t","turns":[{"correlation_id":"c-1","events":[3,4,8],
//!  "parent_turn_id":null,"phase":"ALLOWED","turn_id":"u"},…]}
//! ```

use std::collections::BTreeMap;

use gesta_log_format::{Index, json};
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::phase::{LastIntent, Phase};
use crate::projection::{FoldError, Projection};
use crate::snapshot::{self, RestoreError, ensure};

const NAME: &str = "threads";
const VERSION: u32 = 1;

/// One thread's turns, folded from its records in ascending order. Records of other threads are passed over, so
/// every record of the log may be given, or the candidates of the thread's key alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    stream_id: String,
    thread_id: String,
    /// Both ids as envelopes spell them, so that a foreign record costs two comparisons.
    spelled: (Vec<u8>, Vec<u8>),
    applied: Index,
    turns: Vec<Turn>,
    /// Each turn's place in `turns`.
    places: BTreeMap<String, usize>,
}

/// One turn of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    turn_id: String,
    parent_turn_id: Option<String>,
    /// Ascending, and at least one.
    events: Vec<Index>,
    last_intent: LastIntent,
}

/// Some of a thread's turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<'t> {
    /// In the order of their first index.
    pub turns: &'t [Turn],
    /// The `since` of the next page; none where this is the last.
    pub next: Option<Index>,
}

impl Turn {
    /// Its name within the thread.
    #[must_use]
    pub fn turn_id(&self) -> &str {
        &self.turn_id
    }

    /// The turn that it answers, as its first record names it.
    #[must_use]
    pub fn parent_turn_id(&self) -> Option<&str> {
        self.parent_turn_id.as_deref()
    }

    /// The index of its first record.
    #[must_use]
    pub fn first_index(&self) -> Index {
        self.events.first().copied().unwrap_or_default()
    }

    /// The index of its last record.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.events.last().copied().unwrap_or_default()
    }

    /// How far the INTENT has come that was submitted last in this turn.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.last_intent.phase
    }

    /// The indexes of its records, ascending, at least one.
    #[must_use]
    pub fn events(&self) -> &[Index] {
        &self.events
    }
}

impl Timeline {
    /// The timeline of a thread of which no record was given yet.
    #[must_use]
    pub fn new(stream_id: &str, thread_id: &str) -> Self {
        let spelled = |id| {
            let mut quoted = Vec::new();
            json::write_string(&mut quoted, id);
            quoted.get(1..quoted.len() - 1).unwrap_or_default().to_vec()
        };
        Self {
            stream_id: stream_id.to_owned(),
            thread_id: thread_id.to_owned(),
            spelled: (spelled(stream_id), spelled(thread_id)),
            applied: Index::ZERO,
            turns: Vec::new(),
            places: BTreeMap::new(),
        }
    }

    /// All turns, in the order of their first index.
    #[must_use]
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// At most `turns_max` turns whose first index is above `since`; from the first turn on where that is none.
    #[must_use]
    pub fn page(&self, since: Option<Index>, turns_max: usize) -> Page<'_> {
        let passed = |turn: &Turn| since.is_some_and(|since| turn.first_index() <= since);
        let rest = self.turns.get(self.turns.partition_point(passed)..).unwrap_or_default();
        let (turns, more) = rest.split_at_checked(turns_max).unwrap_or((rest, &[]));
        let next = if more.is_empty() { None } else { turns.last().map(Turn::first_index).or(since) };
        Page { turns, next }
    }

    fn add(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        let turn_id = event.turn_id()?;
        if let Some(turn) = self.places.get(turn_id.as_ref()).and_then(|place| self.turns.get_mut(*place)) {
            turn.last_intent.apply(event)?;
            turn.events.push(event.index());
            return Ok(());
        }
        let mut last_intent = LastIntent::default();
        last_intent.apply(event)?;
        let parent_turn_id = event.parent_turn_id()?.map(Into::into);
        let (turn_id, events) = (turn_id.into_owned(), vec![event.index()]);
        self.places.insert(turn_id.clone(), self.turns.len());
        self.turns.push(Turn { turn_id, parent_turn_id, events, last_intent });
        Ok(())
    }
}

impl Projection for Timeline {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Of a thread only its own records need to come.
    fn in_place(&self, event: &Event<'_>) -> Result<(), FoldError> {
        let index = event.index();
        if index < self.applied {
            return Err(FoldError::Again { applied: self.applied, found: index });
        }
        Ok(())
    }

    fn take_in(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        let (stream_id, thread_id) = &self.spelled;
        if event.view().thread_id == thread_id && event.view().stream_id == stream_id {
            self.add(event)?;
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
        let turns = self.turns.iter().map(|turn| TurnForm {
            correlation_id: turn.last_intent.correlation_id.clone(),
            events: turn.events.iter().map(|index| index.0).collect(),
            parent_turn_id: turn.parent_turn_id.clone(),
            phase: turn.last_intent.phase,
            turn_id: turn.turn_id.clone(),
        });
        let form = Form {
            applied: self.applied.0,
            stream_id: self.stream_id.clone(),
            thread_id: self.thread_id.clone(),
            turns: turns.collect(),
        };
        snapshot::write(NAME, VERSION, &form)
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        let form: Form = snapshot::read(NAME, VERSION, snapshot)?;
        let mut timeline = Self::new(&form.stream_id, &form.thread_id);
        timeline.applied = Index(form.applied);
        for turn in form.turns {
            let first = turn.events.first().copied().map(Index);
            let before = timeline.turns.last().map(Turn::first_index);
            ensure(first > before, "a turn has no record, or the turns are not in order")?;
            ensure(turn.events.is_sorted_by(|a, b| a < b), "a turn's records are not in order")?;
            ensure(turn.events.last() < Some(&form.applied), "a turn's last record is not applied")?;
            let intented = turn.phase != Phase::Empty;
            ensure(intented == turn.correlation_id.is_some(), "a phase without an intent, or the reverse")?;
            let known = timeline.places.insert(turn.turn_id.clone(), timeline.turns.len());
            ensure(known.is_none(), "a turn is there twice")?;
            timeline.turns.push(Turn {
                turn_id: turn.turn_id,
                parent_turn_id: turn.parent_turn_id,
                events: turn.events.into_iter().map(Index).collect(),
                last_intent: LastIntent { correlation_id: turn.correlation_id, phase: turn.phase },
            });
        }
        Ok(timeline)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    applied: u64,
    stream_id: String,
    thread_id: String,
    turns: Vec<TurnForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TurnForm {
    correlation_id: Option<String>,
    events: Vec<u64>,
    parent_turn_id: Option<String>,
    phase: Phase,
    turn_id: String,
}
