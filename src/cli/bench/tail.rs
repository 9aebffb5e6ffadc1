//! `gesta bench tail`: followers that catch up on what there is.

use std::time::Instant;

use gesta_log_format::record;
use http_body_util::BodyExt as _;

use super::histogram::Histogram;
use super::report::{Report, failed};
use crate::cli::{Failure, args, remote};
use crate::client::{Frames, Item, Refusal, Server};

/// What one follower got.
#[derive(Debug, Default)]
struct Got {
    records: u64,
    bytes: u64,
}

pub(super) fn run(arguments: &args::BenchTail) -> Result<(), Failure> {
    let server = remote::server(&arguments.target)?;
    let (all, took, seconds) = remote::runtime()?.block_on(async {
        let began = Instant::now();
        let tasks: Vec<_> = (0..arguments.followers)
            .map(|_| {
                let (server, since) = (server.clone(), arguments.since);
                tokio::spawn(async move { (follow(&server, since).await, began.elapsed()) })
            })
            .collect();
        let (mut all, mut took) = (Got::default(), Histogram::default());
        for task in tasks {
            let (got, elapsed) = task.await.map_err(failed)?;
            let got = got?;
            all.records += got.records;
            all.bytes += got.bytes;
            took.record(elapsed);
        }
        Ok::<_, Failure>((all, took, began.elapsed().as_secs_f64()))
    })?;
    Report::default()
        .figure("followers", arguments.followers)
        .figure("records_each", all.records / u64::from(arguments.followers))
        .figure("bytes_each", all.bytes / u64::from(arguments.followers))
        .measure("seconds", seconds)
        .measure("records_per_second", all.records as f64 / seconds)
        .measure("bytes_per_second", all.bytes as f64 / seconds)
        .latency("caught_up_us", &took)
        .print(arguments.json)
}

/// Reads to the head and counts. Checksums are not looked at, for it is the server that is measured.
async fn follow(server: &Server, since: i64) -> Result<Got, Failure> {
    let mut connection = server.connect().await.map_err(failed)?;
    let request = server.get(&format!("/tail?since={since}&follow=false"));
    let response = connection.send(request).await.map_err(failed)?;
    let status = response.status();
    let mut body = response.into_body();
    if !status.is_success() {
        let page = body.collect().await.map_err(failed)?.to_bytes();
        return Err(remote::refused(&Refusal::of(status, &page)));
    }
    let (mut got, mut frames) = (Got::default(), Frames::default());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(failed)?.into_data() else { continue };
        got.bytes += data.len() as u64;
        frames.put(&data);
        while let Some(item) = frames.take().map_err(failed)? {
            if let Item::Records(records) = item {
                got.records += count(&records);
            }
        }
    }
    Ok(got)
}

fn count(mut records: &[u8]) -> u64 {
    let mut count = 0;
    while let Some(len) = record::len(records) {
        count += 1;
        records = records.get(len..).unwrap_or_default();
    }
    count
}
