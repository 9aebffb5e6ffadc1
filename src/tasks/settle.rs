//! Records what has to be recorded, again and again until nothing has: one task of the runtime for each task that has
//! something to be recorded, at most so many at once.
//!
//! Every step is judged by the projections and appended by swap. Where another was faster, or once it is durable, the
//! projections are asked again; so it does not matter how often a task is looked at, nor what a crash left undone.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use gesta_log_format::Index;
use gesta_log_format::envelope::View;
use gesta_replay::event::{TaskId, TimeLimit};
use gesta_replay::projections::executions;
use gesta_replay::projections::handlers::Handler;
use gesta_replay::projections::tasks::Open;
use gesta_replay::task_lifecycle::Transition;
use tracing::{error, warn};

use super::author::{SERVER, Step, StepError};
use super::clock::after;
use super::next::{Next, What, next};
use super::timers::Due;
use super::{Tasks, outcome, queued, retry};
use crate::append::Remedy;
use crate::executor::{self, SchemaError};
use crate::members::Members;
use crate::runtime::HandlerError;

/// What became of a step.
enum Done {
    /// It is durable, or another record is.
    Through(Index),
    /// There was no room: once more, later.
    Later,
    /// It cannot be done, which was told: once more, much later.
    Left,
    /// The process is ending. The next start looks again.
    Ending,
}

impl Tasks {
    /// Has a task looked at, now or once more after the look that is under way.
    pub(super) fn settle(self: &Arc<Self>, task_id: TaskId) {
        match self.busy().entry(task_id) {
            Entry::Occupied(mut again) => {
                again.insert(true);
                return;
            }
            Entry::Vacant(free) => {
                free.insert(false);
            }
        }
        let tasks = Arc::clone(self);
        tokio::spawn(async move {
            // Closed at the end of the process only.
            let Ok(_permit) = tasks.permits.acquire().await else { return };
            Box::pin(tasks.settle_all(task_id)).await;
        });
    }

    async fn settle_all(self: &Arc<Self>, task_id: TaskId) {
        loop {
            self.settle_once(task_id).await;
            let mut busy = self.busy();
            if busy.remove(&task_id) != Some(true) {
                return;
            }
            busy.insert(task_id, false);
        }
    }

    async fn settle_once(&self, task_id: TaskId) {
        while !*self.stop.borrow() {
            let now = self.clock.now();
            let next = self
                .projector
                .look(|state| next(state, self.executor.registry(), &self.timers(), now, task_id));
            let done = match next {
                Next::Nothing => return,
                Next::Queue { execution, handler } => self.queue(*execution, &handler).await,
                Next::Run(execution) => {
                    let delivery = execution.standing.deliveries + 1;
                    let transition = gesta_replay::lifecycle::Transition::Running { delivery };
                    let payload = Members::new().number("delivery", delivery).finish();
                    self.execution(*execution, transition, &payload).await
                }
                Next::CancelExecution(execution) => self.cancel_execution(*execution).await,
                Next::End { execution, task } => self.end(*execution, &task).await,
                Next::Task { task, what } => {
                    let appended = self.record(&task, what).await;
                    self.recorded(task_id, appended)
                }
            };
            let mut stopped = self.stop.subscribe();
            match done {
                Done::Ending => return,
                Done::Left => return self.look_again_later(task_id),
                Done::Through(index) => {
                    if self.applied_below(index.next()).await.is_none() {
                        return;
                    }
                }
                Done::Later => {
                    tokio::select! {
                        () = tokio::time::sleep(self.bounds.pause) => {}
                        _ = stopped.wait_for(|stopped| *stopped) => return,
                    }
                }
            }
        }
    }

    /// Whoever waits until something is repaired must not keep others from being looked at.
    fn look_again_later(&self, task_id: TaskId) {
        let at = self.clock.now().running + self.bounds.long_pause;
        self.timers().look_again(task_id, at);
        self.timers_moved.notify_one();
    }

    /// Makes a task of an execution, unless its intent is not what the handler asks for.
    async fn queue(&self, execution: executions::Open, handler: &Handler) -> Done {
        let task_id = execution.execution_id;
        match self.refuse_params(&execution, handler).await {
            Ok(None) => {}
            Ok(Some(refused)) => {
                let payload = Members::new().raw("error", refused.object()).finish();
                return self
                    .execution(execution, gesta_replay::lifecycle::Transition::Failed, &payload)
                    .await;
            }
            Err(error) => {
                error!(%error, task = %task_id, "an execution cannot become a task: what its handler asks for is unknown");
                return Done::Left;
            }
        }
        match queued::payload(&execution, handler) {
            Ok(payload) => self.recorded(task_id, self.author.queue(&execution, &payload).await),
            Err(error) => {
                error!(%error, task = %task_id, "an execution cannot become a task: register its handler again");
                Done::Left
            }
        }
    }

    /// Why an execution does not become a task of the handler.
    async fn refuse_params(
        &self,
        execution: &executions::Open,
        handler: &Handler,
    ) -> Result<Option<HandlerError>, SchemaError> {
        if !executor::asks(handler) {
            return Ok(None);
        }
        let works = self.executor.works();
        let record = works.record(execution.intent_index).await?;
        let payload = View::parse(record.data()).and_then(|view| view.payload_member("payload"));
        self.executor.schemas().refuse_params(works, handler, payload.unwrap_or(b"{}")).await
    }

    /// Records what time has done to a task, or a cancelled INTENT.
    async fn record(&self, task: &Open, what: What) -> Result<Index, StepError> {
        let attempt = task.standing.attempt;
        let members = Members::new().number("attempt", attempt);
        let (transition, payload) = match what {
            What::Due(Due::Expired(_)) if task.standing.cancel_requested => {
                let asked = self.asked_to_stop(task.cancel_requested).await;
                (Transition::Canceled { attempt }, asked.write(members))
            }
            What::Due(Due::Expired(limit)) => {
                self.warn_of_expiry(task, limit);
                (Transition::TimedOut { attempt }, members.text("limit", limit.text()))
            }
            What::Due(Due::Retry) => (Transition::Queued { attempt }, members),
            What::GiveUp => {
                let message = format!("the last of {} attempts took too long", task.standing.max_attempts);
                let members = members
                    .text("code", "RETRIES_EXHAUSTED")
                    .text("error_message", &message)
                    .boolean("retryable", false);
                (Transition::Failed { attempt, retryable: false }, members)
            }
            What::ScheduleRetry => {
                let delay = retry::delay(self.bounds.retry_base, attempt, retry::draw());
                let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                let next_retry_at = after(self.clock.now().wall, delay).to_string();
                let members = members.number("delay_ms", delay_ms).text("next_retry_at", &next_retry_at);
                (Transition::RetryScheduled { attempt }, members)
            }
            What::Cancel(index) => {
                let asked = self.asked_to_stop(Some(index)).await;
                match task.live_lease() {
                    Some(_) => (Transition::CancelRequested, asked.write(Members::new())),
                    None => (Transition::Canceled { attempt }, asked.write(members)),
                }
            }
        };
        let payload = payload.finish();
        let step = Step { transition, actor: SERVER, payload: &payload, others: Vec::new() };
        self.author.append(task, step).await.map(|(index, _)| index)
    }

    fn warn_of_expiry(&self, task: &Open, limit: TimeLimit) {
        let worker = task.lease.as_ref().map_or("", |lease| lease.worker_id.as_str());
        warn!(task = %task.task_id, attempt = task.standing.attempt, worker, limit = limit.text(), "an attempt took too long");
    }

    /// Ends the execution of a task that has ended.
    async fn end(&self, mut execution: executions::Open, task: &Open) -> Done {
        let Some(index) = task.outcome else {
            error!(task = %task.task_id, "a task has ended by no record");
            return Done::Left;
        };
        let record = match self.executor.works().record(index).await {
            Ok(record) => record,
            Err(error) => {
                error!(%error, task = %task.task_id, "the end of a task cannot be read");
                return Done::Left;
            }
        };
        let delivery = execution.standing.deliveries;
        match outcome::of_execution(task.standing.state, record.data(), delivery) {
            Some((transition, payload)) => {
                if let Err(done) = self.tell_events(&mut execution, index, record.data()).await {
                    return done;
                }
                let done = self.execution(execution, transition, &payload).await;
                if let Done::Through(_) = done {
                    self.ended(task.task_id);
                }
                done
            }
            None => {
                error!(task = %task.task_id, index = index.0, "the record is not the end of the task");
                Done::Left
            }
        }
    }

    /// Makes EXECUTIONs of the events in a result, but for those that are there.
    async fn tell_events(
        &self,
        execution: &mut executions::Open,
        outcome: Index,
        record: &[u8],
    ) -> Result<(), Done> {
        let left = self.events_left(execution, outcome, record).await.map_err(|error| {
            error!(%error, task = %execution.execution_id, "the events of a result cannot be read");
            Done::Left
        })?;
        for event in left {
            let transition = gesta_replay::lifecycle::Transition::Event;
            match self.execution_at(execution, transition, &event).await {
                Done::Through(index) if execution.last_index == Some(index) => {}
                other => return Err(other),
            }
        }
        Ok(())
    }

    async fn cancel_execution(&self, execution: executions::Open) -> Done {
        let asked = self.asked_to_stop(execution.cancel_requested).await;
        let payload = asked.write(Members::new()).finish();
        self.execution(execution, gesta_replay::lifecycle::Transition::Cancelled, &payload).await
    }

    /// Appends an EXECUTION record on behalf of the INTENT's actor.
    async fn execution(
        &self,
        mut execution: executions::Open,
        transition: gesta_replay::lifecycle::Transition,
        payload: &[u8],
    ) -> Done {
        self.execution_at(&mut execution, transition, payload).await
    }

    /// As [`Tasks::execution`], and moves on to the record.
    async fn execution_at(
        &self,
        execution: &mut executions::Open,
        transition: gesta_replay::lifecycle::Transition,
        payload: &[u8],
    ) -> Done {
        let task_id = execution.execution_id;
        let actor = match self.intent_actor(execution.intent_index).await {
            Ok(actor) => actor,
            Err(error) => {
                error!(%error, task = %task_id, "the intent of a task cannot be read");
                return Done::Left;
            }
        };
        let Some(place) = self.own_places.reserve() else { return Done::Later };
        let step = executor::Step { actor: &actor, transition, payload };
        let appended = self.executor.author().append(execution, step, place).await;
        let appended = appended.map_err(|error| match error {
            executor::StepError::Illegal(illegal) => {
                error!(%illegal, task = %task_id, "an execution does not follow its task");
                None
            }
            executor::StepError::Append(error) => Some(StepError::Append(error)),
        });
        match appended {
            Ok(index) => Done::Through(index),
            Err(Some(error)) => self.recorded(task_id, Err(error)),
            Err(None) => Done::Left,
        }
    }

    /// Whether to go on after a record, and from where.
    fn recorded(&self, task_id: TaskId, appended: Result<Index, StepError>) -> Done {
        let error = match appended {
            Ok(index) => return Done::Through(index),
            Err(error) => error,
        };
        match error.remedy() {
            Remedy::LookAgain { newest } => Done::Through(newest),
            Remedy::Wait => Done::Later,
            Remedy::Ending => Done::Ending,
            Remedy::Repair | Remedy::None => {
                error!(%error, task = %task_id, "what has to be recorded of a task cannot be");
                Done::Left
            }
        }
    }
}
