//! The projections of a running server.

use gesta_log_format::Index;
use gesta_replay::Projection;
use gesta_replay::projections::counts::Counts;
use gesta_replay::projections::datasets::Datasets;
use gesta_replay::projections::decisions::Decisions;
use gesta_replay::projections::executions::Executions;
use gesta_replay::projections::handlers::Handlers;
use gesta_replay::projections::head::Head;
use gesta_replay::projections::leases::Leases;
use gesta_replay::projections::outbox::Outbox;
use gesta_replay::projections::tasks::Tasks;

/// Which projections a server folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Where each stream stands. A log that nobody decides needs no more, and its undecided INTENTs cost no memory.
    Head,
    /// That, and what the decider, the executor and the tasks go by.
    Decisions,
}

/// What the records so far add up to.
#[derive(Debug)]
pub struct State {
    scope: Scope,
    /// Where each stream stands.
    pub head: Head,
    /// What awaits a DECISION, and what is in force.
    pub decisions: Decisions,
    /// How many INTENTs each thread and each actor has had.
    pub counts: Counts,
    /// What is open.
    pub executions: Executions,
    /// Who handles which type of intent.
    pub handlers: Handlers,
    /// The tasks that are there.
    pub tasks: Tasks,
    /// The leases that are live.
    pub leases: Leases,
    /// The versions of datasets.
    pub datasets: Datasets,
    /// The batches that wait for the sink.
    pub outbox: Outbox,
}

impl State {
    /// Of no records.
    pub(super) fn empty(scope: Scope) -> Self {
        Self {
            scope,
            head: Head::default(),
            decisions: Decisions::default(),
            counts: Counts::default(),
            executions: Executions::default(),
            handlers: Handlers::default(),
            tasks: Tasks::default(),
            leases: Leases::default(),
            datasets: Datasets::default(),
            outbox: Outbox::default(),
        }
    }

    /// The projections that are folded.
    pub(super) fn folded(&mut self) -> Vec<&mut dyn Projection> {
        match self.scope {
            Scope::Head => vec![&mut self.head],
            Scope::Decisions => vec![
                &mut self.head,
                &mut self.decisions,
                &mut self.counts,
                &mut self.executions,
                &mut self.handlers,
                &mut self.tasks,
                &mut self.leases,
                &mut self.datasets,
                &mut self.outbox,
            ],
        }
    }

    /// The same, to be looked at.
    pub fn projections(&self) -> Vec<&dyn Projection> {
        match self.scope {
            Scope::Head => vec![&self.head],
            Scope::Decisions => {
                vec![
                    &self.head,
                    &self.decisions,
                    &self.counts,
                    &self.executions,
                    &self.handlers,
                    &self.tasks,
                    &self.leases,
                    &self.datasets,
                    &self.outbox,
                ]
            }
        }
    }

    /// The first index that some projection does not reflect.
    pub fn applied(&self) -> Index {
        self.projections().iter().map(|projection| projection.applied()).min().unwrap_or_default()
    }
}
