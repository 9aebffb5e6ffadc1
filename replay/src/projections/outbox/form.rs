//! The written form of the batches that wait.

use gesta_log_format::Index;
use serde::{Deserialize, Serialize};

use super::{Batch, NAME, Outbox, VERSION};
use crate::fingerprint::Fingerprint;
use crate::projections::leases::{task_id, time};
use crate::snapshot::{self, RestoreError, ensure};

pub(super) fn write(outbox: &Outbox) -> Vec<u8> {
    let tasks = outbox.tasks.iter().map(|(task_id, publisher)| TaskForm {
        last_index: publisher.last_index.0,
        task_id: task_id.to_string(),
    });
    let form = Form {
        applied: outbox.applied.0,
        batches: outbox.batches.values().map(BatchForm::of).collect(),
        tasks: tasks.collect(),
    };
    snapshot::write(NAME, VERSION, &form)
}

pub(super) fn read(snapshot: &[u8]) -> Result<Outbox, RestoreError> {
    let form: Form = snapshot::read(NAME, VERSION, snapshot)?;
    let mut outbox = Outbox::starting_at(Index(form.applied));
    for one in form.batches {
        let batch = one.read()?;
        let last = outbox.batches.last_key_value();
        ensure(last.is_none_or(|(last, _)| *last < batch.index), "the batches are not in order")?;
        ensure(batch.index.0 < form.applied, "a batch is not applied")?;
        outbox.insert(batch.index, batch);
    }
    ensure(form.tasks.len() == outbox.tasks.len(), "there are other tasks than those of the batches")?;
    let mut last_id = None;
    for one in form.tasks {
        let id = task_id(&one.task_id)?;
        ensure(last_id < Some(id), "the tasks are not in order")?;
        last_id = Some(id);
        let publisher = outbox.tasks.get_mut(&id);
        let publisher = publisher.ok_or(RestoreError::Contradiction { what: "a task has no batch" })?;
        let behind = publisher.batches.last().is_none_or(|last| last.0 <= one.last_index);
        ensure(behind && one.last_index < form.applied, "a task's last record is not applied")?;
        publisher.last_index = Index(one.last_index);
    }
    Ok(outbox)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    applied: u64,
    batches: Vec<BatchForm>,
    tasks: Vec<TaskForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskForm {
    last_index: u64,
    task_id: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchForm {
    anchors: String,
    attempt: u64,
    batch_size_bytes: u64,
    batch_uri: String,
    content_type: String,
    correlation_id: String,
    dedupe_scope: String,
    index: u64,
    intent_type: String,
    lane: String,
    parent_turn_id: Option<String>,
    published_at: String,
    stream_id: String,
    task_id: String,
    thread_id: String,
    turn_id: String,
}

impl BatchForm {
    fn of(batch: &Batch) -> Self {
        Self {
            anchors: batch.anchors.text(),
            attempt: batch.attempt,
            batch_size_bytes: batch.batch_size_bytes,
            batch_uri: batch.batch_uri.clone(),
            content_type: batch.content_type.clone(),
            correlation_id: batch.correlation_id.clone(),
            dedupe_scope: batch.dedupe_scope.clone(),
            index: batch.index.0,
            intent_type: batch.intent_type.clone(),
            lane: batch.lane.clone(),
            parent_turn_id: batch.parent_turn_id.clone(),
            published_at: batch.published_at.to_string(),
            stream_id: batch.stream_id.clone(),
            task_id: batch.task_id.to_string(),
            thread_id: batch.thread_id.clone(),
            turn_id: batch.turn_id.clone(),
        }
    }

    fn read(self) -> Result<Batch, RestoreError> {
        let anchors = Fingerprint::parse(&self.anchors);
        Ok(Batch {
            index: Index(self.index),
            published_at: time(&self.published_at)?,
            task_id: task_id(&self.task_id)?,
            attempt: self.attempt,
            batch_uri: self.batch_uri,
            content_type: self.content_type,
            batch_size_bytes: self.batch_size_bytes,
            dedupe_scope: self.dedupe_scope,
            intent_type: self.intent_type,
            stream_id: self.stream_id,
            lane: self.lane,
            correlation_id: self.correlation_id,
            thread_id: self.thread_id,
            turn_id: self.turn_id,
            parent_turn_id: self.parent_turn_id,
            anchors: anchors.ok_or(RestoreError::Contradiction { what: "a fingerprint is none" })?,
        })
    }
}
