//! What operators do with tasks, and where one stands that is not there any more.

use std::sync::Arc;

use gesta_log_format::Index;
use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical;
use gesta_replay::event::{Body, Task, TaskId};
use gesta_replay::projections::tasks::Open;
use gesta_replay::task_lifecycle::{State, Transition};

use super::Tasks;
use super::author::Step;
use super::outcome::Asked;
use super::waiting::Depth;
use crate::auth::{Patterns, Worker};
use crate::keys::Fingerprint;
use crate::limits::{
    TASK_CONFLICTS_MAX, TASK_STREAMS_LOOKED_AT_MAX, TASK_WALK_RECORDS_MAX, TASKS_LOOKED_AT_MAX,
};
use crate::members::Members;
use crate::problem::{Problem, ReasonCode};
use crate::store::{RecordBytes, blocking};

/// The end of a task whose execution has ended too.
pub(super) struct Ended {
    pub(super) state: State,
    pub(super) index: Index,
    pub(super) stream_id: String,
    pub(super) attempt: u64,
    pub(super) correlation_id: String,
    first: Option<Index>,
}

/// Which tasks are listed.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    pub(super) state: Option<State>,
    pub(super) pool: Option<String>,
    pub(super) stream_id: Option<String>,
}

impl Selection {
    fn selects(&self, open: &Open) -> bool {
        self.state.is_none_or(|state| open.standing.state == state)
            && self.pool.as_ref().is_none_or(|pool| open.pool == *pool)
            && self.stream_id.as_ref().is_none_or(|stream_id| open.stream_id == *stream_id)
    }
}

impl Tasks {
    /// A task that is there.
    pub(super) fn open(&self, task_id: TaskId) -> Option<Open> {
        self.projector.look(|state| state.tasks.task(task_id).cloned())
    }

    /// What waits of these streams, by pool; of all of them also the pools where workers wait alone.
    pub(super) fn depths(&self, streams: &Patterns) -> Vec<Depth> {
        let now = self.clock.now().wall;
        match streams.match_all() {
            true => self.waiting.depths(now),
            false => self.waiting.depths_of(streams, now),
        }
    }

    /// At most `limit` of the tasks that are there, by ascending id, those with an id above `after`; and whether there may
    /// be more. The projections stand still for so many at a time only.
    pub(super) fn list(
        &self,
        selection: &Selection,
        after: Option<TaskId>,
        limit: usize,
        may_see: impl Fn(&str) -> bool,
    ) -> (Vec<Open>, Option<TaskId>) {
        let (mut found, mut after) = (Vec::new(), after);
        loop {
            let (looked_at, last) = self.projector.look(|state| {
                let (mut looked_at, mut last) = (0, after);
                for open in state.tasks.after(after).take(TASKS_LOOKED_AT_MAX) {
                    if found.len() == limit {
                        break;
                    }
                    looked_at += 1;
                    last = Some(open.task_id);
                    if selection.selects(open) && may_see(&open.stream_id) {
                        found.push(open.clone());
                    }
                }
                (looked_at, last)
            });
            after = last;
            if found.len() == limit {
                return (found, after);
            }
            if looked_at < TASKS_LOOKED_AT_MAX {
                return (found, None);
            }
        }
    }

    /// Cancels a task: at once where no worker has it, else by asking its worker. Asking again is nothing.
    ///
    /// # Errors
    /// `TASK_NOT_FOUND`, `ILLEGAL_TRANSITION`; what keeps a record from being appended.
    pub(super) async fn cancel(&self, task_id: TaskId, asked: &Asked) -> Result<State, Problem> {
        for _ in 0..TASK_CONFLICTS_MAX {
            self.caught_up().await?;
            let open = self.open(task_id).ok_or_else(|| Problem::new(ReasonCode::TaskNotFound))?;
            let (state, attempt) = (open.standing.state, open.standing.attempt);
            if state == State::Running && open.standing.cancel_requested {
                return Ok(state);
            }
            let (transition, members) = match state {
                State::Running => (Transition::CancelRequested, Members::new()),
                State::Queued
                | State::TimedOut
                | State::AttemptFailed
                | State::RetryScheduled
                | State::Completed
                | State::Failed
                | State::Canceled => {
                    (Transition::Canceled { attempt }, Members::new().number("attempt", attempt))
                }
            };
            let payload = asked.write(members).finish();
            let step = Step { transition, actor: &asked.by, payload: &payload, others: Vec::new() };
            match self.author.append(&open, step).await {
                Ok((_, standing)) => return Ok(standing.state),
                Err(error) => self.again(error).await.map_err(|problem| problem.index(open.last_index.0))?,
            }
        }
        Err(Problem::new(ReasonCode::SubjectConflict))
    }

    /// Queues a task now whose retry is scheduled. One that waits already is left so.
    ///
    /// # Errors
    /// As [`Tasks::cancel`].
    pub(super) async fn retry(&self, task_id: TaskId, by: &str) -> Result<State, Problem> {
        for _ in 0..TASK_CONFLICTS_MAX {
            self.caught_up().await?;
            let open = self.open(task_id).ok_or_else(|| Problem::new(ReasonCode::TaskNotFound))?;
            if open.standing.state == State::Queued {
                return Ok(State::Queued);
            }
            let attempt = open.standing.attempt;
            let payload = Members::new().number("attempt", attempt).finish();
            let transition = Transition::Queued { attempt };
            let step = Step { transition, actor: by, payload: &payload, others: Vec::new() };
            match self.author.append(&open, step).await {
                Ok((_, standing)) => return Ok(standing.state),
                Err(error) => self.again(error).await.map_err(|problem| problem.index(open.last_index.0))?,
            }
        }
        Err(Problem::new(ReasonCode::SubjectConflict))
    }

    /// How a task ended that is not there any more, if the worker might have had it. A task's name does not say whose it
    /// is: the streams are asked one after the other, at most so many.
    pub(super) async fn ended_state(
        &self,
        task_id: TaskId,
        worker: &Worker,
    ) -> Result<Option<State>, Problem> {
        let Some(ended) = self.ended_task(task_id).await? else { return Ok(None) };
        let works = self.executor.works();
        let pool = match ended.first {
            Some(first) => works.record(first).await.ok().and_then(|record| pool_of(&record)),
            None => None,
        };
        Ok(pool.filter(|pool| worker.may_claim(pool, &ended.stream_id)).map(|_| ended.state))
    }

    /// How a task ended that is not there any more.
    pub(super) async fn ended_task(&self, task_id: TaskId) -> Result<Option<Ended>, Problem> {
        let streams: Vec<String> = self.projector.look(|state| {
            state.head.streams().take(TASK_STREAMS_LOOKED_AT_MAX).map(|(name, _)| name.to_owned()).collect()
        });
        let (store, subject) = (Arc::clone(&self.store), format!("task/{task_id}"));
        blocking(move || {
            for stream_id in streams {
                let key = Fingerprint::subject(&stream_id, &subject);
                let first = store.keys.oldest(&key)?.map(Index);
                let mut at = store.keys.newest(&key)?.map(Index);
                for _ in 0..TASK_WALK_RECORDS_MAX {
                    let Some(index) = at else { break };
                    let Some(record) = store.record(index)? else { break };
                    match end_or_before(&record, &subject, &stream_id) {
                        Some(Ok(end)) => return Ok(Some(Ended { first, ..end })),
                        Some(Err(before)) => at = before,
                        None => break,
                    }
                }
            }
            Ok(None)
        })
        .await
    }
}

/// The end that a record is, else the record before it. None for a record of something else.
fn end_or_before(
    record: &RecordBytes,
    subject: &str,
    stream_id: &str,
) -> Option<Result<Ended, Option<Index>>> {
    let view = View::parse(record.data())?;
    let Some(Body::Task(task)) = Body::of(view.kind, view.type_name) else { return None };
    if canonical::unescape(view.stream_id)? != stream_id {
        return None;
    }
    let before = view.subjects().flatten().find(|found| found.subject == subject.as_bytes())?.expected;
    let state = match task {
        Task::Completed => State::Completed,
        Task::Failed => State::Failed,
        Task::Canceled => State::Canceled,
        Task::Queued
        | Task::Claimed
        | Task::Extended
        | Task::CancelRequested
        | Task::TimedOut
        | Task::RetryScheduled
        | Task::Event
        | Task::BufferPublished
        | Task::BufferCommitted
        | Task::BufferDeadLettered
        | Task::Placed
        | Task::Started
        | Task::Dropped => return Some(Err(before)),
    };
    let attempt = std::str::from_utf8(view.payload_member("attempt")?).ok()?.parse().ok()?;
    let correlation_id = canonical::unescape(view.correlation_id)?.into_owned();
    let stream_id = stream_id.to_owned();
    Some(Ok(Ended { state, index: view.index, stream_id, attempt, correlation_id, first: None }))
}

/// The pool that the first `queued` names.
fn pool_of(record: &RecordBytes) -> Option<String> {
    let view = View::parse(record.data())?;
    Some(canonical::string(view.payload_member("pool")?)?.into_owned())
}
