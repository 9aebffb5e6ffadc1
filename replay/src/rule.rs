//! What a log keeps to beyond its bytes, and how a record breaks it.

use gesta_log_format::Index;

use crate::event::{Execution, ExecutionId, TaskId};
use crate::lifecycle::IllegalTransition;
use crate::task_lifecycle;

/// How a record that is well formed contradicts those before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// An INTENT is decided again.
    #[error("it decides the INTENT at index {intent_index} again: the DECISION at index {first} did")]
    SecondDecision {
        /// The INTENT.
        intent_index: Index,
        /// What the record itself names as the DECISION before it.
        first: Index,
    },
    /// What is decided does not await it.
    #[error("no INTENT awaits its DECISION at index {intent_index}: it has one, or there is no such INTENT")]
    NotAwaiting {
        /// What is decided.
        intent_index: Index,
    },
    /// An execution without an ALLOW.
    #[error("the execution {execution_id} has no ALLOW: its INTENT at index {intent_index} is not decided")]
    NotAllowed {
        /// The execution.
        execution_id: ExecutionId,
        /// Its INTENT.
        intent_index: Index,
    },
    /// An execution that is not open.
    #[error(
        "no execution {execution_id} is open: it has ended, its INTENT was denied, or there is no such INTENT"
    )]
    NotOpen {
        /// The execution.
        execution_id: ExecutionId,
    },
    /// An INTENT is allowed whose execution bears the id of one that is open.
    #[error("its execution {execution_id} is open already, by the INTENT at index {other}")]
    ExecutionIdReused {
        /// The execution.
        execution_id: ExecutionId,
        /// The INTENT that became it.
        other: Index,
    },
    /// A step that may not follow.
    #[error("the execution {execution_id}: {cause}")]
    Transition {
        /// The execution.
        execution_id: ExecutionId,
        /// Why not.
        cause: IllegalTransition,
    },
    /// It is not anchored where its INTENT is.
    #[error(
        "its stream, lane, correlation id, thread, turn or parent turn is not that of the INTENT at index \
         {intent_index}"
    )]
    Anchors {
        /// The INTENT.
        intent_index: Index,
    },
    /// It does not name the subject that its kind and type ask for.
    #[error("none of its subjects is {wanted}")]
    Subject {
        /// The subject.
        wanted: String,
    },
    /// It was compared with another record of a subject than the last one.
    #[error(
        "it expected {} as the previous record of {subject}, which is {}",
        Previous(*expected),
        Previous(*previous)
    )]
    Expected {
        /// The subject, as it is written.
        subject: String,
        /// What the author compared with.
        expected: Option<Index>,
        /// The index of the subject's previous record.
        previous: Option<Index>,
    },
    /// A stream has two INTENTs `submitted` of one correlation id.
    #[error("its correlation id is that of the INTENT at index {first}, in the same stream")]
    CorrelationIdReused {
        /// The record before it, of the same subject.
        first: Index,
    },
    /// An INTENT `cancel_requested` without one `submitted`.
    #[error("it asks to cancel an INTENT that its stream does not have")]
    NothingToCancel,
    /// A record that comes after it led to it.
    #[error("its cause is index {cause}, which does not lie before it")]
    Cause {
        /// What it names.
        cause: Index,
    },
    /// Time went backwards.
    #[error("its recorded_at is earlier than that of the record before it")]
    Time,
    /// A CONTROL record in another stream than `_system`.
    #[error("it is a CONTROL record, and those stand in the stream _system alone")]
    ControlStream,
    /// A handler is removed that is not registered.
    #[error("it removes the handler {handler_name:?} of {intent_type:?}, which is not registered")]
    HandlerUnknown {
        /// What it would handle.
        intent_type: String,
        /// Its name.
        handler_name: String,
    },
    /// A task that is not there.
    #[error("there is no task {task_id}: it was not queued, or its execution has ended")]
    TaskNotOpen {
        /// The task.
        task_id: TaskId,
    },
    /// A step of a task that may not follow.
    #[error("the task {task_id}: {cause}")]
    Task {
        /// The task.
        task_id: TaskId,
        /// Why not.
        cause: task_lifecycle::IllegalTransition,
    },
    /// An execution ends, and its task does not.
    #[error("it ends the execution of the task {task_id}, which has not ended")]
    TaskLeftOpen {
        /// The task.
        task_id: TaskId,
    },
    /// An execution ends otherwise than its task.
    #[error("its task {task_id} is {state}, so that the execution is {}", .wanted.text())]
    TaskOutcome {
        /// The task.
        task_id: TaskId,
        /// How it ended.
        state: task_lifecycle::State,
        /// What the record should be.
        wanted: Execution,
    },
    /// A task does not name the INTENT of its execution, or a handler of another type of intent.
    #[error(
        "it is not a task of its execution's INTENT at index {intent_index}, of the type {intent_type:?}"
    )]
    TaskIntent {
        /// The INTENT.
        intent_index: Index,
        /// What that asks for.
        intent_type: String,
    },
    /// A task does not follow from what it has to follow from.
    #[error("its cause is not index {wanted}: the task's previous record, or the DECISION that allowed it")]
    TaskCause {
        /// What its cause should be.
        wanted: Index,
    },
    /// A task's handler is none for tasks.
    #[error(
        "it is for the handler {handler_name:?} of index {index}, which was not registered for such tasks"
    )]
    TaskHandler {
        /// Its name.
        handler_name: String,
        /// The record that should have registered it.
        index: Index,
    },
    /// A dataset version is registered as something else than it is.
    #[error(
        "it registers the version {dataset_version:?} of the dataset {dataset_uuid:?} with other metadata than the \
         record at index {first} did"
    )]
    DatasetConflict {
        /// The dataset.
        dataset_uuid: String,
        /// Its version.
        dataset_version: String,
        /// What registered it.
        first: Index,
    },
    /// An attempt publishes a batch that waits already.
    #[error("it publishes the batch again that the record at index {first} did")]
    BatchTwice {
        /// What published it.
        first: Index,
    },
    /// A sink takes a batch that does not wait.
    #[error("no batch {batch_uri:?} of the task {task_id} waits: it was taken, or it was not published")]
    BatchNotWaiting {
        /// The task.
        task_id: TaskId,
        /// Where the batch would be.
        batch_uri: String,
    },
    /// A sink takes a batch out of order.
    #[error("the batch at index {first}, of the same scope, was published before and still waits")]
    BatchOrder {
        /// What has to be taken first.
        first: Index,
    },
    /// What a sink says is not anchored where the batch was published.
    #[error(
        "its stream, lane, correlation id, thread, turn or parent turn is not that of the batch at index {published}"
    )]
    BatchAnchors {
        /// What published the batch.
        published: Index,
    },
}

struct Previous(Option<Index>);

impl std::fmt::Display for Previous {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(index) => write!(f, "index {index}"),
            None => f.write_str("none"),
        }
    }
}

impl Rule {
    /// A stable name, UPPER_SNAKE, for reports that machines read.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SecondDecision { .. } => "SECOND_DECISION",
            Self::NotAwaiting { .. } => "DECISION_WITHOUT_INTENT",
            Self::NotAllowed { .. } => "EXECUTION_WITHOUT_ALLOW",
            Self::NotOpen { .. } => "EXECUTION_NOT_OPEN",
            Self::ExecutionIdReused { .. } => "EXECUTION_ID_REUSED",
            Self::Transition { .. } => "ILLEGAL_TRANSITION",
            Self::Anchors { .. } => "ANCHORS",
            Self::Subject { .. } => "SUBJECT",
            Self::Expected { .. } => "EXPECTED",
            Self::CorrelationIdReused { .. } => "CORRELATION_ID_REUSED",
            Self::NothingToCancel => "NOTHING_TO_CANCEL",
            Self::Cause { .. } => "CAUSE",
            Self::Time => "TIME",
            Self::ControlStream => "CONTROL_STREAM",
            Self::HandlerUnknown { .. } => "HANDLER_UNKNOWN",
            Self::TaskNotOpen { .. } => "TASK_NOT_OPEN",
            Self::Task { cause, .. } => cause.name(),
            Self::TaskLeftOpen { .. } => "TASK_LEFT_OPEN",
            Self::TaskOutcome { .. } => "TASK_OUTCOME",
            Self::TaskIntent { .. } => "TASK_INTENT",
            Self::TaskCause { .. } => "TASK_CAUSE",
            Self::TaskHandler { .. } => "TASK_HANDLER",
            Self::DatasetConflict { .. } => "DATASET_CONFLICT",
            Self::BatchTwice { .. } => "BATCH_PUBLISHED_TWICE",
            Self::BatchNotWaiting { .. } => "BATCH_NOT_WAITING",
            Self::BatchOrder { .. } => "BATCH_OUT_OF_ORDER",
            Self::BatchAnchors { .. } => "ANCHORS",
        }
    }
}
