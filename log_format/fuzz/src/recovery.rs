//! Opening a log whose active segment is anything at all.

use gesta_log_format::disk::sim::SimDisk;
use gesta_log_format::disk::{Disk, File};
use gesta_log_format::frame::Letter;
use gesta_log_format::log::offline::{self, Depth, LastBatch};
use gesta_log_format::log::{Batch, OpenError, Options, Reader, open};
use gesta_log_format::record::{self, Record};
use gesta_log_format::segment::{Header, SegmentId};
use gesta_log_format::{Index, Timestamp};

use crate::sample::{RECORDS, SEGMENTS, append, batch, framed, intent, options};
use crate::script::Script;

pub fn check(data: &[u8]) {
    let mut script = Script::new(data);
    let mode = script.byte();
    let sample = &SEGMENTS[usize::from(mode) % SEGMENTS.len()];
    let bytes = match mode / 64 {
        0 => script.rest().to_vec(),
        1 => {
            let header = Header::decode(&sample.bytes).expect("a header").1;
            [&sample.bytes[..header], script.rest()].concat()
        }
        _ => changed(sample.bytes.clone(), script),
    };
    check_segment(&bytes, &options(sample.fill));
}

/// Changes a segment as a disk, a stray writer or a stale page might.
fn changed(mut bytes: Vec<u8>, mut script: Script<'_>) -> Vec<u8> {
    for _ in 0..8 {
        if script.is_empty() {
            break;
        }
        let op = script.byte();
        let at = script.below(bytes.len() + 1);
        let len = script.below(1600).min(bytes.len() - at);
        match op % 8 {
            0 => bytes[at..at + len].fill(0),
            1 => bytes[at..at + len].copy_from_slice(&vec![op; len]),
            2 => bytes.truncate(at),
            3 => bytes.extend(std::iter::repeat_n(0, len)),
            4 if at < bytes.len() => bytes[at] ^= 1 << (op / 8 % 8),
            5 => {
                let from = at / 512 * 512;
                let until = (from + 512).min(bytes.len());
                bytes[from..until].fill(0);
            }
            6 => {
                let from = u64::from(script.byte()) % (RECORDS + 4);
                overwrite(&mut bytes, at, batch(from, from + 1).bytes());
            }
            _ => {
                let body = script.take(len);
                overwrite(&mut bytes, at, &framed(Letter::Record, u64::from(op), body));
            }
        }
    }
    bytes
}

fn overwrite(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let end = at + piece.len();
    bytes.resize(bytes.len().max(end), 0);
    bytes[at..end].copy_from_slice(piece);
}

fn disk_with(bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_dir("log").expect("a working disk");
    let file = disk.create_new(&SegmentId(Index::ZERO).path()).expect("a new file");
    file.write_at(bytes, 0).expect("a working disk");
    disk
}

/// The records that stand one behind the other from the header on, read without the crate's own scan.
fn prefix(bytes: &[u8]) -> Vec<Vec<u8>> {
    let Some((_, mut at)) = Header::decode(bytes) else { return Vec::new() };
    let (mut records, mut next, mut batch) = (Vec::new(), 0, None);
    while let Ok(found) = record::decode(&bytes[at..]) {
        let start = found.batch_start.0;
        if found.index.0 != next || (start != next && Some(start) != batch) {
            break;
        }
        batch = Some(start);
        next += 1;
        at += found.bytes.len();
        records.push(found.bytes.to_vec());
    }
    records
}

fn check_segment(bytes: &[u8], options: &Options) {
    let disk = disk_with(bytes);
    let prefix = prefix(bytes);
    check_salvage(&disk, &prefix);
    let visit = &mut |_: &Record<'_>, _, _| true;
    let walked = offline::walk(&disk, Depth::Frames, LastBatch::Always, visit).expect("readable");
    let log = match open(disk.clone(), options, &[], &mut |_, _| {}) {
        Ok(log) => log,
        Err(OpenError::Damaged(damaged)) => {
            assert_eq!(Some(damaged), walked.damage, "the tools name what the server names");
            assert_eq!(disk.read_raw(&SegmentId(Index::ZERO).path()), bytes, "damage is left as it is");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(walked.damage, None, "what the server opens is no damage to the tools");
    assert_eq!(all(&log.reader), prefix, "what is recovered is what stands there whole");
    assert_eq!(log.recovery.torn_bytes, walked.torn_bytes);
    drop(log);
    go_on(&disk, prefix, options);
}

/// A salvage keeps what a walk reads, and exactly what recovery keeps where it says that nothing is lost.
fn check_salvage(disk: &SimDisk, prefix: &[Vec<u8>]) {
    let mut kept = Vec::new();
    let salvaged = offline::salvage(disk, &mut |record, _| {
        kept.push(record.bytes.to_vec());
        Ok(())
    });
    let mut walked = Vec::new();
    let visit = &mut |record: &Record<'_>, _, _| {
        walked.push(record.bytes.to_vec());
        true
    };
    let summary = offline::walk(disk, Depth::Envelopes, LastBatch::Always, visit).expect("readable");
    let losses = salvaged.expect("readable").losses;
    assert_eq!(kept.get(..walked.len()), Some(&walked[..]), "{losses:?}");
    assert_eq!(losses.is_empty(), summary.damage.is_none(), "{losses:?} but {:?}", summary.damage);
    assert!(!losses.is_empty() || kept == prefix);
}

/// A second start reads what the first did, and a record that is appended then is there after the third.
fn go_on(disk: &SimDisk, mut records: Vec<Vec<u8>>, options: &Options) {
    let again = || open(disk.clone(), options, &[], &mut |_, _| {}).expect("what opened once opens again");
    let log = again();
    assert_eq!(log.recovery.torn_bytes, 0, "a cut is made once");
    assert_eq!(all(&log.reader), records);
    let mut batch = Batch::new(log.writer.next());
    batch.push(&intent(99), Timestamp::from_micros(2));
    records.push(batch.bytes().to_vec());
    drop(append(log, &batch));
    assert_eq!(all(&again().reader), records);
}

fn all(reader: &Reader<SimDisk>) -> Vec<Vec<u8>> {
    let mut buffer = Vec::new();
    let mut found = Vec::new();
    let mut index = Index::ZERO;
    while let Some(record) = reader.record(index, &mut buffer).expect("readable") {
        found.push(record.bytes.to_vec());
        index = index.next();
    }
    found
}
