//! Whether a record says what those who fold it will ask: for authors, before they append it.

use super::{Artifact, Body, Control, Event, EventError, Task};
use crate::{lifecycle, task_lifecycle};

impl Event<'_> {
    /// Reads everything of the payload that a projection reads. A record that passes can be folded, unless it breaks a
    /// rule that depends on the records before it.
    ///
    /// # Errors
    /// What the fold would say: [`super::Fault::Payload`] names the first member that is not as it should be.
    pub fn check(&self) -> Result<(), EventError> {
        self.writer()?;
        match self.body() {
            Body::Task(task) => {
                self.task_payload(task)?;
                task_lifecycle::Transition::of(self, task)?;
                match task {
                    Task::Completed => self.datasets_published().map(drop),
                    Task::Queued
                    | Task::Claimed
                    | Task::Extended
                    | Task::CancelRequested
                    | Task::Failed
                    | Task::TimedOut
                    | Task::RetryScheduled
                    | Task::Canceled
                    | Task::Event
                    | Task::BufferPublished
                    | Task::BufferCommitted
                    | Task::BufferDeadLettered
                    | Task::Placed
                    | Task::Started
                    | Task::Dropped => Ok(()),
                }
            }
            Body::Artifact(artifact) => match artifact {
                Artifact::DatasetRegistered => self.dataset_registered().map(drop),
                Artifact::DatasetEvent => self.dataset_event().map(drop),
                Artifact::Registered
                | Artifact::Materialized
                | Artifact::LifecycleChanged
                | Artifact::Erased => Ok(()),
            },
            Body::Execution(execution) => lifecycle::Transition::of(self, execution).map(drop),
            Body::Control(control) => match control {
                Control::HandlerRegistered => {
                    self.handler_registered()?;
                    self.registration().map(drop)
                }
                Control::HandlerRemoved => self.handler_removed().map(drop),
                Control::PolicyActivated
                | Control::ContextActivated
                | Control::PoolSet
                | Control::PoolDraining
                | Control::ReloadStarted
                | Control::ReloadCompleted
                | Control::ReloadFailed
                | Control::ModelSet
                | Control::ModelRemoved
                | Control::ModelVerified
                | Control::KeyRotated
                | Control::TokenCreated
                | Control::TokenRevoked
                | Control::Erasure
                | Control::ClockBehind
                | Control::LogBase => Ok(()),
            },
            Body::Intent(_) | Body::Decision(_) | Body::Session(_) | Body::Ledger(_) => Ok(()),
        }
    }
}
