//! Tokens, as their holders meet them: which role opens which route, and what streams, actors and tickets bound.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use support::problem::check as check_problem;
use support::process::serve;
use support::{Intent, Server};

/// A token that is the name itself, and its entry.
fn token(name: &str, roles: &[&str], streams: &[&str], actors: &[&str]) -> String {
    let hex: String = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "[[auth.tokens]]\nname = {name:?}\nsha256 = {hex:?}\nroles = {roles:?}\nstreams = {streams:?}\nactors = {actors:?}\n"
    )
}

fn server_with_tokens(directory: &std::path::Path) -> Server {
    let tokens = [
        token("writer", &["intent.write"], &["default", "team-*"], &["agent-*"]),
        token("other-writer", &["intent.write"], &["team-b"], &["*"]),
        token("reader-writer", &["log.read", "intent.write"], &["default"], &["*"]),
        token("reader", &["log.read"], &["default"], &["*"]),
        token("auditor", &["auditor"], &["*"], &["*"]),
        token("narrow-auditor", &["auditor"], &["default"], &["*"]),
        token("admin", &["admin"], &["*"], &["*"]),
    ];
    let file = directory.join("gesta.toml");
    std::fs::write(&file, tokens.concat()).unwrap();
    let mut command = serve(&directory.join("data"), &[]);
    command.arg("--config").arg(file);
    Server::spawn(command).unwrap()
}

#[test]
fn roles_decide_which_route_answers() {
    let directory = tempfile::tempdir().unwrap();
    let server = server_with_tokens(directory.path());
    let mut client = server.client();
    let who = ["", "nobody", "writer", "reader", "auditor", "narrow-auditor", "admin"];
    let body = Intent::new("roles").body();
    // For each route, what each of them gets, in this order.
    let table: [(&str, &str, [u16; 7]); 14] = [
        ("POST", "/ingress/intent", [401, 401, 202, 403, 403, 403, 403]),
        ("GET", "/tail?follow=false", [401, 401, 403, 403, 200, 403, 403]),
        ("GET", "/tail?follow=false&stream_id=default", [401, 401, 403, 200, 200, 200, 403]),
        ("GET", "/tail?follow=false&stream_id=secret", [401, 401, 403, 403, 200, 403, 403]),
        ("GET", "/events", [401, 401, 403, 403, 200, 403, 403]),
        ("GET", "/events?stream_id=default", [401, 401, 403, 200, 200, 200, 403]),
        ("GET", "/events/0", [401, 401, 403, 200, 200, 200, 403]),
        ("GET", "/status", [401, 401, 403, 200, 200, 200, 403]),
        ("GET", "/metrics", [401, 401, 403, 200, 200, 200, 403]),
        ("GET", "/threads/thread/timeline", [401, 401, 403, 200, 200, 200, 403]),
        ("POST", "/tail/ticket", [401, 401, 403, 200, 200, 200, 403]),
        ("GET", "/healthz", [200; 7]),
        ("GET", "/readyz", [200; 7]),
        ("GET", "/errors", [200; 7]),
    ];
    for (method, path, expected) in table {
        for (name, status) in who.into_iter().zip(expected) {
            let bearer = format!("Bearer {name}");
            let headers = [("Content-Type", "application/json"), ("Authorization", &*bearer)];
            let headers = if name.is_empty() { &headers[..1] } else { &headers[..] };
            let sent = if path == "/ingress/intent" { body.as_bytes() } else { b"" };
            let response = client.request(method, path, headers, sent);
            assert_eq!(response.status, status, "{method} {path} as {name:?}: {}", response.text());
            match (status, name) {
                (401, "") => check_problem(&response, 401, "MISSING_TOKEN", None),
                (401, _) => check_problem(&response, 401, "BAD_TOKEN", None),
                (403, _) => check_problem(&response, 403, "FORBIDDEN", None),
                _ => {}
            }
            assert_eq!(response.header("www-authenticate").is_some(), status == 401);
        }
    }
    // A key in a header of its own counts as well, and with tokens any Host may be called.
    let headers = [("X-API-Key", "reader"), ("Host", "gesta.example")];
    assert_eq!(client.request("GET", "/status", &headers, b"").status, 200);
}

#[test]
fn streams_and_actors_bound_what_a_token_does() {
    let directory = tempfile::tempdir().unwrap();
    let server = server_with_tokens(directory.path());
    let mut client = server.client();
    let mut post = |stream: &str, actor: &str| {
        let intent = Intent {
            stream: stream.to_owned(),
            actor: actor.to_owned(),
            ..Intent::new(format!("{stream}/{actor}"))
        };
        let headers = [("Content-Type", "application/json"), ("Authorization", "Bearer writer")];
        client.request("POST", "/ingress/intent", &headers, intent.body().as_bytes())
    };
    assert_eq!(post("default", "agent-1").status, 202);
    assert_eq!(post("team-a", "agent-2").status, 202);
    check_problem(&post("other", "agent-1"), 403, "FORBIDDEN", None);
    check_problem(&post("default", "root"), 403, "ACTOR_FORBIDDEN", None);
    let mut client = server.client();
    let mut get = |path: &str| client.request("GET", path, &[("Authorization", "Bearer reader")], b"");
    assert_eq!(get("/events/0").status, 200);
    // What may not be read is answered as if it were not there.
    check_problem(&get("/events/1"), 404, "INDEX_NOT_FOUND", None);
    assert_eq!(get("/events/1").json()["detail"], get("/events/2").json()["detail"]);
    let principal = get("/events/0").json()["payload"]["principal"].clone();
    assert_eq!(principal, json!({"name": "writer", "roles": ["intent.write"]}));
}

#[test]
fn a_digest_alone_refers_to_nothing_that_others_have_put() {
    let directory = tempfile::tempdir().unwrap();
    let server = server_with_tokens(directory.path());
    let mut client = server.client();
    let hex: String = Sha256::digest(b"secret").iter().map(|byte| format!("{byte:02x}")).collect();
    let reference = json!({ "$blob": format!("sha256:{hex}"), "media_type": "text/plain", "size_bytes": 6 });
    let put = |client: &mut support::Client, who: &str| {
        let headers = [("Authorization", who)];
        client.request("PUT", &format!("/api/blob/sha256/{hex}"), &headers, b"secret").status
    };
    let mut number = 0;
    let mut refer = |client: &mut support::Client, who: &str, stream: &str| {
        number += 1;
        let intent = Intent {
            stream: stream.to_owned(),
            actor: "agent-1".to_owned(),
            payload: json!({ "attachment": reference }),
            ..Intent::new(format!("c{number}"))
        };
        let headers = [("Content-Type", "application/json"), ("Authorization", who)];
        client.request("POST", "/ingress/intent", &headers, intent.body().as_bytes())
    };
    assert_eq!(put(&mut client, "Bearer writer"), 201);
    for (who, stream) in [("Bearer other-writer", "team-b"), ("Bearer reader-writer", "default")] {
        let refused = refer(&mut client, who, stream);
        check_problem(&refused, 400, "BLOB_NOT_FOUND", Some("/payload/payload/attachment"));
    }
    assert_eq!(refer(&mut client, "Bearer writer", "default").status, 202);
    let named = refer(&mut client, "Bearer reader-writer", "default").status;
    assert_eq!(named, 202, "a record that it may read names the blob by now");
    assert_eq!(refer(&mut client, "Bearer other-writer", "team-b").status, 400);
    assert_eq!(put(&mut client, "Bearer other-writer"), 201);
    assert_eq!(refer(&mut client, "Bearer other-writer", "team-b").status, 202);
}

#[test]
fn a_ticket_opens_one_tail_and_its_reconnects() {
    let directory = tempfile::tempdir().unwrap();
    let server = server_with_tokens(directory.path());
    let mut client = server.client();
    let headers = [("Content-Type", "application/json"), ("Authorization", "Bearer reader")];
    let ticket =
        client.request("POST", "/tail/ticket", &headers, b"").json()["ticket"].as_str().unwrap().to_owned();
    assert_eq!(
        client.get(&format!("/tail?ticket={ticket}")).status,
        403,
        "a ticket shows what its token may read"
    );
    let query = format!("?stream_id=default&ticket={ticket}");
    let mut first = server.tail(&query);
    first.next_of("caught-up");
    let mut second = server.tail(&query);
    second.next_of("caught-up");
    assert_eq!(first.ending(), support::Ending::Cut, "the newer connection takes the ticket over");
    assert_eq!(client.get("/tail?stream_id=default&ticket=other").status, 401);
}
