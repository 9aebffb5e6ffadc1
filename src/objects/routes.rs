//! `PUT` and `GET /objects/{bucket}/{key…}` of the task listener.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use gesta_log_format::{Digest, hex};
use gesta_replay::event::TaskId;
use gesta_replay::projections::tasks::Open;
use http_body::Body as _;
use serde::Serialize;
use utoipa::ToSchema;

use super::name::{Target, artifact_id};
use super::record::{Content, Kept};
use super::session::{Grant, Session};
use super::unix_seconds;
use crate::append::AppendError;
use crate::blobs::{self, PutError};
use crate::capability::Prefixes;
use crate::capability::prefix::Object;
use crate::problem::{Problem, ProblemBody, ReasonCode};
use crate::server::App;
use crate::store::blocking;

/// The SHA-256 of the content, 64 hex digits: what arrives is compared with it.
const X_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-content-sha256");

/// Where the client names no media type.
const OCTETS: &str = "application/octet-stream";

/// Longest media type, in bytes.
const MEDIA_TYPE_BYTES_MAX: usize = 128;

/// An object that is durable.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StoredObject {
    /// `blob://{bucket}/{key}`.
    uri: String,
    /// The artifact that it is.
    artifact_id: String,
    /// `sha256:` and 64 hex digits.
    digest: String,
    size_bytes: u64,
    /// As the first PUT said it.
    media_type: String,
    /// The ARTIFACT `registered`.
    index: u64,
}

/// Gives content a name, once and for ever.
///
/// Takes a query that is signed for `PUT` by a credential whose write prefixes cover the object, while its attempt is live.
/// The answer comes once content and name are durable. The same bytes again are 200, other bytes are 409.
#[utoipa::path(
    put,
    path = "/objects/{bucket}/{*key}",
    tag = "objects",
    params(
        ("bucket" = String, Path, description = "3 to 63 lower-case letters, digits, `.` or `-`"),
        ("key" = String, Path, description = "Letters, digits and `-_.=+@,:~!()'` in parts between `/`; nothing is escaped"),
        ("expires" = u64, Query, description = "First second, since 1970, in which the signature is not good any more"),
        ("session_token" = String, Query, description = "From `POST /v1/task/credentials`"),
        ("signature" = String, Query, description = "HMAC-SHA-256 in hex, under the secret access key's text, of the lines `GESTA-OBJECTS-1`, method, path, expires and session token, joined by line feeds"),
        ("x-content-sha256" = String, Header, description = "The SHA-256 of the content: 64 lower-case hex digits"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "Durable", body = StoredObject),
        (status = 200, description = "Was durable before", body = StoredObject),
        (status = 400, description = "`INVALID_INPUT`, `BLOB_DIGEST_MISMATCH`", body = ProblemBody),
        (status = 403, description = "`BAD_SIGNATURE`, `PREFIX_FORBIDDEN`", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 409, description = "`OBJECT_EXISTS`, `STALE_ATTEMPT`", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`: put it again", body = ProblemBody),
        (status = 503, description = "`BLOB_TRANSFERS_FULL`, `QUEUE_FULL`, `DISK_FULL`, `DRAINING`, `RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub(super) async fn put_object(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    app.demand_running()?;
    let session = check(&app, "PUT", &uri)?;
    let (task, object) = match (session.grant, target(&uri)?) {
        (Grant::Task { org_id: _, task_id, attempt, s3 }, Target::Object(object)) => {
            demand(&s3, Prefixes::may_write, &object)?;
            (live(&app, &task_id, attempt).await?, object)
        }
        (Grant::Task { .. } | Grant::Blob { .. }, Target::Object(_) | Target::Blob(_)) => {
            return Err(forbidden(&uri));
        }
    };
    let digest = announced_digest(&headers)?;
    let place = app.objects.reserve()?;
    let known = find(&app, &task.stream_id, &object).await?;
    if let Some(known) = known.as_ref().filter(|known| known.digest != digest) {
        return Err(exists(&object, known));
    }
    let bytes_max = app.config.blobs.blob_bytes_max;
    if body.size_hint().lower() > bytes_max {
        return Err(PutError::TooLarge { bytes_max }.into());
    }
    // Also where the name has this digest: whoever claims to have the bytes shows them.
    let size_bytes = app.blobs.put(digest, body.into_data_stream()).await?;
    if let Some(known) = known {
        return Ok(stored(StatusCode::OK, &object, &known));
    }
    let content = Content { digest, size_bytes, media_type: media_type(&headers)? };
    match app.objects.register(&task, &object, &content, place).await {
        Ok(index) => {
            let Content { digest, size_bytes, media_type } = content;
            Ok(stored(StatusCode::CREATED, &object, &Kept { index, digest, size_bytes, media_type }))
        }
        Err(AppendError::Moved { .. }) => match find(&app, &task.stream_id, &object).await? {
            Some(known) if known.digest == digest => Ok(stored(StatusCode::OK, &object, &known)),
            Some(known) => Err(exists(&object, &known)),
            // The key belongs to another subject: 128 bits collided.
            None => Err(Problem::new(ReasonCode::Internal)),
        },
        Err(error) => Err(error.into()),
    }
}

/// The bytes of an object, whole or one range of them.
///
/// Takes a query that is signed for `GET`, also for `HEAD`: by a credential whose read prefixes cover the object, or by the
/// server itself, such as a `bundle_url`. What is not covered is 403 whether it is there or not.
#[utoipa::path(
    method(get, head),
    path = "/objects/{bucket}/{*key}",
    tag = "objects",
    params(
        ("bucket" = String, Path, description = "The bucket; `sha256` has every blob by its digest, for the server's own signatures alone"),
        ("key" = String, Path, description = "The key"),
        ("expires" = u64, Query, description = "As for PUT"),
        ("session_token" = String, Query, description = "As for PUT"),
        ("signature" = String, Query, description = "As for PUT"),
        ("range" = Option<String>, Header, description = "One range of bytes; anything else is passed over"),
        ("if-none-match" = Option<String>, Header, description = "The digest's hex digits in quotes, or `*`"),
    ),
    responses(
        (status = 200, description = "The bytes", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, description = "The range", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 304, description = "The client has it"),
        (status = 400, description = "`INVALID_INPUT`", body = ProblemBody),
        (status = 403, description = "`BAD_SIGNATURE`, `PREFIX_FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`OBJECT_NOT_FOUND`", body = ProblemBody),
        (status = 416, description = "`RANGE_NOT_SATISFIABLE`", body = ProblemBody),
        (status = 503, description = "`BLOB_TRANSFERS_FULL`", body = ProblemBody),
    )
)]
pub(super) async fn get_object(
    State(app): State<App>,
    uri: Uri,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let session = check(&app, method.as_str(), &uri)?;
    let not_found = || Problem::new(ReasonCode::ObjectNotFound);
    let digest = match (session.grant, target(&uri)?) {
        (Grant::Task { org_id, s3, .. }, Target::Object(object)) => {
            demand(&s3, Prefixes::may_read, &object)?;
            find(&app, &org_id, &object).await?.ok_or_else(not_found)?.digest
        }
        (Grant::Blob { sha256 }, Target::Blob(digest)) if sha256 == digest.hex() => digest,
        (Grant::Task { .. } | Grant::Blob { .. }, Target::Object(_) | Target::Blob(_)) => {
            return Err(forbidden(&uri));
        }
    };
    let store = Arc::clone(&app.blobs);
    let blob = tokio::task::spawn_blocking(move || store.blob(&digest)).await;
    let blob = blob.map_err(|_panicked| Problem::new(ReasonCode::Internal))?.map_err(blobs::unreadable)?;
    blobs::deliver(&app.blobs, &digest, blob.ok_or_else(not_found)?, &method, &headers)
}

fn check(app: &App, method: &str, uri: &Uri) -> Result<Session, Problem> {
    Ok(app.objects.signer.check(method, uri.path(), uri.query(), unix_seconds())?)
}

fn target(uri: &Uri) -> Result<Target, Problem> {
    Target::of_path(uri.path()).map_err(|fault| {
        Problem::new(ReasonCode::InvalidInput).detail(format!("The path names no object: {fault}."))
    })
}

fn demand(
    prefixes: &Prefixes,
    may: impl FnOnce(&Prefixes, &Object) -> bool,
    object: &Object,
) -> Result<(), Problem> {
    match may(prefixes, object) {
        true => Ok(()),
        false => Err(Problem::new(ReasonCode::PrefixForbidden)
            .detail(format!("No prefix of the credential's covers {object} for this."))),
    }
}

fn forbidden(uri: &Uri) -> Problem {
    Problem::new(ReasonCode::PrefixForbidden)
        .detail(format!("The credential does not cover {} for this.", uri.path()))
}

/// The task whose attempt is live.
async fn live(app: &App, task_id: &str, attempt: u64) -> Result<Open, Problem> {
    // After a start the projections may not know the task yet.
    app.tasks.caught_up().await?;
    let task_id = TaskId::parse(task_id.as_bytes()).ok_or_else(|| Problem::new(ReasonCode::Internal))?;
    let open = app.projector.look(|state| state.tasks.task(task_id).cloned());
    open.filter(|open| open.standing.attempt == attempt && open.live_lease().is_some()).ok_or_else(|| {
        Problem::new(ReasonCode::StaleAttempt)
            .detail("Nothing was stored: the attempt that the credential is for is not live any more.")
    })
}

async fn find(app: &App, stream_id: &str, object: &Object) -> Result<Option<Kept>, Problem> {
    let (objects, stream_id, object) = (Arc::clone(&app.objects), stream_id.to_owned(), object.clone());
    blocking(move || objects.find(&stream_id, &object)).await
}

fn announced_digest(headers: &HeaderMap) -> Result<Digest, Problem> {
    let digest = headers.get(X_CONTENT_SHA256).and_then(|value| hex::read(value.as_bytes()));
    digest.map(Digest).ok_or_else(|| {
        Problem::new(ReasonCode::InvalidInput)
            .detail("The header X-Content-Sha256 is the SHA-256 of the content: 64 lower-case hex digits.")
    })
}

fn media_type(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(given) = headers.get(CONTENT_TYPE) else { return Ok(OCTETS.to_owned()) };
    let is_plain =
        |text: &&str| (1..=MEDIA_TYPE_BYTES_MAX).contains(&text.len()) && !text.contains(['"', '\\']);
    given.to_str().ok().filter(is_plain).map(str::to_owned).ok_or_else(|| {
        Problem::new(ReasonCode::InvalidInput)
            .detail(format!("Content-Type has at most {MEDIA_TYPE_BYTES_MAX} characters, without quotes."))
    })
}

fn exists(object: &Object, known: &Kept) -> Problem {
    Problem::new(ReasonCode::ObjectExists)
        .detail(format!("Nothing was stored: {object} has other content, since index {}.", known.index))
        .index(known.index.0)
}

fn stored(status: StatusCode, object: &Object, kept: &Kept) -> Response {
    let body = StoredObject {
        uri: object.to_string(),
        artifact_id: artifact_id(object).to_string(),
        digest: kept.digest.to_string(),
        size_bytes: kept.size_bytes,
        media_type: kept.media_type.clone(),
        index: kept.index.0,
    };
    (status, Json(body)).into_response()
}
