//! Keeps the tree's files up with the log, never ahead of the watermark, and compares them with every root that the log
//! itself holds: those of its seals, and the one that recovery found.

use std::sync::Arc;

use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::log::{Cursor, ReadError};
use gesta_log_format::tree::file::{Known, TreeError, TreeFile};
use gesta_log_format::tree::{Hash, leaf_hash};
use gesta_log_format::{Index, record};
use tracing::{error, info, warn};

use crate::limits::TREE_CHUNK_BYTES;
use crate::store::Store;

/// Records behind the watermark from which on catching up is worth a line in the server's log.
const FAR_BEHIND: u64 = 1_000_000;

/// Most records that are still taken in when the server ends: a tenth of a second.
const LAST_ROUND_RECORDS_MAX: u64 = 50_000;

/// Why the tree does not follow the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeeperError {
    /// Tried again later: the files are derived, and nothing depends on them but proofs.
    #[error("the tree's files cannot be used")]
    Tree(#[from] TreeError),
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    /// The records, which hold their checksums, are not those over which this root was made.
    #[error("the records below index {size} have the root {found}, and the log says {expected}")]
    Root { size: u64, found: Hash, expected: Hash },
}

/// The tree's files and how far they have been compared.
pub(super) struct Keeper {
    store: Arc<Store>,
    file: TreeFile<RealDisk>,
    /// The size at which the tree's root was last found to be the log's.
    compared: u64,
    /// The root at that size was made from records again, after it had differed.
    rebuilt_at: Option<u64>,
}

impl Keeper {
    /// Opens the tree's files, and cuts off what does not fit the log's seals.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub(super) fn open(store: Arc<Store>, disk: &RealDisk) -> Result<Self, KeeperError> {
        let known = known(&store)?;
        let file = TreeFile::open(disk, &known, store.live.published().0)?;
        let behind = store.live.published().0 - file.size();
        if behind > FAR_BEHIND {
            info!(size = file.size(), behind, "the tree is being made from the log");
        }
        Ok(Self { store, file, compared: u64::MAX, rebuilt_at: None })
    }

    pub(super) fn file(&self) -> &TreeFile<RealDisk> {
        &self.file
    }

    /// Follows the log to the watermark, or, where that is far, until `ended` says so between two pieces.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub(super) fn follow(&mut self, ended: impl Fn() -> bool) -> Result<(), KeeperError> {
        let mut buffer = Vec::new();
        let mut cursor = Cursor::at(Index(self.file.size()));
        loop {
            self.compare()?;
            let watermark = self.store.live.published();
            let at = Index(self.file.size());
            if at >= watermark || (watermark.since(at) > LAST_ROUND_RECORDS_MAX && ended()) {
                return Ok(());
            }
            let until = self.next_root(at).map_or(watermark, |known| known.min(watermark));
            let fresh = self.store.fresh_leaves.take(at, until);
            if !fresh.is_empty() {
                self.file.append(&fresh)?;
                continue;
            }
            if cursor.next() != at {
                cursor = Cursor::at(at);
            }
            let chunk = self.store.reader.read(&mut cursor, until, &mut buffer, TREE_CHUNK_BYTES)?;
            let mut leaves = Vec::new();
            let mut rest = buffer.get(..chunk.len).unwrap_or_default();
            while let Ok(record) = record::decode_trusted(rest) {
                leaves.push(leaf_hash(record.data));
                rest = rest.get(record.bytes.len()..).unwrap_or_default();
            }
            self.file.append(&leaves)?;
        }
    }

    /// Compares the tree's root with the log's where the log has one at this size. Where it is another
    /// one, the tree is cut back.
    fn compare(&mut self) -> Result<(), KeeperError> {
        let size = self.file.size();
        if size == self.compared {
            return Ok(());
        }
        let Some(expected) = self.root_of_log(Index(size))? else { return Ok(()) };
        let found = self.file.range().root();
        if found == expected {
            self.compared = size;
            if size > 0 && self.store.opened_at.0.0 != size {
                // Sealed: what is synced now need not be made again after a power cut.
                self.file.sync()?;
            }
            return Ok(());
        }
        if self.rebuilt_at == Some(size) {
            let error = KeeperError::Root { size, found, expected };
            error!(%error, "the log contradicts itself");
            return Err(error);
        }
        warn!(size, "the tree's files are not those of this log: they are made again from it");
        self.rebuilt_at = Some(size);
        self.file.cut_to_known(&known(&self.store)?)?;
        if self.file.size() == size {
            self.file.cut(0)?;
        }
        Ok(())
    }

    /// The nearest size behind `at` at which the log has a root to compare with: where recovery found it, and the seals.
    fn next_root(&self, at: Index) -> Option<Index> {
        let segments = self.store.reader.segments();
        let seals = segments.iter().filter(|segment| segment.is_sealed()).map(|segment| segment.next());
        seals.chain([self.store.opened_at.0]).filter(|size| *size > at).min()
    }

    /// The root that a seal or recovery gives for the tree of so many records.
    fn root_of_log(&self, size: Index) -> Result<Option<Hash>, KeeperError> {
        let (opened_at, root) = self.store.opened_at;
        if size == opened_at {
            return Ok(Some(root));
        }
        let segments = self.store.reader.segments();
        let sealed = segments.iter().find(|segment| segment.is_sealed() && segment.next() == size);
        let seal = sealed.map(|segment| self.store.reader.seal(segment)).transpose()?.flatten();
        Ok(seal.map(|seal| seal.root))
    }

    /// Looks for what was changed in the files, and cuts it off, so that it is made again.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub(super) fn repair(&mut self) -> Result<(), KeeperError> {
        self.compared = u64::MAX;
        self.rebuilt_at = None;
        let before = self.file.size();
        self.file.repair(&known(&self.store)?)?;
        warn!(before, size = self.file.size(), "the tree's files were changed: that part is made again");
        Ok(())
    }
}

/// The roots of all seals.
fn known(store: &Store) -> Result<Vec<Known>, KeeperError> {
    let mut known = Vec::new();
    for segment in store.reader.segments() {
        if let Some(seal) = store.reader.seal(&segment)? {
            known.push(Known { size: seal.next.0, root: seal.root });
        }
    }
    Ok(known)
}
