//! Where each INTENT and each ended execution of a log is: what the prefix of a decision is looked up in.
//!
//! Holds no record. A look-up finds a [`Place`], and the record is read from there again. Memory: about
//! 180 bytes for each INTENT and 80 for each execution that has ended, so 2.6 GB for ten million of both.

use std::collections::BTreeMap;

use gesta_log_format::{Digest, Index};

use super::Place;
use crate::context::Terminal;
use crate::event::{Artifact, Body, Control, Elements, Event, EventError, Execution, Intent};
use crate::fingerprint::{Fingerprint, Table, Tag};
use gesta_log_format::json::canonical;

/// An INTENT `submitted`; the numbers are places in [`History::intents`].
#[derive(Clone, Copy, Debug)]
struct Known {
    index: Index,
    place: Place,
    /// Its thread, by a number.
    thread: u32,
    previous_of_thread: u32,
    next_of_turn: u32,
    /// Of the first of a turn the last one.
    last_of_turn: u32,
}

/// No INTENT.
const NONE: u32 = u32::MAX;

/// An INTENT that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) index: Index,
    pub(super) place: Place,
}

/// The index of a log. Every look-up is bounded: what lies at or beyond the bound is as if it were not there.
#[derive(Debug, Default)]
pub(super) struct History {
    /// By ascending index.
    intents: Vec<Known>,
    correlations: Table,
    /// Of each thread a number.
    threads: Table,
    last_of_thread: Vec<u32>,
    /// Of each turn in its thread the first INTENT.
    turns: Table,
    /// Of each turn id in a stream the first INTENT, in whichever thread.
    turn_ids: Table,
    /// Of the first INTENT of a turn id the first one in another thread.
    elsewhere: BTreeMap<u32, u32>,
    terminals: Table,
    ended: Vec<Terminal>,
    /// Which blobs were erased, and by which records: the stream, none for CONTROL, and the index.
    erased: BTreeMap<Digest, Vec<(Option<String>, Index)>>,
    buffer: Vec<u8>,
}

impl History {
    /// Takes in a record that comes after all others.
    pub(super) fn record(&mut self, event: &Event<'_>, place: Place) -> Result<(), EventError> {
        match event.body() {
            Body::Intent(Intent::Submitted) => self.submitted(event, place),
            Body::Execution(Execution::Completed | Execution::Failed | Execution::Cancelled) => {
                self.terminal(event)
            }
            Body::Control(Control::Erasure) => {
                self.erasure(event, None);
                Ok(())
            }
            Body::Artifact(Artifact::Erased) => {
                self.erasure(event, Some(event.stream_id()?.into_owned()));
                Ok(())
            }
            Body::Intent(Intent::CancelRequested)
            | Body::Decision(_)
            | Body::Execution(_)
            | Body::Task(_)
            | Body::Artifact(_)
            | Body::Session(_)
            | Body::Control(_)
            | Body::Ledger(_) => Ok(()),
        }
    }

    fn submitted(&mut self, event: &Event<'_>, place: Place) -> Result<(), EventError> {
        // So many take 800 GB here: memory ends long before the numbers do.
        let own = u32::try_from(self.intents.len()).expect("fewer than 2^32 INTENTs fit the memory");
        let (stream, thread, turn) = (event.stream_id()?, event.thread_id()?, event.turn_id()?);
        let correlation = event.correlation_id()?;
        let (stream, thread, turn) = (stream.as_bytes(), thread.as_bytes(), turn.as_bytes());
        let correlation =
            Fingerprint::of(&mut self.buffer, Tag::Correlation, &[stream, correlation.as_bytes()]);
        if self.correlations.number(correlation).is_none() {
            self.correlations.set(correlation, own.into());
        }
        let thread_key = Fingerprint::of(&mut self.buffer, Tag::Thread, &[stream, thread]);
        let number = match self.threads.number(thread_key) {
            Some(number) => number,
            None => {
                let number = self.last_of_thread.len() as u64;
                self.threads.set(thread_key, number);
                self.last_of_thread.push(NONE);
                number
            }
        };
        let last = &mut self.last_of_thread[number as usize];
        let previous_of_thread = std::mem::replace(last, own);
        self.intents.push(Known {
            index: event.index(),
            place,
            thread: number as u32,
            previous_of_thread,
            next_of_turn: NONE,
            last_of_turn: own,
        });
        let turn_key = Fingerprint::of(&mut self.buffer, Tag::Turn, &[stream, thread, turn]);
        self.link_turn(turn_key, own);
        let turn_id = Fingerprint::of(&mut self.buffer, Tag::TurnId, &[stream, turn]);
        match self.turn_ids.number(turn_id) {
            None => drop(self.turn_ids.set(turn_id, own.into())),
            Some(first) if self.intents[first as usize].thread != number as u32 => {
                self.elsewhere.entry(first as u32).or_insert(own);
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn link_turn(&mut self, turn: Fingerprint, own: u32) {
        match self.turns.number(turn) {
            None => drop(self.turns.set(turn, own.into())),
            Some(first) => {
                let first = &mut self.intents[first as usize];
                let last = std::mem::replace(&mut first.last_of_turn, own);
                self.intents[last as usize].next_of_turn = own;
            }
        }
    }

    fn terminal(&mut self, event: &Event<'_>) -> Result<(), EventError> {
        let Some(digest) = event.view().digest() else { return Ok(()) };
        let stream = event.stream_id()?;
        for found in event.subjects() {
            let (subject, _) = found?;
            if subject.starts_with("execution/") {
                let parts = [stream.as_bytes(), subject.as_bytes()];
                let subject = Fingerprint::of(&mut self.buffer, Tag::Subject, &parts);
                if self.terminals.number(subject).is_none() {
                    self.terminals.set(subject, self.ended.len() as u64);
                    self.ended.push(Terminal { index: event.index(), digest });
                }
            }
        }
        Ok(())
    }

    /// The digests of a member `sha256`: one, or a list of them, each with or without `sha256:`.
    fn erasure(&mut self, event: &Event<'_>, stream: Option<String>) {
        let Some(value) = event.view().payload_member("sha256") else { return };
        let texts: Vec<&[u8]> = match value.first() {
            Some(b'[') => Elements::new(value).map_while(|element| element).collect(),
            Some(_) | None => vec![value],
        };
        for text in texts.into_iter().filter_map(canonical::string) {
            let digest = Digest::parse(&text).or_else(|| Digest::parse(&format!("{}{text}", Digest::PREFIX)));
            if let Some(digest) = digest {
                self.erased.entry(digest).or_default().push((stream.clone(), event.index()));
            }
        }
    }

    fn found(&self, nth: u64, bound: Index) -> Option<Found> {
        let known = self.intents.get(usize::try_from(nth).ok()?).filter(|known| known.index < bound)?;
        Some(Found { index: known.index, place: known.place })
    }

    /// The INTENT at an index.
    pub(super) fn intent_at(&self, index: Index) -> Option<Found> {
        let at = self.intents.binary_search_by_key(&index, |known| known.index).ok()?;
        self.found(at as u64, index.next())
    }

    pub(super) fn by_correlation(&self, stream: &str, correlation: &str, bound: Index) -> Option<Found> {
        let parts = [stream.as_bytes(), correlation.as_bytes()];
        let key = Fingerprint::of(&mut Vec::new(), Tag::Correlation, &parts);
        self.found(self.correlations.number(key)?, bound)
    }

    pub(super) fn of_turn(
        &self,
        [stream, thread, turn]: [&str; 3],
        count_max: usize,
        bound: Index,
    ) -> Vec<Found> {
        let parts = [stream.as_bytes(), thread.as_bytes(), turn.as_bytes()];
        let key = Fingerprint::of(&mut Vec::new(), Tag::Turn, &parts);
        let mut found = Vec::new();
        let mut next = self.turns.number(key);
        while let Some(one) = next.and_then(|nth| self.found(nth, bound)).filter(|_| found.len() < count_max)
        {
            let nth = next.and_then(|nth| self.intents.get(nth as usize));
            next = nth.map(|known| known.next_of_turn).filter(|next| *next != NONE).map(u64::from);
            found.push(one);
        }
        found
    }

    pub(super) fn is_turn_elsewhere(&self, [stream, thread, turn]: [&str; 3], bound: Index) -> bool {
        let key = Fingerprint::of(&mut Vec::new(), Tag::TurnId, &[stream.as_bytes(), turn.as_bytes()]);
        let Some(first) = self.turn_ids.number(key) else { return false };
        let thread = Fingerprint::of(&mut Vec::new(), Tag::Thread, &[stream.as_bytes(), thread.as_bytes()]);
        let thread = self.threads.number(thread);
        let is_own =
            self.intents.get(first as usize).is_some_and(|known| Some(u64::from(known.thread)) == thread);
        let other =
            if is_own { self.elsewhere.get(&(first as u32)).copied().map(u64::from) } else { Some(first) };
        other.and_then(|nth| self.found(nth, bound)).is_some()
    }

    pub(super) fn last_of_thread(
        &self,
        stream: &str,
        thread: &str,
        count_max: usize,
        bound: Index,
    ) -> Vec<Found> {
        let key = Fingerprint::of(&mut Vec::new(), Tag::Thread, &[stream.as_bytes(), thread.as_bytes()]);
        let number = self.threads.number(key).and_then(|number| usize::try_from(number).ok());
        let mut next = number.and_then(|number| self.last_of_thread.get(number)).copied().unwrap_or(NONE);
        let mut found = Vec::new();
        while let Some(known) = self.intents.get(next as usize).filter(|_| found.len() < count_max) {
            next = known.previous_of_thread;
            if known.index < bound {
                found.push(Found { index: known.index, place: known.place });
            }
        }
        found.reverse();
        found
    }

    pub(super) fn terminal_of(&self, stream: &str, execution_id: &str, bound: Index) -> Option<Terminal> {
        let subject = format!("execution/{execution_id}");
        let parts = [stream.as_bytes(), subject.as_bytes()];
        let nth = self.terminals.number(Fingerprint::of(&mut Vec::new(), Tag::Subject, &parts))?;
        self.ended.get(usize::try_from(nth).ok()?).copied().filter(|found| found.index < bound)
    }

    /// Whether a record of the stream below the bound, or a CONTROL there, says that a blob was erased.
    pub(super) fn is_erased(&self, digest: &Digest, stream: &str, bound: Index) -> bool {
        self.erased.get(digest).is_some_and(|records| {
            let counts = |of: &Option<String>| of.as_deref().is_none_or(|of| of == stream);
            records.iter().any(|(of, index)| counts(of) && *index < bound)
        })
    }

    /// Whether any record says that a blob was erased.
    pub(super) fn is_ever_erased(&self, digest: &Digest) -> bool {
        self.erased.contains_key(digest)
    }
}
