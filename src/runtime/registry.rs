//! Which code handles which type of intent.
//!
//! This is what the program brings along, those handlers included that ship with the server. What operators register is in
//! the log, comes first, and names one of these where it is of the kind `builtin`: by its type and name, or by its name
//! alone where the type has none such.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::{Handler, IntentService, PublicWorks, StateSurface};

/// The handlers of the program.
#[derive(Clone)]
pub struct IntentRegistry {
    works: PublicWorks,
    state: StateSurface,
    /// Of each type at least one, in the order in which they were registered.
    types: BTreeMap<String, Vec<Registered>>,
}

/// A handler under its name.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) handler_name: String,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) metadata: Value,
}

impl IntentRegistry {
    /// Without any.
    pub(crate) fn new(works: PublicWorks, state: StateSurface) -> Self {
        Self { works, state, types: BTreeMap::new() }
    }

    /// Without any, over the parts of a server of a test.
    #[cfg(test)]
    pub(crate) fn of_a_test(
        store: &Arc<crate::store::Store>,
        blobs: &Arc<crate::blobs::Store>,
        queue: &Arc<crate::sequencer::Queue>,
    ) -> Self {
        let outbound = crate::outbound::Outbound::new(&crate::config::Config::default().push, false);
        let (store, blobs) = (|| Arc::clone(store), || Arc::clone(blobs));
        let appender = crate::append::Appender::new(store(), blobs(), Arc::clone(queue));
        let surface = crate::state::Surface::new(store(), blobs(), appender);
        let works = PublicWorks::new(store(), blobs(), outbound.expect("no host is allowed"));
        Self::new(works, StateSurface::new(Arc::new(surface)))
    }

    /// Registers a handler for a type. The same pair again replaces the handler where it stands; a type may hold several,
    /// of which the first is used. False, and nothing is registered, where a name is empty.
    ///
    /// An operator who registers a handler for the type over HTTP or in the configuration has precedence; who registers
    /// this pair, with the kind `builtin`, gives it limits, a `params_schema` or a `publish`.
    pub fn register_intent(
        &mut self,
        intent_type: &str,
        handler_name: &str,
        handler: impl Handler,
        metadata: Value,
    ) -> bool {
        if intent_type.is_empty() || handler_name.is_empty() {
            return false;
        }
        let registered =
            Registered { handler_name: handler_name.to_owned(), handler: Arc::new(handler), metadata };
        let handlers = self.types.entry(intent_type.to_owned()).or_default();
        match handlers.iter_mut().find(|known| known.handler_name == handler_name) {
            Some(known) => *known = registered,
            None => handlers.push(registered),
        }
        true
    }

    /// As [`IntentRegistry::register_intent`], of a service that is made with what the server offers.
    pub fn register_service<S: IntentService>(
        &mut self,
        intent_type: &str,
        handler_name: &str,
        metadata: Value,
    ) -> bool {
        let service = S::new(self.works.clone(), self.state.clone());
        self.register_intent(intent_type, handler_name, service, metadata)
    }

    /// What the server offers, for services that are made otherwise.
    #[must_use]
    pub fn works(&self) -> &PublicWorks {
        &self.works
    }

    /// The state surface, for services that are made otherwise.
    #[must_use]
    pub fn state_surface(&self) -> &StateSurface {
        &self.state
    }

    /// The handler that is used for a type if no other is registered in the log.
    pub(crate) fn first(&self, intent_type: &str) -> Option<&Registered> {
        self.types.get(intent_type)?.first()
    }

    /// The handler that a registration of the kind `builtin` means.
    pub(crate) fn named(&self, intent_type: &str, handler_name: &str) -> Option<&Registered> {
        let is_it = |known: &&Registered| known.handler_name == handler_name;
        let own = self.types.get(intent_type).and_then(|handlers| handlers.iter().find(is_it));
        own.or_else(|| self.types.values().flatten().find(is_it))
    }

    /// All names of handlers, in ascending order.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.types.values().flatten().map(|known| known.handler_name.as_str()).collect()
    }

    /// All types with their handlers, in ascending order.
    pub(crate) fn types(&self) -> impl Iterator<Item = (&str, &[Registered])> {
        self.types.iter().map(|(intent_type, handlers)| (intent_type.as_str(), handlers.as_slice()))
    }
}
