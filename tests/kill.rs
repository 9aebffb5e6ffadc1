//! The built program killed with `kill -9` at random moments under load, many times over one directory: what it has
//! acknowledged stays, byte for byte, and what a follower has seen never changes.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::process::{SMALL_SEGMENTS, Starting, serve};
use support::tail::records;
use support::{Client, Ending, Intent, PATIENCE, Random, Server, Tail};

const WRITERS: u64 = 4;

/// What clients know after all the lives so far.
#[derive(Default)]
struct Known {
    /// Each acknowledged intent and its index.
    acknowledged: Vec<(Intent, u64)>,
    /// Sent, and never answered.
    unanswered: Vec<Intent>,
    /// Every record that any follower has seen, as its bytes.
    seen: BTreeMap<u64, Vec<u8>>,
}

/// A writer that posts until the server is gone: acknowledged and unanswered intents.
fn write(server: &Server, life: u64, writer: u64, acknowledged: &Arc<AtomicU64>) -> JoinHandle<Known> {
    let (mut client, count) = (server.client(), Arc::clone(acknowledged));
    std::thread::spawn(move || {
        let mut known = Known::default();
        for nth in 0.. {
            let mut intent = Intent::sized(format!("{life}-{writer}-{nth}"), 40 + (nth * 37 % 900));
            intent.thread = format!("thread-{}", nth % 7);
            match client.try_post(&intent.body()) {
                Ok(response) => {
                    assert_eq!(response.status, 202, "{}", response.text());
                    known.acknowledged.push((intent, response.index()));
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Err(_killed) => {
                    known.unanswered.push(intent);
                    break;
                }
            }
        }
        known
    })
}

/// A follower that reads on from `since` until the server is gone, and what it has seen.
fn follow(server: &Server, since: i64) -> JoinHandle<BTreeMap<u64, Vec<u8>>> {
    let address = server.address;
    std::thread::spawn(move || {
        let mut seen = BTreeMap::new();
        let Ok(mut tail) = Tail::open(address, &format!("?since={since}"), &[]) else { return seen };
        let mut expected = u64::try_from(since + 1).unwrap();
        while let Some(block) = tail.next() {
            assert_ne!(block.event, "reset", "a cursor that was seen is ahead of the log");
            if block.is_record() {
                assert_eq!(block.index(), expected, "a gap, or a repeat");
                seen.insert(expected, block.raw);
                expected += 1;
            }
        }
        assert_eq!(tail.ending(), Ending::Cut);
        seen
    })
}

impl Known {
    /// Takes over what a follower saw, which must agree with what was seen before.
    fn learn(&mut self, seen: BTreeMap<u64, Vec<u8>>) {
        for (index, bytes) in seen {
            if let Some(before) = self.seen.get(&index) {
                assert!(*before == bytes, "the record at index {index} has changed");
            }
            self.seen.insert(index, bytes);
        }
    }

    /// Compares everything that is known with the log of a server that has recovered.
    fn check(&mut self, server: &Server) {
        let blocks = records(&server.client().get("/tail?follow=false"));
        for (index, block) in (0..).zip(&blocks) {
            assert_eq!(block.index(), index, "the log has a gap");
        }
        let head = blocks.len() as u64;
        assert!(
            self.seen.keys().next_back().is_none_or(|last| *last < head),
            "a record that was seen is gone"
        );
        for (intent, index) in &self.acknowledged {
            assert!(*index < head, "the acknowledged record at {index} is gone; the head is {head}");
            let data = &blocks[usize::try_from(*index).unwrap()].data;
            let named = format!("\"correlation_id\":\"{}\"", intent.correlation_id);
            assert!(data.contains(&named), "the acknowledged record at {index} is another");
        }
        let mut found: HashMap<String, u64> = HashMap::new();
        for block in &blocks {
            let id = block.json()["correlation_id"].as_str().unwrap().to_owned();
            assert_eq!(found.insert(id, block.index()), None, "one intent was stored twice");
        }
        self.learn((0..).zip(blocks.into_iter().map(|block| block.raw)).collect());
    }

    /// Repeats requests after a restart: what was acknowledged is replayed, what was not answered settles now.
    fn repeat(&mut self, server: &Server, random: &mut Random) {
        let mut client = server.client();
        let newest = self.acknowledged.len().saturating_sub(20)..self.acknowledged.len();
        let mut repeated: Vec<_> = self.acknowledged[newest].to_vec();
        repeated.extend(
            (0..10)
                .filter(|_| !self.acknowledged.is_empty())
                .map(|_| random.pick(&self.acknowledged).clone()),
        );
        for (intent, index) in repeated {
            check_replayed(&mut client, &intent, index);
        }
        for intent in std::mem::take(&mut self.unanswered) {
            let response = client.post(&intent.body());
            assert!(matches!(response.status, 200 | 202), "{}", response.text());
            self.acknowledged.push((intent, response.index()));
        }
    }
}

#[track_caller]
fn check_replayed(client: &mut Client, intent: &Intent, index: u64) {
    let response = client.post(&intent.body());
    assert_eq!((response.status, response.index()), (200, index), "{}", response.text());
    assert_eq!(response.header("idempotent-replayed"), Some("true"));
    let other = Intent { payload: Value::Object(serde_json::Map::new()), ..intent.clone() };
    let refused = client.post(&other.body());
    assert_eq!((refused.status, refused.index()), (409, index), "{}", refused.text());
}

/// Lets writers and followers run until a random number of acknowledgements, then kills at a random moment soon after.
fn live(server: Server, life: u64, known: &mut Known, random: &mut Random) {
    let count = Arc::new(AtomicU64::new(0));
    let last = known.seen.keys().next_back().map_or(-1, |last| i64::try_from(*last).unwrap());
    let since = [last, last, i64::try_from(random.below(u64::try_from(last + 2).unwrap())).unwrap() - 1];
    let followers: Vec<_> = since.iter().map(|since| follow(&server, *since)).collect();
    let writers: Vec<_> = (0..WRITERS).map(|writer| write(&server, life, writer, &count)).collect();
    let enough = random.below(400);
    let deadline = Instant::now() + PATIENCE;
    while count.load(Ordering::Relaxed) < enough {
        assert!(Instant::now() < deadline, "the server has stopped answering");
        std::thread::yield_now();
    }
    // Not to wait for anything, but to be anywhere between two acknowledgements.
    let moment = Instant::now() + Duration::from_micros(random.below(3000));
    while Instant::now() < moment {
        std::hint::spin_loop();
    }
    server.kill();
    for writer in writers {
        let Known { acknowledged, unanswered, .. } = writer.join().unwrap();
        known.acknowledged.extend(acknowledged);
        known.unanswered.extend(unanswered);
    }
    for follower in followers {
        known.learn(follower.join().unwrap());
    }
}

/// Kills starting servers too: recovery is itself cut off anywhere.
fn start(data: &Path, random: &mut Random) -> Server {
    let command = |random: &mut Random| {
        let fill = random.pick(&["log.fill_ahead=true", "log.fill_ahead=true", "log.fill_ahead=false"]);
        serve(data, &[SMALL_SEGMENTS.as_slice(), &[fill]].concat())
    };
    while random.below(3) == 0 {
        let starting = Starting::spawn(command(random));
        std::thread::sleep(Duration::from_millis(random.below(60)));
        starting.kill();
    }
    let command = command(random);
    Server::spawn(command).unwrap_or_else(|ended| panic!("it does not recover: {ended:?}"))
}

#[test]
fn what_was_acknowledged_or_seen_survives_kills_at_random_moments() {
    let mut random = Random::seeded("kill");
    let directory = tempfile::tempdir().unwrap();
    let mut known = Known::default();
    for life in 0..support::from_environment("GESTA_KILL_ROUNDS", 25) {
        let server = start(directory.path(), &mut random);
        known.check(&server);
        known.repeat(&server, &mut random);
        live(server, life, &mut known, &mut random);
    }
    let server = start(directory.path(), &mut random);
    known.check(&server);
    known.repeat(&server, &mut random);
    let segments = std::fs::read_dir(directory.path().join("log")).unwrap().count();
    println!("{} records acknowledged, {segments} segments", known.acknowledged.len());
    assert!(segments > 3, "no segment was sealed under the kills: {segments}");
    server.stop();
}
