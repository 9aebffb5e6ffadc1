//! Finite reads: pages of records, single records, a thread's turns, and what runs here.

mod collect;
mod operations;
mod snapshot;
mod thread;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical;
use gesta_log_format::{Digest, Index};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub use operations::{
    __path_healthz, __path_metrics, __path_openapi, __path_readyz, __path_status, Status, StatusQuery,
    healthz, metrics, openapi, readyz, status,
};
pub use snapshot::{__path_snapshot, Snapshot, SnapshotQuery, snapshot};
pub use thread::{__path_timeline, ThreadTimeline, TimelineQuery, TimelineTurn, timeline};

use self::collect::Page;
use crate::auth::{Caller, Principal, Role};
use crate::blobs;
use crate::keys::Fingerprint;
use crate::problem::{Problem, ProblemBody, Query, ReasonCode};
use crate::server::App;
use crate::store::{RecordBytes, blocking};
use crate::tail::{FilterQuery, require_read};

/// Records that one digest may lead to.
const BY_DIGEST_MAX: usize = 500;

/// Which page of records.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Records with a greater index; −1, the default, means from the first.
    pub since: Option<i64>,
    /// Most records in the page: 1 to 2000, 500 by default.
    pub limit: Option<usize>,
}

/// A page of records.
#[derive(Debug, Serialize, ToSchema)]
pub struct Events {
    /// Envelopes, byte for byte as they lie in the log.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<serde_json::Value>,
    /// The number of records in the log.
    pub head: u64,
    /// The `since` of the next page; null at the end.
    pub next: Option<u64>,
}

/// A finite page of records, with the tail's filters.
///
/// A page may hold fewer records than its limit, even none, where a filter shows few of them: `next` leads on.
#[utoipa::path(
    get,
    path = "/events",
    tag = "reads",
    params(EventsQuery, FilterQuery),
    responses(
        (status = 200, description = "A page", body = Events),
        (status = 400, description = "`INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 500, description = "`LOG_DAMAGED`", body = ProblemBody),
    )
)]
pub async fn events(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<EventsQuery>,
    Query(filters): Query<FilterQuery>,
) -> Result<Response, Problem> {
    require_read(&caller, filters.stream_id.as_deref())?;
    let filter = filters.filter()?;
    let limits = &app.config.limits;
    let limit = query.limit.unwrap_or(limits.events_page_default);
    if !(1..=limits.events_page_max).contains(&limit) {
        return Err(invalid(format!("limit: give 1 to {}.", limits.events_page_max)));
    }
    let since = match query.since.unwrap_or(-1) {
        -1 => Index::ZERO,
        since => Index(u64::try_from(since).map_err(|_| invalid("since: give an index, or -1."))?).next(),
    };
    let store = std::sync::Arc::clone(&app.store);
    let page = blocking(move || collect::page(&store, filter.as_ref(), since, limit)).await?;
    Ok(json(events_body(&page)))
}

fn events_body(Page { records, head, next }: &Page) -> Vec<u8> {
    let mut body =
        Vec::with_capacity(64 + records.iter().map(|record| record.data().len() + 1).sum::<usize>());
    body.extend_from_slice(b"{\"events\":[");
    write_records(&mut body, records.iter());
    body.extend_from_slice(format!("],\"head\":{head},\"next\":").as_bytes());
    match next {
        Some(next) => body.extend_from_slice(next.to_string().as_bytes()),
        None => body.extend_from_slice(b"null"),
    }
    body.push(b'}');
    body
}

fn write_records<'a>(body: &mut Vec<u8>, records: impl Iterator<Item = &'a RecordBytes>) {
    for (nth, record) in records.enumerate() {
        if nth > 0 {
            body.push(b',');
        }
        body.extend_from_slice(record.data());
    }
}

/// One record, byte for byte as it lies in the log.
#[utoipa::path(
    get,
    path = "/events/{index}",
    tag = "reads",
    params(("index" = u64, Path, description = "The record's position")),
    responses(
        (status = 200, description = "The envelope", body = Object),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`INDEX_NOT_FOUND`: not there, or not readable for the caller", body = ProblemBody),
        (status = 500, description = "`LOG_DAMAGED`", body = ProblemBody),
    )
)]
pub async fn event(
    State(app): State<App>,
    caller: Caller,
    Path(index): Path<String>,
) -> Result<Response, Problem> {
    caller.require(Role::LogRead)?;
    let index: u64 = index.parse().map_err(|_| invalid("The path names no index: give a whole number."))?;
    let store = std::sync::Arc::clone(&app.store);
    let record = blocking(move || Ok(store.record(Index(index))?)).await?;
    let record = record.filter(|record| may_read(&caller, record.data()));
    let record = record.ok_or_else(|| Problem::new(ReasonCode::IndexNotFound).index(index))?;
    Ok(json(record.data().to_vec()))
}

/// The records whose own digest it is, or that name it as a blob.
#[utoipa::path(
    get,
    path = "/events/by-digest/{digest}",
    tag = "reads",
    params(("digest" = String, Path, description = "`sha256:` and 64 hex digits")),
    responses(
        (status = 200, description = "The envelopes, by index; none where nothing readable bears the digest", body = Events),
        (status = 400, description = "`INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
    )
)]
pub async fn events_by_digest(
    State(app): State<App>,
    caller: Caller,
    Path(digest): Path<String>,
) -> Result<Response, Problem> {
    caller.require(Role::LogRead)?;
    let digest = Digest::parse(&digest)
        .ok_or_else(|| invalid("The path names no digest: give sha256: and 64 lower-case hex digits."))?;
    let store = std::sync::Arc::clone(&app.store);
    let page = blocking(move || {
        let key = Fingerprint::digest(&digest);
        let found = store.find(&key, Index::ZERO, BY_DIGEST_MAX, |data| {
            may_read(&caller, data)
                && (View::parse(data).and_then(|view| view.digest()) == Some(digest)
                    || blobs::references(data).any(|found| found == digest))
        })?;
        let next = (found.len() == BY_DIGEST_MAX).then(|| found.last().map(|(index, _)| *index)).flatten();
        Ok(Page {
            records: found.into_iter().map(|(_, record)| record).collect(),
            head: store.live.published(),
            next,
        })
    })
    .await?;
    Ok(json(events_body(&page)))
}

/// Whether a record may be shown.
fn may_read(principal: &Principal, data: &[u8]) -> bool {
    let stream = View::parse(data).and_then(|view| canonical::unescape(view.stream_id));
    stream.is_some_and(|stream| principal.may_read_stream(&stream))
}

fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ReasonCode::InvalidInput).detail(detail)
}

fn json(body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
