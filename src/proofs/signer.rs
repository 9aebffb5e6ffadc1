//! The thread that keeps the tree and signs it.
//!
//! A checkpoint is signed at each interval in which the log grew and at each seal: at or below the watermark, over a tree
//! that was compared with the log's own roots, and only if that tree extends the newest checkpoint that any configured
//! place holds. It is durable in all places before anybody sees it. Where that cannot be, nothing is signed, the server's
//! log and `GET /checkpoint` say why, and everything else goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gesta_log_format::checkpoint::Checkpoint;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::note::{KeyId, PublicKey, SecretKey};
use tracing::{error, info, warn};

use super::keeper::{Keeper, KeeperError};
use super::keys::{KeyFiles, KeysError, SigningKeys};
use super::place::{Place, PlaceError, Signed};
use super::{Proofs, Standing};
use crate::keys::Fingerprint;
use crate::store::Store;

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignError {
    /// Tried again at the next interval.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A second history would be signed.
    #[error("{0}")]
    Refused(String),
}

impl SignError {
    /// Whether waiting cannot help.
    fn is_final(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Keeper(KeeperError::Root { .. }) => true,
            Self::Place(PlaceError::NoCheckpoint { .. }) => true,
            Self::Keys(KeysError::NoKey { .. } | KeysError::Foreign { .. } | KeysError::Missing { .. }) => {
                true
            }
            Self::Keeper(KeeperError::Tree(_) | KeeperError::Read(_))
            | Self::Place(PlaceError::Io { .. })
            | Self::Keys(KeysError::Io { .. } | KeysError::Random(_)) => false,
        }
    }
}

/// The thread's state.
pub struct Signer {
    pub(super) store: Arc<Store>,
    pub(super) proofs: Arc<Proofs>,
    pub(super) disk: RealDisk,
    pub(super) key_files: KeyFiles,
    /// Where the newest checkpoint is kept; the first is the data directory's.
    pub(super) places: Vec<Place>,
    pub(super) interval: Duration,
    pub(super) keeper: Option<Keeper>,
}

impl Signer {
    /// Works until told to end, and signs what is there then.
    pub fn run(mut self) {
        let mut told = None;
        loop {
            let began = Instant::now();
            match self.round() {
                Ok(()) => told = None,
                Err(error) => {
                    let text = super::with_causes(&error);
                    if told.as_ref() != Some(&text) {
                        error!(error = %text, "the log is not signed; everything else goes on");
                        told = Some(text.clone());
                    }
                    self.proofs.stand(Standing::Refused { why: text, is_final: error.is_final() });
                }
            }
            if self.proofs.wake.wait(self.interval.saturating_sub(began.elapsed())) {
                return;
            }
        }
    }

    fn round(&mut self) -> Result<(), SignError> {
        self.follow()?;
        if self.proofs.standing_is_final() {
            return Ok(());
        }
        if self.proofs.newest().is_none() {
            self.begin()?;
        }
        self.sign_if_grown()
    }

    /// Brings the tree up to the watermark.
    fn follow(&mut self) -> Result<(), KeeperError> {
        if self.keeper.is_none() {
            let keeper = Keeper::open(Arc::clone(&self.store), &self.disk)?;
            self.proofs.set_tree(keeper.file().stored());
            self.keeper = Some(keeper);
        }
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        if self.proofs.take_damaged() {
            keeper.repair()?;
        }
        keeper.follow(|| self.proofs.wake.has_ended())
    }

    /// Takes over what the places and key files hold, once the tree is up with the log.
    fn begin(&mut self) -> Result<(), SignError> {
        let mut newest: Option<Signed> = None;
        for place in &self.places {
            let Some(found) = place.read()? else { continue };
            self.demand_extended(place, &found)?;
            if newest.as_ref().is_none_or(|newest| newest.checkpoint.size < found.checkpoint.size) {
                newest = Some(found);
            }
        }
        if self.proofs.keys().is_empty() {
            let keys = self.key_files.open(newest.is_some(), |id| self.is_rotated(id))?;
            self.proofs.set_keys(keys);
        }
        let Some(newest) = newest else { return Ok(()) };
        let public = public(&self.proofs.keys());
        match newest.is_signed_by(&public) {
            Ok(true) => {}
            Ok(false) => warn!("the newest checkpoint was signed with another key than those that are here"),
            Err(wrong) => {
                return Err(SignError::Refused(format!("the newest checkpoint was changed: {wrong}")));
            }
        }
        self.proofs.publish(newest);
        Ok(())
    }

    /// The recovered tree has to be what this checkpoint has grown to.
    fn demand_extended(&self, place: &Place, found: &Signed) -> Result<(), SignError> {
        let (path, Checkpoint { origin, size, root, .. }) = (place.path().display(), &found.checkpoint);
        if *origin != self.store.origin {
            let own = &self.store.origin;
            let why = format!("{path} holds a checkpoint of another log: {origin}, and this one is {own}");
            return Err(SignError::Refused(why));
        }
        let Some(keeper) = &self.keeper else { return Ok(()) };
        let there = keeper.file().size();
        if *size > there {
            // While the tree is made again: else the log would not have been opened for writing.
            if *size <= self.store.live.published().0 {
                return Err(KeeperError::Tree(beyond(*size, there)).into());
            }
            let why = format!("{path} holds a checkpoint of {size} records, and the log has {there}");
            return Err(SignError::Refused(why));
        }
        let own = keeper.file().stored().root(*size).map_err(KeeperError::Tree)?;
        if own != *root {
            let why = format!(
                "{path} holds a checkpoint that this log does not extend: its root over {size} records is {root}, the log's {own}"
            );
            return Err(SignError::Refused(why));
        }
        Ok(())
    }

    fn sign_if_grown(&self) -> Result<(), SignError> {
        let Some(keeper) = &self.keeper else { return Ok(()) };
        let (size, newest) = (keeper.file().size(), self.proofs.newest());
        if size < self.store.live.published().0.min(self.store.opened_at.0.0) {
            return Ok(());
        }
        if let Some(newest) = &newest {
            if newest.checkpoint.size >= size {
                self.proofs.stand(Standing::Signing);
                return Ok(());
            }
            // Once more, on the files as they are now.
            self.demand_extended(self.first_place()?, newest)?;
        }
        let root = keeper.file().range().root();
        let stored = keeper.file().stored().root(size).map_err(KeeperError::Tree)?;
        if stored != root {
            self.proofs.note_damaged();
            return Ok(());
        }
        let checkpoint = Checkpoint { origin: self.store.origin.clone(), size, root, extensions: Vec::new() };
        let keys = self.keys_in_force();
        let note = checkpoint.sign(&keys.iter().collect::<Vec<&SecretKey>>());
        let note = note.map_err(|error| SignError::Refused(error.to_string()))?.encode();
        let signed = Signed { checkpoint, note };
        for place in &self.places {
            place.write(&signed)?;
        }
        if newest.is_none() {
            info!(size, key = %keys.first().map_or_else(String::new, |key| key.public().to_string()), "the log is signed");
        }
        self.proofs.publish(signed);
        Ok(())
    }

    /// The keys that sign a tree which may hold the record of a rotation.
    fn keys_in_force(&self) -> SigningKeys {
        // A rotation is in the log before its key signs. One that is under way is waited for, else a checkpoint over
        // its record would bear the former keys alone, until the log grows again.
        drop(self.proofs.rotating.blocking_lock());
        self.proofs.keys()
    }

    fn first_place(&self) -> Result<&Place, SignError> {
        self.places.first().ok_or_else(|| SignError::Refused("no place for checkpoints".to_owned()))
    }

    /// Whether the log has the record of this key's rotation.
    fn is_rotated(&self, id: KeyId) -> bool {
        let key = Fingerprint::subject(crate::control::STREAM, &super::key_subject(id));
        self.store.keys.newest(&key).is_ok_and(|newest| newest.is_some())
    }
}

fn beyond(wanted: u64, size: u64) -> gesta_log_format::tree::file::TreeError {
    gesta_log_format::tree::file::TreeError::Beyond { wanted, size }
}

pub(super) fn public(keys: &SigningKeys) -> Vec<PublicKey> {
    keys.iter().map(|key| key.public().clone()).collect()
}
