//! Who runs what: the handlers that the log has registered, then those that the server brings along.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gesta_log_format::json::canonical::Members;
use gesta_replay::event::HandlerKind;
use gesta_replay::projections::handlers::Handlers;

use super::builtin::{AssemblePrompt, Echo};
use super::handler::Handler;

/// Types that have a builtin handler without being registered, and its name.
pub(super) const DEFAULTS: [(&str, &str); 1] = [("chat.message", "echo")];

/// The builtin handlers, by their names.
#[derive(Clone)]
pub struct Registry {
    builtin: BTreeMap<&'static str, Arc<dyn Handler>>,
}

/// What the executor has to do for an execution.
#[derive(Clone)]
pub enum Duty {
    /// Invoke it.
    Invoke(Arc<dyn Handler>),
    /// Wait for what someone else records: of `external` the reports from outside, of `worker` and `push` the task's
    /// end, of `stream` the adapter's. Those three are not offered for registration yet.
    Wait(HandlerKind),
    /// Fail it: nobody handles it.
    Fail { reason: String },
}

impl Registry {
    /// With the builtin handlers that ship with the server.
    pub fn shipped() -> Self {
        Self::of([Arc::new(Echo) as Arc<dyn Handler>, Arc::new(AssemblePrompt)])
    }

    /// With these.
    pub fn of(handlers: impl IntoIterator<Item = Arc<dyn Handler>>) -> Self {
        Self { builtin: handlers.into_iter().map(|handler| (handler.name(), handler)).collect() }
    }

    /// The names of the builtin handlers, in ascending order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.builtin.keys().copied()
    }

    /// The `timeout_seconds` of the handler that is registered for this type, if it has any.
    pub fn timeout(&self, registered: &Handlers, intent_type: &str) -> Option<Duration> {
        let handler = registered.first(intent_type)?;
        let mut members = Members::new(handler.registration.as_bytes()).map_while(Result::ok);
        let (_, seconds) = members.find(|(key, _)| *key == b"timeout_seconds")?;
        std::str::from_utf8(seconds).ok()?.parse().ok().map(Duration::from_secs)
    }

    /// What is to be done for an execution of this type, as long as these handlers are registered.
    pub fn duty(&self, registered: &Handlers, intent_type: &str) -> Duty {
        let default = || DEFAULTS.iter().find(|(known, _)| *known == intent_type).map(|(_, name)| *name);
        let name = match registered.first(intent_type) {
            Some(handler) => match handler.kind {
                HandlerKind::Builtin => handler.handler_name.as_str(),
                waits @ (HandlerKind::External
                | HandlerKind::Worker
                | HandlerKind::Push
                | HandlerKind::Stream) => return Duty::Wait(waits),
            },
            None => match default() {
                Some(name) => name,
                None => return Duty::Fail { reason: format!("no handler is registered for {intent_type}") },
            },
        };
        match self.builtin.get(name) {
            Some(handler) => Duty::Invoke(Arc::clone(handler)),
            None => Duty::Fail { reason: format!("this server has no builtin handler {name}") },
        }
    }
}
