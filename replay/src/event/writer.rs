//! Which attempt of a task wrote a record that is no TASK: FORMAT.md, "What an attempt writes".

use super::{Body, Event, EventError, Fault, TaskId};

/// The attempt of a task that wrote a record of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    /// By the subject `task/{id}`, which the record moves besides its own.
    pub task_id: TaskId,
    /// By the payload.
    pub attempt: u64,
}

impl Event<'_> {
    /// The attempt that wrote an EXECUTION, an ARTIFACT or a SESSION; none where no subject names a task, and for every
    /// other kind.
    ///
    /// # Errors
    /// [`Fault::Payload`] where a task is named, and not which attempt of it; [`Fault::NoTask`]; [`Fault::Subjects`].
    pub fn writer(&self) -> Result<Option<Writer>, EventError> {
        match self.body() {
            Body::Execution(_) | Body::Artifact(_) | Body::Session(_) => {}
            Body::Intent(_) | Body::Decision(_) | Body::Task(_) | Body::Control(_) | Body::Ledger(_) => {
                return Ok(None);
            }
        }
        for found in self.view.subjects() {
            let found = found.ok_or_else(|| self.fault(Fault::Subjects))?;
            if let Some(id) = found.subject.strip_prefix(b"task/") {
                let task_id = TaskId::parse(id).ok_or_else(|| self.fault(Fault::NoTask))?;
                return Ok(Some(Writer { task_id, attempt: self.attempt()? }));
            }
        }
        Ok(None)
    }
}
