//! `GET /snapshot`: digests of the state and of the tree at one place, for an auditor to arrive at from a copy.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use gesta_log_format::Index;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::{Caller, Role};
use crate::limits;
use crate::problem::{Problem, ProblemBody, Query, ReasonCode};
use crate::proofs::encode_hash;
use crate::server::App;

/// At which place.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SnapshotQuery {
    /// Records that the state reflects: those that are applied now, where it is left out, or those of the stored
    /// snapshot.
    pub at: Option<u64>,
}

/// What the first records of the log add up to.
#[derive(Debug, Serialize, ToSchema)]
pub struct Snapshot {
    /// How many records.
    pub length: u64,
    /// The root of the RFC 6962 tree over them, base64.
    pub root: String,
    /// For each projection the digest of its state: DECISIONS.md and the crate gesta-replay say how it is written.
    pub projections: BTreeMap<String, String>,
}

/// The digests of the projections and the root of the tree over the records that they reflect.
#[utoipa::path(
    get,
    path = "/snapshot",
    tag = "proofs",
    params(SnapshotQuery),
    responses(
        (status = 200, description = "The digests", body = Snapshot),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`NO_SNAPSHOT`", body = ProblemBody),
        (status = 503, description = "`INDEX_NOT_APPLIED`, `PROOF_NOT_READY`", body = ProblemBody),
    )
)]
pub async fn snapshot(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<SnapshotQuery>,
) -> Result<Json<Snapshot>, Problem> {
    caller.require(Role::LogRead)?;
    let projector = std::sync::Arc::clone(&app.projector);
    // Writing states down takes time where there are many threads and actors.
    let found = tokio::task::spawn_blocking(move || projector.digests(query.at.map(Index))).await;
    let digests = found.map_err(|_panicked| Problem::new(ReasonCode::Internal))?;
    let (length, digests) = digests.ok_or_else(|| Problem::new(ReasonCode::NoSnapshot))?;
    let patience = Duration::from_secs(limits::MIN_INDEX_SECONDS_MAX);
    let root = app.proofs.root(length.0, patience).await?;
    let projections = digests.into_iter().map(|(name, digest)| (name, digest.to_string())).collect();
    Ok(Json(Snapshot { length: length.0, root: encode_hash(&root), projections }))
}
