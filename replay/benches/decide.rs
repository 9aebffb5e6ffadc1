//! What one decision costs beside its look-ups: of a short message, by the bundles that ship.
#![expect(clippy::unwrap_used, reason = "a bench that fails says where")]
#![expect(dead_code, reason = "the tests' log, of which a bench uses a part")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use gesta_replay::context::Config;
use gesta_replay::decide::decide;
use gesta_replay::event::Event;
use gesta_replay::policy::{Bundle, Counts, Files, default_files};

#[path = "../tests/decisions/log.rs"]
mod log;

use log::{Log, said};

fn example() -> Files {
    let file = |path: &str, text: &str| (path.to_owned(), text.as_bytes().to_vec());
    Files::from([
        file("bundle.json", include_str!("../policies/example/bundle.json")),
        file("policies/allow.cedar", include_str!("../policies/example/policies/allow.cedar")),
        file("policies/deny.cedar", include_str!("../policies/example/policies/deny.cedar")),
        file("entities.json", include_str!("../policies/example/entities.json")),
    ])
}

fn decisions(criterion: &mut Criterion) {
    let mut log = Log::default();
    let index = log.intent(&said(1));
    let config = Config::default();
    for (bundle_name, files) in [("default", default_files()), ("example", example())] {
        let bundle = Bundle::read(&files).unwrap();
        let (data, prefix) = (&log.records[0], log.prefix(index));
        criterion.bench_function(&format!("decide/{bundle_name}"), |bencher| {
            bencher.iter(|| {
                let event = Event::parse(black_box(data)).unwrap();
                decide(&event, &prefix, Counts::default(), &config, &bundle).unwrap()
            });
        });
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);
