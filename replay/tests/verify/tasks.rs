use std::fs;

use serde_json::Value;

use crate::run::{found, run, verify};
use crate::support::prefix::said;
use crate::support::{Maker, example, framed, write_segment};

const AT: &str = "2026-11-02T04:12:33.000000Z";

/// A step of a task: its type and payload.
fn step(maker: &mut Maker, intent: u64, type_name: &'static str, payload: &str) -> u64 {
    maker.task(intent, type_name, &payload.replace("AT", AT), &[])
}

fn claim(maker: &mut Maker, intent: u64, attempt: u64) -> u64 {
    let payload = format!(
        r#"{{"attempt":{attempt},"worker_id":"w-1","nonce":"{}","lease_ms":120000,"lease_expires_at":"AT"}}"#,
        "5".repeat(32)
    );
    step(maker, intent, "claimed", &payload)
}

fn queue(maker: &mut Maker, intent: u64, handler: u64) -> u64 {
    let payload = format!(
        r#"{{"attempt":0,"kind":"worker","pool":"p","priority":5,"intent_index":{intent},"handler":{{
        "intent_type":"chat.message","handler_name":"work","index":{handler}}},"limits":{{"lease_ms":120000,
        "heartbeat_ms":30000,"timeout_ms":600000,"max_attempts":2}},"grants":{{"datasets":[]}}}}"#
    );
    step(maker, intent, "queued", &payload)
}

/// A task that timed out once and completed late in its second attempt, one that is running, and the work between.
/// Also the INTENT of the running one.
fn worked() -> (Maker, u64) {
    let mut maker = Maker::new(&example());
    let payload = r#"{"intent_type":"chat.message","handler_name":"work","kind":"worker","pool":"p"}"#;
    let handler = maker.control("handler_registered", "handler/chat.message/work", payload);
    let one = maker.intent(&said(1));
    maker.decide(one);
    queue(&mut maker, one, handler);
    claim(&mut maker, one, 1);
    maker.execution(one, "running", r#"{"delivery":1}"#);
    step(&mut maker, one, "timed_out", r#"{"attempt":1,"limit":"lease"}"#);
    step(&mut maker, one, "retry_scheduled", r#"{"attempt":1,"delay_ms":1000,"next_retry_at":"AT"}"#);
    step(&mut maker, one, "queued", r#"{"attempt":1}"#);
    let other = maker.intent(&said(2));
    maker.decide(other);
    queue(&mut maker, other, handler);
    claim(&mut maker, one, 2);
    claim(&mut maker, other, 1);
    let batch = r#"{"attempt":2,"batch_uri":"s3://b/1","content_type":"application/jsonl","batch_size_bytes":5,
        "dedupe_scope":"rows"}"#;
    step(&mut maker, one, "buffer_published", batch);
    let published = r#"{"attempt":2,"result":{},"datasets_published":[{"dataset_uuid":"d","dataset_version":"1",
        "storage_ref":"s3://b/d/"}]}"#;
    maker.task(one, "completed", published, &["dataset/d/1"]);
    maker.execution(one, "completed", r#"{"delivery":1,"output":{}}"#);
    step(&mut maker, one, "buffer_committed", r#"{"attempt":2,"batch_uri":"s3://b/1","row_count":1}"#);
    (maker, other)
}

#[test]
fn a_log_with_tasks_is_sound_and_its_leases_are_rebuilt() {
    let (dir, (maker, other)) = (tempfile::tempdir().unwrap(), worked());
    maker.write(dir.path(), 3, 1 << 24);
    let (code, report) = verify(dir.path(), &[]);
    assert_eq!((code, found(&report)), (0, vec![]), "{report:#}");
    let ran = run(&["rebuild", dir.path().to_str().unwrap(), "--json"]);
    let rebuilt: Value = serde_json::from_str(&ran.stdout).unwrap();
    let live = &rebuilt["states"]["leases"]["state"]["leases"];
    assert_eq!(live.as_array().unwrap().len(), 1, "{live:#}");
    assert_eq!(live[0]["task_id"], crate::support::ulid(other));
    assert_eq!(rebuilt["states"]["datasets"]["state"]["datasets"][0]["dataset_uuid"], "d");
    assert_eq!(rebuilt["states"]["outbox"]["state"]["batches"], Value::Array(Vec::new()));
    let snapshot = dir.path().join("snapshot");
    fs::write(&snapshot, &ran.stdout).unwrap();
    let (code, report) = verify(dir.path(), &["--snapshot", snapshot.to_str().unwrap()]);
    assert_eq!((code, report["projections"].as_array().unwrap().len()), (0, 10), "{report:#}");
}

#[test]
fn a_tail_of_tasks_that_begins_in_the_middle_is_incomplete_and_no_more() {
    let (dir, (maker, _)) = (tempfile::tempdir().unwrap(), worked());
    for start in 1..maker.len() {
        let records = (start..).zip(maker.log.records.iter().skip(usize::try_from(start).unwrap()));
        let tail: Vec<u8> = records.flat_map(|(index, data)| framed(index, data)).collect();
        fs::write(dir.path().join("tail.sse"), tail).unwrap();
        let (code, report) = verify(&dir.path().join("tail.sse"), &[]);
        assert_eq!((code, found(&report)), (3, vec![("RECORDS_ABSENT".to_owned(), Some(0))]), "{report:#}");
    }
}

/// What is found where one more record is appended.
#[track_caller]
fn check(append: impl FnOnce(&mut Maker, u64) -> u64, rules: &[&str]) {
    let (mut maker, running) = worked();
    let at = append(&mut maker, running);
    let dir = tempfile::tempdir().unwrap();
    write_segment(dir.path(), &maker.log.records);
    let (code, report) = verify(dir.path(), &[]);
    let expected: Vec<_> = rules.iter().map(|rule| ((*rule).to_owned(), Some(at))).collect();
    assert_eq!((code, found(&report)), (2, expected), "{report:#}");
}

#[test]
fn each_way_to_lie_about_a_task_is_tampering() {
    check(|maker, task| claim(maker, task, 2), &["TASK_SECOND_LIVE_ATTEMPT"]);
    check(|maker, task| step(maker, task, "completed", r#"{"attempt":0}"#), &["TASK_STALE_ATTEMPT"]);
    check(|maker, task| step(maker, task, "completed", r#"{"attempt":2}"#), &["TASK_ATTEMPT"]);
    check(|maker, task| step(maker, task, "queued", r#"{"attempt":1}"#), &["TASK_TRANSITION"]);
    check(|maker, task| maker.execution(task, "failed", r#"{"error":{}}"#), &["TASK_LEFT_OPEN"]);
    let again = |maker: &mut Maker, task| {
        step(maker, task, "completed", r#"{"attempt":1}"#);
        step(maker, task, "completed", r#"{"attempt":1}"#)
    };
    check(again, &["TASK_COMPLETED_TWICE"]);
    let conflict = r#"{"attempt":1,"datasets_published":[{"dataset_uuid":"d","dataset_version":"1",
        "storage_ref":"s3://b/other/"}]}"#;
    let publish = |maker: &mut Maker, task| maker.task(task, "completed", conflict, &["dataset/d/1"]);
    check(publish, &["DATASET_CONFLICT"]);
    check(|maker, task| step(maker, task, "completed", conflict), &["DATASET_CONFLICT", "SUBJECT"]);
    let twice = r#"{"attempt":1,"batch_uri":"s3://b/1","row_count":1}"#;
    check(|maker, task| step(maker, task, "buffer_committed", twice), &["BATCH_NOT_WAITING"]);
    check(|maker, task| step(maker, task, "claimed", "{}"), &["PAYLOAD"]);
}
