//! `gesta bench append`: acknowledged appends, and how long each took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::histogram::Histogram;
use super::intents::Intents;
use super::report::{Report, failed};
use crate::cli::{Failure, args, remote};
use crate::client::{Body, Caller, Refusal};

/// What one connection saw.
#[derive(Debug, Default)]
struct Seen {
    took: Histogram,
    /// How late requests were sent in open loop.
    late: Histogram,
    failures: u64,
    first_failure: Option<String>,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
struct Pace {
    began: Instant,
    ends: Instant,
    connections: u64,
    /// In all, a second; 0 is as fast as answers come.
    rate: u64,
}

impl Pace {
    /// When the `turn`th request of a connection is due, in open loop.
    fn due(&self, connection: u64, turn: u64) -> Option<Instant> {
        (self.rate > 0).then(|| {
            let nth = turn * self.connections + connection;
            self.began + Duration::from_secs_f64(nth as f64 / self.rate as f64)
        })
    }
}

pub(super) fn run(arguments: &args::BenchAppend) -> Result<(), Failure> {
    let server = remote::server(&arguments.target)?;
    let intents = Intents::new(arguments.bytes);
    let next = Arc::new(AtomicU64::new(0));
    let (all, seconds) = remote::runtime()?.block_on(async {
        let mut callers = Vec::new();
        for _ in 0..arguments.connections {
            let mut caller = Caller::new(server.clone());
            // Connected before the clock starts.
            caller.call(server.get("/healthz")).await.map_err(failed)?;
            callers.push(caller);
        }
        let began = Instant::now();
        let pace = Pace {
            began,
            ends: began + Duration::from_secs(arguments.seconds),
            connections: u64::from(arguments.connections),
            rate: arguments.rate,
        };
        let tasks: Vec<_> = callers
            .into_iter()
            .zip(0..)
            .map(|(caller, nth)| tokio::spawn(drive(caller, nth, pace, intents.clone(), Arc::clone(&next))))
            .collect();
        let mut all = Seen::default();
        for task in tasks {
            let seen = task.await.map_err(failed)?;
            all.took.add(&seen.took);
            all.late.add(&seen.late);
            all.failures += seen.failures;
            all.first_failure = all.first_failure.or(seen.first_failure);
        }
        Ok::<_, Failure>((all, began.elapsed().as_secs_f64()))
    })?;
    if all.took.total() == 0 {
        return Err(failed(all.first_failure.as_deref().unwrap_or("no append was acknowledged")));
    }
    let mut report = Report::default()
        .figure("appends", all.took.total())
        .measure("seconds", seconds)
        .measure("per_second", all.took.total() as f64 / seconds)
        .figure("connections", arguments.connections)
        .figure("bytes", arguments.bytes)
        .latency("latency_us", &all.took)
        .figure("failures", all.failures);
    if arguments.rate > 0 {
        report = report.figure("rate", arguments.rate).latency("sent_late_us", &all.late);
    }
    if let Some(failure) = &all.first_failure {
        report = report.figure("first_failure", failure.as_str());
    }
    report.print(arguments.json)
}

/// Sends one intent after the other. In open loop the latency counts from when a request was due, so that a stall
/// shows in all that it delays.
async fn drive(mut caller: Caller, nth: u64, pace: Pace, intents: Intents, next: Arc<AtomicU64>) -> Seen {
    let mut seen = Seen::default();
    for turn in 0.. {
        let due = pace.due(nth, turn);
        if let Some(due) = due {
            tokio::time::sleep_until(due).await;
            seen.late.record(due.elapsed());
        }
        let from = due.unwrap_or_else(Instant::now);
        if from >= pace.ends {
            break;
        }
        let body = intents.body(next.fetch_add(1, Ordering::Relaxed), 0);
        let request = caller.server().post("/ingress/intent", Body::new(body.into()));
        let failure = match caller.call(request).await {
            Ok(answer) if answer.status.is_success() => {
                seen.took.record(from.elapsed());
                continue;
            }
            Ok(answer) => Refusal::of(answer.status, &answer.body).to_string(),
            Err(error) => error.to_string(),
        };
        seen.failures += 1;
        seen.first_failure.get_or_insert(failure);
        // A server that refuses is not asked as fast as it can refuse.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    seen
}
