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
use gesta_replay::projections::head::Head;
use gesta_replay::{Projection, RestoreError};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

const TREE: &str = "projections";
const HEAD: &str = "head";

/// The origin of the log that a snapshot was folded from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Origin(pub String);

/// The stored snapshots of one log.
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

    /// The state of the newest snapshot, or of no record where none is of use for a log that ends at `head`; such a
    /// one is deleted and the reason logged.
    pub(super) fn restore(&self, head: Index) -> Head {
        match self.read(head) {
            Ok(Some(restored)) => {
                info!(index = restored.applied().0, "the projections go on from their snapshot");
                restored
            }
            Ok(None) => Head::default(),
            Err(why) => {
                warn!(%why, "the snapshot of the projections is of no use: the log is folded from index 0");
                if let Err(cause) = self.tree.remove(HEAD) {
                    warn!(%cause, "the snapshot cannot be deleted");
                }
                Head::default()
            }
        }
    }

    fn read(&self, head: Index) -> Result<Option<Head>, Unusable> {
        let Some(stored) = self.tree.get(HEAD)? else { return Ok(None) };
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
        let restored = Head::restore(snapshot)?;
        let index = restored.applied();
        if index.0 != label.index {
            return Err(Unusable::Label);
        }
        if index > head {
            return Err(Unusable::Ahead { index, head });
        }
        Ok(Some(restored))
    }

    /// Puts a snapshot of the state below `applied` in place of the one before, durably. A failure is logged: the
    /// snapshot is a saving and nothing else.
    pub(super) fn write(&self, snapshot: &[u8], applied: Index) {
        let label =
            Label { digest: Digest::of(snapshot).to_string(), index: applied.0, origin: self.origin.clone() };
        let mut value = serde_json::to_vec(&label).expect("a label is made of texts and a number");
        value.push(b'\n');
        value.extend_from_slice(snapshot);
        let written = self.tree.insert(HEAD, value).and_then(|_| self.db.flush());
        if let Err(cause) = written {
            warn!(%cause, index = applied.0, "a snapshot of the projections cannot be written");
        }
    }
}
