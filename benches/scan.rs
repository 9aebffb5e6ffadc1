//! How fast one core walks a log: the work of a start, of `gesta dump` and of an auditor.
//!
//! `frames`: framing, checksums, index order. `fold`: also the typed events and the head projection. `digests`: frames,
//! each envelope's digest, and the leaf hashes of the Merkle tree. Throughput is in records.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::envelope::{Draft, Expectation, Prepared};
use gesta_log_format::log::offline::{self, Depth, LastBatch};
use gesta_log_format::log::{self, Batch, Options, Room};
use gesta_log_format::segment::Fill;
use gesta_log_format::{Kind, Timestamp, json};
use gesta_replay::projections::head::Head;
use gesta_replay::{Event, Projection as _};

const RECORDS: u64 = 50_000;

fn options() -> Options {
    Options {
        segment_bytes: 256 << 20,
        fill: Fill::None,
        fill_ahead_bytes_max: 1 << 20,
        fill_piece_bytes_max: 256 << 10,
        batch_bytes_max: 1 << 20,
        origin: None,
        new_origin: "gesta.local/bench".to_owned(),
    }
}

/// An INTENT as a client's request of 450 bytes becomes one.
fn intent(unique: u64) -> Prepared {
    let (correlation_id, turn_id) = (format!("load-{unique:012}"), format!("turn-{unique:012}"));
    let thread_id = format!("thread-{:04}", unique % 1000);
    let payload = format!(
        "{{\"_obs\":{{\"x_correlation_id\":\"01JD0000000000000000000000\"}},\"declared_refs\":[],\
         \"execution_id\":\"01JD0000000000000000000000\",\"payload\":{{\"message\":\"{}\"}},\
         \"principal\":{{\"name\":\"local\",\"roles\":[\"intent.write\",\"log.read\"]}},\
         \"request_digest\":\"sha256:{}\",\"surface\":\"wire\"}}",
        "m".repeat(160),
        "0".repeat(64)
    );
    let subjects = [Expectation { subject: format!("intent/{correlation_id}"), expected: None }];
    Prepared::new(&Draft {
        kind: Kind::Intent,
        type_name: "submitted",
        stream_id: "default",
        lane: "user",
        actor: "load@example.com",
        intent_type: "chat.message",
        thread_id: &thread_id,
        turn_id: &turn_id,
        parent_turn_id: None,
        correlation_id: &correlation_id,
        cause: None,
        subjects: &subjects,
        payload: payload.as_bytes(),
    })
    .expect("a small intent")
}

fn write_log(disk: &RealDisk) {
    let opened = log::open(disk.clone(), &options(), &[], &mut |_, _| {}).expect("a new log");
    let mut writer = opened.writer;
    let mut batch = Batch::default();
    for start in (0..RECORDS).step_by(500) {
        batch.restart(writer.next());
        for unique in start..start + 500 {
            batch.push(&intent(unique), Timestamp::from_micros(1_793_592_633_000_000 + unique));
        }
        assert_eq!(writer.room(batch.bytes().len()), Room::Ready);
        writer = writer.append(&batch).expect("a working disk");
        writer.absorb(&batch);
    }
}

fn scan(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = RealDisk::new(directory.path());
    write_log(&disk);
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Elements(RECORDS)).sample_size(10);
    for (name, depth) in
        [("frames and leaf hashes", Depth::Frames), ("digests and leaf hashes", Depth::Envelopes)]
    {
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                let summary = offline::walk(&disk, depth, LastBatch::Always, &mut |record, _, _| {
                    black_box(record.index);
                    true
                });
                assert_eq!(summary.expect("a sound log").head.0, RECORDS);
            });
        });
    }
    group.bench_function(BenchmarkId::from_parameter("frames and fold"), |bencher| {
        let reader = log::open(disk.clone(), &options(), &[], &mut |_, _| {}).expect("a sound log").reader;
        bencher.iter(|| {
            let mut head = Head::default();
            let mut buffer = Vec::new();
            for segment in reader.segments() {
                reader.forget_verified(segment.id());
            }
            let mut cursor = log::Cursor::at(reader.first());
            while cursor.next() < reader.head() {
                let chunk =
                    reader.read(&mut cursor, reader.head(), &mut buffer, 1 << 20).expect("durable records");
                let mut rest = &buffer[..chunk.len];
                while let Ok(record) = gesta_log_format::record::decode_trusted(rest) {
                    let event = Event::parse(record.data).expect("an event");
                    head.apply(&event).expect("the next event");
                    rest = &rest[record.bytes.len()..];
                }
            }
            assert_eq!(head.applied().0, RECORDS);
        });
    });
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let prepared: Vec<_> = (0..100).map(intent).collect();
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(100));
    group.bench_function("batch of 100 records", |bencher| {
        let mut batch = Batch::default();
        bencher.iter(|| {
            batch.restart(gesta_log_format::Index(1_000_000));
            for prepared in &prepared {
                batch.push(prepared, Timestamp::from_micros(1));
            }
            black_box(batch.bytes().len());
        });
    });
    group.finish();
}

fn canonical(criterion: &mut Criterion) {
    let body = format!(
        "{{\"interface_version\":2,\"correlation_id\":\"load-000000000001\",\"payload\":{{\"stream_id\":\"default\",\
         \"lane\":\"user\",\"actor\":\"load@example.com\",\"intent_type\":\"chat.message\",\"thread_id\":\"t\",\
         \"turn_id\":\"u\",\"parent_turn_id\":null,\"payload\":{{\"message\":\"{}\"}}}}}}",
        "m".repeat(200)
    );
    let mut group = criterion.benchmark_group("canonical JSON");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("an intent", |bencher| {
        bencher.iter(|| json::canonicalize(black_box(body.as_bytes())))
    });
    group.finish();
}

criterion_group!(benches, scan, encode, canonical);
criterion_main!(benches);
