//! The prefix of one decision: the records below its intent.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use gesta_log_format::Index;
use gesta_log_format::blob::Reference;

use super::Store;
use super::history::{Found, History};
use crate::context::{Blob, Origin, Prefix, Terminal, Turn};

pub(super) struct Below<'h, S> {
    /// It may have grown beyond the intent: each look-up is bounded.
    pub(super) history: &'h RwLock<History>,
    pub(super) store: &'h S,
    /// The stream of the intent.
    pub(super) stream_id: &'h str,
    /// The intent.
    pub(super) bound: Index,
}

impl<S: Store> Below<'_, S> {
    fn history(&self) -> RwLockReadGuard<'_, History> {
        self.history.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, found: &[Found]) -> Result<Vec<Vec<u8>>, S::Error> {
        found.iter().map(|found| self.store.record(found.place)).collect()
    }
}

impl<S: Store> Prefix for Below<'_, S> {
    type Record = Vec<u8>;
    type Error = S::Error;

    fn intent_by_correlation_id(
        &self,
        stream_id: &str,
        correlation_id: &str,
    ) -> Result<Option<Vec<u8>>, S::Error> {
        let found = self.history().by_correlation(stream_id, correlation_id, self.bound);
        found.map(|found| self.store.record(found.place)).transpose()
    }

    fn intents_of_turn(&self, turn: &Turn<'_>, count_max: usize) -> Result<Vec<Vec<u8>>, S::Error> {
        let turn = [turn.stream_id, turn.thread_id, turn.turn_id];
        let found = self.history().of_turn(turn, count_max, self.bound);
        self.read(&found)
    }

    fn is_turn_of_another_thread(&self, turn: &Turn<'_>) -> Result<bool, S::Error> {
        let turn = [turn.stream_id, turn.thread_id, turn.turn_id];
        Ok(self.history().is_turn_elsewhere(turn, self.bound))
    }

    fn last_intents_of_thread(
        &self,
        stream_id: &str,
        thread_id: &str,
        count_max: usize,
    ) -> Result<Vec<Vec<u8>>, S::Error> {
        let found = self.history().last_of_thread(stream_id, thread_id, count_max, self.bound);
        self.read(&found)
    }

    fn terminal_execution(&self, intent: &Origin<'_>) -> Result<Option<Terminal>, S::Error> {
        Ok(self.history().terminal_of(intent.stream_id, intent.execution_id, self.bound))
    }

    fn blob(&self, reference: &Reference<'_>) -> Result<Blob, S::Error> {
        if self.history().is_erased(&reference.digest, self.stream_id, self.bound) {
            return Ok(Blob::Erased);
        }
        Ok(self.store.blob(&reference.digest)?.map_or(Blob::Missing, Blob::Content))
    }
}
