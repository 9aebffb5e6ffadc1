//! A disk that is full for a while: each record is appended once there is room, and once only.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::handlers::{Odd, Stuck};
use super::world::World;
use super::{bounds, course, run};
use crate::executor::Executor;
use crate::sequencer::{Outcome, Queue};

/// Refuses each record of the executor so many times, as a full disk does, before the sequencer gets it.
const REFUSALS: usize = 3;

/// An executor whose disk is full for a while; how many appends were refused.
fn refused_for_a_while(world: &World) -> (Arc<Executor>, Arc<AtomicUsize>) {
    let (queue, refused) = (Arc::new(Queue::default()), Arc::new(AtomicUsize::new(0)));
    let registry = world.registry(|registry| {
        registry.register_intent("odd", "odd", Odd, json!({}));
        registry.register_intent("stuck", "stuck", Stuck::default(), json!({}));
    });
    let executor = world.executor_with(registry, bounds(), Arc::clone(&queue));
    let (disk, count) = (Arc::clone(&world.queue), Arc::clone(&refused));
    tokio::spawn(async move {
        let mut tries: HashMap<_, usize> = HashMap::new();
        loop {
            for append in queue.drain() {
                let tried = tries.entry(append.prepared.digest()).or_default();
                *tried += 1;
                if *tried <= REFUSALS {
                    count.fetch_add(1, Ordering::Relaxed);
                    let _ = append.reply.send(Outcome::DiskFull);
                } else if disk.push(append).is_err() {
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    });
    (executor, refused)
}

#[test]
fn what_a_full_disk_refuses_is_recorded_once_there_is_room_and_once_only() {
    run(async |world| {
        world.register("odd", "odd", "builtin").await;
        world.register("stuck", "stuck", "builtin").await;
        let (executor, refused) = refused_for_a_while(world);
        let mut wanted = Vec::new();
        for nth in 0..4 {
            for (message, end) in [("well", "completed"), ("fail", "failed"), ("events", "completed")] {
                let name = format!("{message}-{nth}");
                let intent = world.intent(&name, "odd", json!({ "message": message })).await;
                world.allow(intent).await;
                wanted.push((name, if message == "events" { 4 } else { 2 }, end));
            }
        }
        let intent = world.intent("cancelled", "stuck", json!({})).await;
        world.allow(intent).await;
        world.until(|open| open.is_some_and(|open| open.last_index.is_some()), "cancelled").await;
        world.cancel(intent).await;
        wanted.push(("cancelled".to_owned(), 2, "cancelled"));
        world.ended(wanted.len()).await;
        executor.stop(Duration::from_secs(60)).await;
        let records = world.records();
        let mut appended = 0;
        for (name, count, end) in &wanted {
            let course = course(&records, name);
            assert_eq!(
                (course.len(), course.last().unwrap().0.as_str()),
                (*count, *end),
                "{name}: {course:?}"
            );
            appended += count;
        }
        assert_eq!(refused.load(Ordering::Relaxed), appended * REFUSALS);
    });
}
