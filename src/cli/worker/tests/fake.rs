//! A server that answers as it is told, and keeps what it was asked.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

/// The task that is claimed.
pub(super) const TASK: &str = "01KAGZ0000000000000000TASK";

/// How long what should happen may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the server does with a request.
#[derive(Clone)]
pub(super) enum Reply {
    Json(u16, Value),
    Empty(u16),
    /// A stream of events that goes on for ever.
    Events(&'static str),
    /// The head of an answer, and then the connection breaks.
    Cut,
    /// Nothing, for as long as the client waits.
    Never,
}

/// What it was asked.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) path: String,
    pub(super) token: String,
    /// Null where it is not JSON.
    pub(super) body: Value,
}

#[derive(Clone)]
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    script: Arc<Mutex<HashMap<&'static str, VecDeque<Reply>>>>,
    calls: Arc<Mutex<Vec<Call>>>,
    count: watch::Sender<usize>,
}

impl Fake {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            address: listener.local_addr().unwrap(),
            script: Arc::default(),
            calls: Arc::default(),
            count: watch::Sender::new(0),
        };
        let app = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        fake
    }

    /// Answers the next requests of this path so; after them as a server does that has one task and is well.
    pub(super) fn script(&self, path: &'static str, replies: impl IntoIterator<Item = Reply>) {
        self.script.lock().unwrap().entry(path).or_default().extend(replies);
    }

    pub(super) fn calls(&self, path: &str) -> Vec<Call> {
        self.calls.lock().unwrap().iter().filter(|call| call.path.starts_with(path)).cloned().collect()
    }

    /// Waits until it was asked so often.
    pub(super) async fn asked(&self, path: &str, times: usize) {
        let mut count = self.count.subscribe();
        let enough = count.wait_for(|_| self.calls(path).len() >= times);
        assert!(
            tokio::time::timeout(PATIENCE, enough).await.is_ok(),
            "{path} was not asked {times} times: {:?}",
            self.calls("")
        );
    }

    /// The one report that there must be.
    #[track_caller]
    pub(super) fn report(&self) -> Value {
        let calls = self.calls(COMPLETE);
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls[0].body.clone()
    }
}

pub(super) const CLAIM: &str = "/internal/task-claim";
pub(super) const HEARTBEAT: &str = "/v1/task/heartbeat";
pub(super) const CONTROL: &str = "/v1/task/control";
pub(super) const COMPLETE: &str = "/v1/task/complete";

/// A claim of the task, whose program is heard of often.
pub(super) fn claimed(attempt: u64, lease_ms: u64) -> Value {
    json!({
        "status": "Claimed", "attempt": attempt, "lease_token": format!("lease-{attempt}"),
        "lease_expires_at": "2026-11-20T00:00:00.000000Z", "capability_token": "capability-0",
        "task": {
            "task_id": TASK, "payload": {"n": 1},
            "limits": {"lease_ms": lease_ms, "heartbeat_ms": 20, "timeout_ms": 60_000, "max_attempts": 3},
        },
    })
}

/// What a heartbeat is answered.
pub(super) fn beaten(more: &Value) -> Value {
    let mut beaten = json!({
        "lease_expires_in_ms": 30_000, "lease_expires_at": "2026-11-20T00:00:00.000000Z",
        "capability_token": "capability-1", "cancel_requested": false, "drain": false,
    });
    for (name, value) in more.as_object().unwrap() {
        beaten[name] = value.clone();
    }
    beaten
}

/// A problem document.
pub(super) fn problem(status: u16, reason_code: &str) -> Reply {
    let retriable = status >= 500;
    Reply::Json(status, json!({"reason_code": reason_code, "detail": "as told", "retriable": retriable}))
}

async fn answer(State(fake): State<Fake>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let token = request.headers().get("authorization").map_or("", |value| value.to_str().unwrap());
    let token = token.trim_start_matches("Bearer ").to_owned();
    let body = to_bytes(request.into_body(), 1 << 24).await.unwrap();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let scripted = fake.script.lock().unwrap().get_mut(path.as_str()).and_then(VecDeque::pop_front);
    let reply = scripted.unwrap_or_else(|| match path.as_str() {
        CLAIM | CONTROL => Reply::Never,
        HEARTBEAT => Reply::Json(200, beaten(&json!({}))),
        _ => Reply::Json(200, json!({})),
    });
    fake.calls.lock().unwrap().push(Call { path, token, body });
    fake.count.send_modify(|count| *count += 1);
    match reply {
        Reply::Json(status, body) => {
            (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response()
        }
        Reply::Empty(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reply::Cut => {
            let broken = futures::stream::iter([Ok("{"), Err(std::io::Error::other("cut"))]);
            Response::new(Body::from_stream(broken))
        }
        Reply::Events(text) => {
            let said = futures::stream::iter([Ok::<_, std::io::Error>(text)]);
            Response::new(Body::from_stream(futures::StreamExt::chain(said, futures::stream::pending())))
        }
        Reply::Never => std::future::pending().await,
    }
}
