//! What runs here: status, health, metrics, the API's description.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use gesta_log_format::Index;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::{Caller, Role};
use crate::ingress::request::DEFAULT_STREAM;

use crate::limits;
use crate::problem::{Problem, ProblemBody, Query};
use crate::proofs::CheckpointStatus;
use crate::server::App;

/// Which stream's status.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StatusQuery {
    /// The stream; `default` where it is left out.
    pub stream_id: Option<String>,
    /// Waits until the record at this index is applied, to read one's own writes.
    pub min_index: Option<u64>,
}

/// Where the log and one stream stand.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    pub stream_id: String,
    /// Of the stream's last turn: EMPTY, INTENTED, DENIED, ALLOWED, RUNNING, EXECUTED or FAILED.
    pub phase: String,
    /// Records of the stream.
    pub records: u64,
    /// The stream's last record.
    pub last_index: Option<u64>,
    /// Records in the log.
    pub head: u64,
    /// The first index that is not durable.
    pub watermark: u64,
    /// The first index that is not folded into what this answer shows.
    pub applied: u64,
    /// Intents that wait for their decision; null where no decider runs.
    pub decider_lag: Option<u64>,
    /// How far the log is signed, and whether it goes on being.
    pub checkpoint: CheckpointStatus,
    /// How often the log was restored or salvaged, from 1.
    pub generation: u64,
    /// The log's name.
    pub origin: String,
}

/// Where the log and one stream stand.
#[utoipa::path(
    get,
    path = "/status",
    tag = "reads",
    params(StatusQuery),
    responses(
        (status = 200, description = "The status", body = Status, headers(("Gesta-Applied-Index" = u64, description = "As `applied`"))),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 503, description = "`INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub async fn status(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<StatusQuery>,
) -> Result<Response, Problem> {
    let stream_id = query.stream_id.unwrap_or_else(|| DEFAULT_STREAM.to_owned());
    caller.require_read(&stream_id)?;
    if let Some(min_index) = query.min_index {
        let patience = Duration::from_secs(limits::MIN_INDEX_SECONDS_MAX);
        app.projector.wait_applied(Index(min_index), patience).await?;
    }
    let found = app.projector.status(&stream_id);
    let head = app.store.live.published();
    let status = Status {
        stream_id,
        phase: found.phase.to_string(),
        records: found.count,
        last_index: found.last_index.map(|index| index.0),
        head: head.0,
        watermark: head.0,
        applied: found.applied.0,
        decider_lag: app.config.decider.enabled.then(|| app.projector.undecided() as u64),
        checkpoint: app
            .proofs
            .checkpoint_status(Instant::now(), caller.may_read_stream(crate::control::STREAM)),
        generation: app.store.generation,
        origin: app.store.origin.clone(),
    };
    let mut response = Json(status).into_response();
    response.headers_mut().insert("gesta-applied-index", found.applied.0.into());
    Ok(response)
}

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200, description = "It does", body = String, content_type = "text/plain")))]
pub async fn healthz() -> &'static str {
    "live\n"
}

/// Whether requests are served: the log is recovered, folded up to the head at start, and the server is not ending.
///
/// Ready is also a server that cannot sign its log: then it says so.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    responses(
        (status = 200, description = "Ready", body = String, content_type = "text/plain"),
        (status = 503, description = "Why not", body = String, content_type = "text/plain"),
    )
)]
pub async fn readyz(State(app): State<App>) -> Response {
    let applied = app.projector.applied();
    let why_not = if app.draining.load(Ordering::Acquire) {
        "draining: the server is ending".to_owned()
    } else if let Some(failure) = app.projector.failed() {
        format!("projector failed: {failure}")
    } else if applied < app.head_at_start {
        format!("catching up: {applied} of {} records are folded", app.head_at_start)
    } else {
        let signs = app.proofs.is_signing();
        let said = if signs { "ready\n" } else { "ready; the log is not signed: GET /status says more\n" };
        return said.into_response();
    };
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why_not}\n")).into_response()
}

/// The server's figures, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses(
        (status = 200, description = "Prometheus text format", body = String, content_type = "text/plain"),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
    )
)]
pub async fn metrics(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    caller.require(Role::LogRead)?;
    app.prometheus.run_upkeep();
    let mut response = app.prometheus.render().into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
    Ok(response)
}

/// This description.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operations",
    responses((status = 200, description = "The OpenAPI document", body = Object))
)]
pub async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(crate::server::document(crate::server::Surface::Public))
}
