//! `GET /checkpoint`, `/tile/…`, `/proof/…`, `/events/{index}/proof`: what shows the log to be what it was.

mod answer;
mod keys;
mod tiles;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use gesta_log_format::Index;
use gesta_log_format::tree::file::TreeError;
use gesta_log_format::tree::{Growth, Hash, Position};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Proofs, Signed, Standing, Tree};
use crate::auth::{Caller, Role};
use crate::problem::{Problem, ProblemBody, Query, ReasonCode};
use crate::server::App;

pub use self::answer::{ConsistencyProof, InclusionProof, decode_hash, encode_hash};

/// Time between two looks whether the tree has come far enough.
const ROOT_AGAIN: Duration = Duration::from_millis(5);

/// The routes of this room.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(checkpoint))
        .routes(routes!(keys::checkpoint_keys, keys::rotate_checkpoint_key))
        .routes(routes!(tiles::tile))
        .routes(routes!(inclusion))
        .routes(routes!(consistency))
        .routes(routes!(event_proof))
}

/// The newest checkpoint: the head of the tree, signed, as C2SP's tlog-checkpoint.
#[utoipa::path(
    get,
    path = "/checkpoint",
    tag = "proofs",
    responses(
        (status = 200, description = "A signed note: origin, size, root, signatures", body = String, content_type = "text/plain"),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 503, description = "`PROOF_NOT_READY`, `CHECKPOINT_REFUSED`", body = ProblemBody),
    )
)]
pub(super) async fn checkpoint(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    caller.require(Role::LogRead)?;
    let signed = app.proofs.demand_checkpoint()?;
    let mut response = signed.note.clone().into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// Which leaf in which tree.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct InclusionQuery {
    /// The record's index.
    index: u64,
    /// Records in the tree; those of the newest checkpoint where it is left out.
    size: Option<u64>,
}

/// What shows that a record is in the tree of so many records, checked before it is sent.
#[utoipa::path(
    get,
    path = "/proof/inclusion",
    tag = "proofs",
    params(InclusionQuery),
    responses(
        (status = 200, description = "The proof", body = InclusionProof),
        (status = 400, description = "`INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`INDEX_NOT_FOUND`", body = ProblemBody),
        (status = 503, description = "`PROOF_NOT_READY`, `CHECKPOINT_REFUSED`", body = ProblemBody),
    )
)]
pub(super) async fn inclusion(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<InclusionQuery>,
) -> Result<Json<InclusionProof>, Problem> {
    caller.require(Role::LogRead)?;
    prove(&app, query.index, query.size).await.map(Json)
}

/// What shows that a record is in the tree of the newest checkpoint.
#[utoipa::path(
    get,
    path = "/events/{index}/proof",
    tag = "proofs",
    params(("index" = u64, Path, description = "The record's position")),
    responses(
        (status = 200, description = "The proof", body = InclusionProof),
        (status = 400, description = "`INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`INDEX_NOT_FOUND`", body = ProblemBody),
        (status = 503, description = "`PROOF_NOT_READY`, `CHECKPOINT_REFUSED`", body = ProblemBody),
    )
)]
pub(super) async fn event_proof(
    State(app): State<App>,
    caller: Caller,
    Path(index): Path<String>,
) -> Result<Json<InclusionProof>, Problem> {
    caller.require(Role::LogRead)?;
    let index = index.parse().map_err(|_| invalid("The path names no index: give a whole number."))?;
    prove(&app, index, None).await.map(Json)
}

async fn prove(app: &App, index: u64, size: Option<u64>) -> Result<InclusionProof, Problem> {
    let head = app.store.live.published();
    let newest = match size {
        None => Some(app.proofs.demand_checkpoint()?),
        Some(_) => app.proofs.newest(),
    };
    let size = size.or_else(|| newest.as_ref().map(|newest| newest.checkpoint.size)).unwrap_or_default();
    for wanted in [index.saturating_add(1), size] {
        demand_written(wanted, head)?;
    }
    if index >= size {
        let covered = newest.as_ref().is_some_and(|newest| newest.checkpoint.size == size);
        return Err(match covered {
            true => Problem::new(ReasonCode::ProofNotReady),
            false => invalid(format!("index: a tree of {size} records has no record {index}.")),
        });
    }
    let position = Position { index, size };
    let found = read(app, move |tree| tree.inclusion(position)).await?;
    Ok(InclusionProof::new(position, &found, newest.as_deref()))
}

/// Which two trees.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ConsistencyQuery {
    /// Records in the older tree.
    from: u64,
    /// Records in the newer tree; those of the newest checkpoint where it is left out.
    to: Option<u64>,
}

/// What shows that the tree of so many records is the beginning of a later one, checked before it is sent.
#[utoipa::path(
    get,
    path = "/proof/consistency",
    tag = "proofs",
    params(ConsistencyQuery),
    responses(
        (status = 200, description = "The proof", body = ConsistencyProof),
        (status = 400, description = "`INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`INDEX_NOT_FOUND`", body = ProblemBody),
        (status = 503, description = "`PROOF_NOT_READY`, `CHECKPOINT_REFUSED`", body = ProblemBody),
    )
)]
pub(super) async fn consistency(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ConsistencyQuery>,
) -> Result<Json<ConsistencyProof>, Problem> {
    caller.require(Role::LogRead)?;
    let to = match query.to {
        Some(to) => to,
        None => app.proofs.demand_checkpoint()?.checkpoint.size,
    };
    demand_written(to, app.store.live.published())?;
    if query.from > to {
        return Err(invalid(format!(
            "from: a tree of {} records is no beginning of one of {to}.",
            query.from
        )));
    }
    let growth = Growth { from: query.from, to };
    let found = read(&app, move |tree| tree.consistency(growth)).await?;
    Ok(Json(ConsistencyProof::new(growth, &found)))
}

/// There is no tree of more records than the log has.
fn demand_written(size: u64, head: Index) -> Result<(), Problem> {
    match size.checked_sub(1) {
        Some(last) if size > head.0 => Err(Problem::new(ReasonCode::IndexNotFound).index(last)),
        Some(_) | None => Ok(()),
    }
}

/// Reads the tree on a thread that may wait for the disk.
async fn read<T: Send + 'static>(
    app: &App,
    read: impl FnOnce(&Tree) -> Result<T, TreeError> + Send + 'static,
) -> Result<T, Problem> {
    let tree = app.proofs.demand_tree()?.clone();
    match tokio::task::spawn_blocking(move || read(&tree)).await {
        Ok(found) => found.map_err(|error| app.proofs.problem(&error)),
        Err(_panicked) => Err(Problem::new(ReasonCode::Internal)),
    }
}

impl Proofs {
    /// The root of the tree over the first `size` records; waits up to `patience` until the tree is so far.
    ///
    /// # Errors
    /// `PROOF_NOT_READY`; what [`Proofs::problem`] makes of an unreadable tree.
    pub(crate) async fn root(&self, size: u64, patience: Duration) -> Result<Hash, Problem> {
        let end = tokio::time::Instant::now() + patience;
        loop {
            let tree = self.demand_tree()?.clone();
            let found = tokio::task::spawn_blocking(move || tree.root(size)).await;
            match found.map_err(|_panicked| Problem::new(ReasonCode::Internal))? {
                Err(TreeError::Beyond { .. }) if tokio::time::Instant::now() < end => {
                    // The signer brings the tree up to the log; asked, it does so at once.
                    self.sealed();
                    tokio::time::sleep(ROOT_AGAIN).await;
                }
                found => return found.map_err(|error| self.problem(&error)),
            }
        }
    }

    fn demand_checkpoint(&self) -> Result<Arc<Signed>, Problem> {
        self.newest().ok_or_else(|| match self.standing() {
            Standing::Refused { is_final: true, .. } => Problem::new(ReasonCode::CheckpointRefused),
            Standing::Starting | Standing::Signing | Standing::Refused { .. } => {
                Problem::new(ReasonCode::ProofNotReady)
            }
        })
    }

    fn demand_tree(&self) -> Result<&Tree, Problem> {
        self.tree.get().ok_or_else(|| Problem::new(ReasonCode::ProofNotReady))
    }

    /// Has the tree looked at where a node is not as it was written.
    fn problem(&self, error: &TreeError) -> Problem {
        match error {
            TreeError::Beyond { .. } => {}
            TreeError::Changed { .. } | TreeError::Unsound { .. } | TreeError::Io { .. } => {
                tracing::error!(error = super::with_causes(error), "the tree's files do not answer");
                self.note_damaged();
            }
        }
        Problem::new(ReasonCode::ProofNotReady)
    }
}

fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ReasonCode::InvalidInput).detail(detail)
}
