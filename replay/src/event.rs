//! The typed envelope: one record's members, borrowed from its text, with kind and type as one closed enum.
//!
//! Owns the meaning of `kind`, `type` and of the payload members that projections decide by. Ids are unescaped only
//! when they are asked for. An envelope of a kind or type that is not in the lists of FORMAT.md is an error that
//! names it: state folded around a record that nobody understood would be wrong without a sign.

use std::borrow::Cow;

use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical::{self, Members};
use gesta_log_format::{Index, Kind, Timestamp};

mod body;
mod check;
mod content;
mod control;
mod dataset;
mod decision;
mod execution;
mod execution_id;
mod fault;
mod intent;
mod member;
mod registration;
mod task;
mod writer;

pub use body::{Artifact, Body, Control, Decision, Execution, Intent, Ledger, Session, Task};
pub use content::{BlobReference, Content, Elements};
pub use control::{
    ContextActivated, HandlerKind, HandlerRegistered, HandlerRemoved, KeyRotated, LogBase, PolicyActivated,
};
pub use dataset::{DatasetEvent, DatasetExtent, DatasetMetadata, DatasetName, DatasetVersion};
pub use decision::{Boundary, Decided, Engine, PolicyPin};
pub use execution::{Failure, Happened};
pub use execution_id::ExecutionId;
pub use fault::{EventError, Fault};
pub use intent::{CancelRequested, DeclaredRef, Principal, Submitted};
pub use registration::{Job, Publish, RegisteredLimits, Registration};
pub(crate) use task::task_kind;
pub use task::{
    BatchName, BufferPublished, Nonce, PRIORITY_MAX, TaskClaimed, TaskCompleted, TaskDescription, TaskFailed,
    TaskHandler, TaskId, TaskLimits, TaskPayload, TaskQueued, TaskRetry, TimeLimit,
};
pub use writer::Writer;

/// The stream of CONTROL records.
pub const SYSTEM_STREAM: &str = "_system";

/// One record's envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    view: View<'a>,
    body: Body,
    pivots: Pivots<'a>,
}

/// What every projection asks of a payload, found in one walk when the envelope is read: a DECISION holds the whole
/// assembled context in front of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pivots<'a> {
    intent_index: Option<&'a [u8]>,
    result: Option<&'a [u8]>,
}

impl<'a> Pivots<'a> {
    fn of(payload: &'a [u8]) -> Self {
        let mut pivots = Self::default();
        for (key, value) in Members::new(payload).map_while(Result::ok) {
            match key {
                b"intent_index" => pivots.intent_index = Some(value),
                b"result" => {
                    pivots.result = Some(value);
                    break;
                }
                _ => {}
            }
        }
        pivots
    }
}

/// What a policy answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The intent is executed.
    Allow,
    /// The turn ends here.
    Deny,
}

impl<'a> Event<'a> {
    /// Reads an envelope: exactly the JSON text of a record's `data:` line.
    ///
    /// # Errors
    /// [`EventError`] names the index, where the text has one, and the first member that is not as it should be.
    pub fn parse(data: &'a [u8]) -> Result<Self, EventError> {
        let view = View::parse(data).ok_or_else(|| fault::diagnose(data))?;
        Self::of_view(view)
    }

    /// Gives the members of an envelope that was read before their types.
    ///
    /// # Errors
    /// [`Fault::UnknownType`].
    pub fn of_view(view: View<'a>) -> Result<Self, EventError> {
        match Body::of(view.kind, view.type_name) {
            Some(body) => {
                let decides = matches!(body, Body::Decision(Decision::Decided));
                let pivots = if decides { Pivots::of(view.payload) } else { Pivots::default() };
                Ok(Self { view, body, pivots })
            }
            None => {
                let fault = Fault::UnknownType { kind: view.kind, name: view.type_name.to_owned() };
                Err(EventError { index: Some(view.index), fault })
            }
        }
    }

    /// The members as they are written.
    #[must_use]
    pub fn view(&self) -> &View<'a> {
        &self.view
    }

    /// The position in the log.
    #[must_use]
    pub fn index(&self) -> Index {
        self.view.index
    }

    /// What the record is about.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.view.kind
    }

    /// Kind and type.
    #[must_use]
    pub fn body(&self) -> Body {
        self.body
    }

    /// The record that led to this one.
    #[must_use]
    pub fn cause(&self) -> Option<Index> {
        self.view.cause
    }

    /// On whose behalf.
    ///
    /// # Errors
    /// [`Fault::NotText`], as for each of the ids below.
    pub fn actor(&self) -> Result<Cow<'a, str>, EventError> {
        self.text("actor", self.view.actor)
    }

    /// The request that all of this follows from.
    ///
    /// # Errors
    /// [`Fault::NotText`].
    pub fn correlation_id(&self) -> Result<Cow<'a, str>, EventError> {
        self.text("correlation_id", self.view.correlation_id)
    }

    /// What is asked for.
    ///
    /// # Errors
    /// [`Fault::NotText`].
    pub fn intent_type(&self) -> Result<Cow<'a, str>, EventError> {
        self.text("intent_type", self.view.intent_type)
    }

    /// When the sequencer took it.
    ///
    /// # Errors
    /// [`Fault::NotTime`].
    pub fn recorded_at(&self) -> Result<Timestamp, EventError> {
        self.view.recorded_at().ok_or_else(|| self.fault(Fault::NotTime))
    }

    /// Where it came in.
    ///
    /// # Errors
    /// [`Fault::NotText`].
    pub fn lane(&self) -> Result<Cow<'a, str>, EventError> {
        self.text("lane", self.view.lane)
    }

    /// The turn that this turn answers.
    ///
    /// # Errors
    /// [`Fault::NotText`].
    pub fn parent_turn_id(&self) -> Result<Option<Cow<'a, str>>, EventError> {
        self.view.parent_turn_id.map(|raw| self.text("parent_turn_id", raw)).transpose()
    }

    /// The unit of tenancy and access.
    ///
    /// # Errors
    /// [`Fault::NotText`].
    pub fn stream_id(&self) -> Result<Cow<'a, str>, EventError> {
        self.text("stream_id", self.view.stream_id)
    }

    /// The thread that it belongs to.
    ///
    /// # Errors
    /// [`Fault::NotText`].
    pub fn thread_id(&self) -> Result<Cow<'a, str>, EventError> {
        self.text("thread_id", self.view.thread_id)
    }

    /// The turn within the thread.
    ///
    /// # Errors
    /// [`Fault::NotText`].
    pub fn turn_id(&self) -> Result<Cow<'a, str>, EventError> {
        self.text("turn_id", self.view.turn_id)
    }

    /// The subjects, each with the index of its previous record.
    ///
    /// # Errors
    /// [`Fault::Subjects`]; [`Fault::NotText`].
    pub fn subjects(&self) -> impl Iterator<Item = Result<(Cow<'a, str>, Option<Index>), EventError>> {
        self.view.subjects().map(|found| {
            let found = found.ok_or_else(|| self.fault(Fault::Subjects))?;
            Ok((self.text("subjects", found.subject)?, found.expected))
        })
    }

    /// The INTENT that a DECISION decides: its payload's member `intent_index`.
    ///
    /// # Errors
    /// [`Fault::Payload`], also where the record is no DECISION.
    pub fn intent_index(&self) -> Result<Index, EventError> {
        let found = self.pivots.intent_index.and_then(content::whole_number).map(Index);
        found.ok_or_else(|| self.fault(Fault::Payload { member: "intent_index", wanted: "an index" }))
    }

    /// What a DECISION answers: its payload's member `result`.
    ///
    /// # Errors
    /// [`Fault::UnknownResult`] where it is neither `ALLOW` nor `DENY`, or missing, also where the record is no
    /// DECISION.
    pub fn verdict(&self) -> Result<Verdict, EventError> {
        match self.pivots.result {
            Some(b"\"ALLOW\"") => Ok(Verdict::Allow),
            Some(b"\"DENY\"") => Ok(Verdict::Deny),
            found => {
                let found = found.map(fault::excerpt);
                Err(self.fault(Fault::UnknownResult { found }))
            }
        }
    }

    /// A member of the payload, as it is written.
    pub(crate) fn payload_text(&self, member: &'static str) -> Result<&'a str, EventError> {
        let value = self.view.payload_member(member).and_then(|value| std::str::from_utf8(value).ok());
        value.ok_or_else(|| self.fault(Fault::Payload { member, wanted: "given, in UTF-8" }))
    }

    fn text(&self, member: &'static str, raw: &'a [u8]) -> Result<Cow<'a, str>, EventError> {
        canonical::unescape(raw).ok_or_else(|| self.fault(Fault::NotText { member }))
    }

    #[cold]
    fn fault(&self, fault: Fault) -> EventError {
        EventError { index: Some(self.view.index), fault }
    }
}
