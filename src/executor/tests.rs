//! Executions over a real log in a temporary directory: the sequencer, the projector and the executor, without HTTP.

mod cancelling;
mod deadlines;
mod full;
mod handlers;
mod runtime;
mod world;

use std::time::Duration;

use gesta_replay::lifecycle::Transition;
use serde_json::{Value, json};

use super::{Bounds, Step, StepError};
use crate::append::AppendError;
use handlers::Stuck;
use world::{World, member};

/// No bound is met but those that a test sets.
fn bounds() -> Bounds {
    let long = Duration::from_secs(3600);
    Bounds { running_max: 4, invoke_default: long, invoke_max: long, retry: Duration::from_millis(1) }
}

fn run(test: impl AsyncFnOnce(&World)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::open();
        test(&world).await;
        world.close().await;
    });
}

/// Kind, type and payload of the records of one intent, without `_obs` and what is long.
fn course(records: &[Value], correlation: &str) -> Vec<(String, Value)> {
    let of_intent = records.iter().filter(|record| record["correlation_id"] == correlation);
    of_intent
        .filter(|record| record["kind"] == "EXECUTION")
        .map(|record| {
            let mut payload = record["payload"].clone();
            payload.as_object_mut().unwrap().remove("_obs");
            if let Some(error) = payload.get_mut("error") {
                error.as_object_mut().unwrap().remove("message");
            }
            (record["type"].as_str().unwrap().to_owned(), payload)
        })
        .collect()
}

fn step(type_name: &str, payload: Value) -> (String, Value) {
    (type_name.to_owned(), payload)
}

#[test]
fn an_allowed_intent_is_echoed_and_inherits_what_it_follows_from() {
    run(async |world| {
        let executor = world.executor(world.shipped(), bounds());
        let intent = world.intent("c", "chat.message", json!({ "message": " hi " })).await;
        let decision = world.allow(intent).await;
        world.ended(1).await;
        let records = world.records();
        let expected = [
            step("running", json!({ "delivery": 1 })),
            step("completed", json!({ "delivery": 1, "output": { "message": " hi " } })),
        ];
        assert_eq!(course(&records, "c"), expected);
        let (running, completed) = (&records[2], &records[3]);
        assert_eq!((&running["cause"], &completed["cause"]), (&json!(decision.0), &running["index"]));
        assert!(completed["payload"]["_obs"]["invoke_us"].is_u64());
        for name in ["stream_id", "lane", "actor", "intent_type", "thread_id", "turn_id", "parent_turn_id"] {
            assert_eq!(completed[name], records[0][name], "{name}");
        }
        executor.stop(Duration::from_secs(60)).await;
    });
}

#[test]
fn what_is_denied_is_not_run_and_what_nobody_handles_fails() {
    run(async |world| {
        let executor = world.executor(world.shipped(), bounds());
        let denied = world.intent("denied", "chat.message", json!({})).await;
        world.deny(denied).await;
        let intent = world.intent("c", "unheard.of", json!({})).await;
        world.allow(intent).await;
        world.ended(1).await;
        let expected = [step("failed", json!({ "error": { "code": "NO_HANDLER" } }))];
        assert_eq!(course(&world.records(), "c"), expected);
        assert_eq!(course(&world.records(), "denied"), []);
        executor.stop(Duration::from_secs(60)).await;
    });
}

#[test]
fn a_handler_that_fails_panics_is_late_or_answers_nonsense_fails_its_execution_alone() {
    run(async |world| {
        world.register("odd", "odd", "builtin").await;
        let late = Bounds { invoke_max: Duration::from_millis(50), ..bounds() };
        let executor = world.executor(world.odd(), late);
        let cases = [
            ("fail", Err("ODD")),
            ("panic", Err("HANDLER_PANICKED")),
            ("hang", Err("DEADLINE_EXCEEDED")),
            ("nonsense", Err("HANDLER_OUTPUT_INVALID")),
            ("event-that-is-no-object", Err("HANDLER_OUTPUT_INVALID")),
            ("well", Ok(())),
        ];
        for (what, _) in cases {
            let intent = world.intent(what, "odd", json!({ "message": what })).await;
            world.allow(intent).await;
        }
        world.ended(cases.len()).await;
        for (what, expected) in cases {
            let end = match expected {
                Err(code) => step("failed", json!({ "delivery": 1, "error": { "code": code } })),
                Ok(()) => step("completed", json!({ "delivery": 1, "output": null })),
            };
            let course = course(&world.records(), what);
            assert_eq!(course.last(), Some(&end), "{what}");
        }
        executor.stop(Duration::from_secs(60)).await;
    });
}

#[test]
fn events_are_recorded_in_order_and_what_is_too_large_becomes_a_blob() {
    run(async |world| {
        world.register("odd", "odd", "builtin").await;
        let executor = world.executor(world.odd(), bounds());
        let intent = world.intent("c", "odd", json!({ "message": "events" })).await;
        world.allow(intent).await;
        world.ended(1).await;
        let records = world.records();
        let course = course(&records, "c");
        let types: Vec<_> = course.iter().map(|(type_name, _)| type_name.as_str()).collect();
        assert_eq!(types, ["running", "event", "event", "completed"]);
        assert_eq!((&course[1].1, &course[2].1), (&json!({ "nth": 1 }), &json!({ "nth": 2 })));
        let output = &course[3].1["output"];
        let digest = output["$blob"].as_str().unwrap();
        let content = world.blob(digest).await;
        assert_eq!(content.len() as u64, output["size_bytes"].as_u64().unwrap());
        assert_eq!(content, format!("\"{}\"", "x".repeat(70_000)).into_bytes());
        executor.stop(Duration::from_secs(60)).await;
    });
}

#[test]
fn what_was_running_is_taken_up_again_three_times_at_most() {
    run(async |world| {
        world.register("stuck", "stuck", "builtin").await;
        let intent = world.intent("c", "stuck", json!({})).await;
        world.allow(intent).await;
        for delivery in 1..=3 {
            let executor = world.executor(world.registry_of(&Stuck::default()), bounds());
            world.until(|open| open.is_some_and(|open| open.standing.deliveries == delivery), "c").await;
            // As a killed process: the handler never ends, and nobody waits for it.
            executor.stop(Duration::ZERO).await;
        }
        let executor = world.executor(world.registry_of(&Stuck::default()), bounds());
        world.ended(1).await;
        let expected = [
            step("running", json!({ "delivery": 1 })),
            step("running", json!({ "delivery": 2 })),
            step("running", json!({ "delivery": 3 })),
            step("failed", json!({ "delivery": 3, "error": { "code": "RETRIES_EXHAUSTED" } })),
        ];
        assert_eq!(course(&world.records(), "c"), expected);
        executor.stop(Duration::from_secs(60)).await;
    });
}

/// Someone else reports while the handler runs; gives what stands in the log at the end.
async fn reported(world: &World, transition: Transition, payload: &str) -> Vec<String> {
    world.register("stuck", "stuck", "builtin").await;
    let stuck = Stuck::default();
    let executor = world.executor(world.registry_of(&stuck), bounds());
    let intent = world.intent("c", "stuck", json!({})).await;
    world.allow(intent).await;
    let mut open = world.until(|open| open.is_some_and(|open| open.last_index.is_some()), "c").await.unwrap();
    let step = Step { actor: "other", transition, payload: payload.as_bytes() };
    let place = world.places.reserve().unwrap();
    executor.author().append(&mut open, step, place).await.unwrap();
    stuck.let_go();
    world.ended(1).await;
    executor.stop(Duration::from_secs(60)).await;
    course(&world.records(), "c").into_iter().map(|(type_name, _)| type_name).collect()
}

#[test]
fn an_end_that_someone_else_reports_is_the_only_one() {
    run(async |world| {
        let types = reported(world, Transition::Cancelled, "{\"by\":\"other\"}").await;
        assert_eq!(types, ["running", "cancelled"]);
    });
}

#[test]
fn an_event_that_someone_else_reports_does_not_keep_the_end_from_being_recorded() {
    run(async |world| {
        let types = reported(world, Transition::Event, "{}").await;
        assert_eq!(types, ["running", "event", "completed"]);
    });
}

#[test]
fn what_the_life_of_an_execution_does_not_allow_is_not_appended() {
    run(async |world| {
        world.register("outside", "them", "external").await;
        let executor = world.executor(world.shipped(), bounds());
        let intent = world.intent("c", "outside", json!({})).await;
        world.allow(intent).await;
        let open = world.until(|open| open.is_some(), "c").await.unwrap();
        for transition in [Transition::Event, Transition::Completed, Transition::Running { delivery: 2 }] {
            let step = Step { actor: "other", transition, payload: b"{}" };
            let place = world.places.reserve().unwrap();
            let refused = executor.author().append(&mut open.clone(), step, place).await.unwrap_err();
            assert!(matches!(refused, StepError::Illegal(_)), "{refused}");
        }
        let running = Step {
            actor: "other",
            transition: Transition::Running { delivery: 1 },
            payload: b"{\"delivery\":1}",
        };
        let place = || world.places.reserve().unwrap();
        let first = executor.author().append(&mut open.clone(), running, place()).await.unwrap();
        let second = executor.author().append(&mut open.clone(), running, place()).await.unwrap_err();
        assert!(
            matches!(second, StepError::Append(AppendError::Moved { newest, .. }) if newest == first),
            "{second}"
        );
        executor.stop(Duration::from_secs(60)).await;
    });
}

#[test]
fn an_external_execution_waits_until_its_handler_is_removed() {
    run(async |world| {
        world.register("outside", "them", "external").await;
        let executor = world.executor(world.shipped(), bounds());
        let waiting = world.intent("waiting", "outside", json!({})).await;
        world.allow(waiting).await;
        let other = world.intent("other", "chat.message", json!({})).await;
        world.allow(other).await;
        world.ended(1).await;
        assert_eq!(course(&world.records(), "waiting"), []);
        world.remove("outside", "them").await;
        executor.look_again();
        world.ended(2).await;
        let expected = [step("failed", json!({ "error": { "code": "NO_HANDLER" } }))];
        assert_eq!(course(&world.records(), "waiting"), expected);
        executor.stop(Duration::from_secs(60)).await;
    });
}

#[test]
fn more_than_may_run_at_once_wait_in_the_log_and_all_end_once() {
    run(async |world| {
        for nth in 0..40 {
            let intent = world.intent(&format!("before-{nth}"), "chat.message", json!({})).await;
            world.allow(intent).await;
        }
        let executor = world.executor(world.shipped(), Bounds { running_max: 2, ..bounds() });
        for nth in 0..40 {
            let intent = world.intent(&format!("after-{nth}"), "chat.message", json!({})).await;
            world.allow(intent).await;
            executor.look_again();
        }
        world.ended(80).await;
        executor.stop(Duration::from_secs(60)).await;
        let records = world.records();
        let executions = records.iter().filter(|record| record["kind"] == "EXECUTION").count();
        assert_eq!(executions, 160);
    });
}

#[test]
fn a_prompt_has_what_was_said_and_what_was_answered_in_the_order_of_the_log() {
    run(async |world| {
        world.register("prompt", "assemble_prompt", "builtin").await;
        let executor = world.executor(world.shipped(), bounds());
        for (correlation, said) in [("one", json!({ "message": " first " })), ("two", json!({ "n": 2 }))] {
            let intent = world.intent(correlation, "chat.message", said).await;
            world.allow(intent).await;
        }
        world.ended(2).await;
        let refs = ["two", "one"];
        let intent = world.intent_with_refs("c", "prompt", json!({ "message": "now" }), &refs).await;
        world.allow(intent).await;
        world.ended(3).await;
        let records = world.records();
        let output = course(&records, "c").last().unwrap().1["output"].clone();
        let message = |content: &str, role: &str| json!({ "content": content, "role": role });
        let mut expected = vec![
            (member(&records, "one", "INTENT", "index"), message("first", "user")),
            (member(&records, "one", "completed", "index"), message("first", "assistant")),
            (member(&records, "two", "INTENT", "index"), message("{\"n\":2}", "user")),
            (member(&records, "two", "completed", "index"), message("{\"n\":2}", "assistant")),
        ];
        expected.sort_by_key(|(index, _)| index.as_u64());
        let expected = expected.into_iter().map(|(_, message)| message).chain([message("now", "user")]);
        assert_eq!(output["messages"], Value::from(expected.collect::<Vec<_>>()));
        let bound = output["o_context"].as_array().unwrap();
        assert_eq!(bound.len(), 2);
        for found in bound {
            let index = usize::try_from(found["event_index"].as_u64().unwrap()).unwrap();
            assert_eq!(found["event_digest"], records[index]["digest"]);
        }
        assert_eq!(output["context_digest"], member(&records, "c", "DECISION", "payload")["context_digest"]);
        executor.stop(Duration::from_secs(60)).await;
    });
}

#[test]
fn a_stopped_executor_starts_nothing_and_the_next_one_takes_it_up() {
    run(async |world| {
        let executor = world.executor(world.shipped(), bounds());
        executor.stop(Duration::from_secs(60)).await;
        let intent = world.intent("c", "chat.message", json!({})).await;
        world.allow(intent).await;
        assert_eq!(course(&world.records(), "c"), []);
        let next = world.executor(world.shipped(), bounds());
        world.ended(1).await;
        next.stop(Duration::from_secs(60)).await;
        assert_eq!(course(&world.records(), "c").len(), 2);
    });
}
