//! Whether the bundle is here that a registration names: its runners are sent a URL of it.

use std::sync::Arc;

use gesta_log_format::json::canonical;
use gesta_log_format::{Digest, hex};

use super::registration::Registration;
use crate::auth::Principal;
use crate::blobs::CheckError;
use crate::problem::{Problem, ReasonCode};
use crate::server::App;

/// The bundle that a registration's record names.
pub(super) fn of(registration: &str) -> Option<Digest> {
    read(canonical::member(registration.as_bytes(), "bundle_sha256")?)
}

/// Reads the member `bundle_sha256`.
pub(super) fn read(member: &[u8]) -> Option<Digest> {
    hex::read(canonical::string(member)?.as_bytes()).map(Digest)
}

/// Demands that the bundle of a registration is here and the caller's to refer to, since whoever runs the handler's tasks
/// reads it. The configuration, where there is no caller, may name any.
///
/// # Errors
/// `BLOB_NOT_FOUND`, 400, for `/bundle_sha256`.
pub(super) async fn demand(
    app: &App,
    registration: &Registration<'_>,
    caller: Option<&Principal>,
) -> Result<(), Problem> {
    let Some(digest) = registration.bundle() else { return Ok(()) };
    let (blobs, store, caller) = (Arc::clone(&app.blobs), Arc::clone(&app.store), caller.cloned());
    let len = tokio::task::spawn_blocking(move || match caller {
        Some(caller) => blobs.len_for(&digest, &caller, &*store),
        None => blobs.len(&digest).map_err(CheckError::Io),
    });
    let len = len.await.map_err(|_panicked| Problem::new(ReasonCode::Internal))?;
    match len.map_err(|error| error.problem("/bundle_sha256"))? {
        Some(_) => Ok(()),
        None => Err(Problem::new(ReasonCode::BlobNotFound)
            .status(axum::http::StatusCode::BAD_REQUEST)
            .detail(format!(
                "/bundle_sha256: no blob {digest} is here that you have put or may read: put the bundle with PUT \
                 /api/blob/sha256/{} first. Nothing was appended.",
                digest.hex()
            ))
            .pointer("/bundle_sha256")),
    }
}
