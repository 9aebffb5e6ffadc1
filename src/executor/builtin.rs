//! The handlers that ship with the server: a solution like any other.

mod assemble_prompt;
mod echo;

use serde_json::json;

use crate::runtime::{IntentRegistry, Solution};
use assemble_prompt::AssemblePrompt;
use echo::echo;

/// What ships with the server.
pub(crate) struct Shipped;

impl Solution for Shipped {
    /// `chat.message` is echoed. The other one is there for types that an operator gives it.
    fn register(&self, registry: &mut IntentRegistry) {
        registry.register_intent("chat.message", "echo", echo, json!({}));
        registry.register_service::<AssemblePrompt>("chat.message", "assemble_prompt", json!({}));
    }
}
