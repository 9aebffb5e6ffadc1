//! What a decision may look up, over this server's key index: ingress checks references against it, the decider
//! resolves them. Both see the records below a bound, whatever is above it.

use gesta_log_format::blob::Reference;
use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical;
use gesta_log_format::{Index, Kind};
use gesta_replay::context::{Blob, Origin, Prefix, Terminal, Turn};

use crate::blobs;
use crate::keys::Fingerprint;
use crate::store::{LookupError, RecordBytes, Store};

/// Postings that are looked at between two asks of the key index.
const PAGE: usize = 64;

/// The records of this server's log below a bound.
pub struct LogPrefix<'a> {
    pub store: &'a Store,
    pub blobs: &'a blobs::Store,
    /// The first index that is not in it.
    pub below: Index,
}

/// Why a look-up failed.
#[derive(Debug, thiserror::Error)]
pub enum PrefixError {
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("the blob {digest} cannot be read: {cause}")]
    Blob { digest: gesta_log_format::Digest, cause: std::io::Error },
}

impl LogPrefix<'_> {
    /// Walks the records that bear `key`, ascending, until `visit` says that it has seen enough.
    fn walk(
        &self,
        key: &Fingerprint,
        mut visit: impl FnMut(&View<'_>, &RecordBytes) -> bool,
    ) -> Result<(), LookupError> {
        let mut since = 0;
        loop {
            let postings = self.store.keys.postings(key, Some(since), PAGE)?;
            for index in postings.iter().copied().take_while(|index| *index < self.below.0) {
                let Some(record) = self.store.record(Index(index))? else { return Ok(()) };
                let view = View::parse(record.data());
                if view.is_some_and(|view| visit(&view, &record)) {
                    return Ok(());
                }
            }
            match postings.last() {
                Some(last) if postings.len() == PAGE && *last < self.below.0 => since = last + 1,
                Some(_) | None => return Ok(()),
            }
        }
    }

    /// The INTENTs `submitted` that bear `key` and that `wanted` accepts, ascending; at most `count_max`.
    fn intents(
        &self,
        key: &Fingerprint,
        count_max: usize,
        wanted: impl Fn(&View<'_>) -> bool,
    ) -> Result<Vec<RecordBytes>, PrefixError> {
        let mut found = Vec::new();
        self.walk(key, |view, record| {
            if is_submitted(view) && wanted(view) {
                found.push(record.clone());
            }
            found.len() >= count_max
        })?;
        Ok(found)
    }
}

fn is_submitted(view: &View<'_>) -> bool {
    view.kind == Kind::Intent && view.type_name == "submitted"
}

fn is(raw: &[u8], wanted: &str) -> bool {
    canonical::unescape(raw).as_deref() == Some(wanted)
}

impl Prefix for LogPrefix<'_> {
    type Record = RecordBytes;
    type Error = PrefixError;

    fn intent_by_correlation_id(
        &self,
        stream_id: &str,
        correlation_id: &str,
    ) -> Result<Option<RecordBytes>, PrefixError> {
        let key = Fingerprint::subject(stream_id, &format!("intent/{correlation_id}"));
        let found = self.intents(&key, 1, |view| {
            is(view.stream_id, stream_id) && is(view.correlation_id, correlation_id)
        })?;
        Ok(found.into_iter().next())
    }

    fn intents_of_turn(&self, turn: &Turn<'_>, count_max: usize) -> Result<Vec<RecordBytes>, PrefixError> {
        let key = Fingerprint::turn(turn.stream_id, turn.thread_id, turn.turn_id);
        self.intents(&key, count_max, |view| {
            is(view.stream_id, turn.stream_id)
                && is(view.thread_id, turn.thread_id)
                && is(view.turn_id, turn.turn_id)
        })
    }

    fn is_turn_of_another_thread(&self, turn: &Turn<'_>) -> Result<bool, PrefixError> {
        let key = Fingerprint::turn_anywhere(turn.stream_id, turn.turn_id);
        let found = self.intents(&key, 1, |view| {
            is(view.stream_id, turn.stream_id)
                && is(view.turn_id, turn.turn_id)
                && !is(view.thread_id, turn.thread_id)
        })?;
        Ok(!found.is_empty())
    }

    fn last_intents_of_thread(
        &self,
        stream_id: &str,
        thread_id: &str,
        count_max: usize,
    ) -> Result<Vec<RecordBytes>, PrefixError> {
        let key = Fingerprint::thread(stream_id, thread_id);
        let mut last = std::collections::VecDeque::with_capacity(count_max);
        self.walk(&key, |view, record| {
            if is_submitted(view) && is(view.stream_id, stream_id) && is(view.thread_id, thread_id) {
                if last.len() == count_max {
                    last.pop_front();
                }
                last.push_back(record.clone());
            }
            count_max == 0
        })?;
        Ok(last.into())
    }

    fn terminal_execution(&self, intent: &Origin<'_>) -> Result<Option<Terminal>, PrefixError> {
        let subject = format!("execution/{}", intent.execution_id);
        let key = Fingerprint::subject(intent.stream_id, &subject);
        let mut terminal = None;
        self.walk(&key, |view, _| {
            let ends = view.kind == Kind::Execution
                && matches!(view.type_name, "completed" | "failed" | "cancelled")
                && is(view.stream_id, intent.stream_id)
                && view.subjects().flatten().any(|found| is(found.subject, &subject));
            if ends {
                terminal = view.digest().map(|digest| Terminal { index: view.index, digest });
            }
            terminal.is_some()
        })?;
        Ok(terminal)
    }

    fn blob(&self, reference: &Reference<'_>) -> Result<Blob, PrefixError> {
        let digest = reference.digest;
        let found = self.blobs.whole(&digest).map_err(|cause| PrefixError::Blob { digest, cause })?;
        Ok(found.map_or(Blob::Missing, Blob::Content))
    }
}
