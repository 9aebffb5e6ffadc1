//! What workers and operators ask, as the routes ask it of [`Tasks`], and what they are told.

use std::sync::Arc;
use std::time::Duration;

use gesta_log_format::json::canonicalize;
use gesta_log_format::{Index, hex};
use gesta_replay::event::{HandlerKind, TaskId};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::world::{Process, World};
use crate::auth::{Patterns, Worker};
use crate::capability::{Capabilities, Capability, Issue};
use crate::problem::{Problem, ReasonCode};
use crate::store::Store;
use crate::tasks::claim::{Claimed, NotClaimed};
use crate::tasks::outcome::Asked;
use crate::tasks::waiting::Reach;
use crate::tasks::{Recorded, Tasks, read_publication, request};

/// What a worker got with an attempt, and may use for as long as it likes.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) task_id: String,
    pub(super) attempt: u64,
    pub(super) lease_token: String,
    pub(super) capability: String,
    pub(super) worker_id: String,
    pub(super) lease_expires_at: String,
}

impl Ticket {
    /// Out of the answer to a claim.
    pub(super) fn of(answer: &[u8], worker_id: &str) -> Self {
        let answer: Value = serde_json::from_slice(answer).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            task_id: text(&answer["task"]["task_id"]),
            attempt: answer["attempt"].as_u64().unwrap(),
            lease_token: text(&answer["lease_token"]),
            capability: text(&answer["capability_token"]),
            worker_id: worker_id.to_owned(),
            lease_expires_at: text(&answer["lease_expires_at"]),
        }
    }
}

/// A route of the task listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Heartbeat,
    Events,
    Publish,
    Complete,
}

/// What the code of a task asks for.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) route: Route,
    /// None: without a token.
    pub(super) capability: Option<String>,
    pub(super) body: Value,
    /// It shows what its attempt was given, and nothing else.
    pub(super) is_honest: bool,
    /// By what the record is known that it leads to. A heartbeat's says nothing.
    pub(super) mark: String,
}

/// What somebody asks for.
#[derive(Clone, Debug)]
pub(super) enum Question {
    ClaimOne { task_id: TaskId, worker_id: String },
    ClaimSome { pool: String, max: usize, wait: Duration, worker_id: String },
    OfTask(Request),
    Cancel { task_id: TaskId, mark: String },
    Retry { task_id: TaskId, mark: String },
}

/// What somebody is told.
#[derive(Debug)]
pub(super) enum Answer {
    Claimed(Vec<Ticket>),
    NotClaimed(NotClaimed),
    /// 200 or 202: what the body says.
    Done(Value),
    Refused(ReasonCode),
    /// Nobody heard it: the process ended.
    Unknown,
}

/// What was asked when, and the answer.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) question: Question,
    pub(super) answer: Answer,
    /// All below was readable before it was asked.
    pub(super) from: Index,
    /// Nothing from here on was durable when it was answered.
    pub(super) to: Index,
}

/// Whom the questions go to.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) tasks: Arc<Tasks>,
    pub(super) capabilities: Arc<Capabilities>,
    pub(super) store: Arc<Store>,
}

impl Request {
    /// That an attempt lives.
    pub(super) fn heartbeat(ticket: &Ticket) -> Self {
        let body = json!({
            "task_id": ticket.task_id, "attempt": ticket.attempt, "lease_token": ticket.lease_token,
        });
        let (capability, mark) = (Some(ticket.capability.clone()), String::new());
        Self { route: Route::Heartbeat, capability, body, is_honest: true, mark }
    }
}

impl Desk {
    pub(super) fn of(world: &World, process: &Process) -> Self {
        Self {
            tasks: Arc::clone(&process.tasks),
            capabilities: Arc::clone(&world.capabilities),
            store: Arc::clone(&world.ingress.store),
        }
    }

    pub(super) async fn ask(self, question: Question, from: Index) -> Said {
        let answered = match &question {
            Question::ClaimOne { task_id, worker_id } => self.claim_one(*task_id, worker_id).await,
            Question::ClaimSome { pool, max, wait, worker_id } => {
                let pools = vec![(HandlerKind::Worker, pool.clone())];
                let reach = Reach { pools, streams: Patterns::any() };
                let claimed = self.tasks.claim_some(&reach, *max, *wait, worker_id).await;
                claimed.map(|claimed| {
                    Answer::Claimed(claimed.iter().map(|answer| Ticket::of(answer, worker_id)).collect())
                })
            }
            Question::OfTask(request) => self.of_task(request).await.map(Answer::Done),
            Question::Cancel { task_id, mark } => {
                let asked = Asked { by: "operator".to_owned(), reason: Some(mark.clone()) };
                self.tasks.cancel(*task_id, &asked).await.map(state)
            }
            Question::Retry { task_id, mark } => self.tasks.retry(*task_id, mark).await.map(state),
        };
        let answer = answered.unwrap_or_else(|problem| match problem.code() {
            ReasonCode::Draining | ReasonCode::OutcomeUnknown => Answer::Unknown,
            code => Answer::Refused(code),
        });
        Said { question, answer, from, to: self.store.reader.head() }
    }

    async fn claim_one(&self, task_id: TaskId, worker_id: &str) -> Result<Answer, Problem> {
        self.tasks.caught_up().await?;
        Ok(match self.tasks.claim_one(task_id, worker_id, &Worker::of_everything()).await? {
            Claimed::Yes(answer) => Answer::Claimed(vec![Ticket::of(&answer, worker_id)]),
            Claimed::No(reason) => Answer::NotClaimed(reason),
        })
    }

    /// The token first, then the shape, then whether both speak of one attempt; then what is asked.
    async fn of_task(&self, request: &Request) -> Result<Value, Problem> {
        let token = request.capability.as_deref();
        let token = token.ok_or_else(|| Problem::new(ReasonCode::MissingToken))?;
        let claims = self.capabilities.keys().check(token, Issue::now().at);
        let capability = Capability(claims.map_err(|_| Problem::new(ReasonCode::BadToken))?);
        let own = |fence: &crate::tasks::fence::Fence| {
            capability.for_task(&fence.task_id.to_string(), fence.attempt)
        };
        let (body, tasks) = (request.body.to_string(), &self.tasks);
        let json = |answer: Vec<u8>| serde_json::from_slice(&answer).unwrap();
        match request.route {
            Route::Heartbeat => {
                let fence = request::fence(body.as_bytes())?;
                own(&fence)?;
                tasks.heartbeat(&fence).await.map(json)
            }
            Route::Events => {
                let (fence, events) = request::events(body.as_bytes())?;
                own(&fence)?;
                tasks.report_events(&fence, &events, &capability).await.map(json)
            }
            Route::Publish => {
                let publication = read_publication(body.as_bytes())?;
                own(&publication.fence)?;
                let (fence, uri) = (&publication.fence, &publication.batch_uri);
                let digest = hex::text(&Sha256::digest(uri));
                let subject = format!("batch/{}/{}/{digest}", fence.task_id, fence.attempt);
                let payload = json!({
                    "attempt": fence.attempt, "batch_size_bytes": publication.batch_size_bytes, "batch_uri": uri,
                    "content_type": publication.content_type, "dedupe_scope": publication.dedupe_scope,
                });
                let payload = canonicalize(payload.to_string().as_bytes()).unwrap();
                let (Recorded::Now(index) | Recorded::Before(index)) =
                    tasks.record_batch(fence, &subject, &payload).await?;
                Ok(json!({ "index": index.0 }))
            }
            Route::Complete => {
                let report = request::report(body.as_bytes())?;
                own(&report.fence)?;
                let reported = tasks.complete(&report, &capability).await?;
                Ok(json!({ "index": reported.index.0, "status": reported.status.text() }))
            }
        }
    }
}

fn state(state: gesta_replay::task_lifecycle::State) -> Answer {
    Answer::Done(json!({ "state": state.text() }))
}
