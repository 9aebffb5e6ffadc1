//! `GET /tile/…`: the tree's hashes and the records' data in pieces of 256, as C2SP's tlog-tiles.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use gesta_log_format::log::{Cursor, ReadError};
use gesta_log_format::tile::{self, Content, Tile};
use gesta_log_format::tree::file::TreeError;
use gesta_log_format::tree::{Hash, leaf_hash};
use gesta_log_format::{Index, record};

use super::read;
use crate::auth::{Caller, Role};
use crate::limits::TREE_CHUNK_BYTES;
use crate::problem::{Problem, ProblemBody, ReasonCode};
use crate::server::App;
use crate::store::{LookupError, Store, unreadable};

/// A piece of the tree never changes: neither a full tile nor one of this width.
const FOR_EVER: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// A piece of the tree, or of the records, as C2SP's tlog-tiles.
///
/// `{level}/{N}` is 256 hashes, 32 bytes each; `entries/{N}` is the data of 256 records, each after its length in two
/// bytes, big-endian. `N` is written in groups of three digits, `x001/x234/067`; `.p/{W}` stands for the first W.
/// Entries need the role `auditor` on all streams.
#[utoipa::path(
    get,
    path = "/tile/{*path}",
    tag = "proofs",
    params(("path" = String, Path, description = "`0/x001/234`, `1/067.p/8`, `entries/000`")),
    responses(
        (status = 200, description = "Hashes, or entries", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`TILE_NOT_FOUND`", body = ProblemBody),
        (status = 500, description = "`LOG_DAMAGED`", body = ProblemBody),
        (status = 503, description = "`PROOF_NOT_READY`", body = ProblemBody),
    )
)]
pub(in crate::proofs) async fn tile(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
) -> Result<Response, Problem> {
    caller.require(Role::LogRead)?;
    let tile = Tile::parse(&path).ok_or_else(|| Problem::new(ReasonCode::TileNotFound))?;
    if tile.content() == Content::Entries {
        caller.require_read_all()?;
    }
    if !tile.is_within(app.store.live.published().0) {
        return Err(Problem::new(ReasonCode::TileNotFound));
    }
    let bytes = match tile.content() {
        Content::Hashes { level } => {
            let hashes = read(&app, move |tree| tree.tile(level, tile.number(), tile.width())).await?;
            hashes.iter().flat_map(|hash| hash.0).collect()
        }
        Content::Entries => entries(&app, tile).await?,
    };
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CACHE_CONTROL, FOR_EVER);
    Ok(response)
}

/// A bundle, whose entries are those of the tree.
async fn entries(app: &App, tile: Tile) -> Result<Vec<u8>, Problem> {
    let internal = || Problem::new(ReasonCode::Internal);
    let _turn = app.proofs.bundles.acquire().await.map_err(|_closed| internal())?;
    let leaves = read(app, move |tree| tree.tile(0, tile.number(), tile.width())).await?;
    let store = Arc::clone(&app.store);
    let bundle = tokio::task::spawn_blocking(move || bundle(&store, tile, &leaves)).await;
    match bundle.map_err(|_panicked| internal())? {
        Ok(Some(bundle)) => Ok(bundle),
        Ok(None) => Err(app.proofs.problem(&TreeError::Changed { level: 0, number: tile.number() })),
        Err(error) => Err(unreadable(&LookupError::Read(error))),
    }
}

/// None where a record is not the one whose hash the tree has.
fn bundle(store: &Store, tile: Tile, leaves: &[Hash]) -> Result<Option<Vec<u8>>, ReadError> {
    let (mut bundle, mut buffer) = (Vec::new(), Vec::new());
    let mut leaves = leaves.iter();
    let mut cursor = Cursor::at(Index(tile.first()));
    let end = Index(tile.first() + tile.width());
    while cursor.next() < end {
        let chunk = store.reader.read(&mut cursor, end, &mut buffer, TREE_CHUNK_BYTES)?;
        let mut rest = buffer.get(..chunk.len).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        while let Ok(record) = record::decode_trusted(rest) {
            let is_leaf = leaves.next().is_some_and(|leaf| *leaf == leaf_hash(record.data));
            if !is_leaf || !tile::push_entry(&mut bundle, record.data) {
                return Ok(None);
            }
            rest = rest.get(record.bytes.len()..).unwrap_or_default();
        }
    }
    Ok(Some(bundle))
}
