//! What it means to be folded from the log.

use gesta_log_format::{Digest, Index};

use crate::event::{Event, EventError};
use crate::rule::Rule;
use crate::snapshot::RestoreError;

/// A state that follows from records and from nothing else.
///
/// Invariant: two states of the same records are equal and have equal digests, however often they were written down
/// ([`Projection::snapshot`]) and taken up again ([`Projection::restore`]) on the way, in any run and on any machine.
pub trait Projection {
    /// What it is called in snapshots and in `GET /snapshot`.
    fn name(&self) -> &'static str;

    /// Takes in one record: the one that has to come next.
    ///
    /// # Errors
    /// [`FoldError`]; nothing has changed then.
    fn apply(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        self.in_place(event)?;
        self.take_in(event)?;
        *self.applied_mut() = event.index().next();
        Ok(())
    }

    /// Whether the record may come next. Part of [`Projection::apply`].
    ///
    /// # Errors
    /// [`FoldError::OutOfPlace`] unless it is the first that is not in the state, but where a projection says otherwise.
    fn in_place(&self, event: &Event<'_>) -> Result<(), FoldError> {
        in_place(self.applied(), event)
    }

    /// Changes the state by what the record says. Part of [`Projection::apply`], which nobody else has to know of.
    ///
    /// # Errors
    /// [`FoldError`]; nothing has changed then.
    fn take_in(&mut self, event: &Event<'_>) -> Result<(), FoldError>;

    /// Goes on behind a record that [`Projection::apply`] refused for what it says. For an auditor who wants to see
    /// what else there is; the state is that of the other records, but where a projection says otherwise.
    fn pass_over(&mut self, event: &Event<'_>) {
        *self.applied_mut() = event.index().next();
    }

    /// The first index that is not in the state.
    fn applied(&self) -> Index;

    /// The same, to be moved by [`Projection::apply`] and [`Projection::pass_over`].
    fn applied_mut(&mut self) -> &mut Index;

    /// The state as canonical JSON: `{"projection":NAME,"state":{…},"version":N}`. The version moves with the form
    /// of `state`, which each projection describes.
    fn snapshot(&self) -> Vec<u8>;

    /// SHA-256 over [`Projection::snapshot`].
    fn digest(&self) -> Digest {
        Digest::of(&self.snapshot())
    }

    /// The state that a snapshot holds.
    ///
    /// # Errors
    /// [`RestoreError`] for everything that [`Projection::snapshot`] does not write.
    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError>
    where
        Self: Sized;
}

/// Why a record could not be folded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// Its envelope cannot be understood.
    #[error(transparent)]
    Event(#[from] EventError),
    /// It is not the record that follows.
    #[error("the record at index {found} cannot be folded: the one at index {expected} must be next")]
    OutOfPlace {
        /// The index that has to come next.
        expected: Index,
        /// The index that came.
        found: Index,
    },
    /// It contradicts the records before it.
    #[error("the record at index {index} breaks a rule of the log: {rule}")]
    Broken {
        /// Its index.
        index: Index,
        /// Which rule, and how.
        rule: Rule,
    },
    /// It lies before one that was folded.
    #[error("the record at index {found} cannot be folded: all below {applied} were")]
    Again {
        /// The first index that was not folded.
        applied: Index,
        /// The index that came.
        found: Index,
    },
}

impl FoldError {
    /// The index of the record, where it gives a readable one.
    #[must_use]
    pub fn index(&self) -> Option<Index> {
        match self {
            Self::Event(error) => error.index,
            Self::OutOfPlace { found, .. } | Self::Again { found, .. } => Some(*found),
            Self::Broken { index, .. } => Some(*index),
        }
    }

    #[cold]
    pub(crate) fn broken(event: &Event<'_>, rule: Rule) -> Self {
        Self::Broken { index: event.index(), rule }
    }
}

/// Whether the record is the one that has to come next.
pub(crate) fn in_place(applied: Index, event: &Event<'_>) -> Result<(), FoldError> {
    let found = event.index();
    if found == applied { Ok(()) } else { Err(FoldError::OutOfPlace { expected: applied, found }) }
}
