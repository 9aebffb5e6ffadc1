//! Which handlers there are for each intent type, in the order in which they were registered. The first is used.
//!
//! Registering the same name for the same type again replaces it where it stands. What a server brings along by itself
//! (`chat.message`) is no part of this. A task's first `queued` is asked whether its handler is one for tasks. Memory: the registrations that are in force, each at most a record long.
//!
//! The state in a snapshot, version 1, types in ascending order of their bytes:
//!
//! ```text
//! {"applied":9,"types":[{"handlers":[{"handler_name":"echo","index":4,"kind":"builtin","registration":"{…}"},…],
//!  "intent_type":"chat.message"},…]}
//! ```
//!
//! `registration` is the record's payload, canonical, `_obs` and all; `index` that of the newest registration.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use gesta_log_format::Index;
use serde::{Deserialize, Serialize};

use super::in_system_stream;
use crate::event::{
    Body, Control, Event, EventError, Fault, HandlerKind, Registration, Task, TaskDescription,
};
use crate::projection::{FoldError, Projection};
use crate::rule::Rule;
use crate::snapshot::{self, RestoreError, ensure};

const NAME: &str = "handlers";
const VERSION: u32 = 1;

/// The registry of handlers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handlers {
    applied: Index,
    /// Of each type at least one, in the order of their first registration.
    types: BTreeMap<String, Vec<Handler>>,
}

/// A handler that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handler {
    /// Its name among those of the type.
    pub handler_name: String,
    /// Who runs it.
    pub kind: HandlerKind,
    /// Of the CONTROL record that says the rest.
    pub index: Index,
    /// That record's payload, canonical.
    pub registration: String,
}

impl Handler {
    /// The whole registration.
    ///
    /// # Errors
    /// [`Fault::Payload`] names the first member that is not as it should be.
    pub fn registration(&self) -> Result<Registration<'_>, EventError> {
        Registration::parse(self.registration.as_bytes(), self.index)
    }

    /// Whether a task is one of this handler's.
    fn is_registered_as(&self, task: &TaskDescription<'_>) -> bool {
        let pool = self.registration().ok().and_then(|registration| registration.pool);
        self.kind == task.kind && pool.is_none_or(|pool| pool == task.pool)
    }
}

impl Handlers {
    /// The state of a log of which nothing below `first` is known, as where its beginning is not at hand.
    #[must_use]
    pub fn starting_at(first: Index) -> Self {
        Self { applied: first, ..Self::default() }
    }

    /// The handlers of a type, the one that is used first.
    #[must_use]
    pub fn of(&self, intent_type: &str) -> &[Handler] {
        self.types.get(intent_type).map_or(&[], Vec::as_slice)
    }

    /// The handler that is used for a type.
    #[must_use]
    pub fn first(&self, intent_type: &str) -> Option<&Handler> {
        self.of(intent_type).first()
    }

    /// All types that have a handler, in ascending order of their bytes.
    pub fn types(&self) -> impl ExactSizeIterator<Item = (&str, &[Handler])> {
        self.types.iter().map(|(intent_type, handlers)| (intent_type.as_str(), handlers.as_slice()))
    }

    fn register(&mut self, event: &Event<'_>) -> Result<(), EventError> {
        let registered = event.handler_registered()?;
        let registration = std::str::from_utf8(registered.registration);
        let handler = Handler {
            handler_name: registered.handler_name.into_owned(),
            kind: registered.kind,
            index: event.index(),
            registration: registration.map_err(|_| not_text(event))?.to_owned(),
        };
        let handlers = self.types.entry(registered.intent_type.into_owned()).or_default();
        match handlers.iter_mut().find(|known| known.handler_name == handler.handler_name) {
            Some(known) => *known = handler,
            None => handlers.push(handler),
        }
        Ok(())
    }

    fn remove(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        let removed = event.handler_removed()?;
        let handlers = self.types.get_mut(removed.intent_type.as_ref());
        let at = handlers.as_ref().and_then(|handlers| {
            handlers.iter().position(|known| known.handler_name == removed.handler_name)
        });
        let (Some(handlers), Some(at)) = (handlers, at) else {
            let (intent_type, handler_name) =
                (removed.intent_type.into_owned(), removed.handler_name.into_owned());
            return Err(FoldError::broken(event, Rule::HandlerUnknown { intent_type, handler_name }));
        };
        handlers.remove(at);
        if handlers.is_empty() {
            self.types.remove(removed.intent_type.as_ref());
        }
        Ok(())
    }

    /// Asks of a task whether its handler is one for tasks. The registration may have been replaced or removed since
    /// the task's author looked, and then nothing is known of it.
    fn queued(&self, event: &Event<'_>) -> Result<(), FoldError> {
        let Some(said) = event.task_queued()?.first else { return Ok(()) };
        let pinned = &said.handler;
        let known = self.of(&pinned.intent_type).iter().find(|one| one.handler_name == pinned.handler_name);
        let sound = pinned.index < event.index()
            && known.is_none_or(|known| match known.index.cmp(&pinned.index) {
                Ordering::Less => false,
                Ordering::Equal => known.is_registered_as(&said),
                Ordering::Greater => true,
            });
        if sound {
            return Ok(());
        }
        let handler_name = pinned.handler_name.clone().into_owned();
        let rule = Rule::TaskHandler { handler_name, index: pinned.index };
        Err(FoldError::broken(event, rule))
    }
}

#[cold]
fn not_text(event: &Event<'_>) -> EventError {
    EventError { index: Some(event.index()), fault: Fault::NotText { member: "payload" } }
}

impl Projection for Handlers {
    fn name(&self) -> &'static str {
        NAME
    }

    fn take_in(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        match event.body() {
            Body::Control(Control::HandlerRegistered) => {
                in_system_stream(event)?;
                self.register(event)?;
            }
            Body::Control(Control::HandlerRemoved) => {
                in_system_stream(event)?;
                self.remove(event)?;
            }
            Body::Task(Task::Queued) => self.queued(event)?,
            Body::Intent(_)
            | Body::Decision(_)
            | Body::Execution(_)
            | Body::Task(_)
            | Body::Artifact(_)
            | Body::Session(_)
            | Body::Control(_)
            | Body::Ledger(_) => {}
        }
        Ok(())
    }

    fn applied(&self) -> Index {
        self.applied
    }

    fn applied_mut(&mut self) -> &mut Index {
        &mut self.applied
    }

    fn snapshot(&self) -> Vec<u8> {
        let handler = |handler: &Handler| HandlerForm {
            handler_name: handler.handler_name.clone(),
            index: handler.index.0,
            kind: handler.kind.text().to_owned(),
            registration: handler.registration.clone(),
        };
        let types = self.types.iter().map(|(intent_type, handlers)| TypeForm {
            handlers: handlers.iter().map(handler).collect(),
            intent_type: intent_type.clone(),
        });
        snapshot::write(NAME, VERSION, &Form { applied: self.applied.0, types: types.collect() })
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        let form: Form = snapshot::read(NAME, VERSION, snapshot)?;
        let mut registry = Self { applied: Index(form.applied), types: BTreeMap::new() };
        for type_form in form.types {
            let last = registry.types.last_key_value();
            ensure(last.is_none_or(|(last, _)| *last < type_form.intent_type), "the types are not in order")?;
            ensure(!type_form.handlers.is_empty(), "a type has no handler")?;
            let handlers = registry.types.entry(type_form.intent_type).or_default();
            for handler in type_form.handlers {
                let kind = HandlerKind::parse(&handler.kind);
                let kind = kind.ok_or(RestoreError::Contradiction { what: "a handler's kind is unknown" })?;
                ensure(handler.index < form.applied, "a registration is not applied")?;
                let known = handlers.iter().any(|known: &Handler| known.handler_name == handler.handler_name);
                ensure(!known, "a handler is there twice")?;
                handlers.push(Handler {
                    handler_name: handler.handler_name,
                    kind,
                    index: Index(handler.index),
                    registration: handler.registration,
                });
            }
        }
        Ok(registry)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    applied: u64,
    types: Vec<TypeForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypeForm {
    handlers: Vec<HandlerForm>,
    intent_type: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HandlerForm {
    handler_name: String,
    index: u64,
    kind: String,
    registration: String,
}
