//! Reading by index, in chunks, over segments.

use super::support::{open, options, small_log};
use crate::log::{Cursor, ReadError, SparseOffsets};
use crate::segment::Fill;
use crate::{Index, record, size};

#[test]
fn chunks_of_any_size_from_any_index_give_the_same_records() {
    let options = options(Fill::Zeroes);
    let (disk, records) = small_log(&options, 100, 11);
    let log = open(&disk, &options).expect("a sound log");
    let head = log.reader.head();
    assert_eq!(size::of(records.len()), head.0);
    let mut buffer = Vec::new();
    for from in 0..head.0 {
        for bytes_max in [1, 700, 5000, 100_000] {
            let mut cursor = Cursor::at(Index(from));
            let mut found = Vec::new();
            loop {
                let chunk =
                    log.reader.read(&mut cursor, head, &mut buffer, bytes_max).expect("durable records");
                if chunk.len == 0 {
                    break;
                }
                assert_eq!(chunk.end, cursor.next());
                found.extend_from_slice(&buffer[..chunk.len]);
            }
            assert_eq!(found, records[size::mem(from)..].concat(), "from {from} in chunks of {bytes_max}");
        }
    }
}

#[test]
fn a_reader_stops_in_front_of_the_bound_and_of_the_head() {
    let options = options(Fill::Zeroes);
    let (disk, records) = small_log(&options, 20, 12);
    let log = open(&disk, &options).expect("a sound log");
    let mut buffer = Vec::new();
    let mut cursor = Cursor::at(Index(3));
    let chunk = log.reader.read(&mut cursor, Index(5), &mut buffer, 1 << 20).expect("durable records");
    assert_eq!((chunk.start, chunk.end), (Index(3), Index(5)));
    let mut cursor = Cursor::at(log.reader.head());
    let chunk = log.reader.read(&mut cursor, Index::MAX, &mut buffer, 1 << 20).expect("nothing to read");
    assert_eq!(chunk.len, 0);
    assert!(
        log.reader.record(Index(size::of(records.len())), &mut buffer).expect("nothing to read").is_none()
    );
}

#[test]
fn damage_is_met_behind_the_sound_records_and_named() {
    let options = options(Fill::Zeroes);
    let (disk, records) = small_log(&options, 60, 13);
    let log = open(&disk, &options).expect("a sound log");
    let path = format!("log/{}", disk.names("log")[0]);
    let header = memchr::memmem::find(&disk.read_raw(&path), b": g1 ").expect("a record");
    let byte = size::of(header) + records[..2].iter().map(|record| size::of(record.len())).sum::<u64>() + 100;
    disk.flip_bit(&path, byte, 0);
    let mut buffer = Vec::new();
    let mut cursor = Cursor::at(Index::ZERO);
    let chunk = log.reader.read(&mut cursor, Index::MAX, &mut buffer, 1 << 20).expect("two sound records");
    assert_eq!(chunk.end, Index(2));
    let Err(ReadError::Damaged(damaged)) = log.reader.read(&mut cursor, Index::MAX, &mut buffer, 1 << 20)
    else {
        panic!("a flipped bit was served");
    };
    assert_eq!(damaged.index, Index(2));
}

#[test]
fn offsets_given_from_outside_lead_to_the_same_records() {
    let options = options(Fill::Zeroes);
    let (disk, records) = small_log(&options, 100, 14);
    let first = open(&disk, &options).expect("a sound log");
    let mut buffer = Vec::new();
    assert!(first.reader.record(Index(5), &mut buffer).expect("durable").is_some());
    let id = first.sealed[0].id;
    let bytes = first.reader.offsets(id).expect("made by the read").to_bytes();
    drop(first);
    let again = open(&disk, &options).expect("a sound log");
    again.reader.set_offsets(id, SparseOffsets::from_bytes(&bytes).expect("whole places"));
    let found = again.reader.record(Index(5), &mut buffer).expect("durable").expect("there");
    assert_eq!(found.bytes, records[5]);
    assert_eq!(record::decode(found.bytes).map(|record| record.index), Ok(Index(5)));
}
