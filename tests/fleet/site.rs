//! A server that is killed and comes back at the same addresses, and who submits to it.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::process::{PROGRAM, Starting};
use crate::support::{Client, Intent, Random, Server, until, work};

/// The token of whoever submits, looks and operates, and that of workers.
pub(crate) const PEOPLE: &str = "people";
pub(crate) const WORKER: &str = "worker";

/// Where tasks wait.
pub(crate) const POOL: &str = "p";

/// Retries come soon, and a log has many segments.
const SETTINGS: [&str; 3] = ["decider.enabled=true", "tasks.retry_ms=20", "log.segment_bytes=1MiB"];

/// What a program takes at most before others have its task.
const LEASE_SECONDS: u64 = 2;

/// The streams that intents go to in turn.
const STREAMS: [&str; 3] = ["a", "b", "default"];

pub(crate) struct Site {
    directory: tempfile::TempDir,
    server: Option<Server>,
    /// The public, the task and the internal listener's.
    addresses: [SocketAddr; 3],
    starts: u64,
    /// How far executions were counted, and how many have ended.
    seen: Cell<(i64, u64)>,
}

/// Where a client submits, whether or not anybody is there.
#[derive(Clone, Debug)]
pub(crate) struct Door(SocketAddr);

pub(crate) fn correlation(nth: u64) -> String {
    format!("c-{nth}")
}

/// `gesta serve` at these addresses.
fn command(directory: &Path, addresses: &[SocketAddr; 3]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("serve").arg("--data").arg(directory.join("data"));
    command.arg("--config").arg(directory.join("gesta.toml")).arg("--insecure-loopback");
    for (name, address) in ["--listen", "--listen-task", "--listen-internal"].iter().zip(addresses) {
        command.args([*name, &address.to_string()]);
    }
    for setting in SETTINGS {
        command.args(["--set", setting]);
    }
    command
}

impl Site {
    /// Serves an empty directory, at ports from outside the range that the system hands out, so that nobody takes them
    /// while the server is away.
    pub(crate) fn start(random: &mut Random) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let people = work::token(PEOPLE, &["intent.write", "log.read", "operator", "auditor"]);
        let worker = work::token(WORKER, &["worker"]) + "workers = [\"*\"]\npools = [\"*\"]\n";
        std::fs::write(directory.path().join("gesta.toml"), people + &worker).unwrap();
        let (server, addresses) = until("a server has found addresses that last", || {
            let port = u16::try_from(20_000 + random.below(10_000)).unwrap();
            let addresses = [0, 1, 2].map(|nth| SocketAddr::from((Ipv4Addr::LOCALHOST, port + nth)));
            Some((started(directory.path(), &addresses)?, addresses))
        });
        let site = Self { directory, server: Some(server), addresses, starts: 1, seen: Cell::new((-1, 0)) };
        site.register();
        site
    }

    fn register(&self) {
        let handler = json!({
            "intent_type": "work", "handler_name": "fleet", "kind": "worker", "pool": POOL,
            "lease_seconds": LEASE_SECONDS, "timeout_seconds": 60, "max_attempts": 100,
        });
        let response = self.door().ask("POST", "/api/intent/handlers", &handler.to_string()).unwrap();
        assert_eq!(response.status, 201, "{}", response.text());
    }

    pub(crate) fn door(&self) -> Door {
        Door(self.addresses[0])
    }

    /// The base URLs of the task and the internal listener.
    pub(crate) fn urls(&self) -> [String; 2] {
        [1, 2].map(|nth: usize| format!("http://{}", self.addresses[nth]))
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// As `kill -9`, and a start, now and then one that is killed too.
    pub(crate) fn kill_and_start(&mut self, random: &mut Random) {
        self.server.take().unwrap().kill();
        while random.below(3) == 0 {
            let starting = Starting::spawn(command(self.directory.path(), &self.addresses));
            thread::sleep(Duration::from_millis(random.below(300)));
            starting.kill();
            self.starts += 1;
        }
        let server =
            until("the addresses are free again", || started(self.directory.path(), &self.addresses));
        self.server = Some(server);
        self.starts += 1;
    }

    /// How many executions have ended, as far as is known.
    pub(crate) fn ended(&self) -> u64 {
        let (mut since, mut count) = self.seen.get();
        let path = format!("/events?kinds=EXECUTION&limit=2000&since={since}");
        let page = self.door().ask("GET", &path, "").filter(|response| response.status == 200);
        let page = page.map_or(Value::Null, |response| response.json());
        for record in page["events"].as_array().into_iter().flatten() {
            since = record["index"].as_i64().unwrap();
            count +=
                u64::from(["completed", "failed", "cancelled"].iter().any(|name| record["type"] == *name));
        }
        self.seen.set((since, count));
        count
    }

    /// What `GET /snapshot` says, once all that is in the log is folded into it.
    pub(crate) fn settled(&self) -> Option<Value> {
        let status = self.door().ask("GET", "/status", "")?.json();
        let snapshot = self.door().ask("GET", "/snapshot", "")?.json();
        (status["head"].is_u64() && snapshot["length"] == status["head"]).then_some(snapshot)
    }

    /// Ends it in order: how often it was started, and where its data lies.
    pub(crate) fn stop(mut self) -> (u64, tempfile::TempDir, PathBuf) {
        self.server.take().unwrap().stop();
        let data = self.directory.path().join("data");
        (self.starts, self.directory, data)
    }
}

/// None where an address is taken.
fn started(directory: &Path, addresses: &[SocketAddr; 3]) -> Option<Server> {
    match Server::spawn(command(directory, addresses)) {
        Ok(server) => Some(server),
        Err(ended) if ended.errors.contains("cannot listen on") => None,
        Err(ended) => panic!("it did not start: {ended:?}"),
    }
}

impl Door {
    /// An answer, if there is one.
    fn ask(&self, method: &str, path: &str, body: &str) -> Option<crate::support::Response> {
        let headers = [("Content-Type", "application/json"), ("Authorization", "Bearer people")];
        Client::new(self.0).try_request(method, path, &headers, body.as_bytes()).ok()
    }

    /// Submits the intent of this number until it is acknowledged, and gives its index; none where it is `over` first.
    pub(crate) fn submit(&self, nth: u64, over: &AtomicBool, random: &mut Random) -> Option<u64> {
        let intent = Intent {
            intent_type: "work".to_owned(),
            stream: STREAMS[usize::try_from(nth).unwrap() % STREAMS.len()].to_owned(),
            payload: json!({ "numbers": [nth, 1] }),
            ..Intent::new(correlation(nth))
        };
        let body = intent.body();
        while !over.load(Ordering::Relaxed) {
            match self.ask("POST", "/ingress/intent", &body) {
                Some(response) if matches!(response.status, 200 | 202) => return Some(response.index()),
                Some(response) if response.status >= 500 => {}
                Some(response) => panic!("{}", response.text()),
                None => {}
            }
            thread::sleep(Duration::from_millis(random.below(50)));
        }
        None
    }
}
