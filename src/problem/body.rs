//! Reading a request's body within its bounds.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, ORIGIN};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use super::{Problem, ReasonCode};

/// The whole body. A body that arrives in one piece, as most do, is returned as it lies, without a copy and without a
/// timer.
///
/// # Errors
/// `BODY_TOO_LARGE` above `bytes_max`, at once if the length is announced; `REQUEST_TIMEOUT` after `patience`;
/// `INVALID_INPUT` if the client breaks off.
pub async fn read_body(body: Body, bytes_max: usize, patience: Duration) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    match tokio::time::timeout(patience, collect(body, bytes_max)).await {
        Ok(collected) => collected,
        Err(_elapsed) => Err(Problem::new(ReasonCode::RequestTimeout)),
    }
}

/// Whether the body is declared to be JSON: a page of a foreign site cannot declare that without a preflight.
///
/// # Errors
/// `UNSUPPORTED_MEDIA_TYPE`.
pub fn demand_json(headers: &HeaderMap) -> Result<(), Problem> {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = declared.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Problem::new(ReasonCode::UnsupportedMediaType))
    }
}

/// As [`demand_json`], for a route whose request needs no body: one without needs no type either, unless a page sends it.
/// A browser names the page's origin, and a foreign one could post nothing without a preflight too.
///
/// # Errors
/// `UNSUPPORTED_MEDIA_TYPE`.
pub fn demand_json_or_nothing(headers: &HeaderMap, body: &Body) -> Result<(), Problem> {
    let is_bare =
        body.is_end_stream() && !headers.contains_key(CONTENT_TYPE) && !headers.contains_key(ORIGIN);
    if is_bare { Ok(()) } else { demand_json(headers) }
}

async fn collect(mut body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let Some(first) = next(&mut body).await? else {
        return Ok(Bytes::new());
    };
    if first.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    let Some(second) = next(&mut body).await? else {
        return Ok(first);
    };
    let mut whole = first.to_vec();
    let mut piece = Some(second);
    while let Some(bytes) = piece {
        if whole.len() + bytes.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        whole.extend_from_slice(&bytes);
        piece = next(&mut body).await?;
    }
    Ok(whole.into())
}

/// The next piece of data; trailers are passed over.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| Problem::new(ReasonCode::InvalidInput).detail("The body broke off."))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(ReasonCode::BodyTooLarge).detail(format!(
        "The body is larger than {bytes_max} bytes. Put the content with PUT /api/blob/sha256/{{hex}} and refer to \
         it as {{\"$blob\": \"sha256:…\", \"size_bytes\": n, \"media_type\": \"…\"}}."
    ))
}
