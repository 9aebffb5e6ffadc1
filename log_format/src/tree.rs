//! The RFC 6962 Merkle tree over the records, with SHA-256.
//!
//! A leaf is the hash of one record's `data` bytes; leaf `i` is record `i`. This module hashes and checks; it stores
//! nothing: [`CompactRange`] keeps the few subtrees that a growing tree still needs, and proofs ask their caller for
//! nodes. Invariant: every root, path and proof is the one that RFC 6962, section 2.1, defines.

use std::fmt;

use sha2::{Digest, Sha256};

mod compact_range;
pub mod file;
mod proof;

#[cfg(test)]
mod tests;

pub use compact_range::{CompactRange, WrongPeakCount};
pub use proof::{
    Growth, Position, ProofError, consistency_proof, inclusion_proof, verify_consistency, verify_inclusion,
};

/// A SHA-256 hash: of a leaf, of an inner node or of a whole tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    /// 64 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// The hash of a leaf: `SHA-256(0x00 ‖ data)`.
pub fn leaf_hash(data: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(data).finalize().into())
}

/// The hash of the node over two subtrees: `SHA-256(0x01 ‖ left ‖ right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The root of the tree without leaves: `SHA-256("")`.
pub fn empty_root() -> Hash {
    Hash(Sha256::new().finalize().into())
}
