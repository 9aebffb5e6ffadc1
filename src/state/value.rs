//! The state of a session or an execution: the `value` of its newest `state_set`.

use std::sync::Arc;

use gesta_log_format::blob::Reference;
use gesta_log_format::envelope::{Expectation, View};
use gesta_log_format::json::canonical;
use gesta_log_format::{Digest, Index, Kind};
use gesta_replay::event::ExecutionId;

use super::{Surface, SurfaceError, Writer, Written};
use crate::keys::Fingerprint;
use crate::limits::STATE_BYTES_MAX;
use crate::store::{LookupError, RecordBytes, blocking};

const TYPE: &str = "state_set";

/// Whose state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Session,
    Execution,
}

impl Scope {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Execution => "execution",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Session, Self::Execution].into_iter().find(|scope| scope.text() == text)
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Session => Kind::Session,
            Self::Execution => Kind::Execution,
        }
    }
}

/// One state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    scope: Scope,
    stream_id: String,
    subject: String,
}

impl Name {
    pub(crate) fn session(stream_id: &str, session_id: &str) -> Self {
        let subject = format!("session-state/{session_id}");
        Self { scope: Scope::Session, stream_id: stream_id.to_owned(), subject }
    }

    pub(crate) fn execution(stream_id: &str, execution_id: ExecutionId) -> Self {
        let subject = format!("execution-state/{execution_id}");
        Self { scope: Scope::Execution, stream_id: stream_id.to_owned(), subject }
    }

    /// The writer's own state.
    pub(crate) fn own(writer: &Writer<'_>, scope: Scope) -> Self {
        match scope {
            Scope::Session => Self::session(writer.stream_id, writer.thread_id),
            Scope::Execution => Self::execution(writer.stream_id, writer.execution_id),
        }
    }
}

/// A state as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Its last change.
    pub(crate) index: Index,
    /// Canonical JSON of an object.
    pub(crate) value: Vec<u8>,
}

/// A `state_set`, as much of it as says whether another request asks for the same.
struct Change<'a> {
    index: Index,
    expected: Option<Index>,
    attempt: Option<&'a [u8]>,
    correlation_id: &'a [u8],
    value: &'a [u8],
}

impl<'a> Change<'a> {
    /// None where the record is none of this state.
    fn of(record: &'a [u8], name: &Name) -> Option<Self> {
        let view = View::parse(record)?;
        let is = |raw: &[u8], wanted: &str| canonical::unescape(raw).is_some_and(|found| found == wanted);
        if view.kind != name.scope.kind() || view.type_name != TYPE || !is(view.stream_id, &name.stream_id) {
            return None;
        }
        let own = view.subjects().flatten().find(|found| is(found.subject, &name.subject))?;
        Some(Self {
            index: view.index,
            expected: own.expected,
            attempt: view.payload_member("attempt"),
            correlation_id: view.correlation_id,
            value: view.payload_member("value")?,
        })
    }

    /// Whether a writer who asks for this asks for what was done.
    fn is_same(&self, writer: &Writer<'_>, expected: Option<Index>, value: &[u8]) -> bool {
        let attempt = writer.attempt.map(|attempt| attempt.to_string());
        let is_same_value = match Reference::parse(self.value) {
            Some(reference) => reference.digest == Digest::of(value),
            None => self.value == value,
        };
        is_same_value
            && self.expected == expected
            && self.attempt == attempt.as_deref().map(str::as_bytes)
            && canonical::unescape(self.correlation_id).is_some_and(|found| found == writer.correlation_id)
    }
}

impl Surface {
    /// A state as it is; none where it was never set.
    ///
    /// # Errors
    /// `LookUp`, `Works`.
    pub(crate) async fn state(&self, name: &Name) -> Result<Option<Held>, SurfaceError> {
        let Some(record) = self.last_change(name).await? else { return Ok(None) };
        let Some(change) = Change::of(record.data(), name) else { return Ok(None) };
        let value = match Reference::parse(change.value) {
            Some(reference) => self.works.blob(reference.digest, STATE_BYTES_MAX as u64).await?,
            None => change.value.to_vec(),
        };
        Ok(Some(Held { index: change.index, value }))
    }

    /// Sets a state of the writer's own, if its last change is the one that is expected. `value` is canonical JSON of an
    /// object, of at most [`STATE_BYTES_MAX`] bytes, and no reference. The same once more is told as done before.
    ///
    /// # Errors
    /// `StateConflict`, `Overtaken`; what keeps a record from being appended.
    pub(crate) async fn set_state(
        &self,
        writer: &Writer<'_>,
        scope: Scope,
        expected: Option<Index>,
        value: &[u8],
    ) -> Result<Written, SurfaceError> {
        let name = Name::own(writer, scope);
        let record = self.last_change(&name).await?;
        let change = record.as_ref().and_then(|record| Change::of(record.data(), &name));
        let newest = change.as_ref().map(|change| change.index);
        if newest != expected {
            return match change.filter(|change| change.is_same(writer, expected, value)) {
                Some(change) => Ok(Written::Before(change.index)),
                None => Err(SurfaceError::StateConflict { newest }),
            };
        }
        let payload = writer.members().text("scope", scope.text()).raw("value", value).finish();
        let own = Expectation { subject: name.subject, expected };
        self.append(writer, (scope.kind(), TYPE), own, &payload).await.map(Written::Now)
    }

    /// The newest record of a state's subject.
    async fn last_change(&self, name: &Name) -> Result<Option<RecordBytes>, SurfaceError> {
        let (store, key) = (Arc::clone(&self.store), Fingerprint::subject(&name.stream_id, &name.subject));
        let found = blocking(move || {
            let newest = store.keys.newest(&key)?;
            newest.map_or(Ok(None), |newest| store.record(Index(newest)).map_err(LookupError::from))
        });
        found.await.map_err(SurfaceError::look_up)
    }
}
