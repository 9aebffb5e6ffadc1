//! Snapshots of the projections in the derived store, so that a start folds the records after the newest one alone.
//!
//! One value for each projection in the tree `projections`: a line of JSON that says what it is, then the snapshot:
//!
//! ```text
//! {"digest":"sha256:…","index":100000,"origin":"gesta.local/…"}\n{"projection":"head",…}
//! ```
//!
//! All of it is derived: what does not fit the log is deleted and folded again.

use gesta_log_format::{Digest, Index};
use gesta_replay::{Projection, RestoreError};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::state::{Scope, State};

const TREE: &str = "projections";

/// The origin of the log that a snapshot was folded from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Origin(pub String);

/// The stored snapshots of one log.
#[derive(Clone)]
pub struct Snapshots {
    db: sled::Db,
    tree: sled::Tree,
    origin: Origin,
}

/// The first line of a stored snapshot.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Label {
    digest: String,
    index: u64,
    origin: Origin,
}

/// A state with what it was restored from.
pub(super) struct Restored {
    pub(super) state: State,
    /// What the snapshots took together.
    pub(super) bytes: u64,
}

/// Why a stored snapshot is of no use.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("the derived store cannot be read: {0}")]
    Store(#[from] sled::Error),
    #[error("its label cannot be read")]
    Label,
    #[error("it was folded from the log {}", .found.0)]
    Origin { found: Origin },
    #[error("its digest is not the one that was written")]
    Digest,
    #[error("it is of index {index}, and the log ends at {head}")]
    Ahead { index: Index, head: Index },
    #[error(transparent)]
    State(#[from] RestoreError),
}

impl Snapshots {
    /// The snapshots in `db` of the log with this origin.
    ///
    /// # Errors
    /// Where sled or the disk below it fails.
    pub fn open(db: &sled::Db, origin: Origin) -> Result<Self, sled::Error> {
        Ok(Self { tree: db.open_tree(TREE)?, db: db.clone(), origin })
    }

    /// The state of the newest snapshots, for a log that ends at `head`. Where one is missing, its projection begins
    /// anew; where it is of no use too: then it is deleted and the reason logged.
    pub(super) fn restore(&self, scope: Scope, head: Index) -> Restored {
        let mut state = State::empty(scope);
        let mut bytes = self.restore_one(&mut state.head, head);
        if scope == Scope::Decisions {
            bytes += self.restore_one(&mut state.decisions, head);
            bytes += self.restore_one(&mut state.counts, head);
            bytes += self.restore_one(&mut state.executions, head);
            bytes += self.restore_one(&mut state.handlers, head);
            bytes += self.restore_one(&mut state.tasks, head);
            bytes += self.restore_one(&mut state.leases, head);
            bytes += self.restore_one(&mut state.datasets, head);
            bytes += self.restore_one(&mut state.outbox, head);
        }
        let index = state.applied();
        if index > Index::ZERO {
            info!(index = index.0, "the projections go on from their snapshot");
        }
        Restored { state, bytes }
    }

    /// Restores one projection; the bytes of its snapshot.
    fn restore_one<P: Projection>(&self, projection: &mut P, head: Index) -> u64 {
        let name = projection.name();
        match self.read(name, head) {
            Ok(Some((restored, bytes))) => {
                *projection = restored;
                bytes
            }
            Ok(None) => 0,
            Err(why) => {
                warn!(%why, projection = name, "the snapshot is of no use: the log is folded from index 0");
                if let Err(cause) = self.tree.remove(name) {
                    warn!(%cause, "the snapshot cannot be deleted");
                }
                0
            }
        }
    }

    fn read<P: Projection>(&self, name: &str, head: Index) -> Result<Option<(P, u64)>, Unusable> {
        let Some(stored) = self.tree.get(name)? else { return Ok(None) };
        let end = stored.iter().position(|byte| *byte == b'\n').ok_or(Unusable::Label)?;
        let (label, snapshot) =
            (stored.get(..end).unwrap_or_default(), stored.get(end + 1..).unwrap_or_default());
        let label: Label = serde_json::from_slice(label).map_err(|_| Unusable::Label)?;
        if label.origin != self.origin {
            return Err(Unusable::Origin { found: label.origin });
        }
        if Digest::parse(&label.digest) != Some(Digest::of(snapshot)) {
            return Err(Unusable::Digest);
        }
        let restored = P::restore(snapshot)?;
        let index = restored.applied();
        if index.0 != label.index {
            return Err(Unusable::Label);
        }
        if index > head {
            return Err(Unusable::Ahead { index, head });
        }
        Ok(Some((restored, snapshot.len() as u64)))
    }

    /// The index of the stored snapshots and their digests by name; none where there are none, or not of one index.
    pub(super) fn stored(&self) -> Option<(Index, Vec<(String, Digest)>)> {
        let mut found: Option<(Index, Vec<_>)> = None;
        for entry in self.tree.iter() {
            let (name, value) = entry.ok()?;
            let label = value.split(|byte| *byte == b'\n').next()?;
            let label: Label = serde_json::from_slice(label).ok()?;
            let (index, digests) = found.get_or_insert_with(|| (Index(label.index), Vec::new()));
            if label.origin != self.origin || label.index != index.0 {
                return None;
            }
            digests.push((String::from_utf8(name.to_vec()).ok()?, Digest::parse(&label.digest)?));
        }
        found
    }

    /// Puts snapshots of the state below `applied`, each with its projection's name, in place of those before, durably.
    /// A failure is logged: snapshots are a saving and nothing else.
    pub(super) fn write(&self, snapshots: &[(&'static str, Vec<u8>)], applied: Index) {
        let mut batch = sled::Batch::default();
        for (name, snapshot) in snapshots {
            let digest = Digest::of(snapshot).to_string();
            let label = Label { digest, index: applied.0, origin: self.origin.clone() };
            let mut value = serde_json::to_vec(&label).expect("a label is made of texts and a number");
            value.push(b'\n');
            value.extend_from_slice(snapshot);
            batch.insert(*name, value);
        }
        let written = self.tree.apply_batch(batch).and_then(|()| self.db.flush().map(drop));
        if let Err(cause) = written {
            warn!(%cause, index = applied.0, "a snapshot of the projections cannot be written");
        }
    }
}
