//! The tasks of one pool, in the order in which they are claimed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use gesta_log_format::{Index, Timestamp};

use super::Candidate;
use crate::auth::Patterns;

/// Which of two tasks comes first, where a worker could have either: the greater.
pub(super) type Rank = (u8, Reverse<Index>);

/// The tasks of one pool.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// By priority.
    levels: BTreeMap<u8, Level>,
    /// All, by their age.
    ages: BTreeSet<(Timestamp, Index)>,
}

/// The tasks of one priority.
#[derive(Debug, Default)]
struct Level {
    /// The tasks of each stream, by their age. A stream stands here exactly if it stands in `turns`.
    streams: HashMap<String, BTreeMap<Index, Candidate>>,
    /// The stream whose turn it is first. One that comes in has the last turn, so that a stream with one task at a time
    /// does not come before one with many.
    turns: VecDeque<String>,
}

impl Pool {
    pub(super) fn len(&self) -> usize {
        self.ages.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ages.is_empty()
    }

    /// When the oldest came in.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.ages.first().map(|(queued_at, _)| *queued_at)
    }

    /// All, in no order that means anything.
    pub(super) fn all(&self) -> impl Iterator<Item = &Candidate> {
        self.levels.values().flat_map(|level| level.streams.values()).flat_map(BTreeMap::values)
    }

    pub(super) fn insert(&mut self, candidate: Candidate) {
        self.ages.insert((candidate.queued_at, candidate.queued_index));
        let level = self.levels.entry(candidate.priority).or_default();
        match level.streams.get_mut(&candidate.stream_id) {
            Some(tasks) => drop(tasks.insert(candidate.queued_index, candidate)),
            None => {
                let stream_id = candidate.stream_id.clone();
                level.turns.push_back(stream_id.clone());
                level.streams.insert(stream_id, BTreeMap::from([(candidate.queued_index, candidate)]));
            }
        }
    }

    /// The rank of the task that [`Pool::take`] would give.
    pub(super) fn peek(&self, streams: &Patterns) -> Option<Rank> {
        self.levels.iter().rev().find_map(|(priority, level)| {
            let first = level.turn(streams).and_then(|turn| level.first(turn))?;
            Some((*priority, Reverse(first.queued_index)))
        })
    }

    /// The next task of these streams.
    pub(super) fn take(&mut self, streams: &Patterns) -> Option<Candidate> {
        let mut levels = self.levels.iter_mut().rev();
        let (priority, turn, level) =
            levels.find_map(|(priority, level)| Some((*priority, level.turn(streams)?, level)))?;
        let candidate = level.take(turn)?;
        if level.streams.is_empty() {
            self.levels.remove(&priority);
        }
        self.ages.remove(&(candidate.queued_at, candidate.queued_index));
        Some(candidate)
    }

    pub(super) fn remove(&mut self, known: &Candidate) {
        let Some(level) = self.levels.get_mut(&known.priority) else { return };
        let Some(tasks) = level.streams.get_mut(&known.stream_id) else { return };
        if tasks.remove(&known.queued_index).is_some() {
            self.ages.remove(&(known.queued_at, known.queued_index));
        }
        level.drop_empty_turns();
        if level.streams.is_empty() {
            self.levels.remove(&known.priority);
        }
    }
}

impl Level {
    /// The first turn of a stream that is one of these and has a task: its place in the row.
    fn turn(&self, streams: &Patterns) -> Option<usize> {
        self.turns.iter().position(|stream_id| streams.matches(stream_id) && self.has_task(stream_id))
    }

    fn first(&self, turn: usize) -> Option<&Candidate> {
        self.streams.get(self.turns.get(turn)?)?.values().next()
    }

    /// The oldest task of the stream whose turn this is, which is then the last of the row.
    fn take(&mut self, turn: usize) -> Option<Candidate> {
        let stream_id = self.turns.remove(turn)?;
        let tasks = self.streams.get_mut(&stream_id)?;
        let (_, candidate) = tasks.pop_first()?;
        if tasks.is_empty() {
            self.streams.remove(&stream_id);
        } else {
            self.turns.push_back(stream_id);
        }
        self.drop_empty_turns();
        Some(candidate)
    }

    fn has_task(&self, stream_id: &str) -> bool {
        self.streams.get(stream_id).is_some_and(|tasks| !tasks.is_empty())
    }

    /// The stream at the front has a task: one that lost its last one otherwise than by its turn leaves when it comes up.
    fn drop_empty_turns(&mut self) {
        while let Some(stream_id) = self.turns.front() {
            if self.has_task(stream_id) {
                return;
            }
            self.streams.remove(stream_id);
            self.turns.pop_front();
        }
    }
}
