//! What is wrong with a request and what is not: its members, its body, its token.

use serde_json::{Value, json};

use crate::support::Client;
use crate::support::problem::check as check_problem;
use crate::world::World;

#[test]
fn a_report_that_cannot_be_true_is_refused_where_it_is_wrong() {
    let world = World::start();
    world.register("work", &json!({}));
    world.submit("c", "work");
    let claim = world.claimed("w-1");
    let digest = format!("sha256:{}", "0".repeat(64));
    let range = |start: Value, end: Value| json!([{ "dataset_uuid": "d", "dataset_version": "1", "partition_key": "p", "start": start, "end": end }]);
    for (more, pointer) in [
        (json!({ "result": 0 }), "/result"),
        (json!({ "result": [{}] }), "/result"),
        (
            json!({ "result": { "$blob": digest, "media_type": "application/json", "size_bytes": 2 } }),
            "/result",
        ),
        (json!({ "outputs": [{ "output_index": 0, "row_count": -1 }] }), "/outputs/0/row_count"),
        (json!({ "outputs": [{ "output_index": 0 }, { "output_index": 0 }] }), "/outputs/1/output_index"),
        (json!({ "events": range(json!(2), json!(2)) }), "/events/0/end"),
        (json!({ "events": range(json!("a"), json!("a")) }), "/events/0/end"),
    ] {
        let mut report = json!({ "status": "Completed" });
        report.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        check_problem(&world.task(&claim, "complete", &report), 400, "INVALID_INPUT", Some(pointer));
    }
    let events = json!({ "events": range(json!(3), json!(2)) });
    check_problem(&world.task(&claim, "events", &events), 400, "INVALID_INPUT", Some("/events/0/end"));
    world.complete(&claim, &json!(null));
    assert_eq!(world.record("c", "TASK", "completed")["payload"]["result"], json!(null));
}

#[test]
fn limits_that_exclude_each_other_and_prefixes_of_no_bucket_are_not_registered() {
    let world = World::start();
    let reserved = |kind: &str| json!({ "grants": { "s3": { kind: ["blob://sha256/ab/"] } } });
    for (more, pointer) in [
        (json!({ "lease_seconds": 10, "heartbeat_seconds": 11 }), Some("/heartbeat_seconds")),
        (json!({ "heartbeat_seconds": 121 }), Some("/heartbeat_seconds")),
        (json!({ "lease_seconds": 11, "timeout_seconds": 10 }), Some("/lease_seconds")),
        (json!({ "lease_seconds": 3601 }), Some("/lease_seconds")),
        (
            json!({ "kind": "push", "url": "https://runner.example/", "lease_seconds": 3601 }),
            Some("/lease_seconds"),
        ),
        (reserved("read_prefixes"), Some("/grants")),
        (reserved("write_prefixes"), Some("/grants")),
        (json!({ "lease_seconds": 10, "heartbeat_seconds": 10, "timeout_seconds": 10 }), None),
        (json!({ "timeout_seconds": 1 }), None),
    ] {
        let mut body = json!({ "intent_type": "t", "handler_name": "h", "kind": "worker" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let response = world.post("/api/intent/handlers", &body);
        match pointer {
            Some(_) => check_problem(&response, 400, "INVALID_INPUT", pointer),
            None => assert!(response.status < 300, "{}", response.text()),
        }
    }
}

#[test]
fn tasks_are_not_listed_for_a_query_that_is_not_understood() {
    let world = World::start();
    for query in ["limit=0", "limit=501", "limit=-1", "stream=a", "state=queued&states=queued", "state=open"]
    {
        check_problem(&world.get(&format!("/api/task?{query}")), 400, "INVALID_INPUT", None);
    }
    for query in ["limit=1", "limit=500&state=queued&stream_id=a&pool=p"] {
        assert_eq!(world.get(&format!("/api/task?{query}")).status, 200);
    }
}

#[test]
fn an_operator_needs_neither_body_nor_type_and_a_page_declares_json() {
    let world = World::with(&["tasks.retry_ms=600000"]);
    world.register("work", &json!({}));
    let post = |path: &str, headers: &[(&str, &str)], body: &str| {
        let headers = [&[("Authorization", "Bearer everyone")], headers].concat();
        world.server().client().request("POST", path, &headers, body.as_bytes())
    };
    world.submit("failed", "work");
    let claim = world.claimed("w-1");
    assert_eq!(world.task(&claim, "complete", &json!({ "status": "Failed" })).status, 200);
    world.wait_for(&claim.task_id, "retry_scheduled");
    let retry = format!("/api/task/{}/retry", claim.task_id);
    assert_eq!(post(&retry, &[], "").status, 202);
    let cancel = format!("/api/task/{}/cancel", claim.task_id);
    for (headers, body) in [
        (&[("Origin", "https://elsewhere.example")][..], ""),
        (&[("Content-Type", "text/plain")], ""),
        (&[], "{}"),
    ] {
        check_problem(&post(&cancel, headers, body), 415, "UNSUPPORTED_MEDIA_TYPE", None);
    }
    assert_eq!(post(&cancel, &[], "").status, 202);
    world.submit("execution", "work");
    let execution_id = world.task_of("execution");
    assert_eq!(post(&format!("/api/execution/{execution_id}/cancel"), &[], "").status, 202);
    world.course("execution", "EXECUTION cancelled");
}

#[test]
fn the_reason_of_an_operator_is_that_of_the_end() {
    let world = World::start();
    world.register("work", &json!({}));
    let cancelled = |correlation: &str, asked: &Value, reported: &Value| {
        world.submit(correlation, "work");
        let claim = world.claimed("w-1");
        assert_eq!(world.post(&format!("/api/task/{}/cancel", claim.task_id), asked).status, 202);
        let mut report = json!({ "status": "Canceled" });
        report.as_object_mut().unwrap().extend(reported.as_object().unwrap().clone());
        assert_eq!(world.task(&claim, "complete", &report).status, 200);
        let again = world.task(&claim, "complete", &report);
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{}", again.text());
        world.course(correlation, "EXECUTION cancelled");
        let end = world.record(correlation, "EXECUTION", "cancelled")["payload"].clone();
        (world.record(correlation, "TASK", "canceled")["payload"].clone(), end)
    };
    let (asked, stopped) = (json!({ "reason": "not needed" }), json!({ "error_message": "stopped" }));
    let (task, end) = cancelled("a", &asked, &stopped);
    assert_eq!((&task["by"], &task["reason"]), (&json!("everyone"), &json!("not needed")));
    assert_eq!(end, json!({ "by": "everyone", "reason": "not needed" }));
    let (_, end) = cancelled("b", &json!({}), &stopped);
    assert_eq!(end, json!({ "by": "everyone", "reason": "stopped" }));
    // A worker that gives up by itself speaks for itself.
    world.submit("c", "work");
    let claim = world.claimed("w-1");
    let report = json!({ "status": "Canceled", "error_message": "no use" });
    assert_eq!(world.task(&claim, "complete", &report).status, 200);
    world.course("c", "EXECUTION cancelled");
    let end = world.record("c", "EXECUTION", "cancelled")["payload"].clone();
    assert_eq!(end, json!({ "by": "w-1", "reason": "no use" }));
    world.check_replay();
}

#[test]
fn each_listener_names_the_header_in_which_it_wants_a_token() {
    let world = World::start();
    let detail = |listener: &str, path: &str| {
        let mut client = Client::new(world.server().address_of(listener));
        let response = client.request("POST", path, &[("Content-Type", "application/json")], b"{}");
        assert_eq!((response.status, response.reason_code().as_str()), (401, "MISSING_TOKEN"));
        response.json()["detail"].as_str().unwrap().to_owned()
    };
    let task = detail("task", "/v1/task/heartbeat");
    assert!(task.contains("`X-Trace-Task-Capability`") && !task.contains("X-API-Key"), "{task}");
    let internal = detail("internal", "/internal/task-claim");
    assert!(internal.contains("`X-Trace-Worker-Token`") && !internal.contains("X-API-Key"), "{internal}");
    let public = world.server().client().get("/status").json()["detail"].as_str().unwrap().to_owned();
    assert!(public.contains("`X-API-Key`"), "{public}");
}
