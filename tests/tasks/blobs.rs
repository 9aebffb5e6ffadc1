//! Blobs that the code of a task puts: who may refer to them, and who reads them.

use std::process::Command;

use gesta_log_format::Digest;
use serde_json::{Value, json};

use crate::support::problem::check as check_problem;
use crate::support::process::PROGRAM;
use crate::support::{Client, Response};
use crate::world::{Claim, World};

/// Who reads records of the stream `default` and nothing else.
const READER: (&str, &str) = ("Authorization", "Bearer reader");

fn put_as(world: &World, token: Option<(&str, &str)>, hex: &str, content: &[u8]) -> Response {
    let mut client = Client::new(world.server().address_of("task"));
    let headers: Vec<_> = token.into_iter().collect();
    client.request("PUT", &format!("/v1/task/blob/sha256/{hex}"), &headers, content)
}

#[track_caller]
fn put(world: &World, claim: &Claim, content: &[u8]) {
    let digest = Digest::of(content);
    let token = ("X-Trace-Task-Capability", claim.capability.as_str());
    let response = put_as(world, Some(token), &digest.hex(), content);
    assert_eq!(response.status, 201, "{}", response.text());
    assert_eq!(response.json(), json!({ "digest": digest.to_string(), "size_bytes": content.len() }));
}

fn blob(content: &[u8]) -> Value {
    let digest = Digest::of(content).to_string();
    json!({ "$blob": digest, "media_type": "text/plain", "size_bytes": content.len() })
}

fn failed(content: &[u8]) -> Value {
    json!({ "status": "Failed", "retryable": false, "stderr": blob(content) })
}

fn claimed(world: &World, correlation: &str) -> Claim {
    world.submit(correlation, "work");
    world.claimed("w-1")
}

fn read(world: &World, content: &[u8]) -> Response {
    world.public_with(READER, "GET", &format!("/api/blob/sha256/{}", Digest::of(content).hex()), "")
}

#[test]
fn a_blob_of_a_task_is_named_by_the_record_of_any_end_and_then_read_with_the_stream() {
    let world = World::start();
    world.register("work", &json!({}));
    for (status, type_name) in [("Completed", "completed"), ("Failed", "failed"), ("Canceled", "canceled")] {
        let claim = claimed(&world, type_name);
        let content = format!("said before it was {type_name}\n");
        put(&world, &claim, content.as_bytes());
        put(&world, &claim, content.as_bytes());
        check_problem(&read(&world, content.as_bytes()), 404, "BLOB_NOT_FOUND", None);
        let mut report = json!({ "status": status, "stderr": blob(content.as_bytes()) });
        if status == "Failed" {
            report["retryable"] = json!(false);
        }
        let response = world.task(&claim, "complete", &report);
        assert_eq!(response.status, 200, "{}", response.text());
        let record = world.record(type_name, "TASK", type_name);
        assert_eq!(record["payload"]["stderr"], blob(content.as_bytes()));
        let found = read(&world, content.as_bytes());
        assert_eq!((found.status, found.text()), (200, content.as_str().into()));
        // The same report again appends nothing; another one is not it.
        let again = world.task(&claim, "complete", &report);
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{}", again.text());
        assert_eq!(again.json()["index"], record["index"]);
        report.as_object_mut().unwrap().remove("stderr");
        check_problem(&world.task(&claim, "complete", &report), 409, "STALE_ATTEMPT", None);
    }
    // Copies of the log take them along.
    let kept = tempfile::tempdir().unwrap();
    let tail = Command::new(PROGRAM)
        .args(["tail", "--url", &world.server().url(), "--token", "reader", "--stream-id", "default"])
        .arg("--with-blobs")
        .arg(kept.path())
        .output();
    let tail = tail.unwrap();
    assert!(tail.status.success(), "{tail:?}");
    let bundle = world.public_with(READER, "GET", "/blobs/bundle", "").body;
    for type_name in ["completed", "failed", "canceled"] {
        let content = format!("said before it was {type_name}\n");
        let hex = Digest::of(content.as_bytes()).hex();
        let file = kept.path().join(format!("blobs/sha256/{}/{hex}", &hex[..2]));
        assert_eq!(std::fs::read(file).unwrap(), content.as_bytes());
        assert!(memchr::memmem::find(&bundle, content.as_bytes()).is_some());
    }
    world.check_replay();
}

#[test]
fn results_and_events_refer_to_what_any_attempt_of_the_task_has_put() {
    let world = World::start();
    world.register("work", &World::granting(&["1"]));
    let first = claimed(&world, "c");
    put(&world, &first, b"rows");
    assert_eq!(world.task(&first, "complete", &json!({ "status": "Failed" })).status, 200);
    let second = world.claimed("w-1");
    assert_eq!((&second.task_id, second.attempt), (&first.task_id, 2));
    let event = json!({ "dataset_uuid": "d", "dataset_version": "1", "cursor": blob(b"rows") });
    let taken = world.task(&second, "events", &json!({ "events": [event] }));
    assert_eq!(taken.status, 202, "{}", taken.text());
    world.complete(&second, &json!({ "rows": blob(b"rows") }));
    assert_eq!(read(&world, b"rows").text(), "rows");
}

#[test]
fn another_tasks_blob_cannot_be_referred_to_until_a_record_of_the_stream_names_it() {
    let world = World::start();
    world.register("work", &json!({}));
    let (one, other) = (claimed(&world, "one"), claimed(&world, "other"));
    world.submit_to("elsewhere", "work", "elsewhere");
    let elsewhere = world.claimed("w-1");
    put(&world, &one, b"secret");
    let not_found = |claim: &Claim| {
        let response = world.task(claim, "complete", &failed(b"secret"));
        check_problem(&response, 400, "BLOB_NOT_FOUND", Some("/stderr"));
    };
    not_found(&other);
    not_found(&elsewhere);
    let longer = json!({ "status": "Canceled", "stderr": { "$blob": Digest::of(b"secret").to_string(),
        "media_type": "text/plain", "size_bytes": 7 } });
    check_problem(&world.task(&one, "complete", &longer), 400, "BLOB_NOT_FOUND", Some("/stderr"));
    assert_eq!(world.task(&one, "complete", &failed(b"secret")).status, 200);
    not_found(&elsewhere);
    assert_eq!(world.task(&other, "complete", &failed(b"secret")).status, 200);
}

#[test]
fn a_server_that_has_ended_asks_for_the_blob_again_but_knows_what_its_records_name() {
    let mut world = World::start();
    world.register("work", &json!({}));
    let claim = claimed(&world, "c");
    put(&world, &claim, b"said");
    world.kill_and_start();
    let report = failed(b"said");
    check_problem(&world.task(&claim, "complete", &report), 400, "BLOB_NOT_FOUND", Some("/stderr"));
    put(&world, &claim, b"said");
    assert_eq!(world.task(&claim, "complete", &report).status, 200);
    world.kill_and_start();
    let again = world.task(&claim, "complete", &report);
    assert_eq!(again.header("idempotent-replayed"), Some("true"), "{}", again.text());
}

#[test]
fn standard_error_is_a_reference_and_nothing_else() {
    let world = World::start();
    world.register("work", &json!({}));
    let claim = claimed(&world, "c");
    let with = |member: &str, value: Value| {
        let mut wrong = blob(b"a");
        wrong[member] = value;
        wrong
    };
    for wrong in [
        json!("text"),
        json!(null),
        json!([blob(b"a")]),
        json!({}),
        json!({ "log": blob(b"a") }),
        with("$blob", json!("sha256:AB")),
        with("size_bytes", json!(-1)),
        with("media_type", json!("")),
        with("more", json!(1)),
    ] {
        let report = json!({ "status": "Completed", "stderr": wrong });
        check_problem(&world.task(&claim, "complete", &report), 400, "INVALID_INPUT", Some("/stderr"));
    }
}

#[test]
fn what_is_no_blob_of_a_task_is_not_stored() {
    let world = World::with(&["blobs.blob_bytes_max=1024"]);
    world.register("work", &json!({}));
    let claim = claimed(&world, "c");
    let capability = Some(("X-Trace-Task-Capability", claim.capability.as_str()));
    let hex = |content: &[u8]| Digest::of(content).hex();
    let large = vec![b'x'; 1025];
    check_problem(&put_as(&world, capability, &hex(&large), &large), 413, "BODY_TOO_LARGE", None);
    put(&world, &claim, &large[1..]);
    let wrong = put_as(&world, capability, &hex(b"other"), b"content");
    check_problem(&wrong, 400, "BLOB_DIGEST_MISMATCH", None);
    let upper = hex(b"content").to_uppercase();
    check_problem(&put_as(&world, capability, &upper, b"content"), 400, "INVALID_INPUT", None);
    check_problem(&put_as(&world, None, &hex(b"content"), b"content"), 401, "MISSING_TOKEN", None);
    let forged = format!("{}x", claim.capability);
    for token in [
        ("Authorization", "Bearer everyone"),
        ("X-Trace-Task-Capability", "worker"),
        ("X-Trace-Task-Capability", &forged),
    ] {
        check_problem(&put_as(&world, Some(token), &hex(b"content"), b"content"), 401, "BAD_TOKEN", None);
    }
    let report = failed(b"content");
    check_problem(&world.task(&claim, "complete", &report), 400, "BLOB_NOT_FOUND", Some("/stderr"));
}
