//! Tests of the tree's files: against a tree that is hashed anew, against `tlog_tiles`, and after damage and crashes.

use proptest::prelude::*;
use tlog_tiles::TileReader;

use super::*;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::tile::{Content, Tile};
use crate::tree::{leaf_hash, node_hash, verify_consistency, verify_inclusion};

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
}

/// The root by RFC 6962's own definition.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => super::super::empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(1 << (leaves.len() - 1).ilog2());
            node_hash(&root(left), &root(right))
        }
    }
}

fn known(leaves: &[Hash], sizes: &[usize]) -> Vec<Known> {
    sizes.iter().map(|size| Known { size: size::of(*size), root: root(&leaves[..*size]) }).collect()
}

fn made(disk: &SimDisk, leaves: &[Hash], piece: usize) -> TreeFile<SimDisk> {
    let mut tree = TreeFile::open(disk, &[], 0).unwrap();
    leaves.chunks(piece).for_each(|piece| tree.append(piece).unwrap());
    tree
}

fn raw(disk: &SimDisk) -> Vec<Vec<u8>> {
    (0..LEVELS).map(|level| disk.read_raw(&path(level))).collect()
}

#[test]
fn every_root_and_proof_is_that_of_the_definition() {
    let leaves = leaves(700);
    let tree = made(&SimDisk::new(1), &leaves, 97);
    let stored = tree.stored();
    let roots: Vec<_> = (0..=leaves.len()).map(|size| root(&leaves[..size])).collect();
    for (size, expected) in (0..).zip(&roots) {
        assert_eq!(stored.root(size).unwrap(), *expected, "{size}");
        for index in (0..size).step_by(37) {
            let position = Position { index, size };
            let found = stored.inclusion(position).unwrap();
            assert_eq!((found.leaf, found.root), (leaves[size::mem(index)], *expected));
            assert!(verify_inclusion(position, found.leaf, &found.path, *expected), "{position:?}");
        }
        for from in (0..=size).step_by(29) {
            let growth = Growth { from, to: size };
            let found = stored.consistency(growth).unwrap();
            assert_eq!((found.from_root, found.to_root), (roots[size::mem(from)], *expected));
            assert!(verify_consistency(growth, found.from_root, found.to_root, &found.proof), "{growth:?}");
        }
    }
    assert_eq!(tree.range().root(), roots[700]);
}

#[test]
fn a_tree_of_three_levels_is_read_back_from_its_files_whatever_the_pieces() {
    let leaves = leaves(66_000);
    let (one, other) = (SimDisk::new(1), SimDisk::new(2));
    let tree = made(&one, &leaves, 66_000);
    made(&other, &leaves, 1000);
    assert!(raw(&one) == raw(&other));
    let expected = root(&leaves);
    assert_eq!((tree.range().root(), tree.stored().root(66_000).unwrap()), (expected, expected));
    drop(tree);
    let mut tree = TreeFile::open(&one, &known(&leaves, &[500, 65_536, 65_999]), 66_000).unwrap();
    assert_eq!((tree.size(), tree.range().root()), (66_000, expected));
    tree.append(&leaves[..3]).unwrap();
    assert_eq!(tree.range().root(), root(&[&leaves[..], &leaves[..3]].concat()));
}

#[test]
fn what_lies_beyond_the_tree_is_named_and_no_number_is_too_large() {
    let tree = made(&SimDisk::new(1), &leaves(300), 300);
    let stored = tree.stored();
    for wanted in [301, u64::MAX] {
        let beyond = |found: Option<TreeError>| matches!(found, Some(TreeError::Beyond { size: 300, .. }));
        assert!(beyond(stored.root(wanted).err()));
        assert!(beyond(stored.inclusion(Position { index: 0, size: wanted }).err()));
        assert!(beyond(stored.inclusion(Position { index: wanted, size: 300 }).err().map(
            |error| match error {
                TreeError::Beyond { wanted, .. } => TreeError::Beyond { wanted, size: 300 },
                other => other,
            }
        )));
        assert!(beyond(stored.consistency(Growth { from: 0, to: wanted }).err()));
    }
    for (level, number, width) in [(0, 1, 45), (1, 0, 2), (2, 0, 1), (63, 0, 1), (0, (1 << 55) - 1, 256)] {
        assert!(
            matches!(stored.tile(level, number, width), Err(TreeError::Beyond { .. })),
            "{level} {number}"
        );
    }
    assert_eq!(stored.tile(0, 1, 44).unwrap().len(), 44);
}

#[test]
fn a_changed_byte_at_any_level_is_cut_off_or_found_when_it_is_read() {
    let leaves = leaves(66_000);
    let pristine = SimDisk::new(1);
    drop(made(&pristine, &leaves, 66_000));
    let sizes = [20_000, 40_000, 60_000];
    let roots = known(&leaves, &sizes);
    for (level, byte) in
        [(0, 0), (0, 39_990 * 32), (0, 41_000 * 32), (0, 65_999 * 32), (1, 0), (1, 257 * 32), (2, 5)]
    {
        let disk = pristine.fork();
        disk.flip_bit(&path(level), byte, 3);
        let mut tree = TreeFile::open(&disk, &roots, 66_000).unwrap();
        // The end is the caller's to compare.
        let same = tree.range().root() == root(&leaves[..size::mem(tree.size())]);
        assert_eq!(same, byte != 65_999 * 32, "level {level} byte {byte}");
        tree.repair(&roots).unwrap();
        tree.append(&leaves[size::mem(tree.size())..]).unwrap();
        assert!(raw(&disk) == raw(&pristine), "level {level} byte {byte}");
    }
}

#[test]
fn a_changed_leaf_is_found_by_its_tile_and_its_proof() {
    let disk = SimDisk::new(1);
    let tree = made(&disk, &leaves(1000), 1000);
    disk.flip_bit(&path(0), 300 * 32, 0);
    let stored = tree.stored();
    assert!(matches!(stored.tile(0, 1, 256), Err(TreeError::Changed { level: 0, number: 1 })));
    assert!(matches!(stored.tile(0, 1, 7), Err(TreeError::Changed { level: 0, number: 1 })));
    assert!(stored.tile(0, 0, 256).is_ok());
    let position = Position { index: 301, size: 1000 };
    assert!(matches!(stored.inclusion(position), Err(TreeError::Unsound { size: 1000 })));
    assert_eq!(stored.first_changed(0, 0, u64::MAX).unwrap(), Some(1));
}

#[test]
fn missing_files_and_foreign_bytes_are_made_again_equal() {
    let leaves = leaves(1500);
    let pristine = SimDisk::new(1);
    drop(made(&pristine, &leaves, 1500));
    for level in 0..3 {
        for len in [None, Some(0), Some(33), Some(10_000)] {
            let disk = pristine.fork();
            match len {
                None => disk.remove(&path(level)).unwrap(),
                Some(len) => disk.write_raw(&path(level), &vec![7; len]),
            }
            let roots = known(&leaves, &[700, 1400]);
            let mut tree = TreeFile::open(&disk, &roots, 1500).unwrap();
            if tree.range().root() != root(&leaves[..size::mem(tree.size())]) {
                tree.cut_to_known(&roots).unwrap();
            }
            tree.append(&leaves[size::mem(tree.size())..]).unwrap();
            assert!(raw(&disk) == raw(&pristine), "level {level} {len:?}");
        }
    }
}

#[test]
fn the_tree_never_reaches_beyond_the_log() {
    let disk = SimDisk::new(1);
    drop(made(&disk, &leaves(600), 600));
    let tree = TreeFile::open(&disk, &[], 511).unwrap();
    assert_eq!((tree.size(), tree.range().root()), (511, root(&leaves(511))));
    assert_eq!(disk.read_raw(&path(1)).len(), 32);
}

/// The tree of another log, as it is after a restore over an old directory.
#[test]
fn the_tree_of_another_log_is_cut_back_to_what_both_have() {
    let leaves = leaves(1000);
    let mut others = leaves.clone();
    others[600..].fill(leaf_hash(b"other"));
    let disk = SimDisk::new(1);
    drop(made(&disk, &others, 1000));
    let tree = TreeFile::open(&disk, &known(&leaves, &[256, 512, 700, 999]), 1000).unwrap();
    assert_eq!((tree.size(), tree.range().root()), (512, root(&leaves[..512])));
}

/// What a client of tlog-tiles knows of the log: its tiles.
struct Served(StoredTree<<SimDisk as Disk>::File>);

impl TileReader for Served {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &tlog_tiles::Tile| {
            let path = tile.path();
            let ours = Tile::parse(path.strip_prefix("tile/8/").unwrap()).unwrap();
            let Content::Hashes { level } = ours.content() else { panic!("only hashes are asked for") };
            let hashes = self.0.tile(level, ours.number(), ours.width()).unwrap();
            hashes.iter().flat_map(|hash| hash.0).collect()
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

#[test]
fn a_client_of_tlog_tiles_makes_its_own_proofs_from_our_tiles_and_ours_are_the_same() {
    let leaves = leaves(70_000);
    let tree = made(&SimDisk::new(1), &leaves, 70_000);
    let served = Served(tree.stored());
    for size in [1, 255, 256, 257, 65_536, 65_537, 70_000] {
        let root = tlog_tiles::Hash(served.0.root(size).unwrap().0);
        let client = tlog_tiles::TileHashReader::new(size, root, &served);
        for index in [0, size / 2, size - 1] {
            let theirs = tlog_tiles::prove_record(size, index, &client).unwrap();
            let ours = served.0.inclusion(Position { index, size }).unwrap();
            assert_eq!(
                theirs.iter().map(|h| h.0).collect::<Vec<_>>(),
                ours.path.iter().map(|h| h.0).collect::<Vec<_>>()
            );
            tlog_tiles::check_record(&theirs, size, root, index, tlog_tiles::Hash(ours.leaf.0)).unwrap();
            let wrong = tlog_tiles::Hash(leaf_hash(b"wrong").0);
            assert!(tlog_tiles::check_record(&theirs, size, root, index, wrong).is_err());
        }
        let from = size.div_ceil(2);
        let theirs = tlog_tiles::prove_tree(size, from, &client).unwrap();
        let ours = served.0.consistency(Growth { from, to: size }).unwrap();
        assert_eq!(
            theirs.iter().map(|h| h.0).collect::<Vec<_>>(),
            ours.proof.iter().map(|h| h.0).collect::<Vec<_>>()
        );
    }
    let wrong = tlog_tiles::Hash(leaf_hash(b"wrong").0);
    let client = tlog_tiles::TileHashReader::new(70_000, wrong, &served);
    assert!(tlog_tiles::prove_record(70_000, 5, &client).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever a power cut leaves of the files, what the tree is after opening, and after one comparison with a root
    /// that is known, is the beginning of the log's tree.
    #[test]
    fn a_power_cut_at_any_moment_leaves_a_tree_that_is_made_again_equal(
        seed: u64, pieces in prop::collection::vec((1..900_usize, any::<bool>()), 1..12),
    ) {
        let total: usize = pieces.iter().map(|(len, _)| len).sum();
        let leaves = leaves(size::of(total));
        let disk = SimDisk::new(seed);
        let mut tree = TreeFile::open(&disk, &[], 0).unwrap();
        disk.sync_dir("").unwrap();
        disk.sync_dir(DIR).unwrap();
        let (mut at, mut seals) = (0, Vec::new());
        for (len, sync) in &pieces {
            tree.append(&leaves[at..at + len]).unwrap();
            at += len;
            if *sync {
                tree.sync().unwrap();
                seals.push(at);
            }
        }
        drop(tree);
        disk.power_cut(seed);
        let roots = known(&leaves, &seals);
        let mut tree = TreeFile::open(&disk, &roots, size::of(total)).unwrap();
        // At most the tile is lost that was not full at the last sync.
        prop_assert!(tree.size() + WIDTH > size::of(seals.last().copied().unwrap_or(0)));
        if tree.range().root() != root(&leaves[..size::mem(tree.size())]) {
            tree.cut_to_known(&roots).unwrap();
        }
        tree.append(&leaves[size::mem(tree.size())..]).unwrap();
        let fresh = SimDisk::new(0);
        drop(made(&fresh, &leaves, 1000));
        prop_assert!(raw(&disk) == raw(&fresh));
    }
}
