//! What EXECUTION records say, and of which execution: FORMAT.md, "Kinds and types".

use std::borrow::Cow;

use gesta_log_format::json::canonical::{self, Members};
use gesta_log_format::{Digest, Index};

use super::content::Content;
use super::{Event, EventError, Execution, ExecutionId, Fault};

/// The payload of an EXECUTION.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened<'a> {
    /// A handler was given it.
    Running {
        /// Which time, from 1.
        delivery: u64,
        /// The context that it was given.
        context_digest: Option<Digest>,
    },
    /// The handler reported something: the whole payload.
    Event(&'a [u8]),
    /// Its state was replaced.
    StateSet {
        /// An object.
        value: Content<'a>,
    },
    /// A step of it is done.
    StepCompleted {
        /// Its name.
        step: Cow<'a, str>,
        /// What came of it.
        output: Option<Content<'a>>,
    },
    /// A step of it failed, which does not end it.
    StepFailed {
        /// Its name.
        step: Cow<'a, str>,
        /// Why.
        error: Option<Content<'a>>,
    },
    /// It is done.
    Completed {
        /// What came of it.
        output: Option<Content<'a>>,
        /// The delivery that did it.
        delivery: Option<u64>,
    },
    /// It failed.
    Failed {
        /// `{code, message}`: see [`Failure::parse`].
        error: Content<'a>,
        /// The delivery that failed, if one was made.
        delivery: Option<u64>,
    },
    /// Someone ended it.
    Cancelled {
        /// Who.
        by: Cow<'a, str>,
        /// Why, if they said so.
        reason: Option<Cow<'a, str>>,
    },
}

/// Why an execution failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// Stable, UPPER_SNAKE.
    pub code: Cow<'a, str>,
    /// For a person.
    pub message: Cow<'a, str>,
}

impl<'a> Event<'a> {
    /// The payload as that of an EXECUTION of the type `execution`.
    ///
    /// # Errors
    /// [`Fault::Payload`] names the first member that is not as it should be.
    pub fn happened(&self, execution: Execution) -> Result<Happened<'a>, EventError> {
        Ok(match execution {
            Execution::Running => {
                let [delivery, context_digest] = self.members(["delivery", "context_digest"]);
                let context_digest = context_digest.optional(|member| member.digest())?;
                Happened::Running { delivery: delivery.number()?, context_digest }
            }
            Execution::Event => Happened::Event(self.view.payload),
            Execution::StateSet => {
                let [value] = self.members(["value"]);
                Happened::StateSet { value: value.content()? }
            }
            Execution::StepCompleted => {
                let [step, output] = self.members(["step", "output"]);
                let output = output.optional(|member| member.content())?;
                Happened::StepCompleted { step: step.text()?, output }
            }
            Execution::StepFailed => {
                let [step, error] = self.members(["step", "error"]);
                let error = error.optional(|member| member.content())?;
                Happened::StepFailed { step: step.text()?, error }
            }
            Execution::Completed => {
                let [output, delivery] = self.members(["output", "delivery"]);
                let output = output.optional(|member| member.content())?;
                Happened::Completed { output, delivery: delivery.optional(|member| member.number())? }
            }
            Execution::Failed => {
                let [error, delivery] = self.members(["error", "delivery"]);
                let delivery = delivery.optional(|member| member.number())?;
                Happened::Failed { error: error.content()?, delivery }
            }
            Execution::Cancelled => {
                let [by, reason] = self.members(["by", "reason"]);
                Happened::Cancelled { by: by.text()?, reason: reason.optional(|member| member.text())? }
            }
        })
    }

    /// Which delivery an EXECUTION `running` is.
    pub(crate) fn delivery(&self) -> Result<u64, EventError> {
        let [delivery] = self.members(["delivery"]);
        delivery.number()
    }

    /// The execution that the record is about, by its subject `execution/{id}`, and the index of that subject's
    /// previous record as the author expected it.
    ///
    /// # Errors
    /// [`Fault::NoExecution`] where no subject names one; [`Fault::Subjects`].
    pub fn execution_subject(&self) -> Result<(ExecutionId, Option<Index>), EventError> {
        for found in self.view.subjects() {
            let found = found.ok_or_else(|| self.fault(Fault::Subjects))?;
            if let Some(id) = found.subject.strip_prefix(b"execution/") {
                let id = ExecutionId::parse(id).ok_or_else(|| self.fault(Fault::NoExecution))?;
                return Ok((id, found.expected));
            }
        }
        Err(self.fault(Fault::NoExecution))
    }
}

impl<'a> Failure<'a> {
    /// Reads the canonical `{code, message}`; other members are passed over.
    #[must_use]
    pub fn parse(error: &'a [u8]) -> Option<Self> {
        let (mut code, mut message) = (None, None);
        for member in Members::new(error) {
            let (key, value) = member.ok()?;
            match key {
                b"code" => code = canonical::string(value),
                b"message" => message = canonical::string(value),
                _ => {}
            }
        }
        Some(Self { code: code?, message: message? })
    }
}
