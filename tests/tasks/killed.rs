//! Workers that crash, stall and repeat themselves while the server is killed: every task ends, and none twice.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Random, until};
use crate::world::{Claim, JSON, WORKER, World};

const TASKS: usize = 40;

/// Where the server is now.
type Place = Mutex<(SocketAddr, SocketAddr)>;

fn place(world: &World) -> (SocketAddr, SocketAddr) {
    (world.server().address_of("internal"), world.server().address_of("task"))
}

/// Stops the workers when dropped.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An answer of 200, if there is one: the server may be gone at any moment.
fn ask(address: SocketAddr, path: &str, header: (&str, &str), body: &Value) -> Option<(u16, Value)> {
    let body = body.to_string();
    let response = Client::new(address).try_request("POST", path, &[JSON, header], body.as_bytes()).ok()?;
    Some((response.status, serde_json::from_slice(&response.body).unwrap_or_default()))
}

/// Claims and completes until it is told to stop. Some tasks it drops, some reports it repeats.
fn work(worker_id: &str, place: &Place, stop: &AtomicBool, mut random: Random) {
    while !stop.load(Ordering::Relaxed) {
        let (internal, _) = *place.lock().unwrap();
        let body =
            json!({ "worker_id": worker_id, "pools": ["p"], "max": 1 + random.below(4), "wait_ms": 100 });
        let claimed = ask(internal, "/internal/task-claim", WORKER, &body);
        let Some((200, claimed)) = claimed else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        for claim in claimed.as_array().unwrap().iter().map(Claim::of) {
            if random.below(8) > 0 {
                finish(&claim, place, &mut random);
            }
        }
    }
}

/// Reports the end of an attempt until somebody hears it.
fn finish(claim: &Claim, place: &Place, random: &mut Random) {
    let status = if random.below(6) == 0 { "Failed" } else { "Completed" };
    let mut repeats = 1 + random.below(2);
    for _ in 0..200 {
        let (_, task) = *place.lock().unwrap();
        let header = ("X-Trace-Task-Capability", claim.capability.as_str());
        if random.below(4) == 0 {
            ask(task, "/v1/task/heartbeat", header, &claim.with(&json!({})));
        }
        match ask(task, "/v1/task/complete", header, &claim.with(&json!({ "status": status }))) {
            Some((200, _)) if repeats > 1 => repeats -= 1,
            Some((200 | 409, _)) => return,
            Some(_) | None => thread::sleep(Duration::from_millis(10)),
        }
    }
}

#[test]
fn every_task_ends_once_whatever_is_killed_meanwhile() {
    let mut random = Random::seeded("every_task_ends_once_whatever_is_killed_meanwhile");
    let mut world = World::start();
    world.register("work", &json!({ "lease_seconds": 1, "max_attempts": 100 }));
    let (now, stop) = (Mutex::new(place(&world)), AtomicBool::new(false));
    thread::scope(|scope| {
        // Also where this fails: nobody works on for ever.
        let _stopping = Stopping(&stop);
        for nth in 0..4 {
            let (now, stop, random) = (&now, &stop, random.split());
            scope.spawn(move || work(&format!("w-{nth}"), now, stop, random));
        }
        for nth in 0..TASKS {
            world.submit_to(&format!("c-{nth}"), "work", ["a", "b", "default"][nth % 3]);
            if nth % 12 == 11 {
                thread::sleep(Duration::from_millis(random.below(400)));
                world.kill_and_start();
                *now.lock().unwrap() = place(&world);
            }
        }
        until("all have ended", || {
            let open = world.get("/api/task").json()["tasks"].as_array().unwrap().len();
            let ended = (0..TASKS).all(|nth| {
                let records = world.records(&format!("c-{nth}"));
                records.last().is_some_and(|last| last["kind"] == "EXECUTION" && last["type"] == "completed")
            });
            (open == 0 && ended).then_some(())
        });
    });
    for nth in 0..TASKS {
        let records = world.records(&format!("c-{nth}"));
        let count = |kind: &str, type_name: &str| {
            records.iter().filter(|record| record["kind"] == kind && record["type"] == type_name).count()
        };
        assert_eq!((count("TASK", "completed"), count("EXECUTION", "running")), (1, 1), "c-{nth}");
    }
    world.check_replay();
}
