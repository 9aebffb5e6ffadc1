//! The course of one execution: `running`, the handler, its events, its end; and what is done where that is disturbed.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt as _;
use gesta_log_format::Index;
use gesta_replay::lifecycle::Transition;
use gesta_replay::projections::executions::Open;
use tracing::{error, warn};

use super::asked::Asked;
use super::cancel::Cancel;
use super::dispatch::{Invocation, Job, Work};
use super::{Executor, Step, StepError};
use crate::append::Remedy;
use crate::limits::{EXECUTION_DELIVERIES_MAX, EXECUTION_EVENTS_MAX};
use crate::runtime::{HandlerError, Output};

/// Why the course of an execution goes no further here.
pub(crate) enum Left {
    /// Someone else has appended a record of it: the projections will say how to go on.
    Moved { newest: Index },
    /// It stays open: the next start takes it up.
    Open,
    /// No record can hold what was to be said.
    Refused,
}

/// How an invocation ended.
enum Invoked {
    Ended(Result<Output, HandlerError>),
    /// It was given up, because somebody asked for that.
    Cancelled(Index),
}

/// What the executor says at the end of an execution.
struct End {
    transition: Transition,
    error: Option<HandlerError>,
    /// Canonical; of no meaning where there is an error.
    output: Vec<u8>,
    /// None where nothing was invoked.
    invoke_us: Option<u128>,
}

impl Executor {
    /// Runs an execution to its end, unless it is left open or taken over.
    pub(super) async fn run(self: &Arc<Self>, mut job: Job, cancel: &Cancel) {
        loop {
            let execution_id = job.open.execution_id;
            match self.once(job, cancel).await {
                Ok(()) | Err(Left::Open | Left::Refused) => return,
                Err(Left::Moved { newest }) => {
                    if self.applied_below(newest.next()).await.is_none() || *self.stop.borrow() {
                        return;
                    }
                }
            }
            let next = self
                .projector
                .look(|state| state.executions.open(execution_id).and_then(|open| self.job(state, open)));
            match next {
                Some(next) => job = next,
                None => return,
            }
        }
    }

    pub(super) async fn once(self: &Arc<Self>, job: Job, cancel: &Cancel) -> Result<(), Left> {
        let mut open = job.open;
        let asked = self.asked(&open).await?;
        let error = match job.work {
            Work::Cancel { request } => return self.cancelled(&mut open, &asked.actor, request).await,
            Work::Fail(error) => error,
            Work::Invoke(_) if open.standing.deliveries >= EXECUTION_DELIVERIES_MAX => {
                let message = format!(
                    "a handler was given it {} times, and the process ended each time before it did",
                    open.standing.deliveries
                );
                HandlerError::new("RETRIES_EXHAUSTED", message)
            }
            Work::Invoke(invocation) => return self.deliver(&mut open, &asked, &invocation, cancel).await,
        };
        self.end(&mut open, &asked.actor, End::failed(error)).await
    }

    /// Reads the INTENT. Where that fails the log is damaged, and nothing can be done for the execution.
    async fn asked(&self, open: &Open) -> Result<Asked, Left> {
        let record = self.works.record(open.intent_index).await.map_err(|error| {
            error!(%error, execution = %open.execution_id, "an execution cannot be run");
            Left::Open
        })?;
        Asked::read(open, record.data()).map_err(|error| {
            error!(%error, "an execution cannot be run");
            Left::Open
        })
    }

    /// Gives it to the handler once more, and records what comes of that.
    async fn deliver(
        self: &Arc<Self>,
        open: &mut Open,
        asked: &Asked,
        invocation: &Invocation,
        cancel: &Cancel,
    ) -> Result<(), Left> {
        let delivery = open.standing.deliveries + 1;
        let payload = format!("{{\"delivery\":{delivery}}}");
        if let Some(request) = cancel.request() {
            return self.cancelled(open, &asked.actor, request).await;
        }
        if let Some(refused) = self.refuse_params(invocation, asked, open).await? {
            return self.end(open, &asked.actor, End::failed(refused)).await;
        }
        self.persist(open, &asked.actor, Transition::Running { delivery }, payload.as_bytes()).await?;
        let started = Instant::now();
        let invoked = self.invoke(invocation, asked, open, cancel).await;
        let took = started.elapsed();
        self.metrics.invoked(took);
        let mut outcome = match invoked {
            Invoked::Ended(outcome) => outcome,
            Invoked::Cancelled(request) => return self.cancelled(open, &asked.actor, request).await,
        };
        if outcome.as_ref().is_ok_and(|output| !output.is_sound()) {
            outcome = Err(invalid_output(&invocation.handler_name));
        }
        let mut end = match outcome {
            Ok(output) => match self.keep_events(open, &asked.actor, &output.events).await {
                Ok(()) => End::completed(output.artifacts),
                Err(Left::Refused) => End::not_kept(),
                Err(left) => return Err(left),
            },
            Err(error) => End::failed(error),
        };
        end.invoke_us = Some(took.as_micros());
        self.end(open, &asked.actor, end).await
    }

    async fn keep_events(&self, open: &mut Open, actor: &str, events: &[Vec<u8>]) -> Result<(), Left> {
        for event in events {
            self.persist_here(open, actor, Transition::Event, event).await?;
        }
        Ok(())
    }

    /// Why the handler is not given what the intent brings.
    async fn refuse_params(
        &self,
        invocation: &Invocation,
        asked: &Asked,
        open: &Open,
    ) -> Result<Option<HandlerError>, Left> {
        let Some(asking) = &invocation.asking else { return Ok(None) };
        self.schemas.refuse_params(&self.works, asking, &asked.payload).await.map_err(|error| {
            error!(%error, execution = %open.execution_id, "an execution is left open");
            Left::Open
        })
    }

    /// The handler's answer; a panic and a missed deadline are failures. Where somebody asks to cancel first, the
    /// handler's future is dropped where it waits; what it has started elsewhere is told by its token.
    async fn invoke(
        self: &Arc<Self>,
        invocation: &Invocation,
        asked: &Asked,
        open: &Open,
        cancel: &Cancel,
    ) -> Invoked {
        let Invocation { handler, handler_name: name, timeout, .. } = invocation;
        let context = asked.context(self, open, invocation, cancel.clone());
        if let Err(invalid) = context.validate() {
            return Invoked::Ended(Err(invalid));
        }
        let invoked = AssertUnwindSafe(async { handler.invoke(context).await }).catch_unwind();
        let invoked = tokio::select! {
            biased;
            invoked = tokio::time::timeout(*timeout, invoked) => invoked,
            () = cancel.requested() => match cancel.request() {
                Some(request) => return Invoked::Cancelled(request),
                None => unreachable!("a request is never taken back"),
            },
        };
        Invoked::Ended(match invoked {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => {
                let panic = panic_text(&*panic);
                error!(handler = name, execution = %open.execution_id, panic, "a handler has panicked");
                Err(HandlerError::new("HANDLER_PANICKED", format!("the handler {name} has panicked")))
            }
            Err(_elapsed) => Err(HandlerError::new(
                "DEADLINE_EXCEEDED",
                format!("the handler did not end within {timeout:?}"),
            )),
        })
    }

    /// Records the end. An output that no record can hold makes it a failure.
    async fn end(&self, open: &mut Open, actor: &str, end: End) -> Result<(), Left> {
        let payload = end.payload(open.standing.deliveries);
        match self.persist_here(open, actor, end.transition, &payload).await {
            Err(Left::Refused) if end.error.is_none() => {
                let failed = End::not_kept();
                let payload = failed.payload(open.standing.deliveries);
                self.persist_here(open, actor, failed.transition, &payload).await.map(drop)
            }
            other => other.map(drop),
        }
    }

    /// As [`Executor::persist`], also where someone else has reported an event of the same delivery meanwhile.
    pub(crate) async fn persist_here(
        &self,
        open: &mut Open,
        actor: &str,
        transition: Transition,
        payload: &[u8],
    ) -> Result<Index, Left> {
        loop {
            let newest = match self.persist(open, actor, transition, payload).await {
                Err(Left::Moved { newest }) => newest,
                other => return other,
            };
            self.applied_below(newest.next()).await.ok_or(Left::Open)?;
            let now = self.projector.look(|state| state.executions.open(open.execution_id).cloned());
            match now {
                Some(now) if now.standing == open.standing => *open = now,
                Some(_) | None => {
                    warn!(execution = %open.execution_id, newest = newest.0, "an execution was ended or taken over by another report: what its handler gave is not recorded");
                    return Err(Left::Moved { newest });
                }
            }
        }
    }

    /// Appends a record, again and again while the disk is full.
    async fn persist(
        &self,
        open: &mut Open,
        actor: &str,
        transition: Transition,
        payload: &[u8],
    ) -> Result<Index, Left> {
        let mut stopped = self.stop.subscribe();
        loop {
            if let Some(place) = self.places.reserve() {
                match self.author.append(open, Step { actor, transition, payload }, place).await {
                    Ok(index) => return Ok(index),
                    Err(StepError::Illegal(illegal)) => {
                        error!(%illegal, execution = %open.execution_id, "an execution is left open");
                        return Err(Left::Open);
                    }
                    Err(StepError::Append(error)) => match error.remedy() {
                        Remedy::LookAgain { newest } => return Err(Left::Moved { newest }),
                        Remedy::Wait => {}
                        Remedy::Ending => return Err(Left::Open),
                        Remedy::Repair => {
                            error!(%error, execution = %open.execution_id, "an execution is left open");
                            return Err(Left::Open);
                        }
                        Remedy::None => {
                            error!(%error, execution = %open.execution_id, "what was to be recorded of an execution cannot be");
                            return Err(Left::Refused);
                        }
                    },
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.bounds.retry) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Err(Left::Open),
            }
        }
    }
}

impl End {
    fn completed(output: Vec<u8>) -> Self {
        Self { transition: Transition::Completed, error: None, output, invoke_us: None }
    }

    /// Of an output that no record can hold.
    fn not_kept() -> Self {
        let message = "its output is too large to be kept, or the disk has failed";
        Self::failed(HandlerError::new("OUTPUT_NOT_KEPT", message))
    }

    fn failed(error: HandlerError) -> Self {
        Self { transition: Transition::Failed, error: Some(error), output: Vec::new(), invoke_us: None }
    }

    /// Its members in canonical order.
    fn payload(&self, deliveries: u64) -> Vec<u8> {
        let mut out = b"{".to_vec();
        if let Some(took) = self.invoke_us {
            out.extend_from_slice(format!("\"_obs\":{{\"invoke_us\":{took}}},").as_bytes());
        }
        if deliveries > 0 {
            out.extend_from_slice(format!("\"delivery\":{deliveries},").as_bytes());
        }
        match &self.error {
            Some(error) => {
                out.extend_from_slice(b"\"error\":");
                out.extend_from_slice(&error.object());
                out.push(b'}');
            }
            None => {
                out.extend_from_slice(b"\"output\":");
                out.extend_from_slice(&self.output);
                out.push(b'}');
            }
        }
        out
    }
}

fn invalid_output(name: &str) -> HandlerError {
    let message = format!(
        "what the handler {name} gave is not canonical JSON, or more than {EXECUTION_EVENTS_MAX} events"
    );
    HandlerError::new("HANDLER_OUTPUT_INVALID", message)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}
