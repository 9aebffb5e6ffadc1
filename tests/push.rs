//! Tasks that the built program posts: a runner on loopback gets them and reports through the task listener, refuses
//! them, does not answer, or gets them again after a restart.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

#[path = "push/runner.rs"]
mod runner;
mod support;
#[expect(dead_code, reason = "made for tasks.rs, of which this uses a part")]
#[path = "tasks/world.rs"]
mod world;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use runner::{Invocation, Runner};
use support::Intent;
use support::problem::check as check_problem;
use world::{Claim, World};

/// A server that may call the runner, and posts again at once.
fn world_of(runner: &Runner) -> World {
    let address = runner.address();
    let (allowed, private) = (format!("push.allow_hosts={address}"), format!("push.allow_private={address}"));
    World::with(&[&allowed, &private, "push.resend_ms=1", "push.resend_ms_max=5"])
}

/// Registers a handler whose tasks the runner gets.
fn register(world: &World, intent_type: &str, runner: &Runner, more: &Value) {
    let url = format!("http://{}/run", runner.address());
    let mut body = json!({ "kind": "push", "url": url, "pool": "default" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.register(intent_type, &body);
}

fn claim(invocation: &Invocation) -> Claim {
    let text = |name: &str| invocation.body[name].as_str().unwrap().to_owned();
    Claim {
        task_id: text("task_id"),
        attempt: invocation.body["attempt"].as_u64().unwrap(),
        lease_token: text("lease_token"),
        capability: text("capability_token"),
        whole: invocation.body.clone(),
    }
}

fn fence(invocation: &Invocation) -> [&Value; 3] {
    ["task_id", "attempt", "lease_token"].map(|name| &invocation.body[name])
}

#[test]
fn a_runner_gets_its_task_keeps_it_alive_and_completes_it() {
    let runner = Runner::start(&[]);
    let world = world_of(&runner);
    let registered = json!({
        "job": { "dag_name": "d", "name": "j" }, "operator": { "o": 1 }, "config": { "x": 2 }, "handler_name": "r",
    });
    register(&world, "work", &runner, &registered);
    let intent = Intent {
        intent_type: "work".to_owned(),
        payload: json!({ "inputs": [{ "a": 1 }, "b"] }),
        ..Intent::new("c")
    };
    let headers = [
        ("Content-Type", "application/json"),
        ("Authorization", "Bearer everyone"),
        ("X-Correlation-Id", "trace-me"),
    ];
    let body = intent.body();
    let taken = world.server().client().request("POST", "/ingress/intent", &headers, body.as_bytes());
    assert_eq!(taken.status, 202, "{}", taken.text());
    let invocation = runner.next();
    let mut members: Vec<&String> = invocation.body.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(
        members,
        [
            "attempt",
            "bundle_url",
            "capability_token",
            "config",
            "inputs",
            "job",
            "lease_expires_at",
            "lease_token",
            "operator",
            "task_id",
        ]
    );
    let found = ["job", "operator", "config", "inputs", "bundle_url"].map(|name| &invocation.body[name]);
    let job = json!({ "dag_name": "d", "name": "j" });
    assert_eq!(
        found,
        [&job, &json!({ "o": 1 }), &json!({ "x": 2 }), &json!([{ "a": 1 }, "b"]), &Value::Null]
    );
    assert_eq!(invocation.header("x-correlation-id"), Some("trace-me"));
    assert_eq!(invocation.line, "POST /run HTTP/1.1");
    let claim = claim(&invocation);
    let beat = world.task(&claim, "heartbeat", &json!({}));
    assert_eq!(
        (beat.status, beat.json()["cancel_requested"].as_bool()),
        (200, Some(false)),
        "{}",
        beat.text()
    );
    world.complete(&claim, &json!({ "answer": 42 }));
    let course = world.course("c", "EXECUTION completed");
    assert_eq!(
        course[2..],
        ["TASK queued", "TASK claimed", "EXECUTION running", "TASK completed", "EXECUTION completed"]
    );
    let claimed = world.record("c", "TASK", "claimed");
    assert_eq!(claimed["payload"]["worker_id"], "push/r");
    assert_eq!(claimed["payload"]["lease_expires_at"], invocation.body["lease_expires_at"]);
    assert!(world.metric("push_calls_total{result=\"accepted\"}") >= 1.0);
    world.check_replay();
}

/// GET of an absolute URL of the task listener, with another query if one is given.
fn get_of(url: &str, query: impl FnOnce(&str) -> String) -> support::Response {
    let rest = url.strip_prefix("http://").unwrap();
    let (authority, path) = rest.split_at(rest.find('/').unwrap());
    let (path, signed) = path.split_once('?').unwrap();
    let mut client = support::Client::new(authority.parse().unwrap());
    client.get(&format!("{path}?{}", query(signed)))
}

#[test]
fn a_runner_gets_the_bundle_that_its_handler_is_registered_with() {
    let runner = Runner::start(&[]);
    let world = world_of(&runner);
    let bytes = b"the bundle's bytes";
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let url = format!("http://{}/run", runner.address());
    let registration = json!({
        "intent_type": "work", "handler_name": "h", "kind": "push", "url": url, "bundle_sha256": digest,
    });
    let refused = world.post("/api/intent/handlers", &registration);
    check_problem(&refused, 400, "BLOB_NOT_FOUND", Some("/bundle_sha256"));
    let everyone = [("Authorization", "Bearer everyone")];
    let put = world.server().client().request("PUT", &format!("/api/blob/sha256/{digest}"), &everyone, bytes);
    assert!(matches!(put.status, 200 | 201), "{}", put.text());
    register(&world, "work", &runner, &json!({ "bundle_sha256": digest }));
    world.submit("c", "work");
    let invocation = runner.next();
    let bundle_url = invocation.body["bundle_url"].as_str().unwrap();
    assert!(
        bundle_url.starts_with(&format!("http://{}/", world.server().address_of("task"))),
        "{bundle_url}"
    );
    let got = get_of(bundle_url, str::to_owned);
    assert_eq!((got.status, got.body.as_slice()), (200, &bytes[..]));
    // Nothing of the query may be changed, least of all when it expires.
    for changed in ["expires=1", "expires=9"] {
        let refused = get_of(bundle_url, |query| query.replacen("expires=", changed, 1));
        check_problem(&refused, 403, "BAD_SIGNATURE", None);
    }
    let elsewhere = bundle_url.replace(&digest, &"0".repeat(64));
    check_problem(&get_of(&elsewhere, str::to_owned), 403, "BAD_SIGNATURE", None);
    world.complete(&claim(&invocation), &json!({}));
    world.course("c", "EXECUTION completed");
}

#[test]
fn a_bundle_is_fetched_from_where_the_configuration_says() {
    let runner = Runner::start(&[]);
    let address = runner.address();
    let (allowed, private) = (format!("push.allow_hosts={address}"), format!("push.allow_private={address}"));
    let world = World::with(&[&allowed, &private, "tasks.public_url=https://tasks.example:7443"]);
    let digest: String = Sha256::digest(b"b").iter().map(|byte| format!("{byte:02x}")).collect();
    let everyone = [("Authorization", "Bearer everyone")];
    world.server().client().request("PUT", &format!("/api/blob/sha256/{digest}"), &everyone, b"b");
    register(&world, "work", &runner, &json!({ "bundle_sha256": digest, "timeout_seconds": 60 }));
    world.submit("c", "work");
    let invocation = runner.next();
    let bundle_url = invocation.body["bundle_url"].as_str().unwrap();
    let start = format!("https://tasks.example:7443/objects/sha256/{digest}?expires=");
    let query = bundle_url.strip_prefix(&start).unwrap_or_else(|| panic!("{bundle_url}"));
    // As long as the capability: the attempt's time and five minutes.
    let expires: u64 = query.split_once('&').unwrap().0.parse().unwrap();
    let capability = invocation.body["capability_token"].as_str().unwrap();
    let claims = URL_SAFE_NO_PAD.decode(capability.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let capability_expires = claims["exp"].as_u64().unwrap();
    assert!((expires..=expires + 5).contains(&capability_expires), "{expires} {capability_expires}");
}

#[test]
fn the_same_attempt_is_posted_again_until_somebody_accepts_it() {
    let runner = Runner::start(&[
        "503 Busy",
        "429 Later",
        "",
        "307 There\r\nLocation: http://127.0.0.1:1/",
        "408 Slow",
    ]);
    let world = world_of(&runner);
    register(&world, "work", &runner, &json!({}));
    world.submit("c", "work");
    let sent: Vec<Invocation> = (0..6).map(|_| runner.next()).collect();
    for again in &sent[1..] {
        assert_eq!(fence(again), fence(&sent[0]));
    }
    world.complete(&claim(&sent[5]), &json!({}));
    let course = world.course("c", "EXECUTION completed");
    assert_eq!(course.iter().filter(|name| *name == "TASK claimed").count(), 1);
}

#[test]
fn a_refusal_fails_the_task_and_an_attempt_that_nobody_accepts_is_tried_again() {
    let answers: Vec<&str> = ["422 No"].into_iter().chain(std::iter::repeat_n("503 Busy", 21)).collect();
    let runner = Runner::start(&answers);
    let address = runner.address();
    let (allowed, private) = (format!("push.allow_hosts={address}"), format!("push.allow_private={address}"));
    let world = World::with(&[
        &allowed,
        &private,
        "push.resend_ms=1",
        "push.resend_ms_max=5",
        "push.failures_max=1000",
    ]);
    register(&world, "work", &runner, &json!({}));
    world.submit("a", "work");
    world.course("a", "EXECUTION failed");
    let failed = world.record("a", "TASK", "failed");
    assert_eq!(
        (&failed["payload"]["code"], &failed["payload"]["retryable"]),
        (&json!("PUSH_REFUSED"), &json!(false))
    );
    assert_eq!(failed["actor"], "push/h");
    let first = runner.next();
    world.submit("b", "work");
    let sent: Vec<Invocation> = (0..22).map(|_| runner.next()).collect();
    assert!(sent[..21].iter().all(|again| fence(again) == fence(&sent[0]) && fence(again) != fence(&first)));
    assert_eq!((&sent[20].body["attempt"], &sent[21].body["attempt"]), (&json!(1), &json!(2)));
    let failed = world.record("b", "TASK", "failed");
    assert_eq!(
        (&failed["payload"]["code"], &failed["payload"]["retryable"]),
        (&json!("PUSH_UNDELIVERED"), &json!(true))
    );
    let stale = world.task(&claim(&sent[0]), "complete", &json!({ "status": "Completed" }));
    check_problem(&stale, 409, "STALE_ATTEMPT", None);
    world.complete(&claim(&sent[21]), &json!({}));
    world.course("b", "EXECUTION completed");
    world.check_replay();
}

#[test]
fn a_restart_posts_again_what_nobody_has_been_heard_of() {
    let later = "503 Busy\r\nRetry-After: 1000";
    let runner = Runner::start(&[later, later]);
    let mut world = world_of(&runner);
    register(&world, "work", &runner, &World::granting(&["1"]));
    world.submit("heard", "work");
    let heard = claim(&runner.next());
    let event = json!({ "events": [{ "dataset_uuid": "d", "dataset_version": "1", "cursor": 8 }] });
    let reported = world.task(&heard, "events", &event);
    assert_eq!(reported.status, 202, "{}", reported.text());
    world.submit("unheard", "work");
    let unheard = runner.next();
    assert_ne!(unheard.body["task_id"], heard.task_id);
    world.kill_and_start();
    let again = runner.next();
    assert_eq!(fence(&again), fence(&unheard));
    // Whoever has been heard of is not asked again: what comes next is the next task.
    world.submit("next", "work");
    let next = runner.next();
    assert_eq!(next.body["task_id"], world.task_of("next"));
    for claim in [heard, claim(&again), claim(&next)] {
        world.complete(&claim, &json!({}));
    }
    for correlation in ["heard", "unheard", "next"] {
        let course = world.course(correlation, "EXECUTION completed");
        assert_eq!(course.iter().filter(|name| *name == "TASK claimed").count(), 1, "{course:?}");
    }
    world.check_replay();
}

#[test]
fn an_attempt_whose_worker_was_heard_of_is_not_posted_again() {
    let later = "503 Busy\r\nRetry-After: 1";
    let runner = Runner::start(&[later, later]);
    let world = world_of(&runner);
    register(&world, "work", &runner, &json!({}));
    // The runner takes it, although its answer says otherwise; nothing is recorded of this heartbeat.
    world.submit("heard", "work");
    let heard = claim(&runner.next());
    assert_eq!(world.task(&heard, "heartbeat", &json!({})).status, 200);
    // Of another one nobody is heard: it would be posted again behind the first.
    world.submit("unheard", "work");
    let unheard = runner.next();
    let again = runner.next();
    assert_eq!(fence(&again), fence(&unheard));
    for claim in [heard, claim(&again)] {
        world.complete(&claim, &json!({}));
    }
    world.course("heard", "EXECUTION completed");
    world.course("unheard", "EXECUTION completed");
}

#[test]
fn a_host_that_fails_again_and_again_is_left_alone_and_then_asked_once() {
    let runner = Runner::start(&["500 No", "500 No", "500 No"]);
    let address = runner.address();
    let (allowed, private) = (format!("push.allow_hosts={address}"), format!("push.allow_private={address}"));
    let world = World::with(&[
        &allowed,
        &private,
        "push.resend_ms=1",
        "push.resend_ms_max=5",
        "push.failures_max=2",
        "push.open_seconds=1",
    ]);
    register(&world, "work", &runner, &json!({}));
    world.submit("c", "work");
    let sent = [runner.next(), runner.next()];
    let opened = Instant::now();
    let probe = runner.next();
    assert!(opened.elapsed() > Duration::from_millis(900), "it is left alone for a second");
    let again = Instant::now();
    let accepted = runner.next();
    assert!(again.elapsed() > Duration::from_millis(900), "the probe has failed");
    for posted in [&sent[1], &probe, &accepted] {
        assert_eq!(fence(posted), fence(&sent[0]));
    }
    world.complete(&claim(&accepted), &json!({}));
    world.course("c", "EXECUTION completed");
    assert!(world.metric("push_circuits_opened_total") >= 1.0);
}

#[test]
fn a_target_that_may_not_be_called_is_refused_when_registered_and_when_called() {
    let runner = Runner::start(&[]);
    let port = runner.address().port();
    let allowed = format!("push.allow_hosts=a.example,127.0.0.1:{port},localhost:{port},10.0.0.5");
    let world = World::with(&[&allowed, "push.resend_ms=1"]);
    let refused = [
        "https://b.example/".to_owned(),
        "https://a.example:8443/".to_owned(),
        "https://user@a.example/".to_owned(),
        "https://a.example@127.0.0.1/".to_owned(),
        "https://2130706433/".to_owned(),
        "https://0x7f000001/".to_owned(),
        "https://0177.0.0.1/".to_owned(),
        "https://[::ffff:127.0.0.1]/".to_owned(),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
        "https://10.0.0.5/".to_owned(),
        "ftp://a.example/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "http://a.example/".to_owned(),
        format!("http://127.0.0.1:{port}/"),
    ];
    for url in refused {
        let body = json!({ "intent_type": "w", "handler_name": "h", "kind": "push", "url": url });
        let response = world.post("/api/intent/handlers", &body);
        assert_eq!((response.status, response.reason_code().as_str()), (400, "INVALID_INPUT"), "{url}");
        assert!(response.json()["detail"].as_str().unwrap().contains("url"), "{}", response.text());
    }
    // A name is judged once it is resolved: this one is loopback, and nobody has said that it may be.
    world.register("work", &json!({ "kind": "push", "url": format!("http://localhost:{port}/run") }));
    world.submit("c", "work");
    world.course("c", "EXECUTION failed");
    let failed = world.record("c", "TASK", "failed");
    assert_eq!(
        (&failed["payload"]["code"], &failed["payload"]["retryable"]),
        (&json!("PUSH_TARGET_REFUSED"), &json!(false))
    );
    assert!(failed["payload"]["error_message"].as_str().unwrap().contains("push.allow_private"), "{failed}");
    assert_eq!(runner.taken(), 0);
}
