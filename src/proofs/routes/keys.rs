//! `/checkpoint/keys`: who signs, and the change of the key.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use gesta_log_format::json;
use gesta_log_format::note::{PublicKey, SecretKey};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::{Caller, Role};
use crate::control::{self, Control};
use crate::problem::{Problem, ProblemBody, ReasonCode};
use crate::proofs::{KeysError, Proofs, key_subject};
use crate::server::App;

/// The keys whose signatures a checkpoint bears.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::proofs) struct CheckpointKeys {
    /// C2SP verifier keys, `name+id+base64`, the newest first. They are worth what the way is by which they come: keep
    /// the first that is received.
    keys: Vec<String>,
}

/// Who signs the checkpoints.
#[utoipa::path(
    get,
    path = "/checkpoint/keys",
    tag = "proofs",
    responses(
        (status = 200, description = "The keys", body = CheckpointKeys),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 503, description = "`PROOF_NOT_READY`, `CHECKPOINT_REFUSED`", body = ProblemBody),
    )
)]
pub(in crate::proofs) async fn checkpoint_keys(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<CheckpointKeys>, Problem> {
    caller.require(Role::LogRead)?;
    app.proofs.demand_checkpoint()?;
    let keys = app.proofs.keys();
    Ok(Json(CheckpointKeys { keys: keys.iter().map(|key| key.public().to_string()).collect() }))
}

/// A key that was changed.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::proofs) struct RotatedKey {
    /// The new key.
    key: String,
    /// The key that goes on signing beside it until the next change.
    previous: String,
    /// The record that says so.
    index: u64,
}

/// Makes a new key, says so in the log, and signs with it and with the former one from then on.
#[utoipa::path(
    post,
    path = "/checkpoint/keys",
    tag = "proofs",
    responses(
        (status = 201, description = "The new key", body = RotatedKey),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 409, description = "`SUBJECT_CONFLICT`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`, `INTERNAL`: the new key's file cannot be written", body = ProblemBody),
        (status = 503, description = "`PROOF_NOT_READY`, `CHECKPOINT_REFUSED`, `QUEUE_FULL`, `DRAINING`, `DISK_FULL`", body = ProblemBody),
    )
)]
pub(in crate::proofs) async fn rotate_checkpoint_key(
    State(app): State<App>,
    caller: Caller,
) -> Result<(StatusCode, Json<RotatedKey>), Problem> {
    caller.require(Role::Admin)?;
    app.demand_running()?;
    app.proofs.demand_checkpoint()?;
    // A rotation goes on to its end though its client went away: it is in the log, and the files have to follow.
    let rotated = tokio::spawn(rotate(app, caller)).await;
    let rotated = rotated.map_err(|_panicked| Problem::new(ReasonCode::Internal))??;
    Ok((StatusCode::CREATED, Json(rotated)))
}

async fn rotate(app: App, caller: Caller) -> Result<RotatedKey, Problem> {
    let proofs = Arc::clone(&app.proofs);
    let _alone = proofs.rotating.lock().await;
    let (former, files) = (proofs.keys(), proofs.key_files.clone());
    let previous =
        former.first().ok_or_else(|| Problem::new(ReasonCode::ProofNotReady))?.public().to_string();
    let next = on_disk(move || files.prepare_next()).await?;
    let key = next.public().to_string();
    let control = Control {
        type_name: "key_rotated",
        subject: key_subject(next.public().id()),
        actor: &caller.name,
        payload: payload(next.public()),
    };
    let index = match control::append(&app.ingress, &control).await {
        Ok(index) => index,
        Err(problem) => {
            // Of an unknown outcome the next start finds the end, in the log.
            if problem.code() != ReasonCode::OutcomeUnknown {
                let files = proofs.key_files.clone();
                on_disk(move || files.discard_next()).await?;
            }
            return Err(problem);
        }
    };
    let files = proofs.key_files.clone();
    on_disk(move || files.take_over()).await?;
    proofs.take_over(next, &former);
    tracing::info!(key, index = index.0, "checkpoints are signed with a new key, and with the former one");
    Ok(RotatedKey { key, previous, index: index.0 })
}

/// FORMAT.md, `key_rotated`: canonical JSON.
fn payload(key: &PublicKey) -> Vec<u8> {
    let mut payload = b"{\"algorithm\":\"Ed25519\",\"public_key\":".to_vec();
    json::write_string(&mut payload, &key.to_string());
    payload.extend_from_slice(b",\"use\":\"checkpoint\"}");
    payload
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeysError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            tracing::error!(%error, "a rotation of the key that signs has failed");
            Err(Problem::new(ReasonCode::Internal)
                .detail("The new key's file cannot be written; the server's log says why."))
        }
        Err(_panicked) => Err(Problem::new(ReasonCode::Internal)),
    }
}

impl Proofs {
    /// Signs with the new key, and with the former one beside it.
    fn take_over(&self, next: SecretKey, former: &[SecretKey]) {
        let former = former.first().and_then(|key| SecretKey::parse(&key.secret_text()).ok());
        self.set_keys(std::iter::once(next).chain(former).collect());
    }
}
