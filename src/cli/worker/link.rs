//! One attempt's calls to the task listener: repeated while they may help, never after the attempt is someone else's.

use std::time::Duration;

use bytes::Bytes;
use gesta_log_format::Digest;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until, timeout};

use super::Ground;
use super::wire::{Beaten, ClaimOne, Claimed, Fence, Task};
use crate::client::{Answer, Backoff, Body, Caller, Refusal, Server, bearer};

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Longest time for one answer; a lease is usually long enough for several.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// The calls of one attempt.
pub(super) struct Link<'a> {
    ground: &'a Ground,
    tasks: Caller,
    fence: Fence,
    capability: HeaderValue,
    lease: Duration,
    /// When the lease has run out, as far as is known here.
    pub(super) lease_until: Instant,
}

/// Why a call came to nothing, for good.
#[derive(Debug, Clone)]
pub(super) enum Lost {
    /// The attempt is not this worker's any more.
    Stale,
    /// The server could not be asked until the lease had run out.
    LeaseOver,
    /// The server does not want it.
    Refused(Refusal),
}

/// How one try ended that did not succeed.
enum Trouble {
    Lost(Lost),
    Passing {
        why: String,
        retry_after: Option<Duration>,
    },
    /// The capability token is not taken.
    Unauthorized(Refusal),
}

impl<'a> Link<'a> {
    /// # Errors
    /// A capability token that no header can hold.
    pub(super) fn new(ground: &'a Ground, claimed: &Claimed, task: &Task) -> Result<Self, Lost> {
        let lease = Duration::from_millis(task.limits.lease_ms);
        let fence = Fence {
            task_id: task.task_id.clone(),
            attempt: claimed.attempt,
            lease_token: claimed.lease_token.clone(),
        };
        Ok(Self {
            ground,
            tasks: Caller::new(ground.tasks.clone()),
            fence,
            capability: header(&claimed.capability_token)?,
            lease,
            lease_until: Instant::now() + lease,
        })
    }

    pub(super) fn fence(&self) -> &Fence {
        &self.fence
    }

    /// The token that is good now.
    pub(super) fn capability(&self) -> HeaderValue {
        self.capability.clone()
    }

    /// How long the lease lasts each time.
    pub(super) fn lease(&self) -> Duration {
        self.lease
    }

    /// Says that the attempt is alive, and takes the new deadline and the new token.
    ///
    /// # Errors
    /// [`Lost`].
    pub(super) async fn beat(&mut self) -> Result<Beaten, Lost> {
        let asked_at = Instant::now();
        let body = json(&self.fence);
        let answer = self.call("/v1/task/heartbeat", body, self.lease_until).await?;
        let beaten: Beaten = parse(&answer)?;
        self.capability = header(&beaten.capability_token)?;
        // Counted from before the question: the server began later.
        self.lease_until = asked_at + Duration::from_millis(beaten.lease_expires_in_ms);
        Ok(beaten)
    }

    /// Posts until it is answered, `until` then.
    ///
    /// # Errors
    /// [`Lost`].
    pub(super) async fn call(&mut self, path: &str, body: Body, until: Instant) -> Result<Answer, Lost> {
        self.repeat(|server| server.post(path, body.clone()), until).await
    }

    /// Puts a blob, as [`Link::call`].
    ///
    /// # Errors
    /// [`Lost`].
    pub(super) async fn put(&mut self, digest: &Digest, bytes: Bytes, until: Instant) -> Result<(), Lost> {
        let path = format!("/v1/task/blob/sha256/{}", digest.hex());
        self.repeat(|server| server.put(&path, Body::new(bytes.clone())), until).await.map(drop)
    }

    async fn repeat(
        &mut self,
        request: impl Fn(&Server) -> Request<Body>,
        until: Instant,
    ) -> Result<Answer, Lost> {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut renewed = false;
        loop {
            let (why, retry_after) = match self.try_call(&request, until).await {
                Ok(answer) => {
                    self.ground.outage.back();
                    return Ok(answer);
                }
                Err(Trouble::Lost(lost)) => return Err(lost),
                Err(Trouble::Passing { why, retry_after }) => (why, retry_after),
                Err(Trouble::Unauthorized(refusal)) if renewed => return Err(Lost::Refused(refusal)),
                Err(Trouble::Unauthorized(refusal)) => match self.renew(until).await {
                    Ok(()) => {
                        renewed = true;
                        continue;
                    }
                    Err(Trouble::Lost(lost)) => return Err(lost),
                    Err(Trouble::Unauthorized(_)) => return Err(Lost::Refused(refusal)),
                    Err(Trouble::Passing { why, retry_after }) => (why, retry_after),
                },
            };
            self.ground.outage.lost(&why);
            let again_at = Instant::now() + backoff.wait().max(retry_after.unwrap_or_default());
            if again_at >= until {
                sleep_until(until).await;
                return Err(Lost::LeaseOver);
            }
            sleep_until(again_at).await;
        }
    }

    async fn try_call(
        &mut self,
        request: impl Fn(&Server) -> Request<Body>,
        until: Instant,
    ) -> Result<Answer, Trouble> {
        let mut request = request(self.tasks.server());
        request.headers_mut().insert(AUTHORIZATION, self.capability.clone());
        judge(answered(&mut self.tasks, request, until).await?)
    }

    /// Asks for the same attempt again, for its token. A capability that is not taken has run out, or its key is gone.
    async fn renew(&mut self, until: Instant) -> Result<(), Trouble> {
        let mut claims = Caller::new(self.ground.internal.clone());
        let claim = ClaimOne { task_id: &self.fence.task_id, worker_id: &self.ground.worker_id };
        let request = claims.server().post("/internal/task-claim", json(&claim));
        let answer = judge(answered(&mut claims, request, until).await?)?;
        let claimed = Claimed::read(&answer.body).map_err(|error| Trouble::Lost(not_understood(&error)))?;
        match claimed {
            Some(claimed) if claimed.attempt == self.fence.attempt => {
                self.fence.lease_token = claimed.lease_token;
                self.capability = header(&claimed.capability_token).map_err(Trouble::Lost)?;
                Ok(())
            }
            // Another attempt of this worker has nobody who would run it: its lease runs out.
            Some(_) | None => Err(Trouble::Lost(Lost::Stale)),
        }
    }
}

/// An answer, whatever it is.
async fn answered(caller: &mut Caller, request: Request<Body>, until: Instant) -> Result<Answer, Trouble> {
    let patience = ANSWER_PATIENCE.min(until.saturating_duration_since(Instant::now()));
    let passing = |why| Trouble::Passing { why, retry_after: None };
    match timeout(patience, caller.call(request)).await {
        Ok(answer) => answer.map_err(|error| passing(error.to_string())),
        Err(_elapsed) => {
            Err(passing(format!("{} has not answered in time", caller.server().base().authority())))
        }
    }
}

fn judge(answer: Answer) -> Result<Answer, Trouble> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let refusal = Refusal::of(answer.status, &answer.body);
    Err(match answer.status {
        StatusCode::CONFLICT if refusal.reason_code == "STALE_ATTEMPT" => Trouble::Lost(Lost::Stale),
        StatusCode::UNAUTHORIZED => Trouble::Unauthorized(refusal),
        _ if may_pass(&refusal) => {
            Trouble::Passing { why: refusal.to_string(), retry_after: answer.retry_after() }
        }
        _ => Trouble::Lost(Lost::Refused(refusal)),
    })
}

/// Whether the same request may be answered otherwise. That others were faster says nothing about the request.
pub(super) fn may_pass(refusal: &Refusal) -> bool {
    refusal.retriable || refusal.status.is_server_error() || refusal.reason_code == "SUBJECT_CONFLICT"
}

/// What the worker writes can always be written.
pub(super) fn json(value: &impl Serialize) -> Body {
    Body::new(serde_json::to_vec(value).expect("texts, numbers and JSON are JSON").into())
}

fn parse<T: DeserializeOwned>(answer: &Answer) -> Result<T, Lost> {
    serde_json::from_slice(&answer.body).map_err(|error| not_understood(&error))
}

fn not_understood(error: &serde_json::Error) -> Lost {
    strange(&format!("its answer is not understood: {error}"))
}

fn header(token: &str) -> Result<HeaderValue, Lost> {
    bearer(token).map_err(|error| strange(&error.to_string()))
}

/// An answer of another kind of server.
pub(super) fn strange(detail: &str) -> Lost {
    Lost::Refused(Refusal {
        status: StatusCode::OK,
        reason_code: String::new(),
        detail: detail.to_owned(),
        pointer: None,
        retriable: false,
    })
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stale => f.write_str("the attempt is not this worker's any more"),
            Self::LeaseOver => f.write_str("the server could not be asked until the lease had run out"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}
