//! What registers handlers: services, and the solutions that they belong to.

use super::{Handler, IntentRegistry, PublicWorks, StateSurface};

/// A handler that is made with what the server offers.
pub trait IntentService: Handler {
    /// Makes it, before the server listens.
    fn new(works: PublicWorks, state: StateSurface) -> Self
    where
        Self: Sized;
}

/// Handlers that belong together.
pub trait Solution: Send + Sync {
    /// Registers them. Called once, when the log is open and before the server listens.
    fn register(&self, registry: &mut IntentRegistry);
}
