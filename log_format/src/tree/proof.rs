//! Inclusion and consistency proofs: made from a caller's nodes, and verified from nothing but hashes.

use super::{Hash, empty_root, node_hash};

/// A leaf in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The leaf's index, from 0.
    pub index: u64,
    /// Leaves in the tree.
    pub size: u64,
}

/// A tree and what it has grown to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// Leaves in the older tree.
    pub from: u64,
    /// Leaves in the newer tree.
    pub to: u64,
}

/// Why there is no proof.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError<E> {
    /// The leaf lies beyond the tree, or the older tree is larger than the newer one.
    #[error("{wanted} lies beyond a tree of {size} leaves")]
    OutOfRange {
        /// The leaf's index, or the older tree's size.
        wanted: u64,
        /// Leaves in the tree.
        size: u64,
    },
    /// A node could not be had.
    #[error("a node of the tree cannot be read")]
    Node(#[source] E),
}

/// The path from a leaf to the root of a tree (RFC 6962, 2.1.1), the leaf's sibling first.
///
/// `node(level, index)` gives the root of the complete subtree over the 2^level leaves from index·2^level on; it is
/// asked only for subtrees that lie wholly within the tree.
///
/// # Errors
/// `OutOfRange` unless index < size; `Node` with what `node` failed with.
pub fn inclusion_proof<E>(
    position: Position,
    node: impl FnMut(u32, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, ProofError<E>> {
    let Position { index, size } = position;
    if index >= size {
        return Err(ProofError::OutOfRange { wanted: index, size });
    }
    let (mut tree, mut path, mut nodes) = (Leaves { start: 0, end: size }, Vec::new(), node);
    while tree.len() > 1 {
        let (left, right) = tree.split();
        let sibling = if index < left.end { right } else { left };
        tree = if index < left.end { left } else { right };
        path.push(sibling.root(&mut nodes)?);
    }
    path.reverse();
    Ok(path)
}

/// The hashes that show a tree to be the beginning of another (RFC 6962, 2.1.2). Empty where both are the same, and
/// where the older one has no leaf.
///
/// `node` is as in [`inclusion_proof`].
///
/// # Errors
/// `OutOfRange` if from > to; `Node` with what `node` failed with.
pub fn consistency_proof<E>(
    growth: Growth,
    node: impl FnMut(u32, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, ProofError<E>> {
    let Growth { from, to } = growth;
    if from > to {
        return Err(ProofError::OutOfRange { wanted: from, size: to });
    }
    let (mut tree, mut proof, mut nodes) = (Leaves { start: 0, end: to }, Vec::new(), node);
    if from == 0 {
        return Ok(proof);
    }
    while tree.end != from {
        let (left, right) = tree.split();
        let sibling = if from <= left.end { right } else { left };
        tree = if from <= left.end { left } else { right };
        proof.push(sibling.root(&mut nodes)?);
    }
    if tree.start > 0 {
        proof.push(tree.root(&mut nodes)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The leaves of a subtree as RFC 6962 splits a tree: their number is a power of two, or they reach to the tree's
/// end. `start` is a multiple of every power of two up to their number.
#[derive(Clone, Copy)]
struct Leaves {
    start: u64,
    end: u64,
}

impl Leaves {
    fn len(self) -> u64 {
        self.end - self.start
    }

    /// The largest power of two below the number of leaves, which is at least 2, goes left.
    fn split(self) -> (Self, Self) {
        let middle = self.start + (1 << (self.len() - 1).ilog2());
        (Self { start: self.start, end: middle }, Self { start: middle, end: self.end })
    }

    /// The subtree's root, from the roots of the complete subtrees that it consists of.
    fn root<E>(self, node: &mut impl FnMut(u32, u64) -> Result<Hash, E>) -> Result<Hash, ProofError<E>> {
        let (mut rest, mut root) = (self, None);
        while rest.len() > 0 {
            let level = rest.len().trailing_zeros();
            rest.end -= 1 << level;
            let left = node(level, rest.end >> level).map_err(ProofError::Node)?;
            root = Some(root.map_or(left, |right| node_hash(&left, &right)));
        }
        Ok(root.unwrap_or_else(empty_root))
    }
}

/// Whether `proof` shows that the tree with this `root` has this `leaf` at this position (RFC 9162, 2.1.3.2).
pub fn verify_inclusion(position: Position, leaf: Hash, proof: &[Hash], root: Hash) -> bool {
    let Position { index, size } = position;
    if index >= size {
        return false;
    }
    let (mut path, mut hash) = (Path { node: index, last: size - 1 }, leaf);
    for sibling in proof {
        match path.climb() {
            None => return false,
            Some(Side::Left) => hash = node_hash(sibling, &hash),
            Some(Side::Right) => hash = node_hash(&hash, sibling),
        }
    }
    path.last == 0 && hash == root
}

/// Whether `proof` shows that the tree with `from_root` is the beginning of the one with `to_root` (RFC 9162,
/// 2.1.4.2). The tree without leaves is the beginning of every other.
pub fn verify_consistency(growth: Growth, from_root: Hash, to_root: Hash, proof: &[Hash]) -> bool {
    let Growth { from, to } = growth;
    if from == to {
        return proof.is_empty() && from_root == to_root && (to > 0 || to_root == empty_root());
    }
    if from == 0 || from > to {
        return from == 0 && proof.is_empty() && from_root == empty_root();
    }
    let complete = from.is_power_of_two();
    let (first, siblings) = if complete { (Some(&from_root), proof) } else { first_of(proof) };
    let Some(&first) = first else { return false };
    let shift = (from - 1).trailing_ones();
    let mut path = Path { node: (from - 1) >> shift, last: (to - 1) >> shift };
    let (mut older, mut newer) = (first, first);
    for sibling in siblings {
        match path.climb() {
            None => return false,
            Some(Side::Left) => {
                older = node_hash(sibling, &older);
                newer = node_hash(sibling, &newer);
            }
            Some(Side::Right) => newer = node_hash(&newer, sibling),
        }
    }
    path.last == 0 && older == from_root && newer == to_root
}

fn first_of(proof: &[Hash]) -> (Option<&Hash>, &[Hash]) {
    proof.split_first().map_or((None, proof), |(first, rest)| (Some(first), rest))
}

/// The way up from a node to the root.
struct Path {
    node: u64,
    /// The last node of the same level.
    last: u64,
}

/// Where the next hash of a proof stands beside the node.
enum Side {
    Left,
    Right,
}

impl Path {
    /// Goes up to the next node that has a sibling, and on to its parent; `None` at the root.
    fn climb(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        let side = if self.node & 1 == 1 || self.node == self.last { Side::Left } else { Side::Right };
        if self.node & 1 == 0 && self.node == self.last {
            let alone = self.node.trailing_zeros();
            self.node >>= alone;
            self.last >>= alone;
        }
        self.node >>= 1;
        self.last >>= 1;
        Some(side)
    }
}
