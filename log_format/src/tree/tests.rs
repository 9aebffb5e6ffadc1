//! Tests of the tree: published roots, and every root and proof against `ct-merkle`.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use proptest::prelude::*;
use sha2::Sha256;

use super::*;

const LEAVES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];

const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// A tree that keeps everything: `levels[l][i]` is the complete subtree over 2^l leaves from i·2^l on.
struct Whole {
    levels: Vec<Vec<Hash>>,
    roots: Vec<Hash>,
}

impl Whole {
    fn of<T: AsRef<[u8]>>(leaves: &[T]) -> Self {
        let mut range = CompactRange::new();
        let mut roots = vec![range.root()];
        let mut levels = vec![Vec::new()];
        for leaf in leaves {
            range.append(leaf_hash(leaf.as_ref()));
            roots.push(range.root());
            levels[0].push(leaf_hash(leaf.as_ref()));
        }
        while levels[levels.len() - 1].len() > 1 {
            let pairs = levels[levels.len() - 1].chunks_exact(2);
            let above = pairs.map(|pair| node_hash(&pair[0], &pair[1])).collect();
            levels.push(above);
        }
        Self { levels, roots }
    }

    fn node(&self, level: u32, index: u64) -> Result<Hash, (u32, u64)> {
        let row = self.levels.get(usize::try_from(level).unwrap());
        row.and_then(|row| row.get(usize::try_from(index).unwrap())).copied().ok_or((level, index))
    }

    fn root(&self, size: u64) -> Hash {
        self.roots[usize::try_from(size).unwrap()]
    }
}

fn oracle(leaves: usize) -> (MemoryBackedTree<Sha256, Vec<u8>>, Vec<Vec<u8>>) {
    let leaves: Vec<Vec<u8>> = (0..leaves).map(|i| format!("leaf {i}").into_bytes()).collect();
    let mut tree = MemoryBackedTree::new();
    leaves.iter().for_each(|leaf| tree.push(leaf.clone()));
    (tree, leaves)
}

fn root_of_theirs(root: Hash, size: u64) -> RootHash<Sha256> {
    RootHash::new(root.0.into(), size)
}

fn bytes(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(|hash| hash.0).collect()
}

#[test]
fn published_roots_are_met() {
    let tree = Whole::of(&LEAVES);
    assert_eq!(tree.roots.iter().map(Hash::to_string).collect::<Vec<_>>(), ROOTS);
    assert_eq!(empty_root().to_string(), ROOTS[0]);
    assert_eq!(format!("{:?}", empty_root()), format!("Hash({})", ROOTS[0]));
}

#[test]
fn a_compact_range_goes_on_from_its_peaks() {
    let tree = Whole::of(&LEAVES);
    for cut in 0..=LEAVES.len() {
        let mut range = CompactRange::new();
        LEAVES[..cut].iter().for_each(|leaf| range.append(leaf_hash(leaf)));
        let mut resumed = CompactRange::from_peaks(range.len(), range.peaks().to_vec()).unwrap();
        assert_eq!((&resumed, resumed.is_empty()), (&range, cut == 0));
        LEAVES[cut..].iter().for_each(|leaf| resumed.append(leaf_hash(leaf)));
        assert_eq!((resumed.root(), resumed.len()), (tree.root(8), 8));
    }
}

#[test]
fn a_compact_range_has_one_peak_for_each_bit_of_its_size() {
    for (len, expected) in [(0, 0), (1, 1), (6, 2), (7, 3), (u64::MAX, 64)] {
        for found in 0..=65 {
            let range = CompactRange::from_peaks(len, vec![empty_root(); found]);
            let wrong = WrongPeakCount { len, expected, found };
            assert_eq!(range.map(|range| range.len()), if found == expected { Ok(len) } else { Err(wrong) });
        }
    }
}

#[test]
fn every_root_and_proof_up_to_70_leaves_is_that_of_ct_merkle() {
    let (_, leaves) = oracle(70);
    let ours = Whole::of(&leaves);
    let mut theirs = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    assert_eq!(theirs.root().as_bytes()[..], ours.root(0).0);
    for (size, leaf) in (1..).zip(&leaves) {
        theirs.push(leaf.clone());
        assert_eq!(theirs.root().as_bytes()[..], ours.root(size).0, "root of {size}");
        for index in 0..size {
            let position = Position { index, size };
            let proof = inclusion_proof(position, |level, index| ours.node(level, index)).unwrap();
            let place = usize::try_from(index).unwrap();
            assert_eq!(theirs.prove_inclusion(place).as_bytes(), bytes(&proof), "{position:?}");
            assert!(verify_inclusion(position, leaf_hash(&leaves[place]), &proof, ours.root(size)));
        }
        for from in 1..=size {
            let growth = Growth { from, to: size };
            let proof = consistency_proof(growth, |level, index| ours.node(level, index)).unwrap();
            let added = usize::try_from(size - from).unwrap();
            assert_eq!(theirs.prove_consistency(added).as_bytes(), bytes(&proof), "{growth:?}");
            assert!(verify_consistency(growth, ours.root(from), ours.root(size), &proof));
        }
    }
}

#[test]
fn what_lies_beyond_the_tree_has_no_proof() {
    let tree = Whole::of(&LEAVES);
    let node = |level, index| tree.node(level, index);
    for (index, size) in [(0, 0), (8, 8), (9, 8)] {
        let proof = inclusion_proof(Position { index, size }, node);
        assert_eq!(proof, Err(ProofError::OutOfRange { wanted: index, size }));
        assert!(!verify_inclusion(Position { index, size }, leaf_hash(b""), &[], tree.root(size)));
    }
    let proof = consistency_proof(Growth { from: 8, to: 7 }, node);
    assert_eq!(proof, Err(ProofError::OutOfRange { wanted: 8, size: 7 }));
    assert!(!verify_consistency(Growth { from: 8, to: 7 }, tree.root(8), tree.root(7), &[]));
    let missing = inclusion_proof(Position { index: 0, size: 9 }, node);
    assert_eq!(missing, Err(ProofError::Node((0, 8))));
}

#[test]
fn the_empty_tree_is_the_beginning_of_every_tree() {
    let tree = Whole::of(&LEAVES);
    for to in 0..=8 {
        let growth = Growth { from: 0, to };
        assert_eq!(consistency_proof(growth, |level, index| tree.node(level, index)), Ok(Vec::new()));
        assert!(verify_consistency(growth, empty_root(), tree.root(to), &[]));
        assert!(!verify_consistency(growth, leaf_hash(b""), tree.root(to), &[]));
        assert!(!verify_consistency(growth, empty_root(), tree.root(to), &[empty_root()]));
    }
    assert!(!verify_consistency(Growth { from: 0, to: 0 }, tree.root(1), tree.root(1), &[]));
}

#[test]
fn a_proof_that_ends_below_the_root_is_none() {
    let tree = Whole::of(&LEAVES);
    let node = |level, index| tree.node(level, index);
    let (small, large) = (Position { index: 1, size: 4 }, Position { index: 1, size: 8 });
    let proof = inclusion_proof(small, node).unwrap();
    assert!(verify_inclusion(small, leaf_hash(LEAVES[1]), &proof, tree.root(4)));
    assert!(!verify_inclusion(large, leaf_hash(LEAVES[1]), &proof, tree.root(4)));
    let (small, large) = (Growth { from: 3, to: 4 }, Growth { from: 3, to: 8 });
    let proof = consistency_proof(small, node).unwrap();
    assert!(verify_consistency(small, tree.root(3), tree.root(4), &proof));
    assert!(!verify_consistency(large, tree.root(3), tree.root(4), &proof));
}

/// `proof` with one thing about it changed.
fn changed(proof: &[Hash], how: u8, at: usize) -> Vec<Hash> {
    let mut proof = proof.to_vec();
    let at = at % proof.len().max(1);
    match how {
        0 if !proof.is_empty() => proof[at].0[at % 32] ^= 1,
        1 if !proof.is_empty() => drop(proof.remove(at)),
        2 => proof.insert(at, leaf_hash(b"more")),
        _ => proof.push(empty_root()),
    }
    proof
}

proptest! {
    #[test]
    fn proofs_of_large_trees_verify_on_both_sides_and_changed_ones_on_neither(
        size in 1..600_usize, first: usize, how in 0..4_u8, at: usize,
    ) {
        let (theirs, leaves) = oracle(size);
        let ours = Whole::of(&leaves);
        let node = |level, index| ours.node(level, index);
        let place = first % size;
        let (size, index) = (u64::try_from(size).unwrap(), u64::try_from(place).unwrap());
        let leaf = leaf_hash(&leaves[place]);

        let position = Position { index, size };
        let proof = inclusion_proof(position, node).unwrap();
        let their_root = root_of_theirs(ours.root(size), size);
        prop_assert_eq!(&their_root, &theirs.root());
        let their_proof = InclusionProof::from_bytes(bytes(&proof));
        prop_assert!(their_root.verify_inclusion(&leaves[place], index, &their_proof).is_ok());
        prop_assert!(verify_inclusion(position, leaf, &proof, ours.root(size)));
        prop_assert!(!verify_inclusion(position, leaf, &changed(&proof, how, at), ours.root(size)));
        prop_assert!(!verify_inclusion(position, leaf_hash(b"other"), &proof, ours.root(size)));
        prop_assert!(!verify_inclusion(position, leaf, &proof, leaf_hash(b"other")));
        let elsewhere = Position { index: (index + 1) % size, size };
        prop_assert!(size == 1 || !verify_inclusion(elsewhere, leaf, &proof, ours.root(size)));

        let growth = Growth { from: index + 1, to: size };
        let (from_root, to_root) = (ours.root(growth.from), ours.root(size));
        let proof = consistency_proof(growth, node).unwrap();
        let their_proof = ConsistencyProof::try_from_bytes(bytes(&proof)).unwrap();
        let their_old = root_of_theirs(from_root, growth.from);
        prop_assert!(their_root.verify_consistency(&their_old, &their_proof).is_ok());
        prop_assert!(verify_consistency(growth, from_root, to_root, &proof));
        prop_assert!(!verify_consistency(growth, from_root, to_root, &changed(&proof, how, at)));
        prop_assert!(!verify_consistency(growth, leaf_hash(b"other"), to_root, &proof));
        prop_assert!(!verify_consistency(growth, from_root, leaf_hash(b"other"), &proof));
    }

    #[test]
    fn the_verifiers_take_any_numbers(a: u64, b: u64, count in 0..70_usize) {
        let proof = vec![leaf_hash(b"x"); count];
        let (position, growth) = (Position { index: a, size: b }, Growth { from: a.max(1), to: b });
        prop_assert!(!verify_inclusion(position, leaf_hash(b"x"), &proof, empty_root()));
        prop_assert!(!verify_consistency(growth, leaf_hash(b"y"), empty_root(), &proof));
    }
}
