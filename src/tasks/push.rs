//! What the server does itself for a task that it posts: claims it, says what to post, fails what cannot be handed over.
//!
//! A runner that got a task is a worker like any other from then on, by its attempt and its tokens; so all that is here
//! is fenced like it, by the swap behind the record that was looked at.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gesta_log_format::json::canonical;
use gesta_log_format::{Digest, Index, hex};
use gesta_replay::event::{HandlerKind, TaskId};
use gesta_replay::projections::leases::Lease;
use gesta_replay::projections::tasks::Open;
use gesta_replay::task_lifecycle::{State, Transition};

use super::author::{Step, StepError};
use super::claim::ClaimError;
use super::{Tasks, fence};
use crate::append::{AppendError, Remedy};
use crate::limits::{TASK_CONFLICTS_MAX, TASK_MESSAGE_BYTES_MAX};
use crate::members::Members;

/// What the worker of each attempt that this server posts is called, before the handler's name.
const WORKER: &str = "push/";

/// Where a runner gets a bundle by its SHA-256, until a second since 1970: a URL that is good for it alone. None where
/// bundles are not served.
pub type BundleUrl = Box<dyn Fn(&Digest, u64) -> Option<String> + Send + Sync>;

/// Which of the attempts that were posted have been heard of. Only those are kept that somebody asks about.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<HashMap<TaskId, bool>>);

impl Heard {
    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker has shown the fence of the task's live attempt.
    pub(super) fn note(&self, task_id: TaskId) {
        if let Some(heard) = self.lock().get_mut(&task_id) {
            *heard = true;
        }
    }
}

/// An attempt of a task that this server posts, and that nobody is known to have.
#[derive(Clone, Debug)]
pub(crate) struct Unheard {
    open: Open,
    lease: Lease,
}

/// What is posted, and where.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    /// The handler's; none where its registration has none.
    pub(crate) url: Option<String>,
    /// Canonical JSON: the contract's object.
    pub(crate) body: Vec<u8>,
    pub(crate) x_correlation_id: String,
    pub(crate) traceparent: Option<String>,
}

/// Why something could not be done for a task that is posted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    /// There is no room, or others were faster again and again: once more, later.
    #[error("there is no room for a record")]
    Later,
    /// The process ends.
    #[error("the server ends")]
    Ending,
    /// It was logged; the lease runs out.
    #[error("it cannot be done")]
    Broken,
}

impl From<StepError> for PushError {
    fn from(error: StepError) -> Self {
        match error.remedy() {
            Remedy::LookAgain { .. } | Remedy::Wait => Self::Later,
            Remedy::Ending => Self::Ending,
            Remedy::Repair | Remedy::None => {
                tracing::error!(%error, "what has to be recorded of a task cannot be");
                Self::Broken
            }
        }
    }
}

impl From<ClaimError> for PushError {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Step(error) => error.into(),
            ClaimError::Ending => Self::Ending,
            ClaimError::Conflicts => Self::Later,
            error @ (ClaimError::Brief(_) | ClaimError::Mint(_) | ClaimError::Random(_)) => {
                tracing::error!(%error, "a task cannot be posted");
                Self::Broken
            }
        }
    }
}

impl Unheard {
    /// None where a task is not posted by this server, is not running, was asked to stop, or where its worker has
    /// recorded something.
    pub(crate) fn of(open: &Open) -> Option<Self> {
        let lease = open.live_lease().filter(|lease| lease.worker_id.starts_with(WORKER))?;
        let is_untouched = open.last_index == lease.claim_index;
        (is_untouched && open.kind == HandlerKind::Push)
            .then(|| Self { lease: lease.clone(), open: open.clone() })
    }

    /// The claim.
    pub(crate) fn claim_index(&self) -> Index {
        self.lease.claim_index
    }

    pub(crate) fn attempt(&self) -> u64 {
        self.lease.attempt
    }

    pub(crate) fn task_id(&self) -> TaskId {
        self.open.task_id
    }
}

impl Tasks {
    /// Claims a task for its handler's URL. None where it waits no more. The claim is durable and applied then.
    pub(crate) async fn claim_to_push(&self, task_id: TaskId) -> Result<Option<Unheard>, PushError> {
        for _ in 0..TASK_CONFLICTS_MAX {
            let open = self.projector.look(|state| state.tasks.task(task_id).cloned());
            let waits = |open: &Open| open.kind == HandlerKind::Push && open.standing.state == State::Queued;
            let Some(open) = open.filter(waits) else { return Ok(None) };
            let worker_id = format!("{WORKER}{}", open.handler.handler_name);
            // Of this attempt nobody can have been heard.
            self.heard.lock().insert(task_id, false);
            let index = match self.record_claim(open, &worker_id).await {
                Ok((index, _)) => index,
                Err(ClaimError::Step(StepError::Append(AppendError::Moved { newest, .. }))) => {
                    self.applied_below(newest.next()).await.ok_or(PushError::Ending)?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            self.applied_below(index.next()).await.ok_or(PushError::Ending)?;
            return Ok(self.unheard(task_id));
        }
        Err(PushError::Later)
    }

    /// The live attempt of a task, unless it is somebody else's or has been heard of.
    pub(crate) fn unheard(&self, task_id: TaskId) -> Option<Unheard> {
        let heard = self.heard.lock().get(&task_id).copied().unwrap_or_default();
        let unheard = self.projector.look(|state| state.tasks.task(task_id).and_then(Unheard::of));
        unheard.filter(|_| !heard)
    }

    /// Listens for the worker of a task that is about to be posted, if that is not done since its claim.
    pub(crate) fn listen_for(&self, task_id: TaskId) {
        self.heard.lock().entry(task_id).or_default();
    }

    /// Listens for it no more.
    pub(crate) fn listen_no_more(&self, task_id: TaskId) {
        self.heard.lock().remove(&task_id);
    }

    /// What is posted for an attempt: with a fresh capability and a fresh signature each time.
    pub(crate) async fn invocation(
        &self,
        unheard: &Unheard,
        bundle_url: &BundleUrl,
    ) -> Result<Invocation, PushError> {
        let Unheard { open, lease } = unheard;
        let brief = self.brief(open, lease.attempt).await.map_err(ClaimError::from)?;
        let registration = self.registration(open).await.map_err(ClaimError::from)?;
        // Before the capability is minted, so that the URL does not outlive it.
        let expires = self.capabilities.expiry(Duration::from_millis(open.limits.timeout_ms));
        let capability = self.capability(open, lease.attempt).map_err(ClaimError::from)?;
        let text =
            |object: &[u8], name| Some(canonical::string(canonical::member(object, name)?)?.into_owned());
        let bundle = text(&brief, "bundle_sha256").and_then(|digits| hex::read(digits.as_bytes()));
        let bundle_url = bundle.and_then(|digest| bundle_url(&Digest(digest), expires));
        let or_null = |name| canonical::member(&brief, name).unwrap_or(b"null");
        let token = fence::token(&self.capabilities, open, lease.attempt, lease.nonce);
        let body = Members::new()
            .number("attempt", lease.attempt)
            .text_or_null("bundle_url", bundle_url.as_deref())
            .text("capability_token", &capability)
            .raw("config", or_null("config"))
            .raw("inputs", canonical::member(&brief, "inputs").unwrap_or(b"[]"))
            .raw("job", or_null("job"))
            .text("lease_expires_at", &lease.expires_at.to_string())
            .text("lease_token", &token)
            .raw("operator", or_null("operator"))
            .text("task_id", &open.task_id.to_string())
            .finish();
        Ok(Invocation {
            url: text(registration.as_bytes(), "url"),
            body,
            x_correlation_id: text(&brief, "x_correlation_id").unwrap_or_else(|| open.task_id.to_string()),
            traceparent: text(&brief, "traceparent"),
        })
    }

    /// Fails an attempt that nobody has. Nothing is changed where somebody has been heard of meanwhile, or where it is
    /// not live any more.
    pub(crate) async fn fail_pushed(
        &self,
        unheard: &Unheard,
        code: &str,
        message: &str,
        retryable: bool,
    ) -> Result<(), PushError> {
        let Some(unheard) =
            self.unheard(unheard.task_id()).filter(|now| now.claim_index() == unheard.claim_index())
        else {
            return Ok(());
        };
        let attempt = unheard.attempt();
        let payload = Members::new()
            .number("attempt", attempt)
            .text("code", code)
            .text("error_message", cut(message))
            .boolean("retryable", retryable)
            .finish();
        let step = Step {
            transition: Transition::Failed { attempt, retryable },
            actor: &unheard.lease.worker_id,
            payload: &payload,
            others: Vec::new(),
        };
        match self.author.append(&unheard.open, step).await {
            // Whoever was faster has said something of the attempt.
            Ok(_) | Err(StepError::Append(AppendError::Moved { .. })) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The beginning of a message, as long as one may be.
fn cut(message: &str) -> &str {
    &message[..message.floor_char_boundary(TASK_MESSAGE_BYTES_MAX)]
}
