//! `POST /ingress/intent` as a client meets it: what is refused and how, what a repeat gets, and who may do what.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Barrier};

use serde_json::{Value, json};
use support::http;
use support::problem::check as check_problem;
use support::process::SMALL_SEGMENTS;
use support::{Client, Intent, Response, Server};

/// A server over a new directory.
fn server() -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    (directory, server)
}

/// The usual request, changed at one place. A value of null at `/-` removes instead.
fn with(pointer: &str, value: Value) -> String {
    let mut body = Intent::new("refused").value();
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(member.to_owned(), value);
    body.to_string()
}

fn without(pointer: &str) -> String {
    let mut body = Intent::new("refused").value();
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(member).unwrap();
    body.to_string()
}

/// The usual request with this text, which need not be JSON, as the client's payload.
fn with_payload(text: &str) -> String {
    with("/payload/payload", json!("HERE")).replace("\"HERE\"", text)
}

/// A body, and the status, code and pointer that it is refused with.
type Refusal = (String, u16, &'static str, Option<&'static str>);

fn not_json() -> Vec<Refusal> {
    const CODE: &str = "INVALID_JSON";
    let deep = |levels: usize| format!("{{\"a\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
    let payload = |text: &str, pointer| (with_payload(text), 400, CODE, Some(pointer));
    vec![
        ("".to_owned(), 400, CODE, Some("")),
        ("nonsense".to_owned(), 400, CODE, Some("")),
        (format!("{} ", Intent::new("refused").body()) + "x", 400, CODE, Some("")),
        payload(r#"{"a":1,"b":{"c":1,"c":2}}"#, "/payload/payload/b/c"),
        payload(r#"{"a":1,"\u0061":2}"#, "/payload/payload/a"),
        payload(r#"{"a":[0,9007199254740992]}"#, "/payload/payload/a/1"),
        payload(r#"{"a":-9007199254740992}"#, "/payload/payload/a"),
        payload(r#"{"a":1e20}"#, "/payload/payload/a"),
        payload(r#"{"a":1e999}"#, "/payload/payload/a"),
        payload(r#"{"a":1e-400}"#, "/payload/payload/a"),
        payload(r#"{"a":0.12345678901234567890}"#, "/payload/payload/a"),
        payload(r#"{"a":"\ud800"}"#, "/payload/payload/a"),
        payload(r#"{"a":"\udc00x"}"#, "/payload/payload/a"),
        payload("{\"a\":\"tab\there\"}", "/payload/payload/a"),
        (with_payload(&deep(62)), 400, CODE, None),
    ]
}

fn wrong_shapes() -> Vec<Refusal> {
    const CODE: &str = "INVALID_INPUT";
    let set = |pointer: &'static str, value: Value| (with(pointer, value), 400, CODE, Some(pointer));
    let mut refusals = vec![
        (without("/correlation_id"), 400, CODE, Some("/correlation_id")),
        (without("/payload"), 400, CODE, Some("/payload")),
        set("/surprise", json!(1)),
        set("/payload/surprise", json!(1)),
        set("/payload", json!([])),
        set("/payload/payload", json!("text")),
        set("/payload/payload", json!(null)),
        set("/correlation_id", json!("")),
        set("/correlation_id", json!("x".repeat(129))),
        set("/correlation_id", json!("a b")),
        set("/correlation_id", json!("é")),
        set("/correlation_id", json!(7)),
        set("/correlation_id", json!("rt:1")),
        set("/correlation_id", json!("task:1")),
        set("/correlation_id", json!("run:1")),
        set("/payload/stream_id", json!("")),
        set("/payload/stream_id", json!("_system")),
        set("/payload/stream_id", json!("a/b")),
        set("/payload/stream_id", json!("x".repeat(65))),
        set("/payload/lane", json!("-lane")),
        set("/payload/lane", json!("x".repeat(129))),
        set("/payload/intent_type", json!("chat message")),
        set("/payload/parent_turn_id", json!("")),
        set("/payload/declared_refs", json!({})),
        (with("/payload/declared_refs", json!([{}])), 400, CODE, Some("/payload/declared_refs/0/ref_id")),
        (
            with("/payload/declared_refs", json!([{"ref_type": "page", "ref_id": "x"}])),
            400,
            CODE,
            Some("/payload/declared_refs/0/ref_type"),
        ),
        (
            with("/payload/declared_refs", json!([{"ref_type": "document", "ref_id": "x", "more": 1}])),
            400,
            CODE,
            Some("/payload/declared_refs/0/more"),
        ),
        (with("/payload/payload", json!({"turn_id": "another"})), 400, CODE, Some("/payload/payload")),
        (with("/payload/payload", json!({"thread_id": 7})), 400, CODE, Some("/payload/payload")),
    ];
    for field in ["/payload/actor", "/payload/thread_id", "/payload/turn_id"] {
        for value in ["", "line\nfeed", "\u{85}", &"x".repeat(257)] {
            refusals.push(set(field, json!(value)));
        }
    }
    let required = [
        "/payload/lane",
        "/payload/actor",
        "/payload/intent_type",
        "/payload/thread_id",
        "/payload/turn_id",
        "/payload/payload",
    ];
    refusals.extend(required.map(|field| (without(field), 400, CODE, Some(field))));
    refusals
}

fn secrets() -> Vec<Refusal> {
    let names = ["apikey", "API-Key", "api_key", "Authorization", "token", "access_token", "refreshToken"];
    let more = ["secret", "client-secret", "bearer", "PASSWORD", "pass_word"];
    let refused = |(body, pointer): (String, &'static str)| (body, 400, "SECRETS_PRESENT", Some(pointer));
    let mut refusals: Vec<_> = names
        .iter()
        .chain(&more)
        .map(|name| {
            let pointer: &'static str = format!("/payload/payload/a/0/{name}").leak();
            refused((with("/payload/payload", json!({"a": [{*name: "hunter2"}]})), pointer))
        })
        .collect();
    refusals.push(refused((with("/payload/payload", json!({"token": "hunter2"})), "/payload/payload/token")));
    refusals
}

#[test]
fn a_refused_request_says_what_is_wrong_and_appends_nothing() {
    let (_directory, server) = server();
    let mut client = server.client();
    client.submit(&Intent::new("there"));
    let mut refusals = [not_json(), wrong_shapes(), secrets()].concat();
    let version = |value| {
        (with("/interface_version", value), 400, "UNSUPPORTED_INTERFACE_VERSION", Some("/interface_version"))
    };
    refusals.extend([version(json!(1)), version(json!(3)), version(json!("2")), version(json!(null))]);
    refusals.push((
        without("/interface_version"),
        400,
        "UNSUPPORTED_INTERFACE_VERSION",
        Some("/interface_version"),
    ));
    let reference = json!({"ref_type": "document", "ref_id": "x"});
    refusals.push((
        with("/payload/declared_refs", Value::Array(vec![reference; 501])),
        400,
        "MAX_REFS_EXCEEDED",
        Some("/payload/declared_refs"),
    ));
    let blob =
        json!({"$blob": format!("sha256:{}", "0".repeat(64)), "size_bytes": 1, "media_type": "text/plain"});
    refusals.push((
        with("/payload/payload", json!({"content": blob})),
        400,
        "BLOB_NOT_FOUND",
        Some("/payload/payload/content"),
    ));
    for (body, status, reason_code, pointer) in &refusals {
        let response = client.post(body);
        println!("{reason_code} {pointer:?}: {:.120}", response.json()["detail"].to_string());
        if let Some(pointer) = pointer {
            check_problem(&response, *status, reason_code, Some(pointer));
        } else {
            assert_eq!((response.status, response.reason_code().as_str()), (*status, *reason_code));
        }
        assert!(!response.text().contains("hunter2"), "a secret is echoed");
    }
    assert_eq!(server.head(), 1, "a refused request was appended");
    assert!(!server.errors().contains("hunter2"), "a secret is logged");
    // What is refused was never taken: the correlation id is free.
    assert_eq!(client.submit(&Intent::new("refused")), 1);
}

#[test]
fn what_only_looks_wrong_is_accepted() {
    let (_directory, server) = server();
    let mut client = server.client();
    let accepted = [
        json!({"token": ""}),
        json!({"token": 7, "password": null, "secret": {"is": "an object"}}),
        json!({"tokens": "x", "my_token": "x", "tokenise": "x"}),
        json!({"a": [9_007_199_254_740_991_i64, -9_007_199_254_740_991_i64, 0.5, 1.5e-9]}),
        json!({"thread_id": "thread", "turn_id": "turn-4"}),
        json!({"text": "\u{2028}\u{85}\u{0}\u{1f600}\r\n"}),
    ];
    for (nth, payload) in accepted.into_iter().enumerate() {
        let intent = Intent { payload: payload.clone(), ..Intent::new(nth.to_string()) };
        let index = client.submit(&intent);
        assert_eq!(client.get(&format!("/events/{index}")).json()["payload"]["payload"], payload);
    }
    let deepest = format!("{{\"a\":{}1{}}}", "[".repeat(61), "]".repeat(61));
    assert_eq!(client.post(&with_payload(&deepest)).status, 202, "64 levels are allowed");
}

#[test]
fn a_body_over_its_limit_is_refused_before_it_is_read() {
    let (_directory, server) = server();
    let mut client = server.client();
    let body = Intent::sized("large", 1 << 20).body();
    check_problem(&client.post(&body), 413, "BODY_TOO_LARGE", None);
    let chunked = [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")];
    let piece = format!("10000\r\n{}\r\n", "x".repeat(0x10000)).repeat(17) + "0\r\n\r\n";
    let response = server.client().request("POST", "/ingress/intent", &chunked, piece.as_bytes());
    check_problem(&response, 413, "BODY_TOO_LARGE", None);
    let detail = response.json()["detail"].to_string();
    assert!(detail.contains("PUT /api/blob/sha256/") && detail.contains("$blob"), "{detail}");
    assert_eq!(server.head(), 0);
    let largest = Intent::sized("fits", (1 << 20) - 1000);
    assert_eq!(server.client().submit(&largest), 0, "what is too large for a record becomes a blob");
}

#[test]
fn a_client_that_sends_all_before_it_reads_gets_the_answer_that_refuses_it() {
    const BODY_BYTES: usize = 4 << 20;
    let (_directory, server) = server();
    for length in [format!("Content-Length: {BODY_BYTES}"), "Transfer-Encoding: chunked".to_owned()] {
        let mut connection = support::http::connect(server.address).unwrap();
        let head = format!(
            "POST /ingress/intent HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{length}\r\n\r\n",
            server.address
        );
        let stream = connection.get_mut();
        stream.write_all(head.as_bytes()).unwrap();
        if length.starts_with('T') {
            stream.write_all(format!("{BODY_BYTES:x}\r\n").as_bytes()).unwrap();
        }
        // In pieces, so that the answer is there long before the last one.
        for _ in 0..64 {
            stream.write_all(&vec![b' '; BODY_BYTES / 64]).unwrap();
        }
        check_problem(&support::http::read_response(&mut connection).unwrap(), 413, "BODY_TOO_LARGE", None);
        assert_eq!(connection.read(&mut [0]).unwrap(), 0, "and its end is in order");
    }
}

#[test]
fn headers_decide_before_the_body_does() {
    let (_directory, server) = server();
    let mut client = server.client();
    let body = Intent::new("headers").body();
    let mut post =
        |headers: &[(&str, &str)]| client.request("POST", "/ingress/intent", headers, body.as_bytes());
    const JSON: (&str, &str) = ("Content-Type", "application/json");
    check_problem(&post(&[]), 415, "UNSUPPORTED_MEDIA_TYPE", None);
    check_problem(&post(&[("Content-Type", "text/plain")]), 415, "UNSUPPORTED_MEDIA_TYPE", None);
    for host in ["evil.example", "evil.example:80", "localhost.evil.example", "10.1.2.3"] {
        check_problem(&post(&[JSON, ("Host", host)]), 403, "NOT_LOOPBACK_HOST", None);
    }
    let mismatch = post(&[JSON, ("Idempotency-Key", "another")]);
    check_problem(&mismatch, 400, "IDEMPOTENCY_KEY_MISMATCH", Some("/correlation_id"));
    let large = "x".repeat(17 << 10);
    check_problem(&post(&[JSON, ("X-Large", &large)]), 431, "HEADERS_TOO_LARGE", None);
    assert_eq!(server.head(), 0);
    let accepted = post(&[
        ("Content-Type", "Application/JSON; charset=utf-8"),
        ("Host", "LOCALHOST:1"),
        ("Idempotency-Key", "headers"),
    ]);
    assert_eq!(accepted.status, 202, "{}", accepted.text());
}

#[test]
fn what_the_framework_would_answer_has_the_same_body() {
    let (_directory, server) = server();
    let mut client = server.client();
    check_problem(&client.get("/nothing/here"), 404, "NOT_FOUND", None);
    let response = client.request("DELETE", "/ingress/intent", &[], b"");
    check_problem(&response, 405, "METHOD_NOT_ALLOWED", None);
    assert!(response.header("allow").unwrap().contains("POST"));
    check_problem(&client.get("/events/7"), 404, "INDEX_NOT_FOUND", None);
    check_problem(&client.get("/events/x"), 400, "INVALID_INPUT", None);
    check_problem(&client.get("/events?limit=0"), 400, "INVALID_INPUT", None);
    check_problem(&client.get("/events?limit=2001"), 400, "INVALID_INPUT", None);
    check_problem(&client.get("/events?since=-2"), 400, "INVALID_INPUT", None);
    check_problem(&client.get("/tail?since=abc"), 400, "INVALID_INPUT", None);
    check_problem(&client.get("/tail?kinds=NOTHING"), 400, "INVALID_INPUT", None);
    let catalogue = client.get("/errors").json();
    let listed = |code: &str| catalogue.as_array().unwrap().iter().any(|entry| entry["reason_code"] == code);
    for code in ["NOT_FOUND", "INVALID_JSON", "CORRELATION_ID_REUSED", "DISK_FULL", "OUTCOME_UNKNOWN"] {
        assert!(listed(code), "{code} is not in the catalogue");
    }
}

#[test]
fn an_exchange_keeps_its_name_or_gets_one() {
    let (_directory, server) = server();
    let mut client = server.client();
    let mut name = |sent: &str| {
        let response = client.request("GET", "/status", &[("X-Correlation-Id", sent)], b"");
        response.header("x-correlation-id").unwrap().to_owned()
    };
    let longest = "x".repeat(128);
    for good in ["a", "trace/7:!~", &longest] {
        assert_eq!(name(good), good);
    }
    for bad in ["with space", "", &"x".repeat(129)] {
        let given = name(bad);
        assert!(given != bad && given.len() == 26, "{given}");
    }
    let response = client.get("/status");
    assert_eq!(response.header("x-correlation-id").map(str::len), Some(26));
    let tail = support::Tail::open(server.address, "?follow=false", &[("X-Correlation-Id", "sse")]).unwrap();
    assert!(tail.headers.contains(&("x-correlation-id".to_owned(), "sse".to_owned())));
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers =
        [("Content-Type", "application/json"), ("X-Correlation-Id", "kept"), ("traceparent", trace)];
    let posted = client.request("POST", "/ingress/intent", &headers, Intent::new("obs").body().as_bytes());
    let observed = &client.get(&format!("/events/{}", posted.index())).json()["payload"]["_obs"];
    assert_eq!(*observed, json!({"traceparent": trace, "x_correlation_id": "kept"}));
    assert_eq!(client.post(&Intent::new("obs").body()).status, 200, "it plays no part in idempotency");
}

/// The first answer's body, to be repeated for ever.
#[track_caller]
fn check_repeats(client: &mut Client, intent: &Intent, first: &[u8], index: u64) {
    let again = client.post(&intent.body());
    assert_eq!((again.status, again.body.as_slice()), (200, first));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    // Equal by value: members in another order, other spellings, defaults left out.
    let text =
        intent.body().replace("\"stream_id\":\"default\",", "").replace("\"parent_turn_id\":null,", "");
    let text = text.replace("\"chat.message\"", "\"ch\\u0061t.message\"");
    assert_ne!(text, intent.body());
    assert_eq!(client.post(&text).status, 200, "{text}");
    let others = [
        Intent { lane: "other".to_owned(), ..intent.clone() },
        Intent { actor: "other".to_owned(), ..intent.clone() },
        Intent { intent_type: "other".to_owned(), ..intent.clone() },
        Intent { thread: "other".to_owned(), ..intent.clone() },
        Intent { turn: "other".to_owned(), ..intent.clone() },
        Intent { payload: json!({"other": 1}), ..intent.clone() },
    ];
    for other in others {
        let refused = client.post(&other.body());
        check_problem(&refused, 409, "CORRELATION_ID_REUSED", None);
        assert_eq!(refused.index(), index);
        assert_eq!(refused.json()["correlation_id"], intent.correlation_id);
    }
}

#[test]
fn a_repeat_gets_the_first_answer_and_another_request_a_conflict_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path(), &SMALL_SEGMENTS);
    let intent = Intent::new("once");
    let first = server.client().post(&intent.body());
    assert_eq!((first.status, first.header("idempotent-replayed")), (202, None));
    let expected = json!({"accepted": true, "stream_id": "default", "index": 0, "correlation_id": "once", "queued": true});
    assert_eq!(first.json(), expected);
    check_repeats(&mut server.client(), &intent, &first.body, 0);
    // The same id in another stream is another.
    let elsewhere = Intent { stream: "other".to_owned(), ..intent.clone() };
    assert_eq!(server.client().submit(&elsewhere), 1);
    // Again once its segment is sealed and its keys are in pages, and again by a process that has only these.
    for nth in 0..40 {
        server.client().submit(&Intent::sized(format!("filler-{nth}"), 20_000));
    }
    check_repeats(&mut server.client(), &intent, &first.body, 0);
    let head = server.head();
    for _ in 0..2 {
        server.kill();
        server = Server::start(directory.path(), &SMALL_SEGMENTS);
        check_repeats(&mut server.client(), &intent, &first.body, 0);
    }
    assert_eq!(server.head(), head, "a repeat was appended");
}

/// Posts all bodies at once, each over its own connection.
fn race(server: &Server, bodies: Vec<String>) -> Vec<Response> {
    let barrier = Arc::new(Barrier::new(bodies.len()));
    let racers: Vec<_> = bodies
        .into_iter()
        .map(|body| {
            let (mut client, barrier) = (server.client(), Arc::clone(&barrier));
            client.get("/healthz");
            std::thread::spawn(move || {
                barrier.wait();
                client.post(&body)
            })
        })
        .collect();
    racers.into_iter().map(|racer| racer.join().unwrap()).collect()
}

#[test]
fn of_equal_requests_at_once_one_is_appended_and_the_others_replay_it() {
    let (_directory, server) = server();
    for round in 0..20 {
        let answers = race(&server, vec![Intent::new(format!("same-{round}")).body(); 24]);
        let count = |status| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!((count(202), count(200)), (1, 23), "{answers:?}");
        assert!(answers.iter().all(|answer| answer.body == answers[0].body));
        assert_eq!(answers[0].index(), round);
    }
    assert_eq!(server.head(), 20);
}

#[test]
fn of_different_requests_at_once_one_is_appended_and_the_others_conflict_with_it() {
    let (_directory, server) = server();
    for round in 0..20 {
        let one = |nth| Intent { payload: json!({"nth": nth}), ..Intent::new(format!("race-{round}")) };
        let answers = race(&server, (0..24).map(|nth| one(nth).body()).collect());
        let count = |status| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!((count(202), count(409)), (1, 23), "{answers:?}");
        assert!(answers.iter().all(|answer| answer.index() == round));
    }
    assert_eq!(server.head(), 20);
}

#[test]
fn a_parent_is_an_earlier_turn_of_the_thread_and_never_closes_a_cycle() {
    let (_directory, server) = server();
    let mut client = server.client();
    let mut nth = 0;
    let mut post = |thread: &str, turn: &str, parent: Option<&str>| {
        nth += 1;
        let intent = Intent {
            thread: thread.to_owned(),
            turn: turn.to_owned(),
            parent: parent.map(str::to_owned),
            ..Intent::new(format!("parent-{nth}"))
        };
        client.post(&intent.body())
    };
    for (thread, turn, parent) in
        [("t", "a", None), ("t", "b", Some("a")), ("t", "c", Some("b")), ("u", "x", None)]
    {
        assert_eq!(post(thread, turn, parent).status, 202);
    }
    // Another INTENT of a turn that is there already, below the same or another earlier turn.
    assert_eq!(post("t", "c", Some("a")).status, 202);
    let refused = [
        ("t", "d", "unknown"),
        ("t", "d", "x"),
        ("u", "y", "a"),
        ("t", "d", "d"),
        ("t", "a", "c"),
        ("t", "b", "c"),
    ];
    for (thread, turn, parent) in refused {
        let pointer = Some("/payload/parent_turn_id");
        check_problem(&post(thread, turn, Some(parent)), 400, "INVALID_PARENT", pointer);
    }
    assert_eq!(server.head(), 5);
}

/// Sends the head of a request and half of its body, and waits until the server asks for it.
fn half_sent(server: &Server, intent: &Intent) -> (std::io::BufReader<std::net::TcpStream>, Vec<u8>) {
    let body = intent.body();
    let (half, rest) = body.split_at(body.len() / 2);
    let length = body.len().to_string();
    let headers =
        [("Content-Type", "application/json"), ("Content-Length", &*length), ("Expect", "100-continue")];
    let mut connection = http::connect(server.address).unwrap();
    http::send(connection.get_mut(), server.address, "POST", "/ingress/intent", &headers, b"").unwrap();
    assert_eq!(http::read_head(&mut connection).unwrap().0, 100);
    connection.get_mut().write_all(half.as_bytes()).unwrap();
    (connection, rest.as_bytes().to_vec())
}

#[test]
fn a_request_has_its_place_in_the_queue_before_its_body_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["log.queue_records_max=1", "log.batch_records_max=1"]);
    let (mut connection, rest) = half_sent(&server, &Intent::new("first"));
    let refused = server.client().post(&Intent::new("second").body());
    check_problem(&refused, 503, "QUEUE_FULL", None);
    assert_eq!(refused.json()["retriable"], json!(true));
    connection.get_mut().write_all(&rest).unwrap();
    assert_eq!(http::read_response(&mut connection).unwrap().status, 202);
    // A place is free again soon after its answer.
    let taken = support::until("there is a place", || {
        Some(server.client().post(&Intent::new("second").body())).filter(|response| response.status != 503)
    });
    assert_eq!((taken.status, taken.index()), (202, 1));
}

#[test]
fn a_body_that_does_not_arrive_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["limits.body_read_seconds_max=1"]);
    let (mut connection, _rest) = half_sent(&server, &Intent::new("slow"));
    check_problem(&http::read_response(&mut connection).unwrap(), 408, "REQUEST_TIMEOUT", None);
    assert_eq!(server.head(), 0);
}
