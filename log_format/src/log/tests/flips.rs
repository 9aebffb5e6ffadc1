//! Every flipped bit and every missing byte is found and named.

use super::support::{options, small_log};
use crate::disk::sim::SimDisk;
use crate::log::offline::{self, Depth, LastBatch};
use crate::log::{Damaged, open};
use crate::segment::{Fill, SegmentId};
use crate::{Index, record, size};

/// The first damage of the log as the tools name it.
fn damage(disk: &SimDisk) -> Option<Damaged> {
    offline::walk(disk, Depth::Frames, LastBatch::Always, &mut |_, _, _| true).expect("a log").damage
}

/// For each byte of a segment up to its last record or seal, the index that damage there should be named with: the
/// record's own, the first for the header, the next for the seal.
fn owners(bytes: &[u8], first: Index) -> Vec<Index> {
    let mut owners = vec![first; memchr::memmem::find(bytes, b": g1 ").expect("a record")];
    let mut next = first;
    while let Ok(found) = record::decode(&bytes[owners.len()..]) {
        owners.resize(owners.len() + found.bytes.len(), found.index);
        next = found.index.next();
    }
    if let Some((_, len)) = crate::segment::Seal::decode(&bytes[owners.len()..]) {
        owners.resize(owners.len() + len, next);
    }
    owners
}

#[test]
fn every_single_flipped_bit_of_a_log_is_named_by_segment_and_index() {
    let options = options(Fill::Zeroes);
    let (disk, _) = small_log(&options, 48, 3);
    let segments = disk.names("log");
    assert!(segments.len() >= 3, "two sealed segments and an active one, not {segments:?}");
    for name in &segments {
        let path = format!("log/{name}");
        let id = SegmentId::of_file_name(name).expect("a segment's name");
        let bytes = disk.read_raw(&path);
        for (byte, owner) in owners(&bytes, id.0).into_iter().enumerate() {
            for bit in 0..8 {
                disk.flip_bit(&path, size::of(byte), bit);
                let found = damage(&disk);
                let found =
                    found.unwrap_or_else(|| panic!("bit {bit} of byte {byte} of {name} was flipped unseen"));
                assert_eq!(
                    (found.segment, found.index),
                    (id, owner),
                    "bit {bit} of byte {byte} of {name}: {found}"
                );
                disk.flip_bit(&path, size::of(byte), bit);
            }
        }
    }
    assert_eq!(damage(&disk), None, "all bits are back");
}

#[test]
fn no_single_flipped_bit_of_the_active_segment_is_cut_off_at_start() {
    let options = options(Fill::Zeroes);
    let (disk, _) = small_log(&options, 30, 5);
    let active = disk.names("log").pop().expect("a segment");
    let path = format!("log/{active}");
    let id = SegmentId::of_file_name(&active).expect("a segment's name");
    let bytes = disk.read_raw(&path);
    for byte in 0..owners(&bytes, id.0).len() {
        let bit = u8::try_from(byte % 8).expect("small");
        disk.flip_bit(&path, size::of(byte), bit);
        let opened = open(disk.clone(), &options, &[], &mut |_, _| {});
        assert!(opened.is_err(), "bit {bit} of byte {byte} was flipped and the log opened");
        disk.flip_bit(&path, size::of(byte), bit);
    }
}

#[test]
fn every_shorter_length_of_a_sealed_segment_is_named() {
    let options = options(Fill::Zeroes);
    let (disk, _) = small_log(&options, 30, 4);
    let names = disk.names("log");
    let id = SegmentId::of_file_name(&names[0]).expect("a segment's name");
    let whole = disk.read_raw(&id.path());
    for len in (0..whole.len()).rev() {
        disk.truncate_raw(&id.path(), size::of(len));
        let found = damage(&disk).unwrap_or_else(|| panic!("cut to {len} bytes unseen"));
        assert_eq!(found.segment, id, "cut to {len} bytes: {found}");
        assert!(open(disk.clone(), &options, &[], &mut |_, _| {}).is_err(), "cut to {len} bytes and opened");
    }
    disk.write_raw(&id.path(), &whole);
    assert_eq!(damage(&disk), None);
}

#[test]
fn a_missing_segment_and_a_segment_of_another_log_are_named() {
    let options = options(Fill::Zeroes);
    let (disk, _) = small_log(&options, 48, 3);
    let (other, _) = small_log(&options, 48, 9);
    let names = disk.names("log");
    let second = SegmentId::of_file_name(&names[1]).expect("a segment's name");
    let bytes = disk.read_raw(&second.path());
    let foreign = other.read_raw(&format!("log/{}", other.names("log")[1]));
    disk.write_raw(&second.path(), &foreign);
    assert!(damage(&disk).is_some(), "a foreign segment");
    disk.write_raw(&second.path(), &bytes);
    crate::disk::Disk::remove(&disk, &second.path()).expect("removed");
    let found = damage(&disk).expect("a missing segment is damage");
    assert_eq!(found.index, second.0, "{found}");
    assert!(open(disk.clone(), &options, &[], &mut |_, _| {}).is_err());
}
