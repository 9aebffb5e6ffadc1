//! Proofs: the tree on the disk, the checkpoints that the log signs, and the routes that serve both.
//!
//! One thread ([`Signer`]) owns the tree's files and the checkpoint's; routes read what it has published. It never
//! holds up an append: the tree is derived, and a log whose tree or key is not as it should be goes on unsigned.

mod fresh;
mod keeper;
mod keys;
mod place;
mod routes;
mod signer;
mod signing;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use gesta_log_format::disk::Disk;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::note::KeyId;
use gesta_log_format::tree::file::StoredTree;
use gesta_log_format::{Index, checkpoint};

pub use fresh::FreshLeaves;
pub use keys::{KeyFiles, KeysError, SigningKeys};
pub use place::{Place, PlaceError, Signed};
pub(crate) use routes::router;
pub use routes::{ConsistencyProof, InclusionProof, decode_hash, encode_hash};
pub use signer::Signer;
pub use signing::{CheckpointStatus, Signing};

use crate::config::Config;
use crate::store::Store;

/// The tree as routes read it.
pub type Tree = StoredTree<<RealDisk as Disk>::File>;

/// Whether the log is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// The tree is being brought up to the log.
    Starting,
    Signing,
    Refused {
        why: String,
        /// Until the next start.
        is_final: bool,
    },
}

/// What the thread and the routes share.
pub struct Proofs {
    tree: OnceLock<Tree>,
    newest: RwLock<Option<Arc<Signed>>>,
    /// When `newest` was set.
    published_at: RwLock<Option<Instant>>,
    standing: RwLock<Standing>,
    keys: RwLock<SigningKeys>,
    key_files: KeyFiles,
    /// Held through a rotation, so that there is one at a time and the thread does not sign in the middle of it.
    rotating: tokio::sync::Mutex<()>,
    bundles: tokio::sync::Semaphore,
    /// A reader met a node that was changed.
    damaged: AtomicBool,
    wake: Wake,
}

/// Wakes the thread.
#[derive(Default)]
struct Wake {
    state: Mutex<WakeState>,
    some: Condvar,
}

#[derive(Default)]
struct WakeState {
    at_once: bool,
    ended: bool,
    /// The thread has seen the end and does its last round.
    last: bool,
}

impl Wake {
    /// Waits for an interval or a reason to work at once; true once the last round is done.
    fn wait(&self, interval: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |state: &mut WakeState| !state.at_once && !state.ended;
        let (mut state, _) =
            self.some.wait_timeout_while(state, interval, idle).unwrap_or_else(PoisonError::into_inner);
        state.at_once = false;
        let done = state.last;
        state.last = state.ended;
        done
    }

    fn raise(&self, set: impl FnOnce(&mut WakeState)) {
        set(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.some.notify_all();
    }

    fn has_ended(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended
    }
}

/// The marks that checkpoints set: below the size of each, every record was durable. An unreadable file sets none, nor
/// does a second one of another log: that is told when the log is to be signed.
pub fn marks(config: &Config) -> Vec<(&'static str, Index)> {
    let read = |path: &Path| Place::new(path).read().ok().flatten().map(|signed| signed.checkpoint);
    let first = read(&config.server.data.join(checkpoint::FILE));
    let second = config.checkpoint.second_file.as_deref().and_then(read);
    let second = second.filter(|second| first.as_ref().is_none_or(|first| first.origin == second.origin));
    let named = first.map(|first| ("checkpoint", first)).into_iter();
    named
        .chain(second.map(|second| ("second checkpoint", second)))
        .map(|(name, checkpoint)| (name, Index(checkpoint.size)))
        .collect()
}

/// What routes need, and the thread's state, which touches nothing before it runs.
pub fn new(config: &Config, store: &Arc<Store>) -> (Arc<Proofs>, Signer) {
    let data: &Path = &config.server.data;
    let key_files = KeyFiles::new(data, config.checkpoint.key_file.as_deref(), &store.origin);
    let proofs = Arc::new(Proofs {
        tree: OnceLock::new(),
        newest: RwLock::default(),
        published_at: RwLock::default(),
        standing: RwLock::new(Standing::Starting),
        keys: RwLock::new(Arc::new([])),
        key_files: key_files.clone(),
        rotating: tokio::sync::Mutex::default(),
        bundles: tokio::sync::Semaphore::new(crate::limits::ENTRY_BUNDLES_MAX),
        damaged: AtomicBool::new(false),
        wake: Wake::default(),
    });
    let second = config.checkpoint.second_file.as_deref().map(Place::new);
    let signer = Signer {
        store: Arc::clone(store),
        proofs: Arc::clone(&proofs),
        disk: RealDisk::new(data),
        key_files,
        places: std::iter::once(Place::new(&data.join(checkpoint::FILE))).chain(second).collect(),
        interval: Duration::from_secs(config.checkpoint.interval_seconds),
        keeper: None,
    };
    (proofs, signer)
}

impl Proofs {
    /// A segment was sealed.
    pub fn sealed(&self) {
        self.wake.raise(|state| state.at_once = true);
    }

    /// Ends the thread, after a last round.
    pub fn end(&self) {
        self.wake.raise(|state| state.ended = true);
    }

    /// Records that the newest checkpoint covers; 0 where there is none.
    pub fn signed_size(&self) -> u64 {
        self.newest().map_or(0, |newest| newest.checkpoint.size)
    }

    /// The newest checkpoint that may be shown.
    fn newest(&self) -> Option<Arc<Signed>> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn published_at(&self) -> Option<Instant> {
        *self.published_at.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, signed: Signed) {
        *self.newest.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(signed));
        *self.published_at.write().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.stand(Standing::Signing);
    }

    fn stand(&self, standing: Standing) {
        *self.standing.write().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    fn standing(&self) -> Standing {
        self.standing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn standing_is_final(&self) -> bool {
        matches!(self.standing(), Standing::Refused { is_final: true, .. })
    }

    fn keys(&self) -> SigningKeys {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_keys(&self, keys: SigningKeys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn set_tree(&self, tree: Tree) {
        // Set once: the thread opens the files until it succeeds, and keeps them.
        let _ = self.tree.set(tree);
    }

    fn note_damaged(&self) {
        self.damaged.store(true, Ordering::Release);
        self.sealed();
    }

    fn take_damaged(&self) -> bool {
        self.damaged.swap(false, Ordering::AcqRel)
    }
}

/// The subject of the CONTROL records about a key.
fn key_subject(id: KeyId) -> String {
    format!("key/{id}")
}

/// An error and its causes on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
