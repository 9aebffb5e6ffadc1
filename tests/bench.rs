//! `gesta bench`: the benches measure a running server, and a generated directory is one that a server would have left.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::path::Path;
use std::process::Command;

use gesta::keys::sealed::SealedKeys;
use gesta::keys::store;
use serde_json::Value;
use support::process::PROGRAM;
use support::{Intent, Server};

const RECORDS: u64 = 3000;

fn generate(data: &Path) -> std::process::Output {
    let mut command = Command::new(PROGRAM);
    command.args(["bench", "generate", "--records", &RECORDS.to_string(), "--segment-bytes", "1400000"]);
    command.arg("--data").arg(data).output().unwrap()
}

#[test]
fn a_generated_directory_has_its_keys_and_a_server_serves_it_at_once() {
    let data = tempfile::tempdir().unwrap();
    let generated = generate(data.path());
    assert!(generated.status.success(), "{}", String::from_utf8_lossy(&generated.stderr));
    // A copy is looked at, because sled may let go of its lock some time after it was closed.
    let copy = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-r").arg(data.path().join("state.sled")).arg(copy.path()).status();
    assert!(copied.unwrap().success());
    let keys = SealedKeys::open(store::open(&copy.path().join("state.sled"), 1 << 20).unwrap()).unwrap();
    assert_eq!(keys.mark(), RECORDS, "every record's keys are in pages");
    assert!(keys.segments().len() > 1);
    let server = Server::start(data.path(), &[]);
    assert!(server.errors().contains("the projections go on from their snapshot index=3000"));
    assert_eq!(server.head(), RECORDS);
    let mut client = server.client();
    let found = client.get("/events?stream_id=default&thread_id=bench-7").json();
    assert_eq!(found["events"].as_array().unwrap().len(), 3);
    let correlation_id = found["events"][0]["correlation_id"].as_str().unwrap().to_owned();
    let found = client.get(&format!("/events?stream_id=default&correlation_id={correlation_id}")).json();
    assert_eq!(found["events"][0]["index"], 7);
    let appended = client.try_post(&Intent::new("one-more").body()).unwrap();
    assert_eq!(appended.index(), RECORDS);
    server.stop();
    let inspected = Command::new(PROGRAM).arg("inspect").arg(data.path()).output().unwrap();
    assert!(inspected.status.success(), "{}", String::from_utf8_lossy(&inspected.stderr));
    let again = generate(data.path());
    assert_eq!(again.status.code(), Some(2), "a log that is not empty is left alone");
}

#[test]
fn the_benches_measure_a_running_server() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let bench = |arguments: &[&str]| -> Value {
        let mut command = Command::new(PROGRAM);
        command.arg("bench").args(arguments).args(["--url", &server.url(), "--json"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let appended = bench(&["append", "--connections", "4", "--seconds", "1"]);
    assert!(appended["appends"].as_u64().unwrap() > 0 && appended["failures"] == 0, "{appended}");
    let paced = bench(&["append", "--connections", "4", "--seconds", "1", "--rate", "40"]);
    assert_eq!(paced["appends"], 40);
    let head = server.head();
    let caught_up = bench(&["tail", "--followers", "3"]);
    assert_eq!(caught_up["records_each"], head);
    let fanned = bench(&["fanout", "--followers", "5", "--rate", "20", "--seconds", "1"]);
    assert_eq!((&fanned["delivered"], &fanned["missing"]), (&Value::from(100), &Value::from(0)), "{fanned}");
    assert!(fanned["delivery_us"]["p50"].as_u64().unwrap() > 0);
}
