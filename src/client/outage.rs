//! Whether the server can be reached, told once for each change however many connections notice.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

/// A change.
pub enum OutageEvent<'a> {
    /// It cannot be reached, or cannot answer now, because of this.
    Lost(&'a dyn Display),
    /// It answers again.
    Back,
}

type Tell = Box<dyn Fn(OutageEvent<'_>) + Send + Sync>;

/// What all connections of a command share.
pub struct Outage {
    lost: AtomicBool,
    tell: Tell,
}

impl Outage {
    /// `tell` learns of each change.
    pub fn new(tell: impl Fn(OutageEvent<'_>) + Send + Sync + 'static) -> Self {
        Self { lost: AtomicBool::new(false), tell: Box::new(tell) }
    }

    /// Says that a call came to nothing, because of this.
    pub fn lost(&self, why: &dyn Display) {
        if !self.lost.swap(true, Ordering::Relaxed) {
            (self.tell)(OutageEvent::Lost(why));
        }
    }

    /// Says that a call was answered.
    pub fn back(&self) {
        if self.lost.load(Ordering::Relaxed) && self.lost.swap(false, Ordering::Relaxed) {
            (self.tell)(OutageEvent::Back);
        }
    }
}

impl std::fmt::Debug for Outage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outage").field("lost", &self.lost).finish_non_exhaustive()
    }
}
