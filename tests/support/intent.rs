//! Intents to send.

use serde_json::{Value, json};

/// A request for `POST /ingress/intent`.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    pub correlation_id: String,
    pub stream: String,
    pub lane: String,
    pub actor: String,
    pub intent_type: String,
    pub thread: String,
    pub turn: String,
    pub parent: Option<String>,
    pub payload: Value,
}

impl Intent {
    /// One with this correlation id and all else usual.
    pub fn new(correlation_id: impl Into<String>) -> Self {
        let correlation_id = correlation_id.into();
        Self {
            stream: "default".to_owned(),
            lane: "user".to_owned(),
            actor: "agent-1".to_owned(),
            intent_type: "chat.message".to_owned(),
            thread: "thread".to_owned(),
            turn: format!("turn-{correlation_id}"),
            parent: None,
            payload: json!({ "message": format!("say {correlation_id}") }),
            correlation_id,
        }
    }

    /// With a message of `bytes`, so that the record has about that size.
    pub fn sized(correlation_id: impl Into<String>, bytes: usize) -> Self {
        Self { payload: json!({ "message": "x".repeat(bytes) }), ..Self::new(correlation_id) }
    }

    pub fn value(&self) -> Value {
        json!({
            "interface_version": 2,
            "correlation_id": self.correlation_id,
            "payload": {
                "stream_id": self.stream,
                "lane": self.lane,
                "actor": self.actor,
                "intent_type": self.intent_type,
                "thread_id": self.thread,
                "turn_id": self.turn,
                "parent_turn_id": self.parent,
                "payload": self.payload,
            }
        })
    }

    pub fn body(&self) -> String {
        self.value().to_string()
    }
}
