//! The tree on the disk: the leaves' hashes and those of full tiles, one append-only file for each level of tiles.
//!
//! Derived from the log, deletable while no server runs, and made again equal. Level *l* of the files holds the roots of
//! the perfect subtrees over 256^l leaves, 32 bytes each, in order; so every node of the tree is one read of at most
//! 4 KiB away, and a tile is one read of its file. Nothing here is trusted because it is there: full tiles are
//! compared with the hash that the level above holds of them, roots with the seals' by [`TreeFile::open`].
//!
//! One [`TreeFile`] appends; any number of [`StoredTree`]s read what it has published. Invariant: all that lies below
//! [`StoredTree::size`] is in the files.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{CompactRange, Growth, Hash, Position, ProofError};
use crate::disk::File;
use crate::size;
use crate::tile::{HEIGHT, WIDTH, in_level};

mod append;

#[cfg(test)]
mod tests;

pub use append::{Known, TreeFile};

/// The directory of the tree's files below the data directory.
pub const DIR: &str = "tree";

/// Levels that are kept: a tree of 2^53 leaves has full tiles up to the sixth.
const LEVELS: usize = 7;

/// Bytes of a hash.
const HASH_BYTES: u64 = 32;

/// Why the tree's files do not answer.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The system refuses.
    #[error("cannot {doing} {file}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file, below the data directory.
        file: String,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The tree does not reach so far.
    #[error("the tree has {size} leaves, and {wanted} were asked for")]
    Beyond {
        /// The leaves that were asked for.
        wanted: u64,
        /// The leaves that are there.
        size: u64,
    },
    /// A tile is not the one whose hash the level above holds.
    #[error("tile {number} of level {level} of the tree is not as it was written")]
    Changed {
        /// The tile's level.
        level: u32,
        /// The tile's number in its level.
        number: u64,
    },
    /// A proof that was made does not hold: a node was changed.
    #[error("a proof for a tree of {size} leaves does not hold")]
    Unsound {
        /// The leaves of the tree.
        size: u64,
    },
}

/// A root and a leaf's way to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inclusion {
    /// The leaf's hash.
    pub leaf: Hash,
    /// The root of the tree.
    pub root: Hash,
    /// The path, the leaf's sibling first.
    pub path: Vec<Hash>,
}

/// Two roots and what joins them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Consistency {
    /// The root of the older tree.
    pub from_root: Hash,
    /// The root of the newer tree.
    pub to_root: Hash,
    /// The proof.
    pub proof: Vec<Hash>,
}

/// Reads the tree's files. Cheap to clone.
pub struct StoredTree<F> {
    shared: Arc<Shared<F>>,
}

struct Shared<F> {
    files: [F; LEVELS],
    /// Leaves whose nodes are all written. Raised by the [`TreeFile`] after its writes, lowered by a cut before them.
    size: AtomicU64,
}

impl<F> Clone for StoredTree<F> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<F: File> StoredTree<F> {
    /// Leaves that are there.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.size.load(Ordering::Acquire)
    }

    fn demand(&self, wanted: u64) -> Result<(), TreeError> {
        let size = self.size();
        if wanted <= size { Ok(()) } else { Err(TreeError::Beyond { wanted, size }) }
    }

    /// Demands that so many subtrees over 2^level leaves are there.
    fn demand_at(&self, level: u32, count: u64) -> Result<(), TreeError> {
        let size = self.size();
        if size.checked_shr(level).is_some_and(|there| count <= there) {
            return Ok(());
        }
        let leaves = 1_u64.checked_shl(level).map_or(u64::MAX, |leaves| leaves.saturating_mul(count));
        Err(TreeError::Beyond { wanted: leaves, size })
    }

    /// The hashes of a tile, `width` of them. Where the tile is full, whatever the width, all of it is checked.
    ///
    /// # Errors
    /// [`TreeError::Beyond`] where the tree does not have so much of the tile, [`TreeError::Changed`].
    pub fn tile(&self, level: u32, number: u64, width: u64) -> Result<Vec<Hash>, TreeError> {
        self.demand_at(HEIGHT * level, number * WIDTH + width)?;
        let full = (number + 1) * WIDTH <= in_level(level, self.size());
        let mut hashes = self.hashes(level, number * WIDTH, if full { WIDTH } else { width })?;
        if full && size::mem(level.into()) + 1 < LEVELS {
            let above = self.hashes(level + 1, number, 1)?;
            if root_of(&hashes) != above.first().copied() {
                return Err(TreeError::Changed { level, number });
            }
        }
        hashes.truncate(size::mem(width));
        Ok(hashes)
    }

    /// The root of the perfect subtree over 2^level leaves from index·2^level on.
    ///
    /// # Errors
    /// [`TreeError::Beyond`] unless the subtree lies within the tree.
    pub fn node(&self, level: u32, index: u64) -> Result<Hash, TreeError> {
        self.demand_at(level, index + 1)?;
        let (tiles, below) = (level / HEIGHT, level % HEIGHT);
        let hashes = self.hashes(tiles, index << below, 1 << below)?;
        let level = size::mem(tiles.into());
        root_of(&hashes).ok_or_else(|| read_failed(level, io::ErrorKind::UnexpectedEof.into()))
    }

    /// The peaks of the tree over the first `leaves` leaves: at most 53 reads.
    ///
    /// # Errors
    /// [`TreeError::Beyond`].
    pub fn range(&self, leaves: u64) -> Result<CompactRange, TreeError> {
        let bits = (0..u64::BITS).rev().filter(|bit| leaves >> bit & 1 == 1);
        let peaks = bits.map(|bit| self.node(bit, (leaves >> bit) - 1)).collect::<Result<_, _>>()?;
        Ok(CompactRange::from_peaks(leaves, peaks).unwrap_or_default())
    }

    /// The root of the tree over the first `leaves` leaves.
    ///
    /// # Errors
    /// [`TreeError::Beyond`].
    pub fn root(&self, leaves: u64) -> Result<Hash, TreeError> {
        Ok(self.range(leaves)?.root())
    }

    /// A leaf's way to the root of the tree over the first `size` leaves, which was followed once before it is returned.
    ///
    /// # Errors
    /// [`TreeError::Beyond`], and [`TreeError::Unsound`] where a node was changed.
    pub fn inclusion(&self, position: Position) -> Result<Inclusion, TreeError> {
        let Position { index, size } = position;
        self.demand(size)?;
        let path =
            super::inclusion_proof(position, |level, node| self.node(level, node)).map_err(of_proof)?;
        let (leaf, root) = (self.node(0, index)?, self.root(size)?);
        let sound = super::verify_inclusion(position, leaf, &path, root);
        if sound { Ok(Inclusion { leaf, root, path }) } else { Err(TreeError::Unsound { size }) }
    }

    /// What shows that the tree of `from` leaves is the beginning of that of `to`, checked before it is returned.
    ///
    /// # Errors
    /// [`TreeError::Beyond`], and [`TreeError::Unsound`] where a node was changed.
    pub fn consistency(&self, growth: Growth) -> Result<Consistency, TreeError> {
        self.demand(growth.to)?;
        let proof =
            super::consistency_proof(growth, |level, node| self.node(level, node)).map_err(of_proof)?;
        let (from_root, to_root) = (self.root(growth.from)?, self.root(growth.to)?);
        if !super::verify_consistency(growth, from_root, to_root, &proof) {
            return Err(TreeError::Unsound { size: growth.to });
        }
        Ok(Consistency { from_root, to_root, proof })
    }

    /// Compares full tiles of a level with the level above, from tile `from` on and below `to`; the first that differs.
    ///
    /// # Errors
    /// [`TreeError::Io`].
    pub fn first_changed(&self, level: u32, from: u64, to: u64) -> Result<Option<u64>, TreeError> {
        /// Tiles that are read at once: 512 KiB.
        const AT_ONCE: u64 = 64;
        let to = to.min(in_level(level + 1, self.size()));
        let mut number = from;
        while number < to {
            let count = AT_ONCE.min(to - number);
            let hashes = self.hashes(level, number * WIDTH, count * WIDTH)?;
            let above = self.hashes(level + 1, number, count)?;
            let tiles = hashes.chunks(size::mem(WIDTH)).zip(&above);
            let differs = (number..).zip(tiles).find(|(_, (tile, hash))| root_of(tile) != Some(**hash));
            if let Some((number, _)) = differs {
                return Ok(Some(number));
            }
            number += count;
        }
        Ok(None)
    }

    /// Hashes of one level, as they lie in its file.
    fn hashes(&self, level: u32, from: u64, count: u64) -> Result<Vec<Hash>, TreeError> {
        let level = size::mem(level.into());
        let file =
            self.shared.files.get(level).ok_or(TreeError::Beyond { wanted: from, size: self.size() })?;
        let mut bytes = vec![0; size::mem(count * HASH_BYTES)];
        read_exact(file, &mut bytes, from * HASH_BYTES).map_err(|cause| read_failed(level, cause))?;
        let (hashes, _) = bytes.as_chunks::<32>();
        Ok(hashes.iter().copied().map(Hash).collect())
    }
}

fn of_proof(error: ProofError<TreeError>) -> TreeError {
    match error {
        ProofError::OutOfRange { wanted, size } => TreeError::Beyond { wanted, size },
        ProofError::Node(error) => error,
    }
}

fn read_exact<F: File>(file: &F, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        let read = file.read_at(buffer, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = buffer.get_mut(read..).unwrap_or_default();
        offset += size::of(read);
    }
    Ok(())
}

/// The root over a power of two of hashes; none over none.
fn root_of(hashes: &[Hash]) -> Option<Hash> {
    let mut range = CompactRange::new();
    hashes.iter().for_each(|hash| range.append(*hash));
    range.peaks().first().copied().filter(|_| range.peaks().len() == 1)
}

fn path(level: usize) -> String {
    format!("{DIR}/level-{level}")
}

fn read_failed(level: usize, cause: io::Error) -> TreeError {
    TreeError::Io { doing: "read", file: path(level), cause }
}
