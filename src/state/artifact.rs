//! Artifacts: ARTIFACT `registered`, the first record of `artifact/{id}` in its stream.
//!
//! A parent has to be there first, so that no chain of parents can close.

use std::sync::Arc;

use gesta_log_format::envelope::{Expectation, View};
use gesta_log_format::json::{self, canonical};
use gesta_log_format::{Digest, Index, Kind, Timestamp};
use gesta_replay::event::Elements;

use super::{Surface, SurfaceError, Writer, Written};
use crate::capability::prefix::Object;
use crate::follower_id::follower_id;
use crate::keys::Fingerprint;
use crate::limits::ARTIFACTS_OF_CAUSE_MAX;
use crate::members::{Members, list};
use crate::objects;
use crate::store::{RecordBytes, blocking};

const TYPE: &str = "registered";

/// What ids of materializations are derived with.
const MATERIALIZED: &str = "materialized";

/// An artifact as it is asked for, its shape checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Artifact {
    pub(super) id: Option<String>,
    pub(super) artifact_type: String,
    pub(super) parents: Vec<String>,
    pub(super) is_ready: bool,
    /// Canonical JSON of an object.
    pub(super) descriptor: Vec<u8>,
    pub(super) materializations: Vec<Materialization>,
}

/// Where the content of an artifact is, in some form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Materialization {
    pub(super) id: Option<String>,
    pub(super) storage_type: String,
    pub(super) uri: String,
    /// What the URI names where that is an object of this server's, with the content that it has to have.
    pub(super) object: Option<(Object, Digest)>,
    pub(super) format: String,
    pub(super) sha256: Option<Digest>,
    pub(super) size_bytes: Option<u64>,
    pub(super) compression: Option<String>,
}

/// What became of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) written: Written,
    /// The artifact as its record has it; canonical JSON of an object.
    pub(crate) artifact: Vec<u8>,
}

/// What ids are derived from: FORMAT.md, "Ids that a follower makes".
struct Cause {
    recorded_at: Timestamp,
    digest: Digest,
}

impl Cause {
    fn of(record: &RecordBytes) -> Option<Self> {
        let view = View::parse(record.data())?;
        Some(Self { recorded_at: view.recorded_at()?, digest: view.digest()? })
    }

    fn id(&self, type_name: &str, ordinal: usize) -> String {
        follower_id(self.recorded_at, &self.digest, type_name, ordinal as u64).to_string()
    }
}

impl Materialization {
    fn write(&self, derived: Option<String>) -> Vec<u8> {
        let digest = self.sha256.map(|digest| digest.to_string());
        Members::new()
            .some_text("compression", self.compression.as_deref())
            .text("format", &self.format)
            .some_text("materialization_id", self.id.as_deref().or(derived.as_deref()))
            .some_text("sha256", digest.as_deref())
            .some("size_bytes", self.size_bytes.map(|size| size.to_string()))
            .text("storage_type", &self.storage_type)
            .text("uri", &self.uri)
            .finish()
    }
}

impl Artifact {
    /// The members that are asked for, with the ids that are derived from a cause and the artifact's id where none are
    /// given.
    fn members(&self, derive: Option<(&Cause, &str)>) -> Members {
        let derived = |nth| derive.map(|(cause, id)| cause.id(&format!("{MATERIALIZED}/{id}"), nth));
        let materializations = self.materializations.iter().enumerate();
        let materializations = list(materializations.map(|(nth, one)| one.write(derived(nth))));
        let parents = self.parents.iter().map(|parent| {
            let mut out = Vec::new();
            json::write_string(&mut out, parent);
            out
        });
        Members::new()
            .text("artifact_type", &self.artifact_type)
            .text("lifecycle_state", if self.is_ready { "READY" } else { "PENDING" })
            .raw("materializations", materializations)
            .raw("parent_artifacts", list(parents))
            .raw("semantic_descriptor", &self.descriptor)
    }

    /// All that is asked for, the defaults filled in: for whoever checks what it refers to.
    pub(crate) fn content(&self) -> Vec<u8> {
        self.members(None).some_text("artifact_id", self.id.as_deref()).finish()
    }

    /// The objects of this server that it names, each with the place of its materialization.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (usize, &Object)> {
        let materializations = self.materializations.iter().enumerate();
        materializations.filter_map(|(nth, one)| Some((nth, &one.object.as_ref()?.0)))
    }
}

/// Whether a record has registered what is asked for, by its digest, for the same execution.
fn is_same(record: &[u8], writer: &Writer<'_>, request: &Digest) -> bool {
    let Some(view) = View::parse(record) else { return false };
    let observed =
        view.payload_member("_obs").and_then(|observed| canonical::member(observed, "request_digest"));
    let observed = observed.and_then(canonical::string).and_then(|digest| Digest::parse(&digest));
    view.kind == Kind::Artifact
        && view.type_name == TYPE
        && observed.as_ref() == Some(request)
        && canonical::unescape(view.correlation_id).is_some_and(|found| found == writer.correlation_id)
}

/// The artifact that a record has registered, as clients see it; none where it is no such record.
fn shown(record: &[u8]) -> Option<Vec<u8>> {
    const MEMBERS: [&str; 6] = [
        "artifact_id",
        "artifact_type",
        "lifecycle_state",
        "parent_artifacts",
        "produced_by",
        "semantic_descriptor",
    ];
    let view = View::parse(record)?;
    let recorded_at = view.recorded_at()?.to_string();
    let mut artifact = Members::new()
        .text("created_at", &recorded_at)
        .number("index", view.index.0)
        .text("tenant_id", &canonical::unescape(view.stream_id)?)
        .text("updated_at", &recorded_at);
    for name in MEMBERS {
        artifact = artifact.some(name, view.payload_member(name));
    }
    let materializations = view.payload_member("materializations")?;
    Some(artifact.raw("materializations", with_time(materializations, &recorded_at)).finish())
}

/// The materializations with the time at which they came. A list that is in a blob stays its reference.
fn with_time(materializations: &[u8], created_at: &str) -> Vec<u8> {
    const MEMBERS: [&str; 7] =
        ["compression", "format", "materialization_id", "sha256", "size_bytes", "storage_type", "uri"];
    if materializations.first() != Some(&b'[') {
        return materializations.to_vec();
    }
    list(Elements::new(materializations).flatten().map(|one| {
        let shown = Members::new().text("created_at", created_at);
        MEMBERS.into_iter().fold(shown, |shown, name| shown.some(name, canonical::member(one, name))).finish()
    }))
}

impl Surface {
    /// Registers an artifact that the writer's execution has produced. The same once more is told as done before; where it
    /// is asked for without an id, only while nothing else was recorded of the writer since.
    ///
    /// # Errors
    /// `ArtifactExists`, `NoParent`, `NoObject`, `Overtaken`; what keeps a record from being appended.
    pub(crate) async fn register_artifact(
        &self,
        writer: &Writer<'_>,
        artifact: &Artifact,
    ) -> Result<Registered, SurfaceError> {
        let request = Digest::of(&artifact.content());
        let before = self.works.record(writer.cause).await?;
        let cause = Cause::of(&before).ok_or(SurfaceError::Foreign(writer.cause))?;
        if artifact.id.is_none() && is_same(before.data(), writer, &request) {
            return done_before(writer.cause, &before);
        }
        // Of several artifacts of one cause each has the next place.
        let mut place = 0;
        let id = loop {
            let id = artifact.id.clone().unwrap_or_else(|| cause.id(TYPE, place));
            let first = self.first(writer.stream_id, &format!("artifact/{id}"), |_| true).await?;
            let Some((first, record)) = first else { break id };
            if is_same(record.data(), writer, &request) {
                return done_before(first, &record);
            }
            if artifact.id.is_some() || place == ARTIFACTS_OF_CAUSE_MAX {
                return Err(SurfaceError::ArtifactExists { first });
            }
            place += 1;
        };
        let subject = format!("artifact/{id}");
        self.demand_parents(writer.stream_id, artifact).await?;
        self.demand_objects(writer.stream_id, artifact).await?;
        let produced_by = Members::new()
            .text("execution_id", &writer.execution_id.to_string())
            .text("intent", writer.intent_type)
            .finish();
        let observed = Members::new().text("request_digest", &request.to_string()).finish();
        let mut payload = artifact
            .members(Some((&cause, &id)))
            .text("artifact_id", &id)
            .raw("produced_by", produced_by)
            .raw("_obs", observed);
        if let Some(attempt) = writer.attempt {
            payload = payload.number("attempt", attempt);
        }
        let own = Expectation { subject, expected: None };
        let index = self.append(writer, (Kind::Artifact, TYPE), own, &payload.finish()).await?;
        let record = self.works.record(index).await?;
        let artifact = shown(record.data()).ok_or(SurfaceError::Foreign(index))?;
        Ok(Registered { written: Written::Now(index), artifact })
    }

    async fn demand_parents(&self, stream_id: &str, artifact: &Artifact) -> Result<(), SurfaceError> {
        for (nth, parent) in artifact.parents.iter().enumerate() {
            let is_registered = |record: &[u8]| {
                let view = View::parse(record);
                view.is_some_and(|view| view.kind == Kind::Artifact && view.type_name == TYPE)
            };
            let found = self.first(stream_id, &format!("artifact/{parent}"), is_registered).await?;
            if found.is_none() {
                return Err(SurfaceError::NoParent { nth, parent: parent.clone() });
            }
        }
        Ok(())
    }

    async fn demand_objects(&self, stream_id: &str, artifact: &Artifact) -> Result<(), SurfaceError> {
        for (nth, one) in artifact.materializations.iter().enumerate() {
            let Some((object, digest)) = one.object.clone() else { continue };
            let (store, stream_id) = (Arc::clone(&self.store), stream_id.to_owned());
            let kept = blocking(move || objects::find(&store, &stream_id, &object)).await;
            let kept = kept.map_err(SurfaceError::look_up)?.filter(|kept| kept.digest == digest);
            let fits = kept.is_some_and(|kept| one.size_bytes.is_none_or(|size| size == kept.size_bytes));
            if !fits {
                return Err(SurfaceError::NoObject { nth });
            }
        }
        Ok(())
    }

    /// The first record of a subject of a stream, if it is as wanted.
    async fn first(
        &self,
        stream_id: &str,
        subject: &str,
        wanted: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> Result<Option<(Index, RecordBytes)>, SurfaceError> {
        let (store, key) = (Arc::clone(&self.store), Fingerprint::subject(stream_id, subject));
        let found = blocking(move || store.find(&key, Index::ZERO, 1, wanted)).await;
        Ok(found.map_err(SurfaceError::look_up)?.into_iter().next())
    }
}

fn done_before(index: Index, record: &RecordBytes) -> Result<Registered, SurfaceError> {
    let artifact = shown(record.data()).ok_or(SurfaceError::Foreign(index))?;
    Ok(Registered { written: Written::Before(index), artifact })
}
