//! What an attempt writes besides its task: the state of its session and its execution, artifacts, steps; once, and only
//! while it is live.

use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};

use crate::support::problem::check as check_problem;
use crate::support::work::sha256;
use crate::support::{Response, until};
use crate::world::{Claim, World};

/// A server with a task that was claimed.
fn claimed(correlation: &str) -> (World, Claim) {
    let world = World::with(&["tasks.retry_ms=600000"]);
    world.register("work", &json!({}));
    world.submit(correlation, "work");
    let claim = world.claimed("w-1");
    (world, claim)
}

#[track_caller]
fn get(world: &World, claim: &Claim, scope: &str) -> Value {
    let response = world.task(claim, "state", &json!({ "op": "get", "scope": scope }));
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

fn try_set(world: &World, claim: &Claim, scope: &str, expected: &Value, value: &Value) -> Response {
    let body = json!({ "op": "set", "scope": scope, "expected": expected, "value": value });
    world.task(claim, "state", &body)
}

/// Sets a state; the index of the record.
#[track_caller]
fn set(world: &World, claim: &Claim, scope: &str, expected: &Value, value: &Value) -> Value {
    let response = try_set(world, claim, scope, expected, value);
    assert_eq!(response.status, 200, "{}", response.text());
    let body = response.json();
    assert_eq!((&body["scope"], &body["value"]), (&json!(scope), value));
    body["index"].clone()
}

fn register(world: &World, claim: &Claim, artifact: &Value) -> Response {
    world.task(claim, "artifacts", &json!({ "artifact": artifact }))
}

fn tell(world: &World, claim: &Claim, record: &Value) -> Response {
    world.task(claim, "wal", &json!({ "record": record }))
}

#[test]
fn a_state_is_read_set_and_swapped_also_over_a_restart() {
    let (mut world, claim) = claimed("c");
    let nothing = json!({ "index": null, "scope": "session", "value": null });
    assert_eq!(get(&world, &claim, "session"), nothing);
    let first = set(&world, &claim, "session", &Value::Null, &json!({ "n": 1, "é": [true] }));
    let record = world.record("c", "SESSION", "state_set");
    assert_eq!(
        record["payload"],
        json!({ "attempt": 1, "scope": "session", "value": { "n": 1, "é": [true] } })
    );
    let before = world.record("c", "TASK", "claimed")["index"].clone();
    let task = json!({ "expected": before, "subject": format!("task/{}", claim.task_id) });
    let own = json!({ "expected": null, "subject": "session-state/thread" });
    assert_eq!((&record["subjects"], &record["cause"]), (&json!([own, task]), &before));
    assert_eq!((&record["index"], &record["actor"]), (&first, &json!("w-1")));
    assert_eq!(get(&world, &claim, "session")["index"], first);
    assert_eq!(get(&world, &claim, "execution")["index"], Value::Null, "another state");
    let conflict = try_set(&world, &claim, "session", &Value::Null, &json!({ "n": 2 }));
    check_problem(&conflict, 409, "STATE_CONFLICT", None);
    assert_eq!(conflict.json()["index"], first);
    let missing = try_set(&world, &claim, "execution", &json!(3), &json!({}));
    check_problem(&missing, 409, "STATE_CONFLICT", None);
    assert_eq!(missing.json()["index"], Value::Null);
    let second = set(&world, &claim, "session", &first, &json!({ "n": 2 }));
    let own = set(&world, &claim, "execution", &Value::Null, &json!({ "step": 1 }));
    world.course("c", "EXECUTION running");
    let head = world.head();
    let again = try_set(&world, &claim, "session", &first, &json!({ "n": 2 }));
    assert_eq!((again.header("idempotent-replayed"), &again.json()["index"]), (Some("true"), &second));
    assert_eq!(world.head(), head, "the same once more is nothing new");
    let other = try_set(&world, &claim, "session", &first, &json!({ "n": 3 }));
    check_problem(&other, 409, "STATE_CONFLICT", None);
    world.restart();
    let held = json!({ "index": second, "scope": "session", "value": { "n": 2 } });
    assert_eq!(get(&world, &claim, "session"), held);
    let again = try_set(&world, &claim, "session", &first, &json!({ "n": 2 }));
    assert_eq!(again.header("idempotent-replayed"), Some("true"), "{}", again.text());
    set(&world, &claim, "execution", &own, &json!({ "step": 2 }));
    world.complete(&claim, &json!({}));
    world.course("c", "EXECUTION completed");
    // Another execution of the same session goes on where this one was.
    world.submit("d", "work");
    let next = world.claimed("w-2");
    assert_eq!(get(&world, &next, "session"), held);
    assert_eq!(get(&world, &next, "execution")["index"], Value::Null);
    let not_its_own = try_set(&world, &next, "session", &first, &json!({ "n": 2 }));
    check_problem(&not_its_own, 409, "STATE_CONFLICT", None);
    set(&world, &next, "session", &second, &json!({ "n": 3 }));
    world.complete(&next, &json!({}));
    world.course("d", "EXECUTION completed");
    world.check_replay();
}

#[test]
fn of_two_sets_at_once_one_wins() {
    let (world, claim) = claimed("c");
    world.submit("d", "work");
    let other = world.claimed("w-2");
    let mut last = Value::Null;
    for round in 0..10 {
        let barrier = Barrier::new(2);
        let try_one = |claim: &Claim, who: &str| {
            barrier.wait();
            try_set(&world, claim, "session", &last, &json!({ "round": round, "who": who }))
        };
        let (one, two) = thread::scope(|scope| {
            let one = scope.spawn(|| try_one(&claim, "one"));
            let two = scope.spawn(|| try_one(&other, "two"));
            (one.join().unwrap(), two.join().unwrap())
        });
        let (winner, loser) = if one.status == 200 { (one, two) } else { (two, one) };
        assert_eq!(winner.status, 200, "{}", winner.text());
        check_problem(&loser, 409, "STATE_CONFLICT", None);
        last = winner.json()["index"].clone();
        assert_eq!(loser.json()["index"], last);
        assert_eq!(get(&world, &claim, "session")["value"], winner.json()["value"]);
    }
    // One attempt that writes two things at once: both are told, one behind the other.
    thread::scope(|scope| {
        let session = scope.spawn(|| set(&world, &claim, "session", &last, &json!({})));
        let execution = scope.spawn(|| set(&world, &claim, "execution", &Value::Null, &json!({})));
        assert_ne!(session.join().unwrap(), execution.join().unwrap());
    });
    for claim in [&claim, &other] {
        world.complete(claim, &json!({}));
    }
    for correlation in ["c", "d"] {
        world.course(correlation, "EXECUTION completed");
    }
    world.check_replay();
}

#[test]
fn a_large_state_becomes_a_blob_and_comes_back_whole() {
    let (world, claim) = claimed("c");
    let value = json!({ "text": "x".repeat(300_000), "n": [1, 2.5] });
    let index = set(&world, &claim, "execution", &Value::Null, &value);
    let record = world.record("c", "EXECUTION", "state_set");
    let text = serde_json::to_vec(&value).unwrap();
    assert_eq!(record["payload"]["value"]["size_bytes"], text.len(), "{record}");
    assert_eq!(get(&world, &claim, "execution")["value"], value);
    let again = try_set(&world, &claim, "execution", &Value::Null, &value);
    assert_eq!((again.header("idempotent-replayed"), &again.json()["index"]), (Some("true"), &index));
    let body = |value: Value| json!({ "op": "set", "scope": "session", "value": value });
    let reference = record["payload"]["value"].clone();
    for (value, code, pointer) in [
        (json!([1]), "INVALID_INPUT", "/value"),
        (reference, "INVALID_INPUT", "/value"),
        (json!({ "a": { "api_key": "x" } }), "SECRETS_PRESENT", "/value/a/api_key"),
        (
            json!({ "a": { "$blob": format!("sha256:{}", sha256(b"?")), "media_type": "x/y", "size_bytes": 1 } }),
            "BLOB_NOT_FOUND",
            "/value/a",
        ),
    ] {
        check_problem(&world.task(&claim, "state", &body(value)), 400, code, Some(pointer));
    }
    for (body, pointer) in [
        (json!({ "op": "set", "scope": "session" }), "/value"),
        (json!({ "op": "get" }), "/scope"),
        (json!({ "scope": "session" }), "/op"),
        (json!({ "op": "drop", "scope": "session" }), "/op"),
        (json!({ "op": "get", "scope": "session", "expected": 1 }), "/expected"),
        (json!({ "op": "set", "scope": "session", "value": {}, "expected": -1 }), "/expected"),
        (json!({ "op": "get", "scope": "session", "x": 1 }), "/x"),
    ] {
        check_problem(&world.task(&claim, "state", &body), 400, "INVALID_INPUT", Some(pointer));
    }
    world.complete(&claim, &json!({}));
    world.course("c", "EXECUTION completed");
    world.check_replay();
}

/// Every request that writes.
fn writes() -> [(&'static str, Value); 4] {
    [
        ("state", json!({ "op": "set", "scope": "session", "value": {} })),
        ("state", json!({ "op": "set", "scope": "execution", "value": {} })),
        ("artifacts", json!({ "artifact": { "artifact_type": "report" } })),
        ("wal", json!({ "record": { "type": "event", "name": "e" } })),
    ]
}

#[test]
fn an_attempt_that_is_not_live_writes_nothing_and_reads_no_state() {
    let world = World::start();
    world.register("work", &json!({ "lease_seconds": 1, "max_attempts": 2 }));
    world.submit("c", "work");
    let first = world.claimed("w-1");
    let second = world.claimed("w-2");
    assert_eq!((&first.task_id, second.attempt), (&second.task_id, 2));
    world.course("c", "EXECUTION running");
    let refused = |claim: &Claim, status: u16, code: &str| {
        let get = ("state", json!({ "op": "get", "scope": "session" }));
        for (path, body) in writes().into_iter().chain([get]) {
            check_problem(&world.task(claim, path, &body), status, code, None);
        }
    };
    refused(&first, 409, "STALE_ATTEMPT");
    let wrong = Claim { lease_token: "0".repeat(32), ..second.clone() };
    refused(&wrong, 409, "STALE_ATTEMPT");
    world.submit("d", "work");
    let other = world.claimed("w-3");
    let borrowed = Claim { capability: other.capability.clone(), ..second.clone() };
    refused(&borrowed, 403, "WRONG_TASK");
    // Nobody is heard of, and no attempt is left.
    world.course("c", "EXECUTION failed");
    refused(&second, 409, "STALE_ATTEMPT");
    let kinds = ["SESSION", "ARTIFACT"];
    let records = world.records("c");
    assert!(records.iter().all(|record| !kinds.contains(&record["kind"].as_str().unwrap())), "{records:?}");
    assert!(records.iter().all(|record| record["type"] != "state_set" && record["type"] != "event"));
    world.course("d", "TASK timed_out");
    world.check_replay();
}

#[test]
fn an_artifact_is_registered_once_behind_its_parents() {
    let (mut world, claim) = claimed("c");
    let raw = json!({
        "artifact_id": "raw-1", "artifact_type": "csv", "lifecycle_state": "READY",
        "semantic_descriptor": { "schema": "rows@1", "record_count": 3 },
        "materializations": [{ "storage_type": "s3", "uri": "s3://b/k", "format": "csv", "size_bytes": 9 }],
    });
    let response = register(&world, &claim, &raw);
    assert_eq!(response.status, 201, "{}", response.text());
    let shown = response.json();
    let record = world.record("c", "ARTIFACT", "registered");
    assert_eq!((&shown["index"], &shown["created_at"]), (&record["index"], &record["recorded_at"]));
    assert_eq!((&shown["updated_at"], &shown["tenant_id"]), (&record["recorded_at"], &json!("default")));
    let producer = json!({ "execution_id": claim.task_id, "intent": "work" });
    assert_eq!((&shown["produced_by"], &record["payload"]["produced_by"]), (&producer, &producer));
    assert_eq!(shown["semantic_descriptor"], raw["semantic_descriptor"]);
    assert_eq!((&shown["lifecycle_state"], &shown["parent_artifacts"]), (&json!("READY"), &json!([])));
    let one = &shown["materializations"][0];
    assert_eq!((&one["uri"], &one["created_at"]), (&json!("s3://b/k"), &record["recorded_at"]));
    assert_eq!(one["materialization_id"].as_str().unwrap().len(), 26, "{one}");
    assert_eq!(record["subjects"][0], json!({ "expected": null, "subject": "artifact/raw-1" }));
    assert_eq!(record["subjects"][1]["subject"], format!("task/{}", claim.task_id));
    assert_eq!(record["payload"]["attempt"], 1);
    let derived = register(
        &world,
        &claim,
        &json!({
            "artifact_type": "report", "parent_artifacts": ["raw-1"],
        }),
    );
    assert_eq!(derived.status, 201, "{}", derived.text());
    let derived = derived.json();
    assert_eq!(
        (&derived["lifecycle_state"], &derived["semantic_descriptor"]),
        (&json!("PENDING"), &json!({}))
    );
    assert_eq!(derived["artifact_id"].as_str().unwrap().len(), 26);
    world.course("c", "EXECUTION running");
    world.restart();
    let head = world.head();
    for (again, first) in [
        (raw.clone(), &shown),
        (json!({ "artifact_type": "report", "parent_artifacts": ["raw-1"] }), &derived),
    ] {
        let again = register(&world, &claim, &again);
        assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
        assert_eq!(&again.json(), first);
    }
    let mut other = raw.clone();
    other["lifecycle_state"] = json!("PENDING");
    let conflict = register(&world, &claim, &other);
    check_problem(&conflict, 409, "ARTIFACT_EXISTS", None);
    assert_eq!(conflict.json()["index"], shown["index"]);
    assert_eq!(world.head(), head, "nothing was appended");
    world.complete(&claim, &json!({}));
    world.course("c", "EXECUTION completed");
    world.check_replay();
}

#[test]
fn an_artifact_has_its_name_to_itself_and_its_parents_before_it() {
    let (world, claim) = claimed("c");
    let raw = json!({ "artifact_id": "raw-1", "artifact_type": "csv" });
    let first = register(&world, &claim, &raw).json();
    world.course("c", "EXECUTION running");
    let head = world.head();
    let with = |more: &str, value: Value| json!({ "artifact_type": "t", "artifact_id": "x", more: value });
    for (artifact, code, pointer) in [
        (with("parent_artifacts", json!(["raw-1", "none"])), "INVALID_INPUT", "/artifact/parent_artifacts/1"),
        (with("parent_artifacts", json!(["x"])), "INVALID_INPUT", "/artifact/parent_artifacts/0"),
        (with("lifecycle_state", json!("DELETED")), "INVALID_INPUT", "/artifact/lifecycle_state"),
        (
            with("semantic_descriptor", json!({ "token": "x" })),
            "SECRETS_PRESENT",
            "/artifact/semantic_descriptor/token",
        ),
        (json!({ "artifact_id": "x" }), "INVALID_INPUT", "/artifact/artifact_type"),
    ] {
        check_problem(&register(&world, &claim, &artifact), 400, code, Some(pointer));
    }
    assert_eq!(world.head(), head, "nothing was appended");
    // Another execution does not take the name over, though it asks for the same.
    world.submit("d", "work");
    let next = world.claimed("w-2");
    let taken = register(&world, &next, &raw);
    check_problem(&taken, 409, "ARTIFACT_EXISTS", None);
    assert_eq!(taken.json()["index"], first["index"]);
    let own = json!({ "artifact_id": "raw-2", "artifact_type": "csv", "parent_artifacts": ["raw-1"] });
    assert_eq!(register(&world, &next, &own).status, 201);
    world.submit_to("e", "work", "other");
    let elsewhere = world.claimed("w-2");
    assert_eq!(register(&world, &elsewhere, &raw).status, 201, "another stream has other names");
    let foreign = json!({ "artifact_type": "t", "parent_artifacts": ["raw-2"] });
    let refused = register(&world, &elsewhere, &foreign);
    check_problem(&refused, 400, "INVALID_INPUT", Some("/artifact/parent_artifacts/0"));
    for (claim, correlation) in [(&claim, "c"), (&next, "d"), (&elsewhere, "e")] {
        world.complete(claim, &json!({}));
        world.course(correlation, "EXECUTION completed");
    }
    world.check_replay();
}

#[test]
fn an_artifact_that_is_an_object_here_is_that_object_and_one_of_the_tasks() {
    let world = World::start();
    let grants = json!({ "datasets": [], "s3": {
        "read_prefixes": [], "write_prefixes": ["blob://bucket/out/"],
    } });
    world.register("work", &json!({ "grants": grants }));
    world.submit("c", "work");
    let claim = world.claimed("w-1");
    let artifact = |uri: &str, digest: Option<&str>| {
        json!({ "artifact_type": "csv", "materializations": [
            { "storage_type": "blob", "uri": uri, "format": "csv", "sha256": digest },
        ] })
    };
    let digest = format!("sha256:{}", sha256(b"content"));
    let at = "/artifact/materializations/0/uri";
    let outside = register(&world, &claim, &artifact("blob://bucket/in/a", Some(&digest)));
    check_problem(&outside, 403, "PREFIX_FORBIDDEN", Some(at));
    let nothing = register(&world, &claim, &artifact("blob://bucket/out/a", Some(&digest)));
    check_problem(&nothing, 400, "INVALID_INPUT", Some(at));
    let mut bare = artifact("blob://bucket/out/a", None);
    bare["materializations"][0].as_object_mut().unwrap().remove("sha256");
    let bare = register(&world, &claim, &bare);
    check_problem(&bare, 400, "INVALID_INPUT", Some("/artifact/materializations/0/sha256"));
    world.complete(&claim, &json!({}));
    world.course("c", "EXECUTION completed");
}

#[test]
fn the_steps_of_an_execution_are_told_in_order_from_the_claim_on() {
    let (world, claim) = claimed("c");
    // At once, while the follower may not have said yet that the execution runs.
    let first = tell(&world, &claim, &json!({ "type": "step_completed", "name": "load", "payload": [1] }));
    assert_eq!(first.status, 201, "{}", first.text());
    let failed = json!({ "type": "step_failed", "name": "check", "payload": { "code": "BAD_ROW" } });
    assert_eq!(tell(&world, &claim, &failed).status, 201);
    set(&world, &claim, "execution", &Value::Null, &json!({ "at": 2 }));
    let event = tell(&world, &claim, &json!({ "type": "event", "name": "done" }));
    assert_eq!(event.status, 201);
    let step = world.record("c", "EXECUTION", "step_completed");
    assert_eq!(step["payload"], json!({ "attempt": 1, "output": [1], "step": "load" }));
    assert_eq!((&step["index"], &step["digest"]), (&first.json()["index"], &first.json()["digest"]));
    let running = world.record("c", "EXECUTION", "running")["index"].clone();
    let own = json!({ "expected": running, "subject": format!("execution/{}", claim.task_id) });
    assert_eq!(step["subjects"][0], own);
    let told = world.record("c", "EXECUTION", "step_failed");
    assert_eq!(told["payload"], json!({ "attempt": 1, "error": { "code": "BAD_ROW" }, "step": "check" }));
    assert_eq!(world.record("c", "EXECUTION", "event")["payload"], json!({ "attempt": 1, "name": "done" }));
    for (record, code, pointer) in [
        (json!({ "type": "completed", "name": "x" }), "INVALID_INPUT", "/record/type"),
        (json!({ "type": "event" }), "INVALID_INPUT", "/record/name"),
        (json!({ "type": "event", "name": "" }), "INVALID_INPUT", "/record/name"),
        (
            json!({ "type": "event", "name": "x", "payload": { "Password": "x" } }),
            "SECRETS_PRESENT",
            "/record/payload/Password",
        ),
    ] {
        check_problem(&tell(&world, &claim, &record), 400, code, Some(pointer));
    }
    world.complete(&claim, &json!({ "ok": true }));
    let course = world.course("c", "EXECUTION completed");
    let expected = [
        "EXECUTION running",
        "EXECUTION step_completed",
        "EXECUTION step_failed",
        "EXECUTION state_set",
        "EXECUTION event",
        "TASK completed",
        "EXECUTION completed",
    ];
    assert_eq!(course[course.len() - expected.len()..], expected);
    until("it is shown as ended", || (world.shown(&claim.task_id)["state"] == "completed").then_some(()));
    world.check_replay();
}
