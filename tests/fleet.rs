//! A fleet of worker processes, of which any is killed or stalled at any moment, and a server that is killed every few
//! seconds, also while it starts: every task ends, none completes twice, none is lost, and the log alone shows it.
//!
//! The sizes are set by the environment: `GESTA_KILLED_WORKERS=50 GESTA_KILLED_TASKS=2000 cargo test --test fleet -- --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

#[path = "fleet/crew.rs"]
mod crew;
#[path = "fleet/judge.rs"]
mod judge;
#[path = "fleet/site.rs"]
mod site;
mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crew::Crew;
use site::{Door, Site};
use support::{PATIENCE, Random, from_environment, until};

/// Clients that submit at once.
const CLIENTS: u64 = 4;

/// Longest pause between two intents of a client.
const PAUSE_MS_MAX: u64 = 60;

/// How long a server lives at most.
const LIFE_MS_MAX: u64 = 2500;

/// Of so many workers one more is killed or stalled at once.
const WORKERS_A_BLOW: u64 = 16;

/// How long all of it may take for each task on a machine that has other things to do.
const PATIENCE_A_TASK: Duration = Duration::from_secs(1);

/// Says that it is over when dropped, also where a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Submits every intent of one client until each is acknowledged, and gives their indexes.
fn submit(door: &Door, client: u64, tasks: u64, over: &AtomicBool, mut random: Random) -> Vec<(String, u64)> {
    let mut acknowledged = Vec::new();
    for nth in (0..tasks).filter(|nth| nth % CLIENTS == client) {
        let Some(index) = door.submit(nth, over, &mut random) else { break };
        if random.below(10) == 0 {
            assert_eq!(
                door.submit(nth, over, &mut random).unwrap_or(index),
                index,
                "a repeat is another intent"
            );
        }
        acknowledged.push((site::correlation(nth), index));
        thread::sleep(Duration::from_millis(random.below(PAUSE_MS_MAX)));
    }
    acknowledged
}

/// Kills and stalls what there is until as many executions have ended.
fn disturb(site: &mut Site, crew: &mut Crew, (workers, tasks): (u64, u64), random: &mut Random) {
    let deadline = Instant::now() + PATIENCE + PATIENCE_A_TASK * u32::try_from(tasks).unwrap();
    let life = |random: &mut Random| Instant::now() + Duration::from_millis(500 + random.below(LIFE_MS_MAX));
    let mut dies_at = life(random);
    while site.ended() < tasks {
        assert!(Instant::now() < deadline, "{} of {tasks} executions have ended in time", site.ended());
        for _ in 0..=workers / WORKERS_A_BLOW {
            crew.disturb(random);
        }
        if Instant::now() >= dies_at {
            site.kill_and_start(random);
            dies_at = life(random);
        }
        thread::sleep(Duration::from_millis(random.below(150)));
    }
}

#[test]
fn every_task_ends_once_whatever_processes_are_killed_meanwhile() {
    let mut random = Random::seeded("fleet");
    let workers = from_environment("GESTA_KILLED_WORKERS", 12);
    let tasks = from_environment("GESTA_KILLED_TASKS", 200);
    let began = Instant::now();
    let mut site = Site::start(&mut random);
    let mut crew = Crew::start(&site, workers);
    let over = AtomicBool::new(false);
    let acknowledged: BTreeMap<String, u64> = thread::scope(|scope| {
        let _over = Over(&over);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (door, over, random) = (site.door(), &over, random.split());
                scope.spawn(move || submit(&door, client, tasks, over, random))
            })
            .collect();
        disturb(&mut site, &mut crew, (workers, tasks), &mut random);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let told = crew.dismiss();
    assert_eq!(acknowledged.len() as u64, tasks);
    let snapshot = until("all is folded", || site.settled());
    let (starts, _directory, data) = site.stop();
    let counted = judge::judge(&data, &acknowledged, &snapshot);
    println!(
        "fleet: {workers} workers, {tasks} tasks in {:?}: {told}, {starts} starts of the server",
        began.elapsed()
    );
    println!("fleet: {counted}");
}
