//! From the sequencer's thread back to those who wait.
//!
//! Waking a task of the runtime from outside costs a lock and often a system call, each time. So a batch's replies go
//! over in one piece, with one wake-up, and a task inside the runtime hands them out.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::sync::oneshot::Sender;

use super::Outcome;

/// Replies on their way.
#[derive(Default)]
pub struct Acknowledgements {
    waiting: Mutex<Vec<(Sender<Outcome>, Outcome)>>,
    some: Notify,
}

impl Acknowledgements {
    /// Hands over the replies of one batch; `replies` is left empty.
    pub(super) fn send(&self, replies: &mut Vec<(Sender<Outcome>, Outcome)>) {
        if replies.len() <= 1 {
            // Nobody to share the wake-up with: the shortest way is the best.
            for (sender, outcome) in replies.drain(..) {
                // A client that went away does not wait for its answer.
                let _ = sender.send(outcome);
            }
            return;
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).append(replies);
        self.some.notify_one();
    }

    /// Hands replies out for ever; runs as a task until it is dropped.
    pub async fn hand_out(self: Arc<Self>) {
        let mut taken = Vec::new();
        loop {
            self.some.notified().await;
            std::mem::swap(&mut taken, &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            for (sender, outcome) in taken.drain(..) {
                let _ = sender.send(outcome);
            }
        }
    }
}
