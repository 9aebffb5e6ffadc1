//! Buffered datasets of the built program: what a task publishes becomes rows once, is told once, and survives every kill.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::log::offline::{self, Depth, LastBatch};
use gesta_replay::Fold;
use gesta_replay::projections::audit::Audit;
use gesta_replay::projections::datasets::Datasets;
use gesta_replay::projections::executions::Executions;
use gesta_replay::projections::outbox::Outbox;
use gesta_replay::projections::tasks::Tasks;
use serde_json::{Value, json};
use support::process::PROGRAM;
use support::work::{Claimed, Credential, Work};
use support::{Random, Response, from_environment, until};

const DATASET: &str = "orders";

fn grants(versions: &[&str]) -> Value {
    let datasets: Vec<_> = versions
        .iter()
        .map(|version| json!({ "dataset_uuid": DATASET, "dataset_version": version }))
        .collect();
    json!({ "grants": { "datasets": datasets, "s3": {
        "read_prefixes": ["blob://bucket/out/"],
        "write_prefixes": ["blob://bucket/out/", "s3://bucket/out/"],
    } } })
}

/// A task that may publish rows, and what it does that with.
struct Publisher {
    claimed: Claimed,
    credential: Credential,
}

#[track_caller]
fn register(work: &mut Work, version: &str, row_schema: &Value) -> Response {
    let body = json!({ "dataset_uuid": DATASET, "dataset_version": version, "row_schema": row_schema });
    work.ask("POST", "/api/dataset", &body)
}

fn schema() -> Value {
    json!({ "n": "integer", "note": "string?" })
}

/// A server with one version of the dataset and a task that may publish to it.
#[track_caller]
fn start(directory: &Path) -> (Work, Publisher) {
    start_with(directory, &["1"])
}

#[track_caller]
fn start_with(directory: &Path, versions: &[&str]) -> (Work, Publisher) {
    start_granting(directory, versions, versions)
}

/// With these versions, and a publisher that may speak of those.
#[track_caller]
fn start_granting(directory: &Path, versions: &[&str], granted: &[&str]) -> (Work, Publisher) {
    let mut work = Work::start(directory);
    for version in versions {
        assert_eq!(register(&mut work, version, &schema()).status, 201);
    }
    work.register("load", &grants(granted));
    let claimed = work.task("load", "c");
    let credential = work.credential(&claimed);
    (work, Publisher { claimed, credential })
}

fn rows(keys: std::ops::Range<u64>) -> String {
    keys.map(|key| format!("{{\"dedupe_key\":\"k{key}\",\"n\":{key}}}\n")).collect()
}

impl Publisher {
    /// Asks that an object be taken, whether it is there or not.
    #[track_caller]
    fn publish(&self, work: &mut Work, more: &Value) -> Response {
        let mut body = json!({ "content_type": "application/jsonl", "dedupe_scope": DATASET });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        work.report(&self.claimed, "/v1/task/buffer-publish", &body)
    }

    /// Puts a batch and publishes it; gives the record's index.
    #[track_caller]
    fn batch(&self, work: &mut Work, name: &str, content: &str) -> u64 {
        let stored = work.put(&self.credential, &format!("bucket/out/{name}"), content.as_bytes());
        assert!(stored.status < 300, "{}", stored.text());
        let uri = format!("blob://bucket/out/{name}");
        let response = self.publish(work, &json!({ "batch_uri": uri, "batch_size_bytes": content.len() }));
        assert_eq!(response.status, 202, "{}", response.text());
        assert_eq!(response.json()["dedupe_scope"], "orders/1");
        response.index()
    }
}

/// The rows of a version, page by page, as lines of JSON.
#[track_caller]
fn export(work: &mut Work, version: &str) -> Vec<Value> {
    let (mut lines, mut after) = (Vec::new(), "-1".to_owned());
    loop {
        let path = format!("/api/dataset/{DATASET}/{version}/rows?limit=3&after={after}");
        let page = work.ask("GET", &path, &Value::Null);
        assert_eq!(page.status, 200, "{}", page.text());
        lines.extend(page.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        match page.header("gesta-next-after") {
            Some(next) => after = next.to_owned(),
            None => return lines,
        }
    }
}

#[track_caller]
fn await_rows(work: &mut Work, version: &str, count: usize) -> Vec<Value> {
    until(&format!("there are {count} rows"), || {
        let rows = export(work, version);
        (rows.len() >= count).then_some(rows)
    })
}

fn events(work: &mut Work) -> Vec<Value> {
    let mut records = work.records("kinds=ARTIFACT");
    records.retain(|record| record["type"] == "dataset_event");
    records
}

#[test]
fn a_batch_becomes_rows_an_event_and_an_intent_once_each() {
    let directory = tempfile::tempdir().unwrap();
    let (mut work, publisher) = start(directory.path());
    work.register("on.orders", &json!({ "subscribe": [DATASET] }));
    work.register("on.others", &json!({ "subscribe": ["others"] }));
    let published = publisher.batch(&mut work, "a", &rows(0..5));
    let lines = await_rows(&mut work, "1", 5);
    let committed = &work.await_records("kinds=TASK", "buffer_committed", 1)[0];
    let task = format!("task/{}", publisher.claimed.task_id);
    assert_eq!(committed["subjects"], json!([{ "subject": task, "expected": published }]));
    assert_eq!((&committed["cause"], &committed["payload"]["row_count"]), (&json!(published), &json!(5)));
    for (nth, line) in (0_u64..).zip(&lines) {
        let data = json!({ "dedupe_key": format!("k{nth}"), "n": nth });
        let expected = json!({
            "data": data, "dedupe_key": format!("k{nth}"), "index": committed["index"], "org_id": "default", "row": nth,
        });
        assert_eq!(*line, expected);
    }
    let intents = until("the subscriber is told", || {
        let intents = work.records("kinds=INTENT&intent_type=on.orders");
        (!intents.is_empty()).then_some(intents)
    });
    let event = &events(&mut work)[0];
    assert_eq!((&event["cause"], &event["payload"]["cursor"]), (&committed["index"], &json!(5)));
    assert_eq!(
        (&intents[0]["cause"], &intents[0]["payload"]["surface"]),
        (&event["index"], &json!("dataset"))
    );
    assert_eq!(intents[0]["payload"]["payload"]["event"]["dataset_uuid"], DATASET);
    let told = work.claim("on.orders");
    assert_eq!(told.attempt, 1, "the intent was decided, and is a task");
    // The same batch again, and the same rows under another name.
    let uri = json!({ "batch_uri": "blob://bucket/out/a", "batch_size_bytes": rows(0..5).len() });
    let again = publisher.publish(&mut work, &uri);
    assert_eq!((again.status, again.header("idempotent-replayed")), (202, Some("true")));
    assert_eq!(again.index(), published);
    publisher.batch(&mut work, "b", &rows(0..5));
    publisher.batch(&mut work, "c", &rows(3..8));
    await_rows(&mut work, "1", 8);
    until("all events are there", || (events(&mut work).len() == 3).then_some(()));
    let cursors: Vec<_> = events(&mut work).iter().map(|event| event["payload"]["cursor"].clone()).collect();
    assert_eq!(cursors, [5, 5, 8]);
    until("the news is told", || {
        (work.records("kinds=INTENT&intent_type=on.orders").len() == 2).then_some(())
    });
    assert_eq!(export(&mut work, "1").len(), 8);
    assert!(work.records("kinds=INTENT&intent_type=on.others").is_empty());
}

#[test]
fn a_publication_is_checked_before_it_is_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let (mut work, publisher) = start(directory.path());
    let content = rows(0..3);
    let size = content.len() as u64;
    assert_eq!(work.put(&publisher.credential, "bucket/out/a", content.as_bytes()).status, 201);
    let uri = "blob://bucket/out/a";
    let table = [
        (
            json!({ "batch_uri": uri, "batch_size_bytes": size, "content_type": "text/csv" }),
            400,
            "BATCH_INVALID",
        ),
        (json!({ "batch_uri": uri, "batch_size_bytes": size + 1 }), 400, "BATCH_INVALID"),
        (json!({ "batch_uri": uri, "batch_size_bytes": 16 * 1024 * 1024 + 1 }), 400, "BATCH_INVALID"),
        (json!({ "batch_uri": "blob://bucket/out/b", "batch_size_bytes": size }), 400, "BATCH_INVALID"),
        (json!({ "batch_uri": "s3://bucket/out/a", "batch_size_bytes": size }), 400, "BATCH_INVALID"),
        (json!({ "batch_uri": "blob://bucket/in/a", "batch_size_bytes": size }), 403, "PREFIX_FORBIDDEN"),
        (
            json!({ "batch_uri": "blob://bucket/out/../in/a", "batch_size_bytes": size }),
            403,
            "PREFIX_FORBIDDEN",
        ),
        (json!({ "batch_uri": "blob://bucket/out/*", "batch_size_bytes": size }), 403, "PREFIX_FORBIDDEN"),
        (json!({ "batch_uri": "file:///etc/passwd", "batch_size_bytes": size }), 403, "PREFIX_FORBIDDEN"),
        (
            json!({ "batch_uri": uri, "batch_size_bytes": size, "dedupe_scope": "others" }),
            403,
            "DATASET_FORBIDDEN",
        ),
        (
            json!({ "batch_uri": uri, "batch_size_bytes": size, "dedupe_scope": "orders/2" }),
            403,
            "DATASET_FORBIDDEN",
        ),
        (json!({ "batch_uri": uri, "batch_size_bytes": size, "other": 1 }), 400, "INVALID_INPUT"),
        (json!({ "batch_uri": uri }), 400, "INVALID_INPUT"),
    ];
    for (body, status, code) in table {
        let response = publisher.publish(&mut work, &body);
        let found = (response.status, response.reason_code());
        assert_eq!((found.0, found.1.as_str()), (status, code), "{body}: {}", response.text());
    }
    let guessed = Publisher {
        claimed: Claimed { lease_token: "0".repeat(32), ..publisher.claimed.clone() },
        credential: publisher.credential.clone(),
    };
    let response = guessed.publish(&mut work, &json!({ "batch_uri": uri, "batch_size_bytes": size }));
    assert_eq!((response.status, response.reason_code().as_str()), (409, "STALE_ATTEMPT"));
    assert!(work.records("kinds=TASK").iter().all(|record| record["type"] != "buffer_published"));
    let response = publisher.publish(
        &mut work,
        &json!({ "batch_uri": uri, "batch_size_bytes": size, "dedupe_scope": "orders/1" }),
    );
    assert_eq!(response.status, 202, "{}", response.text());
}

#[test]
fn one_bad_row_refuses_the_whole_batch_and_holds_up_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let (mut work, publisher) = start(directory.path());
    publisher.batch(&mut work, "a", &rows(0..2));
    let bad = rows(2..4) + "{\"dedupe_key\":\"k9\",\"n\":9,\"org_id\":\"theirs\"}\n" + &rows(4..6);
    let published = publisher.batch(&mut work, "b", &bad);
    publisher.batch(&mut work, "c", &rows(6..8));
    let ended = work.report(&publisher.claimed, "/v1/task/complete", &json!({ "status": "Completed" }));
    assert_eq!(ended.status, 200, "{}", ended.text());
    let keys: Vec<_> = await_rows(&mut work, "1", 4).iter().map(|row| row["dedupe_key"].clone()).collect();
    assert_eq!(keys, ["k0", "k1", "k6", "k7"]);
    let letters = until("the dead letter is listed", || {
        let body = work.ask("GET", "/api/dataset/orders/1/dead-letters", &Value::Null).json();
        let letters = body["dead_letters"].as_array().unwrap().clone();
        (!letters.is_empty()).then_some(letters)
    });
    assert_eq!((letters.len(), letters[0]["batch_uri"].as_str()), (1, Some("blob://bucket/out/b")));
    let error = &letters[0]["error"];
    assert_eq!(
        (&error["code"], &error["line"], &error["pointer"]),
        (&json!("ROW_INVALID"), &json!(3), &json!("/org_id"))
    );
    let digest =
        letters[0]["original"]["$blob"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
    let original = work.ask("GET", &format!("/api/blob/sha256/{digest}"), &Value::Null);
    assert_eq!(original.text(), bad, "what was refused can be had");
    assert!(letters[0]["index"].as_u64().unwrap() > published);
    let told = until("both good ones are told", || {
        let told = events(&mut work);
        (told.len() >= 2).then_some(told)
    });
    let cursors: Vec<_> = told.iter().map(|event| event["payload"]["cursor"].clone()).collect();
    assert_eq!(cursors, [2, 4], "nothing is told of what was refused");
}

#[test]
fn a_version_is_what_it_was_registered_as() {
    let directory = tempfile::tempdir().unwrap();
    let (mut work, _) = start(directory.path());
    let again = register(&mut work, "1", &schema());
    assert_eq!(again.status, 200);
    let other = register(&mut work, "1", &json!({ "n": "number" }));
    assert_eq!((other.status, other.reason_code().as_str()), (409, "DATASET_VERSION_CONFLICT"));
    assert_eq!(other.index(), again.index());
    let wrong = register(&mut work, "2", &json!({ "n": "float" }));
    assert_eq!((wrong.status, wrong.json()["pointer"].as_str()), (400, Some("/row_schema/n")));
    assert_eq!(register(&mut work, "2", &json!({ "n": "number" })).status, 201);
    let shown = until("both are listed", || {
        let shown =
            work.ask("GET", "/api/dataset", &Value::Null).json()["datasets"].as_array().unwrap().clone();
        (shown.len() == 2).then_some(shown)
    });
    let current: Vec<_> = shown.iter().map(|one| (&one["dataset_version"], &one["current"])).collect();
    assert_eq!(current, [(&json!("1"), &json!(false)), (&json!("2"), &json!(true))]);
    let unknown = work.ask("GET", "/api/dataset/orders/3/rows", &Value::Null);
    assert_eq!((unknown.status, unknown.reason_code().as_str()), (404, "DATASET_NOT_FOUND"));
}

#[test]
fn reported_events_are_told_of_the_current_version_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (mut work, publisher) = start_granting(directory.path(), &["1"], &["1", "2", "3"]);
    work.register("on.orders", &json!({ "subscribe": [DATASET] }));
    let event = |version: &str, cursor: u64| json!({ "dataset_uuid": DATASET, "dataset_version": version, "cursor": cursor });
    let range = json!({
        "dataset_uuid": DATASET, "dataset_version": "1", "partition_key": "p", "start": 1, "end": 3,
    });
    let events_1 = json!({ "events": [event("1", 1), range, event("1", 1)] });
    assert_eq!(work.report(&publisher.claimed, "/v1/task/events", &events_1).status, 202);
    until("three events are there", || (events(&mut work).len() == 3).then_some(()));
    until("two are news", || (work.records("kinds=INTENT&intent_type=on.orders").len() == 2).then_some(()));
    assert_eq!(register(&mut work, "2", &schema()).status, 201);
    let end = json!({ "status": "Completed", "events": [event("1", 7), event("2", 1), event("3", 1)] });
    assert_eq!(work.report(&publisher.claimed, "/v1/task/complete", &end).status, 200);
    until("all events are there", || (events(&mut work).len() == 6).then_some(()));
    let intents = until("the current one is told", || {
        let intents = work.records("kinds=INTENT&intent_type=on.orders");
        (intents.len() == 3).then_some(intents)
    });
    assert_eq!(intents[2]["payload"]["payload"]["event"]["dataset_version"], "2");
    work.server.kill();
    std::fs::remove_dir_all(directory.path().join("data/state.sled")).unwrap();
    // Everything is looked at again, and a handler that subscribes now is told of what comes.
    let mut work = Work::start(directory.path());
    work.register("late", &json!({ "subscribe": [DATASET] }));
    let claimed = work.task("load", "d");
    assert_eq!(work.report(&claimed, "/v1/task/events", &json!({ "events": [event("2", 2)] })).status, 202);
    until("both are told", || {
        let told =
            |work: &mut Work, name: &str| work.records(&format!("kinds=INTENT&intent_type={name}")).len();
        (told(&mut work, "on.orders") == 4 && told(&mut work, "late") == 1).then_some(())
    });
    assert_eq!(events(&mut work).len(), 7);
}

#[test]
fn lost_rows_are_named_and_hold_up_no_other_version() {
    let directory = tempfile::tempdir().unwrap();
    let (mut work, publisher) = start_with(directory.path(), &["1", "2"]);
    let publish = |work: &mut Work, name: &str, version: &str, content: &str| {
        let stored = work.put(&publisher.credential, &format!("bucket/out/{name}"), content.as_bytes());
        assert_eq!(stored.status, 201, "{}", stored.text());
        let body = json!({
            "batch_uri": format!("blob://bucket/out/{name}"), "batch_size_bytes": content.len(),
            "dedupe_scope": format!("orders/{version}"),
        });
        assert_eq!(publisher.publish(work, &body).status, 202);
        stored.json()["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned()
    };
    let unnamed = json!({ "batch_uri": "blob://bucket/out/x", "batch_size_bytes": 1 });
    assert_eq!(publisher.publish(&mut work, &unnamed).reason_code(), "DATASET_FORBIDDEN", "one of two");
    let lost = publish(&mut work, "a", "1", &rows(0..2));
    publish(&mut work, "b", "2", &rows(2..4));
    await_rows(&mut work, "1", 2);
    await_rows(&mut work, "2", 2);
    work.server.kill();
    let data = directory.path().join("data");
    std::fs::remove_dir_all(data.join("state.sled")).unwrap();
    std::fs::remove_file(data.join(format!("blobs/sha256/{}/{lost}", &lost[..2]))).unwrap();
    let mut work = Work::start(directory.path());
    await_rows(&mut work, "2", 2);
    let answer = work.ask("GET", "/api/dataset/orders/1/rows", &Value::Null);
    assert_eq!((answer.status, answer.reason_code().as_str()), (500, "ROWS_LOST"));
    publish(&mut work, "c", "2", &rows(4..5));
    await_rows(&mut work, "2", 3);
    assert_eq!(work.ask("GET", "/api/dataset/orders/1/rows", &Value::Null).status, 500);
}

#[test]
fn the_command_line_registers_exports_and_lists() {
    let directory = tempfile::tempdir().unwrap();
    let (mut work, publisher) = start(directory.path());
    publisher.batch(&mut work, "a", &rows(0..4));
    publisher.batch(&mut work, "b", "nonsense\n");
    await_rows(&mut work, "1", 4);
    let url = work.server.url();
    let run = |arguments: &[&str]| {
        let output = Command::new(PROGRAM)
            .arg("dataset")
            .args(arguments)
            .args(["--url", &url])
            .env("GESTA_TOKEN", "boss")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let file = directory.path().join("schema.json");
    std::fs::write(&file, r#"{"a": "any"}"#).unwrap();
    let index = run(&["register", DATASET, "2", "--row-schema", file.to_str().unwrap()]);
    assert!(index.trim().parse::<u64>().is_ok(), "{index}");
    assert_eq!(run(&["export", DATASET, "1"]).lines().count(), 4);
    assert_eq!(run(&["export", DATASET, "1", "--after", "1"]).lines().count(), 2);
    let letters = until("the dead letter is listed", || {
        let letters = run(&["dead-letters", DATASET, "1"]);
        (!letters.is_empty()).then_some(letters)
    });
    assert!(letters.contains("blob://bucket/out/b:1"), "{letters}");
    let listed = run(&["ls"]);
    assert!(listed.contains("orders  1  4 rows"), "{listed}");
}

/// Publishes batches that overlap while the server is killed again and again; at the end there is each row once, an event
/// for each commit, an INTENT for each news, and the same once everything derived was deleted.
#[test]
fn no_kill_loses_or_doubles_anything() {
    let kills = from_environment("GESTA_DATASET_KILLS", 6);
    let mut random = Random::seeded("no_kill_loses_or_doubles_anything");
    let directory = tempfile::tempdir().unwrap();
    let (mut work, publisher) = start(directory.path());
    work.register("on.orders", &json!({ "subscribe": [DATASET] }));
    let (mut keys, mut batches, mut bad) = (BTreeSet::new(), 0_u64, 0);
    for kill in 0..=kills {
        for _ in 0..1 + random.below(6) {
            batches += 1;
            let first = random.below(60);
            let last = first + 1 + random.below(40);
            if random.below(5) == 0 {
                bad += 1;
                publisher.batch(&mut work, &format!("b{batches}"), "{}\n");
            } else {
                publisher.batch(&mut work, &format!("b{batches}"), &rows(first..last));
                keys.extend((first..last).map(|key| format!("k{key}")));
            }
        }
        if kill == kills {
            break;
        }
        // Anywhere in the course of these batches.
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        work.server.kill();
        if kill % 2 == 1 {
            std::fs::remove_dir_all(directory.path().join("data/state.sled")).unwrap();
        }
        work = Work::start(directory.path());
    }
    let good = usize::try_from(batches - bad).unwrap();
    check_whole(&mut work, &keys, good, usize::try_from(bad).unwrap());
    let (rows, events_before) = (export(&mut work, "1"), events(&mut work));
    let intents = work.records("kinds=INTENT&intent_type=on.orders");
    work.server.kill();
    std::fs::remove_dir_all(directory.path().join("data/state.sled")).unwrap();
    let mut work = Work::start(directory.path());
    check_whole(&mut work, &keys, good, usize::try_from(bad).unwrap());
    assert_eq!(export(&mut work, "1"), rows, "made again from the log and its blobs");
    assert_eq!(events(&mut work), events_before);
    assert_eq!(work.records("kinds=INTENT&intent_type=on.orders"), intents);
    work.server.stop();
    check_log(&directory.path().join("data"));
}

/// What an auditor asks of the log, and of what was published: nothing waits, nothing was taken twice or out of order.
#[track_caller]
fn check_log(data: &Path) {
    let (mut audit, mut outbox, mut datasets) = (Audit::default(), Outbox::default(), Datasets::default());
    let (mut tasks, mut executions) = (Tasks::default(), Executions::default());
    let mut fold = Fold::new(vec![&mut audit, &mut outbox, &mut datasets, &mut tasks, &mut executions]);
    let disk = RealDisk::new(data);
    let summary = offline::walk(&disk, Depth::Envelopes, LastBatch::Always, &mut |record, _, _| {
        fold.record(record.data).unwrap();
        true
    });
    assert!(summary.unwrap().damage.is_none());
    assert_eq!(outbox.all().len(), 0);
    assert_eq!(datasets.all().len(), 1);
}

#[track_caller]
fn check_whole(work: &mut Work, keys: &BTreeSet<String>, good: usize, bad: usize) {
    let rows = await_rows(work, "1", keys.len());
    let found: Vec<_> = rows.iter().map(|row| row["dedupe_key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found.len(), keys.len(), "no row twice");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), *keys);
    work.await_records("kinds=TASK", "buffer_committed", good);
    work.await_records("kinds=TASK", "buffer_dead_lettered", bad);
    until("each commit has its event", || (events(work).len() >= good).then_some(()));
    let events = events(work);
    let causes: BTreeSet<_> = events.iter().map(|event| event["cause"].as_u64().unwrap()).collect();
    assert_eq!((events.len(), causes.len()), (good, good), "one event for each commit");
    let cursors: BTreeSet<_> =
        events.iter().map(|event| event["payload"]["cursor"].as_u64().unwrap()).collect();
    let news = until("the news is told", || {
        let intents = work.records("kinds=INTENT&intent_type=on.orders");
        (intents.len() >= cursors.len()).then_some(intents)
    });
    let told: BTreeSet<_> =
        news.iter().map(|intent| intent["payload"]["payload"]["event"]["cursor"].as_u64().unwrap()).collect();
    assert_eq!((news.len(), told), (cursors.len(), cursors), "one intent for each cursor");
    let committed = work.await_records("kinds=TASK", "buffer_committed", good);
    assert_eq!(committed.len(), good, "no batch twice");
}
