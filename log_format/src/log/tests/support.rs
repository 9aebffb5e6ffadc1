//! What the tests of the log share: small records, small segments, a seeded stream of numbers.

use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::envelope::{Draft, Expectation, Prepared};
use crate::log::open::Opening;
use crate::log::writer::Sabotage;
use crate::log::{Batch, OpenError, Opened, Options, ReadError, Reader, Rolled, Room, Writer};
use crate::segment::Fill;
use crate::{Index, Kind, Timestamp};

/// SplitMix64: the whole run follows from the seed.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

pub(super) const BATCH_BYTES_MAX: usize = 12 * 1024;

pub(super) fn options(fill: Fill) -> Options {
    Options {
        segment_bytes: 24 * 1024,
        fill,
        fill_ahead_bytes_max: 4096,
        fill_piece_bytes_max: 4096,
        batch_bytes_max: BATCH_BYTES_MAX,
        origin: None,
        new_origin: "gesta.local/test".to_owned(),
    }
}

/// An intent whose correlation id and text nobody else has: `unique` tells it from all others.
pub(super) fn intent(unique: u64, text_len: usize) -> Prepared {
    let correlation_id = format!("c{unique}");
    let payload = format!("{{\"text\":\"{}\"}}", "abcdefgh".repeat(text_len / 8 + 1));
    let subjects = [Expectation { subject: format!("intent/{correlation_id}"), expected: None }];
    let draft = Draft {
        kind: Kind::Intent,
        type_name: "submitted",
        stream_id: "default",
        lane: "user",
        actor: "a",
        intent_type: "chat.message",
        thread_id: "t",
        turn_id: "u",
        parent_turn_id: None,
        correlation_id: &correlation_id,
        cause: None,
        subjects: &subjects,
        payload: payload.as_bytes(),
    };
    Prepared::new(&draft).expect("a small intent")
}

pub(super) fn open(disk: &SimDisk, options: &Options) -> Result<Opened<SimDisk>, OpenError> {
    open_sabotaged(disk, options, Sabotage::None)
}

pub(super) fn open_sabotaged(
    disk: &SimDisk,
    options: &Options,
    sabotage: Sabotage,
) -> Result<Opened<SimDisk>, OpenError> {
    let mut opening = Opening::begin(disk.clone(), options)?;
    opening.sabotage = sabotage;
    let mut opened = opening.run(&[], &mut |_, _| {})?;
    if let Some(filler) = &mut opened.filler {
        filler.sabotage = sabotage;
    }
    Ok(opened)
}

/// Appends one batch of records of the given text lengths, with everything that goes with it. None where the disk is
/// full.
pub(super) fn append(
    opened: &mut Option<Opened<SimDisk>>,
    records: &[Prepared],
) -> Result<bool, crate::log::Dead> {
    let mut log = opened.take().expect("an open log");
    let bytes = records.iter().map(Prepared::record_bytes_max).sum();
    let (writer, rolled) = log.writer.roll(bytes)?;
    log.writer = writer;
    if rolled == Rolled::DiskFull {
        *opened = Some(log);
        return Ok(false);
    }
    loop {
        match log.writer.room(bytes) {
            Room::Ready => break,
            Room::Filling => {
                let filler = log.filler.as_mut().expect("only a filled log waits");
                filler.step()?;
            }
            Room::Full => {
                *opened = Some(log);
                return Ok(false);
            }
        }
    }
    let mut batch = Batch::new(log.writer.next());
    for record in records {
        batch.push(record, Timestamp::from_micros(1));
    }
    let writer = log.writer.append(&batch)?;
    writer.absorb(&batch);
    log.writer = writer;
    *opened = Some(log);
    Ok(true)
}

/// The bytes of all records from `from` on.
pub(super) fn read_all<D: Disk>(reader: &Reader<D>, from: Index) -> Result<Vec<Vec<u8>>, ReadError> {
    let mut buffer = Vec::new();
    let mut found = Vec::new();
    let mut index = from;
    while let Some(record) = reader.record(index, &mut buffer)? {
        found.push(record.bytes.to_vec());
        index = index.next();
    }
    Ok(found)
}

/// A log of `count` records in batches of one to four, on a simulated disk; the bytes of each record.
pub(super) fn small_log(options: &Options, count: u64, seed: u64) -> (SimDisk, Vec<Vec<u8>>) {
    let mut numbers = Numbers(seed);
    let disk = SimDisk::new(seed);
    let mut opened = Some(open(&disk, options).expect("a new log"));
    let mut unique = 0;
    while unique < count {
        let batch: Vec<_> = (0..=numbers.below(4))
            .map(|_| {
                unique += 1;
                intent(unique, usize::try_from(numbers.below(900)).expect("small"))
            })
            .collect();
        assert!(append(&mut opened, &batch).expect("a working disk"));
    }
    let reader = opened.as_ref().expect("open").reader.clone();
    let records = read_all(&reader, Index::ZERO).expect("durable records");
    drop::<Option<Writer<SimDisk>>>(opened.map(|opened| opened.writer));
    (disk, records)
}
