//! `GET /blobs/bundle`: the blobs that a range of records refers to, as a tar archive.
//!
//! The same range of the same log gives the same bytes: members in the order of first reference, without times and
//! owners, under the names that they have in the data directory. The last member says what is missing; an archive
//! without it was cut off.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse as _, Response};
use axum_extra::response::Attachment;
use gesta_log_format::disk::Disk;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::envelope::View;
use gesta_log_format::log::{Cursor, ReadError, Reader};
use gesta_log_format::{Digest, Index, record};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{IntoParams, ToSchema};

use super::{Pieces, Store, references, routes, store};
use crate::auth::{Caller, Principal, Role};
use crate::limits::{BLOB_PIECE_BYTES, TAIL_CHUNK_BYTES};
use crate::problem::{Problem, ProblemBody, Query, ReasonCode};

/// Pieces of an archive that wait for its client.
const PIECES_WAITING_MAX: usize = 2;

const MISSING: &str = "MISSING.json";

/// A range of records.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct BundleQuery {
    /// The index before the first record, at least -1. Left out, the range begins with the log.
    since: Option<i64>,
    /// The index of the last record. Left out, or beyond the head, the range ends with the log.
    until: Option<i64>,
}

/// The last member of a bundle, `MISSING.json`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Missing {
    /// The digests that the records refer to and that are not here, in the order of first reference.
    pub missing: Vec<String>,
    /// The index before the first record.
    pub since: i64,
    /// The index of the last record.
    pub until: i64,
}

/// A half-open range of indexes.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: Index,
    end: Index,
}

/// The blobs that the records with an index above `since` and up to `until` refer to, as a tar archive.
///
/// Takes the role `log.read` or `auditor`; records in streams that the caller may not read are passed over. Each blob
/// is there once, as `blobs/sha256/ab/<hex>`, in the order of first reference. The last member, `MISSING.json`, lists
/// the blobs that are not here; without it the archive is not whole.
#[utoipa::path(
    get,
    path = "/blobs/bundle",
    tag = "blobs",
    params(BundleQuery),
    responses(
        (status = 200, description = "The archive", body = Vec<u8>, content_type = "application/x-tar"),
        (status = 400, description = "`INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`INDEX_NOT_FOUND`: the log begins behind `since`", body = ProblemBody),
        (status = 500, description = "`LOG_DAMAGED`", body = ProblemBody),
        (status = 503, description = "`BLOB_TRANSFERS_FULL`", body = ProblemBody),
    )
)]
pub async fn bundle(
    State(store): State<Arc<Store>>,
    State(log): State<Reader<RealDisk>>,
    caller: Caller,
    Query(query): Query<BundleQuery>,
) -> Result<Response, Problem> {
    caller.require(Role::LogRead)?;
    let span = query.span(log.first(), log.head())?;
    let permit = store.bundle_permit().ok_or_else(|| Problem::new(ReasonCode::BlobTransfersFull))?;
    let (found, digests) = oneshot::channel();
    let (pieces, archive) = mpsc::channel(PIECES_WAITING_MAX);
    // One thread from the first record to the last byte. It ends early when nobody listens any more.
    tokio::task::spawn_blocking(move || {
        let is_cancelled = || found.is_closed();
        match collect(&log, span, &caller, store.bounds.bundle_blobs_max, &is_cancelled) {
            Ok(digests) => {
                if found.send(Ok(())).is_ok() {
                    write(&store, &digests, span, &pieces);
                }
            }
            Err(problem) => drop(found.send(Err(problem))),
        }
        drop(permit);
    });
    digests.await.unwrap_or_else(|_| Err(Problem::new(ReasonCode::Internal)))?;
    let archive = Attachment::new(Body::from_stream(ReceiverStream::new(archive)));
    let mut response = archive.filename("blobs.tar").content_type("application/x-tar").into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

impl BundleQuery {
    fn span(self, first: Index, head: Index) -> Result<Span, Problem> {
        // The exclusive mark behind an inclusive index, of which -1 is the least.
        let mark =
            |name: &str, index: Option<i64>, default: Index| match index.map(|index| index.checked_add(1)) {
                None => Ok(default),
                Some(next) => next.and_then(|next| u64::try_from(next).ok()).map(Index).ok_or_else(|| {
                    Problem::new(ReasonCode::InvalidInput).detail(format!("`{name}` is an index, or -1."))
                }),
            };
        let end = mark("until", self.until, head)?.min(head);
        let start = mark("since", self.since, first)?.min(end);
        if start < first && start < end {
            return Err(gone(first));
        }
        Ok(Span { start, end })
    }
}

fn gone(first: Index) -> Problem {
    Problem::new(ReasonCode::IndexNotFound).detail(format!("The log begins at index {first}.")).index(first.0)
}

/// The blobs that the records refer to, each once, in the order of first reference.
fn collect<D: Disk>(
    log: &Reader<D>,
    span: Span,
    caller: &Principal,
    blobs_max: usize,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Vec<Digest>, Problem> {
    let mut cursor = Cursor::at(span.start);
    let mut buffer = Vec::new();
    let (mut digests, mut seen) = (Vec::new(), HashSet::new());
    while !is_cancelled() {
        let chunk = log.read(&mut cursor, span.end, &mut buffer, TAIL_CHUNK_BYTES).map_err(problem)?;
        let mut rest = buffer.get(..chunk.len).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        while let Ok(record) = record::decode_trusted(rest) {
            rest = rest.get(record.bytes.len()..).unwrap_or_default();
            for digest in references_of(record.data, caller) {
                if seen.contains(&digest) {
                    continue;
                }
                if digests.len() == blobs_max {
                    return Err(too_many(blobs_max, record.index));
                }
                seen.insert(digest);
                digests.push(digest);
            }
        }
    }
    Ok(digests)
}

/// The blobs that one envelope refers to; none where the caller may not read its stream.
fn references_of<'a>(data: &'a [u8], caller: &Principal) -> impl Iterator<Item = Digest> + use<'a> {
    let mut digests = references(data).peekable();
    // Most records have none, and their envelopes are not looked at.
    let is_readable = digests.peek().is_some()
        && View::parse(data)
            .and_then(|view| std::str::from_utf8(view.stream_id).ok())
            .is_some_and(|stream| caller.may_read_stream(stream));
    is_readable.then_some(digests).into_iter().flatten()
}

fn too_many(blobs_max: usize, at: Index) -> Problem {
    let until = i64::try_from(at.0).unwrap_or(i64::MAX) - 1;
    Problem::new(ReasonCode::InvalidInput)
        .detail(format!(
            "A bundle holds at most {blobs_max} blobs, and these records refer to more. Ask with until={until}, then \
             with since={until}."
        ))
        .index(at.0)
}

fn problem(error: ReadError) -> Problem {
    match error {
        ReadError::Damaged(damaged) => {
            tracing::error!(%damaged, "cannot bundle blobs");
            Problem::new(ReasonCode::LogDamaged).index(damaged.index.0)
        }
        ReadError::Io { cause, .. } => routes::unreadable(cause),
        ReadError::Gone { first, .. } => gone(first),
    }
}

/// Writes the archive into the channel. An error goes there too, which ends the response without its end.
fn write<D: Disk>(
    store: &Store<D>,
    digests: &[Digest],
    span: Span,
    pieces: &mpsc::Sender<io::Result<Bytes>>,
) {
    let written = archive(store, digests, span, Outlet { pieces, buffer: Vec::new() });
    let Err(error) = written else { return };
    if error.kind() != io::ErrorKind::BrokenPipe {
        tracing::error!(%error, "cannot write a bundle of blobs");
        // Whether the client still listens makes no difference.
        drop(pieces.blocking_send(Err(error)));
    }
}

fn archive<D: Disk>(store: &Store<D>, digests: &[Digest], span: Span, outlet: Outlet<'_>) -> io::Result<()> {
    let mut archive = tar::Builder::new(outlet);
    let mut missing = Vec::new();
    for digest in digests {
        match store.blob(digest)? {
            Some(blob) => {
                let len = blob.len();
                let mut source = Source { pieces: blob.pieces(0..len), piece: io::Cursor::default() };
                archive.append(&header(&store::name(digest), len)?, &mut source)?;
            }
            None => missing.push(digest.to_string()),
        }
    }
    let before = |index: Index| i64::try_from(index.0).unwrap_or(i64::MAX) - 1;
    let missing = Missing { missing, since: before(span.start), until: before(span.end) };
    let text = serde_json::to_vec(&missing)?;
    archive.append(&header(MISSING, text.len() as u64)?, text.as_slice())?;
    archive.into_inner()?.flush()
}

/// A member without anything that differs from one day or machine to another.
fn header(name: &str, len: u64) -> io::Result<tar::Header> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(len);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    Ok(header)
}

/// A blob as a reader.
struct Source<F> {
    pieces: Pieces<F>,
    piece: io::Cursor<Vec<u8>>,
}

impl<F: gesta_log_format::disk::File> io::Read for Source<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.position() == self.piece.get_ref().len() as u64 {
            match self.pieces.next_piece()? {
                Some(piece) => self.piece = io::Cursor::new(piece),
                None => return Ok(0),
            }
        }
        self.piece.read(buffer)
    }
}

/// A channel as a writer. A full channel makes the writer wait, which is how a slow client slows the disk.
struct Outlet<'a> {
    pieces: &'a mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Outlet<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BLOB_PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.buffer));
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
