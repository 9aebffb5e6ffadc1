//! What allowed intents become: echoed in the server, reported on from outside, and ended exactly once whatever is
//! killed meanwhile.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::collections::BTreeMap;
use std::thread;

use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::log::offline::{self, Depth, LastBatch};
use gesta_replay::Fold;
use gesta_replay::projections::audit::Audit;
use gesta_replay::projections::executions::Executions;
use gesta_replay::projections::handlers::Handlers;
use serde_json::{Value, json};
use support::lives::killed_under_writers;
use support::{Client, Intent, Random, Response, Server, problem, until};

const DECIDING: [&str; 1] = ["decider.enabled=true"];
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// All records that the query selects, by ascending index.
fn records(client: &mut Client, query: &str) -> Vec<Value> {
    let (mut found, mut since) = (Vec::new(), -1);
    loop {
        let page = client.get(&format!("/events?limit=2000&since={since}&{query}")).json();
        found.extend(page["events"].as_array().unwrap().iter().cloned());
        match page["next"].as_i64() {
            Some(next) => since = next,
            None => return found,
        }
    }
}

/// The types of an intent's EXECUTION records.
fn course(client: &mut Client, correlation: &str) -> Vec<String> {
    let records = records(client, &format!("kinds=EXECUTION&correlation_id={correlation}"));
    records.iter().map(|record| record["type"].as_str().unwrap().to_owned()).collect()
}

fn wait_for(client: &mut Client, correlation: &str, end: &str) -> Vec<Value> {
    until(&format!("{correlation} is {end}"), || {
        let records = records(client, &format!("correlation_id={correlation}"));
        records.last().is_some_and(|record| record["type"] == end).then_some(records)
    })
}

fn report(client: &mut Client, correlation: &str, type_name: &str, payload: &Value) -> Response {
    let body = json!({ "correlation_id": correlation, "type": type_name, "payload": payload }).to_string();
    // Judged by the projections, which may be behind on a busy machine.
    until("the report is judged", || {
        let response = client.request("POST", "/execution/event", &[JSON], body.as_bytes());
        (response.reason_code() != "INDEX_NOT_APPLIED").then_some(response)
    })
}

#[track_caller]
fn reported(client: &mut Client, correlation: &str, type_name: &str, payload: &Value) -> u64 {
    let response = report(client, correlation, type_name, payload);
    assert_eq!((response.status, response.header("idempotent-replayed")), (200, None), "{}", response.text());
    let body = response.json();
    assert_eq!(body["ok"], true);
    body["execution_index"].as_u64().unwrap()
}

fn register(client: &mut Client, intent_type: &str, name: &str, kind: &str) -> Response {
    let body = json!({ "intent_type": intent_type, "handler_name": name, "kind": kind }).to_string();
    changed(client, "POST", "/api/intent/handlers", &body)
}

/// Changes the registry, and waits until the projections that it is read from show that.
fn changed(client: &mut Client, method: &str, path: &str, body: &str) -> Response {
    let response = client.request(method, path, &[JSON], body.as_bytes());
    if response.status < 300 {
        client.wait_applied(response.index());
    }
    response
}

/// An intent of a type that an external handler runs, decided.
fn outside(client: &mut Client, correlation: &str) -> Value {
    client.submit(&Intent { intent_type: "outside".to_owned(), ..Intent::new(correlation) });
    wait_for(client, correlation, "decided").pop().unwrap()
}

#[test]
fn a_message_is_echoed_and_what_nobody_handles_fails() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &DECIDING);
    let mut client = server.client();
    client.submit(&Intent::new("c"));
    let records = wait_for(&mut client, "c", "completed");
    let kinds: Vec<_> = records.iter().map(|record| record["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["INTENT", "DECISION", "EXECUTION", "EXECUTION"]);
    assert_eq!(records[3]["payload"]["output"], records[0]["payload"]["payload"]);
    let execution = format!("execution/{}", records[0]["payload"]["execution_id"].as_str().unwrap());
    assert_eq!(records[2]["subjects"], json!([{ "subject": execution, "expected": null }]));
    assert_eq!(records[3]["subjects"], json!([{ "subject": execution, "expected": records[2]["index"] }]));
    client.submit(&Intent { intent_type: "unheard.of".to_owned(), ..Intent::new("nobody") });
    let records = wait_for(&mut client, "nobody", "failed");
    assert_eq!(records[2]["payload"]["error"]["code"], "NO_HANDLER");
    // The phase is projected, a moment after the record can be read.
    until("the phase follows", || (client.get("/status").json()["phase"] == "FAILED").then_some(()));
    until("the end is counted", || {
        (server.metric("executions_ended_total{result=\"completed\"}") == 1.0).then_some(())
    });
}

#[test]
fn a_large_payload_is_echoed_as_the_blob_that_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &DECIDING);
    let mut client = server.client();
    client.submit(&Intent::sized("c", 200_000));
    let records = wait_for(&mut client, "c", "completed");
    assert!(records[0]["payload"]["payload"]["$blob"].is_string());
    assert_eq!(records[3]["payload"]["output"], records[0]["payload"]["payload"]);
}

#[test]
fn an_external_execution_goes_the_way_that_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &DECIDING);
    let mut client = server.client();
    assert_eq!(register(&mut client, "outside", "them", "external").status, 201);
    let decision = outside(&mut client, "c");
    let running = reported(&mut client, "c", "running", &json!({}));
    let event = reported(&mut client, "c", "event", &json!({ "n": 1 }));
    reported(
        &mut client,
        "c",
        "step_failed",
        &json!({ "step": "s", "error": { "code": "X", "message": "m" } }),
    );
    reported(&mut client, "c", "step_completed", &json!({ "step": "s", "output": [1] }));
    let large = json!({ "output": "x".repeat(100_000) });
    let completed = reported(&mut client, "c", "completed", &large);
    let records = records(&mut client, "correlation_id=c&kinds=EXECUTION");
    let types: Vec<_> = records.iter().map(|record| record["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["running", "event", "step_failed", "step_completed", "completed"]);
    assert_eq!((&records[0]["index"], &records[0]["cause"]), (&json!(running), &decision["index"]));
    assert_eq!((&records[1]["index"], &records[1]["cause"]), (&json!(event), &json!(running)));
    assert_eq!((&records[0]["payload"]["delivery"], &records[1]["payload"]["n"]), (&json!(1), &json!(1)));
    assert_eq!((&records[4]["index"], records[0]["actor"].as_str()), (&json!(completed), Some("agent-1")));
    assert_eq!(records[0]["payload"]["_obs"]["reported_by"], "local");
    let blob = records[4]["payload"]["output"]["$blob"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    assert_eq!(client.get(&format!("/api/blob/sha256/{blob}")).body.len(), 100_002);
    for (correlation, end) in
        [("failed", json!({ "error": { "code": "X", "message": "m" } })), ("cancelled", json!({}))]
    {
        outside(&mut client, correlation);
        reported(&mut client, correlation, correlation, &end);
    }
    server.stop();
    check_log(directory.path());
}

#[test]
fn a_repeated_report_is_answered_with_the_record_that_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &DECIDING);
    let mut client = server.client();
    register(&mut client, "outside", "them", "external");
    outside(&mut client, "c");
    let steps = [("running", json!({})), ("event", json!({ "n": 1 })), ("completed", json!({ "output": 1 }))];
    for (type_name, payload) in steps {
        let index = reported(&mut client, "c", type_name, &payload);
        let repeated = report(&mut client, "c", type_name, &payload);
        assert_eq!((repeated.status, repeated.header("idempotent-replayed")), (200, Some("true")));
        assert_eq!(repeated.json()["execution_index"], index);
    }
    assert_eq!(course(&mut client, "c"), ["running", "event", "completed"]);
    let other = report(&mut client, "c", "completed", &json!({ "output": 2 }));
    problem::check(&other, 409, "ILLEGAL_TRANSITION", None);
}

#[test]
fn every_report_that_may_not_be_is_refused_and_appends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &DECIDING);
    let mut client = server.client();
    register(&mut client, "outside", "them", "external");
    outside(&mut client, "open");
    outside(&mut client, "ended");
    reported(&mut client, "ended", "cancelled", &json!({ "reason": "enough" }));
    client.submit(&Intent::new("echoed"));
    wait_for(&mut client, "echoed", "completed");
    let head = server.head();
    let mut refused =
        |correlation: &str, type_name: &str, payload: Value, status: u16, code: &str, pointer| {
            let response = report(&mut client, correlation, type_name, &payload);
            problem::check(&response, status, code, pointer);
        };
    refused("nowhere", "running", json!({}), 404, "INTENT_NOT_FOUND", None);
    refused("echoed", "event", json!({}), 409, "NOT_EXTERNAL", None);
    for early in ["event", "completed"] {
        refused("open", early, json!({}), 409, "ILLEGAL_TRANSITION", None);
    }
    refused("open", "step_completed", json!({ "step": "s" }), 409, "ILLEGAL_TRANSITION", None);
    refused("open", "running", json!({ "delivery": 2 }), 409, "ILLEGAL_TRANSITION", None);
    for late in ["running", "event", "completed", "cancelled"] {
        refused("ended", late, json!({}), 409, "ILLEGAL_TRANSITION", None);
    }
    refused("open", "running", json!({ "password": "x" }), 400, "SECRETS_PRESENT", Some("/payload/password"));
    refused("open", "failed", json!({}), 400, "INVALID_INPUT", Some("/payload/error"));
    let blob = json!({ "a": { "$blob": format!("sha256:{}", "0".repeat(64)), "media_type": "a/b", "size_bytes": 1 } });
    refused("open", "running", blob, 400, "BLOB_NOT_FOUND", Some("/payload/a"));
    let text = client.request("POST", "/execution/event", &[("Content-Type", "text/plain")], b"{}");
    problem::check(&text, 415, "UNSUPPORTED_MEDIA_TYPE", None);
    let foreign =
        json!({ "stream_id": "beside", "correlation_id": "open", "type": "running", "payload": {} });
    let foreign = client.request("POST", "/execution/event", &[JSON], foreign.to_string().as_bytes());
    problem::check(&foreign, 404, "INTENT_NOT_FOUND", None);
    // The server closes such a connection.
    let large = report(&mut server.client(), "open", "running", &json!({ "a": "x".repeat(1 << 20) }));
    problem::check(&large, 413, "BODY_TOO_LARGE", None);
    assert_eq!(server.head(), head);
}

#[test]
fn without_an_allow_nothing_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["decider.enabled=false"]);
    let mut client = server.client();
    client.submit(&Intent::new("undecided"));
    let response = report(&mut client, "undecided", "running", &json!({}));
    problem::check(&response, 409, "NOT_ALLOWED", None);
    assert_eq!(server.head(), 1);
}

#[test]
fn handlers_are_registered_listed_replaced_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &DECIDING);
    let mut client = server.client();
    let first = register(&mut client, "outside", "them", "external");
    assert_eq!((first.status, first.json()["ok"].as_bool()), (201, Some(true)));
    let again = register(&mut client, "outside", "them", "external");
    assert_eq!((again.status, again.index()), (200, first.index()));
    let body = json!({ "intent_type": "outside", "handler_name": "them", "kind": "external", "metadata": { "a": 1 } });
    let replaced = changed(&mut client, "POST", "/api/intent/handlers", &body.to_string());
    assert_eq!(replaced.status, 200);
    assert!(replaced.index() > first.index());
    let shown = client.get("/api/intent/handlers");
    assert!(shown.header("gesta-applied-index").is_some());
    let expected = json!([
        { "intent_type": "outside", "handler_name": "them", "kind": "external", "index": replaced.index(), "timeout_seconds": null, "metadata": { "a": 1 }, "registration": body, "used": true },
        { "intent_type": "chat.message", "handler_name": "echo", "kind": "builtin", "index": null, "timeout_seconds": null, "metadata": {}, "registration": null, "used": true },
        { "intent_type": "chat.message", "handler_name": "assemble_prompt", "kind": "builtin", "index": null, "timeout_seconds": null, "metadata": {}, "registration": null, "used": false },
    ]);
    assert_eq!(shown.json()["handlers"], expected);
    for (name, kind, pointer) in
        [("w", "push", "/url"), ("w", "stream", "/kind"), ("w", "builtin", "/handler_name")]
    {
        let refused = register(&mut client, "t", name, kind);
        problem::check(&refused, 400, "INVALID_INPUT", Some(pointer));
    }
    problem::check(&register(&mut client, "", "x", "external"), 400, "INVALID_INPUT", Some("/intent_type"));
    let removed = changed(&mut client, "DELETE", "/api/intent/handlers/outside/them", "");
    assert_eq!(removed.status, 200, "{}", removed.text());
    let gone = client.request("DELETE", "/api/intent/handlers/outside/them", &[], b"");
    problem::check(&gone, 404, "HANDLER_NOT_FOUND", None);
    assert_eq!(register(&mut client, "outside", "them", "external").status, 201);
    server.stop();
    check_log(directory.path());
}

#[test]
fn a_registration_decides_over_what_ships_and_its_removal_over_what_waits() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &DECIDING);
    let mut client = server.client();
    assert_eq!(register(&mut client, "chat.message", "them", "external").status, 201);
    client.submit(&Intent::new("c"));
    wait_for(&mut client, "c", "decided");
    reported(&mut client, "c", "running", &json!({}));
    assert_eq!(changed(&mut client, "DELETE", "/api/intent/handlers/chat.message/them", "").status, 200);
    let records = wait_for(&mut client, "c", "completed");
    assert_eq!(records.last().unwrap()["payload"]["delivery"], 2, "the echo is the second that was given it");
    server.stop();
    check_log(directory.path());
}

#[test]
fn every_allowed_intent_ends_once_over_kills_at_random_moments() {
    let mut random = Random::seeded("every_allowed_intent_ends_once");
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &DECIDING);
    register(&mut server.client(), "outside", "them", "external");
    server.stop();
    for life in 0..5 {
        let intent = move |writer, nth| {
            let intent_type = if nth % 4 == 0 { "outside" } else { "chat.message" };
            Intent { intent_type: intent_type.to_owned(), ..Intent::new(format!("{life}-{writer}-{nth}")) }
        };
        killed_under_writers(directory.path(), &DECIDING, 20 + random.below(120), intent);
    }
    let server = Server::start(directory.path(), &DECIDING);
    let mut client = server.client();
    until("every intent is decided and every echo ended", || {
        let intents = records(&mut client, "kinds=INTENT&intent_type=chat.message").len();
        let ends = records(&mut client, "kinds=EXECUTION&intent_type=chat.message");
        (ends.iter().filter(|record| record["type"] == "completed").count() == intents).then_some(())
    });
    client.wait_settled();
    for waiting in records(&mut client, "kinds=INTENT&intent_type=outside") {
        let correlation = waiting["correlation_id"].as_str().unwrap();
        assert!(course(&mut client, correlation).is_empty(), "what is external waits");
        reported(&mut client, correlation, "running", &json!({}));
        reported(&mut client, correlation, "completed", &json!({ "output": null }));
    }
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for record in records(&mut client, "kinds=INTENT,EXECUTION") {
        let ended = ends.entry(record["correlation_id"].as_str().unwrap().to_owned()).or_default();
        *ended += usize::from(record["type"] == "completed");
    }
    assert!(ends.values().all(|count| *count == 1), "each ends once: {ends:?}");
    server.stop();
    check_log(directory.path());
}

#[test]
fn a_token_reports_only_with_the_role_and_in_its_streams() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, reader) = ("w".repeat(40), "r".repeat(40));
    let config = directory.path().join("gesta.toml");
    let all = "\"intent.write\", \"log.read\", \"execution.write\", \"operator\"";
    let text = token("writer", &writer, all, "default", "*")
        + &token("reader", &reader, "\"intent.write\", \"log.read\"", "*", "*");
    std::fs::write(&config, text).unwrap();
    let mut command = support::process::serve(&directory.path().join("data"), &DECIDING);
    command.arg("--config").arg(&config);
    let server = Server::spawn(command).unwrap();
    let mut client = server.client();
    let mut call = |token: &str, method: &str, path: &str, body: &Value| {
        let bearer = format!("Bearer {token}");
        client.request(method, path, &[JSON, ("Authorization", &bearer)], body.to_string().as_bytes())
    };
    let report = json!({ "correlation_id": "c", "type": "running", "payload": {} });
    let elsewhere = json!({ "stream_id": "other", "correlation_id": "c", "type": "running", "payload": {} });
    problem::check(&call("unknown", "POST", "/execution/event", &report), 401, "BAD_TOKEN", None);
    problem::check(&call(&reader, "POST", "/execution/event", &report), 403, "FORBIDDEN", None);
    problem::check(&call(&writer, "POST", "/execution/event", &elsewhere), 403, "FORBIDDEN", None);
    problem::check(&call(&writer, "POST", "/execution/event", &report), 404, "INTENT_NOT_FOUND", None);
    let handler = json!({ "intent_type": "t", "handler_name": "h", "kind": "external" });
    problem::check(&call(&reader, "POST", "/api/intent/handlers", &handler), 403, "FORBIDDEN", None);
    problem::check(&call(&reader, "GET", "/api/intent/handlers", &json!({})), 403, "FORBIDDEN", None);
    problem::check(&call(&reader, "DELETE", "/api/intent/handlers/t/h", &json!({})), 403, "FORBIDDEN", None);
    assert_eq!(call(&writer, "POST", "/api/intent/handlers", &handler).status, 201);
    assert_eq!(call(&writer, "GET", "/api/intent/handlers", &json!({})).status, 200);
}

/// An entry of the configuration.
fn token(name: &str, secret: &str, roles: &str, stream: &str, actor: &str) -> String {
    let digest = gesta_log_format::Digest::of(secret.as_bytes());
    format!(
        "[[auth.tokens]]\nname = \"{name}\"\nsha256 = \"{}\"\nroles = [{roles}]\nstreams = [\"{stream}\"]\nactors = [\"{actor}\"]\n",
        digest.to_string().trim_start_matches("sha256:")
    )
}

/// The execution of an intent that is there.
fn execution_id(client: &mut Client, correlation: &str) -> String {
    let intent = &records(client, &format!("kinds=INTENT&correlation_id={correlation}"))[0];
    intent["payload"]["execution_id"].as_str().unwrap().to_owned()
}

fn cancel(client: &mut Client, id: &str, body: &Value) -> Response {
    let path = format!("/api/execution/{id}/cancel");
    client.request("POST", &path, &[JSON], body.to_string().as_bytes())
}

#[test]
fn a_request_to_cancel_is_recorded_once_and_is_for_its_reporter_to_follow() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &DECIDING);
    let mut client = server.client();
    register(&mut client, "outside", "them", "external");
    outside(&mut client, "c");
    let id = execution_id(&mut client, "c");
    reported(&mut client, "c", "running", &json!({}));
    let first = cancel(&mut client, &id, &json!({ "reason": "enough" }));
    assert_eq!((first.status, first.header("idempotent-replayed")), (202, None), "{}", first.text());
    assert_eq!(first.json(), json!({ "ok": true, "execution_id": id, "index": first.index() }));
    let again = cancel(&mut client, &id, &json!({ "reason": "really" }));
    assert_eq!((again.status, again.header("idempotent-replayed")), (202, Some("true")));
    assert_eq!(again.index(), first.index());
    let intents = records(&mut client, "kinds=INTENT&correlation_id=c");
    let request = &intents[1];
    assert_eq!((intents.len(), &request["type"]), (2, &json!("cancel_requested")));
    assert_eq!(request["payload"], json!({ "by": "local", "reason": "enough" }));
    assert_eq!(request["cause"], intents[0]["index"]);
    assert_eq!(request["subjects"], json!([{ "subject": "intent/c", "expected": intents[0]["index"] }]));
    reported(&mut client, "c", "cancelled", &json!({}));
    let late = cancel(&mut client, &id, &json!({}));
    assert_eq!((late.status, late.index()), (202, first.index()), "the answer may have been lost");

    outside(&mut client, "done");
    reported(&mut client, "done", "running", &json!({}));
    reported(&mut client, "done", "completed", &json!({ "output": null }));
    let done = execution_id(&mut client, "done");
    problem::check(&cancel(&mut client, &done, &json!({})), 409, "ILLEGAL_TRANSITION", None);
    let elsewhere =
        client.request("POST", &format!("/api/execution/{done}/cancel?tenant_id=beside"), &[JSON], b"");
    problem::check(&elsewhere, 404, "EXECUTION_NOT_FOUND", None);
    for unknown in ["01M7W58RJXHBSSD0N9JM93MYRQ", "nonsense"] {
        problem::check(&cancel(&mut client, unknown, &json!({})), 404, "EXECUTION_NOT_FOUND", None);
    }
    let long = json!({ "reason": "x".repeat(5000) });
    for (body, pointer) in [
        (json!({ "reason": 1 }), "/reason"),
        (json!({ "why": "x" }), "/why"),
        (long, "/reason"),
        (json!([]), ""),
    ] {
        problem::check(&cancel(&mut client, &done, &body), 400, "INVALID_INPUT", Some(pointer));
    }
    let text = client.request(
        "POST",
        &format!("/api/execution/{id}/cancel"),
        &[("Content-Type", "text/plain")],
        b"",
    );
    problem::check(&text, 415, "UNSUPPORTED_MEDIA_TYPE", None);
    server.stop();
    check_log(directory.path());
}

#[test]
fn a_request_outlives_a_kill_and_the_next_start_does_what_it_asks() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &DECIDING);
    let mut client = server.client();
    register(&mut client, "outside", "them", "external");
    for correlation in ["created", "running"] {
        outside(&mut client, correlation);
    }
    reported(&mut client, "running", "running", &json!({}));
    let created = execution_id(&mut client, "created");
    let running = execution_id(&mut client, "running");
    let told = cancel(&mut client, &running, &json!({})).index();
    assert_eq!(client.request("POST", &format!("/api/execution/{created}/cancel"), &[JSON], b"").status, 202);
    server.kill();
    let server = Server::start(directory.path(), &DECIDING);
    let mut client = server.client();
    let ended = wait_for(&mut client, "created", "cancelled").pop().unwrap();
    assert_eq!(ended["payload"], json!({ "by": "local" }));
    assert_eq!(course(&mut client, "created"), ["cancelled"]);
    assert_eq!(course(&mut client, "running"), ["running"], "its reporter ends it");
    assert_eq!(cancel(&mut client, &running, &json!({})).index(), told);
    reported(&mut client, "running", "cancelled", &json!({ "reason": "as it was asked" }));
    server.stop();
    check_log(directory.path());
}

#[test]
fn requests_that_race_with_ends_and_kills_leave_one_end_each() {
    let mut random = Random::seeded("requests_that_race");
    let directory = tempfile::tempdir().unwrap();
    for life in 0..4 {
        let server = Server::start(directory.path(), &DECIDING);
        let stop_at = server.head() + 40 + random.below(100);
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let mut client = server.client();
                thread::spawn(move || -> Option<()> {
                    for nth in 0.. {
                        let name = format!("{life}-{writer}-{nth}");
                        client.try_post(&Intent::new(&*name).body()).ok()?;
                        let query = format!("/events?kinds=INTENT&correlation_id={name}");
                        let found = client.try_request("GET", &query, &[], b"").ok()?.json();
                        let id = found["events"][0]["payload"]["execution_id"].as_str()?.to_owned();
                        let path = format!("/api/execution/{id}/cancel");
                        let asked = client.try_request("POST", &path, &[JSON], b"{}").ok()?;
                        assert!([202, 409, 500, 503].contains(&asked.status), "{}", asked.text());
                    }
                    None
                })
            })
            .collect();
        until("the log has grown", || (server.head() > stop_at).then_some(()));
        server.kill();
        for writer in writers {
            writer.join().unwrap();
        }
    }
    let server = Server::start(directory.path(), &DECIDING);
    let mut client = server.client();
    let submitted = |client: &mut Client| {
        let intents = records(client, "kinds=INTENT");
        intents.iter().filter(|record| record["type"] == "submitted").count()
    };
    until("everything has ended", || {
        let ends = records(&mut client, "kinds=EXECUTION");
        let is_end = |record: &&Value| record["type"] == "completed" || record["type"] == "cancelled";
        (ends.iter().filter(is_end).count() == submitted(&mut client)).then_some(())
    });
    server.stop();
    check_log(directory.path());
}

#[test]
fn who_may_submit_for_its_actor_may_cancel_and_others_do_not_learn_that_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let [submitter, beside, mute, bot, operator] = ["s", "b", "m", "o", "p"].map(|letter| letter.repeat(40));
    let text = token("submitter", &submitter, "\"intent.write\", \"log.read\"", "default", "agent-1")
        + &token("beside", &beside, "\"intent.write\"", "beside", "*")
        + &token("mute", &mute, "\"log.read\", \"execution.write\"", "*", "*")
        + &token("bot", &bot, "\"intent.write\"", "default", "bot")
        + &token("operator", &operator, "\"operator\"", "default", "nobody");
    let config = directory.path().join("gesta.toml");
    std::fs::write(
        &config,
        text + "[[handlers]]\nintent_type = 'outside'\nhandler_name = 'them'\nkind = 'external'\n",
    )
    .unwrap();
    let mut command = support::process::serve(&directory.path().join("data"), &DECIDING);
    command.arg("--config").arg(&config);
    let server = Server::spawn(command).unwrap();
    let mut client = server.client();
    let mut call = |token: &str, method: &str, path: &str, body: &str| {
        let bearer = format!("Bearer {token}");
        client.request(method, path, &[JSON, ("Authorization", &bearer)], body.as_bytes())
    };
    let intent = Intent { intent_type: "outside".to_owned(), ..Intent::new("c") };
    assert_eq!(call(&submitter, "POST", "/ingress/intent", &intent.body()).status, 202);
    let found = call(&submitter, "GET", "/events?stream_id=default&kinds=INTENT", "").json();
    let path =
        format!("/api/execution/{}/cancel", found["events"][0]["payload"]["execution_id"].as_str().unwrap());
    let mut refused =
        |token: &str, status, code| problem::check(&call(token, "POST", &path, "{}"), status, code, None);
    refused("unknown", 401, "BAD_TOKEN");
    refused(&mute, 403, "FORBIDDEN");
    refused(&beside, 404, "EXECUTION_NOT_FOUND");
    refused(&bot, 403, "ACTOR_FORBIDDEN");
    let asked = call(&operator, "POST", &path, "{}");
    assert_eq!((asked.status, call(&submitter, "POST", &path, "{}").index()), (202, asked.index()));
}

/// Folds what is on the disk as an auditor does.
fn check_log(data: &std::path::Path) {
    let (mut audit, mut executions, mut handlers) =
        (Audit::default(), Executions::default(), Handlers::default());
    let mut fold = Fold::new(vec![&mut audit, &mut executions, &mut handlers]);
    let disk = RealDisk::new(data);
    let summary = offline::walk(&disk, Depth::Envelopes, LastBatch::Always, &mut |record, _, _| {
        fold.record(record.data).unwrap();
        true
    });
    assert!(summary.unwrap().damage.is_none());
    assert_eq!(executions.all_open().len(), 0, "nothing is left open");
}
