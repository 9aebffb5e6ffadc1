//! What a registration asks for besides who runs it: what an intent has to bring, and what becomes of the events.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

#[path = "push/runner.rs"]
mod runner;
mod support;
#[expect(dead_code, reason = "made for tasks.rs, of which this uses a part")]
#[path = "tasks/world.rs"]
mod world;

use serde_json::{Value, json};

use runner::Runner;
use support::problem::check as check_problem;
use support::{Intent, until};
use world::{EVERYONE, World};

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
    // Whatever a client has put.
    let text = b"no JSON";
    let digest = gesta_log_format::Digest::of(text);
    let path = format!("/api/blob/sha256/{}", digest.hex());
    assert_eq!(world.public_with(EVERYONE, "PUT", &path, "no JSON").status, 201);
    let reference =
        json!({ "$blob": digest.to_string(), "media_type": "text/plain", "size_bytes": text.len() });
    submit(&world, "text", "worked", &reference);
    world.course("text", "EXECUTION failed");
    assert_eq!(world.record("text", "EXECUTION", "failed")["payload"]["error"]["code"], "PARAMS_INVALID");
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

/// Registers an external handler whose events become what is said.
#[track_caller]
fn register_external(world: &World, intent_type: &str, more: &Value) {
    let mut body = json!({ "intent_type": intent_type, "handler_name": "h", "kind": "external" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let registered = world.post("/api/intent/handlers", &body);
    assert!(matches!(registered.status, 200 | 201), "{}", registered.text());
}

/// Reports something of an execution that runs elsewhere; gives the record's index.
#[track_caller]
fn report(world: &World, correlation: &str, type_name: &str, payload: &Value) -> u64 {
    let body = json!({ "correlation_id": correlation, "type": type_name, "payload": payload });
    let response = world.post("/execution/event", &body);
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()["execution_index"].as_u64().unwrap()
}

/// Begins an execution that runs elsewhere.
#[track_caller]
fn begin(world: &World, correlation: &str, intent_type: &str) {
    world.submit(correlation, intent_type);
    world.course(correlation, "DECISION decided");
    report(world, correlation, "running", &json!({ "delivery": 1 }));
}

fn webhook(runner: &Runner) -> Value {
    json!({ "publish": "webhook", "url": format!("http://{}/events", runner.address()) })
}

#[test]
fn events_are_posted_whole_in_order_and_again_until_somebody_has_them() {
    let runner = Runner::start(&["503 Busy", "", "429 Later"]);
    let world = world_of(&runner);
    register_external(&world, "told", &webhook(&runner));
    begin(&world, "c", "told");
    let indexes: Vec<u64> =
        (0..3).map(|nth| report(&world, "c", "event", &json!({ "name": "e", "nth": nth }))).collect();
    // What was refused for the moment comes again before what is behind it.
    let posted: Vec<_> = (0..6).map(|_| runner.next()).collect();
    let index_of =
        |posted: &runner::Invocation| posted.header("gesta-index").unwrap().parse::<u64>().unwrap();
    let found: Vec<u64> = posted.iter().map(index_of).collect();
    assert_eq!(found, [indexes[0], indexes[0], indexes[0], indexes[0], indexes[1], indexes[2]]);
    for one in &posted {
        let envelope = world.get(&format!("/events/{}", index_of(one))).json();
        assert_eq!(one.body, envelope);
        assert_eq!(one.header("gesta-digest"), envelope["digest"].as_str());
        assert_eq!(one.header("content-type"), Some("application/json"));
        assert!(one.header("x-correlation-id").is_some());
        assert_eq!(one.line, "POST /events HTTP/1.1");
    }
    until("nothing waits", || (world.metric("publish_waiting") == 0.0).then_some(()));
    assert!(world.metric("publish_posts_total{result=\"accepted\"}") >= 3.0);
}

#[test]
fn what_nobody_has_is_posted_after_a_kill_and_what_somebody_has_is_not_once_that_is_kept() {
    let later = "503 Busy\r\nRetry-After: 1000";
    let runner = Runner::start(&["202 Accepted", later]);
    let mut world = world_of(&runner);
    register_external(&world, "told", &webhook(&runner));
    begin(&world, "c", "told");
    report(&world, "c", "event", &json!({ "nth": 0 }));
    assert_eq!(runner.next().body["payload"]["nth"], 0);
    let second = report(&world, "c", "event", &json!({ "nth": 1 }));
    assert_eq!(runner.next().body["payload"]["nth"], 1);
    report(&world, "c", "event", &json!({ "nth": 2 }));
    // In order: at the end, so that the store has what was posted.
    world.restart();
    let again = runner.next();
    assert_eq!(again.header("gesta-index"), Some(second.to_string().as_str()));
    assert_eq!(runner.next().body["payload"]["nth"], 2);
    world.kill_and_start();
    report(&world, "c", "event", &json!({ "nth": 3 }));
    // After a kill some may come again, but never out of order, and the last one comes.
    let mut last = 0;
    while last < 3 {
        let nth = runner.next().body["payload"]["nth"].as_u64().unwrap();
        assert!(nth >= last, "{nth} behind {last}");
        last = nth;
    }
}

#[test]
fn an_event_that_is_refused_is_dropped_and_one_that_fails_holds_up_its_execution_alone() {
    let busy = "503 Busy\r\nRetry-After: 1000";
    let runner = Runner::start(&["410 Gone", busy]);
    let world = world_of(&runner);
    register_external(&world, "told", &webhook(&runner));
    begin(&world, "a", "told");
    begin(&world, "b", "told");
    report(&world, "a", "event", &json!({ "of": "a", "nth": 0 }));
    assert_eq!(runner.next().body["payload"]["nth"], 0);
    report(&world, "a", "event", &json!({ "of": "a", "nth": 1 }));
    assert_eq!(runner.next().body["payload"]["nth"], 1);
    report(&world, "a", "event", &json!({ "of": "a", "nth": 2 }));
    report(&world, "b", "event", &json!({ "of": "b" }));
    assert_eq!(runner.next().body["payload"]["of"], "b");
    until("two wait", || (world.metric("publish_waiting") == 2.0).then_some(()));
    assert!(world.metric("publish_posts_total{result=\"dropped\"}") >= 1.0);
}

#[test]
fn events_are_logged_by_name_alone_or_are_records_and_no_more() {
    let runner = Runner::start(&[]);
    let world = world_of(&runner);
    register_external(&world, "logged", &json!({ "publish": "log" }));
    register_external(&world, "silent", &json!({ "publish": "none" }));
    register_external(&world, "unsaid", &json!({}));
    for (nth, intent_type) in ["silent", "unsaid", "logged"].into_iter().enumerate() {
        let correlation = format!("c{nth}");
        begin(&world, &correlation, intent_type);
        report(
            &world,
            &correlation,
            "event",
            &json!({ "name": "row.counted", "hidden": "nobody's business" }),
        );
    }
    let told = until("it is logged", || {
        let errors = world.server().errors();
        errors.lines().find(|line| line.contains("an event of a handler")).map(str::to_owned)
    });
    for part in ["logged", "row.counted", "execution_id", "index", "sha256:"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let errors = world.server().errors();
    assert!(!errors.contains("nobody's business"), "{errors}");
    assert_eq!(errors.matches("an event of a handler").count(), 1, "{errors}");
    assert_eq!(runner.taken(), 0);
}

#[test]
fn the_events_of_a_workers_result_are_recorded_and_posted_before_its_end() {
    let runner = Runner::start(&[]);
    let mut world = world_of(&runner);
    world.register("worked", &webhook(&runner));
    world.submit("c", "worked");
    let claim = world.claimed("w-1");
    let too_many = json!({ "artifacts": {}, "events": vec![json!({}); 1001] });
    let refused = world.task(&claim, "complete", &json!({ "status": "Completed", "result": too_many }));
    check_problem(&refused, 422, "RESULT_INVALID", Some("/result/events"));
    let result = json!({ "artifacts": { "rows": 2 }, "events": [{ "nth": 1 }, { "nth": 2 }] });
    world.complete(&claim, &result);
    let course = world.course("c", "EXECUTION completed");
    assert_eq!(course[5..], ["TASK completed", "EXECUTION event", "EXECUTION event", "EXECUTION completed"]);
    assert_eq!(world.record("c", "EXECUTION", "completed")["payload"]["output"], result);
    for nth in 1..=2 {
        assert_eq!(runner.next().body["payload"], json!({ "nth": nth }));
    }
    world.kill_and_start();
    // What is no handler's answer has no events.
    world.submit("d", "worked");
    let claim = world.claimed("w-1");
    world.complete(&claim, &json!({ "events": [{ "nth": 3 }] }));
    let course = world.course("d", "EXECUTION completed");
    assert_eq!(course[5..], ["TASK completed", "EXECUTION completed"]);
    world.check_replay();
}
