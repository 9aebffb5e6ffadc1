//! The server against a plain in-memory model: random appends, repeats, conflicts, kills, restarts and reads, and
//! after each the answer that the model gives.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::collections::HashMap;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};
use support::process::SMALL_SEGMENTS;
use support::tail::records;
use support::{Client, Intent, Random, Server};

const STREAMS: [&str; 2] = ["default", "other"];
const LANES: [&str; 2] = ["user", "batch"];
const THREADS: [&str; 3] = ["one", "two", "three \"quoted\""];

/// One step.
#[derive(Clone, Debug)]
enum Step {
    /// Posts an intent of few ids and contents, so that many are repeats and conflicts.
    Post { id: u8, stream: usize, lane: usize, thread: usize, size: usize },
    /// Reads through a filter, from an index, by tail or by page.
    Read {
        since: i64,
        stream: Option<usize>,
        lane: Option<usize>,
        thread: Option<usize>,
        id: Option<u8>,
        pages: bool,
    },
    /// `kill -9`, and a new process.
    Kill,
    /// An orderly end, and a new process.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![4 => 0..200_usize, 1 => 30_000..50_000_usize, 1 => 66_000..70_000_usize];
    let post =
        (0..10_u8, 0..2_usize, 0..2_usize, 0..3_usize, size).prop_map(|(id, stream, lane, thread, size)| {
            Step::Post { id, stream, lane, thread, size: size / 100 * 100 }
        });
    let some = |bound: usize| prop::option::of(0..bound);
    let read = (-1..30_i64, some(2), some(2), some(3), prop::option::weighted(0.2, 0..10_u8), any::<bool>())
        .prop_map(|(since, stream, lane, thread, id, pages)| Step::Read {
            since,
            stream,
            lane,
            thread,
            id,
            pages,
        });
    prop_oneof![20 => post, 8 => read, 1 => Just(Step::Kill), 1 => Just(Step::Restart)]
}

/// What a log is, without any of what makes it last.
#[derive(Default)]
struct Model {
    log: Vec<Intent>,
    by_id: HashMap<(String, String), usize>,
}

impl Model {
    /// Status and index of the answer to an intent.
    fn post(&mut self, intent: &Intent) -> (u16, usize) {
        let next = self.log.len();
        let first = *self.by_id.entry((intent.stream.clone(), intent.correlation_id.clone())).or_insert(next);
        if first == next {
            self.log.push(intent.clone());
            return (202, next);
        }
        (if self.log[first] == *intent { 200 } else { 409 }, first)
    }

    fn read(&self, since: i64, matches: impl Fn(&Intent) -> bool) -> Vec<usize> {
        let all = self.log.iter().enumerate().filter(|(_, intent)| matches(intent)).map(|(index, _)| index);
        all.filter(|index| i64::try_from(*index).unwrap() > since).collect()
    }
}

fn post(client: &mut Client, model: &mut Model, intent: &Intent) -> Result<(), TestCaseError> {
    let response = client.post(&intent.body());
    let (status, index) = model.post(intent);
    prop_assert_eq!((response.status, response.index()), (status, index as u64), "{}", response.text());
    prop_assert_eq!(response.header("idempotent-replayed"), (status == 200).then_some("true"));
    Ok(())
}

fn encoded(name: &str, value: &str) -> String {
    let value: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("&{name}={value}")
}

/// All indexes that a read shows, by tail or by pages of three.
fn indexes(client: &mut Client, since: i64, filters: &str, pages: bool) -> Vec<u64> {
    if !pages {
        let response = client.get(&format!("/tail?follow=false&since={since}{filters}"));
        return records(&response).iter().map(support::Block::index).collect();
    }
    let (mut found, mut since) = (Vec::new(), Some(since));
    while let Some(from) = since {
        let page = client.get(&format!("/events?limit=3&since={from}{filters}")).json();
        found.extend(page["events"].as_array().unwrap().iter().map(|event| event["index"].as_u64().unwrap()));
        since = page["next"].as_i64();
    }
    found
}

fn take(
    step: &Step,
    data: &Path,
    server: &mut Option<Server>,
    model: &mut Model,
) -> Result<(), TestCaseError> {
    let running = server.take().unwrap();
    let mut client = running.client();
    match step {
        Step::Post { id, stream, lane, thread, size } => {
            let intent = Intent {
                stream: STREAMS[*stream].to_owned(),
                lane: LANES[*lane].to_owned(),
                thread: THREADS[*thread].to_owned(),
                ..Intent::sized(format!("id-{id}"), *size)
            };
            post(&mut client, model, &intent)?;
        }
        Step::Read { since, stream, lane, thread, id, pages } => {
            let since = (*since).min(model.log.len() as i64 - 1);
            let (stream, lane, thread) =
                (stream.map(|at| STREAMS[at]), lane.map(|at| LANES[at]), thread.map(|at| THREADS[at]));
            let id = id.map(|id| format!("id-{id}"));
            let filters = [
                stream.map(|value| encoded("stream_id", value)),
                lane.map(|value| encoded("lanes", value)),
                thread.map(|value| encoded("thread_id", value)),
                id.as_deref().map(|value| encoded("correlation_id", value)),
            ];
            let filters: String = filters.into_iter().flatten().collect();
            let expected = model.read(since, |intent| {
                stream.is_none_or(|stream| intent.stream == stream)
                    && lane.is_none_or(|lane| intent.lane == lane)
                    && thread.is_none_or(|thread| intent.thread == thread)
                    && id.as_deref().is_none_or(|id| intent.correlation_id == id)
            });
            let found = indexes(&mut client, since, &filters, *pages);
            let expected: Vec<u64> = expected.into_iter().map(|index| index as u64).collect();
            prop_assert_eq!(found, expected, "since {} {}", since, filters);
        }
        Step::Kill => {
            running.kill();
            *server = Some(Server::start(data, &SMALL_SEGMENTS));
            return Ok(());
        }
        Step::Restart => {
            running.stop();
            *server = Some(Server::start(data, &SMALL_SEGMENTS));
            return Ok(());
        }
    }
    *server = Some(running);
    Ok(())
}

/// The whole log, record by record.
fn check_whole(server: &Server, model: &Model) -> Result<(), TestCaseError> {
    let mut client = server.client();
    let blocks = records(&client.get("/tail?follow=false"));
    prop_assert_eq!(blocks.len(), model.log.len());
    for (block, intent) in blocks.iter().zip(&model.log) {
        let envelope = block.json();
        prop_assert_eq!(&envelope["correlation_id"], &json!(intent.correlation_id));
        prop_assert_eq!(&envelope["stream_id"], &json!(intent.stream));
        let payload = &envelope["payload"]["payload"];
        let payload = match payload["$blob"].as_str() {
            Some(digest) => {
                let path = format!("/api/blob/sha256/{}", digest.strip_prefix("sha256:").unwrap());
                client.get(&path).json()
            }
            None => Value::clone(payload),
        };
        prop_assert_eq!(&payload, &intent.payload);
    }
    Ok(())
}

#[test]
fn the_server_answers_as_a_plain_list_does_over_kills_and_restarts() {
    let seed = Random::seeded("model").next();
    let config = Config {
        cases: u32::try_from(support::from_environment("GESTA_MODEL_CASES", 12)).unwrap(),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 40,
        ..Config::default()
    };
    let run = TestRunner::new(config).run(&prop::collection::vec(step(), 1..60), |steps| {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Some(Server::start(directory.path(), &SMALL_SEGMENTS));
        let mut model = Model::default();
        for step in &steps {
            take(step, directory.path(), &mut server, &mut model)?;
        }
        check_whole(server.as_ref().unwrap(), &model)?;
        server.take().unwrap().kill();
        check_whole(&Server::start(directory.path(), &SMALL_SEGMENTS), &model)
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}
