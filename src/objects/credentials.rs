//! `POST /v1/task/credentials`: what the code of a task signs its requests for objects with.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use gesta_log_format::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::session::{Grant, Session};
use super::unix_seconds;
use crate::capability::prefix::{Prefix, Scheme};
use crate::capability::{Capability, Prefixes};
use crate::limits::OBJECT_CREDENTIAL_SECONDS;
use crate::problem::{Problem, ProblemBody, demand_json, read_body};
use crate::server::App;
use crate::tasks::{self, TaskFence};

/// A short-lived credential for the task's own objects.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Credentials {
    /// Its name, a ULID.
    access_key_id: String,
    /// The key of the HMACs, as it is written. Held by the caller alone.
    secret_access_key: String,
    /// What it is good for; goes along with every request.
    session_token: String,
    /// When nothing that it signed is good any more: UTC.
    expiration: String,
}

/// A credential for the objects below the task's `blob://` prefixes.
///
/// It lasts an hour at most, and never longer than the capability that it is asked for with. Prefixes of other stores are
/// none of this server's, and are left out.
#[utoipa::path(
    post,
    path = "/v1/task/credentials",
    tag = "objects",
    request_body = TaskFence,
    responses(
        (status = 200, description = "A credential", body = Credentials),
        (status = 400, description = "`INVALID_JSON`, `INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`WRONG_TASK`", body = ProblemBody),
        (status = 409, description = "`STALE_ATTEMPT`", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 503, description = "`INDEX_NOT_APPLIED`, `DRAINING`", body = ProblemBody),
    )
)]
pub(super) async fn post_credentials(
    State(app): State<App>,
    capability: Capability,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    demand_json(&parts.headers)?;
    app.demand_running()?;
    let body = read_body(body, app.config.limits.body_bytes_max, app.body_patience()).await?;
    let fence = tasks::read_fence(&body)?;
    capability.for_task(&fence.task_id.to_string(), fence.attempt)?;
    let open = app.tasks.live(&fence).await?;
    let exp = capability.exp.min(unix_seconds() + OBJECT_CREDENTIAL_SECONDS);
    let grant = Grant::Task {
        org_id: open.stream_id,
        task_id: open.task_id.to_string(),
        attempt: fence.attempt,
        s3: own(&capability.s3),
    };
    let session = Session::new(exp, grant);
    let credential = app.objects.signer.issue(&session);
    let answer = Credentials {
        access_key_id: session.id,
        secret_access_key: credential.secret,
        session_token: credential.session_token,
        expiration: Timestamp::from_micros(exp.saturating_mul(1_000_000)).to_string(),
    };
    let mut response = Json(answer).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The prefixes of this server's own objects.
fn own(prefixes: &Prefixes) -> Prefixes {
    let own = |prefixes: &[Prefix]| {
        prefixes.iter().filter(|prefix| prefix.scheme() == Scheme::Blob).cloned().collect()
    };
    Prefixes { read_prefixes: own(&prefixes.read_prefixes), write_prefixes: own(&prefixes.write_prefixes) }
}
