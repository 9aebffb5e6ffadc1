//! A log in memory, and its prefixes as a decision looks into them: by walking, without an index.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use gesta_log_format::blob::Reference;
use gesta_log_format::envelope::{Draft, Expectation, Prepared, View};
use gesta_log_format::json::canonical;
use gesta_log_format::{Digest, Index, Kind, Timestamp, json, record};
use gesta_replay::context::{Blob, Config, ContextError, Origin, Prefix, Terminal, Turn};
use gesta_replay::decide::{Decision, decide};
use gesta_replay::event::Event;
use gesta_replay::policy::{Bundle, Counts};

/// What an intent of the tests says.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) stream: String,
    pub(crate) thread: String,
    pub(crate) turn: String,
    pub(crate) parent: Option<String>,
    pub(crate) correlation: String,
    pub(crate) actor: String,
    pub(crate) lane: String,
    pub(crate) intent_type: String,
    pub(crate) surface: String,
    pub(crate) roles: Vec<String>,
    /// Canonical; the reference where it became a blob.
    pub(crate) payload: String,
    /// Canonical; the reference where it became a blob.
    pub(crate) refs: String,
}

/// The nth intent, with a message.
pub(crate) fn said(nth: u64) -> Said {
    Said {
        stream: "default".into(),
        thread: "t-1".into(),
        turn: format!("u-{nth}"),
        parent: None,
        correlation: format!("c-{nth}"),
        actor: "ann".into(),
        lane: "user".into(),
        intent_type: "chat.message".into(),
        surface: "wire".into(),
        roles: vec!["intent.write".into()],
        payload: format!("{{\"message\":\"hello {nth}\"}}"),
        refs: "[]".into(),
    }
}

impl Said {
    pub(crate) fn thread(mut self, thread: &str) -> Self {
        self.thread = thread.into();
        self
    }

    pub(crate) fn turn(mut self, turn: &str) -> Self {
        self.turn = turn.into();
        self
    }

    pub(crate) fn payload(mut self, payload: &str) -> Self {
        self.payload = String::from_utf8(json::canonicalize(payload.as_bytes()).unwrap()).unwrap();
        self
    }

    /// Declares events of these ids.
    pub(crate) fn refs(mut self, ids: &[&str]) -> Self {
        let each: Vec<_> =
            ids.iter().map(|id| format!("{{\"ref_id\":\"{id}\",\"ref_type\":\"event\"}}")).collect();
        self.refs = format!("[{}]", each.join(","));
        self
    }
}

#[derive(Clone, Default)]
pub(crate) struct Log {
    pub(crate) records: Vec<Vec<u8>>,
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
    pub(crate) erased: BTreeSet<Digest>,
}

impl Log {
    /// Appends an intent; its index.
    pub(crate) fn intent(&mut self, said: &Said) -> u64 {
        let roles: Vec<_> = said.roles.iter().map(|role| format!("\"{role}\"")).collect();
        let payload = format!(
            "{{\"_obs\":{{}},\"declared_refs\":{},\"execution_id\":\"x-{}\",\"payload\":{},\"principal\":{{\"name\":\"local\",\
             \"roles\":[{}]}},\"request_digest\":\"sha256:{}\",\"surface\":\"{}\"}}",
            said.refs,
            self.records.len(),
            said.payload,
            roles.join(","),
            "0".repeat(64),
            said.surface,
        );
        self.append(said, (Kind::Intent, "submitted"), &format!("intent/{}", said.correlation), &payload)
    }

    /// Appends an EXECUTION of the intent at `intent`; its index.
    pub(crate) fn execution(
        &mut self,
        intent: u64,
        said: &Said,
        type_name: &'static str,
        payload: &str,
    ) -> u64 {
        self.append(said, (Kind::Execution, type_name), &format!("execution/x-{intent}"), payload)
    }

    pub(crate) fn append(
        &mut self,
        said: &Said,
        kind: (Kind, &'static str),
        subject: &str,
        payload: &str,
    ) -> u64 {
        let index = self.records.len() as u64;
        let subjects = [Expectation { subject: subject.into(), expected: None }];
        let draft = Draft {
            kind: kind.0,
            type_name: kind.1,
            stream_id: &said.stream,
            lane: &said.lane,
            actor: &said.actor,
            intent_type: &said.intent_type,
            thread_id: &said.thread,
            turn_id: &said.turn,
            parent_turn_id: said.parent.as_deref(),
            correlation_id: &said.correlation,
            cause: None,
            subjects: &subjects,
            payload: payload.as_bytes(),
        };
        let mut out = Vec::new();
        let prepared = Prepared::new(&draft).unwrap();
        record::encode(&mut out, &prepared, Index(index), Index(index), Timestamp::from_micros(1));
        self.records.push(record::decode(&out).unwrap().data.to_vec());
        index
    }

    /// Puts a blob; the reference to it.
    pub(crate) fn blob(&mut self, content: &str, media_type: &str) -> String {
        let (digest, size_bytes) = (Digest::of(content.as_bytes()), content.len() as u64);
        self.blobs.insert(digest, content.into());
        let mut out = Vec::new();
        Reference { digest, media_type, size_bytes }.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    pub(crate) fn prefix(&self, end: u64) -> Below<'_> {
        Below { log: self, end: usize::try_from(end).unwrap() }
    }

    pub(crate) fn event(&self, index: u64) -> Event<'_> {
        Event::parse(&self.records[usize::try_from(index).unwrap()]).unwrap()
    }

    /// The INTENTs before `index`, of its thread and of its actor.
    pub(crate) fn counts(&self, index: u64) -> Counts {
        let own = self.event(index);
        let own = own.view();
        let below = self.prefix(index);
        let count = |wanted: &dyn Fn(&View<'_>) -> bool| {
            below.intents().filter(|(view, _)| view.stream_id == own.stream_id && wanted(view)).count() as u64
        };
        Counts {
            prior_intents_thread: count(&|view| view.thread_id == own.thread_id),
            prior_intents_actor: count(&|view| view.actor == own.actor),
        }
    }

    pub(crate) fn decide<'b>(&self, index: u64, config: &Config, bundle: &'b Bundle) -> Decision<'b> {
        self.try_decide(index, config, bundle).unwrap()
    }

    pub(crate) fn try_decide<'b>(
        &self,
        index: u64,
        config: &Config,
        bundle: &'b Bundle,
    ) -> Result<Decision<'b>, ContextError<Infallible>> {
        decide(&self.event(index), &self.prefix(index), self.counts(index), config, bundle)
    }
}

/// The records of a log with an index below `end`.
pub(crate) struct Below<'l> {
    log: &'l Log,
    end: usize,
}

impl<'l> Below<'l> {
    fn views(&self) -> impl Iterator<Item = (View<'l>, &'l [u8])> {
        self.log.records[..self.end].iter().map(|data| (View::parse(data).unwrap(), &data[..]))
    }

    fn intents(&self) -> impl Iterator<Item = (View<'l>, &'l [u8])> {
        self.views().filter(|(view, _)| view.kind == Kind::Intent && view.type_name == "submitted")
    }
}

fn is(raw: &[u8], wanted: &str) -> bool {
    canonical::unescape(raw) == Some(Cow::Borrowed(wanted))
}

impl<'l> Prefix for Below<'l> {
    type Record = &'l [u8];
    type Error = Infallible;

    fn intent_by_correlation_id(&self, stream: &str, id: &str) -> Result<Option<&'l [u8]>, Infallible> {
        let mut found = self.intents().filter(|(v, _)| is(v.stream_id, stream) && is(v.correlation_id, id));
        Ok(found.next().map(|(_, data)| data))
    }

    fn intents_of_turn(&self, turn: &Turn<'_>, count_max: usize) -> Result<Vec<&'l [u8]>, Infallible> {
        let of_turn = |v: &View<'_>| {
            is(v.stream_id, turn.stream_id) && is(v.thread_id, turn.thread_id) && is(v.turn_id, turn.turn_id)
        };
        Ok(self.intents().filter(|(v, _)| of_turn(v)).map(|(_, data)| data).take(count_max).collect())
    }

    fn is_turn_of_another_thread(&self, turn: &Turn<'_>) -> Result<bool, Infallible> {
        let elsewhere = |v: &View<'_>| {
            is(v.stream_id, turn.stream_id) && !is(v.thread_id, turn.thread_id) && is(v.turn_id, turn.turn_id)
        };
        Ok(self.intents().any(|(v, _)| elsewhere(&v)))
    }

    fn last_intents_of_thread(
        &self,
        stream: &str,
        thread: &str,
        count_max: usize,
    ) -> Result<Vec<&'l [u8]>, Infallible> {
        let of_thread = self.intents().filter(|(v, _)| is(v.stream_id, stream) && is(v.thread_id, thread));
        let all: Vec<_> = of_thread.map(|(_, data)| data).collect();
        Ok(all[all.len().saturating_sub(count_max)..].to_vec())
    }

    fn terminal_execution(&self, intent: &Origin<'_>) -> Result<Option<Terminal>, Infallible> {
        let subject = format!("execution/{}", intent.execution_id);
        let terminal = self.views().find(|(v, _)| {
            v.kind == Kind::Execution
                && ["completed", "failed", "cancelled"].contains(&v.type_name)
                && is(v.stream_id, intent.stream_id)
                && v.subjects().flatten().any(|found| is(found.subject, &subject))
        });
        Ok(terminal.map(|(v, _)| Terminal { index: v.index, digest: v.digest().unwrap() }))
    }

    fn blob(&self, reference: &Reference<'_>) -> Result<Blob, Infallible> {
        if self.log.erased.contains(&reference.digest) {
            return Ok(Blob::Erased);
        }
        Ok(self.log.blobs.get(&reference.digest).map_or(Blob::Missing, |found| Blob::Content(found.clone())))
    }
}
