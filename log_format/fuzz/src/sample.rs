//! Sound bytes that the targets change: records, a segment, a saved tail.

use std::sync::LazyLock;

use gesta_log_format::disk::sim::SimDisk;
use gesta_log_format::envelope::{Draft, Expectation, Prepared};
use gesta_log_format::frame::{self, Letter};
use gesta_log_format::log::{Batch, Opened, Options, Room, open};
use gesta_log_format::record::{self, Record};
use gesta_log_format::segment::Fill;
use gesta_log_format::{Index, Kind, Timestamp};

pub const CONNECTED: &str = "retry: 1000\nevent: log\n\
    data: {\"first\":0,\"generation\":1,\"head\":12,\"origin\":\"gesta.local/fuzz\"}\n\n";

/// How many records a sample segment holds.
pub const RECORDS: u64 = 12;

pub fn options(fill: Fill) -> Options {
    Options {
        segment_bytes: 24 * 1024,
        fill,
        fill_ahead_bytes_max: 4096,
        fill_piece_bytes_max: 4096,
        batch_bytes_max: 12 * 1024,
        origin: None,
        new_origin: "gesta.local/fuzz".to_owned(),
    }
}

pub fn intent(nth: u64) -> Prepared {
    let correlation_id = format!("c{nth}");
    let text = "retry: 1\\nevent: log\\n".repeat(usize::try_from(nth * nth % 40).expect("small"));
    let payload = format!("{{\"_obs\":{{\"trace\":\"t\"}},\"text\":\"{text}\"}}");
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
        subjects: &[Expectation { subject: format!("intent/{correlation_id}"), expected: None }],
        payload: payload.as_bytes(),
    };
    Prepared::new(&draft).expect("a small intent")
}

/// The records `from` to the one before `until`, as one batch.
pub fn batch(from: u64, until: u64) -> Batch {
    let mut batch = Batch::new(Index(from));
    for nth in from..until {
        batch.push(&intent(nth), Timestamp::from_micros(1));
    }
    batch
}

/// Appends the batch to an open log.
pub fn append(mut log: Opened<SimDisk>, batch: &Batch) -> Opened<SimDisk> {
    let bytes = batch.bytes().len();
    log.writer = log.writer.roll(bytes).expect("a working disk").0;
    while log.writer.room(bytes) == Room::Filling {
        log.filler.as_mut().expect("only a filled log waits").step().expect("a working disk");
    }
    log.writer = log.writer.append(batch).expect("a working disk");
    log.writer.absorb(batch);
    log
}

/// A segment of [`RECORDS`] records in batches of one to three.
pub struct Sample {
    pub fill: Fill,
    pub bytes: Vec<u8>,
}

/// Filled and not, open and sealed.
pub static SEGMENTS: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    [(Fill::Zeroes, false), (Fill::None, false), (Fill::Zeroes, true), (Fill::None, true)]
        .map(|(fill, sealed)| Sample { fill, bytes: segment(fill, sealed) })
        .into()
});

fn segment(fill: Fill, sealed: bool) -> Vec<u8> {
    let disk = SimDisk::new(1);
    let log = open(disk.clone(), &options(fill), &[], &mut |_, _| {}).expect("a new log");
    let batches = [(0, 1), (1, 3), (3, 6), (6, 7), (7, 10), (10, RECORDS)];
    let log = batches.iter().fold(log, |log, (from, until)| append(log, &batch(*from, *until)));
    if sealed {
        log.writer.roll(12 * 1024).expect("a working disk");
    }
    disk.read_raw(&format!("log/{}", disk.names("log")[0]))
}

/// Frames `body` with a checksum that holds.
pub fn framed(letter: Letter, number: u64, body: &[u8]) -> Vec<u8> {
    if letter == Letter::Record {
        return record::framed_lines(Index(number), body);
    }
    let mut out = Vec::with_capacity(frame::LINE_LEN + body.len());
    let at = frame::begin(&mut out);
    out.extend_from_slice(body);
    frame::finish(&mut out, at, letter, number);
    out
}

/// Writes the frame of a record that was read, from what was read of it.
pub fn encoded_again(record: &Record<'_>) -> Vec<u8> {
    let mut body = format!("id: {}\nevent: envelope\ndata: ", record.index).into_bytes();
    body.extend_from_slice(record.data);
    body.extend_from_slice(b"\n\n");
    framed(Letter::Record, record.batch_start.0, &body)
}
