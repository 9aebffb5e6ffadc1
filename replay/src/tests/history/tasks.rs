//! The tasks of a history: a model of its own, which says what may follow and what is there.

use std::collections::BTreeMap;

use gesta_log_format::{Index, Kind, Timestamp};

use super::{History, Record, State};
use crate::event::TaskId;

/// A task, as the history has made it.
#[derive(Clone, Debug)]
pub(in crate::tests) struct Work {
    /// The intent.
    pub(in crate::tests) nth: usize,
    pub(in crate::tests) task_id: TaskId,
    pub(in crate::tests) state: &'static str,
    pub(in crate::tests) attempt: u64,
    pub(in crate::tests) attempts_max: u64,
    pub(in crate::tests) first: u64,
    pub(in crate::tests) queued: u64,
    pub(in crate::tests) last: u64,
    pub(in crate::tests) cancel: Option<u64>,
    pub(in crate::tests) retry_at: Option<u64>,
    pub(in crate::tests) lease: Option<Held>,
    pub(in crate::tests) outcome: Option<u64>,
    /// Its execution has ended.
    pub(in crate::tests) gone: bool,
}

/// The lease of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tests) struct Held {
    pub(in crate::tests) worker: String,
    pub(in crate::tests) claim: u64,
    pub(in crate::tests) expires: u64,
}

/// A batch that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tests) struct Waiting {
    pub(in crate::tests) index: u64,
    pub(in crate::tests) work: usize,
    pub(in crate::tests) attempt: u64,
    pub(in crate::tests) uri: String,
    pub(in crate::tests) scope: &'static str,
}

/// A dataset version: when it was registered, how many events it had, and its last record.
pub(in crate::tests) type Version = (Option<u64>, u64, u64);

/// By stream, uuid and version.
pub(in crate::tests) type Versions = BTreeMap<(String, &'static str, &'static str), Version>;

const SCOPES: [&str; 2] = ["rows", "ro\"ws"];
/// What an attempt writes that is no TASK, at any time.
const WRITTEN: [(Kind, &str); 3] =
    [(Kind::Execution, "state_set"), (Kind::Session, "state_set"), (Kind::Artifact, "registered")];
const DATASETS: [(&str, &str); 3] = [("d", "1"), ("d", "2"), ("e", "é")];
const GRANTS: &str = "{\"datasets\":[],\"s3\":{\"read_prefixes\":[],\"write_prefixes\":[\"s3://b/p/\"]}}";

fn time(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// What a version is registered as, always the same.
fn metadata(version: &str) -> String {
    format!("\"range_end\":9,\"range_start\":null,\"storage_ref\":\"s3://b/p/{version}/\"")
}

impl Work {
    fn ended(&self) -> bool {
        ["completed", "failed", "canceled"].contains(&self.state)
    }

    fn attempts_left(&self) -> bool {
        self.attempt < self.attempts_max && self.cancel.is_none()
    }

    /// What may be appended next, by a table of its own.
    fn legal(&self) -> Vec<&'static str> {
        let late = ["completed", "failed", "failed_for_good"];
        let mut legal = match self.state {
            "queued" => vec!["claimed", "claimed"],
            "running" => vec!["timed_out", "timed_out", "event", "buffer_published", "written"],
            "retry_scheduled" => vec!["queued", "queued"],
            "timed_out" | "attempt_failed" if self.attempts_left() => vec!["retry_scheduled"; 4],
            "timed_out" | "attempt_failed" => Vec::new(),
            _ => return Vec::new(),
        };
        if self.state == "running" && self.cancel.is_none() {
            legal.extend(["extended", "extended", "cancel_requested"]);
        }
        if self.attempt > 0 {
            legal.extend(late);
        }
        legal.push("canceled");
        legal
    }
}

impl History {
    /// A handler for tasks.
    pub(in crate::tests) fn register_worker(&mut self) -> u64 {
        self.handlers.push(("chat.message", "work"));
        let payload = "{\"handler_name\":\"work\",\"intent_type\":\"chat.message\",\"kind\":\"worker\",\
                       \"max_attempts\":3,\"pool\":\"p\",\"priority\":7}";
        let subject = "handler/chat.message/work".to_owned();
        let index = self.control("handler_registered", subject, payload.to_owned());
        self.worker = Some(index);
        index
    }

    /// What a first `queued` says.
    pub(in crate::tests) fn description(&self, nth: usize, attempts_max: u64) -> String {
        let (intent, handler) = (self.intents[nth].index, self.worker.unwrap_or_default());
        format!(
            "{{\"attempt\":0,\"grants\":{GRANTS},\"handler\":{{\"handler_name\":\"work\",\"index\":{handler},\
             \"intent_type\":\"chat.message\"}},\"intent_index\":{intent},\"kind\":\"worker\",\"limits\":{{\
             \"heartbeat_ms\":30000,\"lease_ms\":120000,\"max_attempts\":{attempts_max},\"timeout_ms\":600000}},\
             \"pool\":\"p\",\"priority\":7}}"
        )
    }

    /// Makes the execution of the intent `nth` a task.
    pub(in crate::tests) fn queue(&mut self, nth: usize, attempts_max: u64) -> usize {
        if self.worker.is_none() {
            self.register_worker();
        }
        let payload = self.description(nth, attempts_max);
        let task_id = self.intents[nth].execution_id;
        let index = self.push_task(nth, "queued", payload, Some(self.intents[nth].decided_at));
        self.works.push(Work {
            nth,
            task_id,
            state: "queued",
            attempt: 0,
            attempts_max,
            first: index,
            queued: index,
            last: index,
            cancel: None,
            retry_at: None,
            lease: None,
            outcome: None,
            gone: false,
        });
        self.works.len() - 1
    }

    fn push_task(&mut self, nth: usize, type_name: &'static str, payload: String, cause: Option<u64>) -> u64 {
        let subject = format!("task/{}", self.intents[nth].execution_id);
        let record = Record { cause, ..self.follow(nth, Kind::Task, type_name, payload) };
        self.push(record, subject)
    }

    /// A record of a task, whether it may come or not.
    pub(in crate::tests) fn task(&mut self, work: usize, type_name: &'static str, payload: &str) -> u64 {
        let Work { nth, last, .. } = self.works[work];
        let index = self.push_task(nth, type_name, payload.to_owned(), Some(last));
        self.works[work].last = index;
        index
    }

    /// What an attempt writes that is no TASK, whether it may or not.
    pub(in crate::tests) fn write(
        &mut self,
        work: usize,
        kind: Kind,
        type_name: &'static str,
        attempt: u64,
    ) -> u64 {
        let Work { nth, last, task_id, .. } = self.works[work];
        let payload = format!("{{\"attempt\":{attempt},\"value\":{{}}}}");
        let record = Record { cause: Some(last), ..self.follow(nth, kind, type_name, payload) };
        let own = match kind {
            Kind::Session => format!("session-state/{}", record.thread),
            Kind::Artifact => format!("artifact/a-{}", self.records.len()),
            _ if type_name == "state_set" => format!("execution-state/{task_id}"),
            _ => format!("execution/{task_id}"),
        };
        let index = self.push_all(record, vec![own, format!("task/{task_id}")]);
        self.works[work].last = index;
        index
    }

    /// A legal step of a task. `what` is a type, `failed_for_good`, or `written`.
    pub(in crate::tests) fn work(&mut self, work: usize, what: &'static str) -> u64 {
        let (next, before) = (self.records.len() as u64, self.works[work].clone());
        let attempt = before.attempt;
        let said = |more: String| format!("{{\"attempt\":{attempt}{more}}}");
        let mut after = Work { last: next, ..before.clone() };
        let expires = 120_000_000 + next * 7 % 50;
        match what {
            "queued" => {
                (after.state, after.queued, after.retry_at) = ("queued", next, None);
                self.task(work, "queued", &said(String::new()));
            }
            "claimed" => {
                let worker = format!("w-{}", next % 3);
                let nonce = format!("{:032x}", u128::from(next) << 70 | 5);
                let payload = format!(
                    "{{\"attempt\":{},\"lease_expires_at\":\"{}\",\"lease_ms\":120000,\"nonce\":\"{nonce}\",\
                     \"worker_id\":\"{worker}\"}}",
                    attempt + 1,
                    time(expires)
                );
                (after.state, after.attempt) = ("running", attempt + 1);
                after.lease = Some(Held { worker, claim: next, expires });
                self.task(work, "claimed", &payload);
            }
            "extended" => {
                after.lease.as_mut().unwrap().expires = expires;
                self.task(work, "extended", &said(format!(",\"lease_expires_at\":\"{}\"", time(expires))));
            }
            "cancel_requested" => {
                after.cancel = Some(next);
                self.task(work, "cancel_requested", "{\"by\":\"ann\",\"reason\":\"enough\"}");
            }
            "retry_scheduled" => {
                (after.state, after.retry_at) = ("retry_scheduled", Some(expires));
                let more = format!(",\"delay_ms\":40,\"next_retry_at\":\"{}\"", time(expires));
                self.task(work, "retry_scheduled", &said(more));
            }
            "timed_out" => {
                after.state = "timed_out";
                self.task(work, "timed_out", &said(",\"limit\":\"lease\"".to_owned()));
            }
            "event" => _ = self.task(work, "event", &said(",\"events\":[]".to_owned())),
            "buffer_published" => self.publish(work, attempt, next),
            "written" => {
                let (kind, type_name) = WRITTEN[next as usize % WRITTEN.len()];
                self.write(work, kind, type_name, attempt);
            }
            "failed" | "failed_for_good" => {
                let retryable = what == "failed";
                self.task(work, "failed", &said(format!(",\"retryable\":{retryable}")));
                after.state = match before.state {
                    _ if !retryable || !before.attempts_left() => "failed",
                    state @ ("queued" | "retry_scheduled") => state,
                    _ => "attempt_failed",
                };
            }
            "completed" => {
                after.state = "completed";
                self.complete(work, attempt, next);
            }
            "canceled" => {
                after.state = "canceled";
                self.task(work, "canceled", &said(",\"by\":\"ann\"".to_owned()));
            }
            other => panic!("{other}"),
        }
        if after.ended() {
            (after.outcome, after.retry_at) = (Some(next), None);
        }
        self.works[work] = after;
        next
    }

    fn publish(&mut self, work: usize, attempt: u64, next: u64) {
        let (uri, scope) = (format!("s3://b/p/{}", next % 2), SCOPES[next as usize % 2]);
        let known = self.waiting.iter().any(|one| (one.work, one.attempt, &one.uri) == (work, attempt, &uri));
        if known {
            self.task(work, "event", &format!("{{\"attempt\":{attempt},\"events\":[]}}"));
            return;
        }
        let payload = format!(
            "{{\"attempt\":{attempt},\"batch_size_bytes\":512,\"batch_uri\":\"{uri}\",\
             \"content_type\":\"application/jsonl\",\"dedupe_scope\":\"{}\"}}",
            scope.replace('"', "\\\"")
        );
        let index = self.task(work, "buffer_published", &payload);
        self.waiting.push(Waiting { index, work, attempt, uri, scope });
    }

    /// The sink takes the first batch of some scope.
    fn take(&mut self, which: usize) {
        let Some(one) = self.waiting.get(which % self.waiting.len().max(1)).cloned() else { return };
        let stream = |work: usize| self.records[self.works[work].first as usize].stream.clone();
        let scope = (stream(one.work), one.scope);
        let first = self.waiting.iter().position(|found| (stream(found.work), found.scope) == scope).unwrap();
        let Waiting { work, attempt, uri, .. } = self.waiting.remove(first);
        if which.is_multiple_of(2) {
            let payload = format!("{{\"attempt\":{attempt},\"batch_uri\":\"{uri}\",\"row_count\":3}}");
            self.task(work, "buffer_committed", &payload);
        } else {
            let payload = format!(
                "{{\"attempt\":{attempt},\"batch_uri\":\"{uri}\",\"error\":{{\"code\":\"ROW\"}},\"original\":[]}}"
            );
            self.task(work, "buffer_dead_lettered", &payload);
        }
    }

    /// Every third completion publishes a dataset version.
    fn complete(&mut self, work: usize, attempt: u64, next: u64) {
        if !next.is_multiple_of(3) {
            self.task(work, "completed", &format!("{{\"attempt\":{attempt},\"result\":{{}}}}"));
            return;
        }
        let (uuid, version) = DATASETS[next as usize / 3 % 3];
        self.complete_with(work, attempt, uuid, version);
    }

    /// A completion that publishes a dataset version.
    pub(in crate::tests) fn complete_with(
        &mut self,
        work: usize,
        attempt: u64,
        uuid: &'static str,
        version: &'static str,
    ) -> u64 {
        let payload = format!(
            "{{\"attempt\":{attempt},\"datasets_published\":[{{\"dataset_uuid\":\"{uuid}\",\
             \"dataset_version\":\"{version}\",{}}}]}}",
            metadata(version)
        );
        let Work { nth, last, task_id, .. } = self.works[work];
        let record = Record { cause: Some(last), ..self.follow(nth, Kind::Task, "completed", payload) };
        let stream = record.stream.clone();
        let subjects = vec![format!("task/{task_id}"), format!("dataset/{uuid}/{version}")];
        let index = self.push_all(record, subjects);
        self.works[work].last = index;
        self.touch(stream, uuid, version, index, true);
        index
    }

    fn touch(&mut self, stream: String, uuid: &'static str, version: &'static str, index: u64, is: bool) {
        let (registered, events, last) = self.versions.entry((stream, uuid, version)).or_default();
        *last = index;
        if is {
            registered.get_or_insert(index);
        } else {
            *events += 1;
        }
    }

    /// An ARTIFACT about a dataset version.
    pub(in crate::tests) fn dataset(&mut self, which: usize, registers: bool) -> u64 {
        let (uuid, version) = DATASETS[which % 3];
        let name = format!("\"dataset_uuid\":\"{uuid}\",\"dataset_version\":\"{version}\"");
        let (type_name, payload) = match (registers, which.is_multiple_of(2)) {
            (true, _) => ("dataset_registered", format!("{{{name},{}}}", metadata(version))),
            (false, true) => {
                ("dataset_event", format!("{{{name},\"end\":5,\"partition_key\":\"k\",\"start\":1}}"))
            }
            (false, false) => ("dataset_event", format!("{{\"cursor\":\"c-{which}\",{name}}}")),
        };
        let turn = format!("turn-{}", self.records.len());
        let record = Record {
            kind: Kind::Artifact,
            type_name,
            stream: "default".to_owned(),
            lane: "system".to_owned(),
            actor: "gesta".to_owned(),
            intent_type: "system.dataset".to_owned(),
            thread: "system".to_owned(),
            turn: turn.clone(),
            parent: None,
            correlation: turn,
            cause: None,
            subjects: Vec::new(),
            payload,
            micros: 0,
        };
        let index = self.push(record, format!("dataset/{uuid}/{version}"));
        self.touch("default".to_owned(), uuid, version, index, registers);
        index
    }

    /// Does something with tasks that is legal now.
    pub(super) fn task_step(&mut self, action: u8, which: usize, detail: usize) {
        let open = |nth: &usize| matches!(self.intents[*nth].state, State::Open { .. });
        match action {
            0..=1 => {
                let has_none = |nth: &usize| self.works.iter().all(|work| work.nth != *nth);
                let found: Vec<_> = (0..self.intents.len()).filter(open).filter(has_none).collect();
                if let Some(nth) = found.get(which % found.len().max(1)).copied() {
                    self.queue(nth, detail as u64 % 3 + 1);
                }
            }
            2..=9 => {
                let live = |work: &usize| !self.works[*work].ended() && !self.works[*work].gone;
                let found: Vec<_> = (0..self.works.len()).filter(live).collect();
                if let Some(work) = found.get(which % found.len().max(1)).copied() {
                    let legal = self.works[work].legal();
                    self.work(work, legal[detail % legal.len()]);
                }
            }
            10 => self.take(which),
            11 => _ = self.dataset(which, detail.is_multiple_of(2)),
            _ => {
                let ended = |work: &usize| self.works[*work].ended() && !self.works[*work].gone;
                let found: Vec<_> = (0..self.works.len()).filter(ended).collect();
                if let Some(work) = found.get(which % found.len().max(1)).copied() {
                    self.end_execution(work);
                }
            }
        }
    }

    /// Ends the execution of a task that has ended.
    pub(in crate::tests) fn end_execution(&mut self, work: usize) -> u64 {
        let Work { nth, state, .. } = self.works[work];
        let started = matches!(self.intents[nth].state, State::Open { deliveries } if deliveries > 0);
        if state == "completed" && !started {
            self.execution(nth, "running");
        }
        self.works[work].gone = true;
        let end = match state {
            "completed" => "completed",
            "canceled" => "cancelled",
            _ => "failed",
        };
        self.execution(nth, end)
    }

    /// Whether the intent has a task, so that its execution ends behind that.
    pub(super) fn is_worked_on(&self, nth: usize) -> bool {
        self.works.iter().any(|work| work.nth == nth && !work.gone)
    }

    /// The last record of a task's subject.
    pub(in crate::tests) fn last_of(&self, work: usize) -> Index {
        Index(self.works[work].last)
    }
}
