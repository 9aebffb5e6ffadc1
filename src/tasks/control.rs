//! What running workers and waiting ones are told at once: a cancelled attempt, the end of the server, and that there is
//! something to claim.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gesta_replay::event::TaskId;
use gesta_replay::projections::tasks::Open;
use gesta_replay::task_lifecycle::State;
use tokio::sync::{broadcast, watch};

use super::waiting::PoolName;
use crate::limits::WAKEUPS_KEPT_MAX;

/// Where an attempt stands, as its worker is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    /// The latest attempt.
    pub(super) attempt: u64,
    pub(super) cancel_requested: bool,
    /// It is not live any more.
    pub(super) over: bool,
}

impl Word {
    pub(super) fn of(open: &Open) -> Self {
        Self {
            attempt: open.standing.attempt,
            cancel_requested: open.standing.cancel_requested,
            over: open.standing.state != State::Running,
        }
    }
}

/// A task that waits, for whoever may claim it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) pool: PoolName,
    pub(super) stream_id: String,
    pub(super) task_id: TaskId,
}

/// Tells.
#[derive(Debug)]
pub(super) struct Control {
    /// Of tasks that somebody listens for.
    listeners: Mutex<HashMap<TaskId, watch::Sender<Word>>>,
    hints: broadcast::Sender<Arc<Hint>>,
    draining: watch::Sender<bool>,
}

impl Control {
    pub(super) fn new() -> Self {
        Self {
            listeners: Mutex::default(),
            hints: broadcast::Sender::new(WAKEUPS_KEPT_MAX),
            draining: watch::Sender::new(false),
        }
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<TaskId, watch::Sender<Word>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a task as it is now.
    pub(super) fn see(&self, open: &Open) {
        if open.standing.state == State::Queued && self.hints.receiver_count() > 0 {
            let (pool, stream_id) = ((open.kind, open.pool.clone()), open.stream_id.clone());
            let hint = Hint { pool, stream_id, task_id: open.task_id };
            // Nobody may have come to listen since.
            let _ = self.hints.send(Arc::new(hint));
        }
        let mut listeners = self.listeners();
        if let Some(told) = listeners.get(&open.task_id) {
            told.send_replace(Word::of(open));
            if told.receiver_count() == 0 {
                listeners.remove(&open.task_id);
            }
        }
    }

    /// The task is not there any more.
    pub(super) fn forget(&self, task_id: TaskId) {
        self.listeners().remove(&task_id);
    }

    /// What a worker is told from now on of a task. Where it stands now is asked while nobody can tell anything, so that
    /// what is told in between is not missed.
    pub(super) fn listen(&self, task_id: TaskId, now: impl FnOnce() -> Word) -> watch::Receiver<Word> {
        let mut listeners = self.listeners();
        listeners.retain(|_, told| told.receiver_count() > 0);
        listeners.entry(task_id).or_insert_with(|| watch::Sender::new(now())).subscribe()
    }

    /// The tasks that come to wait from now on.
    pub(super) fn hints(&self) -> broadcast::Receiver<Arc<Hint>> {
        self.hints.subscribe()
    }

    pub(super) fn drain(&self) {
        self.draining.send_replace(true);
    }

    pub(super) fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }
}
