//! Listening for what the server wants to say at once: a cancel, or that the attempt is over.
//!
//! What is heard is a hint and no more: the heartbeat that it brings about says what is so. A stream that cannot be had
//! costs nothing but time, for heartbeats go on by themselves.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::Ground;
use super::wire::Fence;
use crate::client::{Backoff, Connection};

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Longest line that is understood.
const LINE_BYTES_MAX: usize = 1024;

/// Where an attempt listens, and as whom.
pub(super) struct Listener<'a> {
    pub(super) ground: &'a Ground,
    pub(super) fence: Fence,
    pub(super) capability: HeaderValue,
}

impl Listener<'_> {
    /// Wakes `heard` for each thing that is said. Never returns.
    pub(super) async fn listen(&self, heard: &Notify) -> Infallible {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            match self.open().await {
                Some(Ok(body)) => follow(body, heard).await,
                // The next heartbeat hears why, if it is about the attempt; a server that has no such stream has none later.
                Some(Err(StatusCode::CONFLICT)) => heard.notify_one(),
                Some(Err(status)) if status.is_client_error() => return std::future::pending().await,
                Some(Err(_)) | None => {}
            }
            sleep(backoff.wait()).await;
        }
    }

    /// The stream, or what was answered instead; none where nothing was.
    async fn open(&self) -> Option<Result<Incoming, StatusCode>> {
        let server = &self.ground.tasks;
        let mut request = server.get("/v1/task/control");
        let lease_token = HeaderValue::try_from(self.fence.lease_token.as_str()).ok()?;
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.capability.clone());
        headers.insert("x-trace-attempt", self.fence.attempt.into());
        headers.insert("x-trace-lease-token", lease_token);
        let mut connection: Connection = server.connect().await.ok()?;
        let response = connection.send(request).await.ok()?;
        Some(match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            status => Err(status),
        })
    }
}

/// Reads events to the end of the stream.
async fn follow(mut body: Incoming, heard: &Notify) {
    let mut line = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        for byte in data {
            match byte {
                b'\n' => {
                    if is_word(&line) {
                        heard.notify_one();
                    }
                    line.clear();
                }
                byte if line.len() < LINE_BYTES_MAX => line.push(byte),
                _ => {}
            }
        }
    }
}

/// Whether a line names an event that a heartbeat can explain.
fn is_word(line: &[u8]) -> bool {
    let Some(name) = line.strip_prefix(b"event:") else { return false };
    matches!(name.trim_ascii(), b"cancel" | b"drain" | b"over")
}
