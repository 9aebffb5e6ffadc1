//! Event streams for workers: of one running attempt, and of the tasks that wait.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use futures::Stream;
use gesta_replay::event::{HandlerKind, TaskId};
use gesta_replay::projections::tasks::Open;
use tokio::sync::{broadcast, watch};

use super::Tasks;
use super::control::{Hint, Word};
use super::waiting::{Candidate, PoolName};
use crate::auth::Worker;
use crate::limits::{HEARTBEAT_SECONDS, RETRY_MS, WAKEUPS_KEPT_MAX};
use crate::members::Members;

/// A comment, which is never followed by a blank line: some clients would dispatch an empty event.
const HEARTBEAT: &[u8] = b": heartbeat\n";

/// The response whose body is an event stream.
fn response(stream: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let body = Body::from_stream(futures::StreamExt::map(stream, Ok::<_, Infallible>));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn event(name: &str, data: &[u8]) -> Bytes {
    let mut out = format!("event: {name}\ndata: ").into_bytes();
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
    out.into()
}

fn opening() -> Bytes {
    format!("retry: {RETRY_MS}\n\n").into()
}

/// What a stream of one attempt is at.
struct OfAttempt {
    task: Vec<u8>,
    attempt: u64,
    word: watch::Receiver<Word>,
    draining: watch::Receiver<bool>,
    /// What is to be said before anything else is waited for.
    said: Vec<Bytes>,
    told_cancel: bool,
    told_drain: bool,
    follow: bool,
    ended: bool,
}

impl Tasks {
    /// `cancel` and `drain`, each at once and once; `over` when the attempt is not live any more, and then the end. The end
    /// of the server ends it behind `drain`.
    pub(super) fn attempt_stream(&self, open: &Open, follow: bool) -> Response {
        let (task_id, attempt) = (open.task_id, open.standing.attempt);
        // No attempt is the 0th: a task that is not there any more is over.
        let word =
            || self.projector.look(|state| state.tasks.task(task_id).map_or_else(Word::default, Word::of));
        let state = OfAttempt {
            task: Members::new().number("attempt", attempt).text("task_id", &task_id.to_string()).finish(),
            attempt,
            word: self.control.listen(task_id, word),
            draining: self.control.draining(),
            said: vec![opening()],
            told_cancel: false,
            told_drain: false,
            follow,
            ended: false,
        };
        response(futures::stream::unfold(state, |mut state| async move {
            let bytes = state.next().await?;
            Some((bytes, state))
        }))
    }

    /// A hint for each task that comes to wait in a pool that the worker may claim of, beginning with some that wait now.
    pub(super) fn wakeups(&self, worker: Worker, follow: bool) -> Response {
        let hints = self.control.hints();
        let is_for = |found: &Candidate| may_claim(&worker, &found.pool, &found.stream_id);
        let waiting = self.waiting.some(WAKEUPS_KEPT_MAX, is_for);
        let said = waiting.iter().map(|found| of_hint(&found.pool, found.task_id)).collect();
        let state = OfPools { worker, hints, draining: self.control.draining(), said, opened: false, follow };
        response(futures::stream::unfold(state, |mut state| async move {
            let bytes = state.next().await?;
            Some((bytes, state))
        }))
    }
}

impl OfAttempt {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(said) = self.said.pop() {
                return Some(said);
            }
            if self.ended {
                return None;
            }
            let word = *self.word.borrow_and_update();
            if word.over || word.attempt != self.attempt {
                self.ended = true;
                return Some(event("over", &self.task));
            }
            if word.cancel_requested && !self.told_cancel {
                self.told_cancel = true;
                return Some(event("cancel", &self.task));
            }
            if *self.draining.borrow_and_update() && !self.told_drain {
                (self.told_drain, self.ended) = (true, true);
                return Some(event("drain", b"{}"));
            }
            if !self.follow {
                return None;
            }
            tokio::select! {
                changed = self.word.changed() => if changed.is_err() {
                    self.ended = true;
                    return Some(event("over", &self.task));
                },
                _ = self.draining.changed() => {}
                () = tokio::time::sleep(Duration::from_secs(HEARTBEAT_SECONDS)) => {
                    return Some(Bytes::from_static(HEARTBEAT));
                }
            }
        }
    }
}

/// What a stream of hints is at.
struct OfPools {
    worker: Worker,
    hints: broadcast::Receiver<Arc<Hint>>,
    draining: watch::Receiver<bool>,
    said: std::collections::VecDeque<Bytes>,
    opened: bool,
    follow: bool,
}

impl OfPools {
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.opened, true) {
            return Some(opening());
        }
        if let Some(said) = self.said.pop_front() {
            return Some(said);
        }
        if !self.follow {
            return None;
        }
        loop {
            let heard = tokio::select! {
                heard = self.hints.recv() => heard,
                _ = self.draining.wait_for(|draining| *draining) => return None,
                () = tokio::time::sleep(Duration::from_secs(HEARTBEAT_SECONDS)) => {
                    return Some(Bytes::from_static(HEARTBEAT));
                }
            };
            match heard {
                Ok(hint) if may_claim(&self.worker, &hint.pool, &hint.stream_id) => {
                    return Some(of_hint(&hint.pool, hint.task_id));
                }
                // Hints that were missed are hints only: a claim finds what waits.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

fn may_claim(worker: &Worker, pool: &PoolName, stream_id: &str) -> bool {
    pool.0 == HandlerKind::Worker && worker.may_claim(&pool.1, stream_id)
}

fn of_hint(pool: &PoolName, task_id: TaskId) -> Bytes {
    let data = Members::new().text("pool", &pool.1).text("task_id", &task_id.to_string()).finish();
    event("wakeup", &data)
}
