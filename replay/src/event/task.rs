//! What TASK records say, and of which task: FORMAT.md, "Kinds and types".
//!
//! What a projection decides by has to lie in the record itself; what may have become a blob is a [`Content`].

use std::borrow::Cow;

use gesta_log_format::{Index, Timestamp, hex};

use super::content::{Content, whole_number};
use super::member::Member;
use super::{Event, EventError, ExecutionId, Fault, HandlerKind, Task};

/// The name of a task: that of the execution that it does the work of.
pub type TaskId = ExecutionId;

/// What marks one claim: the secret part of its lease token, which is derived from it and from a key.
pub type Nonce = [u8; 16];

/// The highest priority. The lowest is 0.
pub const PRIORITY_MAX: u8 = 9;

/// The payload of a TASK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskPayload<'a> {
    /// It waits for a worker.
    Queued(TaskQueued<'a>),
    /// A worker has it, under a lease.
    Claimed(TaskClaimed<'a>),
    /// The lease lasts longer.
    Extended {
        /// The latest.
        attempt: u64,
        /// When the lease runs out.
        lease_expires_at: Timestamp,
    },
    /// Its worker is asked to stop.
    CancelRequested {
        /// Who asks.
        by: Cow<'a, str>,
        /// Why, if they said so.
        reason: Option<Cow<'a, str>>,
    },
    /// It is done.
    Completed(TaskCompleted<'a>),
    /// An attempt failed.
    Failed(TaskFailed<'a>),
    /// An attempt took too long. Only this record says so.
    TimedOut {
        /// The latest.
        attempt: u64,
        /// Which limit it broke.
        limit: TimeLimit,
    },
    /// Another attempt will be made.
    RetryScheduled(TaskRetry),
    /// Someone ended it.
    Canceled {
        /// The latest; 0 where it was never claimed.
        attempt: u64,
        /// Who.
        by: Cow<'a, str>,
        /// Why, if they said so.
        reason: Option<Cow<'a, str>>,
        /// What the program wrote to standard error, a blob.
        stderr: Option<Content<'a>>,
    },
    /// The worker reports dataset events.
    Event {
        /// The latest.
        attempt: u64,
        /// A list.
        events: Content<'a>,
    },
    /// The worker has put a batch of rows that wait for the sink.
    BufferPublished(BufferPublished<'a>),
    /// The sink has taken a batch.
    BufferCommitted {
        /// Which.
        batch: BatchName<'a>,
        /// How many rows it has.
        row_count: u64,
    },
    /// The sink has refused a batch.
    BufferDeadLettered {
        /// Which.
        batch: BatchName<'a>,
        /// Why.
        error: Content<'a>,
        /// What was refused.
        original: Content<'a>,
    },
    /// `placed`, `started` or `dropped`, of the data plane: the whole payload.
    DataPlane(&'a [u8]),
}

/// The payload of a TASK `queued`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskQueued<'a> {
    /// The latest; 0 at first.
    pub attempt: u64,
    /// What the task is. A retry, which is queued again, does not repeat it.
    pub first: Option<TaskDescription<'a>>,
}

/// What a task is, as its first `queued` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskDescription<'a> {
    /// [`HandlerKind::Worker`] or [`HandlerKind::Push`].
    pub kind: HandlerKind,
    /// Whose workers may claim it.
    pub pool: Cow<'a, str>,
    /// From 0 to [`PRIORITY_MAX`]; the higher ones are claimed first.
    pub priority: u8,
    /// The INTENT that it came from.
    pub intent_index: Index,
    /// The handler that it is for.
    pub handler: TaskHandler<'a>,
    /// How long it may take, and how often.
    pub limits: TaskLimits,
    /// `{datasets, s3}`: what its capability tokens grant, as it is written.
    pub grants: &'a [u8],
}

/// The handler that a task is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskHandler<'a> {
    /// What it handles.
    pub intent_type: Cow<'a, str>,
    /// Its name among the handlers of the type.
    pub handler_name: Cow<'a, str>,
    /// The CONTROL `handler_registered` that was in force.
    pub index: Index,
}

/// How long a task may take, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskLimits {
    /// How long a lease lasts, from the claim or its extension.
    pub lease_ms: u64,
    /// How often a worker should be heard of.
    pub heartbeat_ms: u64,
    /// How long an attempt may take in all.
    pub timeout_ms: u64,
    /// How often it is claimed at most; at least 1.
    pub max_attempts: u64,
}

/// The payload of a TASK `claimed`. The record's index is the attempt's fencing number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskClaimed<'a> {
    /// From 1.
    pub attempt: u64,
    /// Who has it.
    pub worker_id: Cow<'a, str>,
    /// What the lease token is derived from.
    pub nonce: Nonce,
    /// How long the lease lasts.
    pub lease_ms: u64,
    /// When it runs out.
    pub lease_expires_at: Timestamp,
}

/// The payload of a TASK `completed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskCompleted<'a> {
    /// The latest.
    pub attempt: u64,
    /// What came of it.
    pub result: Option<Content<'a>>,
    /// A list of dataset events.
    pub events: Option<Content<'a>>,
    /// A list of outputs.
    pub outputs: Option<Content<'a>>,
    /// A list, each element a [`super::DatasetVersion`]: see [`Event::datasets_published`]. Never a blob, since the
    /// state of the datasets is made of it.
    pub datasets_published: Option<&'a [u8]>,
    /// What the program wrote to standard error, a blob.
    pub stderr: Option<Content<'a>>,
}

/// The payload of a TASK `failed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFailed<'a> {
    /// The latest.
    pub attempt: u64,
    /// For a person.
    pub error_message: Option<Cow<'a, str>>,
    /// Stable, UPPER_SNAKE.
    pub code: Option<Cow<'a, str>>,
    /// Whether another attempt may help.
    pub retryable: bool,
    /// What the program wrote to standard error, a blob.
    pub stderr: Option<Content<'a>>,
}

/// The payload of a TASK `retry_scheduled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskRetry {
    /// The latest.
    pub attempt: u64,
    /// The delay that was drawn.
    pub delay_ms: u64,
    /// When it is queued again.
    pub next_retry_at: Timestamp,
}

/// The payload of a TASK `buffer_published`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferPublished<'a> {
    /// The latest.
    pub attempt: u64,
    /// Where the batch is.
    pub batch_uri: Cow<'a, str>,
    /// `application/jsonl`.
    pub content_type: Cow<'a, str>,
    /// Its length.
    pub batch_size_bytes: u64,
    /// The dataset whose batches are taken in the order in which they were published.
    pub dedupe_scope: Cow<'a, str>,
}

/// Which of a task's batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchName<'a> {
    /// Where it is.
    pub batch_uri: Cow<'a, str>,
    /// Who published it; without it, the first of those that are waiting under the URI.
    pub attempt: Option<u64>,
}

/// Which limit an attempt broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLimit {
    /// Its worker was not heard of.
    Lease,
    /// It took longer than it may take in all.
    Absolute,
}

impl TimeLimit {
    /// The written form: lower case.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Absolute => "absolute",
        }
    }

    /// Reads the written form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Lease, Self::Absolute].into_iter().find(|limit| limit.text() == text)
    }
}

impl<'a> Event<'a> {
    /// The payload as that of a TASK of the type `task`.
    ///
    /// # Errors
    /// [`Fault::Payload`] names the first member that is not as it should be, as for each of those below.
    pub fn task_payload(&self, task: Task) -> Result<TaskPayload<'a>, EventError> {
        Ok(match task {
            Task::Queued => TaskPayload::Queued(self.task_queued()?),
            Task::Claimed => TaskPayload::Claimed(self.task_claimed()?),
            Task::Extended => {
                let [attempt, lease_expires_at] = self.members(["attempt", "lease_expires_at"]);
                TaskPayload::Extended {
                    attempt: attempt.number()?,
                    lease_expires_at: lease_expires_at.time()?,
                }
            }
            Task::CancelRequested => {
                let [by, reason] = self.members(["by", "reason"]);
                let reason = reason.optional(|member| member.text())?;
                TaskPayload::CancelRequested { by: by.text()?, reason }
            }
            Task::Completed => TaskPayload::Completed(self.task_completed()?),
            Task::Failed => TaskPayload::Failed(self.task_failed()?),
            Task::TimedOut => {
                let [attempt, limit] = self.members(["attempt", "limit"]);
                let limit = limit.one_of("lease or absolute", TimeLimit::parse)?;
                TaskPayload::TimedOut { attempt: attempt.number()?, limit }
            }
            Task::RetryScheduled => TaskPayload::RetryScheduled(self.task_retry()?),
            Task::Canceled => {
                let [attempt, by, reason, stderr] = self.members(["attempt", "by", "reason", "stderr"]);
                let reason = reason.optional(|member| member.text())?;
                let stderr = stderr.optional(|member| member.content())?;
                TaskPayload::Canceled { attempt: attempt.number()?, by: by.text()?, reason, stderr }
            }
            Task::Event => {
                let [attempt, events] = self.members(["attempt", "events"]);
                TaskPayload::Event { attempt: attempt.number()?, events: events.content()? }
            }
            Task::BufferPublished => TaskPayload::BufferPublished(self.buffer_published()?),
            Task::BufferCommitted => {
                let [row_count] = self.members(["row_count"]);
                TaskPayload::BufferCommitted { batch: self.batch_name()?, row_count: row_count.number()? }
            }
            Task::BufferDeadLettered => {
                let [error, original] = self.members(["error", "original"]);
                let (error, original) = (error.content()?, original.content()?);
                TaskPayload::BufferDeadLettered { batch: self.batch_name()?, error, original }
            }
            Task::Placed | Task::Started | Task::Dropped => TaskPayload::DataPlane(self.view.payload),
        })
    }

    /// The payload as that of a TASK `queued`.
    ///
    /// # Errors
    /// [`Fault::Payload`].
    pub fn task_queued(&self) -> Result<TaskQueued<'a>, EventError> {
        let [attempt, kind, pool, priority, intent_index, handler, limits, grants] = self.members([
            "attempt",
            "kind",
            "pool",
            "priority",
            "intent_index",
            "handler",
            "limits",
            "grants",
        ]);
        let attempt = attempt.number()?;
        if attempt > 0 {
            return Ok(TaskQueued { attempt, first: None });
        }
        let [intent_type, handler_name, index] =
            handler.members(["handler.intent_type", "handler.handler_name", "handler.index"])?;
        let first = TaskDescription {
            kind: kind.one_of("worker or push", task_kind)?,
            pool: pool.text()?,
            priority: priority.priority()?,
            intent_index: Index(intent_index.number()?),
            handler: TaskHandler {
                intent_type: intent_type.text()?,
                handler_name: handler_name.text()?,
                index: Index(index.number()?),
            },
            limits: TaskLimits::read(limits)?,
            grants: grants.raw()?,
        };
        Ok(TaskQueued { attempt, first: Some(first) })
    }

    /// The payload as that of a TASK `claimed`.
    ///
    /// # Errors
    /// [`Fault::Payload`].
    pub fn task_claimed(&self) -> Result<TaskClaimed<'a>, EventError> {
        let [attempt, worker_id, nonce, lease_ms, lease_expires_at] =
            self.members(["attempt", "worker_id", "nonce", "lease_ms", "lease_expires_at"]);
        Ok(TaskClaimed {
            attempt: attempt.number()?,
            worker_id: worker_id.text()?,
            nonce: nonce.nonce()?,
            lease_ms: lease_ms.number()?,
            lease_expires_at: lease_expires_at.time()?,
        })
    }

    /// The payload as that of a TASK `completed`.
    ///
    /// # Errors
    /// [`Fault::Payload`].
    pub fn task_completed(&self) -> Result<TaskCompleted<'a>, EventError> {
        let [attempt, result, events, outputs, datasets_published, stderr] =
            self.members(["attempt", "result", "events", "outputs", "datasets_published", "stderr"]);
        Ok(TaskCompleted {
            attempt: attempt.number()?,
            result: result.optional(|member| member.content())?,
            events: events.optional(|member| member.content())?,
            outputs: outputs.optional(|member| member.content())?,
            datasets_published: datasets_published.optional(|member| member.list())?,
            stderr: stderr.optional(|member| member.content())?,
        })
    }

    /// The payload as that of a TASK `failed`.
    ///
    /// # Errors
    /// [`Fault::Payload`].
    pub fn task_failed(&self) -> Result<TaskFailed<'a>, EventError> {
        let [attempt, error_message, code, retryable, stderr] =
            self.members(["attempt", "error_message", "code", "retryable", "stderr"]);
        Ok(TaskFailed {
            attempt: attempt.number()?,
            error_message: error_message.optional(|member| member.text())?,
            code: code.optional(|member| member.text())?,
            retryable: retryable.boolean()?,
            stderr: stderr.optional(|member| member.content())?,
        })
    }

    /// The payload as that of a TASK `retry_scheduled`.
    ///
    /// # Errors
    /// [`Fault::Payload`].
    pub fn task_retry(&self) -> Result<TaskRetry, EventError> {
        let [attempt, delay_ms, next_retry_at] = self.members(["attempt", "delay_ms", "next_retry_at"]);
        Ok(TaskRetry {
            attempt: attempt.number()?,
            delay_ms: delay_ms.number()?,
            next_retry_at: next_retry_at.time()?,
        })
    }

    /// The payload as that of a TASK `buffer_published`.
    ///
    /// # Errors
    /// [`Fault::Payload`].
    pub fn buffer_published(&self) -> Result<BufferPublished<'a>, EventError> {
        let [attempt, batch_uri, content_type, batch_size_bytes, dedupe_scope] =
            self.members(["attempt", "batch_uri", "content_type", "batch_size_bytes", "dedupe_scope"]);
        Ok(BufferPublished {
            attempt: attempt.number()?,
            batch_uri: batch_uri.text()?,
            content_type: content_type.text()?,
            batch_size_bytes: batch_size_bytes.number()?,
            dedupe_scope: dedupe_scope.text()?,
        })
    }

    /// Which batch a TASK `buffer_committed` or `buffer_dead_lettered` is about.
    ///
    /// # Errors
    /// [`Fault::Payload`].
    pub fn batch_name(&self) -> Result<BatchName<'a>, EventError> {
        let [batch_uri, attempt] = self.members(["batch_uri", "attempt"]);
        let attempt = attempt.optional(|member| member.number())?;
        Ok(BatchName { batch_uri: batch_uri.text()?, attempt })
    }

    /// Which attempt a TASK speaks of, or what an attempt wrote besides.
    pub(crate) fn attempt(&self) -> Result<u64, EventError> {
        let [attempt] = self.members(["attempt"]);
        attempt.number()
    }

    /// When the lease of a TASK `extended` runs out.
    pub(crate) fn lease_expires_at(&self) -> Result<Timestamp, EventError> {
        let [lease_expires_at] = self.members(["lease_expires_at"]);
        lease_expires_at.time()
    }

    /// The task that the record is about, by its subject `task/{id}`, and the index of that subject's previous record
    /// as the author expected it.
    ///
    /// # Errors
    /// [`Fault::NoTask`] where no subject names one; [`Fault::Subjects`].
    pub fn task_subject(&self) -> Result<(TaskId, Option<Index>), EventError> {
        for found in self.view.subjects() {
            let found = found.ok_or_else(|| self.fault(Fault::Subjects))?;
            if let Some(id) = found.subject.strip_prefix(b"task/") {
                let id = TaskId::parse(id).ok_or_else(|| self.fault(Fault::NoTask))?;
                return Ok((id, found.expected));
            }
        }
        Err(self.fault(Fault::NoTask))
    }
}

impl TaskLimits {
    fn read(limits: Member<'_>) -> Result<Self, EventError> {
        let [lease_ms, heartbeat_ms, timeout_ms, max_attempts] = limits.members([
            "limits.lease_ms",
            "limits.heartbeat_ms",
            "limits.timeout_ms",
            "limits.max_attempts",
        ])?;
        Ok(Self {
            lease_ms: lease_ms.number()?,
            heartbeat_ms: heartbeat_ms.number()?,
            timeout_ms: timeout_ms.number()?,
            max_attempts: max_attempts.positive()?,
        })
    }
}

/// The kinds of handlers whose executions are tasks.
pub(crate) fn task_kind(text: &str) -> Option<HandlerKind> {
    HandlerKind::parse(text).filter(|kind| match kind {
        HandlerKind::Worker | HandlerKind::Push => true,
        HandlerKind::Builtin | HandlerKind::External | HandlerKind::Stream => false,
    })
}

impl<'a> Member<'a> {
    pub(super) fn time(self) -> Result<Timestamp, EventError> {
        self.checked("a UTC time with six decimals", |value| {
            Timestamp::parse(value.strip_prefix(b"\"")?.strip_suffix(b"\"")?)
        })
    }

    pub(super) fn nonce(self) -> Result<Nonce, EventError> {
        self.checked("32 hexadecimal digits", |value| {
            hex::read(value.strip_prefix(b"\"")?.strip_suffix(b"\"")?)
        })
    }

    pub(super) fn boolean(self) -> Result<bool, EventError> {
        self.checked("true or false", |value| match value {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        })
    }

    pub(super) fn positive(self) -> Result<u64, EventError> {
        self.checked("a whole number from 1", |value| whole_number(value).filter(|number| *number > 0))
    }

    pub(super) fn priority(self) -> Result<u8, EventError> {
        self.checked("a whole number from 0 to 9", |value| {
            let number = u8::try_from(whole_number(value)?).ok()?;
            (number <= PRIORITY_MAX).then_some(number)
        })
    }

    /// The value as it is written.
    pub(super) fn raw(self) -> Result<&'a [u8], EventError> {
        self.checked("given", Some)
    }

    /// A list, as it is written. A blob is none.
    pub(super) fn list(self) -> Result<&'a [u8], EventError> {
        self.checked("a list in the record itself", |value| (value.first() == Some(&b'[')).then_some(value))
    }
}
