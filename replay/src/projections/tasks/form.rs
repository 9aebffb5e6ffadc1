//! The written form of the tasks.

use gesta_log_format::Index;
use serde::{Deserialize, Serialize};

use super::{HandlerPin, NAME, Open, Tasks, VERSION};
use crate::event::{PRIORITY_MAX, TaskLimits, task_kind};
use crate::projections::leases::{Lease, LeaseForm, task_id, time};
use crate::snapshot::{self, RestoreError, ensure};
use crate::task_lifecycle::{Standing, State};

pub(super) fn write(tasks: &Tasks) -> Vec<u8> {
    let form = Form { applied: tasks.applied.0, tasks: tasks.tasks.values().map(OpenForm::of).collect() };
    snapshot::write(NAME, VERSION, &form)
}

pub(super) fn read(snapshot: &[u8]) -> Result<Tasks, RestoreError> {
    let form: Form = snapshot::read(NAME, VERSION, snapshot)?;
    let mut tasks = Tasks::starting_at(Index(form.applied));
    for one in form.tasks {
        let open = one.read(form.applied)?;
        let last = tasks.tasks.last_key_value();
        ensure(last.is_none_or(|(last, _)| *last < open.task_id), "the tasks are not in order")?;
        let known = tasks.changes.insert(open.last_index, open.task_id);
        ensure(known.is_none(), "a record is the last one of two tasks")?;
        tasks.tasks.insert(open.task_id, open);
    }
    Ok(tasks)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    applied: u64,
    tasks: Vec<OpenForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenForm {
    attempt: u64,
    cancel_requested: Option<u64>,
    correlation_id: String,
    first_index: u64,
    grants: String,
    handler: HandlerForm,
    intent_index: u64,
    intent_type: String,
    kind: String,
    lane: String,
    last_index: u64,
    lease: Option<LeaseForm>,
    limits: LimitsForm,
    next_retry_at: Option<String>,
    outcome: Option<u64>,
    parent_turn_id: Option<String>,
    pool: String,
    priority: u8,
    queued_at: String,
    queued_index: u64,
    state: State,
    stream_id: String,
    task_id: String,
    thread_id: String,
    turn_id: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HandlerForm {
    handler_name: String,
    index: u64,
    intent_type: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsForm {
    heartbeat_ms: u64,
    lease_ms: u64,
    max_attempts: u64,
    timeout_ms: u64,
}

impl OpenForm {
    fn of(open: &Open) -> Self {
        Self {
            attempt: open.standing.attempt,
            cancel_requested: open.cancel_requested.map(|index| index.0),
            correlation_id: open.correlation_id.clone(),
            first_index: open.first_index.0,
            grants: open.grants.clone(),
            handler: HandlerForm {
                handler_name: open.handler.handler_name.clone(),
                index: open.handler.index.0,
                intent_type: open.handler.intent_type.clone(),
            },
            intent_index: open.intent_index.0,
            intent_type: open.intent_type.clone(),
            kind: open.kind.text().to_owned(),
            lane: open.lane.clone(),
            last_index: open.last_index.0,
            lease: open.lease.as_ref().map(LeaseForm::of),
            limits: LimitsForm::of(open.limits),
            next_retry_at: open.next_retry_at.map(|at| at.to_string()),
            outcome: open.outcome.map(|index| index.0),
            parent_turn_id: open.parent_turn_id.clone(),
            pool: open.pool.clone(),
            priority: open.priority,
            queued_at: open.queued_at.to_string(),
            queued_index: open.queued_index.0,
            state: open.standing.state,
            stream_id: open.stream_id.clone(),
            task_id: open.task_id.to_string(),
            thread_id: open.thread_id.clone(),
            turn_id: open.turn_id.clone(),
        }
    }

    fn read(self, applied: u64) -> Result<Open, RestoreError> {
        let kind = task_kind(&self.kind);
        let next_retry_at = self.next_retry_at.as_deref().map(time).transpose()?;
        let open = Open {
            task_id: task_id(&self.task_id)?,
            standing: Standing {
                state: self.state,
                attempt: self.attempt,
                max_attempts: self.limits.max_attempts,
                cancel_requested: self.cancel_requested.is_some(),
            },
            kind: kind.ok_or(RestoreError::Contradiction { what: "a task's kind is none of its own" })?,
            pool: self.pool,
            priority: self.priority,
            intent_index: Index(self.intent_index),
            handler: HandlerPin {
                intent_type: self.handler.intent_type,
                handler_name: self.handler.handler_name,
                index: Index(self.handler.index),
            },
            limits: self.limits.read(),
            grants: self.grants,
            first_index: Index(self.first_index),
            queued_index: Index(self.queued_index),
            queued_at: time(&self.queued_at)?,
            last_index: Index(self.last_index),
            next_retry_at,
            lease: self.lease.map(|lease| lease.read(applied)).transpose()?,
            cancel_requested: self.cancel_requested.map(Index),
            outcome: self.outcome.map(Index),
            intent_type: self.intent_type,
            stream_id: self.stream_id,
            lane: self.lane,
            correlation_id: self.correlation_id,
            thread_id: self.thread_id,
            turn_id: self.turn_id,
            parent_turn_id: self.parent_turn_id,
        };
        ensure_order(&open, applied)?;
        ensure_standing(&open)?;
        Ok(open)
    }
}

fn ensure_order(open: &Open, applied: u64) -> Result<(), RestoreError> {
    let (first, last) = (open.first_index, open.last_index);
    let ascending = open.intent_index < first && open.handler.index < first && first <= open.queued_index;
    ensure(ascending, "a task was queued before its INTENT or its handler were there")?;
    ensure(open.queued_index <= last && last.0 < applied, "a task's last record is not applied")?;
    let claim = open.lease.as_ref().map(|lease| lease.claim_index);
    let within = |index: Option<Index>| index.is_none_or(|index| first < index && index <= last);
    let sound = within(claim) && within(open.cancel_requested) && within(open.outcome);
    ensure(sound, "a record of a task lies outside of its life")
}

fn ensure_standing(open: &Open) -> Result<(), RestoreError> {
    let Standing { state, attempt, max_attempts, .. } = open.standing;
    ensure(open.priority <= PRIORITY_MAX, "a priority is beyond the highest")?;
    ensure(max_attempts > 0 && attempt <= max_attempts, "a task has more attempts than it may have")?;
    let lease = open.lease.as_ref().map_or(0, |lease: &Lease| lease.attempt);
    ensure(lease == attempt, "a task's lease is not that of its latest attempt")?;
    ensure(
        open.next_retry_at.is_some() == (state == State::RetryScheduled),
        "a retry is due and not scheduled",
    )?;
    ensure(open.outcome.is_some() == state.is_terminal(), "a task has an outcome and has not ended")?;
    let again = attempt > 0;
    let stands = match state {
        State::Queued => again == (open.first_index < open.queued_index),
        State::Canceled => true,
        State::Running
        | State::TimedOut
        | State::AttemptFailed
        | State::RetryScheduled
        | State::Completed
        | State::Failed => again,
    };
    ensure(stands, "a task's state and attempts do not go together")
}

impl LimitsForm {
    fn of(limits: TaskLimits) -> Self {
        Self {
            heartbeat_ms: limits.heartbeat_ms,
            lease_ms: limits.lease_ms,
            max_attempts: limits.max_attempts,
            timeout_ms: limits.timeout_ms,
        }
    }

    fn read(self) -> TaskLimits {
        TaskLimits {
            lease_ms: self.lease_ms,
            heartbeat_ms: self.heartbeat_ms,
            timeout_ms: self.timeout_ms,
            max_attempts: self.max_attempts,
        }
    }
}
