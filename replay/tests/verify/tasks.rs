use std::fs;

use serde_json::Value;

use crate::run::{found, run, verify};
use crate::support::tasks::{PLANTED, claim, step, worked};
use crate::support::{Maker, framed, write_segment};

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
fn each_planted_violation_is_found_where_it_is_and_named() {
    for planted in PLANTED {
        println!("{}", planted.name);
        check(planted.append, planted.rules);
    }
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
