//! The public keys, for whoever checks a capability elsewhere, and the change of the key that signs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use gesta_log_format::json;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::keys::Algorithm;
use super::{Capabilities, Key, KeyFilesError, PublicKey, key_subject};
use crate::auth::{Caller, Role};
use crate::control::{self, Control};
use crate::problem::{Problem, ProblemBody, ReasonCode};
use crate::server::App;

/// The routes of the internal listener.
pub(crate) fn internal_router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(task_jwks))
}

/// The routes of the public listener.
pub(crate) fn public_router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(task_keys, rotate_task_key))
}

/// A JSON Web Key Set (RFC 7517): the keys that are live.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TaskKeys {
    /// The newest first; the one before it goes on being accepted until the next change.
    keys: Vec<PublicKey>,
}

/// The keys by which capability tokens are verified. Who meets a `kid` that is not among them asks again.
#[utoipa::path(
    get,
    path = "/internal/jwks/task",
    tag = "keys",
    responses((status = 200, description = "The key set", body = TaskKeys))
)]
pub(super) async fn task_jwks(State(capabilities): State<Arc<Capabilities>>) -> Json<TaskKeys> {
    Json(TaskKeys { keys: capabilities.keys().public() })
}

/// The keys by which capability tokens are verified.
#[utoipa::path(
    get,
    path = "/control/keys/task",
    tag = "control",
    responses(
        (status = 200, description = "The key set", body = TaskKeys),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
    )
)]
pub(super) async fn task_keys(
    State(capabilities): State<Arc<Capabilities>>,
    caller: Caller,
) -> Result<Json<TaskKeys>, Problem> {
    caller.require(Role::LogRead)?;
    Ok(Json(TaskKeys { keys: capabilities.keys().public() }))
}

/// A key that was changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RotatedTaskKey {
    /// The new key's `kid`.
    key: String,
    /// The key whose tokens go on being accepted until the next change.
    previous: Option<String>,
    /// The record that says so.
    index: u64,
}

/// Makes a new key, says so in the log, and signs capability tokens with it from then on; those of the former key stay
/// good.
#[utoipa::path(
    post,
    path = "/control/keys/task",
    tag = "control",
    responses(
        (status = 201, description = "The new key", body = RotatedTaskKey),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 409, description = "`SUBJECT_CONFLICT`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`, `INTERNAL`: the new key's file cannot be written", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`", body = ProblemBody),
    )
)]
pub(super) async fn rotate_task_key(
    State(app): State<App>,
    caller: Caller,
) -> Result<(StatusCode, Json<RotatedTaskKey>), Problem> {
    caller.require(Role::Admin)?;
    app.demand_running()?;
    // A rotation goes on to its end though its client went away: it is in the log, and the files have to follow.
    let rotated = tokio::spawn(rotate(app, caller)).await;
    let rotated = rotated.map_err(|_panicked| Problem::new(ReasonCode::Internal))??;
    Ok((StatusCode::CREATED, Json(rotated)))
}

async fn rotate(app: App, caller: Caller) -> Result<RotatedTaskKey, Problem> {
    let capabilities = Arc::clone(&app.capabilities);
    let _alone = capabilities.rotating.lock().await;
    let files = capabilities.files.clone();
    let next = on_disk(move || files.prepare_next()).await?;
    let public = next.public().ok_or_else(|| Problem::new(ReasonCode::Internal))?;
    let control = Control {
        type_name: "key_rotated",
        subject: key_subject(next.id()),
        actor: &caller.name,
        payload: payload(public),
    };
    let index = match control::append(&app.ingress, &control).await {
        Ok(index) => index,
        Err(problem) => {
            // Of an unknown outcome the next start finds the end, in the log.
            if problem.code() != ReasonCode::OutcomeUnknown {
                let files = capabilities.files.clone();
                on_disk(move || files.discard_next()).await?;
            }
            return Err(problem);
        }
    };
    let files = capabilities.files.clone();
    on_disk(move || files.take_over()).await?;
    let key = next.id().to_owned();
    let previous = capabilities.take_over(next);
    tracing::info!(
        key,
        index = index.0,
        "capability tokens are signed with a new key; those of the former one stay good"
    );
    Ok(RotatedTaskKey { key, previous, index: index.0 })
}

/// FORMAT.md, `key_rotated`: canonical JSON. The public key is the text of which its name is the thumbprint.
fn payload(key: &PublicKey) -> Vec<u8> {
    let mut payload = b"{\"algorithm\":\"ES256\",\"public_key\":".to_vec();
    json::write_string(&mut payload, &key.text());
    payload.extend_from_slice(b",\"use\":\"task\"}");
    payload
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeyFilesError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            tracing::error!(%error, "a rotation of the key of capability tokens has failed");
            Err(Problem::new(ReasonCode::Internal)
                .detail("The new key's file cannot be written; the server's log says why."))
        }
        Err(_panicked) => Err(Problem::new(ReasonCode::Internal)),
    }
}

impl Capabilities {
    /// Puts the new key in front of the former one, and gives that one's name. A configured secret goes on signing.
    fn take_over(&self, next: Key) -> Option<String> {
        let set = self.keys();
        let secret = set.keys().iter().filter(|key| key.algorithm() == Algorithm::Hs256);
        let former = set.keys().iter().find(|key| key.algorithm() == Algorithm::Es256);
        let keys = secret.chain([&Arc::new(next)]).chain(former).cloned().collect();
        self.replace(set.with_keys(keys));
        former.map(|key| key.id().to_owned())
    }
}
