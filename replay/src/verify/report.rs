//! What a verification has found, all of it.

use gesta_log_format::Index;
use gesta_log_format::tree::Hash;

use super::finding::{Finding, Verdict};
use super::tree::Claim;

/// What became of the decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecisionCounts {
    /// Derived again, and equal.
    pub same: u64,
    /// Derived again by another version of the engine, and equal but for that.
    pub engine_differs: u64,
    /// Derived again, and different.
    pub diverged: u64,
    /// Not derived: records or blobs are missing.
    pub not_replayable: u64,
    /// Not derived: a blob was erased, which a record says.
    pub erased: u64,
    /// Intents that have none yet.
    pub undecided: u64,
}

/// What became of the digests of the requests that INTENTs came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// Computed again, and equal.
    pub same: u64,
    /// Computed again, and different, or what it covers is not as its name says.
    pub differ: u64,
    /// Not computed: blobs are missing.
    pub not_replayable: u64,
    /// Not computed: a blob was erased, which a record says.
    pub erased: u64,
    /// Not computed: they came in by a surface whose requests are not known here.
    pub other_surface: u64,
}

/// Records that are not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absent {
    /// How many.
    pub records: u64,
    /// Where, first index and first index behind; the first hundred ranges.
    pub ranges: Vec<(Index, Index)>,
    /// How many times a record referred to what may be among them, so that it could not be checked.
    pub references: u64,
}

/// What a verification has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What the whole is.
    pub verdict: Verdict,
    /// The first index that is there.
    pub first: Option<Index>,
    /// The first index behind those that are there.
    pub head: Index,
    /// How many records there are.
    pub records: u64,
    /// The root over all of them, where all were there.
    pub root: Option<Hash>,
    /// The decisions.
    pub decisions: DecisionCounts,
    /// The requests of the INTENTs.
    pub requests: RequestCounts,
    /// Seals whose root was compared.
    pub seals: u64,
    /// Claimed roots that hold.
    pub held: Vec<Claim>,
    /// Digests of projections that were compared and hold, by name.
    pub projections_held: Vec<String>,
    /// What is not there.
    pub absent: Absent,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
    /// What was found, at most [`super::FINDINGS_MAX`] of it.
    pub findings: Vec<Finding>,
    /// How much was found.
    pub findings_total: u64,
}
