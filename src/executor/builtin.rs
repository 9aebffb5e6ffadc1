//! The handlers that ship with the server.

mod assemble_prompt;
mod echo;

pub(super) use assemble_prompt::AssemblePrompt;
pub(super) use echo::Echo;
