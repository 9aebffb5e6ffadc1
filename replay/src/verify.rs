//! Verifies a log: folds every record as a server does, derives every decision again, and compares each root that
//! somebody claims.
//!
//! Pure: records come in order from whoever reads them, what has to be read again is asked of a [`Store`], and the
//! report is a function of these alone, whatever the number of threads. [`Replay`] folds and says what each DECISION
//! is derived from; [`Verifier`] derives and compares.

mod active;
mod below;
mod check;
mod finding;
mod folds;
mod history;
mod parallel;
mod pipeline;
mod replay;
mod report;
mod request;
mod tree;
mod verifier;

use gesta_log_format::tree::Hash;
use gesta_log_format::{Digest, Index};

pub use finding::{Class, FINDINGS_MAX, Finding, Verdict};
pub use folds::Folds;
pub use replay::{Asked, Before, Derived, Job, Replay, Taken};
pub use report::{Absent, DecisionCounts, Report, RequestCounts};
pub use tree::Claim;
pub use verifier::{SnapshotClaim, Verifier};

pub(crate) const BLOB_MISSING: &str = "BLOB_MISSING";
pub(crate) const BLOB_DIFFERS: &str = "BLOB_DIFFERS";

/// Where a record lies, so that it can be read again: a number that only the [`Store`] understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(pub u64);

/// A record whose frame is whole and whose checksum holds.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The index that its frame gives.
    pub index: Index,
    /// Where it lies.
    pub place: Place,
    /// The envelope: the JSON text of its `data:` line.
    pub data: &'a [u8],
    /// The envelope's leaf hash.
    pub leaf: Hash,
}

/// What a replay reads besides the records that it is handed.
pub trait Store: Send + Sync {
    /// Why it cannot.
    type Error: Send;

    /// The envelope of a record that was handed over before.
    ///
    /// # Errors
    /// As the implementer's reads.
    fn record(&self, place: Place) -> Result<Vec<u8>, Self::Error>;

    /// The content of a blob, unchecked; none where it is not here.
    ///
    /// # Errors
    /// As the implementer's reads.
    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Self::Error>;
}

impl<S: Store> Store for &S {
    type Error = S::Error;

    fn record(&self, place: Place) -> Result<Vec<u8>, S::Error> {
        (**self).record(place)
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, S::Error> {
        (**self).blob(digest)
    }
}
