//! `POST /v1/task/buffer-publish`: an attempt has put a batch of rows and asks that they be taken.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use gesta_log_format::json;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::name::Version;
use crate::capability::prefix::{Object, Scheme};
use crate::capability::{Capability, Claims};
use crate::limits::ROW_BATCH_BYTES_MAX;
use crate::objects::Kept;
use crate::problem::{Problem, ProblemBody, ReasonCode, demand_json, read_body};
use crate::server::App;
use crate::store::blocking;
use crate::tasks::{self, BufferPublish, Publication, Recorded};

const CONTENT_TYPE: &str = "application/jsonl";

/// A batch that is on its way to its dataset.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BufferPublished {
    batch_uri: String,
    /// `{dataset_uuid}/{dataset_version}`.
    dedupe_scope: String,
    /// The TASK `buffer_published`; of a repeat the first one.
    index: u64,
}

/// Publishes a batch of rows.
///
/// The batch is an object that was put before, JSON Lines of at most 16 MiB, each line a row of the dataset version that
/// `dedupe_scope` names. The answer comes once the record is durable; the sink then takes the batches of a version in
/// order, each whole or not at all: TASK `buffer_committed` or `buffer_dead_lettered`. The same attempt's same batch again
/// is answered with the first record and `Idempotent-Replayed: true`, and nothing is appended.
#[utoipa::path(
    post,
    path = "/v1/task/buffer-publish",
    tag = "datasets",
    request_body = BufferPublish,
    responses(
        (status = 202, description = "Durable", body = BufferPublished),
        (status = 400, description = "`INVALID_JSON`, `INVALID_INPUT`, `BATCH_INVALID`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`WRONG_TASK`, `PREFIX_FORBIDDEN`, `DATASET_FORBIDDEN`", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 409, description = "`STALE_ATTEMPT`, `DATASET_NOT_REGISTERED`, `SUBJECT_CONFLICT`", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`: publish it again", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub(super) async fn buffer_publish(
    State(app): State<App>,
    capability: Capability,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    demand_json(&parts.headers)?;
    app.demand_running()?;
    let body = read_body(body, app.config.limits.body_bytes_max, app.body_patience()).await?;
    let publication = tasks::read_publication(&body)?;
    let fence = &publication.fence;
    capability.for_task(&fence.task_id.to_string(), fence.attempt)?;
    let object = check(&publication, &capability)?;
    let version = granted(&publication, &capability)?;
    app.tasks.live(fence).await?;
    if app.datasets.row_schema(&version).await.map_err(Problem::from)?.is_none() {
        return Err(Problem::new(ReasonCode::DatasetNotRegistered).pointer("/dedupe_scope").detail(format!(
            "Nothing was appended: {} is not registered with a row_schema in the stream.",
            version.scope()
        )));
    }
    let kept = kept(&app, &version.stream_id, &publication, &object).await?;
    let subject = subject(&publication);
    let payload = payload(&publication, &version, &kept);
    let (index, is_repeat) = match app.tasks.record_batch(fence, &subject, &payload).await? {
        Recorded::Now(index) => (index, false),
        Recorded::Before(index) => (index, true),
    };
    let answer =
        BufferPublished { batch_uri: publication.batch_uri, dedupe_scope: version.scope(), index: index.0 };
    let mut response = (StatusCode::ACCEPTED, Json(answer)).into_response();
    if is_repeat {
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn invalid(pointer: &str, detail: impl std::fmt::Display) -> Problem {
    Problem::new(ReasonCode::BatchInvalid)
        .detail(format!("Nothing was appended: {pointer}: {detail}."))
        .pointer(pointer)
}

/// What can be said of a publication by itself and by the capability. Where it may not write is asked first of the object.
fn check(publication: &Publication, capability: &Claims) -> Result<Object, Problem> {
    if publication.content_type != CONTENT_TYPE {
        return Err(invalid("/content_type", format!("give {CONTENT_TYPE}")));
    }
    if publication.batch_size_bytes > ROW_BATCH_BYTES_MAX {
        return Err(invalid("/batch_size_bytes", format!("a batch has at most {ROW_BATCH_BYTES_MAX} bytes")));
    }
    let object = Object::parse(&publication.batch_uri).ok().filter(|object| capability.s3.may_write(object));
    let object = object.ok_or_else(|| {
        Problem::new(ReasonCode::PrefixForbidden)
            .detail("Nothing was appended: no write prefix of the capability's covers the batch.")
            .pointer("/batch_uri")
    })?;
    match object.scheme() {
        Scheme::Blob => Ok(object),
        Scheme::S3 => Err(invalid(
            "/batch_uri",
            "the sink reads the objects of this server alone: put it with PUT /objects",
        )),
    }
}

/// The version that the scope names, of those that the capability does.
fn granted(publication: &Publication, capability: &Claims) -> Result<Version, Problem> {
    let scope = publication.dedupe_scope.as_str();
    let (uuid, version) =
        scope.split_once('/').map_or((scope, None), |(uuid, version)| (uuid, Some(version)));
    let mut named = capability.datasets.iter().filter(|dataset| {
        dataset.dataset_uuid == uuid && version.is_none_or(|version| dataset.dataset_version == version)
    });
    let found = named.next().filter(|_| named.next().is_none());
    let found = found.and_then(|dataset| {
        let scope = format!("{}/{}", dataset.dataset_uuid, dataset.dataset_version);
        Version::of_scope(&capability.org_id, &scope)
    });
    found.ok_or_else(|| {
        Problem::new(ReasonCode::DatasetForbidden)
            .detail(format!(
                "Nothing was appended: the capability does not name one dataset version {scope:?}."
            ))
            .pointer("/dedupe_scope")
    })
}

async fn kept(
    app: &App,
    stream_id: &str,
    publication: &Publication,
    object: &Object,
) -> Result<Kept, Problem> {
    let (objects, stream_id, object) = (Arc::clone(&app.objects), stream_id.to_owned(), object.clone());
    let kept = blocking(move || objects.find(&stream_id, &object)).await?;
    let kept = kept.ok_or_else(|| invalid("/batch_uri", "there is no such object: put it first"))?;
    match kept.size_bytes == publication.batch_size_bytes {
        true => Ok(kept),
        false => Err(invalid("/batch_size_bytes", format!("the object has {} bytes", kept.size_bytes))),
    }
}

/// What only the first record of this batch of this attempt can expect to be without a record.
fn subject(publication: &Publication) -> String {
    let uri = gesta_log_format::hex::text(&Sha256::digest(&publication.batch_uri));
    let fence = &publication.fence;
    format!("batch/{}/{}/{uri}", fence.task_id, fence.attempt)
}

fn payload(publication: &Publication, version: &Version, kept: &Kept) -> Vec<u8> {
    let payload = serde_json::json!({
        "attempt": publication.fence.attempt,
        "batch": {
            "$blob": kept.digest.to_string(), "media_type": kept.media_type, "size_bytes": kept.size_bytes,
        },
        "batch_size_bytes": publication.batch_size_bytes,
        "batch_uri": publication.batch_uri,
        "content_type": publication.content_type,
        "dedupe_scope": version.scope(),
    });
    json::canonicalize(payload.to_string().as_bytes()).expect("texts and whole numbers make canonical JSON")
}
