//! What the tools read of a log: whole, held by a server, torn, damaged, salvaged.

use super::support::{Numbers, append, intent, open, options, small_log};
use crate::disk::sim::SimDisk;
use crate::disk::{Disk, File};
use crate::log::offline::{self, Depth, LastBatch, Lost, Salvaged, Summary};
use crate::log::{Batch, FRONTIER, Frontier, LOCK};
use crate::segment::{Fill, SegmentId};
use crate::{Index, Timestamp, record, size};

fn walk(disk: &SimDisk, last_batch: LastBatch) -> (Vec<Vec<u8>>, Summary) {
    let mut records = Vec::new();
    let summary = offline::walk(disk, Depth::Envelopes, last_batch, &mut |record, _, _| {
        records.push(record.bytes.to_vec());
        true
    });
    (records, summary.expect("a log"))
}

fn salvage(disk: &SimDisk) -> (Vec<Vec<u8>>, Salvaged) {
    let mut records = Vec::new();
    let salvaged = offline::salvage(disk, &mut |record, _| {
        records.push(record.bytes.to_vec());
        Ok(())
    });
    (records, salvaged.expect("a log"))
}

/// Salvages and checks that the records but those of `lost` are kept, and that exactly those are said to be lost.
#[track_caller]
fn check_salvage(disk: &SimDisk, records: &[Vec<u8>], lost: &[u64]) -> Salvaged {
    let (kept, salvaged) = salvage(disk);
    let expected: Vec<_> = (0..).zip(records).filter(|(index, _)| !lost.contains(index)).collect();
    assert_eq!(kept.len(), expected.len(), "{salvaged:?}");
    assert!(kept.iter().zip(&expected).all(|(kept, (_, record))| kept == *record), "{salvaged:?}");
    let said: Vec<u64> = salvaged
        .losses
        .iter()
        .flat_map(|loss| loss.from.0..loss.until.map_or(size::of(records.len()), |until| until.0))
        .collect();
    assert_eq!(said, lost, "{salvaged:?}");
    salvaged
}

fn segments(disk: &SimDisk) -> Vec<SegmentId> {
    disk.names("log").iter().filter_map(|name| SegmentId::of_file_name(name)).collect()
}

/// Where each record of a segment begins, and its length.
fn places(disk: &SimDisk, id: SegmentId) -> Vec<(u64, u64)> {
    let bytes = disk.read_raw(&id.path());
    let mut at = memchr::memmem::find(&bytes, b": g1 ").expect("a record");
    let mut places = Vec::new();
    while let Ok(record) = record::decode(&bytes[at..]) {
        places.push((size::of(at), size::of(record.bytes.len())));
        at += record.bytes.len();
    }
    places
}

#[test]
fn a_whole_log_is_summed_up_and_salvaged_without_loss() {
    for fill in [Fill::Zeroes, Fill::None] {
        let (disk, records) = small_log(&options(fill), 48, 3);
        let (found, summary) = walk(&disk, LastBatch::OnlyIfSynced);
        assert_eq!(found, records);
        assert_eq!((summary.first, summary.head.0), (Index::ZERO, size::of(records.len())));
        assert_eq!((summary.generation, summary.torn_bytes, summary.damage), (1, 0, None));
        let counts: Vec<_> =
            summary.segments.iter().map(|segment| (segment.sealed, segment.records)).collect();
        assert_eq!(counts.iter().map(|(_, records)| records).sum::<u64>(), summary.head.0);
        assert!(counts.iter().rev().skip(1).all(|(sealed, _)| *sealed) && !counts.last().expect("one").0);
        let salvaged = check_salvage(&disk, &records, &[]);
        assert_eq!(salvaged.origin, Some(("gesta.local/test".to_owned(), 1)));
        assert_eq!((salvaged.losses, salvaged.torn_bytes), (Vec::new(), 0));
    }
}

#[test]
fn one_flipped_bit_costs_a_salvage_no_more_than_the_record_that_it_is_in() {
    let (disk, records) = small_log(&options(Fill::Zeroes), 48, 3);
    let mut numbers = Numbers(11);
    for id in segments(&disk) {
        let places = places(&disk, id);
        let (last, len) = *places.last().expect("a record");
        let end = if id == *segments(&disk).last().expect("one") {
            last + len
        } else {
            size::of(disk.read_raw(&id.path()).len())
        };
        let mut byte = 0;
        while byte < end {
            let bit = u8::try_from(numbers.below(8)).expect("small");
            disk.flip_bit(&id.path(), byte, bit);
            let hit = places.iter().position(|(at, len)| (*at..at + len).contains(&byte));
            let lost: Vec<u64> = hit.map(|nth| id.0.0 + size::of(nth)).into_iter().collect();
            let salvaged = check_salvage(&disk, &records, &lost);
            assert!(!salvaged.losses.is_empty(), "bit {bit} of byte {byte} of {id}");
            assert!(walk(&disk, LastBatch::Always).1.damage.is_some(), "bit {bit} of byte {byte} of {id}");
            disk.flip_bit(&id.path(), byte, bit);
            byte += 1 + numbers.below(24);
        }
    }
    check_salvage(&disk, &records, &[]);
}

#[test]
fn a_lost_sector_costs_a_salvage_the_records_that_it_touches() {
    let (disk, records) = small_log(&options(Fill::Zeroes), 48, 3);
    let id = segments(&disk)[1];
    let whole = disk.read_raw(&id.path());
    let places = places(&disk, id);
    let first_sector = places[0].0 / 512 + 1;
    let last_sector = places[places.len() - 2].0 / 512;
    for sector in first_sector..last_sector {
        let (from, until) = (sector * 512, sector * 512 + 512);
        let mut bytes = whole.clone();
        bytes[size::mem(from)..size::mem(until)].fill(0);
        disk.write_raw(&id.path(), &bytes);
        let lost: Vec<u64> = (id.0.0..)
            .zip(&places)
            .filter(|(_, (at, len))| *at < until && at + len > from)
            .map(|(index, _)| index)
            .collect();
        let salvaged = check_salvage(&disk, &records, &lost);
        assert_eq!(salvaged.losses.len(), 1, "{salvaged:?}");
    }
}

#[test]
fn a_missing_segment_and_one_of_another_log_are_lost_and_the_rest_is_kept() {
    let (disk, records) = small_log(&options(Fill::Zeroes), 48, 3);
    let (other, _) = small_log(&super::support::options(Fill::Zeroes), 48, 9);
    let ids = segments(&disk);
    let lost: Vec<u64> = (ids[1].0.0..ids[2].0.0).collect();
    let bytes = disk.read_raw(&ids[1].path());
    disk.write_raw(&ids[1].path(), b"not a segment at all\n");
    assert_eq!(check_salvage(&disk, &records, &lost).losses[0].why, Lost::Header);
    disk.fail_reads(&ids[1].path(), true);
    assert!(check_salvage(&disk, &records, &lost).unreadable, "the disk cannot read it");
    disk.fail_reads(&ids[1].path(), false);
    let renamed = String::from_utf8_lossy(&other.read_raw(&segments(&other)[1].path())).into_owned();
    disk.write_raw(&ids[1].path(), renamed.as_bytes());
    assert!(!salvage(&disk).1.losses.is_empty());
    disk.write_raw(&ids[1].path(), &bytes);
    disk.remove(&ids[1].path()).expect("removed");
    assert_eq!(check_salvage(&disk, &records, &lost).losses[0].why, Lost::Missing);
    disk.remove(&ids[0].path()).expect("removed");
    check_salvage(&disk, &records, &(0..ids[2].0.0).collect::<Vec<_>>());
}

#[test]
fn a_segment_without_its_header_is_never_taken_for_an_unfinished_write() {
    let (disk, records) = small_log(&options(Fill::None), 3, 5);
    let path = SegmentId(Index::ZERO).path();
    let bytes = disk.read_raw(&path);
    let header = memchr::memmem::find(&bytes, b": g1 ").expect("a record");
    check_salvage(&disk, &records, &[]);
    for left in [&bytes[header..], &bytes[..10], &[]] {
        disk.write_raw(&path, left);
        let (kept, salvaged) = salvage(&disk);
        assert_eq!(salvaged.losses.len(), 1, "{salvaged:?}");
        assert_eq!((salvaged.losses[0].why, salvaged.torn_bytes), (Lost::Header, 0));
        assert_eq!(kept.len(), if left.len() > 10 { records.len() } else { 0 });
    }
}

#[test]
fn an_unfinished_write_is_neither_kept_nor_lost() {
    let (disk, records) = small_log(&options(Fill::Zeroes), 30, 5);
    let id = *segments(&disk).last().expect("a segment");
    let (at, len) = *places(&disk, id).last().expect("a record");
    let mut bytes = disk.read_raw(&id.path());
    // The beginning of a record is there, to the end of its second sector, and the rest was never written.
    let end = size::mem(at + len);
    let torn = 1024 - end % 512;
    let mut next = Batch::new(Index(size::of(records.len())));
    next.push(&intent(77, 4000), Timestamp::from_micros(1));
    bytes.resize(end + 4096, 0);
    bytes[end..end + torn].copy_from_slice(&next.bytes()[..torn]);
    disk.write_raw(&id.path(), &bytes);
    let (found, summary) = walk(&disk, LastBatch::Always);
    assert_eq!((found.len(), summary.damage), (records.len(), None));
    assert_eq!(summary.torn_bytes, 4096);
    assert_eq!(check_salvage(&disk, &records, &[]).torn_bytes, summary.torn_bytes);
}

#[test]
fn records_below_the_frontier_that_are_not_there_are_lost() {
    let (disk, records) = small_log(&options(Fill::Zeroes), 30, 5);
    let id = *segments(&disk).last().expect("a segment");
    let (at, len) = *places(&disk, id).last().expect("a record");
    let mut log = open(&disk, &options(Fill::Zeroes)).expect("a log");
    let head = Index(size::of(records.len()));
    log.frontier.write(Frontier { index: head, segment: id, byte: at + len }).expect("a working disk");
    drop(log);
    let mut bytes = disk.read_raw(&id.path());
    bytes[size::mem(at)..].fill(0);
    disk.write_raw(&id.path(), &bytes);
    assert!(walk(&disk, LastBatch::Always).1.damage.is_some());
    let salvaged = check_salvage(&disk, &records, &[head.0 - 1]);
    assert_eq!(salvaged.losses[0].why, Lost::Missing);
}

#[test]
fn the_last_batch_of_a_held_log_is_left_out_until_the_frontier_is_beyond_it() {
    let options = options(Fill::Zeroes);
    let disk = SimDisk::new(1);
    let mut opened = Some(open(&disk, &options).expect("a new log"));
    for batch in 0..3 {
        let records = [intent(batch * 2, 8), intent(batch * 2 + 1, 8)];
        assert!(append(&mut opened, &records).expect("a working disk"));
    }
    let mut log = opened.expect("open");
    let heads = |last_batch| {
        let (records, summary) = walk(&disk, last_batch);
        assert_eq!((size::of(records.len()), summary.damage), (summary.head.0, None));
        (summary.head.0, summary.last_batch_left_out)
    };
    assert!(disk.is_locked(LOCK).expect("a lock"));
    assert_eq!(heads(LastBatch::OnlyIfSynced), (4, true));
    assert_eq!(heads(LastBatch::Always), (6, false));
    assert!(matches!(offline::salvage(&disk, &mut |_, _| Ok(())), Err(offline::SalvageError::Held)));
    let mark = Frontier { index: Index(6), segment: log.writer.segment(), byte: 0 };
    log.frontier.write(mark).expect("a working disk");
    assert_eq!(heads(LastBatch::OnlyIfSynced), (6, false));
    drop(log);
    assert_eq!(heads(LastBatch::OnlyIfSynced), (6, false));
}

#[test]
fn a_server_that_writes_is_no_damage_and_a_flipped_bit_in_front_of_a_later_batch_is() {
    let options = options(Fill::Zeroes);
    let disk = SimDisk::new(1);
    let mut opened = Some(open(&disk, &options).expect("a new log"));
    for batch in 0..3 {
        assert!(append(&mut opened, &[intent(batch, 8)]).expect("a working disk"));
    }
    let id = SegmentId(Index::ZERO);
    let places = places(&disk, id);
    let (last, len) = *places.last().expect("a record");
    disk.flip_bit(&id.path(), last + len - 5, 0);
    for last_batch in [LastBatch::OnlyIfSynced, LastBatch::Always] {
        assert_eq!(walk(&disk, last_batch).1.damage, None, "the last batch may be on its way");
    }
    disk.flip_bit(&id.path(), last + len - 5, 0);
    disk.flip_bit(&id.path(), places[1].0 + 100, 0);
    for last_batch in [LastBatch::OnlyIfSynced, LastBatch::Always] {
        let damaged = walk(&disk, last_batch).1.damage.expect("a later batch is there");
        assert_eq!((damaged.index, damaged.byte), (Index(1), places[1].0));
    }
}

#[test]
fn a_frontier_file_that_cannot_be_read_keeps_nobody_from_the_records() {
    let (disk, records) = small_log(&options(Fill::Zeroes), 30, 5);
    disk.write_raw(FRONTIER, &[b'x'; 8192]);
    let (found, summary) = walk(&disk, LastBatch::OnlyIfSynced);
    assert_eq!((found, summary.frontier_unreadable, summary.damage), (records.clone(), true, None));
    check_salvage(&disk, &records, &[]);
}

#[test]
fn one_segment_by_itself_is_read_and_salvaged_as_within_its_log() {
    let (disk, records) = small_log(&options(Fill::Zeroes), 48, 3);
    for id in segments(&disk) {
        let file = disk.open_read(&id.path()).expect("a segment");
        let mut found = Vec::new();
        let summary = offline::walk_segment(&file, Depth::Envelopes, false, &mut |record, _, _| {
            found.push(record.bytes.to_vec());
            true
        });
        let summary = summary.expect("readable");
        assert_eq!((summary.first, summary.damage), (id.0, None));
        assert_eq!(found, records[size::mem(id.0.0)..size::mem(summary.head.0)]);
        assert_eq!(summary.root.is_some(), id.0 == Index::ZERO);
        let mut kept = Vec::new();
        let salvaged = offline::salvage_segment(file, &mut |record, _| {
            kept.push(record.bytes.to_vec());
            Ok(())
        });
        assert_eq!((salvaged.expect("readable").losses, kept), (Vec::new(), found));
    }
}

#[test]
fn any_garbage_in_any_segment_is_walked_and_salvaged_to_its_end() {
    let seed = 17;
    let mut numbers = Numbers(seed);
    for case in 0..150 {
        let (disk, records) = small_log(&options(Fill::Zeroes), 24, case % 4);
        let ids = segments(&disk);
        for _ in 0..=numbers.below(4) {
            let id = ids[size::mem(numbers.below(size::of(ids.len())))];
            let file = disk.open(&id.path()).expect("a segment");
            let len = file.len().expect("its length");
            let garbage: Vec<u8> = match numbers.below(3) {
                0 => vec![0; size::mem(numbers.below(2000))],
                1 => {
                    (0..numbers.below(2000)).map(|_| numbers.below(256).try_into().expect("a byte")).collect()
                }
                _ => disk.read_raw(&id.path())[..size::mem(numbers.below(len))].to_vec(),
            };
            file.write_at(&garbage, numbers.below(len)).expect("a working disk");
        }
        let (kept, salvaged) = salvage(&disk);
        let (walked, summary) = walk(&disk, LastBatch::Always);
        let context = format!("seed {seed}, case {case}: {salvaged:?}");
        assert!(kept.iter().all(|kept| records.contains(kept)), "{context}");
        assert!(kept.len() >= walked.len() && kept[..walked.len()] == walked, "{context}");
        assert!(
            kept.len() == records.len() || !salvaged.losses.is_empty() || salvaged.torn_bytes > 0,
            "{context}"
        );
        assert!(
            summary.damage.is_none() || !salvaged.losses.is_empty(),
            "{context} but {:?}",
            summary.damage
        );
    }
}
