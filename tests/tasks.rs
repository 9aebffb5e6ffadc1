//! Tasks with the built program: claimed, kept alive, completed, lost, cancelled and tried again by workers over HTTP,
//! through restarts.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

#[path = "tasks/blobs.rs"]
mod blobs;
#[path = "tasks/killed.rs"]
mod killed;
#[path = "tasks/refused.rs"]
mod refused;
#[path = "tasks/service.rs"]
mod service;
#[path = "tasks/state.rs"]
mod state;
mod support;
#[path = "tasks/versions.rs"]
mod versions;
#[path = "tasks/world.rs"]
mod world;

use std::thread;

use serde_json::{Value, json};
use support::problem::check as check_problem;
use support::until;
use world::{Claim, World};

/// The course of a task that goes well.
const GOES_WELL: [&str; 7] = [
    "INTENT submitted",
    "DECISION decided",
    "TASK queued",
    "TASK claimed",
    "EXECUTION running",
    "TASK completed",
    "EXECUTION completed",
];

#[test]
fn a_task_is_claimed_kept_alive_completed_and_ends_its_execution() {
    let world = World::start();
    world.register("work", &json!({ "job": { "dag_name": "d", "name": "j" }, "config": { "x": 1 } }));
    world.submit("c", "work");
    let claim = world.claimed("w-1");
    assert_eq!((claim.attempt, claim.lease_token.len()), (1, 32));
    let task = &claim.whole["task"];
    assert_eq!(task["payload"], json!({ "message": "say c" }));
    assert_eq!((&task["correlation_id"], &task["stream_id"]), (&json!("c"), &json!("default")));
    assert_eq!((&task["job"]["name"], &task["config"]["x"]), (&json!("j"), &json!(1)));
    assert_eq!(
        (&task["context"]["actor"], &task["context"]["session_id"]),
        (&json!("agent-1"), &json!("thread"))
    );
    assert_eq!(task["limits"]["lease_ms"], 120_000);
    let beat = world.task(&claim, "heartbeat", &json!({}));
    assert_eq!(beat.status, 200, "{}", beat.text());
    let beat = beat.json();
    assert_eq!(beat["lease_expires_at"], claim.whole["lease_expires_at"]);
    assert!(beat["lease_expires_in_ms"].as_u64().unwrap() > 60_000, "{beat}");
    assert_eq!((&beat["cancel_requested"], &beat["drain"]), (&json!(false), &json!(false)));
    world.course("c", "EXECUTION running");
    let renewed = Claim { capability: beat["capability_token"].as_str().unwrap().to_owned(), ..claim };
    world.complete(&renewed, &json!({ "answer": 42 }));
    assert_eq!(world.course("c", "EXECUTION completed"), GOES_WELL);
    let end = world.record("c", "EXECUTION", "completed");
    assert_eq!(end["payload"], json!({ "delivery": 1, "output": { "answer": 42 } }));
    let queued = world.record("c", "TASK", "queued");
    assert_eq!(queued["cause"], world.record("c", "DECISION", "decided")["index"]);
    assert_eq!(world.record("c", "TASK", "claimed")["cause"], queued["index"]);
    let execution = format!("execution/{}", renewed.task_id);
    assert_eq!(queued["subjects"][1], json!({ "expected": null, "subject": execution }));
    let running = world.record("c", "EXECUTION", "running");
    assert_eq!(running["subjects"][0], json!({ "expected": queued["index"], "subject": execution }));
}

#[test]
fn each_reason_why_a_task_is_not_given_out_is_told() {
    let world = World::with(&["tasks.retry_ms=600000"]);
    world.register("work", &json!({}));
    let ended = |status: &str, retryable: bool, correlation: &str| {
        world.submit(correlation, "work");
        let claim = world.claimed("w-1");
        let mut report = json!({ "status": status });
        if status == "Failed" {
            report["retryable"] = json!(retryable);
        }
        assert_eq!(world.task(&claim, "complete", &report).status, 200);
        claim.task_id
    };
    let (completed, failed) = (ended("Completed", false, "a"), ended("Failed", false, "b"));
    let (canceled, later) = (ended("Canceled", false, "c"), ended("Failed", true, "d"));
    world.wait_for(&later, "retry_scheduled");
    world.submit("e", "work");
    let running = world.claimed("w-1");
    for (correlation, end) in [("a", "completed"), ("b", "failed"), ("c", "cancelled"), ("e", "running")] {
        world.course(correlation, &format!("EXECUTION {end}"));
    }
    for (task_id, reason) in [
        (completed.as_str(), "Completed"),
        (&failed, "Failed"),
        (&canceled, "Canceled"),
        (&later, "NotDue"),
        (&running.task_id, "AlreadyRunning"),
        ("01JD000000000000000000000A", "NotFound"),
    ] {
        assert_eq!(world.not_claimed(task_id, "w-2"), reason, "{task_id}");
    }
    // Who has it gets the same answer again, and nothing is recorded.
    let head = world.head();
    let again = world.claim(&json!({ "worker_id": "w-1", "task_id": running.task_id })).json();
    for member in ["status", "attempt", "lease_token", "lease_expires_at", "task"] {
        assert_eq!(again[member], running.whole[member], "{member}");
    }
    assert_eq!(world.head(), head);
}

#[test]
fn a_worker_gets_what_its_token_covers_and_others_get_401() {
    let world = World::start();
    world.register("work", &json!({}));
    world.submit("c", "work");
    let task_id = world.task_of("c");
    let narrow = ("X-Trace-Worker-Token", "narrow");
    let pools = json!({ "worker_id": "n-1", "pools": ["p"] });
    check_problem(&world.claim_with(narrow, &pools), 401, "BAD_TOKEN", None);
    let other = json!({ "worker_id": "w-1", "pools": ["narrow"] });
    check_problem(&world.claim_with(narrow, &other), 401, "BAD_TOKEN", None);
    check_problem(&world.claim_with(("X-Other", "worker"), &pools), 401, "MISSING_TOKEN", None);
    let named = world.claim_with(narrow, &json!({ "worker_id": "n-1", "task_id": task_id }));
    assert_eq!(named.json()["reason"], "NotFound", "a task of another pool is as if it were not there");
    let fetch = |token| {
        let path = format!("/internal/task-fetch?task_id={task_id}");
        world.internal().request("GET", &path, &[token], b"")
    };
    check_problem(&fetch(narrow), 404, "TASK_NOT_FOUND", None);
    let fetched = fetch(("X-Trace-Worker-Token", "worker")).json();
    assert_eq!(
        (&fetched["state"], &fetched["task"]["payload"]["message"]),
        (&json!("queued"), &json!("say c"))
    );
    for (body, pointer) in [
        (json!({ "worker_id": "w-1" }), "/pools"),
        (json!({ "pools": ["p"] }), "/worker_id"),
        (json!({ "worker_id": "w-1", "pools": [] }), "/pools"),
        (json!({ "worker_id": "w-1", "pools": ["p"], "max": 101 }), "/max"),
        (json!({ "worker_id": "w-1", "pools": ["p"], "wait_ms": 55_001 }), "/wait_ms"),
        (json!({ "worker_id": "w-1", "task_id": task_id, "max": 2 }), "/task_id"),
        (json!({ "worker_id": "w-1", "task_id": "x" }), "/task_id"),
    ] {
        check_problem(&world.claim(&body), 400, "INVALID_INPUT", Some(pointer));
    }
}

#[test]
fn a_fence_that_is_not_the_latest_attempts_changes_nothing() {
    let world = World::start();
    world.register("work", &json!({ "lease_seconds": 1, "max_attempts": 5 }));
    world.submit("c", "work");
    let first = world.claimed("w-1");
    let wrong = Claim { lease_token: "0".repeat(32), ..first.clone() };
    check_problem(&world.task(&wrong, "heartbeat", &json!({})), 409, "STALE_ATTEMPT", None);
    let other = Claim { attempt: 2, ..first.clone() };
    check_problem(&world.task(&other, "heartbeat", &json!({})), 403, "WRONG_TASK", None);
    // Nobody is heard of: the attempt times out, and another is made.
    let second = world.claimed("w-2");
    assert_eq!((second.task_id.as_str(), second.attempt), (first.task_id.as_str(), 2));
    for path in ["heartbeat", "complete"] {
        let more = if path == "complete" { json!({ "status": "Completed" }) } else { json!({}) };
        check_problem(&world.task(&first, path, &more), 409, "STALE_ATTEMPT", None);
    }
    let timed_out = world.record("c", "TASK", "timed_out");
    assert_eq!(timed_out["payload"], json!({ "attempt": 1, "limit": "lease" }));
    until("stale attempts are counted", || (world.metric("task_stale_attempts_total") >= 3.0).then_some(()));
    world.complete(&second, &json!({ "n": 1 }));
    world.course("c", "EXECUTION completed");
}

#[test]
fn a_heartbeat_in_the_second_half_of_a_lease_extends_it_and_the_absolute_limit_stays() {
    let world = World::start();
    world.register("work", &json!({ "lease_seconds": 3 }));
    world.submit("c", "work");
    let claim = world.claimed("w-1");
    until("the lease is extended", || {
        let beat = world.task(&claim, "heartbeat", &json!({}));
        assert_eq!(beat.status, 200, "{}", beat.text());
        let extended = beat.json()["lease_expires_at"] != claim.whole["lease_expires_at"];
        extended.then_some(())
    });
    let extended = world.record("c", "TASK", "extended")["payload"].clone();
    assert_eq!(extended["attempt"], 1);
    assert!(extended["lease_expires_at"].as_str() > claim.whole["lease_expires_at"].as_str());
    world.complete(&claim, &json!(null));
    world.register("brief", &json!({ "timeout_seconds": 1, "max_attempts": 1 }));
    world.submit("d", "brief");
    world.claimed("w-1");
    world.course("d", "EXECUTION failed");
    assert_eq!(world.record("d", "TASK", "timed_out")["payload"]["limit"], "absolute");
}

#[test]
fn a_task_that_is_to_be_posted_is_not_for_workers() {
    // Nobody listens there: after the first task the others wait until the host may be asked again.
    let world = World::with(&[
        "push.allow_hosts=127.0.0.1:1",
        "push.allow_private=127.0.0.1:1",
        "push.failures_max=1",
        "push.open_seconds=3600",
    ]);
    let url = json!("https://127.0.0.1:1/invoke");
    world.register("posted", &json!({ "kind": "push", "url": url }));
    world.submit("first", "posted");
    until("its host is left alone", || (world.metric("push_circuits_opened_total") > 0.0).then_some(()));
    world.submit("c", "posted");
    let task_id = world.task_of("c");
    world.wait_for(&task_id, "queued");
    assert_eq!(world.not_claimed(&task_id, "w-1"), "NotFound");
    assert_eq!(world.claim(&json!({ "worker_id": "w-1", "pools": ["p"] })).status, 204);
    assert_eq!(world.get("/api/task").json()["pools"][0]["kind"], "push");
    let shown = world.get("/api/intent/handlers").json()["handlers"].clone();
    assert_eq!(shown[0]["registration"]["url"], url);
    for (more, pointer) in [
        (json!({ "kind": "push" }), "/url"),
        (json!({ "kind": "push", "url": "http://runner.example/" }), "/url"),
        (json!({ "kind": "worker", "url": url }), "/url"),
        (json!({ "kind": "external", "pool": "p" }), "/pool"),
        (json!({ "kind": "worker", "priority": 10 }), "/priority"),
        (json!({ "kind": "worker", "timeout_seconds": 86_401 }), "/timeout_seconds"),
        (json!({ "kind": "worker", "grants": { "s3": { "read_prefixes": ["s3://bucket/*/"] } } }), "/grants"),
    ] {
        let mut body = json!({ "intent_type": "t", "handler_name": "h" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        check_problem(&world.post("/api/intent/handlers", &body), 400, "INVALID_INPUT", Some(pointer));
    }
}

#[test]
fn a_report_that_comes_late_counts_until_the_next_claim() {
    let world = World::with(&["tasks.retry_ms=600000"]);
    world.register("work", &json!({ "lease_seconds": 1 }));
    world.submit("c", "work");
    let claim = world.claimed("w-1");
    world.wait_for(&claim.task_id, "retry_scheduled");
    check_problem(&world.task(&claim, "heartbeat", &json!({})), 409, "STALE_ATTEMPT", None);
    world.complete(&claim, &json!({ "is": "late" }));
    world.course("c", "EXECUTION completed");
    assert_eq!(world.record("c", "EXECUTION", "completed")["payload"]["output"]["is"], "late");
}

#[test]
fn the_same_report_again_is_answered_with_the_first_and_another_is_stale() {
    let world = World::with(&["tasks.retry_ms=600000"]);
    world.register("work", &json!({}));
    world.submit("c", "work");
    let claim = world.claimed("w-1");
    let first = world.complete(&claim, &json!({ "n": 1 })).json();
    world.course("c", "EXECUTION completed");
    let head = world.head();
    let again = world.complete(&claim, &json!({ "n": 1 }));
    assert_eq!((again.header("idempotent-replayed"), again.json()), (Some("true"), first));
    let other = world.task(&claim, "complete", &json!({ "status": "Completed", "result": { "n": 2 } }));
    check_problem(&other, 409, "STALE_ATTEMPT", None);
    let other = world.task(&claim, "complete", &json!({ "status": "Failed" }));
    check_problem(&other, 409, "STALE_ATTEMPT", None);
    assert_eq!(world.head(), head, "nothing was appended");
    // A failure too, while its retry is scheduled already.
    world.submit("d", "work");
    let claim = world.claimed("w-1");
    let report = json!({ "status": "Failed", "error_message": "no", "code": "NO_LUCK" });
    assert_eq!(world.task(&claim, "complete", &report).header("idempotent-replayed"), None);
    world.wait_for(&claim.task_id, "retry_scheduled");
    let again = world.task(&claim, "complete", &report);
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
}

#[test]
fn a_task_is_tried_until_no_attempt_is_left() {
    let world = World::start();
    world.register("work", &json!({ "max_attempts": 2 }));
    world.register("slow", &json!({ "max_attempts": 2, "lease_seconds": 1 }));
    world.submit("c", "work");
    let report = json!({ "status": "Failed", "error_message": "no", "code": "NO_LUCK" });
    for attempt in 1..=2 {
        let claim = world.claimed("w-1");
        assert_eq!(claim.attempt, attempt);
        assert_eq!(world.task(&claim, "complete", &report).status, 200);
    }
    let course = world.course("c", "EXECUTION failed");
    assert_eq!(course.iter().filter(|record| *record == "TASK failed").count(), 2);
    assert_eq!(course.iter().filter(|record| *record == "EXECUTION running").count(), 1);
    let error = &world.record("c", "EXECUTION", "failed")["payload"]["error"];
    assert_eq!(*error, json!({ "code": "NO_LUCK", "message": "no" }));
    let retry = world.record("c", "TASK", "retry_scheduled")["payload"].clone();
    assert!((20..=60).contains(&retry["delay_ms"].as_u64().unwrap()), "{retry}");
    world.submit("d", "slow");
    for _ in 0..2 {
        world.claimed("w-1");
    }
    world.course("d", "EXECUTION failed");
    assert_eq!(world.record("d", "EXECUTION", "failed")["payload"]["error"]["code"], "RETRIES_EXHAUSTED");
}

#[test]
fn a_cancelled_task_ends_at_once_or_when_its_worker_or_its_grace_does() {
    let world = World::start();
    world.register("work", &json!({}));
    world.register("short", &json!({ "lease_seconds": 2 }));
    let cancel =
        |task_id: &str| world.post(&format!("/api/task/{task_id}/cancel"), &json!({ "reason": "r" }));
    // Nobody has it.
    world.submit("queued", "work");
    let task_id = world.task_of("queued");
    let response = cancel(&task_id);
    assert_eq!(
        (response.status, &response.json()["state"]),
        (202, &json!("canceled")),
        "{}",
        response.text()
    );
    world.course("queued", "EXECUTION cancelled");
    assert_eq!(
        world.record("queued", "EXECUTION", "cancelled")["payload"],
        json!({ "by": "everyone", "reason": "r" })
    );
    check_problem(&cancel(&task_id), 409, "ILLEGAL_TRANSITION", None);
    check_problem(&cancel("01JD000000000000000000000A"), 404, "TASK_NOT_FOUND", None);
    // Its worker is asked, and stops.
    world.submit("asked", "work");
    let claim = world.claimed("w-1");
    assert_eq!(cancel(&claim.task_id).json()["state"], "running");
    assert_eq!(cancel(&claim.task_id).status, 202, "asking again is nothing");
    assert_eq!(world.task(&claim, "heartbeat", &json!({})).json()["cancel_requested"], true);
    assert_eq!(world.task(&claim, "complete", &json!({ "status": "Canceled" })).status, 200);
    let course = world.course("asked", "EXECUTION cancelled");
    assert_eq!(course.iter().filter(|record| *record == "TASK cancel_requested").count(), 1);
    // Its worker does not stop: what is left of the lease is the grace.
    world.submit("deaf", "short");
    let claim = world.claimed("w-1");
    cancel(&claim.task_id);
    until("the grace is over", || (world.task(&claim, "heartbeat", &json!({})).status == 409).then_some(()));
    world.course("deaf", "EXECUTION cancelled");
    assert_eq!(world.record("deaf", "TASK", "canceled")["payload"]["by"], "everyone");
}

#[test]
fn a_cancelled_intent_cancels_its_task() {
    let world = World::start();
    world.register("work", &json!({}));
    let cancel = |task_id: &str| {
        let response = world.post(&format!("/api/execution/{task_id}/cancel"), &json!({ "reason": "r" }));
        assert_eq!(response.status, 202, "{}", response.text());
    };
    world.submit("queued", "work");
    cancel(&world.task_of("queued"));
    world.course("queued", "EXECUTION cancelled");
    assert_eq!(
        world.record("queued", "TASK", "canceled")["payload"],
        json!({ "attempt": 0, "by": "everyone", "reason": "r" })
    );
    world.submit("running", "work");
    let claim = world.claimed("w-1");
    cancel(&claim.task_id);
    until("its worker is asked to stop", || {
        (world.task(&claim, "heartbeat", &json!({})).json()["cancel_requested"] == true).then_some(())
    });
    assert_eq!(world.task(&claim, "complete", &json!({ "status": "Canceled" })).status, 200);
    world.course("running", "EXECUTION cancelled");
    world.check_replay();
}

#[test]
fn a_retry_that_is_scheduled_comes_now_where_an_operator_asks() {
    let world = World::with(&["tasks.retry_ms=600000"]);
    world.register("work", &json!({}));
    world.submit("c", "work");
    let claim = world.claimed("w-1");
    let retry = |task_id: &str| world.post(&format!("/api/task/{task_id}/retry"), &json!({}));
    check_problem(&retry(&claim.task_id), 409, "ILLEGAL_TRANSITION", None);
    assert_eq!(world.task(&claim, "complete", &json!({ "status": "Failed" })).status, 200);
    world.wait_for(&claim.task_id, "retry_scheduled");
    let response = retry(&claim.task_id);
    assert_eq!((response.status, &response.json()["state"]), (202, &json!("queued")), "{}", response.text());
    let claim = world.claimed("w-1");
    assert_eq!(claim.attempt, 2);
    world.complete(&claim, &json!(null));
    world.course("c", "EXECUTION completed");
    check_problem(&retry(&claim.task_id), 409, "ILLEGAL_TRANSITION", None);
}

#[test]
fn leases_live_on_through_a_kill_and_replay_gives_the_same_state() {
    let mut world = World::start();
    world.register("work", &json!({}));
    world.register("short", &json!({ "lease_seconds": 1, "pool": "p" }));
    world.submit("c", "work");
    let claim = world.claimed("w-1");
    world.submit("waiting", "work");
    world.task_of("waiting");
    world.kill_and_start();
    let beat = world.task(&claim, "heartbeat", &json!({}));
    assert_eq!(beat.status, 200, "{}", beat.text());
    let same = world.claim(&json!({ "worker_id": "w-1", "task_id": claim.task_id })).json();
    assert_eq!((&same["attempt"], &same["lease_token"]), (&json!(1), &json!(claim.lease_token)));
    let waiting = world.claimed("w-2");
    world.restart();
    assert_eq!(waiting.whole["task"]["correlation_id"], "waiting");
    world.complete(&claim, &json!({ "n": 1 }));
    // A worker that died with the server is noticed after the restart.
    world.submit("lost", "short");
    let lost = world.claimed("w-3");
    world.kill_and_start();
    let again = world.claimed("w-4");
    assert_eq!((again.task_id.as_str(), again.attempt), (lost.task_id.as_str(), 2));
    check_problem(
        &world.task(&lost, "complete", &json!({ "status": "Completed" })),
        409,
        "STALE_ATTEMPT",
        None,
    );
    world.complete(&again, &json!({ "n": 2 }));
    world.complete(&waiting, &json!({ "n": 3 }));
    for correlation in ["c", "waiting", "lost"] {
        world.course(correlation, "EXECUTION completed");
    }
    world.submit("open", "work");
    world.claimed("w-1");
    world.course("open", "EXECUTION running");
    world.check_replay();
}

#[test]
fn a_claim_that_waits_is_woken_by_the_task_that_comes_and_another_is_not() {
    let world = World::start();
    world.register("work", &json!({}));
    thread::scope(|scope| {
        let claims: Vec<_> = (0..2)
            .map(|nth| {
                let body = json!({ "worker_id": format!("w-{nth}"), "pools": ["p"], "wait_ms": 3_000 });
                let world = &world;
                scope.spawn(move || world.claim(&body))
            })
            .collect();
        until("both wait", || {
            let pools = world.get("/api/task").json()["pools"].clone();
            (pools[0]["claims_waiting"] == 2).then_some(())
        });
        world.submit("c", "work");
        let mut statuses: Vec<u16> = claims.into_iter().map(|claim| claim.join().unwrap().status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 204]);
    });
}

#[test]
fn streams_take_turns_and_a_batch_is_one_answer() {
    let world = World::start();
    world.register("work", &json!({}));
    for (correlation, stream) in [("a-1", "a"), ("a-2", "a"), ("a-3", "a"), ("b-1", "b")] {
        world.submit_to(correlation, "work", stream);
        world.task_of(correlation);
    }
    until("all wait", || (world.get("/api/task").json()["pools"][0]["depth"] == 4).then_some(()));
    let claimed = world.claim(&json!({ "worker_id": "w-1", "pools": ["p"], "max": 2 })).json();
    let of = |claimed: &Value| -> Vec<String> {
        let tasks = claimed.as_array().unwrap().iter();
        tasks.map(|claim| claim["task"]["stream_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of(&claimed), ["a", "b"]);
    let rest = world.claim(&json!({ "worker_id": "w-1", "pools": ["p"], "max": 100 })).json();
    assert_eq!(of(&rest), ["a", "a"]);
    until("they are listed", || {
        let listed = world.get("/api/task?state=running&stream_id=a").json();
        (listed["tasks"].as_array()?.len() == 3).then_some(())
    });
    let listed = world.get("/api/task?state=running&stream_id=a&limit=2").json();
    assert_eq!(listed["tasks"].as_array().unwrap().len(), 2);
    let next = listed["next"].as_str().unwrap();
    let listed = world.get(&format!("/api/task?state=running&stream_id=a&limit=2&after={next}")).json();
    assert_eq!((listed["tasks"].as_array().unwrap().len(), &listed["next"]), (1, &json!(null)));
}

#[test]
fn a_result_that_its_schema_refuses_is_422_and_the_attempt_goes_on() {
    let world = World::start();
    let schema =
        json!({ "type": "object", "required": ["rows"], "properties": { "rows": { "type": "integer" } } });
    world.register("work", &json!({ "result_schema": schema }));
    let bad = world.post(
        "/api/intent/handlers",
        &json!({
            "intent_type": "t", "handler_name": "h", "kind": "worker", "result_schema": { "type": 1 },
        }),
    );
    check_problem(&bad, 400, "INVALID_INPUT", Some("/result_schema"));
    world.submit("c", "work");
    let claim = world.claimed("w-1");
    for result in [json!({}), json!({ "rows": "3" })] {
        let refused = world.task(&claim, "complete", &json!({ "status": "Completed", "result": result }));
        check_problem(&refused, 422, "RESULT_INVALID", Some("/result"));
        assert!(!refused.json()["faults"].as_array().unwrap().is_empty());
    }
    assert_eq!(world.task(&claim, "heartbeat", &json!({})).status, 200);
    world.complete(&claim, &json!({ "rows": 3 }));
    world.course("c", "EXECUTION completed");
}

#[test]
fn what_nobody_could_fold_is_refused_and_the_projections_go_on() {
    let world = World::start();
    world.register("work", &World::granting(&["7"]));
    world.submit("c", "work");
    let claim = world.claimed("w-1");
    let version = |uuid: Value, version: Value| json!([{ "dataset_uuid": uuid, "dataset_version": version, "storage_ref": "s3://b/k/" }]);
    let long = json!({ "dataset_uuid": "d", "dataset_version": "7", "storage_ref": "x".repeat(100) });
    for published in [version(json!(7), json!("1")), version(json!("d"), json!(1.5)), json!(vec![long; 900])]
    {
        let body = json!({ "status": "Completed", "datasets_published": published });
        let refused = world.task(&claim, "complete", &body);
        assert!(matches!(refused.status, 400 | 413), "{}", refused.text());
    }
    let events = json!({ "events": [{ "dataset_uuid": "d", "dataset_version": "1", "cursor": null }] });
    assert_eq!(world.task(&claim, "events", &events).status, 400);
    assert_eq!(world.get("/readyz").status, 200);
    let numbered = json!({ "status": "Completed", "datasets_published": version(json!("d"), json!(7)) });
    let response = world.task(&claim, "complete", &numbered);
    assert_eq!(response.status, 200, "{}", response.text());
    world.course("c", "EXECUTION completed");
    world.check_replay();
}

#[test]
fn a_worker_is_told_at_once_that_it_should_stop_and_waiting_ones_that_there_is_something() {
    let world = World::start();
    world.register("work", &json!({}));
    let mut wakeups = world.stream("internal", "/internal/wakeups", &[("X-Trace-Worker-Token", "worker")]);
    world.submit("c", "work");
    let hint: Value = serde_json::from_str(&wakeups.next_of("wakeup").data).unwrap();
    let claim = world.claimed("w-1");
    assert_eq!(hint, json!({ "pool": "p", "task_id": claim.task_id }));
    let attempt = claim.attempt.to_string();
    let headers = [
        ("X-Trace-Task-Capability", claim.capability.as_str()),
        ("X-Trace-Attempt", attempt.as_str()),
        ("X-Trace-Lease-Token", claim.lease_token.as_str()),
    ];
    let mut control = world.stream("task", "/v1/task/control", &headers);
    assert_eq!(world.post(&format!("/api/task/{}/cancel", claim.task_id), &json!({})).status, 202);
    let told: Value = serde_json::from_str(&control.next_of("cancel").data).unwrap();
    assert_eq!(told, json!({ "attempt": 1, "task_id": claim.task_id }));
    assert_eq!(world.task(&claim, "complete", &json!({ "status": "Canceled" })).status, 200);
    control.next_of("over");
    assert!(control.rest().is_empty());
    world.submit("d", "work");
    let claim = world.claimed("w-1");
    let headers = [
        ("X-Trace-Task-Capability", claim.capability.as_str()),
        headers[1],
        ("X-Trace-Lease-Token", &claim.lease_token),
    ];
    let mut control = world.stream("task", "/v1/task/control", &headers);
    world.server().signal("TERM");
    control.next_of("drain");
}
