//! The Merkle tree over the records, compared with every root that anybody claims.

use gesta_log_format::segment::Seal;
use gesta_log_format::tree::{CompactRange, Hash};
use gesta_log_format::{Index, hex};

use super::finding::{Class, Finding};

/// A root that somebody claims, such as a signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What claims it, for a person: a checkpoint's file.
    pub by: String,
    /// The rule that is broken if it does not hold.
    pub rule: &'static str,
    /// How many records it covers.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

impl Claim {
    /// The rule of checkpoints.
    pub const CHECKPOINT: &str = "CHECKPOINT";
}

/// The tree as far as it is known.
pub(super) struct Tree {
    /// None behind absent records, until a seal gives the subtrees before it.
    range: Option<CompactRange>,
    /// The size from which on the subtrees are a seal's word; none where every leaf was there.
    adopted: Option<u64>,
    /// By ascending size; those that are compared are gone.
    claims: std::collections::VecDeque<Claim>,
    pub(super) held: Vec<Claim>,
    /// Claims about sizes at which the tree was not known.
    pub(super) unknown: Vec<Claim>,
    pub(super) seals: u64,
    /// Seals of which only their own segment was compared.
    pub(super) seals_unknown: u64,
}

type Report<'r> = &'r mut dyn FnMut(Finding);

impl Tree {
    pub(super) fn new(mut claims: Vec<Claim>) -> Self {
        claims.sort_by(|a, b| (a.size, &a.by).cmp(&(b.size, &b.by)));
        Self {
            range: Some(CompactRange::new()),
            adopted: None,
            claims: claims.into(),
            held: Vec::new(),
            unknown: Vec::new(),
            seals: 0,
            seals_unknown: 0,
        }
    }

    /// Whether every leaf so far was there.
    pub(super) fn is_whole(&self) -> bool {
        self.range.is_some() && self.adopted.is_none()
    }

    /// The root, where every leaf was there.
    pub(super) fn root(&self) -> Option<Hash> {
        self.range.as_ref().filter(|_| self.adopted.is_none()).map(CompactRange::root)
    }

    /// The size up to which the tree is a seal's word.
    pub(super) fn adopted(&self) -> Option<u64> {
        self.adopted
    }

    pub(super) fn append(&mut self, leaf: Hash, report: Report<'_>) {
        if let Some(range) = &mut self.range {
            let size = range.len();
            if self.claims.front().is_some_and(|claim| claim.size <= size) {
                self.compare(report);
            }
            if let Some(range) = &mut self.range {
                range.append(leaf);
            }
        }
    }

    /// Compares the claims about the size that the tree has.
    fn compare(&mut self, report: Report<'_>) {
        let Some(range) = &self.range else { return };
        let (size, root) = (range.len(), range.root());
        while let Some(claim) = self.claims.pop_front_if(|claim| claim.size <= size) {
            if claim.size < size {
                self.unknown.push(claim);
            } else if claim.root == root {
                self.held.push(claim);
            } else {
                let message = format!(
                    "{} claims the root {} over {size} records, and it is {}",
                    claim.by,
                    hex::text(&claim.root.0),
                    hex::text(&root.0)
                );
                report(Finding::whole(Class::Tampered, claim.rule, message));
            }
        }
    }

    /// Records are absent.
    pub(super) fn lose(&mut self, report: Report<'_>) {
        self.compare(report);
        self.range = None;
    }

    /// Compares the seal of a segment of which every record was appended. Where records before it are absent, its word
    /// is taken for what is not known.
    pub(super) fn seal(&mut self, file: &str, seal: &Seal, report: Report<'_>) {
        self.compare(report);
        match &self.range {
            Some(range) if range.len() == seal.next.0 => {
                self.seals += 1;
                if range.root() != seal.root || range.peaks() != seal.peaks {
                    let index = Index(seal.next.0.saturating_sub(1));
                    let message = "the segment's seal has another Merkle root than its records";
                    report(Finding::at(Class::Tampered, "SEAL", index, message).placed(file, 0));
                }
            }
            Some(_) | None => {
                self.seals_unknown += 1;
                let range = CompactRange::from_peaks(seal.next.0, seal.peaks.clone()).ok();
                self.range = range.filter(|range| range.root() == seal.root);
                self.adopted = self.range.as_ref().map(CompactRange::len);
            }
        }
    }

    /// Compares what can be compared at the end; what claims more records than there are is left over.
    pub(super) fn finish(&mut self, report: Report<'_>) -> Vec<Claim> {
        self.compare(report);
        self.claims.drain(..).collect()
    }
}
