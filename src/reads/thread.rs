//! `GET /threads/{id}/timeline`: the turns of a thread, folded from its records.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use gesta_log_format::Index;
use gesta_log_format::envelope::View;
use gesta_log_format::json::{self, canonical};
use gesta_replay::Projection as _;
use gesta_replay::event::Event;
use gesta_replay::projections::threads::{Timeline, Turn};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::invalid;
use crate::auth::Caller;
use crate::ingress::request::DEFAULT_STREAM;
use crate::keys::Fingerprint;
use crate::limits;
use crate::problem::{Problem, ProblemBody, Query};
use crate::server::App;
use crate::store::{LookupError, RecordBytes, Store, blocking};

/// Which turns of a thread.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TimelineQuery {
    /// The thread's stream; `default` where it is left out.
    pub stream_id: Option<String>,
    /// Turns whose first record has a greater index.
    pub since: Option<u64>,
    /// Most turns: 1 to 500, 100 by default.
    pub limit: Option<usize>,
}

/// The turns of a thread, in order of their first records.
#[derive(Debug, Serialize, ToSchema)]
pub struct ThreadTimeline {
    pub stream_id: String,
    pub thread_id: String,
    pub turns: Vec<TimelineTurn>,
    /// The `since` of the next page; null at the end.
    pub next: Option<u64>,
}

/// One turn.
#[derive(Debug, Serialize, ToSchema)]
pub struct TimelineTurn {
    pub turn_id: String,
    pub parent_turn_id: Option<String>,
    pub first_index: u64,
    pub last_index: u64,
    /// EMPTY, INTENTED, DENIED, ALLOWED, RUNNING, EXECUTED or FAILED.
    pub phase: String,
    /// The turn's envelopes, in order, byte for byte as they lie in the log.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<serde_json::Value>,
}

/// Records of a thread that are looked up at once.
const LOOK_UP_RECORDS: usize = 1000;

/// The turns of a thread in order of their first records, each with its envelopes.
///
/// A thread that is not there has no turns.
#[utoipa::path(
    get,
    path = "/threads/{id}/timeline",
    tag = "reads",
    params(("id" = String, Path, description = "The thread"), TimelineQuery),
    responses(
        (status = 200, description = "The turns", body = ThreadTimeline),
        (status = 400, description = "`INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
    )
)]
pub async fn timeline(
    State(app): State<App>,
    caller: Caller,
    Path(thread_id): Path<String>,
    Query(query): Query<TimelineQuery>,
) -> Result<Response, Problem> {
    let stream_id = query.stream_id.unwrap_or_else(|| DEFAULT_STREAM.to_owned());
    caller.require_read(&stream_id)?;
    let limit = query.limit.unwrap_or(limits::TIMELINE_TURNS_DEFAULT);
    if !(1..=limits::TIMELINE_TURNS_MAX).contains(&limit) {
        return Err(invalid(format!("limit: give 1 to {}.", limits::TIMELINE_TURNS_MAX)));
    }
    let store = Arc::clone(&app.store);
    let since = query.since.map(Index);
    let body = blocking(move || {
        let Some(timeline) = fold(&store, &stream_id, &thread_id)? else { return Ok(None) };
        let page = timeline.page(since, limit);
        let mut body = Vec::new();
        body.extend_from_slice(b"{\"stream_id\":");
        json::write_string(&mut body, &stream_id);
        body.extend_from_slice(b",\"thread_id\":");
        json::write_string(&mut body, &thread_id);
        body.extend_from_slice(b",\"turns\":[");
        for (nth, turn) in page.turns.iter().enumerate() {
            if nth > 0 {
                body.push(b',');
            }
            write_turn(&store, turn, &mut body)?;
        }
        body.extend_from_slice(b"],\"next\":");
        body.extend_from_slice(
            page.next.map_or_else(|| "null".to_owned(), |next| next.to_string()).as_bytes(),
        );
        body.push(b'}');
        Ok(Some(body))
    })
    .await?;
    let body = body.ok_or_else(|| {
        invalid(format!(
            "The thread has more than {} records: page through them with GET /events?stream_id=&thread_id=.",
            limits::TIMELINE_RECORDS_MAX
        ))
    })?;
    Ok(super::json(body))
}

/// Folds the thread's records, found by their key. None where there are too many.
fn fold(store: &Store, stream_id: &str, thread_id: &str) -> Result<Option<Timeline>, LookupError> {
    let mut folded = 0;
    let mut timeline = Timeline::new(stream_id, thread_id);
    let key = Fingerprint::thread(stream_id, thread_id);
    let mut since = Index::ZERO;
    loop {
        let candidates = store.keys.postings(&key, Some(since.0), LOOK_UP_RECORDS)?;
        let whole = candidates.len() < LOOK_UP_RECORDS;
        for index in candidates.into_iter().map(Index) {
            since = index.next();
            let Some(record) = store.record(index)? else { return Ok(Some(timeline)) };
            if !belongs(&record, stream_id, thread_id) {
                continue;
            }
            let event = Event::parse(record.data()).map_err(|cause| LookupError::Fold(cause.to_string()))?;
            folded += 1;
            timeline.apply(&event).map_err(|cause| LookupError::Fold(cause.to_string()))?;
            if folded > limits::TIMELINE_RECORDS_MAX {
                return Ok(None);
            }
        }
        if whole {
            return Ok(Some(timeline));
        }
    }
}

fn belongs(record: &RecordBytes, stream_id: &str, thread_id: &str) -> bool {
    View::parse(record.data()).is_some_and(|view| {
        canonical::unescape(view.stream_id).as_deref() == Some(stream_id)
            && canonical::unescape(view.thread_id).as_deref() == Some(thread_id)
    })
}

fn write_turn(store: &Store, turn: &Turn, body: &mut Vec<u8>) -> Result<(), LookupError> {
    body.extend_from_slice(b"{\"turn_id\":");
    json::write_string(body, turn.turn_id());
    body.extend_from_slice(b",\"parent_turn_id\":");
    match turn.parent_turn_id() {
        Some(parent) => json::write_string(body, parent),
        None => body.extend_from_slice(b"null"),
    }
    let rest = format!(
        ",\"first_index\":{},\"last_index\":{},\"phase\":\"{}\",\"events\":[",
        turn.first_index(),
        turn.last_index(),
        turn.phase()
    );
    body.extend_from_slice(rest.as_bytes());
    for (nth, index) in turn.events().iter().enumerate() {
        if nth > 0 {
            body.push(b',');
        }
        if let Some(record) = store.record(*index)? {
            body.extend_from_slice(record.data());
        }
    }
    body.extend_from_slice(b"]}");
    Ok(())
}
