//! What verifying a log of decided and executed intents costs beside the reading: digests, folds, every decision again.

use std::hint::black_box;
use std::sync::{Arc, Mutex};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gesta_log_format::Index;
use gesta_log_format::tree::leaf_hash;
use gesta_replay::verify::{Place, Record, Verdict, Verifier};

#[path = "../tests/support/mod.rs"]
mod support;

use support::large::{Memory, decided};

const INTENTS: u64 = 5_000;

/// Records that are handed over at once, about as many as the program hands over.
const CHUNK: usize = 1_000;

fn verify(criterion: &mut Criterion) {
    let log = decided(INTENTS).log.records;
    let memory = Memory(Arc::new(Mutex::new(log.clone())));
    let records: Vec<_> = (0_u64..)
        .zip(&log)
        .map(|(index, data)| Record { index: Index(index), place: Place(index), data, leaf: leaf_hash(data) })
        .collect();
    let mut group = criterion.benchmark_group("verify decided intents");
    group.throughput(Throughput::Elements(records.len() as u64)).sample_size(10);
    for jobs in [1, 2] {
        group.bench_function(BenchmarkId::new("jobs", jobs), |bencher| {
            bencher.iter(|| {
                let mut verifier = Verifier::new(memory.clone(), jobs, Vec::new(), Vec::new());
                for chunk in records.chunks(CHUNK) {
                    verifier.records(chunk).expect("a log in memory");
                }
                assert_eq!(black_box(verifier.finish()).verdict, Verdict::Sound);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, verify);
criterion_main!(benches);
