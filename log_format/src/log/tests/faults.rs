//! Full disks, failing reads, locks, options.

use super::support::{append, intent, open, options, read_all, small_log};
use crate::Index;
use crate::disk::sim::{Fault, SimDisk};
use crate::log::{self, FillStep, OpenError, Room};
use crate::segment::Fill;
use crate::size::of;

#[test]
fn a_disk_that_fills_up_ahead_of_the_writer_rejects_appends_and_keeps_reads() {
    let options = options(Fill::Zeroes);
    let disk = SimDisk::new(1);
    let mut opened = Some(open(&disk, &options).expect("a new log"));
    for unique in 0..3 {
        assert!(append(&mut opened, &[intent(unique, 100)]).expect("a working disk"));
    }
    disk.set_capacity(Some(0));
    let mut accepted = 3;
    while append(&mut opened, &[intent(100 + accepted, 100)]).expect("a full disk is no failed write") {
        accepted += 1;
    }
    let log = opened.as_mut().expect("still open");
    assert_eq!(log.writer.room(1000), Room::Full);
    assert_eq!(of(read_all(&log.reader, Index::ZERO).expect("durable").len()), accepted);
    assert_eq!(log.filler.as_mut().expect("filled").step().expect("no failure"), FillStep::NoSpace);

    disk.set_capacity(None);
    assert_eq!(log.filler.as_mut().expect("filled").step().expect("no failure"), FillStep::Filled);
    assert!(append(&mut opened, &[intent(999, 100)]).expect("space again"));
}

#[test]
fn a_disk_that_is_full_at_a_roll_leaves_the_log_as_it_was() {
    let options = log::Options { fill_ahead_bytes_max: 64 * 1024, ..options(Fill::Zeroes) };
    let disk = SimDisk::new(2);
    let mut opened = Some(open(&disk, &options).expect("a new log"));
    while opened.as_mut().expect("open").filler.as_mut().expect("filled").step().expect("space")
        == FillStep::Filled
    {}
    disk.set_capacity(Some(0));
    let mut accepted = 0;
    while append(&mut opened, &[intent(accepted, 800)]).expect("no failed write") {
        accepted += 1;
    }
    assert!(accepted > 5 && disk.names("log").len() == 1, "{accepted} records in {:?}", disk.names("log"));
    disk.set_capacity(None);
    assert!(append(&mut opened, &[intent(999, 800)]).expect("space again"));
    assert_eq!(disk.names("log").len(), 2);
    assert_eq!(
        of(read_all(&opened.expect("open").reader, Index::ZERO).expect("durable").len()),
        accepted + 1
    );
}

#[test]
fn after_a_failed_write_or_sync_nothing_more_is_acknowledged_and_the_log_reopens() {
    let faults =
        [(Fault::Eio, 0), (Fault::Enospc, 0), (Fault::Eio, 1), (Fault::EioCleanPages, 1), (Fault::Enospc, 1)];
    for (fault, behind) in faults {
        let options = log::Options { fill_ahead_bytes_max: 16 * 1024, ..options(Fill::Zeroes) };
        let disk = SimDisk::new(3);
        let mut opened = Some(open(&disk, &options).expect("a new log"));
        assert!(append(&mut opened, &[intent(1, 100)]).expect("a working disk"));
        let filler = opened.as_mut().expect("open").filler.as_mut().expect("filled");
        while filler.step().expect("a working disk") == FillStep::Filled {}
        disk.fail_at(disk.op_count() + behind, fault);
        assert!(append(&mut opened, &[intent(2, 100)]).is_err(), "{fault:?} at {behind} was not reported");
        assert!(opened.is_none(), "there is no writer left to go on with");
        disk.process_crash();
        disk.clear_faults();
        let log = open(&disk, &options).expect("it reopens");
        assert!(!read_all(&log.reader, Index::ZERO).expect("durable").is_empty());
    }
}

#[test]
fn a_second_process_is_refused() {
    let options = options(Fill::Zeroes);
    let disk = SimDisk::new(4);
    let first = open(&disk, &options).expect("a new log");
    assert!(matches!(open(&disk, &options), Err(OpenError::Locked)));
    drop(first);
    assert!(open(&disk, &options).is_ok());
}

#[test]
fn another_origin_than_the_logs_own_is_refused() {
    let options = options(Fill::Zeroes);
    let (disk, _) = small_log(&options, 2, 1);
    let other = log::Options { origin: Some("elsewhere/log".to_owned()), ..options };
    assert!(matches!(open(&disk, &other), Err(OpenError::Origin { .. })));
}

#[test]
fn a_mark_beyond_the_head_says_that_records_are_missing() {
    let options = options(Fill::Zeroes);
    let (disk, records) = small_log(&options, 5, 1);
    let head = of(records.len());
    assert!(log::open(disk.clone(), &options, &[("checkpoint", Index(head))], &mut |_, _| {}).is_ok());
    let refused = log::open(disk, &options, &[("checkpoint", Index(head + 1))], &mut |_, _| {});
    let Err(OpenError::Damaged(damaged)) = refused else { panic!("a mark beyond the head was accepted") };
    assert_eq!(damaged.index, Index(head));
}

#[test]
fn segments_that_cannot_hold_a_batch_are_refused() {
    let options = log::Options { segment_bytes: 4096, ..options(Fill::Zeroes) };
    assert!(matches!(open(&SimDisk::new(5), &options), Err(OpenError::SegmentBytes { .. })));
}
