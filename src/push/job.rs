//! One turn of one task: claimed if it is not, posted, and what came of it recorded.

use std::sync::Arc;
use std::time::Duration;

use gesta_replay::event::TaskId;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::Push;
use super::schedule::{Finish, HandlerKey, Step, Turn};
use super::verdict::{UNDELIVERED, Verdict};
use crate::limits::{EXECUTION_RETRY_MS, PUSH_RESENDS_MAX};
use crate::outbound::call::{Message, TRACEPARENT, X_CORRELATION_ID};
use crate::outbound::target::{Host, Target};
use crate::outbound::{Begun, retry};
use crate::tasks::{PushError, Unheard};

/// Delay before what there was no room for is tried again.
const PAUSE: Duration = Duration::from_millis(EXECUTION_RETRY_MS);

/// Held while a task has its turn; dropping it says how that ended, also after a panic.
struct Working {
    push: Arc<Push>,
    task_id: TaskId,
    finish: Finish,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.push.schedule().finish(self.task_id, self.finish);
        if self.finish == Finish::Over {
            self.push.tasks.listen_no_more(self.task_id);
        }
        drop(self.permit.take());
        self.push.moved.notify_one();
    }
}

impl Push {
    /// Works on a turn, besides others. `host` has been asked for by it, where it is given.
    pub(super) fn work(self: &Arc<Self>, turn: Turn, host: Option<Host>, permit: OwnedSemaphorePermit) {
        let (push, task_id) = (Arc::clone(self), turn.task_id);
        tokio::spawn(async move {
            let (finish, permit) = (Finish::Over, Some(permit));
            let mut working = Working { push: Arc::clone(&push), task_id, finish, permit };
            let begun = push.outbound.begun(host);
            working.finish = Box::pin(push.take_turn(turn, begun)).await;
        });
    }

    async fn take_turn(&self, turn: Turn, begun: Begun<'_>) -> Finish {
        let Turn { task_id, step, handler, host: _ } = turn;
        let (unheard, sent) = match step {
            Step::Claim => match self.tasks.claim_to_push(task_id).await {
                Ok(unheard) => (unheard, 0),
                Err(PushError::Later) => return self.later(Step::Claim),
                Err(PushError::Ending | PushError::Broken) => return Finish::Over,
            },
            Step::Send { sent } => {
                self.tasks.listen_for(task_id);
                (self.tasks.unheard(task_id), sent)
            }
        };
        let Some(unheard) = unheard else { return Finish::Over };
        match self.send(&unheard, sent, &handler, begun).await {
            Ok(finish) => finish,
            Err(PushError::Later) => self.later(Step::Send { sent }),
            Err(PushError::Ending | PushError::Broken) => Finish::Over,
        }
    }

    fn later(&self, step: Step) -> Finish {
        Finish::Later { at: self.now() + PAUSE, step }
    }

    /// Posts an attempt once, and records what that ends.
    async fn send(
        &self,
        unheard: &Unheard,
        sent: u32,
        handler: &HandlerKey,
        begun: Begun<'_>,
    ) -> Result<Finish, PushError> {
        let invocation = self.tasks.invocation(unheard, &self.bundle_url).await?;
        let url = invocation.url.as_deref().unwrap_or_default();
        let target = match self.outbound.target(url) {
            Ok(target) => target,
            Err(refused) => return self.end(unheard, Verdict::target(&refused.to_string()), sent).await,
        };
        let begun = match self.begin(&target, handler, begun) {
            Ok(begun) => begun,
            Err(at) => return Ok(Finish::Later { at, step: Step::Send { sent } }),
        };
        let message = Message {
            body: invocation.body.into(),
            headers: [
                Some((X_CORRELATION_ID, invocation.x_correlation_id)),
                invocation.traceparent.map(|traceparent| (TRACEPARENT, traceparent)),
            ]
            .into_iter()
            .flatten()
            .collect(),
        };
        let outcome = self.outbound.caller.post(&target, &message).await;
        if begun.end(&outcome) {
            self.metrics.opened();
        }
        let verdict = Verdict::of(&outcome);
        self.metrics.called(&verdict);
        self.end(unheard, verdict, sent).await
    }

    /// Asks the circuit of a target, unless that was done before.
    ///
    /// # Errors
    /// When to ask again.
    fn begin<'a>(
        &'a self,
        target: &Target,
        handler: &HandlerKey,
        begun: Begun<'a>,
    ) -> Result<Begun<'a>, Duration> {
        if begun.host.as_ref() == Some(&target.host) {
            return Ok(begun);
        }
        drop(begun);
        self.schedule().learn(handler, &target.host);
        self.outbound.begin(&target.host)
    }

    async fn end(&self, unheard: &Unheard, verdict: Verdict, sent: u32) -> Result<Finish, PushError> {
        let (task, attempt) = (unheard.task_id(), unheard.attempt());
        match verdict {
            Verdict::Accepted => {
                debug!(%task, attempt, "a task was posted");
                Ok(Finish::Over)
            }
            Verdict::Refused { code, message } => {
                warn!(%task, attempt, code, message, "a task was posted in vain");
                self.fail(unheard, code, &message, false).await?;
                Ok(Finish::Over)
            }
            Verdict::Again { message, .. } if sent >= PUSH_RESENDS_MAX => {
                let message = format!("posted {} times, the last time: {message}", sent + 1);
                warn!(%task, attempt, message, "a task was posted in vain");
                self.metrics.undelivered();
                self.fail(unheard, UNDELIVERED, &message, true).await?;
                Ok(Finish::Over)
            }
            Verdict::Again { retry_after, message } => {
                let sent = sent + 1;
                let delay = retry::delay(self.pace, sent, retry::draw(), retry_after);
                info!(%task, attempt, sent, ?delay, message, "a task is posted again");
                Ok(Finish::Later { at: self.now() + delay, step: Step::Send { sent } })
            }
        }
    }

    async fn fail(
        &self,
        unheard: &Unheard,
        code: &str,
        message: &str,
        retryable: bool,
    ) -> Result<(), PushError> {
        let mut stopped = self.stop.subscribe();
        loop {
            match self.tasks.fail_pushed(unheard, code, message, retryable).await {
                Err(PushError::Later) => {}
                done => return done,
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Err(PushError::Ending),
            }
        }
    }
}
