//! Derives every decision again and gathers what is wrong.

use std::collections::BTreeMap;

use gesta_log_format::segment::Seal;
use gesta_log_format::{Digest, Index};

use super::finding::{Class, Finding, Findings};
use super::replay::{Derived, Job, Replay};
use super::report::{Absent, DecisionCounts, Report};
use super::tree::{Claim, Tree};
use super::{Record, Store};
use crate::decide::{Comparison, compare};

/// What nobody can know of a log that no checkpoint covers.
const UNSIGNED: &str = "whether the log is the one that its server shows others, for no checkpoint covers it: \
     records may be missing at the end, the last one of an execution among them, and records on which nothing later \
     depends may be others: give --checkpoint and --key";

/// What `GET /snapshot` claims: the digest of each projection over the first `length` records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotClaim {
    /// Where it comes from, for a person.
    pub by: String,
    /// How many records it covers.
    pub length: Index,
    /// By name.
    pub projections: BTreeMap<String, Digest>,
}

/// Verifies a log whose records come in order.
pub struct Verifier<S> {
    replay: Replay<S>,
    tree: Tree,
    snapshots: Vec<SnapshotClaim>,
    findings: Findings,
    counts: DecisionCounts,
    first: Option<Index>,
    records: u64,
    projections_held: Vec<String>,
    not_checked: Vec<String>,
    /// The newest INTENT that has its DECISION.
    newest_decided: Option<Index>,
    /// How many decisions lack each blob that is missing.
    lacking: BTreeMap<Digest, u64>,
    /// The source knows of records that it left out, so that claims beyond the end mean nothing.
    pub ends_early: bool,
}

impl<S: Store> Verifier<S> {
    /// A verification by so many threads.
    #[must_use]
    pub fn new(store: S, jobs: usize, claims: Vec<Claim>, snapshots: Vec<SnapshotClaim>) -> Self {
        Self {
            replay: Replay::new(store, jobs),
            tree: Tree::new(claims),
            snapshots,
            findings: Findings::default(),
            counts: DecisionCounts::default(),
            first: None,
            records: 0,
            projections_held: Vec::new(),
            not_checked: Vec::new(),
            newest_decided: None,
            lacking: BTreeMap::new(),
            ends_early: false,
        }
    }

    /// The states, and what is read besides.
    #[must_use]
    pub fn replay(&self) -> &Replay<S> {
        &self.replay
    }

    /// Notes what is found outside of the records.
    pub fn find(&mut self, finding: Finding) {
        self.findings.add(finding);
    }

    /// Notes what is not checked, and why.
    pub fn not_checked(&mut self, what: impl Into<String>) {
        self.not_checked.push(what.into());
    }

    /// Takes in records, which come behind all others.
    ///
    /// # Errors
    /// As [`Store`].
    pub fn records(&mut self, records: &[Record<'_>]) -> Result<(), S::Error> {
        self.pieces(&[records.to_vec()])
    }

    /// Takes in pieces of the log, which come behind all others. The more there are at once, the better the threads are
    /// used; what is found does not depend on it.
    ///
    /// # Errors
    /// As [`Store`].
    pub fn pieces(&mut self, pieces: &[Vec<Record<'_>>]) -> Result<(), S::Error> {
        if self.first.is_none() {
            self.first = pieces.iter().flatten().next().map(|first| first.index);
        }
        self.records += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let (tree, findings, snapshots) = (&mut self.tree, &mut self.findings, &mut self.snapshots);
        let held = &mut self.projections_held;
        let mut next = self.replay.next();
        let derived = self.replay.run(
            pieces,
            &mut |replay, record, report| {
                if record.index != next {
                    tree.lose(report);
                }
                next = record.index.next();
                tree.append(record.leaf, report);
                compare_snapshots(snapshots, replay, held, report);
            },
            &mut |finding| findings.add(finding),
            |taken| compare(taken.job.recorded, &taken.decision.payload),
        )?;
        self.derived(derived);
        Ok(())
    }

    fn derived(&mut self, derived: Vec<(Job<'_>, Derived<Comparison>)>) {
        for (job, outcome) in derived {
            self.newest_decided = self.newest_decided.max(Some(job.intent_index));
            let index = job.decision_index.unwrap_or(job.intent_index);
            match outcome {
                Derived::Decision(Comparison::Same) => self.counts.same += 1,
                Derived::Decision(Comparison::EngineDiffers(difference)) => {
                    self.counts.engine_differs += 1;
                    let message = format!("another engine decided the same: {difference}");
                    self.findings.add(Finding::at(Class::Warning, "ENGINE_DIFFERS", index, message));
                }
                Derived::Decision(Comparison::Diverged(difference)) => {
                    self.counts.diverged += 1;
                    let message = format!("it is not the decision that its inputs demand: {difference}");
                    let side = |side: Option<String>| side.unwrap_or_default();
                    let difference =
                        Some([difference.field, side(difference.expected), side(difference.got)]);
                    let finding = Finding::at(Class::Diverged, "DIVERGED", index, message);
                    self.findings.add(Finding { difference, ..finding });
                }
                Derived::Not(finding) => {
                    self.counts.not_replayable += 1;
                    if let Some(blob) = finding.blob {
                        *self.lacking.entry(blob).or_default() += 1;
                    }
                    self.findings.add(finding);
                }
            }
        }
    }

    /// Notes that what lies before `to` and did not come is absent.
    pub fn skip(&mut self, to: Index) {
        if to > self.replay.next() {
            let findings = &mut self.findings;
            self.tree.lose(&mut |finding| findings.add(finding));
            self.replay.skip(to);
        }
    }

    /// Compares the seal of a segment whose records were all taken in.
    pub fn seal(&mut self, file: &str, seal: &Seal) {
        let findings = &mut self.findings;
        self.tree.seal(file, seal, &mut |finding| findings.add(finding));
    }

    /// The report, once no record follows.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let Self { replay, findings, snapshots, projections_held, .. } = &mut self;
        compare_snapshots(snapshots, replay, projections_held, &mut |finding| findings.add(finding));
        self.finish_claims();
        self.finish_snapshots();
        self.finish_decisions();
        self.finish_absent();
        self.finish_requests();
        let (ranges, records) = self.replay.absent();
        let references = self.replay.folds().unchecked();
        let absent = Absent { records, ranges: ranges.to_vec(), references };
        Report {
            verdict: self.findings.verdict(),
            first: self.first,
            head: self.replay.next(),
            records: self.records,
            root: self.tree.root().filter(|_| self.records > 0),
            decisions: self.counts,
            requests: self.replay.requests(),
            seals: self.tree.seals,
            held: self.tree.held,
            projections_held: self.projections_held,
            absent,
            not_checked: self.not_checked,
            findings_total: self.findings.total(),
            findings: self.findings.into_list(),
        }
    }

    fn finish_claims(&mut self) {
        let findings = &mut self.findings;
        let beyond = self.tree.finish(&mut |finding| findings.add(finding));
        let (head, whole) = (self.replay.next(), self.tree.is_whole());
        let is_checkpoint = |claim: &&Claim| claim.rule == Claim::CHECKPOINT;
        match self.tree.held.iter().rfind(is_checkpoint) {
            Some(newest) if newest.size < head.0 => self.not_checked.push(format!(
                "whether the records from index {} on are those that the server shows others: {} covers those before",
                newest.size, newest.by
            )),
            Some(_) => {}
            None => self.not_checked.push(UNSIGNED.to_owned()),
        }
        for claim in beyond {
            if whole && !self.ends_early {
                let message = format!(
                    "records are missing: {} covers {} records, and the log ends at {head}",
                    claim.by, claim.size
                );
                self.findings.add(Finding::whole(Class::Tampered, "RECORDS_MISSING", message));
            } else {
                let message =
                    format!("the root of {} over {} records: not all of them are here", claim.by, claim.size);
                self.findings.add(Finding::whole(Class::Incomplete, "CHECKPOINT_OUT_OF_REACH", &*message));
                self.not_checked.push(message);
            }
        }
        for claim in std::mem::take(&mut self.tree.unknown) {
            let message =
                format!("the root of {} over {} records: not all of them are here", claim.by, claim.size);
            self.findings.add(Finding::whole(Class::Incomplete, "CHECKPOINT_OUT_OF_REACH", &*message));
            self.not_checked.push(message);
        }
        if let Some(size) = self.tree.adopted() {
            self.not_checked.push(format!(
                "the Merkle tree over the first {size} records: it is taken from a seal, and every later root is \
                 compared with it"
            ));
        } else if !whole {
            self.not_checked.push("the Merkle root: records before the end are absent".to_owned());
        }
    }

    fn finish_snapshots(&mut self) {
        for snapshot in std::mem::take(&mut self.snapshots) {
            let message = format!(
                "the projections of {} over {} records: not all of them are here",
                snapshot.by, snapshot.length
            );
            self.findings.add(Finding::whole(Class::Incomplete, "SNAPSHOT_OUT_OF_REACH", &*message));
            self.not_checked.push(message);
        }
    }

    fn finish_decisions(&mut self) {
        let replay = &self.replay;
        self.findings.erase(|digest| replay.is_ever_erased(digest));
        let erased = self.lacking.iter().filter(|(digest, _)| replay.is_ever_erased(digest));
        self.counts.erased = erased.map(|(_, count)| count).sum();
        self.counts.not_replayable -= self.counts.erased;
        self.counts.not_replayable += replay.out_of_reach();
        let newest = self.newest_decided.unwrap_or_default();
        self.counts.undecided = replay.folds().decisions.lag() as u64;
        if self.ends_early {
            return;
        }
        // A decider goes in order: what lies below the newest decision is not merely late.
        for index in replay.folds().decisions.undecided().take_while(|index| *index < newest) {
            let message = "it has no DECISION, and a later INTENT has";
            self.findings.add(Finding::at(Class::Incomplete, "DECISION_MISSING", index, message));
        }
    }

    fn finish_requests(&mut self) {
        let others = self.replay.requests().other_surface;
        if others > 0 {
            self.not_checked.push(format!(
                "the request digests of {others} INTENTs: they came in by surfaces whose requests are not known here"
            ));
        }
    }

    fn finish_absent(&mut self) {
        let (ranges, records) = self.replay.absent();
        let ranges: Vec<_> = ranges.to_vec();
        for (from, to) in &ranges {
            let last = to.0.saturating_sub(1);
            let message = format!("the records {from} to {last} are not here, or cannot be read");
            self.findings.add(Finding::at(Class::Incomplete, "RECORDS_ABSENT", *from, message));
        }
        if records > 0 {
            self.not_checked
                .push("decisions behind absent records: what they depend on may be among these".to_owned());
            let references = self.replay.folds().unchecked();
            if references > 0 {
                self.not_checked
                    .push(format!("{references} references of records to what may be among the absent ones"));
            }
        }
    }
}

/// Compares the snapshots that are about the records so far.
fn compare_snapshots<S: Store>(
    snapshots: &mut Vec<SnapshotClaim>,
    replay: &Replay<S>,
    held: &mut Vec<String>,
    report: &mut dyn FnMut(Finding),
) {
    let next = replay.next();
    if snapshots.iter().all(|snapshot| snapshot.length != next) || replay.folds().start() > Index::ZERO {
        return;
    }
    let digests = replay.folds().digests();
    for snapshot in snapshots.extract_if(.., |snapshot| snapshot.length == next) {
        for (name, claimed) in &snapshot.projections {
            match digests.get(name.as_str()) {
                Some(found) if found == claimed => held.push(name.clone()),
                Some(found) => {
                    let message = format!(
                        "{} claims the digest {claimed} of the projection {name} over {next} records, and it is \
                         {found}",
                        snapshot.by
                    );
                    report(Finding::whole(Class::Tampered, "SNAPSHOT", message));
                }
                None => {
                    let message = format!("{} has the projection {name}, which is unknown here", snapshot.by);
                    report(Finding::whole(Class::Incomplete, "SNAPSHOT_UNKNOWN", message));
                }
            }
        }
    }
}
