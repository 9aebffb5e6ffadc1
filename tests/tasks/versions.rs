//! What attempts say of dataset versions: of those that they may, and the same of each.

use serde_json::{Value, json};

use crate::support::problem::check as check_problem;
use crate::world::World;

#[test]
fn a_dataset_version_is_published_once_or_equally_and_else_the_whole_report_is_refused() {
    let world = World::start();
    world.register("work", &World::granting(&["1", "2", "3"]));
    let publish = |correlation: &str, versions: Value| {
        world.submit(correlation, "work");
        let claim = world.claimed("w-1");
        let response = world.task(
            &claim,
            "complete",
            &json!({
                "status": "Completed",
                "datasets_published": versions,
                "outputs": [{ "output_index": 0, "location": "s3://b/k", "row_count": 2 }],
                "events": [{ "dataset_uuid": "d", "dataset_version": "1", "cursor": 7 }],
            }),
        );
        (claim, response)
    };
    let version = |name: &str, storage: &str| json!({ "dataset_uuid": "d", "dataset_version": name, "storage_ref": storage });
    let (_, first) = publish("a", json!([version("1", "s3://b/one/")]));
    assert_eq!(first.status, 200, "{}", first.text());
    let completed = world.record("a", "TASK", "completed");
    assert_eq!(completed["subjects"][1], json!({ "expected": null, "subject": "dataset/d/1" }));
    let (_, equal) = publish("b", json!([version("1", "s3://b/one/"), version("2", "s3://b/two/")]));
    assert_eq!(equal.status, 200, "{}", equal.text());
    // Behind the first publication, or behind the event that follows from it.
    let expected = world.record("b", "TASK", "completed")["subjects"][1]["expected"].as_u64();
    assert!(expected >= completed["index"].as_u64(), "{expected:?}");
    let (claim, other) = publish("c", json!([version("3", "s3://b/three/"), version("1", "s3://b/other/")]));
    check_problem(&other, 409, "DATASET_VERSION_CONFLICT", Some("/datasets_published/1"));
    assert_eq!(world.task(&claim, "heartbeat", &json!({})).status, 200, "the attempt goes on");
    let refused =
        world.task(&claim, "complete", &json!({ "status": "Failed", "outputs": [{ "output_index": 0 }] }));
    check_problem(&refused, 400, "INVALID_INPUT", Some("/outputs"));
    let events = json!({ "events": [{ "dataset_uuid": "d", "dataset_version": "1", "cursor": 8 }] });
    assert_eq!(world.task(&claim, "events", &events).status, 202);
    world.complete(&claim, &json!(null));
    world.course("c", "EXECUTION completed");
    world.check_replay();
}

#[test]
fn an_attempt_speaks_of_the_dataset_versions_alone_that_its_registration_grants() {
    let world = World::start();
    world.register("work", &World::granting(&["1"]));
    world.submit("c", "work");
    let claim = world.claimed("w-1");
    let event = json!([{ "dataset_uuid": "d", "dataset_version": "2", "cursor": 1 }]);
    let version = json!([{ "dataset_uuid": "e", "dataset_version": "1", "storage_ref": "s3://b/k/" }]);
    let output = json!([{ "output_index": 0, "dataset_uuid": "e", "dataset_version": "1" }]);
    for (member, list) in [("events", &event), ("datasets_published", &version), ("outputs", &output)] {
        let refused = world.task(&claim, "complete", &json!({ "status": "Completed", member: list }));
        check_problem(&refused, 403, "DATASET_FORBIDDEN", Some(&format!("/{member}/0")));
    }
    let refused = world.task(&claim, "events", &json!({ "events": event }));
    check_problem(&refused, 403, "DATASET_FORBIDDEN", Some("/events/0"));
    for name in ["lease_token", "secretAccessKey", "session-token", "capability_token"] {
        let body = json!({ "status": "Completed", "result": { name: "x" } });
        let refused = world.task(&claim, "complete", &body);
        check_problem(&refused, 400, "SECRETS_PRESENT", Some(&format!("/result/{name}")));
    }
    world.complete(&claim, &json!({}));
    world.course("c", "EXECUTION completed");
    world.check_replay();
}
