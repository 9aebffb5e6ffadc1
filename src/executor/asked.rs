//! An INTENT as its execution needs it, and the context that a handler gets of it.

use std::sync::Arc;

use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical;
use gesta_log_format::{Index, Timestamp};
use gesta_replay::event::ExecutionId;
use gesta_replay::projections::executions::Open;
use serde_json::{Map, Value};

use super::Executor;
use super::cancel::Cancel;
use super::dispatch::Invocation;
use crate::runtime::{ExecutionContext, Intent, Wal};

/// An INTENT as an execution needs it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) actor: String,
    created_at: Timestamp,
    pub(super) payload: Vec<u8>,
}

/// An INTENT is not the one that the execution came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record at index {intent_index} is not the INTENT of the execution {execution_id}")]
pub(super) struct NotItsIntent {
    intent_index: Index,
    execution_id: ExecutionId,
}

const SOLUTION: &str = "default";

impl Asked {
    /// Reads the envelope of the INTENT of `open`, and insists that it is that.
    pub(super) fn read(open: &Open, envelope: &[u8]) -> Result<Self, NotItsIntent> {
        let read = || {
            let view = View::parse(envelope)?;
            let execution_id = canonical::string(view.payload_member("execution_id")?)?;
            let is_its = view.index == open.intent_index
                && ExecutionId::parse(execution_id.as_bytes()) == Some(open.execution_id)
                && canonical::unescape(view.stream_id)? == open.stream_id;
            let asked = Self {
                actor: canonical::unescape(view.actor)?.into_owned(),
                created_at: view.recorded_at()?,
                payload: view.payload_member("payload")?.to_vec(),
            };
            is_its.then_some(asked)
        };
        let (intent_index, execution_id) = (open.intent_index, open.execution_id);
        read().ok_or(NotItsIntent { intent_index, execution_id })
    }

    /// The context of the delivery that `open` stands at.
    pub(super) fn context(
        &self,
        executor: &Arc<Executor>,
        open: &Open,
        invocation: &Invocation,
        cancel: Cancel,
    ) -> ExecutionContext {
        let intent = Intent {
            intent_id: open.turn_id.clone(),
            intent_type: open.intent_type.clone(),
            tenant_id: open.stream_id.clone(),
            session_id: open.thread_id.clone(),
            solution_id: SOLUTION.to_owned(),
            actor: self.actor.clone(),
            correlation_id: open.correlation_id.clone(),
            index: open.intent_index,
            parameters: self.payload.clone(),
            metadata: Map::new(),
        };
        let metadata = [
            ("delivery".to_owned(), Value::from(open.standing.deliveries)),
            ("handler".to_owned(), invocation.metadata.clone()),
        ];
        let registry = &executor.registry;
        ExecutionContext {
            execution_id: open.execution_id,
            tenant_id: intent.tenant_id.clone(),
            session_id: intent.session_id.clone(),
            solution_id: intent.solution_id.clone(),
            intent,
            state_surface: registry.state_surface().of(open, &self.actor),
            wal: Some(Wal::new(Arc::clone(executor), open.clone(), &self.actor)),
            metadata: metadata.into_iter().collect(),
            created_at: self.created_at,
            decision_index: open.decision_index,
            cancel,
            works: registry.works().clone(),
        }
    }
}
