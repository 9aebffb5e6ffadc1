//! Who runs what: the handlers that the log has registered, then those that the program brings along.

use std::sync::Arc;
use std::time::Duration;

use gesta_log_format::json::canonical;
use gesta_replay::event::HandlerKind;
use gesta_replay::projections::handlers::{Handler as Logged, Handlers};
use serde_json::Value;

use crate::runtime::{Handler, IntentRegistry};

/// A handler of the program, as it is to be invoked.
#[derive(Clone)]
pub struct Runnable {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) handler_name: String,
    /// Of the log's registration where there is one, else of the program's.
    pub(super) metadata: Value,
}

impl Runnable {
    /// Under which it is registered.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.handler_name
    }
}

/// What the executor has to do for an execution.
#[derive(Clone)]
pub enum Duty {
    /// Invoke it.
    Invoke(Box<Runnable>),
    /// Wait for what someone else records: of `external` the reports from outside, of `worker` and `push` the task's
    /// end, of `stream` the adapter's, which is not offered for registration yet.
    Wait(HandlerKind),
    /// Fail it: nobody handles it.
    Fail { reason: String },
}

/// What is to be done for an execution of this type, as long as these handlers are registered in the log.
pub(crate) fn duty(registry: &IntentRegistry, logged: &Handlers, intent_type: &str) -> Duty {
    let found = match logged.first(intent_type) {
        Some(first) => match first.kind {
            HandlerKind::Builtin => {
                let found = registry.named(intent_type, &first.handler_name);
                let metadata = || metadata(first);
                found
                    .map(|found| (found, metadata()))
                    .ok_or_else(|| format!("this server has no builtin handler {}", first.handler_name))
            }
            waits @ (HandlerKind::External
            | HandlerKind::Worker
            | HandlerKind::Push
            | HandlerKind::Stream) => return Duty::Wait(waits),
        },
        None => registry
            .first(intent_type)
            .map(|found| (found, found.metadata.clone()))
            .ok_or_else(|| format!("no handler is registered for {intent_type}")),
    };
    match found {
        Ok((found, metadata)) => Duty::Invoke(Box::new(Runnable {
            handler: Arc::clone(&found.handler),
            handler_name: found.handler_name.clone(),
            metadata,
        })),
        Err(reason) => Duty::Fail { reason },
    }
}

/// The `timeout_seconds` of the handler that is registered in the log for this type, if it has any.
pub(super) fn timeout(logged: &Handlers, intent_type: &str) -> Option<Duration> {
    let seconds = std::str::from_utf8(member(logged.first(intent_type)?, "timeout_seconds")?).ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// As it was registered; where it has become a blob, the reference.
fn metadata(logged: &Logged) -> Value {
    let metadata = member(logged, "metadata").and_then(|metadata| serde_json::from_slice(metadata).ok());
    metadata.unwrap_or_else(|| Value::Object(serde_json::Map::new()))
}

fn member<'a>(logged: &'a Logged, name: &str) -> Option<&'a [u8]> {
    canonical::member(logged.registration.as_bytes(), name)
}
