//! The state of sessions and executions, as a handler reads and sets it.
//!
//! Every change is a swap against the change that this context has read last, so that of two who read the same state one
//! is told. A handler sets the state of its own session and its own execution; a surface that belongs to no execution, as
//! a service gets it when it is made, reads alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gesta_log_format::Index;
use gesta_log_format::blob::is_reference;
use gesta_log_format::json::{self, Reader};
use gesta_replay::event::ExecutionId;
use gesta_replay::projections::executions::Open;
use serde_json::Value;

use crate::ingress::request::Secrets;
use crate::limits::{STATE_BYTES_MAX, STATE_UPDATES_MAX};
use crate::state::{Name, Scope, Surface, SurfaceError, Writer, read_artifact};

/// Reads and sets state. Cheap to clone; what a clone has read, the others know.
#[derive(Clone)]
pub struct StateSurface {
    surface: Arc<Surface>,
    own: Option<Arc<Own>>,
}

/// On whose behalf states are set.
struct Own {
    open: Open,
    actor: String,
    /// The last change that was read of the session's and of the execution's state; none where there was none.
    read: Mutex<BTreeMap<&'static str, Option<Index>>>,
}

/// Why a state was not read or set.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another change is newer than the one that this context has read last. Read it again.
    #[error("the state was changed by another record than the one that was read")]
    StateConflict {
        /// The newest change; none where there is no state.
        newest: Option<Index>,
    },
    /// It is not the session or the execution of this context, or the surface belongs to no execution.
    #[error("it is not this context's own")]
    NotOwn,
    /// It is no object, holds what no record can, or is larger than [`STATE_BYTES_MAX`] bytes.
    #[error("it cannot be kept: {0}")]
    Invalid(String),
    /// The log does not take it or cannot be read: a code of the catalogue, and why.
    #[error("{code}: {detail}")]
    Refused { code: &'static str, detail: String },
}

impl From<SurfaceError> for StateError {
    fn from(error: SurfaceError) -> Self {
        match error {
            SurfaceError::StateConflict { newest } => Self::StateConflict { newest },
            SurfaceError::Overtaken { newest } => Self::StateConflict { newest: Some(newest) },
            error @ (SurfaceError::ArtifactExists { .. }
            | SurfaceError::NoParent { .. }
            | SurfaceError::NoObject { .. }
            | SurfaceError::Full
            | SurfaceError::Append(_)
            | SurfaceError::Works(_)
            | SurfaceError::LookUp(_)
            | SurfaceError::Foreign(_)) => {
                let problem = error.problem("");
                Self::Refused { code: problem.code().name(), detail: problem.body().detail().to_owned() }
            }
        }
    }
}

impl Own {
    fn read(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<Index>>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> Writer<'_> {
        let open = &self.open;
        Writer {
            execution_id: open.execution_id,
            attempt: None,
            cause: open.last_index.unwrap_or(open.decision_index),
            actor: &self.actor,
            intent_type: &open.intent_type,
            stream_id: &open.stream_id,
            lane: &open.lane,
            correlation_id: &open.correlation_id,
            thread_id: &open.thread_id,
            turn_id: &open.turn_id,
            parent_turn_id: open.parent_turn_id.as_deref(),
        }
    }
}

impl StateSurface {
    /// One that reads alone.
    pub(crate) fn new(surface: Arc<Surface>) -> Self {
        Self { surface, own: None }
    }

    /// That of one delivery of an execution.
    pub(crate) fn of(&self, open: &Open, actor: &str) -> Self {
        let own = Own { open: open.clone(), actor: actor.to_owned(), read: Mutex::default() };
        Self { surface: Arc::clone(&self.surface), own: Some(Arc::new(own)) }
    }

    /// As if another had asked, who has read nothing yet.
    #[cfg(test)]
    pub(crate) fn of_nobody_else(&self) -> Self {
        let own = self.own.as_ref().map(|own| (own.open.clone(), own.actor.clone()));
        own.map_or_else(|| self.clone(), |(open, actor)| self.of(&open, &actor))
    }

    /// The state of a session; none where it was never set. A handler reads those of its own tenant.
    ///
    /// # Errors
    /// `NotOwn`, `Refused`.
    pub async fn get_session_state(
        &self,
        session_id: &str,
        tenant_id: &str,
    ) -> Result<Option<Value>, StateError> {
        if self.own.as_ref().is_some_and(|own| own.open.stream_id != tenant_id) {
            return Err(StateError::NotOwn);
        }
        let is_own = self.own.as_ref().filter(|own| own.open.thread_id == session_id);
        self.get(&Name::session(tenant_id, session_id), Scope::Session, is_own).await
    }

    /// Sets the state of this context's session, if its newest change is the one that this context has read last; where
    /// it has read none, only if there is none. Gives the record's index, durable.
    ///
    /// # Errors
    /// `StateConflict`, `NotOwn`, `Invalid`, `Refused`.
    pub async fn set_session_state(
        &self,
        session_id: &str,
        tenant_id: &str,
        state: &Value,
    ) -> Result<Index, StateError> {
        let own = self.own_session(session_id, tenant_id)?;
        self.set(own, Scope::Session, state).await
    }

    /// Reads, changes and sets the state of this context's session, up to [`STATE_UPDATES_MAX`] times where others change
    /// it meanwhile.
    ///
    /// # Errors
    /// As [`StateSurface::set_session_state`].
    pub async fn update_session_state(
        &self,
        session_id: &str,
        tenant_id: &str,
        change: impl FnMut(Option<Value>) -> Value,
    ) -> Result<Index, StateError> {
        let own = self.own_session(session_id, tenant_id)?;
        self.update(own, Scope::Session, change).await
    }

    /// The state of this context's execution; none where it was never set.
    ///
    /// # Errors
    /// `NotOwn`, `Refused`.
    pub async fn get_execution_state(&self, execution_id: ExecutionId) -> Result<Option<Value>, StateError> {
        let own = self.own_execution(execution_id)?;
        self.get(&Name::own(&own.writer(), Scope::Execution), Scope::Execution, Some(own)).await
    }

    /// As [`StateSurface::set_session_state`], of this context's execution.
    ///
    /// # Errors
    /// As there.
    pub async fn set_execution_state(
        &self,
        execution_id: ExecutionId,
        state: &Value,
    ) -> Result<Index, StateError> {
        let own = self.own_execution(execution_id)?;
        self.set(own, Scope::Execution, state).await
    }

    /// As [`StateSurface::update_session_state`], of this context's execution.
    ///
    /// # Errors
    /// As there.
    pub async fn update_execution_state(
        &self,
        execution_id: ExecutionId,
        change: impl FnMut(Option<Value>) -> Value,
    ) -> Result<Index, StateError> {
        let own = self.own_execution(execution_id)?;
        self.update(own, Scope::Execution, change).await
    }

    /// Registers an artifact that this context's execution has produced, as `POST /v1/task/artifacts` takes it; gives it
    /// as it is kept. The same once more changes nothing.
    ///
    /// # Errors
    /// `NotOwn`, `Invalid`, `Refused`.
    pub async fn register_artifact(&self, artifact: &Value) -> Result<Value, StateError> {
        let own = self.own.as_ref().ok_or(StateError::NotOwn)?;
        let text = canonical(artifact)?;
        let invalid = |error: json::Error| StateError::Invalid(error.kind.to_string());
        let mut reader = Reader::new(&text).map_err(invalid)?;
        let artifact = read_artifact(&mut reader, &mut Secrets::default()).map_err(invalid)?;
        // Another of the same execution may have taken the place that was free.
        for _ in 1..STATE_UPDATES_MAX {
            match self.surface.register_artifact(&own.writer(), &artifact).await {
                Err(SurfaceError::Overtaken { .. }) => {}
                registered => return parse(&registered?.artifact),
            }
        }
        parse(&self.surface.register_artifact(&own.writer(), &artifact).await?.artifact)
    }

    fn own_session(&self, session_id: &str, tenant_id: &str) -> Result<&Arc<Own>, StateError> {
        let is_own = |own: &&Arc<Own>| own.open.stream_id == tenant_id && own.open.thread_id == session_id;
        self.own.as_ref().filter(is_own).ok_or(StateError::NotOwn)
    }

    fn own_execution(&self, execution_id: ExecutionId) -> Result<&Arc<Own>, StateError> {
        self.own.as_ref().filter(|own| own.open.execution_id == execution_id).ok_or(StateError::NotOwn)
    }

    async fn get(
        &self,
        name: &Name,
        scope: Scope,
        own: Option<&Arc<Own>>,
    ) -> Result<Option<Value>, StateError> {
        let held = self.surface.state(name).await?;
        if let Some(own) = own {
            own.read().insert(scope.text(), held.as_ref().map(|held| held.index));
        }
        held.map(|held| parse(&held.value)).transpose()
    }

    async fn set(&self, own: &Arc<Own>, scope: Scope, state: &Value) -> Result<Index, StateError> {
        let value = canonical(state)?;
        if !state.is_object() || is_reference(&value) {
            return Err(StateError::Invalid("a state is an object, and no reference".to_owned()));
        }
        if value.len() > STATE_BYTES_MAX {
            return Err(StateError::Invalid(format!("a state has at most {STATE_BYTES_MAX} bytes")));
        }
        let expected = own.read().get(scope.text()).copied().flatten();
        let written = self.surface.set_state(&own.writer(), scope, expected, &value).await?;
        own.read().insert(scope.text(), Some(written.index()));
        Ok(written.index())
    }

    async fn update(
        &self,
        own: &Arc<Own>,
        scope: Scope,
        mut change: impl FnMut(Option<Value>) -> Value,
    ) -> Result<Index, StateError> {
        let name = Name::own(&own.writer(), scope);
        for _ in 1..STATE_UPDATES_MAX {
            let state = change(self.get(&name, scope, Some(own)).await?);
            match self.set(own, scope, &state).await {
                Err(StateError::StateConflict { .. }) => {}
                other => return other,
            }
        }
        let state = change(self.get(&name, scope, Some(own)).await?);
        self.set(own, scope, &state).await
    }
}

fn canonical(value: &Value) -> Result<Vec<u8>, StateError> {
    let text = serde_json::to_vec(value).map_err(|error| StateError::Invalid(error.to_string()))?;
    json::canonicalize(&text).map_err(|error| StateError::Invalid(error.kind.to_string()))
}

fn parse(text: &[u8]) -> Result<Value, StateError> {
    serde_json::from_slice(text).map_err(|error| StateError::Invalid(error.to_string()))
}
