//! What every disk does while nothing fails: the same checks for the operating system and for the disk in memory.

use std::io::ErrorKind;

use super::real::RealDisk;
use super::sim::SimDisk;
use super::{Disk, File};

/// Runs `check` on an empty disk of each sort.
macro_rules! on_both_disks {
    ($($(#[$attribute:meta])* fn $name:ident($disk:ident: &impl Disk) $body:block)*) => {
        $(
            #[test]
            $(#[$attribute])*
            fn $name() {
                fn check($disk: &impl Disk) $body
                let root = tempfile::tempdir().unwrap();
                check(&RealDisk::new(root.path()));
                check(&SimDisk::new(1));
            }
        )*
    };
}

#[track_caller]
fn fails<T>(result: std::io::Result<T>, kind: ErrorKind) {
    assert_eq!(result.map(drop).unwrap_err().kind(), kind);
}

fn content(disk: &impl Disk, name: &str) -> Vec<u8> {
    let file = disk.open_read(name).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap() + 10];
    let count = file.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(count);
    bytes
}

fn put(disk: &impl Disk, name: &str, bytes: &[u8]) {
    disk.create_new(name).unwrap().write_at(bytes, 0).unwrap();
}

on_both_disks! {
    fn bytes_are_read_where_they_were_written(disk: &impl Disk) {
        let file = disk.create_new("a").unwrap();
        assert!(file.is_empty().unwrap());
        let bytes: Vec<u8> = (0..3_000).map(|i| u8::try_from(i % 251).unwrap()).collect();
        file.write_at(&bytes, 700).unwrap();
        file.write_at(b"over", 1_022).unwrap();
        assert_eq!(file.len().unwrap(), 3_700);
        let mut expected = [vec![0; 700], bytes].concat();
        expected[1_022..1_026].copy_from_slice(b"over");
        assert_eq!(content(disk, "a"), expected);
        let mut part = [0; 9];
        assert_eq!(file.read_at(&mut part, 1_020).unwrap(), 9);
        assert_eq!(part, expected[1_020..1_029]);
        assert_eq!(file.read_at(&mut part, 3_695).unwrap(), 5);
        assert_eq!(part[..5], expected[3_695..]);
        assert_eq!(file.read_at(&mut part, 3_700).unwrap(), 0);
        assert_eq!(file.read_at(&mut part, 9_999).unwrap(), 0);
        file.sync().unwrap();
        assert_eq!(content(disk, "a"), expected);
    }

    fn nothing_written_far_out_extends_nothing(disk: &impl Disk) {
        let file = disk.create_new("a").unwrap();
        file.write_at(b"", 5_000).unwrap();
        assert_eq!(file.len().unwrap(), 0);
    }

    fn a_file_is_cut_and_grows_again_over_zeroes(disk: &impl Disk) {
        let file = disk.create_new("a").unwrap();
        file.write_at(&[7; 2_000], 0).unwrap();
        file.sync().unwrap();
        file.set_len(700).unwrap();
        assert_eq!(content(disk, "a"), [7; 700]);
        file.set_len(1_500).unwrap();
        assert_eq!(content(disk, "a"), [vec![7; 700], vec![0; 800]].concat());
        file.write_at(b"x", 1_999).unwrap();
        file.sync().unwrap();
        assert_eq!(content(disk, "a"), [vec![7; 700], vec![0; 1_299], b"x".to_vec()].concat());
    }

    fn a_file_that_exists_is_not_created(disk: &impl Disk) {
        put(disk, "a", b"old");
        fails(disk.create_new("a"), ErrorKind::AlreadyExists);
        assert_eq!(content(disk, "a"), b"old");
    }

    fn what_is_missing_is_not_found(disk: &impl Disk) {
        fails(disk.open("a"), ErrorKind::NotFound);
        fails(disk.open_read("a"), ErrorKind::NotFound);
        fails(disk.remove("a"), ErrorKind::NotFound);
        fails(disk.rename("a", "b"), ErrorKind::NotFound);
        fails(disk.list("log"), ErrorKind::NotFound);
        fails(disk.sync_dir("log"), ErrorKind::NotFound);
        fails(disk.create_new("log/a"), ErrorKind::NotFound);
        put(disk, "a", b"");
        fails(disk.rename("a", "log/a"), ErrorKind::NotFound);
    }

    fn a_directory_is_not_a_file(disk: &impl Disk) {
        disk.create_dir("log").unwrap();
        put(disk, "a", b"");
        fails(disk.create_new("log"), ErrorKind::AlreadyExists);
        fails(disk.open("log"), ErrorKind::IsADirectory);
        fails(disk.open_read("log"), ErrorKind::IsADirectory);
        fails(disk.remove("log"), ErrorKind::IsADirectory);
        fails(disk.rename("a", "log"), ErrorKind::IsADirectory);
        fails(disk.list("a"), ErrorKind::NotADirectory);
        fails(disk.sync_dir("a"), ErrorKind::NotADirectory);
        assert!(disk.create_dir("a").is_err());
        assert!(disk.create_dir("a/b").is_err());
    }

    fn names_outside_the_root_are_refused(disk: &impl Disk) {
        put(disk, "inside", b"");
        for name in ["/tmp/x", "../x", "a/../../x", "", "."] {
            fails(disk.create_new(name), ErrorKind::InvalidInput);
            fails(disk.open(name), ErrorKind::InvalidInput);
            fails(disk.open_read(name), ErrorKind::InvalidInput);
            fails(disk.remove(name), ErrorKind::InvalidInput);
            fails(disk.rename("inside", name), ErrorKind::InvalidInput);
            fails(disk.rename(name, "b"), ErrorKind::InvalidInput);
            fails(disk.lock(name), ErrorKind::InvalidInput);
            fails(disk.is_locked(name), ErrorKind::InvalidInput);
        }
        for name in ["/tmp", "..", "log/.."] {
            fails(disk.create_dir(name), ErrorKind::InvalidInput);
            fails(disk.list(name), ErrorKind::InvalidInput);
            fails(disk.sync_dir(name), ErrorKind::InvalidInput);
        }
    }

    fn a_directory_lists_its_own_files_sorted(disk: &impl Disk) {
        disk.create_dir("log/deep").unwrap();
        disk.create_dir("log").unwrap();
        for name in ["log/b", "log/a", "log/deep/c", "d"] {
            put(disk, name, b"");
        }
        assert_eq!(disk.list("log").unwrap(), ["a", "b"]);
        assert_eq!(disk.list("log/deep").unwrap(), ["c"]);
        assert_eq!(disk.list("").unwrap(), ["d"]);
        assert_eq!(disk.list(".").unwrap(), ["d"]);
        for dir in ["", "log", "log/deep"] {
            disk.sync_dir(dir).unwrap();
        }
    }

    fn a_rename_replaces_and_handles_follow_their_file(disk: &impl Disk) {
        put(disk, "new", b"new");
        put(disk, "old", b"old");
        let (new, old) = (disk.open("new").unwrap(), disk.open("old").unwrap());
        disk.rename("new", "old").unwrap();
        fails(disk.open("new"), ErrorKind::NotFound);
        assert_eq!(content(disk, "old"), b"new");
        new.write_at(b"!", 3).unwrap();
        assert_eq!(content(disk, "old"), b"new!");
        assert_eq!(old.len().unwrap(), 3);
        old.sync().unwrap();
        disk.create_dir("sub").unwrap();
        disk.rename("old", "sub/there").unwrap();
        assert_eq!(content(disk, "sub/there"), b"new!");
        disk.rename("sub/there", "sub/there").unwrap();
        assert_eq!(disk.list("sub").unwrap(), ["there"]);
    }

    fn a_removed_file_is_gone_by_name_and_readable_by_handle(disk: &impl Disk) {
        put(disk, "a", b"bytes");
        let file = disk.open_read("a").unwrap();
        disk.remove("a").unwrap();
        assert_eq!(disk.list("").unwrap(), Vec::<String>::new());
        let mut bytes = [0; 5];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 5);
        assert_eq!(&bytes, b"bytes");
        put(disk, "a", b"another");
        assert_eq!(file.len().unwrap(), 5);
    }

    fn a_file_opened_for_reading_is_not_written(disk: &impl Disk) {
        put(disk, "a", b"bytes");
        let file = disk.open_read("a").unwrap();
        assert!(file.write_at(b"x", 0).is_err());
        assert!(file.set_len(0).is_err());
        file.sync().unwrap();
        assert_eq!(content(disk, "a"), b"bytes");
    }

    fn one_holds_the_lock_until_it_is_dropped(disk: &impl Disk) {
        assert!(!disk.is_locked("LOCK").unwrap());
        let lock = disk.lock("LOCK").unwrap();
        assert_eq!(disk.list("").unwrap(), ["LOCK"]);
        for _ in 0..3 {
            fails(disk.lock("LOCK"), ErrorKind::WouldBlock);
            assert!(disk.is_locked("LOCK").unwrap());
        }
        let other = disk.lock("OTHER").unwrap();
        drop(lock);
        assert!(!disk.is_locked("LOCK").unwrap());
        assert!(disk.is_locked("OTHER").unwrap());
        let again = disk.clone().lock("LOCK").unwrap();
        drop((again, other));
    }
}
