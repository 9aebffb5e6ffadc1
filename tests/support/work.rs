//! A server with all three listeners and tokens, a worker that claims, and requests for objects, signed as README,
//! "Objects", says it: by hand, as a client in any language does.

use std::path::Path;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::process::serve;
use super::{Client, Intent, Response, Server, until};

/// The roles of whoever does all that workers do not.
const BOSS: [&str; 6] = ["intent.write", "log.read", "execution.write", "auditor", "operator", "admin"];

/// A server, and a client of each listener.
pub struct Work {
    pub server: Server,
    pub public: Client,
    pub task: Client,
    pub internal: Client,
}

/// A task that was claimed.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub task_id: String,
    pub attempt: u64,
    pub lease_token: String,
    pub capability: String,
}

/// What `POST /v1/task/credentials` gives.
#[derive(Clone, Debug)]
pub struct Credential {
    pub secret: String,
    pub session_token: String,
    /// Seconds since 1970, some of which are left.
    pub expires: u64,
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

pub fn token(name: &str, roles: &[&str]) -> String {
    let digest = sha256(name.as_bytes());
    format!(
        "[[auth.tokens]]\nname = {name:?}\nsha256 = {digest:?}\nroles = {roles:?}\nstreams = [\"*\"]\nactors = [\"*\"]\n"
    )
}

impl Work {
    /// Serves `data`, a directory below which it keeps its configuration too.
    #[track_caller]
    pub fn start(data: &Path) -> Self {
        let file = data.join("gesta.toml");
        let worker = token("worker", &["worker"]) + "workers = [\"*\"]\npools = [\"*\"]\n";
        std::fs::write(&file, token("boss", &BOSS) + &worker).unwrap();
        let mut command = serve(&data.join("data"), &["decider.enabled=true"]);
        command.args(["--listen-task", "127.0.0.1:0", "--listen-internal", "127.0.0.1:0"]);
        command.args(["--insecure-loopback", "--config"]).arg(file);
        let server = Server::spawn(command).unwrap_or_else(|ended| panic!("it did not start: {ended:?}"));
        Self {
            public: server.client(),
            task: Client::new(server.address_of("task")),
            internal: Client::new(server.address_of("internal")),
            server,
        }
    }

    /// A request of the boss.
    #[track_caller]
    pub fn ask(&mut self, method: &str, path: &str, body: &Value) -> Response {
        let headers = [("Authorization", "Bearer boss"), ("Content-Type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.public.request(method, path, &headers, body.as_bytes())
    }

    /// All records that the query selects, by ascending index.
    #[track_caller]
    pub fn records(&mut self, query: &str) -> Vec<Value> {
        let (mut found, mut since) = (Vec::new(), -1);
        loop {
            let page =
                self.ask("GET", &format!("/events?limit=2000&since={since}&{query}"), &Value::Null).json();
            found.extend(page["events"].as_array().unwrap().iter().cloned());
            match page["next"].as_i64() {
                Some(next) => since = next,
                None => return found,
            }
        }
    }

    /// The records of a type, once there are `count` of them.
    #[track_caller]
    pub fn await_records(&mut self, query: &str, type_name: &str, count: usize) -> Vec<Value> {
        until(&format!("{count} records {type_name}"), || {
            let mut found = self.records(query);
            found.retain(|record| record["type"] == type_name);
            (found.len() >= count).then_some(found)
        })
    }

    /// Registers a handler of kind `worker` whose pool is its type.
    #[track_caller]
    pub fn register(&mut self, intent_type: &str, more: &Value) {
        let mut body = json!({
            "intent_type": intent_type, "handler_name": "h", "kind": "worker", "pool": intent_type,
        });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let response = self.ask("POST", "/api/intent/handlers", &body);
        assert!(response.status < 300, "{}", response.text());
    }

    /// Submits an intent of the type.
    #[track_caller]
    pub fn submit(&mut self, intent_type: &str, correlation: &str, stream: &str) {
        let intent = Intent {
            intent_type: intent_type.to_owned(),
            stream: stream.to_owned(),
            ..Intent::new(correlation)
        };
        let response = self.ask("POST", "/ingress/intent", &intent.value());
        assert_eq!(response.status, 202, "{}", response.text());
    }

    /// Claims the next task of the pool.
    #[track_caller]
    pub fn claim(&mut self, pool: &str) -> Claimed {
        let body = json!({ "pools": [pool], "max": 1, "wait_ms": 30_000, "worker_id": "w-1" });
        let headers = [("X-Trace-Worker-Token", "worker"), ("Content-Type", "application/json")];
        let response =
            self.internal.request("POST", "/internal/task-claim", &headers, body.to_string().as_bytes());
        assert_eq!(response.status, 200, "{}", response.text());
        let claimed = response.json()[0].clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Claimed {
            task_id: text(&claimed["task"]["task_id"]),
            attempt: claimed["attempt"].as_u64().unwrap(),
            lease_token: text(&claimed["lease_token"]),
            capability: text(&claimed["capability_token"]),
        }
    }

    /// A task of a new intent.
    #[track_caller]
    pub fn task(&mut self, intent_type: &str, correlation: &str) -> Claimed {
        self.submit(intent_type, correlation, "default");
        self.claim(intent_type)
    }

    /// A request of a task's code: the fence and more.
    #[track_caller]
    pub fn report(&mut self, claimed: &Claimed, path: &str, more: &Value) -> Response {
        let mut body = claimed.fence();
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let headers =
            [("X-Trace-Task-Capability", &*claimed.capability), ("Content-Type", "application/json")];
        self.task.request("POST", path, &headers, body.to_string().as_bytes())
    }

    #[track_caller]
    pub fn credential(&mut self, claimed: &Claimed) -> Credential {
        let response = self.report(claimed, "/v1/task/credentials", &json!({}));
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.header("cache-control"), Some("no-store"));
        Credential::of(&response.json())
    }

    /// A signed request for a path below `/objects/`.
    #[track_caller]
    pub fn signed(
        &mut self,
        credential: &Credential,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let query = credential.sign(method, path, credential.expires);
        self.task.request(method, &format!("{path}?{query}"), headers, body)
    }

    #[track_caller]
    pub fn put(&mut self, credential: &Credential, name: &str, content: &[u8]) -> Response {
        let digest = sha256(content);
        self.signed(credential, "PUT", &format!("/objects/{name}"), &[("X-Content-Sha256", &digest)], content)
    }

    #[track_caller]
    pub fn get(&mut self, credential: &Credential, name: &str) -> Response {
        self.signed(credential, "GET", &format!("/objects/{name}"), &[], b"")
    }
}

impl Claimed {
    pub fn fence(&self) -> Value {
        json!({ "task_id": self.task_id, "attempt": self.attempt, "lease_token": self.lease_token })
    }
}

impl Credential {
    fn of(answer: &Value) -> Self {
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Self {
            secret: text("secret_access_key"),
            session_token: text("session_token"),
            expires: now.as_secs() + 60,
        }
    }

    /// The query of a request.
    pub fn sign(&self, method: &str, path: &str, expires: u64) -> String {
        let text = format!("GESTA-OBJECTS-1\n{method}\n{path}\n{expires}\n{}", self.session_token);
        let key = hmac::Key::new(HMAC_SHA256, self.secret.as_bytes());
        let signature = hex(hmac::sign(&key, text.as_bytes()).as_ref());
        format!("expires={expires}&session_token={}&signature={signature}", self.session_token)
    }
}
