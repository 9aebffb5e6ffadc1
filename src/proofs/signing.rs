//! What is shown of the signing: how much is signed, since when, and what is in its way.

use std::time::Instant;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Proofs, Standing};

/// Whether the log is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Signing {
    /// The tree is being brought up to the log.
    Starting,
    /// At each interval in which the log grew, and at seals.
    Ok,
    /// The last try failed; the next interval tries again.
    Failing,
    /// Nothing is signed before the next start: the tree does not extend the newest checkpoint, or a key is missing.
    Refused,
}

/// The newest checkpoint, and whether another one follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CheckpointStatus {
    /// Records that the newest checkpoint covers; 0 where there is none.
    pub size: u64,
    /// Milliseconds since it was signed, or since this start took it over; null where there is none. That it grows is a
    /// matter only where `size` is below `head`.
    pub age_ms: Option<u64>,
    pub signing: Signing,
    /// What is in the way of signing. For those who may read `_system`; null for everybody else.
    pub reason: Option<String>,
}

impl Proofs {
    /// How far the log is signed, at `now`. `reason` says whether the caller may know the reason, which names files.
    pub fn checkpoint_status(&self, now: Instant, with_reason: bool) -> CheckpointStatus {
        let (signing, why) = match self.standing() {
            Standing::Starting => (Signing::Starting, None),
            Standing::Signing => (Signing::Ok, None),
            Standing::Refused { why, is_final: true } => (Signing::Refused, Some(why)),
            Standing::Refused { why, is_final: false } => (Signing::Failing, Some(why)),
        };
        let age = self.published_at().map(|at| now.saturating_duration_since(at));
        CheckpointStatus {
            size: self.signed_size(),
            age_ms: age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            signing,
            reason: why.filter(|_| with_reason),
        }
    }

    /// Whether the log is signed as it should be, or soon will be.
    pub fn is_signing(&self) -> bool {
        match self.standing() {
            Standing::Starting | Standing::Signing => true,
            Standing::Refused { .. } => false,
        }
    }
}
