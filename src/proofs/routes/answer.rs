//! Proofs as JSON, their hashes in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gesta_log_format::tree::file::{Consistency, Inclusion};
use gesta_log_format::tree::{Growth, Hash, Position};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::proofs::Signed;

/// A record's way to the root of a tree.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct InclusionProof {
    /// The record's position.
    pub index: u64,
    /// Records in the tree.
    pub size: u64,
    /// Base64 of SHA-256(0x00 ‖ the record's data).
    pub leaf: String,
    /// Base64 of the tree's root.
    pub root: String,
    /// Base64 of each hash of the path, the leaf's sibling first (RFC 6962, 2.1.1).
    pub hashes: Vec<String>,
    /// The newest checkpoint, a signed note; null where the log is not signed. Where its size is another, a consistency
    /// proof joins both.
    pub checkpoint: Option<String>,
}

/// What joins two trees.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ConsistencyProof {
    /// Records in the older tree.
    pub from: u64,
    /// Records in the newer tree.
    pub to: u64,
    /// Base64 of the older tree's root.
    pub from_root: String,
    /// Base64 of the newer tree's root.
    pub to_root: String,
    /// Base64 of each hash of the proof (RFC 6962, 2.1.2).
    pub hashes: Vec<String>,
}

impl InclusionProof {
    pub(super) fn new(position: Position, found: &Inclusion, newest: Option<&Signed>) -> Self {
        Self {
            index: position.index,
            size: position.size,
            leaf: encode_hash(&found.leaf),
            root: encode_hash(&found.root),
            hashes: found.path.iter().map(encode_hash).collect(),
            checkpoint: newest.map(|newest| newest.note.clone()),
        }
    }
}

impl ConsistencyProof {
    pub(super) fn new(growth: Growth, found: &Consistency) -> Self {
        Self {
            from: growth.from,
            to: growth.to,
            from_root: encode_hash(&found.from_root),
            to_root: encode_hash(&found.to_root),
            hashes: found.proof.iter().map(encode_hash).collect(),
        }
    }
}

/// A hash as proofs and checkpoints write it.
pub fn encode_hash(hash: &Hash) -> String {
    STANDARD.encode(hash.0)
}

/// Reads [`encode_hash`].
pub fn decode_hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok().map(Hash)
}
