//! The sink: takes the batches that wait, in order for each dataset version, each whole or not at all.
//!
//! Whether a batch is good depends on the object that it names, which never changes, and on its version's schema, which
//! does not either. So it does not matter how often a batch is looked at: the first record that says what became of it
//! takes it out of the outbox.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use gesta_log_format::envelope::{Expectation, View};
use gesta_log_format::{Digest, Index, Kind};
use gesta_replay::projections::outbox::Batch;
use serde_json::{Value, json};

use super::Datasets;
use super::batch::{self, Refusal};
use super::name::Version;
use super::record::{Anchors, Proposal, SERVER, Trouble};
use super::schema::RowSchema;
use crate::capability::prefix::Object;
use crate::limits::{DATASET_RETRY_MS, ROW_BATCH_BYTES_MAX, ROW_BATCHES_LOOKED_AT_MAX};

/// What becomes of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Good { rows: u64, content: Value },
    Bad { error: Value, original: Value },
}

/// The batches that could not be taken when they were last looked at.
#[derive(Debug, Default)]
struct Stuck {
    /// Those that were told of.
    told: BTreeSet<Index>,
    /// The one behind which those are looked at next that are stuck.
    after: Index,
}

impl Stuck {
    /// At most [`ROW_BATCHES_LOOKED_AT_MAX`] of those that are not stuck, and as many in turn of those that are.
    fn choose<'a, T: Clone + 'a, Heads>(&mut self, heads: impl Fn() -> Heads) -> Vec<T>
    where
        Heads: Iterator<Item = (Index, &'a T)>,
    {
        let good = heads().filter(|(index, _)| !self.told.contains(index)).map(|(_, batch)| batch);
        let mut found: Vec<T> = good.take(ROW_BATCHES_LOOKED_AT_MAX).cloned().collect();
        if self.told.is_empty() {
            return found;
        }
        let waiting: BTreeMap<Index, &T> = heads().collect();
        self.told.retain(|index| waiting.contains_key(index));
        let (before, behind) = (self.told.range(..=self.after), self.told.range(self.after.next()..));
        let turn: Vec<Index> = behind.chain(before).take(ROW_BATCHES_LOOKED_AT_MAX).copied().collect();
        self.after = turn.last().copied().unwrap_or_default();
        found.extend(turn.iter().filter_map(|index| waiting.get(index).copied().cloned()));
        found
    }
}

impl Verdict {
    fn bad(code: &str, message: impl Into<String>, original: Value) -> Self {
        let message: String = message.into();
        Self::Bad { error: json!({ "code": code, "message": message }), original }
    }

    fn of_refusal(refusal: Refusal, original: Value) -> Self {
        let Refusal { line, pointer, message } = refusal;
        let error = json!({ "code": "ROW_INVALID", "line": line, "message": message, "pointer": pointer });
        Self::Bad { error, original }
    }
}

impl Datasets {
    /// Follows the outbox.
    pub(super) async fn take_batches(self: Arc<Self>) {
        // Closed at the end of the process only.
        let Ok(_permit) = self.working.acquire().await else { return };
        let (mut applied, mut stopped) = (self.projector.watch(), self.stop.subscribe());
        let mut stuck = Stuck::default();
        while !self.is_stopped() {
            applied.borrow_and_update();
            // The first of each version: one that is large, slow or stuck holds up no other.
            let heads: Vec<Batch> = self.projector.look(|state| {
                stuck.choose(|| state.outbox.next_of_each().map(|(_, _, batch)| (batch.index, batch)))
            });
            match self.take_each(&heads, &mut stuck.told).await {
                Some(0) if !heads.is_empty() => self.pause(Duration::from_millis(DATASET_RETRY_MS)).await,
                Some(0) => tokio::select! {
                    moved = applied.changed() => if moved.is_err() { return },
                    _ = stopped.wait_for(|stopped| *stopped) => return,
                },
                Some(_) => {}
                None => return,
            }
        }
    }

    /// Takes these batches, and gives how many were; the others stay, each told of once. `None` where the server ends.
    async fn take_each(&self, batches: &[Batch], stuck: &mut BTreeSet<Index>) -> Option<usize> {
        let mut taken = 0;
        for batch in batches {
            match self.take(batch).await {
                Ok(index) => {
                    self.applied_below(index.next()).await?;
                    taken += 1;
                }
                Err(Trouble::Ending) => return None,
                // There is a newer record of its task, which is applied: it is looked at again.
                Err(Trouble::Moved { .. }) => taken += 1,
                Err(Trouble::Full) => {}
                Err(error) => {
                    if stuck.insert(batch.index) {
                        let error: &dyn std::error::Error = &error;
                        tracing::error!(
                            error,
                            index = batch.index.0,
                            "a batch cannot be taken; it is tried again and again"
                        );
                    }
                }
            }
        }
        Some(taken)
    }

    /// Says what became of a batch, unless that is said already; gives a record behind which it waits no more.
    async fn take(&self, batch: &Batch) -> Result<Index, Trouble> {
        let verdict = self.judge(batch).await?;
        let last = self.projector.look(|state| {
            let waits = state.outbox.of_scope(&batch.stream_id, &batch.dedupe_scope).next();
            waits.filter(|found| found.index == batch.index)?;
            state.outbox.last_index(batch.task_id)
        });
        let Some(last) = last else { return Ok(batch.index) };
        let mut payload = json!({
            "attempt": batch.attempt, "batch_uri": batch.batch_uri, "dedupe_scope": batch.dedupe_scope,
        });
        let (type_name, members) = match verdict {
            Verdict::Good { rows, content } => {
                ("buffer_committed", [("row_count", json!(rows)), ("batch", content)])
            }
            Verdict::Bad { error, original } => {
                ("buffer_dead_lettered", [("error", error), ("original", original)])
            }
        };
        let is_good = type_name == "buffer_committed";
        for (name, value) in members {
            payload[name] = value;
        }
        let proposal = Proposal {
            kind: Kind::Task,
            type_name,
            actor: SERVER,
            anchors: &anchors(batch),
            cause: Some(last),
            subjects: &[Expectation { subject: format!("task/{}", batch.task_id), expected: Some(last) }],
            payload: &payload,
        };
        match self.append(&proposal).await {
            Ok(index) => {
                if is_good {
                    self.metrics.committed.increment(1);
                } else {
                    self.metrics.dead_lettered.increment(1);
                }
                Ok(index)
            }
            Err(Trouble::Moved { newest }) => {
                self.applied_below(newest.next()).await.ok_or(Trouble::Ending)?;
                Err(Trouble::Moved { newest })
            }
            Err(error) => Err(error),
        }
    }

    async fn judge(&self, batch: &Batch) -> Result<Verdict, Trouble> {
        let Some(version) = Version::of_scope(&batch.stream_id, &batch.dedupe_scope) else {
            let message = "the scope of the batch is no dataset version";
            return Ok(Verdict::bad("SCOPE_INVALID", message, Value::Null));
        };
        let Ok(object) = Object::parse(&batch.batch_uri) else {
            return Ok(Verdict::bad("BATCH_NOT_FOUND", "the batch is no object", Value::Null));
        };
        let (objects, stream_id) = (Arc::clone(&self.objects), batch.stream_id.clone());
        let kept = self.blocking(move || Ok(objects.find(&stream_id, &object)?)).await?;
        let Some(kept) = kept else {
            return Ok(Verdict::bad("BATCH_NOT_FOUND", "there is no such object", Value::Null));
        };
        let content = json!({
            "$blob": kept.digest.to_string(), "media_type": kept.media_type, "size_bytes": kept.size_bytes,
        });
        if kept.size_bytes > ROW_BATCH_BYTES_MAX || kept.size_bytes != batch.batch_size_bytes {
            let message = format!("the batch has {} bytes", kept.size_bytes);
            return Ok(Verdict::bad("BATCH_SIZE", message, content));
        }
        let Some(schema) = self.row_schema(&version).await? else {
            let message = "the dataset version has no row_schema";
            return Ok(Verdict::bad("NO_ROW_SCHEMA", message, content));
        };
        let (blobs, digest) = (Arc::clone(&self.blobs), kept.digest);
        self.blocking(move || {
            let bytes = whole(&blobs, &digest)?;
            Ok(match batch::rows(&bytes, Some(&schema)) {
                Ok(rows) => Verdict::Good { rows: rows.len() as u64, content },
                Err(refusal) => Verdict::of_refusal(refusal, content),
            })
        })
        .await
    }

    /// What the rows of a version look like, as its registration says; none where it does not.
    pub(super) async fn row_schema(&self, version: &Version) -> Result<Option<RowSchema>, Trouble> {
        let registered = self.projector.look(|state| {
            let known = state.datasets.version(&version.stream_id, &version.name())?;
            known.registered.as_ref().map(|registered| registered.index)
        });
        let Some(index) = registered else { return Ok(None) };
        let store = Arc::clone(&self.store);
        let record =
            self.blocking(move || Ok(store.record(index).map_err(crate::store::LookupError::from)?)).await?;
        let view = record.as_ref().and_then(|record| View::parse(record.data()));
        let schema = view.and_then(|view| view.payload_member("row_schema"));
        Ok(schema.and_then(|schema| RowSchema::parse(schema).ok()))
    }
}

/// A blob that a record names.
pub(super) fn whole(blobs: &crate::blobs::Store, digest: &Digest) -> Result<Vec<u8>, std::io::Error> {
    let missing =
        || std::io::Error::new(std::io::ErrorKind::NotFound, format!("the blob {digest} is not here"));
    blobs.whole(digest)?.ok_or_else(missing)
}

fn anchors(batch: &Batch) -> Anchors {
    Anchors {
        stream_id: batch.stream_id.clone(),
        lane: batch.lane.clone(),
        intent_type: batch.intent_type.clone(),
        correlation_id: batch.correlation_id.clone(),
        thread_id: batch.thread_id.clone(),
        turn_id: batch.turn_id.clone(),
        parent_turn_id: batch.parent_turn_id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_that_are_stuck_hold_up_no_others_and_each_has_its_turn() {
        const MAX: u64 = ROW_BATCHES_LOOKED_AT_MAX as u64;
        let mut batches: Vec<u64> = (0..=MAX * 2).collect();
        let mut stuck = Stuck::default();
        let chosen = |stuck: &mut Stuck, batches: &[u64]| -> Vec<u64> {
            stuck.choose(|| batches.iter().map(|batch| (Index(*batch), batch)))
        };
        assert_eq!(chosen(&mut stuck, &batches), (0..MAX).collect::<Vec<_>>());
        // All but the last turn out to be stuck.
        stuck.told.extend((0..MAX * 2).map(Index));
        let mut seen: BTreeSet<u64> = BTreeSet::new();
        for _ in 0..2 {
            let found = chosen(&mut stuck, &batches);
            assert_eq!((found[0], found.len() as u64), (MAX * 2, MAX + 1));
            seen.extend(found);
        }
        assert_eq!(seen.len() as u64, MAX * 2 + 1, "each has had its turn");
        batches.truncate(1);
        assert_eq!(chosen(&mut stuck, &batches), [0]);
        assert_eq!(stuck.told.len(), 1, "what waits no more is forgotten");
    }
}
