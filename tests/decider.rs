//! One DECISION for each INTENT, whatever happens between the two; references that are checked before an intent is
//! appended; and a state that an auditor arrives at from a copy.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::collections::BTreeMap;

use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::log::offline::{self, Depth, LastBatch};
use gesta_replay::event::Event;
use gesta_replay::projections::counts::Counts;
use gesta_replay::projections::datasets::Datasets;
use gesta_replay::projections::decisions::Decisions;
use gesta_replay::projections::executions::Executions;
use gesta_replay::projections::handlers::Handlers;
use gesta_replay::projections::head::Head;
use gesta_replay::projections::leases::Leases;
use gesta_replay::projections::outbox::Outbox;
use gesta_replay::projections::tasks::Tasks;
use gesta_replay::{Fold, Projection};
use serde_json::{Value, json};
use support::lives::killed_under_writers;
use support::{Intent, Random, Server, until};

const DECIDING: [&str; 1] = ["decider.enabled=true"];

fn with_refs(intent: &Intent, refs: &Value) -> String {
    let mut body = intent.value();
    body["payload"]["declared_refs"] = refs.clone();
    body.to_string()
}

fn event_ref(id: &str) -> Value {
    json!([{ "ref_type": "event", "ref_id": id }])
}

/// All records of the kind, by ascending index.
fn of_kind(server: &Server, kind: &str) -> Vec<Value> {
    let mut client = server.client();
    let (mut found, mut since) = (Vec::new(), -1);
    loop {
        let page = client.get(&format!("/events?kinds={kind}&limit=2000&since={since}")).json();
        found.extend(page["events"].as_array().unwrap().iter().cloned());
        match page["next"].as_i64() {
            Some(next) => since = next,
            None => return found,
        }
    }
}

/// And what was allowed has ended, so that nothing more is appended.
fn wait_until_decided(server: &Server) {
    server.client().wait_settled();
    let allowed =
        of_kind(server, "DECISION").iter().filter(|found| found["payload"]["result"] == "ALLOW").count();
    until("what was allowed has ended", || {
        let ends = of_kind(server, "EXECUTION");
        let ends =
            ends.iter().filter(|found| found["type"] == "completed" || found["type"] == "failed").count();
        (ends == allowed).then_some(())
    });
}

fn check_one_decision_each(server: &Server) {
    let mut decided: BTreeMap<u64, usize> = BTreeMap::new();
    for decision in of_kind(server, "DECISION") {
        let intent_index = decision["payload"]["intent_index"].as_u64().unwrap();
        assert_eq!(decision["cause"], intent_index);
        assert_eq!(decision["subjects"][0]["subject"], format!("decision/{intent_index}"));
        *decided.entry(intent_index).or_default() += 1;
    }
    let intents: BTreeMap<u64, usize> =
        of_kind(server, "INTENT").iter().map(|intent| (intent["index"].as_u64().unwrap(), 1)).collect();
    assert_eq!(decided, intents, "one DECISION for each INTENT");
}

#[test]
fn each_intent_has_one_decision_over_kills_at_random_moments() {
    let mut random = Random::seeded("each_intent_has_one_decision");
    let directory = tempfile::tempdir().unwrap();
    for life in 0..6 {
        let intent = move |writer, nth| Intent::new(format!("{life}-{writer}-{nth}"));
        killed_under_writers(directory.path(), &DECIDING, 20 + random.below(60), intent);
    }
    let server = Server::start(directory.path(), &DECIDING);
    wait_until_decided(&server);
    check_one_decision_each(&server);
}

#[test]
fn references_are_checked_before_an_intent_is_appended() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &DECIDING);
    let mut client = server.client();
    let first = client.submit(&Intent::new("first"));
    client.submit(&Intent { thread: "elsewhere".to_owned(), ..Intent::new("other") });
    client.submit(&Intent { stream: "beside".to_owned(), ..Intent::new("foreign") });
    wait_until_decided(&server);
    let head = server.head();
    let mut refused = |refs: &Value, code: &str, pointer: &str| {
        let response = client.post(&with_refs(&Intent::new("refused"), refs));
        support::problem::check(&response, 400, code, Some(pointer));
    };
    refused(&event_ref("nowhere"), "REF_NOT_FOUND", "/payload/declared_refs/0");
    refused(&event_ref("foreign"), "REF_NOT_FOUND", "/payload/declared_refs/0");
    refused(&event_ref("other"), "CROSS_THREAD_REF", "/payload/declared_refs/0");
    refused(&event_ref("turn-other"), "CROSS_THREAD_REF", "/payload/declared_refs/0");
    let many: Vec<Value> = (0..51).map(|_| json!({ "ref_type": "event", "ref_id": "first" })).collect();
    refused(&Value::Array(many), "MAX_REFS_EXCEEDED", "/payload/declared_refs");
    assert_eq!(server.head(), head, "a refused request appends nothing");

    for (nth, refs) in [event_ref("first"), event_ref("turn-first")].iter().enumerate() {
        let answered = client.post(&with_refs(&Intent::new(format!("with-{nth}")), refs));
        assert_eq!(answered.status, 202, "{}", answered.text());
    }
    wait_until_decided(&server);
    let decisions = of_kind(&server, "DECISION");
    for decision in &decisions[decisions.len() - 2..] {
        let resolved = &decision["payload"]["context_spec"]["retrieval"]["resolved_refs"][0];
        assert_eq!(
            (&resolved["admitted_for"], &resolved["event_index"]),
            (&json!("governance"), &json!(first))
        );
        assert_eq!(decision["payload"]["assembled_context"]["model_messages"][0]["content"], "say first");
    }
}

#[test]
fn a_decision_that_fits_no_record_is_spilled_and_made_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &DECIDING);
    let mut client = server.client();
    client.submit(&Intent::sized("large", 60_000));
    client.submit(&Intent::sized("huge", 400_000));
    wait_until_decided(&server);
    check_one_decision_each(&server);
}

#[test]
fn a_snapshot_is_what_an_auditor_folds_from_a_copy() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &DECIDING);
    let mut client = server.client();
    for nth in 0..50 {
        client.submit(&Intent { thread: format!("thread-{}", nth % 5), ..Intent::new(nth.to_string()) });
    }
    wait_until_decided(&server);
    let snapshot = client.get("/snapshot");
    assert_eq!(snapshot.status, 200, "{}", snapshot.text());
    let snapshot = snapshot.json();
    assert_eq!(client.get("/snapshot?at=3").reason_code(), "NO_SNAPSHOT");
    server.stop();

    let (mut head, mut decisions, mut counts) = (Head::default(), Decisions::default(), Counts::default());
    let (mut executions, mut handlers) = (Executions::default(), Handlers::default());
    let (mut tasks, mut leases) = (Tasks::default(), Leases::default());
    let (mut datasets, mut outbox) = (Datasets::default(), Outbox::default());
    let length = snapshot["length"].as_u64().unwrap();
    let mut fold = Fold::new(vec![
        &mut head,
        &mut decisions,
        &mut counts,
        &mut executions,
        &mut handlers,
        &mut tasks,
        &mut leases,
        &mut datasets,
        &mut outbox,
    ]);
    let disk = RealDisk::new(directory.path());
    let summary = offline::walk(&disk, Depth::Envelopes, LastBatch::Always, &mut |record, _, _| {
        if record.index.0 < length {
            fold.event(&Event::parse(record.data).unwrap()).unwrap();
        }
        true
    });
    assert!(summary.unwrap().damage.is_none());
    drop(fold);
    let folded: [&dyn Projection; 9] =
        [&head, &decisions, &counts, &executions, &handlers, &tasks, &leases, &datasets, &outbox];
    for projection in folded {
        assert_eq!(snapshot["projections"][projection.name()], projection.digest().to_string());
    }
    assert_eq!(snapshot["projections"].as_object().unwrap().len(), folded.len());
}
