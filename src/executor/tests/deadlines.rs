//! Deadlines, of what runs here and of what runs elsewhere.

use std::time::{Duration, Instant};

use gesta_replay::lifecycle::Transition;
use serde_json::json;

use super::{bounds, course, run, step};
use crate::executor::{Bounds, Step};

#[test]
fn a_builtin_handler_has_the_time_of_its_registration_and_no_more_than_the_bound() {
    let short = Duration::from_millis(50);
    for (seconds, bounds) in [
        (1, bounds()),
        (3600, Bounds { invoke_max: short, ..bounds() }),
        (1, Bounds { invoke_default: short, ..bounds() }),
    ] {
        run(async |world| {
            world.register_for("odd", "odd", "builtin", seconds).await;
            let executor = world.executor(world.odd(), bounds);
            let hangs = world.intent("hangs", "odd", json!({ "message": "hang" })).await;
            world.allow(hangs).await;
            let well = world.intent("well", "odd", json!({ "message": "well" })).await;
            world.allow(well).await;
            world.ended(2).await;
            let records = world.records();
            let late = step("failed", json!({ "delivery": 1, "error": { "code": "DEADLINE_EXCEEDED" } }));
            assert_eq!(course(&records, "hangs").last(), Some(&late));
            assert_eq!(course(&records, "well").last().unwrap().0, "completed");
            executor.stop(Duration::from_secs(60)).await;
        });
    }
}

#[test]
fn an_external_execution_fails_where_nobody_begins_it_or_nobody_ends_it_in_time() {
    run(async |world| {
        world.register_for("outside", "them", "external", 1).await;
        world.register("patient", "them", "external").await;
        let executor = world.executor(world.shipped(), bounds());
        for (name, intent_type) in
            [("created", "outside"), ("begun", "outside"), ("done", "outside"), ("patient", "patient")]
        {
            let intent = world.intent(name, intent_type, json!({})).await;
            world.allow(intent).await;
        }
        let report = async |name: &str, transition, payload: &str| {
            let mut open = world.until(|open| open.is_some(), name).await.unwrap();
            let step = Step { actor: "other", transition, payload: payload.as_bytes() };
            executor.author().append(&mut open, step, world.places.reserve().unwrap()).await.unwrap()
        };
        let running = Transition::Running { delivery: 1 };
        let begun = Instant::now();
        for name in ["begun", "done"] {
            let index = report(name, running, "{\"delivery\":1}").await;
            world.until(|open| open.is_some_and(|open| open.last_index == Some(index)), name).await;
        }
        report("done", Transition::Completed, "{\"output\":null}").await;
        world.ended(3).await;
        assert!(begun.elapsed() >= Duration::from_secs(1), "its time begins anew with running");
        let records = world.records();
        let late = |delivery| {
            let mut payload = json!({ "error": { "code": "DEADLINE_EXCEEDED" } });
            if let Some(delivery) = delivery {
                payload["delivery"] = json!(delivery);
            }
            step("failed", payload)
        };
        assert_eq!(course(&records, "created"), [late(None)]);
        assert_eq!(course(&records, "begun").last(), Some(&late(Some(1))));
        assert_eq!(course(&records, "done").last().unwrap().0, "completed");
        assert_eq!(course(&records, "patient"), []);
        executor.stop(Duration::from_secs(60)).await;
    });
}

#[test]
fn what_is_open_at_a_start_has_its_time_anew() {
    run(async |world| {
        world.register_for("outside", "them", "external", 1).await;
        let intent = world.intent("c", "outside", json!({})).await;
        world.allow(intent).await;
        world.until(|open| open.is_some(), "c").await;
        let started = Instant::now();
        let executor = world.executor(world.shipped(), bounds());
        world.ended(1).await;
        assert!(started.elapsed() >= Duration::from_secs(1));
        executor.stop(Duration::from_secs(60)).await;
    });
}
