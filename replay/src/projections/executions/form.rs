//! The written form of the open executions.

use std::collections::BTreeMap;

use gesta_log_format::Index;
use serde::{Deserialize, Serialize};

use super::{Executions, NAME, Open, Undecided, VERSION};
use crate::event::ExecutionId;
use crate::fingerprint::Fingerprint;
use crate::lifecycle::{Standing, Status};
use crate::snapshot::{self, RestoreError, ensure};

pub(super) fn write(executions: &Executions) -> Vec<u8> {
    let undecided = executions.undecided.iter().map(|(intent_index, undecided)| UndecidedForm {
        anchors: undecided.anchors.text(),
        cancel_requested: undecided.cancel_requested.map(|index| index.0),
        execution_id: undecided.execution_id.to_string(),
        intent_index: intent_index.0,
    });
    let form = Form {
        applied: executions.applied.0,
        open: executions.open.values().map(OpenForm::of).collect(),
        undecided: undecided.collect(),
    };
    snapshot::write(NAME, VERSION, &form)
}

pub(super) fn read(snapshot: &[u8]) -> Result<Executions, RestoreError> {
    let form: Form = snapshot::read(NAME, VERSION, snapshot)?;
    let mut undecided = BTreeMap::new();
    for one in form.undecided {
        let last = undecided.last_key_value();
        ensure(last.is_none_or(|(last, _)| *last < Index(one.intent_index)), "the INTENTs are not in order")?;
        ensure(one.intent_index < form.applied, "an INTENT is not applied")?;
        ensure_cancel(one.intent_index, one.cancel_requested, form.applied)?;
        let found = Undecided {
            execution_id: id(&one.execution_id)?,
            anchors: fingerprint(&one.anchors)?,
            cancel_requested: one.cancel_requested.map(Index),
        };
        undecided.insert(Index(one.intent_index), found);
    }
    let (mut open, mut intents, mut decisions) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut cancels = BTreeMap::new();
    for one in form.open {
        let one = one.read(form.applied)?;
        let last = open.last_key_value();
        ensure(last.is_none_or(|(last, _)| *last < one.intent_index), "the executions are not in order")?;
        ensure(!undecided.contains_key(&one.intent_index), "an execution is allowed and undecided")?;
        let known = intents.insert(one.execution_id, one.intent_index);
        ensure(known.is_none(), "an execution is there twice")?;
        let known = decisions.insert(one.decision_index, one.intent_index);
        ensure(known.is_none(), "a DECISION allows two executions")?;
        if let Some(cancel_requested) = one.cancel_requested {
            let known = cancels.insert(cancel_requested, one.intent_index);
            ensure(known.is_none(), "a request to cancel is for two executions")?;
        }
        open.insert(one.intent_index, one);
    }
    Ok(Executions {
        applied: Index(form.applied),
        undecided,
        open,
        intents,
        decisions,
        cancels,
        buffer: Vec::new(),
    })
}

fn id(text: &str) -> Result<ExecutionId, RestoreError> {
    ExecutionId::parse(text.as_bytes())
        .ok_or(RestoreError::Contradiction { what: "an execution's id is none" })
}

fn fingerprint(digits: &str) -> Result<Fingerprint, RestoreError> {
    Fingerprint::parse(digits).ok_or(RestoreError::Contradiction { what: "a fingerprint is none" })
}

fn ensure_cancel(intent_index: u64, cancel: Option<u64>, applied: u64) -> Result<(), RestoreError> {
    let sound = cancel.is_none_or(|cancel| intent_index < cancel && cancel < applied);
    ensure(sound, "a request to cancel lies before its INTENT, or is not applied")
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    applied: u64,
    open: Vec<OpenForm>,
    undecided: Vec<UndecidedForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UndecidedForm {
    anchors: String,
    cancel_requested: Option<u64>,
    execution_id: String,
    intent_index: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenForm {
    anchors: String,
    cancel_requested: Option<u64>,
    correlation_id: String,
    decision_index: u64,
    deliveries: u64,
    execution_id: String,
    intent_index: u64,
    intent_type: String,
    lane: String,
    last_index: Option<u64>,
    parent_turn_id: Option<String>,
    status: Status,
    stream_id: String,
    thread_id: String,
    turn_id: String,
}

impl OpenForm {
    fn of(open: &Open) -> Self {
        Self {
            anchors: open.anchors.text(),
            cancel_requested: open.cancel_requested.map(|index| index.0),
            correlation_id: open.correlation_id.clone(),
            decision_index: open.decision_index.0,
            deliveries: open.standing.deliveries,
            execution_id: open.execution_id.to_string(),
            intent_index: open.intent_index.0,
            intent_type: open.intent_type.clone(),
            lane: open.lane.clone(),
            last_index: open.last_index.map(|index| index.0),
            parent_turn_id: open.parent_turn_id.clone(),
            status: open.standing.status,
            stream_id: open.stream_id.clone(),
            thread_id: open.thread_id.clone(),
            turn_id: open.turn_id.clone(),
        }
    }

    fn read(self, applied: u64) -> Result<Open, RestoreError> {
        let in_order = self.intent_index < self.decision_index && self.decision_index < applied;
        ensure(in_order, "a DECISION lies before its INTENT, or is not applied")?;
        let last = self.last_index.is_none_or(|last| self.decision_index < last && last < applied);
        ensure(last, "an EXECUTION lies before its DECISION, or is not applied")?;
        let stands = match self.status {
            // A task that was queued has moved it, and nothing else.
            Status::Created => self.deliveries == 0,
            Status::Running => self.last_index.is_some() && self.deliveries > 0,
            Status::Completed | Status::Failed | Status::Cancelled => false,
        };
        ensure(stands, "an execution's status, deliveries and last record do not go together")?;
        ensure_cancel(self.intent_index, self.cancel_requested, applied)?;
        Ok(Open {
            execution_id: id(&self.execution_id)?,
            intent_index: Index(self.intent_index),
            decision_index: Index(self.decision_index),
            standing: Standing { status: self.status, deliveries: self.deliveries },
            last_index: self.last_index.map(Index),
            cancel_requested: self.cancel_requested.map(Index),
            intent_type: self.intent_type,
            stream_id: self.stream_id,
            lane: self.lane,
            correlation_id: self.correlation_id,
            thread_id: self.thread_id,
            turn_id: self.turn_id,
            parent_turn_id: self.parent_turn_id,
            anchors: fingerprint(&self.anchors)?,
        })
    }
}
