//! Workers as processes of their own against the built server: `gesta worker`, one in plain Python, and what an operator
//! sees of them.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::process::{PROGRAM, serve};
use support::{Intent, Response, Server, until};

const LISTENERS: [&str; 5] =
    ["--listen-task", "127.0.0.1:0", "--listen-internal", "127.0.0.1:0", "--insecure-loopback"];

/// The token of whoever submits, looks and operates, and that of workers.
const PEOPLE: &str = "people";
const WORKER: &str = "worker";

fn token(name: &str, roles: &[&str]) -> String {
    let hex: String = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[[auth.tokens]]\nname = {name:?}\nsha256 = {hex:?}\nroles = {roles:?}\nstreams = [\"*\"]\n")
}

/// `gesta serve` with those tokens.
fn with_tokens(data: &Path) -> Command {
    let file = data.join("gesta.toml");
    let people = token(PEOPLE, &["intent.write", "log.read", "operator", "auditor"]);
    fs::write(&file, people + &token(WORKER, &["worker"])).unwrap();
    let mut command = serve(&data.join("data"), &["decider.enabled=true"]);
    command.arg("--config").arg(file);
    command
}

/// A server with all its listeners.
#[track_caller]
fn start(data: &Path) -> Server {
    let mut command = with_tokens(data);
    command.args(LISTENERS);
    Server::spawn(command).unwrap_or_else(|ended| panic!("it did not start: {ended:?}"))
}

fn request(server: &Server, method: &str, path: &str, body: &str) -> Response {
    let headers = [("Content-Type", "application/json"), ("Authorization", "Bearer people")];
    server.client().request(method, path, &headers, body.as_bytes())
}

/// Makes tasks of the type's executions, in the pool `p`.
#[track_caller]
fn register(server: &Server, more: &Value) {
    let mut handler = json!({"intent_type": "work", "handler_name": "worker", "kind": "worker", "pool": "p"});
    for (name, value) in more.as_object().unwrap() {
        handler[name] = value.clone();
    }
    let response = request(server, "POST", "/api/intent/handlers", &handler.to_string());
    assert_eq!(response.status, 201, "{}", response.text());
}

/// Submits what becomes a task, under this correlation id.
#[track_caller]
fn submit(server: &Server, correlation_id: &str, payload: Value) {
    let mut intent = Intent::new(correlation_id).value();
    intent["payload"]["intent_type"] = "work".into();
    intent["payload"]["payload"] = payload;
    let response = request(server, "POST", "/ingress/intent", &intent.to_string());
    assert_eq!(response.status, 202, "{}", response.text());
}

/// The records of an intent.
fn records(server: &Server, correlation_id: &str) -> Vec<Value> {
    let page = request(server, "GET", &format!("/events?correlation_id={correlation_id}"), "").json();
    page["events"].as_array().unwrap().clone()
}

/// How an execution has ended, once it has: the type and the payload of its last record.
#[track_caller]
fn ended(server: &Server, correlation_id: &str) -> (String, Value) {
    let last = until("the execution has ended", || {
        let last = records(server, correlation_id).pop()?;
        let is_end = ["completed", "failed", "cancelled"].iter().any(|name| last["type"] == *name);
        (last["kind"] == "EXECUTION" && is_end).then_some(last)
    });
    (last["type"].as_str().unwrap().to_owned(), last["payload"].clone())
}

/// The first record of this kind and type of an intent, once it is there.
#[track_caller]
fn record(server: &Server, correlation_id: &str, kind: &str, type_name: &str) -> Value {
    until(&format!("there is a {kind} {type_name}"), || {
        let found = records(server, correlation_id);
        found.into_iter().find(|record| record["kind"] == kind && record["type"] == type_name)
    })
}

#[track_caller]
fn task_of(server: &Server, correlation_id: &str) -> String {
    let queued = record(server, correlation_id, "TASK", "queued");
    let subject = queued["subjects"][0]["subject"].as_str().unwrap();
    subject.strip_prefix("task/").unwrap().to_owned()
}

fn worker(server: &Server, exec: &str, more: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["worker", "--exec", exec, "--pool", "p", "--json"]).args(more);
    command.args(["--url", server.url_of("internal"), "--task-url", server.url_of("task")]);
    command.env("GESTA_TOKEN", WORKER).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[track_caller]
fn fine(output: &Output) -> &str {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::str::from_utf8(&output.stdout).unwrap()
}

/// A command about tasks, as an operator types it.
#[track_caller]
fn operate(server: &Server, arguments: &[&str]) -> Output {
    let server = ["--url", &server.url(), "--token", PEOPLE];
    Command::new(PROGRAM).args(arguments).args(server).output().unwrap()
}

/// A process that is killed where a test fails.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        Self(command.spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.0.id())]).status();
        assert!(sent.unwrap().success());
    }

    #[track_caller]
    fn exit_code(mut self) -> Option<i32> {
        until("the worker has ended", || self.0.try_wait().unwrap()).code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_program_is_run_for_each_task_and_gets_no_secret_of_the_worker() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    register(&server, &json!({}));
    let names: Vec<_> = (0..5).map(|nth| format!("c{nth}")).collect();
    for (nth, name) in names.iter().enumerate() {
        submit(&server, name, json!({ "nth": nth }));
    }
    let program = r#"sh -c 'if env | grep -q ^GESTA_; then exit 65; fi
        nth=$(sed "s/.*\"nth\":\([0-9]*\).*/\1/"); echo "{\"twice\": $((nth * 2))}"'"#;
    let output = worker(&server, program, &["--concurrency", "2", "--max", "5"]).output().unwrap();
    let notes: Vec<Value> = fine(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(notes.first().unwrap()["event"], "started");
    assert_eq!(
        notes.last().unwrap(),
        &json!({
            "event": "stopped", "completed": 5, "failed": 0, "canceled": 0, "abandoned": 0,
        })
    );
    for (nth, name) in names.iter().enumerate() {
        let (how, payload) = ended(&server, name);
        assert_eq!((how.as_str(), &payload["output"]), ("completed", &json!({"twice": nth * 2})));
    }
}

#[test]
fn a_program_that_fails_for_good_ends_the_execution_and_one_that_fails_for_now_is_tried_again() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    register(&server, &json!({}));
    submit(&server, "good", json!({}));
    let output = worker(&server, "sh -c 'echo hopeless >&2; exit 65'", &["--once"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "a script sees that it was not completed");
    let (how, payload) = ended(&server, "good");
    assert_eq!((how.as_str(), &payload["error"]["code"]), ("failed", &json!("EXIT_65")));
    assert!(payload["error"]["message"].as_str().unwrap().contains("hopeless"), "{payload}");

    submit(&server, "now", json!({}));
    worker(&server, "sh -c 'exit 75'", &["--once"]).output().unwrap();
    record(&server, "now", "TASK", "retry_scheduled");
    let task_id = task_of(&server, "now");
    let retried = operate(&server, &["tasks", "retry", &task_id, "--json"]);
    assert_eq!(serde_json::from_str::<Value>(fine(&retried)).unwrap()["state"], "queued");
    fine(&worker(&server, "echo {}", &["--once"]).output().unwrap());
    assert_eq!(ended(&server, "now").0, "completed");
    assert_eq!(record(&server, "now", "TASK", "completed")["payload"]["attempt"], 2);
}

#[test]
fn what_a_program_writes_to_standard_error_is_a_blob_that_the_record_names() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    register(&server, &json!({}));
    for (correlation_id, program, type_name) in [
        ("a", "sh -c 'echo why >&2; exit 64'", "failed"),
        ("b", "sh -c 'printf \"\\377 fine\" >&2; echo {}'", "completed"),
        ("c", "echo {}", "completed"),
    ] {
        submit(&server, correlation_id, json!({}));
        let output = worker(&server, program, &["--once"]).output().unwrap();
        let journal = String::from_utf8(output.stdout).unwrap();
        let payload = record(&server, correlation_id, "TASK", type_name)["payload"].clone();
        let expected: &[u8] = match correlation_id {
            "a" => b"why\n",
            "b" => b"\xff fine",
            _ => {
                assert_eq!(payload.get("stderr"), None);
                continue;
            }
        };
        let digest = gesta_log_format::Digest::of(expected);
        let blob = json!({
            "$blob": digest.to_string(), "media_type": "text/plain", "size_bytes": expected.len(),
        });
        assert_eq!(payload["stderr"], blob);
        assert!(journal.contains(&digest.to_string()), "{journal}");
        let message = payload["error_message"].as_str().unwrap_or_default();
        assert!(!message.contains(&digest.hex()), "{message}");
        let read = request(&server, "GET", &format!("/api/blob/sha256/{}", digest.hex()), "");
        assert_eq!((read.status, read.body.as_slice()), (200, expected));
    }
}

#[test]
fn a_cancel_reaches_the_program_at_once_and_an_operator_sees_who_runs_it() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    register(&server, &json!({}));
    submit(&server, "c", json!({}));
    let task_id = task_of(&server, "c");
    let running = Running::start(worker(&server, "sleep 600", &["--once", "--worker-id", "w-7"]));
    record(&server, "c", "TASK", "claimed");
    let leases = until("the lease is seen", || {
        let leases = operate(&server, &["leases"]);
        let text = fine(&leases).to_owned();
        text.contains(&task_id).then_some(text)
    });
    let row: Vec<_> = leases.lines().nth(1).unwrap().split_whitespace().take(6).collect();
    assert_eq!(row, [task_id.as_str(), "1", "w-7", "p", "work", "default"]);
    let shown = operate(&server, &["tasks", "show", &task_id]);
    assert!(fine(&shown).contains("running"), "{}", fine(&shown));
    fine(&operate(&server, &["tasks", "cancel", &task_id, "--reason", "not needed"]));
    assert_eq!(running.exit_code(), Some(1), "it was not completed");
    assert_eq!(ended(&server, "c").0, "cancelled");
}

#[test]
fn tasks_that_wait_are_listed_and_cancelled_and_what_is_none_is_an_error() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    register(&server, &json!({"priority": 7}));
    for name in ["a", "b", "c"] {
        submit(&server, name, json!({}));
        task_of(&server, name);
    }
    let listed = until("all of them are seen", || {
        let listed = operate(&server, &["tasks", "ls", "--state", "queued", "--pool", "p"]);
        let text = fine(&listed).to_owned();
        (text.lines().count() == 4).then_some(text)
    });
    assert!(listed.contains("  queued  0/3"), "{listed}");
    let one = operate(&server, &["tasks", "ls", "--limit", "1", "--json"]);
    let task: Value = serde_json::from_str(fine(&one).trim()).unwrap();
    assert_eq!((&task["state"], &task["details"]["priority"]), (&json!("queued"), &json!(7)));
    assert!(String::from_utf8_lossy(&one.stderr).contains("there are more"));
    assert_eq!(fine(&operate(&server, &["tasks", "ls", "--stream", "other"])).lines().count(), 1);
    let task_id = task_of(&server, "a");
    fine(&operate(&server, &["tasks", "cancel", &task_id]));
    assert_eq!(ended(&server, "a").0, "cancelled");
    let again = operate(&server, &["tasks", "cancel", &task_id]);
    assert_eq!(again.status.code(), Some(1));
    let nobody = operate(&server, &["tasks", "show", "01KAGZ00000000000000000000"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("404"), "{nobody:?}");
}

#[test]
fn a_worker_that_is_told_to_stop_ends_with_0_once_its_task_has() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    register(&server, &json!({}));
    submit(&server, "c", json!({}));
    let go = data.path().join("go");
    let program = format!("sh -c 'until test -e {}; do sleep 0.02; done; echo {{}}'", go.display());
    let running = Running::start(worker(&server, &program, &[]));
    record(&server, "c", "TASK", "claimed");
    running.signal("TERM");
    fs::write(&go, "").unwrap();
    assert_eq!(running.exit_code(), Some(0));
    assert_eq!(ended(&server, "c").0, "completed");
}

#[test]
fn a_worker_goes_on_over_a_killed_server() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    register(&server, &json!({}));
    submit(&server, "c", json!({}));
    let go = data.path().join("go");
    let program = format!("sh -c 'until test -e {}; do sleep 0.02; done; echo {{}}'", go.display());
    let running = Running::start(worker(&server, &program, &["--once"]));
    record(&server, "c", "TASK", "claimed");
    let addresses = ["task", "internal"].map(|name| server.address_of(name).to_string());
    server.kill();
    fs::write(&go, "").unwrap();
    let mut command = with_tokens(data.path());
    command.args(["--listen-task", &addresses[0], "--listen-internal", &addresses[1], "--insecure-loopback"]);
    let server = Server::spawn(command).unwrap();
    assert_eq!(running.exit_code(), Some(0));
    assert_eq!(ended(&server, "c").0, "completed");
    assert_eq!(record(&server, "c", "TASK", "completed")["payload"]["attempt"], 1);
}

/// The first of these programs that this system has.
fn found(names: &[&'static str]) -> Option<&'static str> {
    names.iter().copied().find(|name| {
        let tried = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    })
}

#[test]
fn the_worker_in_plain_python_does_its_tasks() {
    let Some(python) = found(&["python3", "python"]) else {
        println!("SKIPPED the_worker_in_plain_python_does_its_tasks: this system has no python3");
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    register(&server, &json!({}));
    submit(&server, "good", json!({"numbers": [1, 2, 39]}));
    submit(&server, "bad", json!({"numbers": "none"}));
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/workers/worker.py");
    let mut command = Command::new(python);
    command.arg(script).args([server.url_of("internal"), server.url_of("task"), "p", "2"]);
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").env("GESTA_TOKEN", WORKER).output().unwrap();
    assert_eq!(fine(&output).lines().filter(|line| line.ends_with(" 200")).count(), 2);
    let (how, payload) = ended(&server, "good");
    assert_eq!((how.as_str(), &payload["output"]), ("completed", &json!({"sum": 42})));
    assert_eq!(ended(&server, "bad").0, "failed");
}
