//! The end of an attempt, as its worker reports it: one record on all that it changes, once.

use gesta_log_format::envelope::{Expectation, View};
use gesta_log_format::json::canonical;
use gesta_log_format::{Digest, Index};
use gesta_replay::event::{Body, Task, TaskId};
use gesta_replay::projections::tasks::Open;
use gesta_replay::task_lifecycle::{State, Transition};

use super::author::Step;
use super::fence::Fence;
use super::outcome::Asked;
use super::{Tasks, grants};
use crate::capability::Claims;
use crate::keys::Fingerprint;
use crate::limits::{TASK_CONFLICTS_MAX, TASK_WALK_RECORDS_MAX};
use crate::members::Members;
use crate::problem::{Problem, ReasonCode};
use crate::store::{LookupError, unreadable};

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Completed,
    Failed,
    Canceled,
}

impl Status {
    const ALL: [Self; 3] = [Self::Completed, Self::Failed, Self::Canceled];

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Canceled => "Canceled",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.text() == text)
    }

    fn of(task: Task) -> Option<Self> {
        match task {
            Task::Completed => Some(Self::Completed),
            Task::Failed => Some(Self::Failed),
            Task::Canceled => Some(Self::Canceled),
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
            | Task::Dropped => None,
        }
    }
}

/// A worker's report, its shape checked; all JSON is canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) fence: Fence,
    pub(super) status: Status,
    pub(super) result: Option<Vec<u8>>,
    pub(super) retryable: bool,
    pub(super) error_message: Option<String>,
    pub(super) code: Option<String>,
    pub(super) events: Option<Vec<u8>>,
    pub(super) outputs: Option<Vec<u8>>,
    pub(super) datasets: Option<Vec<u8>>,
    /// A reference to a blob.
    pub(super) stderr: Option<Vec<u8>>,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) status: Status,
    pub(super) index: Index,
    /// It was reported before.
    pub(super) repeated: bool,
}

impl Report {
    /// The payload of the record, but for what is observed. A cancel is that of who `asked` for it.
    fn payload(&self, asked: &Asked) -> Members {
        let members = Members::new().number("attempt", self.fence.attempt);
        let members = members.some("stderr", self.stderr.as_deref());
        match self.status {
            Status::Completed => members
                .some("result", self.result.as_deref())
                .some("events", self.events.as_deref())
                .some("outputs", self.outputs.as_deref())
                .some("datasets_published", self.datasets.as_deref()),
            Status::Failed => members
                .some_text("error_message", self.error_message.as_deref())
                .some_text("code", self.code.as_deref())
                .boolean("retryable", self.retryable),
            Status::Canceled => asked.clone().or_because(self.error_message.as_deref()).write(members),
        }
    }

    /// What decides whether another report is this one.
    fn digest(&self) -> Digest {
        let nobody = Asked { by: String::new(), reason: None };
        Digest::of(&self.payload(&nobody).text("status", self.status.text()).finish())
    }

    fn transition(&self) -> Transition {
        let attempt = self.fence.attempt;
        match self.status {
            Status::Completed => Transition::Completed { attempt },
            Status::Failed => Transition::Failed { attempt, retryable: self.retryable },
            Status::Canceled => Transition::Canceled { attempt },
        }
    }
}

impl Tasks {
    /// Ends an attempt.
    ///
    /// # Errors
    /// `STALE_ATTEMPT`, `BLOB_NOT_FOUND`, `DATASET_FORBIDDEN`, `RESULT_INVALID`, `DATASET_VERSION_CONFLICT`; what keeps a
    /// record from being appended.
    pub(super) async fn complete(&self, report: &Report, capability: &Claims) -> Result<Reported, Problem> {
        grants::demand_of_report(report, capability)?;
        let stream_id = &capability.org_id;
        let parts = [
            (&report.result, "/result"),
            (&report.events, "/events"),
            (&report.outputs, "/outputs"),
            (&report.datasets, "/datasets_published"),
            (&report.stderr, "/stderr"),
        ];
        for (content, at) in parts {
            if let Some(content) = content {
                self.demand_blobs(stream_id, &report.fence, content, at).await?;
            }
        }
        let digest = report.digest();
        let mut is_valid = false;
        for _ in 0..TASK_CONFLICTS_MAX {
            let Some(open) = self.latest(&report.fence).await? else {
                return self.repeated_of_ended(report, stream_id, &digest).await;
            };
            if open.standing.state != State::Running
                && let Some(before) = self.reported_before(&open, open.last_index, &digest).await?
            {
                return Ok(before);
            }
            if open.standing.state.is_terminal() {
                return Err(self.stale(&format!("the task is {} already", open.standing.state)));
            }
            if !is_valid {
                self.demand_result(report, &open).await?;
                is_valid = true;
            }
            let others = self.datasets(report, &open)?;
            match self.record_report(report, &open, &digest, others).await {
                Ok(index) => return Ok(Reported { status: report.status, index, repeated: false }),
                Err(error) => self.again(error).await?,
            }
        }
        Err(Problem::new(ReasonCode::SubjectConflict))
    }

    async fn record_report(
        &self,
        report: &Report,
        open: &Open,
        digest: &Digest,
        others: Vec<Expectation>,
    ) -> Result<Index, super::author::StepError> {
        let worker_id = open.lease.as_ref().map_or("", |lease| lease.worker_id.as_str());
        let observed = Members::new().text("request_digest", &digest.to_string()).finish();
        let asked = match open.cancel_requested {
            Some(_) => self.asked_to_stop(open.cancel_requested).await,
            None => Asked { by: worker_id.to_owned(), reason: None },
        };
        let payload = report.payload(&asked).raw("_obs", observed).finish();
        let step = Step { transition: report.transition(), actor: worker_id, payload: &payload, others };
        self.author.append(open, step).await.map(|(index, _)| index)
    }

    /// The same report, where the task is not there any more. Its capability alone shows whose it was: it says which
    /// attempt, and nothing is changed.
    async fn repeated_of_ended(
        &self,
        report: &Report,
        stream_id: &str,
        digest: &Digest,
    ) -> Result<Reported, Problem> {
        let task_id = report.fence.task_id;
        let key = Fingerprint::subject(stream_id, &format!("task/{task_id}"));
        let newest = self.store.keys.newest(&key).map_err(|error| unreadable(&LookupError::from(error)))?;
        let before = match newest.map(Index) {
            Some(newest) => self.reported(task_id, report.fence.attempt, newest, digest).await?,
            None => None,
        };
        before.ok_or_else(|| self.stale("the task has ended otherwise, and so has its execution"))
    }

    async fn reported_before(
        &self,
        open: &Open,
        from: Index,
        digest: &Digest,
    ) -> Result<Option<Reported>, Problem> {
        self.reported(open.task_id, open.standing.attempt, from, digest).await
    }

    /// The report of this digest by which the attempt ended, from the record at `from` back to the one by which it was
    /// live no more.
    async fn reported(
        &self,
        task_id: TaskId,
        attempt: u64,
        from: Index,
        digest: &Digest,
    ) -> Result<Option<Reported>, Problem> {
        let mut at = Some(from);
        for _ in 0..TASK_WALK_RECORDS_MAX {
            let Some(index) = at else { return Ok(None) };
            let record = self.executor.works().record(index).await.map_err(|error| {
                tracing::error!(%error, "a task's record cannot be read");
                Problem::new(ReasonCode::Internal)
            })?;
            match Passed::read(record.data(), task_id, attempt, digest) {
                Some(Passed::Same(status)) => return Ok(Some(Reported { status, index, repeated: true })),
                Some(Passed::Before(before)) => at = before,
                None => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// What a record of a task is to someone who looks for a report, going back.
enum Passed {
    /// It is the report.
    Same(Status),
    /// It came after the attempt ended; the one before it.
    Before(Option<Index>),
}

impl Passed {
    /// None where the attempt was live, or was another one.
    fn read(record: &[u8], task_id: TaskId, attempt: u64, digest: &Digest) -> Option<Self> {
        let view = View::parse(record)?;
        let Some(Body::Task(task)) = Body::of(view.kind, view.type_name) else { return None };
        let subject = format!("task/{task_id}");
        let before = view.subjects().flatten().find(|found| found.subject == subject.as_bytes())?.expected;
        let is_of_attempt = view.payload_member("attempt") == Some(attempt.to_string().as_bytes());
        match task {
            Task::Completed | Task::Failed | Task::Canceled => {
                let status = Status::of(task)?;
                match is_of_attempt && request_digest(&view) == Some(*digest) {
                    true => Some(Self::Same(status)),
                    false => Some(Self::Before(before)),
                }
            }
            Task::Queued | Task::RetryScheduled => is_of_attempt.then_some(Self::Before(before)),
            Task::BufferCommitted | Task::BufferDeadLettered => Some(Self::Before(before)),
            Task::Claimed
            | Task::Extended
            | Task::CancelRequested
            | Task::TimedOut
            | Task::Event
            | Task::BufferPublished
            | Task::Placed
            | Task::Started
            | Task::Dropped => None,
        }
    }
}

fn request_digest(view: &View<'_>) -> Option<Digest> {
    let observed = view.payload_member("_obs")?;
    Digest::parse(&canonical::string(canonical::member(observed, "request_digest")?)?)
}
