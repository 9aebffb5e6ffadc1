//! The store on a disk that fails, loses and lies.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, LazyLock};

use axum::body::Bytes;
use futures::stream;
use gesta_log_format::Digest;
use gesta_log_format::disk::sim::{Fault, Op, SimDisk};
use gesta_log_format::disk::{Disk as _, File as _};

use super::{Bounds, PutError, Store};
use crate::limits::BLOB_PIECE_BYTES;

const FAULTS: [Fault; 6] = [
    Fault::CrashBefore,
    Fault::CrashWithin,
    Fault::CrashAfter,
    Fault::Eio,
    Fault::Enospc,
    Fault::EioCleanPages,
];

fn store(disk: &SimDisk) -> Arc<Store<SimDisk>> {
    Arc::new(Store::on(disk.clone(), Bounds::default()).unwrap())
}

/// Three contents, the first two of which share a directory.
static CONTENTS: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
    let content = |number: u32| format!("content {number} ").repeat(200).into_bytes();
    let shard = Digest::of(&content(0)).0[0];
    let neighbour = (1..).find(|number| Digest::of(&content(*number)).0[0] == shard).unwrap();
    let other = (1..).find(|number| Digest::of(&content(*number)).0[0] != shard).unwrap();
    [content(0), content(neighbour), content(other)]
});

fn read(store: &Store<SimDisk>, digest: &Digest) -> io::Result<Option<Vec<u8>>> {
    let Some(blob) = store.blob(digest)? else { return Ok(None) };
    let len = blob.len();
    let (mut pieces, mut bytes) = (blob.pieces(0..len), Vec::new());
    while let Some(piece) = pieces.next_piece()? {
        bytes.extend_from_slice(&piece);
    }
    Ok(Some(bytes))
}

/// Everything that may be done in one life of a process; what it was told is durable is added to `durable`.
fn live(disk: &SimDisk, durable: &mut Vec<Vec<u8>>) {
    let Ok(store) = Store::on(disk.clone(), Bounds::default()).map(Arc::new) else { return };
    let contents = &*CONTENTS;
    // The first again at the end: a blob that is there is put as one that is not.
    for content in contents.iter().chain([&contents[0]]) {
        if store.put_bytes(content).is_ok() {
            durable.push(content.clone());
        }
        for content in contents {
            if store.contains(&Digest::of(content)).is_ok_and(|contains| contains) {
                durable.push(content.clone());
            }
        }
    }
}

#[track_caller]
fn check_durable(disk: &SimDisk, durable: &[Vec<u8>], context: &str) {
    let store = store(disk);
    assert!(disk.list(super::store::TEMPORARY).unwrap().is_empty(), "{context}");
    for content in durable {
        let digest = Digest::of(content);
        assert!(store.contains(&digest).unwrap(), "{context}: {digest} is gone");
    }
    // Also what was never answered for is whole, if it is there.
    for content in &*CONTENTS {
        let found = read(&store, &Digest::of(content)).unwrap();
        assert!(found.is_none_or(|found| found == *content), "{context}");
    }
}

fn calls_of_a_life() -> u64 {
    let disk = SimDisk::new(0);
    live(&disk, &mut Vec::new());
    disk.op_count()
}

#[test]
fn what_was_answered_for_survives_a_power_cut_after_any_fault_at_any_call() {
    for op in 0..calls_of_a_life() {
        for fault in FAULTS {
            for seed in 0..4 {
                let disk = SimDisk::new(seed);
                disk.fail_at(op, fault);
                let mut durable = Vec::new();
                live(&disk, &mut durable);
                disk.power_cut(seed);
                check_durable(&disk, &durable, &format!("{fault:?} at {op}, seed {seed}"));
            }
        }
    }
}

#[test]
fn what_a_killed_process_left_in_the_cache_is_not_taken_for_durable() {
    for op in 0..calls_of_a_life() {
        for fault in [Fault::CrashBefore, Fault::CrashWithin, Fault::CrashAfter] {
            for seed in 0..32 {
                let disk = SimDisk::new(seed);
                disk.fail_at(op, fault);
                let mut durable = Vec::new();
                live(&disk, &mut durable);
                disk.process_crash();
                // The next process only asks, and believes what it is told.
                let next = store(&disk);
                let asked = CONTENTS.iter().filter(|content| next.contains(&Digest::of(content)).unwrap());
                durable.extend(asked.cloned());
                disk.power_cut(seed);
                check_durable(&disk, &durable, &format!("{fault:?} at {op}, seed {seed}"));
            }
        }
    }
}

#[test]
fn a_failed_sync_is_not_tried_again_and_leaves_nothing() {
    let disk = SimDisk::new(1);
    let store = store(&disk);
    disk.set_trace(true);
    // Create, write, sync.
    disk.fail_at(disk.op_count() + 2, Fault::EioCleanPages);
    let refused = store.put_bytes(b"abc").unwrap_err();
    assert!(matches!(refused, PutError::Io { doing: "sync", .. }), "{refused}");
    let calls: Vec<_> = disk.trace().into_iter().map(|(_, call)| call).collect();
    assert!(
        matches!(&calls[..], [Op::CreateNew { .. }, Op::Write { .. }, Op::Sync { .. }, Op::Remove { .. }]),
        "{calls:?}"
    );
    assert!(!store.contains(&Digest::of(b"abc")).unwrap());
    store.put_bytes(b"abc").unwrap();
    assert!(store.contains(&Digest::of(b"abc")).unwrap());
}

#[test]
fn a_blob_whose_directory_could_not_be_synced_is_not_here() {
    let disk = SimDisk::new(1);
    let store = store(&disk);
    let contents = &*CONTENTS;
    store.put_bytes(&contents[0]).unwrap();
    // Create, write, sync, rename, sync of the one directory and of the other.
    for at in [4, 5] {
        disk.fail_at(disk.op_count() + at, Fault::EioCleanPages);
        store.put_bytes(&contents[1]).unwrap_err();
        assert!(!store.contains(&Digest::of(&contents[1])).unwrap());
    }
    assert!(store.contains(&Digest::of(&contents[0])).unwrap());
    store.put_bytes(&contents[1]).unwrap();
    assert!(store.contains(&Digest::of(&contents[1])).unwrap());
    disk.power_cut(1);
    check_durable(&disk, &contents[..2], "after a second put");
}

#[test]
fn a_blob_that_could_neither_be_synced_nor_removed_is_not_here() {
    let disk = SimDisk::new(1);
    let store = store(&disk);
    let contents = &*CONTENTS;
    store.put_bytes(&contents[0]).unwrap();
    // Create, write, sync, rename, sync of the directory, removal.
    disk.fail_at(disk.op_count() + 4, Fault::EioCleanPages);
    disk.fail_at(disk.op_count() + 5, Fault::Eio);
    let digest = Digest::of(&contents[1]);
    store.put_bytes(&contents[1]).unwrap_err();
    assert!(store.blob(&digest).unwrap().is_some(), "its file can be seen");
    assert!(!store.contains(&digest).unwrap());
    store.put_bytes(&contents[1]).unwrap();
    assert!(store.contains(&digest).unwrap());
}

#[test]
fn a_blob_that_was_here_stays_when_putting_it_again_fails() {
    for at in 0..6 {
        for fault in [Fault::Eio, Fault::Enospc, Fault::EioCleanPages] {
            let disk = SimDisk::new(1);
            let store = store(&disk);
            store.put_bytes(b"abc").unwrap();
            disk.fail_at(disk.op_count() + at, fault);
            // A write whose writeback fails behind its back is told by the sync.
            store.put_bytes(b"abc").unwrap_err();
            assert_eq!(read(&store, &Digest::of(b"abc")).unwrap().unwrap(), b"abc", "{fault:?} at {at}");
            assert!(store.contains(&Digest::of(b"abc")).unwrap(), "{fault:?} at {at}");
            assert!(disk.names(super::store::TEMPORARY).is_empty(), "{fault:?} at {at}");
        }
    }
}

#[test]
fn a_full_disk_refuses_the_blob_and_goes_on_when_there_is_room() {
    let disk = SimDisk::new(1);
    let store = store(&disk);
    disk.set_capacity(Some(1000));
    let large = vec![7; 2000];
    assert!(matches!(store.put_bytes(&large), Err(PutError::DiskFull)));
    assert!(disk.names(super::store::TEMPORARY).is_empty());
    store.put_bytes(b"small").unwrap();
    disk.set_capacity(None);
    store.put_bytes(&large).unwrap();
}

#[test]
fn what_a_killed_process_left_unfinished_is_removed_at_the_next_start() {
    let disk = SimDisk::new(1);
    drop(store(&disk));
    let name = format!("{}/{:016x}", super::store::TEMPORARY, 0);
    disk.create_new(&name).unwrap().write_at(b"ab", 0).unwrap();
    disk.process_crash();
    let store = store(&disk);
    assert!(disk.names(super::store::TEMPORARY).is_empty());
    store.put_bytes(b"abc").unwrap();
}

#[test]
fn damaged_content_never_comes_out_whole() {
    let disk = SimDisk::new(1);
    let store = store(&disk);
    let content = vec![7; BLOB_PIECE_BYTES * 2 + 5];
    let digest = store.put_bytes(&content).unwrap();
    assert_eq!(read(&store, &digest).unwrap().unwrap(), content);
    disk.flip_bit(&super::store::name(&digest), 3, 0);
    assert_eq!(read(&store, &digest).unwrap_err().kind(), io::ErrorKind::InvalidData);
    for len in [0, 1, BLOB_PIECE_BYTES as u64] {
        disk.truncate_raw(&super::store::name(&digest), len);
        assert_eq!(read(&store, &digest).unwrap_err().kind(), io::ErrorKind::InvalidData, "{len}");
    }
    let empty = store.put_bytes(b"").unwrap();
    assert_eq!(read(&store, &empty).unwrap().unwrap(), b"");
}

#[tokio::test]
async fn an_upload_writes_pieces_of_the_bound_however_small_or_large_its_items() {
    for item in [1000, 64 * 1024, 300_000] {
        let disk = SimDisk::new(1);
        let store = store(&disk);
        disk.set_trace(true);
        let content: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
        let items = content.chunks(item).map(|item| Ok::<_, Infallible>(Bytes::copy_from_slice(item)));
        let digest = Digest::of(&content);
        let len = store.put(digest, stream::iter(items.collect::<Vec<_>>())).await.unwrap();
        assert_eq!(len, content.len() as u64);
        let lens = disk.trace().into_iter().filter_map(|(_, call)| match call {
            Op::Write { len, .. } => Some(usize::try_from(len).unwrap()),
            _ => None,
        });
        let lens: Vec<_> = lens.collect();
        assert!(lens.iter().all(|len| *len < BLOB_PIECE_BYTES + item), "{lens:?}");
        assert!(lens.len() <= content.len().div_ceil(BLOB_PIECE_BYTES) + 1, "{lens:?}");
        assert_eq!(read(&store, &digest).unwrap().unwrap(), content);
    }
}
