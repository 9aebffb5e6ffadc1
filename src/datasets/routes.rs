//! Reads of datasets on the public listener: which there are, their rows as JSON Lines, what was refused.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use gesta_log_format::Index;
use gesta_log_format::envelope::View;
use gesta_log_format::json::{self, canonical};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::name::Version;
use super::record::Trouble;
use super::rows::Stored;
use super::schema::dedupe_key;
use crate::auth::Caller;
use crate::ingress::request::DEFAULT_STREAM;
use crate::limits::{DATASET_PAGE_BYTES, DATASET_PAGE_DEFAULT, DATASET_PAGE_MAX, DEAD_LETTER_PAGE_MAX};
use crate::problem::{Problem, ProblemBody, Query, ReasonCode};
use crate::server::App;
use crate::store::LookupError;

const NEXT: &str = "gesta-next-after";

/// Which page of rows.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RowsQuery {
    /// `default` where it is left out.
    stream_id: Option<String>,
    /// Rows with a greater number; −1, the default, means from the first.
    after: Option<i64>,
    /// Most rows in the page: 1 to 10,000, 1,000 by default.
    limit: Option<usize>,
}

/// Which page of dead letters.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeadLettersQuery {
    /// `default` where it is left out.
    stream_id: Option<String>,
    /// Those with a greater index; −1, the default, means from the first.
    since: Option<i64>,
}

/// Of which stream.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DatasetsQuery {
    /// `default` where it is left out.
    stream_id: Option<String>,
}

/// A version of a dataset.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DatasetVersionShown {
    dataset_uuid: String,
    dataset_version: String,
    /// Whether it was registered last: its events are told to those who subscribe.
    current: bool,
    /// The record that registered it; null where only events of it are known.
    registered_index: Option<u64>,
    /// Where its content is.
    #[schema(value_type = Option<Object>)]
    storage_ref: Option<Value>,
    /// How many rows it has here.
    rows: u64,
    /// How many events there were, and the last one's record.
    events: u64,
    last_event_index: Option<u64>,
}

/// The datasets of a stream.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DatasetsShown {
    /// By dataset, then by version.
    datasets: Vec<DatasetVersionShown>,
}

/// A batch that was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetter {
    /// The TASK `buffer_dead_lettered`.
    index: u64,
    task_id: String,
    attempt: Option<u64>,
    batch_uri: String,
    /// `{code, message}`, of a bad row also `line`, from 1, and `pointer`.
    #[schema(value_type = Object)]
    error: Value,
    /// The batch: a blob reference, or null where there is none.
    #[schema(value_type = Object)]
    original: Value,
}

/// Batches that were refused.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetters {
    dead_letters: Vec<DeadLetter>,
    /// The `since` of the next page; null at the end.
    next: Option<u64>,
}

impl From<Trouble> for Problem {
    fn from(error: Trouble) -> Self {
        match error {
            Trouble::Append(error) => error.into(),
            Trouble::Lookup(error) => crate::store::unreadable(&error),
            Trouble::Moved { newest } => Self::new(ReasonCode::SubjectConflict).index(newest.0),
            Trouble::Full => Self::new(ReasonCode::QueueFull),
            Trouble::Ending => Self::new(ReasonCode::Draining),
            Trouble::Rows(_) | Trouble::Blob(_) | Trouble::Panicked => {
                tracing::error!(%error, "datasets cannot be read");
                Self::new(ReasonCode::Internal)
            }
        }
    }
}

fn invalid(detail: &'static str) -> Problem {
    Problem::new(ReasonCode::InvalidInput).detail(detail)
}

/// What lies behind a cursor.
fn behind(cursor: Option<i64>) -> Result<u64, Problem> {
    match cursor.unwrap_or(-1) {
        -1 => Ok(0),
        cursor => u64::try_from(cursor)
            .map(|cursor| cursor.saturating_add(1))
            .map_err(|_| invalid("Give a number, or -1.")),
    }
}

fn readable(caller: &Caller, stream_id: Option<&str>, uuid: &str, version: &str) -> Result<Version, Problem> {
    let stream_id = stream_id.unwrap_or(DEFAULT_STREAM);
    caller.require_read(stream_id)?;
    Version::checked(stream_id, uuid, version)
}

/// The versions of datasets of a stream.
#[utoipa::path(
    get,
    path = "/api/dataset",
    tag = "datasets",
    params(DatasetsQuery),
    responses(
        (status = 200, description = "The versions", body = DatasetsShown, headers(("Gesta-Applied-Index" = u64, description = "The first index that is not folded into it"))),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 503, description = "`RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub(super) async fn datasets(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<DatasetsQuery>,
) -> Result<Response, Problem> {
    let stream_id = query.stream_id.as_deref().unwrap_or(DEFAULT_STREAM);
    caller.require_read(stream_id)?;
    app.tasks.caught_up().await?;
    let (mut shown, applied) = app.projector.look(|state| {
        let mut shown = Vec::new();
        for (_, uuid, dataset) in state.datasets.all().filter(|(found, _, _)| *found == stream_id) {
            let current = dataset.current().map(|(name, _)| name);
            shown.extend(dataset.versions().map(|(name, version)| {
                DatasetVersionShown {
                    dataset_uuid: uuid.to_owned(),
                    dataset_version: name.to_owned(),
                    current: current == Some(name),
                    registered_index: version.registered.as_ref().map(|registered| registered.index.0),
                    storage_ref: version
                        .registered
                        .as_ref()
                        .and_then(|registered| serde_json::from_str(&registered.storage_ref).ok()),
                    rows: 0,
                    events: version.events,
                    last_event_index: version.last_event.as_ref().map(|event| event.index.0),
                }
            }));
        }
        (shown, state.applied())
    });
    for one in &mut shown {
        let version = Version::new(stream_id, &one.dataset_uuid, &one.dataset_version);
        one.rows = app.datasets.rows.count(&version).map_err(Trouble::from)?;
    }
    let mut response = Json(DatasetsShown { datasets: shown }).into_response();
    response.headers_mut().insert("gesta-applied-index", applied.0.into());
    Ok(response)
}

/// The rows of a dataset version, as JSON Lines.
///
/// Each line is `{"data", "dedupe_key", "index", "org_id", "row"}`: the row as it was published, its identity, the record
/// that committed it, the stream, and its number from 0 in the order of the log, which `after` continues behind. A page
/// ends with its limit or with 16 MiB; the header `Gesta-Next-After` leads on, and is missing at the end. Rows come shortly
/// after the record that committed them, and always before the dataset event that tells of them.
#[utoipa::path(
    get,
    path = "/api/dataset/{uuid}/{version}/rows",
    tag = "datasets",
    params(
        ("uuid" = String, Path, description = "The dataset"),
        ("version" = String, Path, description = "Its version"),
        RowsQuery,
    ),
    responses(
        (status = 200, description = "Rows", body = String, content_type = "application/jsonl", headers(("Gesta-Next-After" = u64, description = "The `after` of the next page"))),
        (status = 400, description = "`INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`DATASET_NOT_FOUND`", body = ProblemBody),
        (status = 500, description = "`ROWS_LOST`", body = ProblemBody),
        (status = 503, description = "`RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub(super) async fn rows(
    State(app): State<App>,
    caller: Caller,
    Path((uuid, version)): Path<(String, String)>,
    Query(query): Query<RowsQuery>,
) -> Result<Response, Problem> {
    let version = readable(&caller, query.stream_id.as_deref(), &uuid, &version)?;
    let limit = query.limit.unwrap_or(DATASET_PAGE_DEFAULT);
    if !(1..=DATASET_PAGE_MAX).contains(&limit) {
        return Err(invalid("limit: give 1 to 10000."));
    }
    let from = behind(query.after)?;
    demand_known(&app, &version).await?;
    let (datasets, stream_id) = (Arc::clone(&app.datasets), version.stream_id.clone());
    let page = app.datasets.blocking(move || {
        let missing = datasets.rows.missing(&version)?;
        Ok((
            missing,
            datasets.rows.page(&version, from, limit, DATASET_PAGE_BYTES)?,
            datasets.rows.count(&version)?,
        ))
    });
    let (missing, page, count) = page.await?;
    if let Some(index) = missing {
        return Err(Problem::new(ReasonCode::RowsLost).index(index.0));
    }
    let last = page.last().map(|stored| stored.number);
    let mut body = Vec::new();
    page.iter().for_each(|stored| line(&mut body, &stream_id, stored));
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    if let Some(last) = last.filter(|last| last + 1 < count) {
        headers.insert(NEXT, last.into());
    }
    Ok(response)
}

fn line(out: &mut Vec<u8>, stream_id: &str, stored: &Stored) {
    out.extend_from_slice(b"{\"data\":");
    out.extend_from_slice(&stored.data);
    out.extend_from_slice(b",\"dedupe_key\":");
    json::write_string(out, &dedupe_key(&stored.data).unwrap_or_default());
    out.extend_from_slice(format!(",\"index\":{},\"org_id\":", stored.index.0).as_bytes());
    json::write_string(out, stream_id);
    out.extend_from_slice(format!(",\"row\":{}}}\n", stored.number).as_bytes());
}

async fn demand_known(app: &App, version: &Version) -> Result<(), Problem> {
    // After a start the projections may not know the version yet.
    app.tasks.caught_up().await?;
    let known =
        app.projector.look(|state| state.datasets.version(&version.stream_id, &version.name()).is_some());
    match known {
        true => Ok(()),
        false => Err(Problem::new(ReasonCode::DatasetNotFound)),
    }
}

/// The batches of a dataset version that were refused, the oldest first.
#[utoipa::path(
    get,
    path = "/api/dataset/{uuid}/{version}/dead-letters",
    tag = "datasets",
    params(
        ("uuid" = String, Path, description = "The dataset"),
        ("version" = String, Path, description = "Its version"),
        DeadLettersQuery,
    ),
    responses(
        (status = 200, description = "A page of at most 100", body = DeadLetters),
        (status = 400, description = "`INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`DATASET_NOT_FOUND`", body = ProblemBody),
        (status = 503, description = "`RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub(super) async fn dead_letters(
    State(app): State<App>,
    caller: Caller,
    Path((uuid, version)): Path<(String, String)>,
    Query(query): Query<DeadLettersQuery>,
) -> Result<Response, Problem> {
    let version = readable(&caller, query.stream_id.as_deref(), &uuid, &version)?;
    let since = Index(behind(query.since)?);
    demand_known(&app, &version).await?;
    let datasets = Arc::clone(&app.datasets);
    let found = app.datasets.blocking(move || {
        let indexes = datasets.rows.dead_letters(&version, since, DEAD_LETTER_PAGE_MAX)?;
        let records = indexes.iter().map(|index| datasets.store.record(*index).map_err(LookupError::from));
        let records = records.collect::<Result<Vec<_>, _>>()?;
        let is_full = indexes.len() == DEAD_LETTER_PAGE_MAX;
        Ok((records, indexes.last().copied().filter(|_| is_full)))
    });
    let (records, next) = found.await?;
    let dead_letters = records.iter().flatten().filter_map(|record| dead_letter(record.data())).collect();
    Ok(Json(DeadLetters { dead_letters, next: next.map(|index| index.0) }).into_response())
}

fn dead_letter(data: &[u8]) -> Option<DeadLetter> {
    let view = View::parse(data)?;
    let value = |name: &str| view.payload_member(name).and_then(|value| serde_json::from_slice(value).ok());
    let subject = view
        .subjects()
        .flatten()
        .find_map(|found| canonical::unescape(found.subject)?.strip_prefix("task/").map(str::to_owned))?;
    Some(DeadLetter {
        index: view.index.0,
        task_id: subject,
        attempt: value("attempt").and_then(|attempt: Value| attempt.as_u64()),
        batch_uri: view.payload_member("batch_uri").and_then(canonical::string)?.into_owned(),
        error: value("error").unwrap_or_default(),
        original: value("original").unwrap_or_default(),
    })
}
