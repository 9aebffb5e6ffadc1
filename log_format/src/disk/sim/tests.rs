//! What the simulated disk loses, and what it never loses. Random tests run over a range of seeds and name the one
//! that failed.

use std::collections::BTreeSet;
use std::io;

use super::*;

const SEEDS: u64 = 300;

/// A disk with the durable file `a`, which holds `bytes`, open.
fn with_file(bytes: &[u8]) -> (SimDisk, SimFile) {
    let disk = SimDisk::new(7);
    disk.write_raw("a", bytes);
    let file = disk.open("a").unwrap();
    (disk, file)
}

/// Every content that file `a` has after power cuts of forks of `disk`; `None` is its absence.
fn outcomes(disk: &SimDisk) -> BTreeSet<Option<Vec<u8>>> {
    (0..SEEDS).map(|seed| outcome(disk, "a", seed)).collect()
}

fn outcome(disk: &SimDisk, name: &str, seed: u64) -> Option<Vec<u8>> {
    let disk = disk.fork();
    disk.power_cut(seed);
    let there = disk.open_read(name).is_ok();
    there
        .then(|| disk.read_raw(name))
        .inspect(|bytes| assert_eq!(*bytes, disk.durable_raw(name), "seed {seed}"))
}

/// Every list of file names in `dir` after power cuts of forks of `disk`.
fn listings(disk: &SimDisk, dir: &str) -> BTreeSet<Vec<String>> {
    let after = |seed| {
        let disk = disk.fork();
        disk.power_cut(seed);
        disk.names(dir)
    };
    (0..SEEDS).map(after).collect()
}

fn lists<const N: usize>(expected: [&[&str]; N]) -> BTreeSet<Vec<String>> {
    expected.iter().map(|names| names.iter().map(|name| (*name).to_owned()).collect()).collect()
}

fn some<const N: usize>(expected: [Vec<u8>; N]) -> BTreeSet<Option<Vec<u8>>> {
    expected.into_iter().map(Some).collect()
}

#[track_caller]
fn is_gone<T>(result: io::Result<T>) {
    let error = result.map(drop).unwrap_err();
    assert!(ProcessGone::is_cause_of(&error), "{error}");
}

#[track_caller]
fn is_errno<T>(result: io::Result<T>, errno: rustix::io::Errno) {
    assert_eq!(result.map(drop).unwrap_err().raw_os_error(), Some(errno.raw_os_error()));
}

#[test]
fn an_unsynced_write_may_be_lost_or_kept() {
    let (disk, file) = with_file(b"old");
    file.write_at(b"new", 0).unwrap();
    assert_eq!(disk.durable_raw("a"), b"old");
    assert_eq!(outcomes(&disk), some([b"old".to_vec(), b"new".to_vec()]));
}

#[test]
fn an_unsynced_write_is_torn_at_sectors_in_any_order() {
    let (disk, file) = with_file(&[0; 1_536]);
    file.write_at(&[1; 1_536], 0).unwrap();
    let sectors = |bits: u8| (0..3).flat_map(|i| [bits >> i & 1; 512]).collect::<Vec<u8>>();
    assert_eq!(outcomes(&disk), (0..8).map(|bits| Some(sectors(bits))).collect());
}

#[test]
fn a_sector_may_keep_any_content_it_had_since_the_last_sync() {
    let (disk, file) = with_file(b"0");
    for version in [b"1", b"2", b"3"] {
        file.write_at(version, 0).unwrap();
    }
    assert_eq!(outcomes(&disk), [b"0", b"1", b"2", b"3"].map(|byte| Some(byte.to_vec())).into());
    file.sync().unwrap();
    assert_eq!(outcomes(&disk), some([b"3".to_vec()]));
}

#[test]
fn what_was_synced_is_never_lost() {
    let (disk, file) = with_file(b"");
    file.write_at(&[5; 3_000], 0).unwrap();
    file.sync().unwrap();
    file.write_at(&[6; 1_000], 3_000).unwrap();
    for seed in 0..SEEDS {
        let bytes = outcome(&disk, "a", seed).unwrap();
        assert_eq!(bytes[..3_000], [5; 3_000], "seed {seed}");
        assert!(bytes[3_000..].iter().all(|byte| matches!(byte, 0 | 6)), "seed {seed}");
    }
}

#[test]
fn an_unsynced_extension_may_leave_any_length_on_its_way_over_zeroes() {
    let (disk, file) = with_file(&[]);
    file.write_at(&[1; 1_100], 0).unwrap();
    let outcomes = outcomes(&disk);
    let lengths: BTreeSet<usize> = outcomes.iter().flatten().map(Vec::len).collect();
    assert_eq!(lengths, [0, 512, 1_024, 1_100].into());
    assert!(outcomes.contains(&Some(vec![0; 1_100])));
    assert!(outcomes.contains(&Some(vec![1; 1_100])));
    assert!(outcomes.contains(&Some([vec![0; 512], vec![1; 512]].concat())));
}

#[test]
fn an_unsynced_truncation_may_be_forgotten() {
    let (disk, file) = with_file(&[9; 2_000]);
    file.set_len(512).unwrap();
    assert_eq!(disk.read_raw("a"), [9; 512]);
    assert_eq!(outcomes(&disk), some([vec![9; 512], vec![9; 2_000]]));
    file.sync().unwrap();
    assert_eq!(outcomes(&disk), some([vec![9; 512]]));
}

#[test]
fn a_file_that_was_cut_and_grew_again_holds_zeroes_once_synced() {
    let (disk, file) = with_file(&[9; 2_000]);
    file.set_len(100).unwrap();
    file.set_len(2_000).unwrap();
    let zeroed = [vec![9; 100], vec![0; 1_900]].concat();
    assert!(outcomes(&disk).is_superset(&some([vec![9; 2_000], zeroed.clone()])));
    // Also where the sectors of zeroes are lost: that the old bytes are gone is in the file system's journal.
    disk.fail_at(disk.op_count(), Fault::EioCleanPages);
    assert!(file.sync().is_err());
    file.sync().unwrap();
    assert_eq!(outcomes(&disk), some([zeroed]));
}

#[test]
fn an_appended_and_cut_tail_may_come_back() {
    let (disk, file) = with_file(&[1; 512]);
    file.write_at(&[2; 512], 512).unwrap();
    file.set_len(512).unwrap();
    let outcomes = outcomes(&disk);
    assert!(outcomes.contains(&Some([[1; 512], [2; 512]].concat())));
    assert!(outcomes.contains(&Some(vec![1; 512])));
}

#[test]
fn a_failed_sync_may_mark_pages_clean_so_that_the_next_one_lies() {
    let (disk, file) = with_file(&[0; 1_024]);
    let other = disk.open("a").unwrap();
    file.write_at(&[1; 1_024], 0).unwrap();
    disk.fail_at(disk.op_count(), Fault::EioCleanPages);
    is_errno(file.sync(), rustix::io::Errno::IO);
    file.sync().unwrap();
    assert_eq!(disk.read_raw("a"), [1; 1_024]);
    let lost = disk.durable_raw("a");
    assert_eq!(outcomes(&disk), some([lost]));
    // Another descriptor hears of it once; one opened later does not.
    is_errno(other.sync(), rustix::io::Errno::IO);
    other.sync().unwrap();
    disk.open("a").unwrap().sync().unwrap();
}

#[test]
fn a_lying_sync_loses_different_sectors_under_different_seeds() {
    let platter = |seed| {
        let disk = SimDisk::new(seed);
        disk.write_raw("a", &[0; 1_024]);
        let file = disk.open("a").unwrap();
        file.write_at(&[1; 1_024], 0).unwrap();
        disk.fail_at(disk.op_count(), Fault::EioCleanPages);
        assert!(file.sync().is_err());
        let platter = disk.durable_raw("a");
        file.sync().unwrap();
        assert_eq!(disk.durable_raw("a"), platter, "seed {seed}");
        platter
    };
    assert_eq!((0..SEEDS).map(platter).collect::<BTreeSet<_>>().len(), 4);
}

#[test]
fn lost_pages_written_again_with_the_same_bytes_are_durable_after_a_sync() {
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed);
        disk.write_raw("a", b"");
        let file = disk.open("a").unwrap();
        file.write_at(&[1; 2_000], 0).unwrap();
        disk.fail_at(disk.op_count(), Fault::EioCleanPages);
        assert!(file.sync().is_err());
        disk.process_crash();
        let file = disk.open("a").unwrap();
        file.write_at(&[1; 2_000], 0).unwrap();
        file.sync().unwrap();
        assert_eq!(outcome(&disk, "a", seed).unwrap(), [1; 2_000], "seed {seed}");
    }
}

#[test]
fn a_writeback_that_fails_unseen_is_reported_once_to_each_descriptor() {
    let (disk, writer) = with_file(&[0; 512]);
    let filler = disk.open("a").unwrap();
    disk.fail_at(disk.op_count(), Fault::EioCleanPages);
    writer.write_at(&[1; 512], 0).unwrap();
    is_errno(filler.sync(), rustix::io::Errno::IO);
    is_errno(writer.sync(), rustix::io::Errno::IO);
    filler.sync().unwrap();
    writer.sync().unwrap();
}

#[test]
fn a_process_crash_keeps_the_cache_and_ends_handles_and_locks() {
    let (disk, file) = with_file(b"old");
    let lock = disk.lock("LOCK").unwrap();
    file.write_at(b"new", 0).unwrap();
    disk.process_crash();
    is_gone(file.len());
    is_gone(file.sync());
    is_gone(file.read_at(&mut [0], 0));
    assert_eq!(disk.read_raw("a"), b"new");
    assert_eq!(disk.durable_raw("a"), b"old");
    let second = disk.lock("LOCK").unwrap();
    drop(lock);
    assert!(disk.is_locked("LOCK").unwrap());
    drop(second);
    // The new process reads what was never durable, and a power cut may still take it.
    assert_eq!(outcomes(&disk), some([b"old".to_vec(), b"new".to_vec()]));
    disk.open("a").unwrap().sync().unwrap();
    assert_eq!(outcomes(&disk), some([b"new".to_vec()]));
}

#[test]
fn a_power_cut_ends_handles_and_locks() {
    let (disk, file) = with_file(b"old");
    let _lock = disk.lock("LOCK").unwrap();
    disk.power_cut(1);
    is_gone(file.len());
    disk.lock("LOCK").unwrap();
}

#[test]
fn a_new_file_is_lost_or_kept_until_its_directory_is_synced() {
    let disk = SimDisk::new(7);
    let file = disk.create_new("a").unwrap();
    file.write_at(b"x", 0).unwrap();
    file.sync().unwrap();
    assert_eq!(outcomes(&disk), [None, Some(b"x".to_vec())].into());
    disk.sync_dir("").unwrap();
    assert_eq!(outcomes(&disk), some([b"x".to_vec()]));
}

#[test]
fn a_rename_without_a_directory_sync_may_be_forgotten_but_is_atomic() {
    let (disk, _) = with_file(b"old");
    disk.write_raw("tmp", b"new");
    disk.rename("tmp", "a").unwrap();
    assert_eq!(outcomes(&disk), some([b"old".to_vec(), b"new".to_vec()]));
    assert_eq!(listings(&disk, ""), lists([&["a"], &["a", "tmp"]]));
    for seed in 0..SEEDS {
        let forgotten = outcome(&disk, "tmp", seed).is_some();
        assert_eq!(outcome(&disk, "a", seed).unwrap() == b"old", forgotten, "seed {seed}");
    }
    disk.sync_dir("").unwrap();
    assert_eq!(outcomes(&disk), some([b"new".to_vec()]));
    assert_eq!(disk.durable_names(""), ["a"]);
}

#[test]
fn a_rename_between_directories_needs_a_sync_of_both() {
    let disk = SimDisk::new(7);
    disk.write_raw("from/x", b"x");
    disk.write_raw("to/y", b"y");
    disk.rename("from/x", "to/x").unwrap();
    disk.sync_dir("to").unwrap();
    assert_eq!(listings(&disk, "to"), lists([&["y"], &["x", "y"]]));
    for seed in 0..SEEDS {
        let places = [outcome(&disk, "from/x", seed), outcome(&disk, "to/x", seed)];
        assert_eq!(places.iter().flatten().count(), 1, "seed {seed}");
    }
    disk.sync_dir("from").unwrap();
    assert_eq!(listings(&disk, "to"), lists([&["x", "y"]]));
}

#[test]
fn a_removal_without_a_directory_sync_may_be_forgotten() {
    let (disk, _) = with_file(b"x");
    disk.remove("a").unwrap();
    assert_eq!(outcomes(&disk), [None, Some(b"x".to_vec())].into());
    disk.sync_dir("").unwrap();
    assert_eq!(outcomes(&disk), [None].into());
}

#[test]
fn changes_of_a_directory_are_lost_in_any_combination_but_in_order_for_one_name() {
    let disk = SimDisk::new(7);
    disk.create_new("a").unwrap();
    disk.create_new("b").unwrap();
    disk.rename("a", "c").unwrap();
    let expected = lists([&[], &["a"], &["b"], &["a", "b"], &["c"], &["b", "c"]]);
    assert_eq!(listings(&disk, ""), expected);
}

#[test]
fn a_renamed_file_survives_a_new_one_under_its_old_name() {
    let (disk, _) = with_file(b"bytes");
    disk.rename("a", "b").unwrap();
    disk.create_new("a").unwrap();
    for seed in 0..SEEDS {
        let found = [outcome(&disk, "a", seed), outcome(&disk, "b", seed)];
        assert!(found.contains(&Some(b"bytes".to_vec())), "seed {seed}");
    }
}

#[test]
fn a_lost_directory_takes_its_files_along() {
    let disk = SimDisk::new(7);
    disk.create_dir("log/deep").unwrap();
    disk.create_new("log/deep/a").unwrap();
    disk.sync_dir("log/deep").unwrap();
    disk.sync_dir("log").unwrap();
    assert_eq!(listings(&disk, "log/deep"), lists([&[], &["a"]]));
    disk.sync_dir("").unwrap();
    assert_eq!(listings(&disk, "log/deep"), lists([&["a"]]));
}

#[test]
fn a_directory_sync_persists_what_its_changes_follow_from() {
    let disk = SimDisk::new(7);
    disk.write_raw("one/x", b"first");
    disk.write_raw("two/y", b"y");
    disk.rename("one/x", "two/x").unwrap();
    disk.create_new("one/x").unwrap();
    disk.sync_dir("one").unwrap();
    for seed in 0..SEEDS {
        assert_eq!(outcome(&disk, "two/x", seed).unwrap(), b"first", "seed {seed}");
        assert_eq!(outcome(&disk, "one/x", seed).unwrap(), b"", "seed {seed}");
    }
}

#[test]
fn a_directory_sync_that_fails_persists_some_changes_and_keeps_the_rest_pending() {
    let disk = SimDisk::new(7);
    for name in ["a", "b", "c", "d", "e", "f"] {
        disk.create_new(name).unwrap();
    }
    disk.fail_at(disk.op_count(), Fault::EioCleanPages);
    is_errno(disk.sync_dir(""), rustix::io::Errno::IO);
    assert!(disk.durable_names("").len() < 6);
    disk.sync_dir("").unwrap();
    assert_eq!(disk.durable_names("").len(), 6);
}

#[test]
fn a_crash_before_a_call_leaves_no_effect_and_after_it_the_whole() {
    for (fault, expected) in [(Fault::CrashBefore, b"old"), (Fault::CrashAfter, b"new")] {
        let (disk, file) = with_file(b"old");
        disk.fail_at(disk.op_count(), fault);
        is_gone(file.write_at(b"new", 0));
        assert!(disk.is_crashed());
        assert_eq!(disk.read_raw("a"), expected);

        let (disk, file) = with_file(b"old");
        file.write_at(b"new", 0).unwrap();
        disk.fail_at(disk.op_count(), fault);
        is_gone(file.sync());
        assert_eq!(disk.durable_raw("a"), expected);

        let (disk, _) = with_file(b"old");
        disk.fail_at(disk.op_count(), fault);
        is_gone(disk.rename("a", "b"));
        assert_eq!(disk.names(""), [if fault == Fault::CrashBefore { "a" } else { "b" }]);
    }
}

#[test]
fn a_crash_within_a_write_leaves_a_part_of_it_in_the_cache() {
    let content = |seed| {
        let disk = SimDisk::new(seed);
        let file = disk.create_new("a").unwrap();
        disk.fail_at(disk.op_count(), Fault::CrashWithin);
        is_gone(file.write_at(&[1; 1_000], 100));
        disk.read_raw("a").len()
    };
    assert_eq!((0..SEEDS).map(content).collect::<BTreeSet<_>>(), [0, 512, 1_024].into());
}

#[test]
fn a_crash_within_a_sync_leaves_some_sectors_on_the_platter() {
    let platter = |seed| {
        let disk = SimDisk::new(seed);
        disk.write_raw("a", &[0; 1_024]);
        let file = disk.open("a").unwrap();
        file.write_at(&[1; 1_024], 0).unwrap();
        disk.fail_at(disk.op_count(), Fault::CrashWithin);
        is_gone(file.sync());
        disk.durable_raw("a")
    };
    assert_eq!((0..SEEDS).map(platter).collect::<BTreeSet<_>>().len(), 4);
}

#[test]
fn after_a_crash_every_call_says_that_the_process_is_gone_and_counts_nothing() {
    let (disk, file) = with_file(b"x");
    let lock = disk.lock("LOCK").unwrap();
    disk.fail_at(disk.op_count(), Fault::CrashBefore);
    is_gone(disk.create_dir("log"));
    let count = disk.op_count();
    is_gone(disk.create_dir("log"));
    is_gone(disk.create_new("b"));
    is_gone(disk.open("a"));
    is_gone(disk.open_read("a"));
    is_gone(disk.list(""));
    is_gone(disk.rename("a", "b"));
    is_gone(disk.remove("a"));
    is_gone(disk.sync_dir(""));
    is_gone(disk.lock("OTHER"));
    is_gone(disk.is_locked("LOCK"));
    is_gone(file.read_at(&mut [0], 0));
    is_gone(file.write_at(b"y", 0));
    is_gone(file.set_len(0));
    is_gone(file.sync());
    is_gone(file.len());
    drop(lock);
    assert_eq!(disk.op_count(), count);
    assert_eq!(disk.read_raw("a"), b"x");
    disk.process_crash();
    disk.create_dir("log").unwrap();
}

#[test]
fn eio_and_enospc_strike_the_ordered_call_once() {
    for (fault, errno) in [(Fault::Eio, rustix::io::Errno::IO), (Fault::Enospc, rustix::io::Errno::NOSPC)] {
        let (disk, file) = with_file(b"old");
        disk.fail_at(disk.op_count() + 1, fault);
        file.write_at(b"new", 0).unwrap();
        is_errno(file.sync(), errno);
        assert_eq!(disk.durable_raw("a"), b"old");
        file.sync().unwrap();
        assert_eq!(disk.durable_raw("a"), b"new");
        disk.fail_at(disk.op_count(), fault);
        is_errno(file.set_len(0), errno);
        disk.fail_at(disk.op_count(), fault);
        is_errno(disk.remove("a"), errno);
        assert_eq!(disk.read_raw("a"), b"new");
        disk.fail_at(disk.op_count(), fault);
        is_errno(file.write_at(&[1; 600], 0), errno);
        disk.fail_at(disk.op_count(), fault);
        disk.clear_faults();
        disk.remove("a").unwrap();
    }
}

#[test]
fn a_full_disk_refuses_growth_and_takes_overwrites() {
    let (disk, file) = with_file(&[1; 600]);
    disk.set_capacity(Some(1_000));
    file.write_at(&[2; 600], 0).unwrap();
    is_errno(file.write_at(&[3; 600], 600), rustix::io::Errno::NOSPC);
    assert_eq!(disk.read_raw("a"), [vec![2; 600], vec![3; 400]].concat());
    is_errno(file.set_len(1_001), rustix::io::Errno::NOSPC);
    let other = disk.create_new("b").unwrap();
    is_errno(other.write_at(b"x", 0), rustix::io::Errno::NOSPC);
    assert!(other.is_empty().unwrap());
    disk.remove("a").unwrap();
    other.write_at(b"x", 0).unwrap();
    disk.set_capacity(None);
    other.write_at(&[4; 5_000], 0).unwrap();
}

#[test]
fn reads_fail_where_they_are_told_to() {
    let (disk, file) = with_file(b"x");
    disk.fail_reads("a", true);
    is_errno(file.read_at(&mut [0], 0), rustix::io::Errno::IO);
    disk.power_cut(3);
    is_errno(disk.open_read("a").unwrap().read_at(&mut [0], 0), rustix::io::Errno::IO);
    disk.fail_reads("a", false);
    assert_eq!(disk.open_read("a").unwrap().read_at(&mut [0], 0).unwrap(), 1);
}

#[test]
fn a_fork_and_its_origin_go_separate_ways() {
    let (disk, file) = with_file(&[1; 2_000]);
    file.write_at(&[2; 10], 0).unwrap();
    let _lock = disk.lock("LOCK").unwrap();
    let fork = disk.fork();
    assert_eq!(fork.op_count(), disk.op_count());
    let _other = fork.lock("LOCK").unwrap();
    fork.open("a").unwrap().write_at(&[3; 10], 0).unwrap();
    file.write_at(&[4; 10], 1_000).unwrap();
    assert_eq!(disk.read_raw("a"), [vec![2; 10], vec![1; 990], vec![4; 10], vec![1; 990]].concat());
    assert_eq!(fork.read_raw("a"), [vec![3; 10], vec![1; 1_990]].concat());
    fork.power_cut(5);
    file.sync().unwrap();
}

#[test]
fn the_same_seeds_and_calls_give_the_same_disk() {
    let run = |seed| {
        let disk = SimDisk::new(seed);
        let file = disk.create_new("a").unwrap();
        file.write_at(&[1; 9_000], 0).unwrap();
        disk.fail_at(disk.op_count(), Fault::EioCleanPages);
        assert!(file.sync().is_err());
        file.write_at(&[2; 9_000], 4_000).unwrap();
        disk.power_cut(seed + 1);
        disk.names("").first().map(|name| disk.read_raw(name))
    };
    (0..SEEDS).for_each(|seed| assert_eq!(run(seed), run(seed), "seed {seed}"));
}

#[test]
fn raw_changes_are_on_the_platter_and_in_the_cache() {
    let (disk, file) = with_file(&[0; 600]);
    disk.flip_bit("a", 599, 7);
    disk.flip_bit("a", 600, 7);
    assert_eq!(disk.durable_raw("a")[599], 0x80);
    let mut byte = [0];
    file.read_at(&mut byte, 599).unwrap();
    assert_eq!(byte, [0x80]);
    disk.truncate_raw("a", 10);
    assert_eq!(outcomes(&disk), some([vec![0; 10]]));
    disk.write_raw("new/b", b"b");
    assert_eq!(listings(&disk, "new"), lists([&["b"]]));
}

#[test]
fn raw_bytes_win_over_a_pending_creation() {
    let disk = SimDisk::new(7);
    disk.create_new("a").unwrap();
    disk.write_raw("a", b"raw");
    disk.sync_dir("").unwrap();
    assert_eq!(outcomes(&disk), some([b"raw".to_vec()]));
}

#[test]
fn the_trace_names_each_mutating_call_with_its_number() {
    let (disk, file) = with_file(b"");
    file.sync().unwrap();
    assert_eq!(disk.trace(), []);
    disk.set_trace(true);
    file.write_at(b"xyz", 9).unwrap();
    disk.rename("a", "b").unwrap();
    disk.open("b").unwrap();
    disk.sync_dir("").unwrap();
    let (name, from, to) = ("a".to_owned(), "a".to_owned(), "b".to_owned());
    let expected = [
        (1, Op::Write { name, offset: 9, len: 3 }),
        (2, Op::Rename { from, to }),
        (3, Op::SyncDir { dir: String::new() }),
    ];
    assert_eq!(disk.trace(), expected);
    assert_eq!(disk.op_count(), 4);
}

/// Writes, cuts, extensions and syncs at random places, against plain vectors.
#[test]
fn a_random_history_reads_back_and_a_power_cut_leaves_only_bytes_that_once_were() {
    for seed in 0..SEEDS {
        let (disk, file) = with_file(b"");
        let mut rng = rng::Rng::new(seed);
        // The contents since the last sync, the first of them durable.
        let mut history = vec![Vec::new()];
        for step in 0..40_u8 {
            let mut bytes = history.last().unwrap().clone();
            let at = image::position(rng.below(3_000));
            match rng.below(8) {
                0 => {
                    file.sync().unwrap();
                    history.clear();
                    assert_eq!(disk.durable_raw("a"), bytes, "seed {seed}, step {step}");
                }
                1 => {
                    file.set_len(image::size(at)).unwrap();
                    bytes.resize(at, 0);
                }
                _ => {
                    let piece = vec![step + 1; image::position(rng.below(1_500)) + 1];
                    file.write_at(&piece, image::size(at)).unwrap();
                    bytes.resize(bytes.len().max(at + piece.len()), 0);
                    bytes[at..at + piece.len()].copy_from_slice(&piece);
                }
            }
            assert_eq!(disk.read_raw("a"), bytes, "seed {seed}, step {step}");
            history.push(bytes);
            let fork = disk.fork();
            fork.power_cut(seed * 1_000 + u64::from(step));
            for (place, byte) in fork.read_raw("a").into_iter().enumerate() {
                let once = byte == 0 || history.iter().any(|bytes| bytes.get(place) == Some(&byte));
                assert!(once, "seed {seed}, step {step}: byte {place} is {byte}");
            }
        }
    }
}
