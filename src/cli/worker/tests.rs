//! A worker with real programs against a server that does what servers do on bad days.

mod fake;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gesta_log_format::Digest;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::fake::{CLAIM, COMPLETE, CONTROL, Call, Fake, HEARTBEAT, Reply, TASK, beaten, claimed, problem};
use super::journal::Journal;
use super::shift::{Shift, Tally};
use super::{Ground, command};
use crate::cli::{Failure, remote};
use crate::client::Outage;

/// A lease that no test lives to see the end of.
const LONG_MS: u64 = 60_000;

/// A program that runs until it is told to stop.
const ENDLESS: &str = "sh -c 'sleep 300 & wait'";

/// A worker at work.
struct Worker {
    done: JoinHandle<Result<Tally, Failure>>,
    signals: mpsc::Sender<()>,
}

impl Worker {
    fn start(fake: &Fake, exec: &str, shift: Shift) -> Self {
        Self::start_on(ground(fake, exec), shift)
    }

    fn start_on(ground: Ground, shift: Shift) -> Self {
        let (signals, told) = mpsc::channel(1);
        let done = tokio::task::spawn_local(async move { shift.work(Arc::new(ground), told).await });
        Self { done, signals }
    }

    async fn ended(self) -> Tally {
        self.done.await.unwrap().unwrap()
    }
}

fn ground(fake: &Fake, exec: &str) -> Ground {
    let server = |token| remote::server_at(&format!("http://{}", fake.address), token, None).unwrap();
    Ground {
        internal: server(Some("worker-token")),
        tasks: server(None),
        worker_id: "w-1".to_owned(),
        pools: vec!["p".to_owned()],
        command: command::split(exec).unwrap(),
        wait: Duration::from_secs(5),
        kill_after: Duration::from_secs(20),
        blob_patience: Duration::from_secs(5),
        journal: Journal::Quiet,
        outage: Outage::new(|_| {}),
        draining: watch::Sender::new(0),
    }
}

/// Where a program's standard error is put.
fn blob_path(stderr: &[u8]) -> &'static str {
    format!("/v1/task/blob/sha256/{}", Digest::of(stderr).hex()).leak()
}

/// How a report names it.
fn blob(stderr: &[u8]) -> Value {
    let digest = Digest::of(stderr).to_string();
    json!({"$blob": digest, "media_type": "text/plain", "size_bytes": stderr.len()})
}

fn once() -> Shift {
    Shift { concurrency: 1, tasks_max: Some(1), grace: Duration::from_secs(30) }
}

const COMPLETED: Tally = Tally { completed: 1, failed: 0, canceled: 0, abandoned: 0 };
const FAILED: Tally = Tally { completed: 0, failed: 1, canceled: 0, abandoned: 0 };
const CANCELED: Tally = Tally { completed: 0, failed: 0, canceled: 1, abandoned: 0 };
const ABANDONED: Tally = Tally { completed: 0, failed: 0, canceled: 0, abandoned: 1 };

fn test(body: impl AsyncFnOnce(Fake)) {
    let runtime = remote::runtime().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async { body(Fake::start().await).await });
}

fn give(fake: &Fake, claims: impl IntoIterator<Item = Value>) {
    fake.script(CLAIM, [Reply::Json(200, claims.into_iter().collect())]);
}

/// A program that says which group it is before it does anything else.
fn saying(group: &Path, then: &str) -> String {
    format!("sh -c 'echo $$ > {0}.new; mv {0}.new {0}; {then}'", group.display())
}

/// Waits until nobody of the group lives. Whoever is dead and not reaped is dead.
fn is_dead(group: &Path) {
    let group = std::fs::read_to_string(group).unwrap().trim().to_owned();
    while std::fs::read_dir("/proc").unwrap().any(|entry| lives_in(&group, &entry.unwrap().path())) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lives_in(group: &str, process: &Path) -> bool {
    let Ok(stat) = std::fs::read_to_string(process.join("stat")) else { return false };
    // State, parent and group stand behind the name, which is in parentheses.
    let Some((_, rest)) = stat.rsplit_once(") ") else { return false };
    let fields: Vec<_> = rest.split(' ').collect();
    fields[0] != "Z" && fields[2] == group
}

async fn exists(path: &Path) {
    while !path.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_program_gets_the_task_and_its_object_is_the_result() {
    test(async |fake| {
        give(&fake, [claimed(2, LONG_MS)]);
        assert_eq!(Worker::start(&fake, "cat", once()).ended().await, COMPLETED);
        let claim = &fake.calls(CLAIM)[0];
        assert_eq!(claim.token, "worker-token");
        assert_eq!(claim.body, json!({"pools": ["p"], "max": 1, "wait_ms": 5000, "worker_id": "w-1"}));
        let Call { token, body, .. } = &fake.calls(COMPLETE)[0];
        assert_eq!(token, "capability-0");
        let input = json!({
            "task_id": TASK, "attempt": 2, "lease_token": "lease-2", "capability_token": "capability-0",
            "lease_expires_at": "2026-11-20T00:00:00.000000Z", "task_url": format!("http://{}", fake.address),
            "task": claimed(2, LONG_MS)["task"],
        });
        let report = json!({
            "task_id": TASK, "attempt": 2, "lease_token": "lease-2", "status": "Completed", "result": input,
        });
        assert_eq!(*body, report);
    });
}

#[test]
fn a_program_that_fails_is_reported_with_its_exit_code_and_the_end_of_its_standard_error() {
    test(async |fake| {
        give(&fake, [claimed(1, LONG_MS)]);
        let failing = "sh -c 'echo oops >&2; exit 75'";
        assert_eq!(Worker::start(&fake, failing, once()).ended().await, FAILED);
        let report = fake.report();
        assert_eq!((&report["status"], &report["retryable"]), (&json!("Failed"), &json!(true)));
        let message = "the program ended with exit code 75; standard error ends: oops";
        assert_eq!((&report["error_message"], &report["code"]), (&json!(message), &json!("EXIT_75")));
    });
}

#[test]
fn standard_error_is_put_with_the_capability_and_named_by_the_report_of_any_end() {
    test(async |fake| {
        for (program, tally, status) in [
            ("sh -c 'echo oops >&2; exit 65'", FAILED, "Failed"),
            ("sh -c 'echo oops >&2; echo {}'", COMPLETED, "Completed"),
        ] {
            let before = fake.calls(COMPLETE).len();
            give(&fake, [claimed(1, LONG_MS)]);
            assert_eq!(Worker::start(&fake, program, once()).ended().await, tally);
            let puts = fake.calls(blob_path(b"oops\n"));
            assert_eq!((puts.len(), puts[before].token.as_str()), (before + 1, "capability-0"));
            let report = &fake.calls(COMPLETE)[before].body;
            assert_eq!((&report["status"], &report["stderr"]), (&json!(status), &blob(b"oops\n")));
            assert!(!report["error_message"].to_string().contains("sha256"), "{report}");
        }
    });
}

#[test]
fn a_blob_that_cannot_be_kept_costs_nothing_else() {
    for reply in [problem(413, "BODY_TOO_LARGE"), problem(503, "BLOB_TRANSFERS_FULL"), Reply::Never] {
        test(async |fake| {
            give(&fake, [claimed(1, LONG_MS)]);
            fake.script(blob_path(b"oops\n"), std::iter::repeat_n(reply, 50));
            let ground = ground(&fake, "sh -c 'echo oops >&2; exit 1'");
            let ground = Ground { blob_patience: Duration::from_millis(250), ..ground };
            assert_eq!(Worker::start_on(ground, once()).ended().await, FAILED);
            let report = fake.report();
            assert_eq!(report.get("stderr"), None);
            let message = report["error_message"].as_str().unwrap();
            assert!(message.ends_with("standard error ends: oops"), "{message}");
        });
    }
}

#[test]
fn a_blob_that_the_server_has_forgotten_is_put_again_once() {
    let forgotten = || {
        let problem = json!({"reason_code": "BLOB_NOT_FOUND", "detail": "", "pointer": "/stderr"});
        Reply::Json(400, problem)
    };
    for (times, puts, named) in [(1, 2, Some(blob(b"said\n"))), (2, 2, None)] {
        test(async |fake| {
            give(&fake, [claimed(1, LONG_MS)]);
            fake.script(COMPLETE, std::iter::repeat_n(forgotten(), times));
            let ground = ground(&fake, "sh -c 'echo said >&2; echo {}'");
            assert_eq!(Worker::start_on(ground, once()).ended().await, COMPLETED);
            assert_eq!(fake.calls(blob_path(b"said\n")).len(), puts);
            let reports = fake.calls(COMPLETE);
            assert_eq!((reports.len(), reports[times].body.get("stderr")), (times + 1, named.as_ref()));
        });
    }
}

#[test]
fn a_result_whose_blob_the_server_has_forgotten_is_tried_again() {
    test(async |fake| {
        give(&fake, [claimed(1, LONG_MS)]);
        let problem = json!({"reason_code": "BLOB_NOT_FOUND", "detail": "", "pointer": "/result/rows"});
        fake.script(COMPLETE, [Reply::Json(400, problem)]);
        assert_eq!(Worker::start(&fake, "echo {}", once()).ended().await, FAILED);
        let report = &fake.calls(COMPLETE)[1].body;
        assert_eq!((&report["code"], &report["retryable"]), (&json!("RESULT_INVALID"), &json!(true)));
    });
}

#[test]
fn what_a_program_leaves_behind_in_its_group_is_killed_and_does_not_hold_up_the_report() {
    test(async |fake| {
        let directory = tempfile::tempdir().unwrap();
        let group = directory.path().join("group");
        give(&fake, [claimed(1, LONG_MS)]);
        let leaving = saying(&group, "sleep 300 & echo {}");
        assert_eq!(Worker::start(&fake, &leaving, once()).ended().await, COMPLETED);
        is_dead(&group);
    });
}

#[test]
fn a_heartbeat_brings_a_new_token_which_is_used_from_then_on() {
    test(async |fake| {
        let directory = tempfile::tempdir().unwrap();
        let go = directory.path().join("go");
        give(&fake, [claimed(1, LONG_MS)]);
        let waiting = format!("sh -c 'until test -e {}; do sleep 0.01; done; echo {{}}'", go.display());
        let worker = Worker::start(&fake, &waiting, once());
        fake.asked(HEARTBEAT, 3).await;
        std::fs::write(&go, "").unwrap();
        assert_eq!(worker.ended().await, COMPLETED);
        let beats = fake.calls(HEARTBEAT);
        assert_eq!((beats[0].token.as_str(), beats[1].token.as_str()), ("capability-0", "capability-1"));
        assert_eq!(beats[0].body, json!({"task_id": TASK, "attempt": 1, "lease_token": "lease-1"}));
        assert_eq!(fake.calls(COMPLETE)[0].token, "capability-1");
    });
}

#[test]
fn a_stale_attempt_is_killed_and_not_reported() {
    test(async |fake| {
        let directory = tempfile::tempdir().unwrap();
        let group = directory.path().join("group");
        give(&fake, [claimed(1, LONG_MS)]);
        fake.script(HEARTBEAT, [Reply::Cut, Reply::Cut, problem(409, "STALE_ATTEMPT")]);
        let endless = saying(&group, "sleep 300 & wait");
        assert_eq!(Worker::start(&fake, &endless, once()).ended().await, ABANDONED);
        assert_eq!(fake.calls(COMPLETE).len(), 0);
        is_dead(&group);
    });
}

#[test]
fn a_report_of_a_stale_attempt_is_not_repeated() {
    test(async |fake| {
        give(&fake, [claimed(1, LONG_MS)]);
        fake.script(COMPLETE, [problem(409, "STALE_ATTEMPT")]);
        assert_eq!(Worker::start(&fake, "echo {}", once()).ended().await, ABANDONED);
        fake.report();
    });
}

#[test]
fn a_program_does_not_outlive_a_lease_that_cannot_be_renewed() {
    test(async |fake| {
        let directory = tempfile::tempdir().unwrap();
        let group = directory.path().join("group");
        give(&fake, [claimed(1, 700)]);
        fake.script(HEARTBEAT, std::iter::repeat_n(Reply::Cut, 50));
        fake.script(HEARTBEAT, [Reply::Never]);
        let endless = saying(&group, "sleep 300 & wait");
        let worker = Worker::start(&fake, &endless, once());
        exists(&group).await;
        assert_eq!(worker.ended().await, ABANDONED);
        assert_eq!(fake.calls(COMPLETE).len(), 0);
        is_dead(&group);
    });
}

#[test]
fn a_cancel_is_told_to_the_program_which_may_end_in_order() {
    test(async |fake| {
        let directory = tempfile::tempdir().unwrap();
        let (ready, told) = (directory.path().join("ready"), directory.path().join("told"));
        give(&fake, [claimed(1, LONG_MS)]);
        let polite = format!(
            "sh -c 'trap \"echo > {1}; exit 0\" TERM; echo > {0}; while true; do sleep 0.01; done'",
            ready.display(),
            told.display()
        );
        let worker = Worker::start(&fake, &polite, once());
        exists(&ready).await;
        fake.script(HEARTBEAT, [Reply::Json(200, beaten(&json!({"cancel_requested": true})))]);
        assert_eq!(worker.ended().await, CANCELED);
        assert!(told.exists());
        assert_eq!(fake.report()["status"], "Canceled");
    });
}

#[test]
fn a_cancel_that_is_heard_on_the_control_stream_does_not_wait_for_the_next_heartbeat() {
    test(async |fake| {
        let mut task = claimed(1, LONG_MS);
        task["task"]["limits"]["heartbeat_ms"] = 30_000.into();
        give(&fake, [task]);
        let words = ": heartbeat\n\nevent: else\ndata: {}\n\nevent: cancel\ndata: {}\n\n";
        fake.script(CONTROL, [problem(503, "RECOVERING"), Reply::Events(words)]);
        fake.script(HEARTBEAT, [Reply::Json(200, beaten(&json!({"cancel_requested": true})))]);
        assert_eq!(Worker::start(&fake, ENDLESS, once()).ended().await, CANCELED);
        assert_eq!((fake.calls(CONTROL).len(), fake.calls(HEARTBEAT).len()), (2, 1));
    });
}

#[test]
fn a_program_that_does_not_hear_a_cancel_is_killed() {
    test(async |fake| {
        let directory = tempfile::tempdir().unwrap();
        let group = directory.path().join("group");
        give(&fake, [claimed(1, LONG_MS)]);
        let deaf = format!(
            "sh -c 'trap \"\" TERM; echo $$ > {0}.new; mv {0}.new {0}; while true; do sleep 0.01; done'",
            group.display()
        );
        let ground = Ground { kill_after: Duration::from_millis(100), ..ground(&fake, &deaf) };
        let worker = Worker::start_on(ground, once());
        exists(&group).await;
        fake.script(HEARTBEAT, [Reply::Json(200, beaten(&json!({"cancel_requested": true})))]);
        assert_eq!(worker.ended().await, CANCELED);
        is_dead(&group);
    });
}

#[test]
fn a_capability_that_is_not_taken_is_asked_for_again_by_the_same_claim() {
    test(async |fake| {
        let directory = tempfile::tempdir().unwrap();
        let go = directory.path().join("go");
        give(&fake, [claimed(1, LONG_MS)]);
        let mut again = claimed(1, LONG_MS);
        again["capability_token"] = "capability-2".into();
        fake.script(CLAIM, [Reply::Json(200, again)]);
        fake.script(HEARTBEAT, [problem(401, "BAD_TOKEN")]);
        let waiting = format!("sh -c 'until test -e {}; do sleep 0.01; done; echo {{}}'", go.display());
        let worker = Worker::start(&fake, &waiting, once());
        fake.asked(HEARTBEAT, 2).await;
        std::fs::write(&go, "").unwrap();
        assert_eq!(worker.ended().await, COMPLETED);
        assert_eq!(fake.calls(CLAIM)[1].body, json!({"task_id": TASK, "worker_id": "w-1"}));
        assert_eq!(fake.calls(HEARTBEAT)[1].token, "capability-2");
    });
}

#[test]
fn an_attempt_whose_claim_is_not_repeated_is_stale() {
    test(async |fake| {
        give(&fake, [claimed(1, LONG_MS)]);
        fake.script(CLAIM, [Reply::Json(200, json!({"status": "NotClaimed", "reason": "AlreadyRunning"}))]);
        fake.script(HEARTBEAT, [problem(401, "BAD_TOKEN")]);
        assert_eq!(Worker::start(&fake, ENDLESS, once()).ended().await, ABANDONED);
        assert_eq!(fake.calls(COMPLETE).len(), 0);
    });
}

#[test]
fn a_report_is_repeated_until_it_is_answered() {
    test(async |fake| {
        give(&fake, [claimed(1, LONG_MS)]);
        fake.script(COMPLETE, [Reply::Cut, problem(503, "QUEUE_FULL"), problem(409, "SUBJECT_CONFLICT")]);
        assert_eq!(Worker::start(&fake, "echo {}", once()).ended().await, COMPLETED);
        let reports = fake.calls(COMPLETE);
        assert_eq!(reports.len(), 4);
        assert!(reports.iter().all(|report| report.body == reports[0].body), "the same report each time");
    });
}

#[test]
fn a_result_that_is_refused_fails_the_attempt_for_good() {
    test(async |fake| {
        give(&fake, [claimed(1, LONG_MS)]);
        fake.script(COMPLETE, [problem(422, "RESULT_INVALID")]);
        assert_eq!(Worker::start(&fake, "echo {}", once()).ended().await, FAILED);
        let reports = fake.calls(COMPLETE);
        assert_eq!(reports[0].body["status"], "Completed");
        let Value::Object(report) = &reports[1].body else { panic!("{reports:?}") };
        assert_eq!((&report["status"], &report["retryable"]), (&json!("Failed"), &json!(false)));
        assert!(report["error_message"].as_str().unwrap().contains("422 RESULT_INVALID"));
        assert!(!report.contains_key("result"));
    });
}

#[test]
fn claims_are_repeated_while_the_server_is_away_or_has_nothing() {
    test(async |fake| {
        fake.script(CLAIM, [Reply::Cut, problem(503, "RECOVERING"), Reply::Empty(204)]);
        give(&fake, [claimed(1, LONG_MS)]);
        assert_eq!(Worker::start(&fake, "echo {}", once()).ended().await, COMPLETED);
        assert_eq!(fake.calls(CLAIM).len(), 4);
    });
}

#[test]
fn a_worker_that_is_refused_ends_and_says_what_to_do() {
    test(async |fake| {
        fake.script(CLAIM, [problem(401, "MISSING_TOKEN")]);
        let failure = Worker::start(&fake, "echo {}", once()).done.await.unwrap().unwrap_err();
        assert_eq!(failure.exit.code(), 1);
    });
}

#[test]
fn as_many_tasks_are_claimed_as_there_is_room_for_and_no_more_than_were_asked_for() {
    test(async |fake| {
        give(&fake, [claimed(1, LONG_MS), claimed(2, LONG_MS)]);
        give(&fake, [claimed(3, LONG_MS)]);
        let shift = Shift { concurrency: 2, tasks_max: Some(3), grace: Duration::from_secs(30) };
        let tally = Worker::start(&fake, "echo {}", shift).ended().await;
        assert_eq!(tally, Tally { completed: 3, ..Tally::default() });
        let asked: Vec<_> = fake.calls(CLAIM).iter().map(|call| call.body["max"].clone()).collect();
        assert_eq!(asked, [json!(2), json!(1)]);
    });
}

#[test]
fn nothing_is_claimed_while_the_server_says_that_it_ends() {
    test(async |fake| {
        give(&fake, [claimed(1, LONG_MS)]);
        fake.script(HEARTBEAT, std::iter::repeat_n(Reply::Json(200, beaten(&json!({"drain": true}))), 3));
        let shift = Shift { concurrency: 2, tasks_max: None, grace: Duration::ZERO };
        let worker = Worker::start(&fake, ENDLESS, shift);
        fake.asked(HEARTBEAT, 3).await;
        // One that gave the task, and one that was dropped.
        let before = fake.calls(CLAIM).len();
        assert!(before <= 2, "{before}");
        // The server is back.
        fake.asked(CLAIM, before + 1).await;
        assert!(fake.calls(HEARTBEAT).len() > 3);
        worker.signals.send(()).await.unwrap();
        assert_eq!(worker.ended().await, FAILED);
    });
}

#[test]
fn a_worker_that_is_told_to_stop_lets_running_tasks_end_and_claims_no_more() {
    test(async |fake| {
        let directory = tempfile::tempdir().unwrap();
        let go = directory.path().join("go");
        give(&fake, [claimed(1, LONG_MS)]);
        let waiting = format!("sh -c 'until test -e {}; do sleep 0.01; done; echo {{}}'", go.display());
        let shift = Shift { concurrency: 1, tasks_max: None, grace: Duration::from_secs(30) };
        let worker = Worker::start(&fake, &waiting, shift);
        fake.asked(HEARTBEAT, 1).await;
        worker.signals.send(()).await.unwrap();
        std::fs::write(&go, "").unwrap();
        assert_eq!(worker.ended().await, COMPLETED);
        assert_eq!(fake.calls(CLAIM).len(), 1);
    });
}

#[test]
fn what_still_runs_after_the_grace_is_failed_so_that_another_worker_has_it() {
    test(async |fake| {
        give(&fake, [claimed(1, LONG_MS)]);
        let shift = Shift { concurrency: 1, tasks_max: None, grace: Duration::from_millis(50) };
        let worker = Worker::start(&fake, ENDLESS, shift);
        fake.asked(HEARTBEAT, 1).await;
        worker.signals.send(()).await.unwrap();
        assert_eq!(worker.ended().await, FAILED);
        let report = fake.report();
        assert_eq!((&report["status"], &report["retryable"]), (&json!("Failed"), &json!(true)));
    });
}

#[test]
fn an_attempt_that_takes_too_long_is_stopped_and_failed() {
    test(async |fake| {
        let mut task = claimed(1, LONG_MS);
        task["task"]["limits"]["timeout_ms"] = 200.into();
        give(&fake, [task]);
        assert_eq!(Worker::start(&fake, ENDLESS, once()).ended().await, FAILED);
        let report = fake.report();
        assert_eq!(report["retryable"], true);
        assert!(report["error_message"].as_str().unwrap().contains("longer than 1 s"));
    });
}
