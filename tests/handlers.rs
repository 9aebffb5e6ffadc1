//! Handlers from the configuration: registered before anything is run, and again only where something has changed.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::{Client, Intent, Server, until};

fn start(directory: &Path, handlers: &str) -> Server {
    let config = directory.join("gesta.toml");
    std::fs::write(&config, handlers).unwrap();
    let mut command = support::process::serve(&directory.join("data"), &["decider.enabled=true"]);
    command.arg("--config").arg(&config);
    Server::spawn(command).unwrap()
}

/// Type, payload and actor of the records about handlers.
fn registrations(client: &mut Client) -> Vec<(String, Value, String)> {
    let page = client.get("/events?kinds=CONTROL&intent_type=system.handler_registered&limit=2000").json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let events = page["events"].as_array().unwrap().iter();
    events.map(|event| (text(&event["type"]), event["payload"].clone(), text(&event["actor"]))).collect()
}

const HANDLERS: &str = "[[handlers]]
intent_type = 'outside'
handler_name = 'them'
kind = 'external'
timeout_seconds = 3600
metadata = { owner = 'ops', tags = ['a', 'b'], n = 1 }

[[handlers]]
intent_type = 'say'
handler_name = 'echo'
kind = 'builtin'
";

#[test]
fn what_the_configuration_names_is_registered_once_and_again_where_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), HANDLERS);
    let mut client = server.client();
    let first = registrations(&mut client);
    let metadata = json!({ "owner": "ops", "tags": ["a", "b"], "n": 1 });
    let outside = json!({ "intent_type": "outside", "handler_name": "them", "kind": "external", "timeout_seconds": 3600, "metadata": metadata });
    let say = json!({ "intent_type": "say", "handler_name": "echo", "kind": "builtin", "metadata": {} });
    let registered = |payload: &Value| ("handler_registered".to_owned(), payload.clone(), "gesta".to_owned());
    assert_eq!(first, [registered(&outside), registered(&say)]);
    client.submit(&Intent { intent_type: "say".to_owned(), ..Intent::new("c") });
    until("it is echoed", || {
        let page = client.get("/events?kinds=EXECUTION&correlation_id=c").json();
        (page["events"][1]["type"] == "completed").then_some(())
    });
    server.stop();

    let server = start(directory.path(), HANDLERS);
    let head = server.head();
    assert_eq!(registrations(&mut server.client()), first, "nothing has changed");
    server.stop();

    // One is changed, the other is not named any more.
    let changed = "[[handlers]]\nintent_type = 'outside'\nhandler_name = 'them'\nkind = 'external'\n";
    let server = start(directory.path(), changed);
    let mut client = server.client();
    assert_eq!(server.head(), head + 1);
    let (outside, say, chat) = (json!("outside"), json!("say"), json!("chat.message"));
    let wanted = [outside, say, chat.clone(), chat].map(|intent_type| (intent_type, json!(null)));
    until("the change is shown", || {
        let shown = client.get("/api/intent/handlers").json();
        let shown = shown["handlers"].as_array()?.iter();
        let shown = shown.map(|handler| (handler["intent_type"].clone(), handler["timeout_seconds"].clone()));
        shown.eq(wanted.iter().cloned()).then_some(())
    });
    until("the log names what stays", || server.errors().contains("stays").then_some(()));
    assert_eq!(client.request("DELETE", "/api/intent/handlers/outside/them", &[], b"").status, 200);
    server.stop();

    // What was deleted is registered again by the next start that names it.
    let server = start(directory.path(), changed);
    assert_eq!(registrations(&mut server.client()).len(), 4);
    server.stop();
}

#[test]
fn what_waits_at_a_start_is_run_by_what_that_start_registers() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), &HANDLERS.replace("builtin", "external"));
    let mut client = server.client();
    client.submit(&Intent { intent_type: "say".to_owned(), ..Intent::new("c") });
    until("it is allowed", || {
        let page = client.get("/events?kinds=DECISION&correlation_id=c").json();
        (page["events"][0]["payload"]["result"] == "ALLOW").then_some(())
    });
    server.stop();
    let server = start(directory.path(), HANDLERS);
    let mut client = server.client();
    let end = until("it has ended", || {
        let page = client.get("/events?kinds=EXECUTION&correlation_id=c").json();
        page["events"]
            .as_array()
            .unwrap()
            .last()
            .map(|last| last["type"].clone())
            .filter(|last| last != "running")
    });
    assert_eq!(end, "completed", "what it waited for is replaced");
    server.stop();
}

#[test]
fn a_large_registration_is_the_same_again_and_its_subscriptions_stay_in_the_record() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), HANDLERS);
    let mut client = server.client();
    let datasets: Vec<String> = (0..64).map(|nth| format!("{nth:0>100}")).collect();
    let mut body = json!({
        "intent_type": "large", "handler_name": "h", "kind": "worker", "pool": "p", "subscribe": datasets,
        "metadata": { "x": "x".repeat(50_000) }, "config": { "x": "x".repeat(50_000) },
    });
    let mut register = |body: &Value| {
        let json = ("Content-Type", "application/json");
        client.request("POST", "/api/intent/handlers", &[json], body.to_string().as_bytes())
    };
    let first = register(&body);
    assert_eq!(first.status, 201, "{}", first.text());
    let again = register(&body);
    assert_eq!((again.status, again.index()), (200, first.index()));
    body["config"]["x"] = json!("y".repeat(50_000));
    let other = register(&body);
    assert_eq!(other.status, 200);
    assert_ne!(other.index(), first.index());
    body["subscribe"] = json!(vec!["d"; 65]);
    let refused = register(&body);
    support::problem::check(&refused, 400, "INVALID_INPUT", Some("/subscribe/64"));
    let recorded = registrations(&mut server.client()).pop().unwrap().1;
    assert_eq!(recorded["subscribe"], json!(datasets));
    assert!(recorded["config"]["$blob"].is_string() || recorded["metadata"]["$blob"].is_string());
}
