//! The steps of an execution as its handler tells them: EXECUTION `step_completed`, `step_failed` and `event`.

use gesta_log_format::envelope::{Expectation, View};
use gesta_log_format::{Digest, Index, Kind};
use gesta_replay::event::Execution;

use super::{Surface, SurfaceError, Writer};

/// What a handler tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(super) kind: StepKind,
    /// Of the step, or of the event.
    pub(super) name: String,
    /// Canonical JSON.
    pub(super) payload: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepKind {
    Completed,
    Failed,
    Event,
}

impl StepKind {
    const ALL: [Self; 3] = [Self::Completed, Self::Failed, Self::Event];

    const fn execution(self) -> Execution {
        match self {
            Self::Completed => Execution::StepCompleted,
            Self::Failed => Execution::StepFailed,
            Self::Event => Execution::Event,
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.execution().text() == text)
    }

    /// What the record calls the name and the payload.
    const fn members(self) -> (&'static str, &'static str) {
        match self {
            Self::Completed => ("step", "output"),
            Self::Failed => ("step", "error"),
            Self::Event => ("name", "payload"),
        }
    }
}

impl Step {
    /// The content, for whoever checks what it refers to.
    pub(crate) fn payload(&self) -> Option<&[u8]> {
        self.payload.as_deref()
    }
}

impl Surface {
    /// Appends a step of the writer's execution, which is running and whose last record is at `last`; gives the record's
    /// index and digest. A repeat is another record.
    ///
    /// # Errors
    /// `Overtaken`; what keeps a record from being appended, or from being read again.
    pub(crate) async fn append_step(
        &self,
        writer: &Writer<'_>,
        last: Option<Index>,
        step: &Step,
    ) -> Result<(Index, Digest), SurfaceError> {
        let (name, content) = step.kind.members();
        let payload = writer.members().text(name, &step.name).some(content, step.payload()).finish();
        let own = Expectation { subject: format!("execution/{}", writer.execution_id), expected: last };
        let type_name = Execution::text(step.kind.execution());
        let index = self.append(writer, (Kind::Execution, type_name), own, &payload).await?;
        let record = self.works.record(index).await?;
        let digest = View::parse(record.data()).and_then(|view| view.digest());
        Ok((index, digest.ok_or(SurfaceError::Foreign(index))?))
    }
}
