//! `gesta bench fanout`: followers at the head, and how long each record takes to reach each of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gesta_log_format::record;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::histogram::Histogram;
use super::intents::Intents;
use super::report::{Report, failed};
use crate::cli::{Failure, args, remote};
use crate::client::{Body, Caller, Frames, Item, Refusal, Server};

/// Connections over which intents are posted, so that a slow answer does not hold up the next post.
const POSTERS: u64 = 16;

/// How long records may take to arrive after the last post.
const PATIENCE: Duration = Duration::from_secs(10);

/// Size of one intent, in bytes.
const BYTES: u32 = 450;

/// What all followers share.
struct Shared {
    began: Instant,
    mark: Vec<u8>,
    delivered: AtomicU64,
    /// True once followers should end.
    end: watch::Sender<bool>,
}

#[derive(Deserialize)]
struct Status {
    head: u64,
}

pub(super) fn run(arguments: &args::BenchFanout) -> Result<(), Failure> {
    let server = remote::server(&arguments.target)?;
    let intents = Intents::new(BYTES);
    let posts = arguments.rate * arguments.seconds;
    let expected = posts * u64::from(arguments.followers);
    let (took, posted) = remote::runtime()?.block_on(async {
        let shared = Arc::new(Shared {
            began: Instant::now(),
            mark: intents.mark(),
            delivered: AtomicU64::new(0),
            end: watch::Sender::new(false),
        });
        let since = head(&server).await?;
        let mut followers = Vec::new();
        for _ in 0..arguments.followers {
            let body = connect(&server, since).await?;
            followers.push(tokio::spawn(follow(body, Arc::clone(&shared))));
        }
        let posted = post_all(&server, &intents, arguments.rate, posts, &shared).await?;
        let all_there = async {
            let wanted = posted * u64::from(arguments.followers);
            while shared.delivered.load(Ordering::Relaxed) < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // What is missing then shows in the figures.
        let _ = timeout(PATIENCE, all_there).await;
        shared.end.send_replace(true);
        let mut took = Histogram::default();
        for follower in followers {
            took.add(&follower.await.map_err(failed)?);
        }
        Ok::<_, Failure>((took, posted))
    })?;
    Report::default()
        .figure("followers", arguments.followers)
        .figure("rate", arguments.rate)
        .figure("posted", posted)
        .figure("delivered", took.total())
        .figure("missing", (expected).saturating_sub(took.total()))
        .latency("delivery_us", &took)
        .print(arguments.json)
}

async fn head(server: &Server) -> Result<i64, Failure> {
    let answer = Caller::new(server.clone()).call(server.get("/status")).await.map_err(failed)?;
    if !answer.status.is_success() {
        return Err(remote::refused(&Refusal::of(answer.status, &answer.body)));
    }
    let Status { head } = serde_json::from_slice(&answer.body).map_err(failed)?;
    Ok(i64::try_from(head).unwrap_or(i64::MAX) - 1)
}

async fn connect(server: &Server, since: i64) -> Result<Incoming, Failure> {
    let mut connection = server.connect().await.map_err(failed)?;
    let response = connection.send(server.get(&format!("/tail?since={since}"))).await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(failed(format!("a follower was answered {}", response.status())));
    }
    Ok(response.into_body())
}

/// Notes how long each record of this run took from its post to here.
async fn follow(mut body: Incoming, shared: Arc<Shared>) -> Histogram {
    let (mut took, mut frames) = (Histogram::default(), Frames::default());
    let mut end = shared.end.subscribe();
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = end.wait_for(|end| *end) => return took,
        };
        // A follower that was closed misses the rest, which shows in the figures.
        let Some(Ok(frame)) = frame else { return took };
        let Ok(data) = frame.into_data() else { continue };
        frames.put(&data);
        while let Ok(Some(item)) = frames.take() {
            let Item::Records(records) = item else { continue };
            let now_us = micros(shared.began);
            for sent_us in sent(&records, &shared.mark) {
                took.record_us(now_us.saturating_sub(sent_us));
                shared.delivered.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// When the records of this run were sent.
fn sent<'r>(mut records: &'r [u8], mark: &'r [u8]) -> impl Iterator<Item = u64> + 'r {
    std::iter::from_fn(move || {
        let len = record::len(records)?;
        let (record, rest) = records.split_at_checked(len)?;
        records = rest;
        Some(record)
    })
    .filter_map(|record| {
        let at = memchr::memmem::find(record, mark)? + mark.len();
        let digits = record.get(at..)?;
        let len = digits.iter().position(|byte| !byte.is_ascii_digit())?;
        std::str::from_utf8(digits.get(..len)?).ok()?.parse().ok()
    })
}

/// Posts by the clock, and says how many were acknowledged.
async fn post_all(
    server: &Server,
    intents: &Intents,
    rate: u64,
    posts: u64,
    shared: &Arc<Shared>,
) -> Result<u64, Failure> {
    let began = Instant::now();
    let posters: Vec<JoinHandle<Result<u64, String>>> = (0..POSTERS)
        .map(|poster| {
            let (intents, shared) = (intents.clone(), Arc::clone(shared));
            let mut caller = Caller::new(server.clone());
            tokio::spawn(async move {
                let mut acknowledged = 0;
                let step = usize::try_from(POSTERS).unwrap_or(usize::MAX);
                for nth in (poster..posts).step_by(step) {
                    tokio::time::sleep_until(began + Duration::from_secs_f64(nth as f64 / rate as f64)).await;
                    let body = intents.body(nth, micros(shared.began));
                    let request = caller.server().post("/ingress/intent", Body::new(body.into()));
                    let answer = caller.call(request).await.map_err(|error| error.to_string())?;
                    if !answer.status.is_success() {
                        return Err(Refusal::of(answer.status, &answer.body).to_string());
                    }
                    acknowledged += 1;
                }
                Ok(acknowledged)
            })
        })
        .collect();
    let mut acknowledged = 0;
    for poster in posters {
        acknowledged += poster.await.map_err(failed)?.map_err(failed)?;
    }
    Ok(acknowledged)
}
