//! A server with all three listeners, its tokens, and what clients, workers and operators ask of it.

use std::path::{Path, PathBuf};

use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::log::offline::{self, Depth, LastBatch};
use gesta_replay::projections::audit::Audit;
use gesta_replay::projections::datasets::Datasets;
use gesta_replay::projections::executions::Executions;
use gesta_replay::projections::handlers::Handlers;
use gesta_replay::projections::leases::Leases;
use gesta_replay::projections::tasks::Tasks;
use gesta_replay::verify::Verdict;
use gesta_replay::{Fold, Projection};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::copy::Copy;
use crate::support::http::{connect, send};
use crate::support::process::serve;
use crate::support::{Client, Intent, Response, Server, Tail, until};

pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");

/// The token of whoever may do everything on the public listener, and those of workers.
pub(crate) const EVERYONE: (&str, &str) = ("Authorization", "Bearer everyone");
pub(crate) const WORKER: (&str, &str) = ("X-Trace-Worker-Token", "worker");

/// Retries come at once.
const SETTINGS: [&str; 2] = ["decider.enabled=true", "tasks.retry_ms=20"];

pub(crate) struct World {
    directory: tempfile::TempDir,
    server: Option<Server>,
    settings: Vec<String>,
}

/// What a worker got.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) task_id: String,
    pub(crate) attempt: u64,
    pub(crate) lease_token: String,
    pub(crate) capability: String,
    pub(crate) whole: Value,
}

impl Claim {
    pub(crate) fn of(claimed: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{claimed}")).to_owned();
        Self {
            task_id: text(&claimed["task"]["task_id"]),
            attempt: claimed["attempt"].as_u64().unwrap(),
            lease_token: text(&claimed["lease_token"]),
            capability: text(&claimed["capability_token"]),
            whole: claimed.clone(),
        }
    }

    /// The fence, and more.
    pub(crate) fn with(&self, more: &Value) -> Value {
        let mut body = json!({
            "task_id": self.task_id, "attempt": self.attempt, "lease_token": self.lease_token,
        });
        let more = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(more);
        body
    }
}

fn token(name: &str, roles: &[&str], more: &str) -> String {
    let hex: String = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[[auth.tokens]]\nname = {name:?}\nsha256 = {hex:?}\nroles = {roles:?}\n{more}\n")
}

fn start(directory: &Path, settings: &[String]) -> Server {
    let file = directory.join("gesta.toml");
    let tokens = [
        token(
            "everyone",
            &["intent.write", "log.read", "operator", "auditor", "execution.write"],
            "streams = [\"*\"]",
        ),
        token("worker", &["worker"], "streams = [\"*\"]\nworkers = [\"w-*\"]\npools = [\"p*\", \"default\"]"),
        token("reader", &["log.read"], "streams = [\"default\"]"),
        token("narrow", &["worker"], "workers = [\"n-1\"]\npools = [\"narrow\"]"),
    ];
    std::fs::write(&file, tokens.concat()).unwrap();
    let settings: Vec<&str> = SETTINGS.iter().copied().chain(settings.iter().map(String::as_str)).collect();
    let mut command = serve(&directory.join("data"), &settings);
    command.args(["--listen-task", "127.0.0.1:0", "--listen-internal", "127.0.0.1:0", "--insecure-loopback"]);
    command.arg("--config").arg(file);
    Server::spawn(command).unwrap_or_else(|ended| panic!("it did not start: {ended:?}"))
}

impl World {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let server = start(directory.path(), &settings);
        Self { directory, server: Some(server), settings }
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// As `kill -9`, and a start.
    pub(crate) fn kill_and_start(&mut self) {
        self.server.take().unwrap().kill();
        self.server = Some(start(self.directory.path(), &self.settings));
    }

    /// A start after an end in order, which goes on from the snapshots that were left.
    pub(crate) fn restart(&mut self) {
        self.server.take().unwrap().stop();
        self.server = Some(start(self.directory.path(), &self.settings));
        let told = self.server().errors();
        assert!(told.contains("the projections go on from their snapshot"), "{told}");
    }

    /// Ends the server in order, and gives where its data lies.
    pub(crate) fn stop(mut self) -> (tempfile::TempDir, PathBuf) {
        self.server.take().unwrap().stop();
        let data = self.data();
        (self.directory, data)
    }

    fn public(&self, method: &str, path: &str, body: &str) -> Response {
        self.public_with(EVERYONE, method, path, body)
    }

    pub(crate) fn public_with(&self, token: (&str, &str), method: &str, path: &str, body: &str) -> Response {
        self.server().client().request(method, path, &[JSON, token], body.as_bytes())
    }

    /// Where the server's data lies.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.public("GET", path, "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        self.public("POST", path, &body.to_string())
    }

    /// Registers a worker's handler for a type, in the pool `p`, with more members or others.
    #[track_caller]
    pub(crate) fn register(&self, intent_type: &str, more: &Value) {
        let mut body = json!({
            "intent_type": intent_type, "handler_name": "h", "kind": "worker", "pool": "p",
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let response = self.post("/api/intent/handlers", &body);
        assert!(matches!(response.status, 200 | 201), "{}", response.text());
    }

    /// The member `grants` of a registration, for these versions of the dataset `d`.
    pub(crate) fn granting(versions: &[&str]) -> Value {
        let version = |version: &&str| json!({ "dataset_uuid": "d", "dataset_version": version });
        let datasets: Vec<Value> = versions.iter().map(version).collect();
        json!({ "grants": { "datasets": datasets } })
    }

    /// Submits an intent of the type.
    #[track_caller]
    pub(crate) fn submit(&self, correlation: &str, intent_type: &str) {
        self.submit_to(correlation, intent_type, "default");
    }

    #[track_caller]
    pub(crate) fn submit_to(&self, correlation: &str, intent_type: &str, stream: &str) {
        let intent = Intent {
            intent_type: intent_type.to_owned(),
            stream: stream.to_owned(),
            ..Intent::new(correlation)
        };
        let response = self.public("POST", "/ingress/intent", &intent.body());
        assert_eq!(response.status, 202, "{}", response.text());
    }

    /// A client of the internal listener.
    pub(crate) fn internal(&self) -> Client {
        Client::new(self.server().address_of("internal"))
    }

    pub(crate) fn claim_with(&self, token: (&str, &str), body: &Value) -> Response {
        let body = body.to_string();
        self.internal().request("POST", "/internal/task-claim", &[JSON, token], body.as_bytes())
    }

    pub(crate) fn claim(&self, body: &Value) -> Response {
        self.claim_with(WORKER, body)
    }

    /// The next task of the pool `p`, waited for.
    #[track_caller]
    pub(crate) fn claimed(&self, worker_id: &str) -> Claim {
        let body = json!({ "worker_id": worker_id, "pools": ["p"], "wait_ms": 30_000 });
        let response = self.claim(&body);
        assert_eq!(response.status, 200, "{}", response.text());
        Claim::of(&response.json()[0])
    }

    /// Why a task is not given out.
    #[track_caller]
    pub(crate) fn not_claimed(&self, task_id: &str, worker_id: &str) -> String {
        let response = self.claim(&json!({ "worker_id": worker_id, "task_id": task_id }));
        let body = response.json();
        assert_eq!((response.status, &body["status"]), (200, &json!("NotClaimed")), "{body}");
        body["reason"].as_str().unwrap().to_owned()
    }

    /// A request of an attempt.
    pub(crate) fn task(&self, claim: &Claim, path: &str, more: &Value) -> Response {
        let mut client = Client::new(self.server().address_of("task"));
        let body = claim.with(more).to_string();
        let capability = ("X-Trace-Task-Capability", claim.capability.as_str());
        client.request("POST", &format!("/v1/task/{path}"), &[JSON, capability], body.as_bytes())
    }

    #[track_caller]
    pub(crate) fn complete(&self, claim: &Claim, result: &Value) -> Response {
        let response = self.task(claim, "complete", &json!({ "status": "Completed", "result": result }));
        assert_eq!(response.status, 200, "{}", response.text());
        response
    }

    /// All records of an intent.
    pub(crate) fn records(&self, correlation: &str) -> Vec<Value> {
        let page = self.get(&format!("/events?limit=2000&correlation_id={correlation}")).json();
        page["events"].as_array().unwrap().clone()
    }

    /// What an intent's records say, as `KIND type`, once the last is this.
    #[track_caller]
    pub(crate) fn course(&self, correlation: &str, end: &str) -> Vec<String> {
        let name = |record: &Value| {
            format!("{} {}", record["kind"].as_str().unwrap(), record["type"].as_str().unwrap())
        };
        until(&format!("{correlation} ends with {end}"), || {
            let records: Vec<String> = self.records(correlation).iter().map(name).collect();
            records.iter().any(|record| record == end).then_some(records)
        })
    }

    /// The record of this type that is the intent's last such.
    pub(crate) fn record(&self, correlation: &str, kind: &str, type_name: &str) -> Value {
        let records = self.records(correlation);
        let found = records.iter().rfind(|record| record["kind"] == kind && record["type"] == type_name);
        found.cloned().unwrap_or_else(|| panic!("no {kind} {type_name} of {correlation}: {records:?}"))
    }

    /// Where a task stands, as operators see it.
    pub(crate) fn shown(&self, task_id: &str) -> Value {
        self.get(&format!("/api/task/{task_id}")).json()
    }

    /// Waits until a task is in this state.
    #[track_caller]
    pub(crate) fn wait_for(&self, task_id: &str, state: &str) {
        until(&format!("{task_id} is {state}"), || (self.shown(task_id)["state"] == state).then_some(()));
    }

    /// The name of the task that an intent became.
    #[track_caller]
    pub(crate) fn task_of(&self, correlation: &str) -> String {
        until(&format!("{correlation} is a task"), || {
            let records = self.records(correlation);
            let queued = records.iter().find(|record| record["kind"] == "TASK")?;
            let subject = queued["subjects"][0]["subject"].as_str()?;
            Some(subject.strip_prefix("task/")?.to_owned())
        })
    }

    /// The number of durable records.
    pub(crate) fn head(&self) -> u64 {
        self.get("/status").json()["head"].as_u64().unwrap()
    }

    /// An event stream of another listener.
    pub(crate) fn stream(&self, listener: &str, path: &str, headers: &[(&str, &str)]) -> Tail {
        let address = self.server().address_of(listener);
        let mut connection = connect(address).unwrap();
        send(connection.get_mut(), address, "GET", path, headers, b"").unwrap();
        Tail::over(connection).unwrap()
    }

    /// Ends the server, compares its projections with a fold of the log as an auditor does it, and verifies the log.
    pub(crate) fn check_replay(self) {
        let live = until("all is folded", || {
            let snapshot = self.get("/snapshot").json();
            (snapshot["length"].as_u64()? == self.head()).then_some(snapshot)
        });
        // What follows from datasets may be appended until the end.
        let length = live["length"].as_u64().unwrap();
        let (_directory, data) = self.stop();
        let (mut tasks, mut leases) = (Tasks::default(), Leases::default());
        let (mut executions, mut datasets) = (Executions::default(), Datasets::default());
        let (mut audit, mut handlers) = (Audit::default(), Handlers::default());
        let mut fold = Fold::new(vec![
            &mut tasks,
            &mut leases,
            &mut executions,
            &mut datasets,
            &mut audit,
            &mut handlers,
        ]);
        let walked =
            offline::walk(&RealDisk::new(&data), Depth::Envelopes, LastBatch::Always, &mut |record, _, _| {
                let is_below = record.index.0 < length;
                if is_below {
                    fold.record(record.data).unwrap();
                }
                is_below
            });
        assert!(walked.unwrap().damage.is_none());
        for projection in [&tasks as &dyn Projection, &leases, &executions, &datasets, &handlers] {
            let name = projection.name();
            assert_eq!(live["projections"][name], projection.digest().to_string(), "{name}");
        }
        let report = Copy::of(&data).verify(1);
        assert_eq!(report.verdict, Verdict::Sound, "{:#?}", report.findings);
    }

    /// One of the server's own figures.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }
}
