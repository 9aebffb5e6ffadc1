//! Folds the records of a log, in order and without a gap, into several projections at once.

use gesta_log_format::Index;

use crate::event::Event;
use crate::projection::{FoldError, Projection, in_place};

/// Drives projections over a log.
///
/// Each may have been restored from a snapshot of its own: the fold begins at the lowest applied index, and a
/// projection that is further is handed nothing before its own.
pub struct Fold<'p> {
    projections: Vec<&'p mut dyn Projection>,
    next: Index,
}

impl<'p> Fold<'p> {
    /// A fold that goes on where the projections are.
    #[must_use]
    pub fn new(projections: Vec<&'p mut dyn Projection>) -> Self {
        let next = projections.iter().map(|projection| projection.applied()).min().unwrap_or(Index::ZERO);
        Self { projections, next }
    }

    /// The index of the record that has to come next.
    #[must_use]
    pub fn next(&self) -> Index {
        self.next
    }

    /// Reads one record's envelope and folds it.
    ///
    /// # Errors
    /// [`FoldError`], after which this fold is over: some projections may have the record and others not.
    pub fn record(&mut self, data: &[u8]) -> Result<(), FoldError> {
        self.event(&Event::parse(data)?)
    }

    /// Folds one record.
    ///
    /// # Errors
    /// As [`Fold::record`].
    pub fn event(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        in_place(self.next, event)?;
        let found = event.index();
        for projection in &mut self.projections {
            if projection.applied() <= found {
                projection.apply(event)?;
            }
        }
        self.next = found.next();
        Ok(())
    }

    /// Folds one record and goes on behind it whatever it says: each projection that refuses it is named to `report`,
    /// with the reason, and passes it over ([`Projection::pass_over`]). For an auditor, who lists all that is wrong.
    ///
    /// # Errors
    /// [`FoldError::OutOfPlace`] alone: without the record that comes next there is nothing to go on from.
    pub fn audit(
        &mut self,
        event: &Event<'_>,
        report: &mut dyn FnMut(&'static str, FoldError),
    ) -> Result<(), FoldError> {
        in_place(self.next, event)?;
        let found = event.index();
        for projection in self.projections.iter_mut().filter(|projection| projection.applied() <= found) {
            if let Err(error) = projection.apply(event) {
                report(projection.name(), error);
                projection.pass_over(event);
            }
        }
        self.next = found.next();
        Ok(())
    }
}
