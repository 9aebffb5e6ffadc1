//! Requests to cancel, at every moment of an execution's life.

use std::time::Duration;

use gesta_replay::lifecycle::Transition;
use serde_json::{Value, json};

use super::handlers::Stuck;
use super::world::World;
use super::{bounds, course, run, step};
use crate::executor::{Bounds, Step};

/// What an execution ends with that is cancelled as the world asks.
fn cancelled() -> (String, Value) {
    step("cancelled", json!({ "by": "ann", "reason": "no longer wanted" }))
}

#[test]
fn a_handler_that_runs_is_told_and_given_up_at_once() {
    run(async |world| {
        world.register("stuck", "stuck", "builtin").await;
        let handler = Stuck::default();
        let executor = world.executor(world.registry_of(&handler), bounds());
        let intent = world.intent("c", "stuck", json!({})).await;
        world.allow(intent).await;
        world.until(|open| open.is_some_and(|open| open.last_index.is_some()), "c").await;
        world.cancel(intent).await;
        world.ended(1).await;
        handler.told().await;
        assert_eq!(course(&world.records(), "c"), [step("running", json!({ "delivery": 1 })), cancelled()]);
        executor.stop(Duration::from_secs(60)).await;
    });
}

#[test]
fn what_waits_for_its_turn_is_cancelled_while_the_handlers_run() {
    run(async |world| {
        world.register("stuck", "stuck", "builtin").await;
        let handler = Stuck::default();
        let executor = world.executor(world.registry_of(&handler), Bounds { running_max: 1, ..bounds() });
        let first = world.intent("first", "stuck", json!({})).await;
        world.allow(first).await;
        world.until(|open| open.is_some_and(|open| open.last_index.is_some()), "first").await;
        let second = world.intent("second", "stuck", json!({})).await;
        world.allow(second).await;
        world.cancel(second).await;
        world.ended(1).await;
        assert_eq!(course(&world.records(), "second"), [cancelled()]);
        handler.let_go();
        world.ended(2).await;
        executor.stop(Duration::from_secs(60)).await;
    });
}

#[test]
fn what_is_not_decided_is_cancelled_once_it_is_allowed_and_a_deny_ends_it_as_ever() {
    run(async |world| {
        let executor = world.executor(world.shipped(), bounds());
        let allowed = world.intent("allowed", "chat.message", json!({})).await;
        let denied = world.intent("denied", "chat.message", json!({})).await;
        let unhandled = world.intent("unhandled", "unheard.of", json!({})).await;
        for intent in [allowed, denied, unhandled] {
            world.cancel(intent).await;
        }
        world.allow(allowed).await;
        world.deny(denied).await;
        world.allow(unhandled).await;
        world.ended(2).await;
        let records = world.records();
        assert_eq!(course(&records, "allowed"), [cancelled()]);
        assert_eq!(course(&records, "denied"), []);
        assert_eq!(course(&records, "unhandled"), [cancelled()]);
        executor.stop(Duration::from_secs(60)).await;
    });
}

#[test]
fn what_is_external_is_cancelled_here_until_it_runs_and_then_by_its_reporter() {
    run(async |world| {
        world.register("outside", "them", "external").await;
        let executor = world.executor(world.shipped(), bounds());
        let created = world.intent("created", "outside", json!({})).await;
        world.allow(created).await;
        world.cancel(created).await;
        world.ended(1).await;
        assert_eq!(course(&world.records(), "created"), [cancelled()]);

        let running = world.intent("running", "outside", json!({})).await;
        world.allow(running).await;
        let mut open = world.until(|open| open.is_some(), "running").await.unwrap();
        let report = |transition, payload| Step { actor: "other", transition, payload };
        let place = || world.places.reserve().unwrap();
        let step = report(Transition::Running { delivery: 1 }, b"{\"delivery\":1}".as_slice());
        executor.author().append(&mut open, step, place()).await.unwrap();
        world.cancel(running).await;
        world.until(|open| open.is_some_and(|open| open.cancel_requested.is_some()), "running").await;
        // Another one that the server ends shows that the follower has passed by.
        let other = world.intent("other", "outside", json!({})).await;
        world.allow(other).await;
        world.cancel(other).await;
        world.ended(2).await;
        assert_eq!(course(&world.records(), "running").len(), 1, "its reporter ends it");
        let step = report(Transition::Cancelled, b"{\"by\":\"other\"}".as_slice());
        executor.author().append(&mut open, step, place()).await.unwrap();
        world.ended(3).await;
        executor.stop(Duration::from_secs(60)).await;
    });
}

#[test]
fn a_request_that_a_killed_process_left_behind_is_done_by_the_next_start() {
    run(async |world| {
        world.register("stuck", "stuck", "builtin").await;
        let executor = world.executor(world.registry_of(&Stuck::default()), bounds());
        let intent = world.intent("c", "stuck", json!({})).await;
        world.allow(intent).await;
        world.until(|open| open.is_some_and(|open| open.last_index.is_some()), "c").await;
        // As a killed process: the handler never ends, and nobody tells it.
        executor.stop(Duration::ZERO).await;
        world.cancel(intent).await;
        let next = world.executor(world.registry_of(&Stuck::default()), bounds());
        world.ended(1).await;
        assert_eq!(course(&world.records(), "c"), [step("running", json!({ "delivery": 1 })), cancelled()]);
        next.stop(Duration::from_secs(60)).await;
    });
}

#[test]
fn an_end_and_a_request_that_race_leave_one_end() {
    run(async |world| {
        let executor = world.executor(world.shipped(), bounds());
        for nth in 0..60 {
            let name = format!("c-{nth}");
            let intent = world.intent(&name, "chat.message", json!({})).await;
            let (_, _) = tokio::join!(world.allow(intent), world.cancel(intent));
        }
        world.ended(60).await;
        let records = world.records();
        let mut ends = [0, 0];
        for nth in 0..60 {
            let course = course(&records, &format!("c-{nth}"));
            match course.last().unwrap().0.as_str() {
                "completed" => ends[0] += 1,
                "cancelled" => ends[1] += 1,
                other => panic!("{other}"),
            }
        }
        println!("{} completed, {} cancelled", ends[0], ends[1]);
        executor.stop(Duration::from_secs(60)).await;
        check_ends(world, 60);
    });
}

#[track_caller]
fn check_ends(world: &World, count: usize) {
    let is_end = |record: &&Value| {
        ["completed", "failed", "cancelled"].contains(&record["type"].as_str().unwrap())
            && record["kind"] == "EXECUTION"
    };
    assert_eq!(world.records().iter().filter(is_end).count(), count);
}
