//! What a handler gets: an execution, its intent, and what belongs to this delivery of it.

use gesta_log_format::{Index, Timestamp};
use gesta_replay::event::{Content, ExecutionId};
use serde_json::{Map, Value};

use super::{Cancel, HandlerError, PublicWorks, StateSurface, Wal};
use crate::limits::PARAMS_BYTES_MAX;

/// What is to be done, as its author sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The turn.
    pub intent_id: String,
    pub intent_type: String,
    /// The stream.
    pub tenant_id: String,
    /// The thread.
    pub session_id: String,
    pub solution_id: String,
    /// On whose behalf.
    pub actor: String,
    pub correlation_id: String,
    /// The INTENT record.
    pub index: Index,
    /// The payload as it stands in that record: canonical, itself or a reference to the blob that holds it.
    /// [`ExecutionContext::parameters`] reads it.
    pub parameters: Vec<u8>,
    /// What came with it.
    pub metadata: Map<String, Value>,
}

/// What a handler gets.
#[derive(Clone)]
pub struct ExecutionContext {
    pub execution_id: ExecutionId,
    pub intent: Intent,
    pub tenant_id: String,
    pub session_id: String,
    pub solution_id: String,
    /// Reads the state of this session and this execution, and sets it by swap.
    pub state_surface: StateSurface,
    /// Appends what happens on the way.
    pub wal: Option<Wal>,
    /// `delivery`: how often a handler was given this execution, this time included; `handler`: the metadata of the
    /// handler's registration.
    pub metadata: Map<String, Value>,
    /// When the INTENT was recorded.
    pub created_at: Timestamp,
    /// The DECISION that allowed it.
    pub decision_index: Index,
    /// Whether somebody asks to cancel it. The future of [`super::Handler::invoke`] is dropped then; this is for what it
    /// has started elsewhere, such as on a thread that blocks.
    pub cancel: Cancel,
    /// What the server offers.
    pub works: PublicWorks,
}

impl ExecutionContext {
    /// How often a handler was given this execution, this time included: from 1.
    #[must_use]
    pub fn delivery(&self) -> u64 {
        self.metadata.get("delivery").and_then(Value::as_u64).unwrap_or(1)
    }

    /// What the client sent, or where it is.
    #[must_use]
    pub fn content(&self) -> Content<'_> {
        Content::of(&self.intent.parameters)
    }

    /// What the client sent, read from its blob where it lies in one.
    ///
    /// # Errors
    /// `PARAMS_UNAVAILABLE`: the blob cannot be read.
    pub async fn parameters(&self) -> Result<Value, HandlerError> {
        let unavailable = |why: &dyn std::fmt::Display| {
            HandlerError::new("PARAMS_UNAVAILABLE", format!("what the intent brings cannot be read: {why}"))
        };
        let read = |text: &[u8]| serde_json::from_slice(text).map_err(|error| unavailable(&error));
        match self.content() {
            Content::Inline(text) => read(text),
            Content::Blob(reference) => {
                let content = self.works.works().blob(reference.digest, PARAMS_BYTES_MAX).await;
                read(&content.map_err(|error| unavailable(&error))?)
            }
        }
    }

    /// Demands that the ids are there and are the intent's.
    ///
    /// # Errors
    /// `CONTEXT_INVALID`, with the id that is not.
    pub fn validate(&self) -> Result<(), HandlerError> {
        let intent = &self.intent;
        let ids = [
            ("tenant_id", &self.tenant_id, &intent.tenant_id),
            ("session_id", &self.session_id, &intent.session_id),
            ("solution_id", &self.solution_id, &intent.solution_id),
            ("intent_type", &intent.intent_type, &intent.intent_type),
            ("intent_id", &intent.intent_id, &intent.intent_id),
        ];
        match ids.iter().find(|(_, own, of_intent)| own.is_empty() || own != of_intent) {
            Some((name, ..)) => {
                let message = format!("the {name} of the context is missing or not its intent's");
                Err(HandlerError::new("CONTEXT_INVALID", message))
            }
            None => Ok(()),
        }
    }
}
