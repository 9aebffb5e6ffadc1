//! The decider: follows the log, and appends one DECISION for each INTENT.
//!
//! It goes by the projections alone: which INTENTs await a decision, by which policy and configuration each is to be
//! decided, and the counts below it. The answer is `gesta_replay::decide`, the function that an auditor calls; it is
//! appended by swap on `decision/{intent index}`, so a crash or a second decider neither loses nor repeats one. What
//! ingress appends meanwhile waits for it in the log; a policy that cannot be read denies and stops nothing.

mod active;
mod follow;
mod propose;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use gesta_replay::context::Config;
use tokio::sync::watch;

use crate::blobs;
use crate::metrics::DeciderMetrics;
use crate::projector::Projector;
use crate::sequencer::{Places, Queue};
use crate::store::Store;
use follow::Follower;

/// DECISIONs that wait for the sequencer at once. Followers of the log have places of their own, so that a queue that
/// is full of intents does not keep them from being decided.
const PLACES: usize = 512;

/// The decider's thread needs this much, for evaluating a policy refuses to begin on a short stack.
const STACK_BYTES: usize = 8 << 20;

/// What the decider works with.
pub struct Parts {
    pub store: Arc<Store>,
    pub blobs: Arc<blobs::Store>,
    pub queue: Arc<Queue>,
    pub projector: Arc<Projector>,
    pub settings: ActiveSettings,
    pub metrics: DeciderMetrics,
}

/// The context's configuration that is in force now, as far as the log is folded.
#[derive(Clone, Default)]
pub struct ActiveSettings(Arc<RwLock<Arc<Config>>>);

impl ActiveSettings {
    pub fn get(&self) -> Arc<Config> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, config: Arc<Config>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }
}

/// The running decider.
pub struct Decider {
    stop: Stop,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Tells the thread to end.
#[derive(Clone)]
struct Stop {
    told: Arc<AtomicBool>,
    wake: watch::Sender<()>,
}

impl Stop {
    fn is_told(&self) -> bool {
        self.told.load(Ordering::Acquire)
    }
}

impl Decider {
    /// Starts the thread, which first waits until the projections reflect the whole log.
    ///
    /// # Errors
    /// Where the system starts no thread.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let stop = Stop { told: Arc::default(), wake: watch::Sender::new(()) };
        let follower = Follower::new(parts, Places::new(PLACES), stop.clone());
        let thread = thread::Builder::new()
            .name("decider".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || follower.run())?;
        Ok(Self { stop, thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread behind the DECISIONs that it has on their way. Blocks, so not for a task.
    pub fn stop(&self) {
        self.stop.told.store(true, Ordering::Release);
        self.stop.wake.send_replace(());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic was logged by the thread itself.
            let _ = thread.join();
        }
    }
}
