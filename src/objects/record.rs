//! The record of an object: an ARTIFACT `registered`, the first of its artifact's subject.

use gesta_log_format::envelope::{Draft, Expectation, View};
use gesta_log_format::json::{self, canonical};
use gesta_log_format::{Digest, Index, Kind};
use gesta_replay::projections::tasks::Open;
use serde::Deserialize;

use super::Objects;
use super::name::{self, artifact_id, materialization_id};
use crate::append::AppendError;
use crate::capability::prefix::Object;
use crate::keys::Fingerprint;
use crate::problem::{Problem, ReasonCode};
use crate::sequencer::Place;
use crate::store::{LookupError, Store};

/// Records that are looked at in search of an object's: other records of its artifact come behind it.
const LOOKED_AT_MAX: usize = 4;

/// What an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The ARTIFACT `registered`.
    pub(crate) index: Index,
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
    pub(crate) media_type: String,
}

/// Content that is durable as a blob, and gets a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) digest: Digest,
    pub(super) size_bytes: u64,
    pub(super) media_type: String,
}

/// What a store reads of a record.
#[derive(Deserialize)]
struct Materialization {
    content: Reference,
    uri: String,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "$blob")]
    blob: String,
    media_type: String,
    size_bytes: u64,
}

/// What a name of a stream stands for.
pub(crate) fn find(store: &Store, stream_id: &str, object: &Object) -> Result<Option<Kept>, LookupError> {
    let key = Fingerprint::subject(stream_id, &name::subject(object));
    let mut kept = None;
    store.find(&key, Index::ZERO, LOOKED_AT_MAX, |data| {
        kept = kept.take().or_else(|| read(data, stream_id, object));
        false
    })?;
    Ok(kept)
}

fn read(data: &[u8], stream_id: &str, object: &Object) -> Option<Kept> {
    let view = View::parse(data)?;
    let is_own = view.kind == Kind::Artifact
        && view.type_name == "registered"
        && canonical::unescape(view.stream_id).is_some_and(|found| found == stream_id);
    let list = view.payload_member("materializations").filter(|_| is_own)?;
    let [said]: [Materialization; 1] = serde_json::from_slice(list).ok()?;
    if said.uri != object.to_string() {
        return None;
    }
    Some(Kept {
        index: view.index,
        digest: Digest::parse(&said.content.blob)?,
        size_bytes: said.content.size_bytes,
        media_type: said.content.media_type,
    })
}

impl Objects {
    /// A place in the queue.
    ///
    /// # Errors
    /// `QUEUE_FULL`.
    pub(super) fn reserve(&self) -> Result<Place, Problem> {
        self.places.reserve().ok_or_else(|| Problem::new(ReasonCode::QueueFull))
    }

    /// Gives content its name, on behalf of a task's worker.
    ///
    /// # Errors
    /// `Moved` where the name has its content already.
    pub(super) async fn register(
        &self,
        open: &Open,
        object: &Object,
        content: &Content,
        place: Place,
    ) -> Result<Index, AppendError> {
        let payload = payload(open, object, content);
        let actor = open.lease.as_ref().map_or("", |lease| lease.worker_id.as_str());
        let draft = Draft {
            kind: Kind::Artifact,
            type_name: "registered",
            stream_id: &open.stream_id,
            lane: &open.lane,
            actor,
            intent_type: &open.intent_type,
            thread_id: &open.thread_id,
            turn_id: &open.turn_id,
            parent_turn_id: open.parent_turn_id.as_deref(),
            correlation_id: &open.correlation_id,
            cause: Some(open.last_index),
            subjects: &[Expectation { subject: name::subject(object), expected: None }],
            payload: &payload,
        };
        self.appender.append(&draft, place).await
    }
}

fn payload(open: &Open, object: &Object, content: &Content) -> Vec<u8> {
    let Content { digest, size_bytes, media_type } = content;
    let payload = serde_json::json!({
        "artifact_id": artifact_id(object).to_string(),
        "artifact_type": "object",
        "lifecycle_state": "READY",
        "materializations": [{
            "content": { "$blob": digest.to_string(), "media_type": media_type, "size_bytes": size_bytes },
            "format": media_type,
            "materialization_id": materialization_id(object).to_string(),
            "sha256": digest.to_string(),
            "size_bytes": size_bytes,
            "storage_type": "blob",
            "uri": object.to_string(),
        }],
        "parent_artifacts": [],
        "produced_by": { "execution_id": open.task_id.to_string(), "intent": open.intent_type },
        "semantic_descriptor": { "schema": null },
    });
    json::canonicalize(payload.to_string().as_bytes()).expect("texts and whole numbers make canonical JSON")
}
