//! What a registration asks for besides who runs it: what an intent has to bring, and what becomes of the events.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

#[expect(dead_code, reason = "made for push.rs, of which this uses a part")]
#[path = "push/runner.rs"]
mod runner;
mod support;
#[expect(dead_code, reason = "made for tasks.rs, of which this uses a part")]
#[path = "tasks/world.rs"]
mod world;

use serde_json::{Value, json};

use runner::Runner;
use support::Intent;
use support::problem::check as check_problem;
use world::World;

/// A server that may call the runner, and calls it again at once.
fn world_of(runner: &Runner) -> World {
    let address = runner.address();
    let (allowed, private) = (format!("push.allow_hosts={address}"), format!("push.allow_private={address}"));
    World::with(&[&allowed, &private, "push.resend_ms=1", "push.resend_ms_max=5"])
}

/// Submits an intent with this payload.
#[track_caller]
fn submit(world: &World, correlation: &str, intent_type: &str, payload: &Value) {
    let intent =
        Intent { intent_type: intent_type.to_owned(), payload: payload.clone(), ..Intent::new(correlation) };
    let taken = world.post("/ingress/intent", &intent.value());
    assert_eq!(taken.status, 202, "{}", taken.text());
}

/// Registers the builtin echo for a type.
#[track_caller]
fn register_builtin(world: &World, intent_type: &str, more: &Value) {
    let mut body = json!({ "intent_type": intent_type, "handler_name": "echo", "kind": "builtin" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let registered = world.post("/api/intent/handlers", &body);
    assert!(matches!(registered.status, 200 | 201), "{}", registered.text());
}

/// What is demanded of parameters here.
fn rows_schema() -> Value {
    json!({ "type": "object", "required": ["rows"], "properties": { "rows": { "type": "integer", "maximum": 9 } } })
}

#[test]
fn parameters_that_a_handler_does_not_ask_for_fail_the_execution_before_it_is_given_to_anybody() {
    let runner = Runner::start(&[]);
    let world = world_of(&runner);
    let schema = rows_schema();
    register_builtin(&world, "in", &json!({ "params_schema": schema }));
    world.register("worked", &json!({ "params_schema": schema }));
    let url = format!("http://{}/run", runner.address());
    world.register("posted", &json!({ "kind": "push", "url": url, "params_schema": schema }));
    let bad = json!({ "rows": 10, "secretive": "what nobody is told" });
    for intent_type in ["in", "worked", "posted"] {
        submit(&world, intent_type, intent_type, &bad);
        let course = world.course(intent_type, "EXECUTION failed");
        assert_eq!(course[2..], ["EXECUTION failed"], "{intent_type}");
        let failed = world.record(intent_type, "EXECUTION", "failed");
        let error = &failed["payload"]["error"];
        assert_eq!(
            (&error["code"], &error["pointer"]),
            (&json!("PARAMS_INVALID"), &json!("/rows")),
            "{intent_type}"
        );
        assert!(!failed.to_string().contains("what nobody is told"), "{failed}");
    }
    submit(&world, "empty", "in", &json!({}));
    world.course("empty", "EXECUTION failed");
    let failed = world.record("empty", "EXECUTION", "failed");
    assert_eq!(failed["payload"]["error"]["pointer"], "");
    assert_eq!(runner.taken(), 0);
    let good = json!({ "rows": 9 });
    submit(&world, "good", "in", &good);
    world.course("good", "EXECUTION completed");
    submit(&world, "worked-well", "worked", &good);
    let claim = world.claimed("w-1");
    world.complete(&claim, &json!({}));
    world.course("worked-well", "EXECUTION completed");
    world.check_replay();
}

#[test]
fn a_payload_that_lies_in_a_blob_is_compared_as_well() {
    let world = World::start();
    world.register("worked", &json!({ "params_schema": rows_schema() }));
    let large = |rows: u64| json!({ "rows": rows, "text": "x".repeat(70_000) });
    submit(&world, "bad", "worked", &large(10));
    world.course("bad", "EXECUTION failed");
    assert_eq!(world.record("bad", "EXECUTION", "failed")["payload"]["error"]["code"], "PARAMS_INVALID");
    submit(&world, "good", "worked", &large(1));
    let claim = world.claimed("w-1");
    world.complete(&claim, &json!({}));
    world.course("good", "EXECUTION completed");
}

#[test]
fn another_registration_asks_for_something_else_at_once() {
    let world = World::start();
    world.register("worked", &json!({ "params_schema": rows_schema() }));
    submit(&world, "bad", "worked", &json!({ "rows": 10 }));
    world.course("bad", "EXECUTION failed");
    world.register("worked", &json!({}));
    submit(&world, "same", "worked", &json!({ "rows": 10 }));
    let claim = world.claimed("w-1");
    world.complete(&claim, &json!({}));
    world.course("same", "EXECUTION completed");
}

#[test]
fn a_registration_that_cannot_be_acted_on_is_refused() {
    let world = World::start();
    let post = |more: Value| {
        let mut body = json!({ "intent_type": "t", "handler_name": "h", "kind": "worker" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.post("/api/intent/handlers", &body)
    };
    let cases = [
        (json!({ "params_schema": { "type": "nothing" } }), "/params_schema"),
        (json!({ "params_schema": 1 }), "/params_schema"),
        (json!({ "publish": "webhook" }), "/url"),
        (json!({ "publish": "mail" }), "/publish"),
        (json!({ "url": "https://a.example/" }), "/url"),
        (json!({ "publish": "webhook", "url": "https://not-listed.example/" }), "/url"),
        (json!({ "kind": "external", "params_schema": {} }), "/params_schema"),
        (json!({ "kind": "builtin", "handler_name": "echo", "result_schema": {} }), "/result_schema"),
        (json!({ "kind": "builtin", "handler_name": "echo", "pool": "p" }), "/pool"),
        (json!({ "kind": "push" }), "/url"),
    ];
    for (more, pointer) in cases {
        check_problem(&post(more), 400, "INVALID_INPUT", Some(pointer));
    }
}
