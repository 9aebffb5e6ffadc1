//! How fast one core folds a log of decided intents into everything that a server and an auditor keep, and what a
//! million threads cost.
//!
//! One round is four records: INTENT, DECISION, EXECUTION `running`, `completed`. Throughput is in records.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gesta_log_format::envelope::{Draft, Expectation, Prepared};
use gesta_log_format::{Index, Kind, Timestamp, record};
use gesta_replay::event::ExecutionId;
use gesta_replay::projections::audit::Audit;
use gesta_replay::projections::counts::Counts;
use gesta_replay::projections::decisions::Decisions;
use gesta_replay::projections::executions::Executions;
use gesta_replay::projections::handlers::Handlers;
use gesta_replay::projections::head::Head;
use gesta_replay::{Event, Fold, Projection};

const INTENTS: u64 = 25_000;
const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// The four payloads of a round, each as long as a server writes it.
fn payloads(round: u64, intent_index: u64) -> [String; 4] {
    let message = "m".repeat(160);
    let execution_id = ExecutionId(u128::from(round) << 64 | 1);
    [
        format!(
            "{{\"_obs\":{{\"x_correlation_id\":\"01JD0000000000000000000000\"}},\"declared_refs\":[],\
             \"execution_id\":\"{execution_id}\",\"payload\":{{\"message\":\"{message}\"}},\
             \"principal\":{{\"name\":\"local\",\"roles\":[\"intent.write\",\"log.read\"]}},\
             \"request_digest\":\"{DIGEST}\",\"surface\":\"wire\"}}"
        ),
        format!(
            "{{\"assembled_context\":{{\"assembled_from\":[],\"model_messages\":[{{\"content\":\"{message}\",\
             \"role\":\"user\"}}],\"normative_input_digests\":[\"{DIGEST}\"]}},\"boundary\":{{\
             \"boundary_version\":\"1\",\"context_config_digest\":\"{DIGEST}\"}},\"context_digest\":\"{DIGEST}\",\
             \"context_spec\":{{\"assembly_rules\":{{\"ordering\":\"event_index_asc\",\"schema_version\":\"1\"}},\
             \"identity\":{{\"parent_turn_id\":null,\"thread_id\":\"t\",\"turn_id\":\"u\"}},\"intent\":{{\
             \"intent_type\":\"chat.message\",\"user_input\":\"{message}\"}},\"retrieval\":{{\"declared_refs\":[],\
             \"normalization\":{{\"applied_rules\":[],\"boundary_version\":\"1\",\"config_digest\":\"{DIGEST}\"}},\
             \"resolved_refs\":[]}}}},\"engine\":{{\"name\":\"cedar\",\"version\":\"4\"}},\
             \"intent_index\":{intent_index},\"policy\":{{\"policy_digest\":\"{DIGEST}\",\"policy_id\":\"p\",\
             \"policy_version\":\"1\"}},\"reasons\":[{{\"code\":\"ALLOWED\",\"params\":{{}}}}],\
             \"result\":\"ALLOW\",\"transforms\":[]}}"
        ),
        format!("{{\"context_digest\":\"{DIGEST}\",\"delivery\":1}}"),
        format!("{{\"delivery\":1,\"output\":{{\"message\":\"{message}\"}}}}"),
    ]
}

/// A round of four records, its INTENT at `index`.
fn round(round: u64, index: u64, threads: u64, records: u64) -> Vec<Vec<u8>> {
    let payloads = payloads(round, index);
    let (correlation_id, turn_id) = (format!("load-{round:012}"), format!("turn-{round:012}"));
    let (thread_id, actor) = (format!("thread-{:07}", round % threads), format!("user-{:05}", round % 1000));
    let execution = format!("execution/{}", ExecutionId(u128::from(round) << 64 | 1));
    let subjects =
        [format!("intent/{correlation_id}"), format!("decision/{index}"), execution.clone(), execution];
    let kinds = [
        (Kind::Intent, "submitted"),
        (Kind::Decision, "decided"),
        (Kind::Execution, "running"),
        (Kind::Execution, "completed"),
    ];
    let mut envelopes = Vec::new();
    for (nth, ((kind, type_name), subject)) in (0..records).zip(kinds.into_iter().zip(subjects)) {
        let expected = (nth == 3).then(|| Index(index + 2));
        let prepared = Prepared::new(&Draft {
            kind,
            type_name,
            stream_id: "default",
            lane: "user",
            actor: &actor,
            intent_type: "chat.message",
            thread_id: &thread_id,
            turn_id: &turn_id,
            parent_turn_id: None,
            correlation_id: &correlation_id,
            cause: nth.checked_sub(1).map(|before| Index(index + before)),
            subjects: &[Expectation { subject, expected }],
            payload: payloads[nth as usize].as_bytes(),
        });
        let (mut out, index) = (Vec::new(), Index(index + nth));
        let prepared = prepared.expect("a small record");
        record::encode(&mut out, &prepared, index, index, Timestamp::from_micros(index.0));
        envelopes.push(record::decode(&out).expect("a record").data.to_vec());
    }
    envelopes
}

fn log(intents: u64, threads: u64, records: u64) -> Vec<Vec<u8>> {
    (0..intents).flat_map(|nth| round(nth, nth * records, threads, records)).collect()
}

fn fold(log: &[Vec<u8>], projections: Vec<&mut dyn Projection>) {
    let mut fold = Fold::new(projections);
    for data in log {
        fold.record(data).expect("a legal log");
    }
    black_box(fold.next());
}

fn folds(criterion: &mut Criterion) {
    let log = log(INTENTS, 1000, 4);
    let mut group = criterion.benchmark_group("fold of decided intents");
    group.throughput(Throughput::Elements(INTENTS * 4)).sample_size(10);
    group.bench_function("envelopes alone", |bencher| {
        bencher.iter(|| {
            for data in &log {
                black_box(Event::parse(data).expect("an envelope"));
            }
        });
    });
    group.bench_function("head", |bencher| bencher.iter(|| fold(&log, vec![&mut Head::default()])));
    group.bench_function("decisions", |bencher| bencher.iter(|| fold(&log, vec![&mut Decisions::default()])));
    group.bench_function("counts", |bencher| bencher.iter(|| fold(&log, vec![&mut Counts::default()])));
    group.bench_function("executions", |bencher| {
        bencher.iter(|| fold(&log, vec![&mut Executions::default()]))
    });
    group.bench_function("audit", |bencher| bencher.iter(|| fold(&log, vec![&mut Audit::default()])));
    group.bench_function("what a server keeps", |bencher| {
        bencher.iter(|| {
            let (mut head, mut decisions, mut counts) = Default::default();
            let (mut executions, mut handlers) = Default::default();
            fold(&log, server(&mut head, &mut decisions, &mut counts, &mut executions, &mut handlers));
        });
    });
    group.bench_function("that and the audit", |bencher| {
        bencher.iter(|| {
            let (mut head, mut decisions, mut counts) = Default::default();
            let (mut executions, mut handlers, mut audit) = Default::default();
            let mut all = server(&mut head, &mut decisions, &mut counts, &mut executions, &mut handlers);
            let audit: &mut Audit = &mut audit;
            all.push(audit);
            fold(&log, all);
        });
    });
    group.finish();
}

fn server<'p>(
    head: &'p mut Head,
    decisions: &'p mut Decisions,
    counts: &'p mut Counts,
    executions: &'p mut Executions,
    handlers: &'p mut Handlers,
) -> Vec<&'p mut dyn Projection> {
    vec![head, decisions, counts, executions, handlers]
}

/// A thread of its own for each of a million intents.
fn many_threads(criterion: &mut Criterion) {
    const THREADS: u64 = 1_000_000;
    let mut counts = Counts::default();
    for nth in 0..THREADS {
        for data in round(nth, nth * 2, THREADS, 2) {
            counts.apply(&Event::parse(&data).expect("an envelope")).expect("a legal log");
        }
    }
    let more: Vec<_> = (0..1000).flat_map(|nth| round(nth * 999, (THREADS + nth) * 2, THREADS, 2)).collect();
    let mut group = criterion.benchmark_group("counts at a million threads");
    group.sample_size(10).throughput(Throughput::Elements(2000));
    group.bench_function(BenchmarkId::from_parameter("an INTENT and its DECISION"), |bencher| {
        let apply = |mut counts: Counts| {
            for data in &more {
                counts.apply(&Event::parse(data).expect("an envelope")).expect("a legal log");
            }
            counts
        };
        bencher.iter_batched(|| counts.clone(), apply, BatchSize::PerIteration);
    });
    group.throughput(Throughput::Elements(THREADS));
    group.bench_function("snapshot", |bencher| bencher.iter(|| counts.snapshot().len()));
    let snapshot = counts.snapshot();
    eprintln!("a snapshot of {THREADS} threads has {} bytes", snapshot.len());
    group.bench_function("restore", |bencher| {
        bencher.iter(|| Counts::restore(&snapshot).expect("a snapshot").applied());
    });
    group.finish();
}

criterion_group!(benches, folds, many_threads);
criterion_main!(benches);
