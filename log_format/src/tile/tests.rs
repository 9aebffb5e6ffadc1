//! Tests of tiles' names and of bundles, against the crate `tlog_tiles`, which names the height as well.

use proptest::prelude::*;

use super::*;

fn theirs(tile: &Tile) -> String {
    let (level, is_data) = match tile.content() {
        Content::Hashes { level } => (u8::try_from(level).unwrap(), false),
        Content::Entries => (0, true),
    };
    let width = u32::try_from(tile.width()).unwrap();
    let path = tlog_tiles::Tile::new(8, level, tile.number(), width, is_data).path();
    path.strip_prefix("tile/8/").unwrap().replace("data", "entries")
}

#[test]
fn paths_are_those_of_the_specification() {
    check("4/x001/x234/067", Content::Hashes { level: 4 }, 1_234_067, 256);
    check("0/000", Content::Hashes { level: 0 }, 0, 256);
    check("63/999.p/255", Content::Hashes { level: 63 }, 999, 255);
    check("entries/x001/000.p/1", Content::Entries, 1000, 1);
}

#[track_caller]
fn check(path: &str, content: Content, number: u64, width: u64) {
    let tile = Tile::new(content, number, width).unwrap();
    assert_eq!(tile.to_string(), path);
    assert_eq!(Tile::parse(path), Some(tile));
}

#[test]
fn a_tile_has_no_second_spelling() {
    let refused = [
        "",
        "0",
        "0/",
        "0/0",
        "0/00",
        "0/0000",
        "0/x000/001",
        "0/001/002",
        "0/x001",
        "0/x1/000",
        "00/000",
        "64/000",
        "-1/000",
        "+0/000",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/01",
        "0/000.p/",
        "0/000.p",
        "0/000/",
        "0//000",
        "0/x001/x000",
        "data/000",
        "Entries/000",
        "entries/000.p/1.p/1",
        "0/x999/x999/x999/x999/x999/x999/999",
        "0/٠٠٠",
    ];
    for path in refused {
        assert_eq!(Tile::parse(path), None, "{path}");
    }
    assert_eq!(Tile::new(Content::Entries, 0, 0), None);
    assert_eq!(Tile::new(Content::Entries, 0, 257), None);
}

#[test]
fn a_tree_consists_of_the_tiles_of_the_specification() {
    let tiles: Vec<_> = Tile::of_tree(70_000).collect();
    let hashes = |level, full| {
        tiles.iter().filter(|t| t.content() == Content::Hashes { level } && t.is_full() == full).count()
    };
    assert_eq!((hashes(0, true), hashes(1, true), hashes(2, true)), (273, 1, 0));
    let partial: Vec<_> = tiles.iter().filter(|tile| !tile.is_full()).map(Tile::to_string).collect();
    assert_eq!(partial, ["0/273.p/112", "1/001.p/17", "2/000.p/1", "entries/273.p/112"]);
    assert!(tiles.iter().all(|tile| tile.is_within(70_000)));
    assert!(partial.iter().all(|path| !Tile::parse(path).unwrap().is_within(65_535)));
    assert_eq!(Tile::of_tree(0).count(), 0);
}

#[test]
fn the_tiles_of_every_tree_are_theirs() {
    for leaves in (1..600).chain([65_535, 65_536, 65_537, 1 << 24]) {
        let mut ours: Vec<_> = Tile::of_tree(leaves)
            .filter(|t| t.content() != Content::Entries)
            .map(|t| t.to_string())
            .collect();
        let their = tlog_tiles::Tile::new_tiles(8, 0, leaves);
        let mut their: Vec<_> =
            their.iter().map(|t| t.path().strip_prefix("tile/8/").unwrap().to_owned()).collect();
        ours.sort();
        their.sort();
        assert_eq!(ours, their, "{leaves}");
    }
}

proptest! {
    #[test]
    fn paths_read_back_and_are_theirs(level in 0..64_u32, entries: bool, number in 0..1_u64 << 55, width in 1..=256_u64) {
        let content = if entries { Content::Entries } else { Content::Hashes { level } };
        let tile = Tile::new(content, number, width).unwrap();
        prop_assert_eq!(Tile::parse(&tile.to_string()), Some(tile));
        prop_assert_eq!(tile.to_string(), theirs(&tile));
    }

    #[test]
    fn any_path_is_refused_or_the_tiles_own(path in "(0|1|01|entries)/(x0?[0-9]{2}/){0,3}[0-9]{2,4}(\\.p/[0-9]{1,3})?") {
        if let Some(tile) = Tile::parse(&path) {
            prop_assert_eq!(tile.to_string(), path);
        }
    }

    #[test]
    fn bundles_read_back(of in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20), cut: prop::sample::Index) {
        let mut bundle = Vec::new();
        for entry in &of {
            prop_assert!(push_entry(&mut bundle, entry));
        }
        prop_assert_eq!(entries(&bundle), Some(of.iter().map(Vec::as_slice).collect()));
        if !bundle.is_empty() {
            let part = entries(&bundle[..cut.index(bundle.len())]);
            prop_assert!(part.is_none_or(|part| part.len() < of.len()));
        }
    }
}

#[test]
fn an_entry_of_65_536_bytes_does_not_fit() {
    let mut bundle = Vec::new();
    assert!(!push_entry(&mut bundle, &vec![0; 65_536]) && bundle.is_empty());
    assert!(push_entry(&mut bundle, &vec![0; 65_000]));
}
