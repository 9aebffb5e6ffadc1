//! The projections of a log, as an auditor folds them: over every record, going on behind those that break a rule.
//!
//! Where records are absent, the states begin anew behind them, and what they then say about records that may have
//! lain in the gap is not a fault: [`Folds::record`] keeps quiet about it and counts.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use gesta_log_format::{Digest, Index};

use super::finding::{Class, Finding};
use super::history::History;
use crate::event::{Event, Fault};
use crate::projection::{FoldError, Projection};
use crate::projections::audit::Audit;
use crate::projections::counts::Counts;
use crate::projections::datasets::Datasets;
use crate::projections::decisions::Decisions;
use crate::projections::executions::Executions;
use crate::projections::handlers::Handlers;
use crate::projections::head::Head;
use crate::projections::leases::Leases;
use crate::projections::outbox::Outbox;
use crate::projections::tasks::Tasks;
use crate::rule::Rule;

/// All projections.
#[derive(Debug, Default)]
pub struct Folds {
    /// The first index that they know of; what lies below is absent.
    start: Index,
    /// None behind absent records: it counts from the log's beginning.
    head: Option<Head>,
    /// What awaits its DECISION, and what is in force.
    pub decisions: Decisions,
    /// How many INTENTs came before.
    pub counts: Counts,
    /// What is open.
    pub executions: Executions,
    handlers: Handlers,
    tasks: Tasks,
    leases: Leases,
    outbox: Outbox,
    datasets: Datasets,
    audit: Audit,
    /// How many times a record referred to what lies before the start.
    unchecked: u64,
}

impl Folds {
    /// Of a whole log.
    #[must_use]
    pub fn new() -> Self {
        Self { head: Some(Head::default()), ..Self::default() }
    }

    /// Of a log of which nothing below `start` is known.
    #[must_use]
    pub fn starting_at(start: Index, unchecked: u64) -> Self {
        if start == Index::ZERO {
            return Self { unchecked, ..Self::new() };
        }
        Self {
            start,
            head: None,
            decisions: Decisions::starting_at(start),
            counts: Counts::starting_at(start),
            executions: Executions::starting_at(start),
            handlers: Handlers::starting_at(start),
            tasks: Tasks::starting_at(start),
            leases: Leases::starting_at(start),
            outbox: Outbox::starting_at(start),
            datasets: Datasets::starting_at(start),
            audit: Audit::starting_at(start),
            unchecked,
        }
    }

    /// The first index that the states know of.
    #[must_use]
    pub fn start(&self) -> Index {
        self.start
    }

    /// How many times a record referred to what is absent.
    #[must_use]
    pub fn unchecked(&self) -> u64 {
        self.unchecked
    }

    /// The states, by name.
    pub fn all(&self) -> impl Iterator<Item = &dyn Projection> {
        let head = self.head.as_ref().map(|head| head as &dyn Projection);
        let rest: [&dyn Projection; 9] = [
            &self.audit,
            &self.counts,
            &self.datasets,
            &self.decisions,
            &self.executions,
            &self.handlers,
            &self.leases,
            &self.outbox,
            &self.tasks,
        ];
        rest.into_iter().chain(head)
    }

    /// The digest of each state.
    #[must_use]
    pub fn digests(&self) -> BTreeMap<&'static str, Digest> {
        self.all().map(|projection| (projection.name(), projection.digest())).collect()
    }

    /// Folds a record that is in its place.
    pub(super) fn record(
        &mut self,
        event: &Event<'_>,
        history: &RwLock<History>,
        report: &mut dyn FnMut(Finding),
    ) {
        let start = self.start;
        let unchecked = &mut self.unchecked;
        let mut refused = |error: FoldError| {
            if start > Index::ZERO && is_out_of_reach(&error, event, start, history) {
                *unchecked += 1;
            } else {
                report(finding(&error, event.index()));
            }
        };
        apply(&mut self.audit, event, &mut refused);
        apply(&mut self.decisions, event, &mut refused);
        apply(&mut self.executions, event, &mut refused);
        apply(&mut self.counts, event, &mut refused);
        apply(&mut self.handlers, event, &mut refused);
        apply(&mut self.tasks, event, &mut refused);
        apply(&mut self.leases, event, &mut refused);
        apply(&mut self.outbox, event, &mut refused);
        apply(&mut self.datasets, event, &mut refused);
        if let Some(head) = &mut self.head {
            apply(head, event, &mut refused);
        }
    }
}

fn apply<P: Projection>(projection: &mut P, event: &Event<'_>, refused: &mut impl FnMut(FoldError)) {
    if let Err(error) = projection.apply(event) {
        refused(error);
        projection.pass_over(event);
    }
}

/// Whether a rule only seems broken because what lies below `start` is absent.
fn is_out_of_reach(error: &FoldError, event: &Event<'_>, start: Index, history: &RwLock<History>) -> bool {
    let FoldError::Broken { rule, .. } = error else { return false };
    match rule {
        Rule::Expected { expected, previous, .. } => {
            previous.is_none() && expected.is_some_and(|expected| expected < start)
        }
        Rule::SecondDecision { intent_index, .. } | Rule::NotAwaiting { intent_index } => {
            *intent_index < start
        }
        // Its INTENT is found by the correlation id; only if it is here, all of the execution is.
        Rule::NotOpen { .. } | Rule::TaskNotOpen { .. } => {
            let (stream, correlation) = (event.stream_id(), event.correlation_id());
            let (Ok(stream), Ok(correlation)) = (stream, correlation) else { return false };
            let history = history.read().unwrap_or_else(PoisonError::into_inner);
            history.by_correlation(&stream, &correlation, event.index()).is_none()
        }
        Rule::HandlerUnknown { .. } | Rule::BatchNotWaiting { .. } => true,
        Rule::TaskHandler { index, .. } => *index < start,
        Rule::NotAllowed { .. }
        | Rule::ExecutionIdReused { .. }
        | Rule::Transition { .. }
        | Rule::Anchors { .. }
        | Rule::Subject { .. }
        | Rule::CorrelationIdReused { .. }
        | Rule::NothingToCancel
        | Rule::Cause { .. }
        | Rule::Time
        | Rule::ControlStream
        | Rule::Task { .. }
        | Rule::TaskLeftOpen { .. }
        | Rule::TaskOutcome { .. }
        | Rule::TaskIntent { .. }
        | Rule::TaskCause { .. }
        | Rule::DatasetConflict { .. }
        | Rule::BatchTwice { .. }
        | Rule::BatchOrder { .. }
        | Rule::BatchAnchors { .. } => false,
    }
}

fn finding(error: &FoldError, index: Index) -> Finding {
    match error {
        FoldError::Broken { rule, .. } => Finding::at(Class::Tampered, rule.name(), index, rule.to_string()),
        FoldError::Event(cause) => envelope(cause.index.unwrap_or(index), &cause.fault),
        FoldError::OutOfPlace { .. } | FoldError::Again { .. } => {
            Finding::at(Class::Tampered, "ORDER", index, error.to_string())
        }
    }
}

/// What is wrong with an envelope that cannot be understood.
pub(super) fn envelope(index: Index, fault: &Fault) -> Finding {
    let (class, rule) = match fault {
        Fault::UnknownKind { .. } | Fault::UnknownType { .. } => (Class::Incomplete, "UNKNOWN_TYPE"),
        Fault::Payload { .. } | Fault::UnknownResult { .. } => (Class::Tampered, "PAYLOAD"),
        Fault::Subjects | Fault::NoExecution | Fault::NoTask => (Class::Tampered, "SUBJECT"),
        Fault::NotTime => (Class::Tampered, "TIME"),
        Fault::Member { .. } | Fault::Surplus | Fault::NotText { .. } => (Class::Tampered, "ENVELOPE"),
    };
    Finding::at(class, rule, index, fault.to_string())
}
