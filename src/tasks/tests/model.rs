//! What the log alone says of tasks, told without the projections: each record is judged by what came before it, and
//! whether it may be, and when, by the contract.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::times::{Times, millis};

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    Live,
    /// It took too long, or failed and may be tried again.
    Over,
    Scheduled,
    Completed,
    Failed,
    Canceled,
}

/// What is known of a task behind one of its records.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) stage: Stage,
    pub(super) attempt: u64,
    pub(super) cancel_requested: bool,
    attempts_max: u64,
    lease: Duration,
    timeout: Duration,
    /// The claim of the latest attempt, and its newest extension, or the same; the retry that is scheduled.
    claimed: Value,
    renewed: Value,
    scheduled: Value,
}

/// The log's records, and all that became of each task: by id, behind the record of each index.
pub(super) struct Model {
    pub(super) records: Vec<Value>,
    pub(super) tasks: BTreeMap<String, Vec<(u64, Task)>>,
}

impl Task {
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Completed | Stage::Failed | Stage::Canceled)
    }

    fn of(queued: &Value) -> Self {
        let limits = &queued["payload"]["limits"];
        Self {
            stage: Stage::Waiting,
            attempt: 0,
            cancel_requested: false,
            attempts_max: limits["max_attempts"].as_u64().unwrap(),
            lease: millis(&limits["lease_ms"]),
            timeout: millis(&limits["timeout_ms"]),
            claimed: Value::Null,
            renewed: Value::Null,
            scheduled: Value::Null,
        }
    }

    /// When its attempt may be ended at the earliest, and has to be at the latest.
    fn expiry(&self, times: &Times) -> (Duration, Duration) {
        let lease = times.lease_ends(&self.renewed, self.lease);
        let timeout = times.attempt_ends(&self.claimed, &self.renewed, self.lease, self.timeout);
        (lease.0.min(timeout.0), lease.1.min(timeout.1))
    }

    /// Takes in the next record.
    ///
    /// # Errors
    /// What it breaks.
    fn follow(&mut self, record: &Value, times: &Times) -> Result<(), String> {
        let payload = &record["payload"];
        let type_name = record["type"].as_str().unwrap();
        let is_live = self.stage == Stage::Live;
        let attempt = payload["attempt"].as_u64();
        if self.has_ended() {
            return Err(format!("{type_name} of a task that is {:?}", self.stage));
        }
        if type_name == "claimed" {
            return self.claim(record, attempt);
        }
        if type_name != "cancel_requested" && attempt != Some(self.attempt) {
            return Err(format!("{type_name} of attempt {attempt:?} while the latest is {}", self.attempt));
        }
        let by_time = record["actor"] == "gesta";
        let too_early = |earliest: Duration| by_time && times.latest(record) < earliest;
        match type_name {
            "queued" => {
                if self.stage != Stage::Scheduled || too_early(times.retry_is_due(&self.scheduled).0) {
                    return Err(format!("queued while {:?}, or too early", self.stage));
                }
                self.stage = Stage::Waiting;
            }
            "extended" if is_live && !self.cancel_requested => self.renewed = record.clone(),
            "event" | "buffer_published" if is_live => {}
            "cancel_requested" if is_live && !self.cancel_requested => self.cancel_requested = true,
            "timed_out" if is_live => {
                let limit = payload["limit"].as_str().unwrap();
                let earliest = match limit {
                    "lease" => times.lease_ends(&self.renewed, self.lease).0,
                    _ => times.attempt_ends(&self.claimed, &self.renewed, self.lease, self.timeout).0,
                };
                if times.latest(record) < earliest {
                    return Err(format!("timed_out ({limit}) before {earliest:?}"));
                }
                self.stage = Stage::Over;
            }
            "canceled" => {
                if is_live && too_early(self.expiry(times).0) {
                    return Err("canceled before the grace was over".to_owned());
                }
                self.stage = Stage::Canceled;
            }
            "completed" if self.attempt > 0 => self.stage = Stage::Completed,
            "failed" if self.attempt > 0 => self.fail(payload["retryable"].as_bool().unwrap()),
            "retry_scheduled" if self.stage == Stage::Over && self.may_be_tried_again() => {
                self.scheduled = record.clone();
                self.stage = Stage::Scheduled;
            }
            _ => return Err(format!("{type_name} while {:?}", self.stage)),
        }
        Ok(())
    }

    fn claim(&mut self, record: &Value, attempt: Option<u64>) -> Result<(), String> {
        if self.stage != Stage::Waiting {
            return Err(format!("claimed while {:?}", self.stage));
        }
        if attempt != Some(self.attempt + 1) || self.attempt >= self.attempts_max {
            return Err(format!("claimed as attempt {attempt:?} behind {}", self.attempt));
        }
        self.attempt += 1;
        self.stage = Stage::Live;
        (self.claimed, self.renewed) = (record.clone(), record.clone());
        Ok(())
    }

    fn may_be_tried_again(&self) -> bool {
        self.attempt < self.attempts_max && !self.cancel_requested
    }

    fn fail(&mut self, retryable: bool) {
        let tried_again = retryable && self.may_be_tried_again();
        self.stage = match self.stage {
            _ if !tried_again => Stage::Failed,
            Stage::Waiting | Stage::Scheduled => self.stage,
            _ => Stage::Over,
        };
    }
}

impl Model {
    /// Judges a log.
    ///
    /// # Errors
    /// The first record that breaks something, and what.
    pub(super) fn of(records: Vec<Value>, times: &Times) -> Result<Self, String> {
        let mut model = Self { records: Vec::new(), tasks: BTreeMap::new() };
        for record in records {
            let at = record["index"].as_u64().unwrap();
            let judged = match record["kind"].as_str().unwrap() {
                "TASK" => model.task(&record, times),
                "EXECUTION" => model.execution(&record),
                _ => Ok(()),
            };
            judged.map_err(|broken| format!("the record at index {at}: {broken}: {record}"))?;
            model.records.push(record);
        }
        Ok(model)
    }

    fn task(&mut self, record: &Value, times: &Times) -> Result<(), String> {
        let at = record["index"].as_u64().unwrap();
        let task_id = subject(record, "task/").ok_or("it names no task")?;
        let course = self.tasks.entry(task_id).or_default();
        let Some((_, before)) = course.last() else {
            if record["type"] != "queued" || record["payload"]["attempt"] != 0 {
                return Err("it is not queued".to_owned());
            }
            course.push((at, Task::of(record)));
            return Ok(());
        };
        let mut task = before.clone();
        task.follow(record, &times.as_of(at))?;
        course.push((at, task));
        Ok(())
    }

    /// An execution of a task runs once the task is claimed, and ends as the task has.
    fn execution(&mut self, record: &Value) -> Result<(), String> {
        let execution_id = subject(record, "execution/").ok_or("it names no execution")?;
        let Some((_, task)) = self.tasks.get(&execution_id).and_then(|course| course.last()) else {
            return Ok(());
        };
        let is_right = match record["type"].as_str().unwrap() {
            "running" => task.attempt > 0,
            "completed" => task.stage == Stage::Completed,
            "failed" => task.stage == Stage::Failed,
            "cancelled" => task.stage == Stage::Canceled,
            _ => false,
        };
        is_right.then_some(()).ok_or(format!("its task is {:?}", task.stage))
    }

    /// Demands that each intent's execution has ended, once.
    ///
    /// # Errors
    /// The first that has not.
    pub(super) fn demand_ends(&self) -> Result<(), String> {
        let is_intent = |record: &&Value| record["kind"] == "INTENT" && record["type"] == "submitted";
        for intent in self.records.iter().filter(is_intent) {
            let id = intent["payload"]["execution_id"].as_str().unwrap();
            let ends = self.records.iter().filter(|record| {
                record["kind"] == "EXECUTION"
                    && record["type"] != "running"
                    && subject(record, "execution/").as_deref() == Some(id)
            });
            let count = ends.count();
            if count != 1 {
                return Err(format!("the execution {id} has ended {count} times"));
            }
        }
        Ok(())
    }

    /// Demands that nothing was kept that was over, each time that the schedule came to rest.
    ///
    /// # Errors
    /// What was kept.
    pub(super) fn demand_punctual(&self, times: &Times) -> Result<(), String> {
        const PRECISION: Duration = Duration::from_secs(1);
        for (head, time) in times.rests() {
            for (task_id, course) in &self.tasks {
                let Some((at, task)) = course.iter().rfind(|(at, _)| *at < head) else { continue };
                let latest = match task.stage {
                    Stage::Live => times.as_of(head).expiry_of(task),
                    Stage::Scheduled => times.as_of(head).retry_is_due(&task.scheduled).1,
                    _ => continue,
                };
                if time >= latest + PRECISION {
                    return Err(format!(
                        "at {time:?}, with {head} records, the task {task_id} is {:?} since the record at index {at}, and \
                         was to be until {latest:?}",
                        task.stage
                    ));
                }
            }
        }
        Ok(())
    }

    /// Where the task may have stood while a question was asked: from the last change before `from` to that before `to`.
    pub(super) fn between(&self, task_id: &str, from: u64, to: u64) -> impl Iterator<Item = Option<&Task>> {
        let course = self.tasks.get(task_id).map(Vec::as_slice).unwrap_or_default();
        let first = course.iter().rposition(|(at, _)| *at < from);
        let before = first.is_none().then_some(None);
        let rest = course.iter().skip(first.unwrap_or(0)).take_while(move |(at, _)| *at < to);
        before.into_iter().chain(rest.map(|(_, task)| Some(task)))
    }
}

impl Times {
    fn expiry_of(&self, task: &Task) -> Duration {
        task.expiry(self).1
    }
}

/// What follows `prefix` in one of the record's subjects.
pub(super) fn subject(record: &Value, prefix: &str) -> Option<String> {
    let subjects = record["subjects"].as_array()?;
    let mut names = subjects.iter().filter_map(|subject| subject["subject"].as_str());
    names.find_map(|name| name.strip_prefix(prefix)).map(str::to_owned)
}
