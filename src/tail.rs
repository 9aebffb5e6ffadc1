//! `GET /tail`: every durable record, from any point, for as long as the client likes.

mod body;
mod control;
mod fields;
mod filter;
mod followers;
mod history;
mod live;
mod query;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

pub use body::{Broken, TailBody};
pub use filter::{Filter, FilterQuery};
pub use followers::Followers;
pub use history::Budget;
pub use live::Live;
pub use query::TailQuery;

use self::query::Start;
use crate::auth::{Principal, Role};
use crate::config;
use crate::metrics::LogMetrics;
use crate::problem::{Problem, ProblemBody, Query};
use crate::server::{App, Connection};
use crate::store::Store;

/// How long a follower over the limit waits before its socket is closed.
const REFUSAL: Duration = Duration::from_secs(1);

/// What all tails share.
pub struct TailShared {
    pub store: Arc<Store>,
    pub budget: Arc<Budget>,
    pub followers: Arc<Followers>,
    pub metrics: LogMetrics,
    heartbeat: Duration,
    cursor_patience: Duration,
    reader_patience: Duration,
    retry_ms: u64,
    draining: AtomicBool,
}

impl TailShared {
    pub fn new(store: Arc<Store>, config: &config::Tail, metrics: LogMetrics) -> Arc<Self> {
        Arc::new(Self {
            budget: Budget::new(config.budget_bytes, config.chunk_bytes, config.chunk_small_bytes),
            followers: Followers::new(config.followers_max),
            metrics,
            heartbeat: Duration::from_secs(config.heartbeat_seconds),
            cursor_patience: Duration::from_millis(config.cursor_ms),
            reader_patience: Duration::from_secs(config.reader_idle_seconds_max),
            retry_ms: config.retry_ms,
            draining: AtomicBool::new(false),
            store,
        })
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Ends every tail by closing its socket, so that clients come back.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.store.live.wake_all();
    }

    /// Closes the connections of followers that read nothing, and brings the gauges up to date. Once a second.
    pub fn sweep(&self) {
        let stalled =
            self.followers.close_stalled(body::stall_patience(self.heartbeat, self.reader_patience));
        self.metrics.readers_stalled_total.increment(stalled as u64);
        self.metrics.followers.set(self.followers.len() as f64);
        self.metrics.follower_lag_max.set(self.followers.lag_max(self.store.live.head()) as f64);
    }

    /// Half to one and a half times the configured delay, so that clients do not come back all at once.
    fn retry_ms(&self) -> u64 {
        let draw = ulid::Ulid::generate().random() as u64 % (self.retry_ms + 1);
        (self.retry_ms / 2 + draw).max(1)
    }
}

/// Streams records with an index greater than `since` as Server-Sent Events, durable ones only, for ever.
///
/// `Last-Event-Id` beats `since`, because a browser that reconnects repeats its first URL. Each record is one event
/// `envelope` with its index as the id. In band: `log` first, `caught-up` at each change from history to live,
/// `cursor` where a filter leaves records out, `reset` where the cursor cannot be served, a heartbeat comment at least
/// every 15 s.
#[utoipa::path(
    get,
    path = "/tail",
    tag = "tail",
    params(TailQuery, FilterQuery, ("Last-Event-Id" = Option<String>, Header, description = "The index of the last record that was received")),
    responses(
        (status = 200, description = "Records as they lie in the log", content_type = "text/event-stream"),
        (status = 204, description = "Nothing will ever follow: the tail has reached its end"),
        (status = 400, description = "`INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
    )
)]
pub async fn tail(
    State(app): State<App>,
    connection: Option<Extension<Connection>>,
    headers: HeaderMap,
    Query(query): Query<TailQuery>,
    Query(filters): Query<FilterQuery>,
) -> Result<Response, Problem> {
    let (principal, ticket) = app.auth.authenticate_tail(&headers, query.ticket.as_deref())?;
    require_read(&principal, filters.stream_id.as_deref())?;
    let filter = filters.filter()?;
    let connection = connection.map(|Extension(connection)| connection);
    let (shared, store) = (Arc::clone(&app.tail), &app.store);
    // Never 429 or 5xx, which would end a browser's EventSource for good: the socket is closed.
    if shared.is_draining() {
        return close(connection, Duration::ZERO).await;
    }
    let (first, head) = (store.reader.first(), store.live.published());
    let start = query.start(&headers, &store.origin, first, head)?;
    let span = match start {
        Start::Over => return Ok(StatusCode::NO_CONTENT.into_response()),
        Start::At(span) => Some(span),
        Start::Reset(_) => None,
    };
    let Some(follower) = shared.followers.enter(connection.clone(), span.map_or(head, |span| span.next))
    else {
        shared.metrics.followers_refused.increment(1);
        return close(connection, REFUSAL).await;
    };
    let (origin, next) = (&store.origin, span.map(|span| span.next));
    let mut opening = control::opening(shared.retry_ms(), origin, store.generation, first, head, next);
    if let Start::Reset(reason) = start {
        opening.push_str(&control::reset(reason, first, head));
    }
    Ok(stream(TailBody::new(shared, filter, follower, ticket, opening, span)))
}

/// Whether the caller may tail or page the stream, or all streams where none is named.
///
/// # Errors
/// `FORBIDDEN`.
pub fn require_read(principal: &Principal, stream_id: Option<&str>) -> Result<(), Problem> {
    principal.require(Role::LogRead)?;
    match stream_id {
        Some(stream) => principal.require_read(stream),
        None => principal.require_read_all(),
    }
}

fn stream(body: TailBody) -> Response {
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Closes the socket without an answer, after `delay`: the client comes back.
async fn close(connection: Option<Connection>, delay: Duration) -> Result<Response, Problem> {
    tokio::time::sleep(delay).await;
    if let Some(connection) = connection {
        connection.close();
        // The task that would read an answer is being dropped with its connection.
        std::future::pending::<()>().await;
    }
    Err(Problem::new(crate::problem::ReasonCode::Draining))
}
