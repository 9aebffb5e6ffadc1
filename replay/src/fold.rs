//! Folds the records of a log, in order and without a gap, into several projections at once.

use gesta_log_format::Index;

use crate::event::Event;
use crate::projection::{FoldError, Projection};

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
        let found = event.index();
        if found != self.next {
            return Err(FoldError::OutOfPlace { expected: self.next, found });
        }
        for projection in &mut self.projections {
            if projection.applied() <= found {
                projection.apply(event)?;
            }
        }
        self.next = found.next();
        Ok(())
    }
}
