//! Content that the code of a task refers to, by its digest.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::Principal;
use crate::blobs::{self, Stored};
use crate::capability::Capability;
use crate::problem::{Problem, ProblemBody};
use crate::server::App;

/// A blob, in place of its bytes.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct BlobReference {
    /// `sha256:` and 64 lower-case hex digits.
    #[serde(rename = "$blob")]
    #[schema(pattern = "^sha256:[0-9a-f]{64}$")]
    digest: String,
    media_type: String,
    size_bytes: u64,
}

/// Stores a blob under its SHA-256, for what the task reports.
///
/// As on the public listener, with the capability of any attempt of the task and without a fence: bytes under their own
/// digest change nothing. Only this task's results, events and `stderr` may refer to it, as `{"$blob": "sha256:…",
/// "size_bytes": n, "media_type": "…"}`, the whole value of a member; whoever may read the stream may read the blob once
/// a record does. The server remembers puts until it ends, and asks for the blob again where it has forgotten.
#[utoipa::path(
    put,
    path = "/v1/task/blob/sha256/{hex}",
    tag = "tasks",
    params(("hex" = String, Path, description = "SHA-256 of the bytes: 64 lower-case hex digits")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "The blob is durable", body = Stored),
        (status = 400, description = "`INVALID_INPUT`, `BLOB_DIGEST_MISMATCH`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 503, description = "`BLOB_TRANSFERS_FULL`, `DISK_FULL`, `RECOVERING`", body = ProblemBody),
    )
)]
pub(crate) async fn put_task_blob(
    State(app): State<App>,
    capability: Capability,
    Path(hex): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let task = Principal::of_task(&capability.org_id, &capability.task_id);
    blobs::receive(&app.blobs, &task, &hex, &headers, body).await
}
