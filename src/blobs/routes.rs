//! `PUT` and `GET /api/blob/sha256/{hex}`.

use std::ops::Range;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRef, Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, IF_RANGE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use gesta_log_format::disk::real::{RealDisk, RealFile};
use gesta_log_format::log::Reader;
use gesta_log_format::{Digest, hex};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::range::{Selection, select};
use super::{Blob, PutError, Store, blocking, bundle};
use crate::auth::{Auth, Caller, Principal, Role};
use crate::problem::{Problem, ProblemBody, ReasonCode};

/// Who may read which blob: what the records say.
pub trait References: Send + Sync + 'static {
    /// Whether a record refers to the blob in a stream that the principal may read. May block on the disk.
    ///
    /// # Errors
    /// The log cannot be read.
    fn readable(&self, digest: &Digest, principal: &Principal) -> Result<bool, Problem>;
}

/// The routes of this module, for a state that holds what they need.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Store>: FromRef<S>,
    Arc<Auth>: FromRef<S>,
    Arc<dyn References>: FromRef<S>,
    Reader<RealDisk>: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(put_blob, get_blob)).routes(routes!(bundle::bundle))
}

/// A blob that is here, durably.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stored {
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    pub size_bytes: u64,
}

/// Stores a blob under its SHA-256.
///
/// The answer comes once the blob is durable, and is the same whether it was there before. Takes the role
/// `intent.write`. Whoever has put a blob may refer to it, as may who can read it; the server remembers the last 65,536
/// puts until it ends, and asks for the blob again where it has forgotten. A record refers to the blob as
/// `{"$blob": "sha256:…", "size_bytes": n, "media_type": "…"}`, the whole value of a member.
#[utoipa::path(
    put,
    path = "/api/blob/sha256/{hex}",
    tag = "blobs",
    params(("hex" = String, Path, description = "SHA-256 of the bytes: 64 lower-case hex digits")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "The blob is durable", body = Stored),
        (status = 400, description = "`INVALID_INPUT`, `BLOB_DIGEST_MISMATCH`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 503, description = "`BLOB_TRANSFERS_FULL`, `DISK_FULL`", body = ProblemBody),
    )
)]
pub async fn put_blob(
    State(store): State<Arc<Store>>,
    caller: Caller,
    Path(hex): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(Role::IntentWrite)?;
    receive(&store, &caller, &hex, &headers, body).await
}

/// Stores what a body brings as the blob of these hex digits, and remembers that the caller has put it.
///
/// # Errors
/// `INVALID_INPUT` for the digits; those of [`PutError`].
pub(crate) async fn receive(
    store: &Arc<Store>,
    caller: &Principal,
    hex: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let digest = parse(hex)?;
    let bytes_max = store.bounds.blob_bytes_max;
    if announced(headers).is_some_and(|len| len > bytes_max) {
        return Err(PutError::TooLarge { bytes_max }.into());
    }
    let size_bytes = store.put(digest, body.into_data_stream()).await?;
    store.puts.note(caller, &digest);
    Ok((StatusCode::CREATED, Json(Stored { digest: digest.to_string(), size_bytes })).into_response())
}

/// The bytes of a blob, whole or one range of them.
///
/// A blob can be read where a record in a stream that the caller may read refers to it, and by an auditor of all
/// streams. Otherwise the answer is that of a blob that is not there.
#[utoipa::path(
    method(get, head),
    path = "/api/blob/sha256/{hex}",
    tag = "blobs",
    params(
        ("hex" = String, Path, description = "SHA-256 of the bytes: 64 lower-case hex digits"),
        ("range" = Option<String>, Header, description = "One range of bytes; anything else is passed over"),
        ("if-none-match" = Option<String>, Header, description = "The digest's hex digits in quotes, or `*`"),
    ),
    responses(
        (status = 200, description = "The bytes", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, description = "The range", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 304, description = "The client has it"),
        (status = 400, description = "`INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 404, description = "`BLOB_NOT_FOUND`", body = ProblemBody),
        (status = 416, description = "`RANGE_NOT_SATISFIABLE`", body = ProblemBody),
        (status = 503, description = "`BLOB_TRANSFERS_FULL`", body = ProblemBody),
    )
)]
pub async fn get_blob(
    State(store): State<Arc<Store>>,
    State(references): State<Arc<dyn References>>,
    caller: Caller,
    Path(hex): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let digest = parse(&hex)?;
    let found = Arc::clone(&store);
    let blob = blocking(move || find(&found, &*references, &digest, &caller)).await?;
    deliver(&store, &digest, blob, &method, &headers)
}

/// The answer to a GET or HEAD of a blob that the client may have: the whole, a range, or that it has it.
///
/// # Errors
/// `BLOB_TRANSFERS_FULL`.
pub(crate) fn deliver(
    store: &Store,
    digest: &Digest,
    blob: Blob<RealFile>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let etag = format!("\"{}\"", digest.hex());
    let len = blob.len();
    let selection = if client_has(headers, &etag) {
        return Ok(respond(StatusCode::NOT_MODIFIED, &etag, Body::empty()));
    } else if *method == Method::GET && range_holds(headers, &etag) {
        headers.get(RANGE).map_or(Selection::Whole, |range| select(range.as_bytes(), len))
    } else {
        Selection::Whole
    };
    let (status, range) = match selection {
        Selection::Whole => (StatusCode::OK, 0..len),
        Selection::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Selection::Unsatisfiable => return Ok(unsatisfiable(len)),
    };
    let body = if *method == Method::HEAD { Body::empty() } else { body(store, blob, range.clone())? };
    let mut response = respond(status, &etag, body);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    if status == StatusCode::PARTIAL_CONTENT {
        let value = format!("bytes {}-{}/{len}", range.start, range.end - 1);
        response.headers_mut().insert(CONTENT_RANGE, header(value));
    }
    Ok(response)
}

fn body(store: &Store, blob: Blob<RealFile>, range: Range<u64>) -> Result<Body, Problem> {
    let permit = store.download_permit().ok_or_else(|| Problem::new(ReasonCode::BlobTransfersFull))?;
    Ok(Body::from_stream(blob.pieces(range).stream(permit)))
}

/// The blob, if it is here for this caller. The records are asked first: how long the answer takes does not tell
/// whether a blob is here that no record of the caller's names.
fn find(
    store: &Store,
    references: &dyn References,
    digest: &Digest,
    caller: &Principal,
) -> Result<Blob<RealFile>, Problem> {
    let not_found = || Problem::new(ReasonCode::BlobNotFound);
    if !caller.may_read_all() && !references.readable(digest, caller)? {
        return Err(not_found());
    }
    store.blob(digest).map_err(unreadable)?.ok_or_else(not_found)
}

/// The disk does not give a file back.
pub(crate) fn unreadable(cause: std::io::Error) -> Problem {
    tracing::error!(%cause, "cannot open a blob's file");
    Problem::new(ReasonCode::Internal).detail("The disk failed.")
}

/// Only the one spelling of a digest, which names no other file than the blob's.
fn parse(hex: &str) -> Result<Digest, Problem> {
    hex::read(hex.as_bytes()).map(Digest).ok_or_else(|| {
        Problem::new(ReasonCode::InvalidInput)
            .detail("The last part of the path is the SHA-256 of the bytes: 64 lower-case hex digits.")
    })
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether `If-None-Match` names the blob.
fn client_has(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).any(|tag| {
        // The comparison is the weak one (RFC 9110, 13.1.2).
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
    })
}

/// Whether a range is asked for of this very blob: always, unless `If-Range` names another.
fn range_holds(headers: &HeaderMap, etag: &str) -> bool {
    headers.get(IF_RANGE).is_none_or(|tag| tag.as_bytes() == etag.as_bytes())
}

fn respond(status: StatusCode, etag: &str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 5] = [
        (ACCEPT_RANGES, "bytes"),
        (CACHE_CONTROL, "private, immutable"),
        (CONTENT_TYPE, "application/octet-stream"),
        // Whatever the bytes are, a browser neither guesses nor shows them as a page of this origin.
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_DISPOSITION, "attachment"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(ETAG, header(etag.to_owned()));
    response
}

fn unsatisfiable(len: u64) -> Response {
    let mut response = Problem::new(ReasonCode::RangeNotSatisfiable).extra("size_bytes", len).into_response();
    response.headers_mut().insert(CONTENT_RANGE, header(format!("bytes */{len}")));
    response
}

fn header(value: String) -> HeaderValue {
    HeaderValue::try_from(value).expect("digits and ASCII punctuation make a header")
}
