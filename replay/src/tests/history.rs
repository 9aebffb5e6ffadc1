//! Logs as a server writes them: every record legal, with the subjects' expectations that a sequencer compares.

use std::collections::BTreeMap;

use gesta_log_format::envelope::{Draft, Expectation, Prepared};
use gesta_log_format::{Digest, Index, Kind, Timestamp, record};
use proptest::prelude::*;

use crate::event::ExecutionId;

pub(super) mod tasks;
use tasks::{Versions, Waiting, Work};

/// A record, all of it, so that a test can change any of it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) type_name: &'static str,
    pub(super) stream: String,
    pub(super) lane: String,
    pub(super) actor: String,
    pub(super) intent_type: String,
    pub(super) thread: String,
    pub(super) turn: String,
    pub(super) parent: Option<String>,
    pub(super) correlation: String,
    pub(super) cause: Option<u64>,
    pub(super) subjects: Vec<Expectation>,
    pub(super) payload: String,
    pub(super) micros: u64,
}

impl Record {
    /// The envelope of the record at `index`.
    pub(super) fn data(&self, index: u64) -> Vec<u8> {
        let draft = Draft {
            kind: self.kind,
            type_name: self.type_name,
            stream_id: &self.stream,
            lane: &self.lane,
            actor: &self.actor,
            intent_type: &self.intent_type,
            thread_id: &self.thread,
            turn_id: &self.turn,
            parent_turn_id: self.parent.as_deref(),
            correlation_id: &self.correlation,
            cause: self.cause.map(Index),
            subjects: &self.subjects,
            payload: self.payload.as_bytes(),
        };
        let mut out = Vec::new();
        let prepared = Prepared::new(&draft).unwrap();
        let (index, at) = (Index(index), Timestamp::from_micros(self.micros));
        record::encode(&mut out, &prepared, index, index, at);
        record::decode(&out).unwrap().data.to_vec()
    }
}

/// How far an intent of a history is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Undecided,
    Open { deliveries: u64 },
    Ended,
}

/// An intent of a history.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) index: u64,
    pub(super) execution_id: ExecutionId,
    /// Its DECISION; 0 without one.
    pub(super) decided_at: u64,
    pub(super) state: State,
}

/// A log in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) records: Vec<Record>,
    pub(super) intents: Vec<Asked>,
    pub(super) handlers: Vec<(&'static str, &'static str)>,
    pub(super) works: Vec<Work>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) versions: Versions,
    /// The record that registered the handler for tasks.
    pub(super) worker: Option<u64>,
    newest: BTreeMap<(String, String), u64>,
}

impl History {
    pub(super) fn log(&self) -> Vec<Vec<u8>> {
        (0..).zip(&self.records).map(|(index, record)| record.data(index)).collect()
    }

    /// Appends a record whose subject is compared with what the history has; its index.
    fn push(&mut self, record: Record, subject: String) -> u64 {
        self.push_all(record, vec![subject])
    }

    fn push_all(&mut self, mut record: Record, subjects: Vec<String>) -> u64 {
        let index = self.records.len() as u64;
        let subjects = subjects.into_iter().map(|subject| {
            let expected = self.newest.insert((record.stream.clone(), subject.clone()), index).map(Index);
            Expectation { subject, expected }
        });
        record.subjects = subjects.collect();
        record.micros = 1_000_000 + index / 2;
        self.records.push(record);
        index
    }

    pub(super) fn intent(&mut self, stream: &str, thread: &str, actor: &str) -> u64 {
        let nth = self.intents.len();
        let execution_id = ExecutionId(1 << 100 | nth as u128);
        let payload = format!(
            "{{\"declared_refs\":[],\"execution_id\":\"{execution_id}\",\"payload\":{{\"message\":\"hi\"}},\
             \"principal\":{{\"name\":\"local\",\"roles\":[\"intent.write\"]}},\"request_digest\":\"{}\",\
             \"surface\":\"wire\"}}",
            Digest::of(b"request")
        );
        let record = Record {
            kind: Kind::Intent,
            type_name: "submitted",
            stream: stream.to_owned(),
            lane: "user".to_owned(),
            actor: actor.to_owned(),
            intent_type: "chat.message".to_owned(),
            thread: thread.to_owned(),
            turn: format!("turn-{nth}"),
            parent: (nth % 3 == 1).then(|| "\"parent\"".to_owned()),
            correlation: format!("c-{nth}"),
            cause: None,
            subjects: Vec::new(),
            payload,
            micros: 0,
        };
        let index = self.push(record, format!("intent/c-{nth}"));
        self.intents.push(Asked { index, execution_id, decided_at: 0, state: State::Undecided });
        index
    }

    /// A record that follows from the intent `nth`.
    fn follow(&self, nth: usize, kind: Kind, type_name: &'static str, payload: String) -> Record {
        let index = self.intents[nth].index;
        let intent = self.records[index as usize].clone();
        Record { kind, type_name, payload, cause: Some(index), ..intent }
    }

    pub(super) fn decide(&mut self, nth: usize, result: &str) -> u64 {
        let index = self.intents[nth].index;
        let digest = Digest::of(b"policy");
        let payload = format!(
            "{{\"context_digest\":\"{digest}\",\"intent_index\":{index},\"policy\":{{\"policy_digest\":\"{digest}\",\
             \"policy_id\":\"p\",\"policy_version\":\"1\"}},\"reasons\":[{{\"code\":\"ALLOWED\",\"params\":{{}}}}],\
             \"result\":\"{result}\"}}"
        );
        let allowed = result == "ALLOW";
        self.intents[nth].state = if allowed { State::Open { deliveries: 0 } } else { State::Ended };
        let record = self.follow(nth, Kind::Decision, "decided", payload);
        let decided_at = self.push(record, format!("decision/{index}"));
        self.intents[nth].decided_at = decided_at;
        decided_at
    }

    pub(super) fn cancel(&mut self, nth: usize) -> u64 {
        let record = self.follow(nth, Kind::Intent, "cancel_requested", "{\"by\":\"ann\"}".to_owned());
        let subject = format!("intent/{}", record.correlation);
        self.push(record, subject)
    }

    pub(super) fn execution(&mut self, nth: usize, type_name: &'static str) -> u64 {
        let asked = &mut self.intents[nth];
        let mut payload = "{}".to_owned();
        match (type_name, &mut asked.state) {
            ("running", State::Open { deliveries }) => {
                *deliveries += 1;
                payload = format!("{{\"delivery\":{deliveries}}}");
            }
            ("completed" | "failed" | "cancelled", state) => *state = State::Ended,
            _ => {}
        }
        match type_name {
            "failed" => payload = "{\"error\":{\"code\":\"X\",\"message\":\"x\"}}".to_owned(),
            "cancelled" => payload = "{\"by\":\"ann\"}".to_owned(),
            "step_completed" | "step_failed" => payload = "{\"step\":\"s\"}".to_owned(),
            _ => {}
        }
        let subject = format!("execution/{}", asked.execution_id);
        self.push(self.follow(nth, Kind::Execution, type_name, payload), subject)
    }

    pub(super) fn control(&mut self, type_name: &'static str, subject: String, payload: String) -> u64 {
        let turn = format!("{}", ExecutionId(self.records.len() as u128));
        let record = Record {
            kind: Kind::Control,
            type_name,
            stream: "_system".to_owned(),
            lane: "system".to_owned(),
            actor: "gesta".to_owned(),
            intent_type: format!("system.{type_name}"),
            thread: "system".to_owned(),
            turn: turn.clone(),
            parent: None,
            correlation: turn,
            cause: None,
            subjects: Vec::new(),
            payload,
            micros: 0,
        };
        self.push(record, subject)
    }

    pub(super) fn policy(&mut self, version: u8) -> u64 {
        let digest = Digest::of(&[version]);
        let bundle = if version.is_multiple_of(2) {
            "{\"policies/a.cedar\":\"permit(principal, action, resource);\\n\"}".to_owned()
        } else {
            format!("{{\"$blob\":\"{digest}\",\"media_type\":\"application/json\",\"size_bytes\":9}}")
        };
        let payload = format!(
            "{{\"bundle\":{bundle},\"policy_digest\":\"{digest}\",\"policy_id\":\"p\",\"policy_version\":\"{version}\"}}"
        );
        self.control("policy_activated", "policy".to_owned(), payload)
    }

    pub(super) fn context(&mut self, version: u8) -> u64 {
        let digest = Digest::of(&[version, 1]);
        let payload =
            format!("{{\"config\":{{\"schema_version\":\"1\"}},\"context_config_digest\":\"{digest}\"}}");
        self.control("context_activated", "context".to_owned(), payload)
    }

    pub(super) fn register(&mut self, intent_type: &'static str, name: &'static str, kind: &str) -> u64 {
        if !self.handlers.contains(&(intent_type, name)) {
            self.handlers.push((intent_type, name));
        }
        let payload =
            format!("{{\"handler_name\":\"{name}\",\"intent_type\":\"{intent_type}\",\"kind\":\"{kind}\"}}");
        self.control("handler_registered", format!("handler/{intent_type}/{name}"), payload)
    }

    pub(super) fn remove(&mut self, intent_type: &'static str, name: &'static str) -> u64 {
        self.handlers.retain(|known| *known != (intent_type, name));
        let payload = format!("{{\"handler_name\":\"{name}\",\"intent_type\":\"{intent_type}\"}}");
        self.control("handler_removed", format!("handler/{intent_type}/{name}"), payload)
    }

    /// Does something that is legal now.
    fn step(&mut self, (action, which, detail): (u8, u8, u8)) {
        const STREAMS: [&str; 3] = ["default", "other", "s.1"];
        const NAMES: [&str; 4] = ["ann", "t", "qu\"ote \\ \u{2028}", "\u{10000}"];
        const TYPES: [(&str, &str); 4] =
            [("chat.message", "echo"), ("chat.message", "b"), ("x", "a"), ("x", "é")];
        let (which, detail) = (usize::from(which), usize::from(detail));
        let in_state = |wanted: fn(State) -> bool| -> Option<usize> {
            let found: Vec<_> =
                (0..self.intents.len()).filter(|nth| wanted(self.intents[*nth].state)).collect();
            found.get(which % found.len().max(1)).copied()
        };
        match action % 40 {
            0..=3 => {
                self.intent(STREAMS[which % 3], NAMES[detail % 4], NAMES[detail / 4 % 4]);
            }
            4..=7 => {
                if let Some(nth) = in_state(|state| state == State::Undecided) {
                    self.decide(nth, if detail % 4 == 0 { "DENY" } else { "ALLOW" });
                }
            }
            8..=12 => {
                if let Some(nth) = in_state(|state| matches!(state, State::Open { .. })) {
                    let types: &[&str] = match self.intents[nth].state {
                        State::Open { deliveries: 0 } if self.is_worked_on(nth) => &["running"],
                        State::Open { .. } if self.is_worked_on(nth) => {
                            &["event", "step_completed", "step_failed", "running"]
                        }
                        State::Open { deliveries: 0 } => {
                            &["running", "running", "running", "failed", "cancelled"]
                        }
                        _ => &[
                            "event",
                            "step_completed",
                            "step_failed",
                            "running",
                            "completed",
                            "failed",
                            "cancelled",
                        ],
                    };
                    self.execution(nth, types[detail % types.len()]);
                }
            }
            13 => {
                if let Some(nth) = in_state(|_| true) {
                    self.cancel(nth);
                }
            }
            14 if detail % 2 == 0 => _ = self.policy(which as u8),
            14 => _ = self.context(which as u8),
            action @ 16.. => self.task_step((action - 16) % 13, which, detail),
            _ => {
                let (intent_type, name) = TYPES[which % 4];
                if detail % 3 == 0 && self.handlers.contains(&(intent_type, name)) {
                    self.remove(intent_type, name);
                } else {
                    self.register(intent_type, name, ["builtin", "external", "push"][detail % 3]);
                }
            }
        }
    }
}

/// Random logs in which everything is legal.
pub(super) fn histories() -> impl Strategy<Value = History> {
    prop::collection::vec(any::<(u8, u8, u8)>(), 0..200).prop_map(|steps| {
        let mut history = History::default();
        for step in steps {
            history.step(step);
        }
        history
    })
}

/// One of everything.
pub(super) fn sample() -> History {
    let mut history = History::default();
    history.policy(1);
    history.context(1);
    history.register("chat.message", "echo", "builtin");
    history.register("chat.message", "other", "external");
    history.intent("default", "t", "ann");
    history.intent("default", "t", "bob");
    history.decide(0, "ALLOW");
    history.policy(2);
    history.execution(0, "running");
    history.cancel(0);
    history.intent("other", "t", "ann");
    history.cancel(1);
    history
}
