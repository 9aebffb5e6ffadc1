//! A log that a server wrote through kills, restarts and activations is derived again from a copy, with the auditor's
//! own code: every decision comes out the same, whatever came between.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::path::Path;

use gesta_replay::verify::Verdict;
use serde_json::{Value, json};
use support::copy::Copy;
use support::{Client, Intent, Random, Server};

/// What one run does to a server, step after step.
const STEPS: u64 = 60;

fn post(client: &mut Client, path: &str, body: &Value) -> u16 {
    client.request("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes()).status
}

/// The bundle that ships as an example, under a version.
fn bundle(version: u64) -> Value {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("replay/policies/example");
    let mut files = gesta::activation::directory::read_bundle(&directory).unwrap();
    let name = json!({ "policy_id": "example", "policy_version": version.to_string() });
    files.insert("bundle.json".to_owned(), name.to_string().into_bytes());
    let files = files.into_iter().map(|(path, text)| (path, Value::from(String::from_utf8(text).unwrap())));
    json!({ "files": files.collect::<serde_json::Map<_, _>>() })
}

/// An intent of a few threads and lanes, that may refer to one before it.
fn intent(random: &mut Random, nth: u64, sent: &[(String, String)]) -> (Intent, Value) {
    let mut intent = Intent::new(format!("intent-{nth}"));
    intent.thread = format!("thread-{}", random.below(3));
    intent.lane = (*random.pick(&["user", "user", "maintenance"])).to_owned();
    intent.intent_type = (*random.pick(&["chat.message", "chat.message", "shell.exec"])).to_owned();
    if random.below(12) == 0 {
        intent.payload = json!({ "message": "x".repeat(70_000) });
    }
    let near: Vec<_> = sent.iter().filter(|(thread, _)| *thread == intent.thread).collect();
    let mut refs = Vec::new();
    if !near.is_empty() && random.below(2) == 0 {
        refs.push(json!({ "ref_type": "event", "ref_id": random.pick(&near).1 }));
    }
    (intent, Value::Array(refs))
}

#[test]
fn any_interleaving_of_intents_restarts_and_activations_replays_to_the_same_decisions() {
    let mut random = Random::seeded("any_interleaving_replays");
    let directory = tempfile::tempdir().unwrap();
    let start = || Server::start(directory.path(), &["decider.enabled=true", "log.segment_bytes=1MiB"]);
    let mut server = start();
    let mut sent: Vec<(String, String)> = Vec::new();
    for step in 0..STEPS {
        let mut client = server.client();
        match random.below(10) {
            0 => {
                server.kill();
                server = start();
            }
            1 => {
                server.stop();
                server = start();
            }
            2 => assert!(matches!(
                post(&mut client, "/control/policy", &bundle(random.below(3))),
                200 | 201 | 409
            )),
            3 => {
                let max = 1 + random.below(40);
                let config = json!({ "schema_version": "1", "context": { "max_refs": max } });
                let body = json!({ "config": config });
                assert!(matches!(post(&mut client, "/control/context", &body), 200 | 201));
            }
            _ => {
                for nth in 0..1 + random.below(8) {
                    let (intent, refs) = intent(&mut random, step * 10 + nth, &sent);
                    let mut body = intent.value();
                    body["payload"]["declared_refs"] = refs;
                    let answer = client.post(&body.to_string());
                    assert_eq!(answer.status, 202, "{}", answer.text());
                    sent.push((intent.thread, intent.correlation_id));
                }
            }
        }
    }
    server.client().wait_settled();
    server.stop();

    let copy = Copy::of(directory.path());
    let report = copy.verify(1);
    assert_eq!(report.verdict, Verdict::Sound, "{:#?}", report.findings);
    assert_eq!((report.decisions.same, report.decisions.undecided), (sent.len() as u64, 0));
    assert_eq!(report.requests.same, sent.len() as u64, "{:?}", report.requests);
    assert_eq!(copy.verify(3), report, "whatever the number of threads");
}
