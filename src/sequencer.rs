//! The sequencer: gives records their indexes and makes them durable.
//!
//! It takes all that waits, encodes one batch, writes and syncs it, publishes it, acknowledges it, in this order. No
//! timer: requests gather while a sync runs. Every answer that depends on a record waits until that record is durable,
//! refusals included. A failed write or sync ends it for good; whoever still waits learns that the outcome is unknown.
//!
//! Two threads, its *hands*, do this in turn, each with a batch from its beginning to its end. One of them is the
//! *collector*, which decides the order; at most one is the *writer*. Under load the collector builds the next batch
//! while the other hand's sync runs, and writes it only after that sync has ended. A lone request goes through one
//! hand alone.

mod acknowledge;
mod clock;
mod plan;
mod queue;
mod round;
mod write;

/// How many threads run [`Sequencer::run`].
pub const HANDS: usize = 2;

use gesta_log_format::Index;
use gesta_log_format::envelope::Prepared;

pub use acknowledge::Acknowledgements;
pub use clock::{Clock, SystemClock};
pub use queue::{Place, Places, Queue};
pub use write::{Sequencer, Sequencing};

use crate::keys::{Fingerprint, Ticket};

/// A record that is to be appended if its subjects are as expected.
pub struct Append {
    /// The envelope but for its index and time.
    pub prepared: Prepared,
    /// What it will be found by, its subjects included.
    pub keys: Vec<Fingerprint>,
    /// Each subject and the index of its previous record. What lies in flushed pages was compared under `ticket`;
    /// what is in memory is compared by the sequencer.
    pub subjects: Vec<(Fingerprint, Option<Index>)>,
    /// Keeps in memory what was not seen in pages.
    pub ticket: Ticket,
    /// A place in the queue, reserved before anything else was done.
    pub place: Place,
    /// Where the outcome goes. Dropped without one, the outcome is unknown.
    pub reply: tokio::sync::oneshot::Sender<Outcome>,
}

/// What became of an append. Sent only once all that it depends on is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable at this index.
    Appended(Index),
    /// A subject has moved: nothing was appended.
    Conflict {
        /// Which of the subjects.
        subject: usize,
        /// Its newest record.
        newest: Index,
    },
    /// The disk is full: nothing was appended.
    DiskFull,
}
