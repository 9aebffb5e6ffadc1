//! Who has put which blob, so that knowing a digest is not enough to refer to what others have put.
//!
//! In memory, bounded, and nothing depends on it but this: a client whose put is forgotten, after a restart or behind
//! [`BLOB_PUTS_MAX`] others, is told that the blob is not there, puts it again, and is remembered.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gesta_log_format::Digest;

use crate::auth::Principal;
use crate::limits::BLOB_PUTS_MAX;

/// The newest puts: of clients, and apart from them of the code of tasks, which is not trusted: however much it puts, no
/// client's put is forgotten for it.
#[derive(Debug, Default)]
pub(super) struct Puts {
    clients: Mutex<Known>,
    tasks: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    puts: HashSet<Digest>,
    /// The oldest first.
    order: VecDeque<Digest>,
}

impl Puts {
    /// Remembers that the caller has put the blob.
    pub(super) fn note(&self, caller: &Principal, digest: &Digest) {
        let put = put(caller, digest);
        let mut known = self.known(caller);
        if !known.puts.insert(put) {
            return;
        }
        known.order.push_back(put);
        if known.order.len() > BLOB_PUTS_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.puts.remove(&oldest);
        }
    }

    /// Whether the caller is known to have put the blob.
    pub(super) fn has(&self, caller: &Principal, digest: &Digest) -> bool {
        self.known(caller).puts.contains(&put(caller, digest))
    }

    /// A panic while the lock is held leaves at most one put that is never forgotten.
    fn known(&self, caller: &Principal) -> MutexGuard<'_, Known> {
        let known = if caller.is_task() { &self.tasks } else { &self.clients };
        known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller and a blob in one.
fn put(caller: &Principal, digest: &Digest) -> Digest {
    Digest::of([digest.hex().as_bytes(), caller.name.as_bytes()].concat().as_slice())
}
