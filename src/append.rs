//! From a draft to a durable record: what every author does that is not ingress.
//!
//! A record that names several subjects is compared on all of them and moves all of them. Members of the payload that
//! are too large for the record become blobs first. Says only what became of the record: whether it may be appended at
//! all, and what to do where another was faster, is its author's to know.

use std::sync::Arc;

use gesta_log_format::blob::spill::{self, SpillError};
use gesta_log_format::envelope::{Draft, PrepareError, Prepared};
use gesta_log_format::record::DATA_BYTES_MAX;
use gesta_log_format::{Index, Kind, Timestamp, json};
use gesta_replay::event::{Event, EventError};
use tokio::sync::oneshot;

use crate::blobs::{self, PutError};
use crate::keys::{Fingerprint, KeysError};
use crate::problem::{Problem, ReasonCode};
use crate::sequencer::{Append, Outcome, Place, Queue};
use crate::store::{KeyParts, Store, unreadable};

/// Appends records. Cheap to clone.
#[derive(Clone)]
pub struct Appender {
    store: Arc<Store>,
    blobs: Arc<blobs::Store>,
    queue: Arc<Queue>,
}

/// A record that fits, and what it will be found by.
#[derive(Debug)]
pub struct Ready {
    prepared: Prepared,
    keys: Vec<Fingerprint>,
    subjects: Vec<(Fingerprint, Option<Index>)>,
}

/// A record on its way.
#[derive(Debug)]
#[must_use = "whether it is durable is known only once this was waited for"]
pub struct Pending(oneshot::Receiver<Outcome>);

/// Why a record was not appended. Nothing was, but for [`AppendError::Unknown`].
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A subject has another newest record than the one that the author knows.
    #[error("the record at index {newest} is newer than what was expected of the subject")]
    Moved {
        /// Which of the draft's subjects, from 0.
        subject: usize,
        newest: Index,
    },
    #[error("the disk is full")]
    DiskFull,
    /// The sequencer takes no more.
    #[error("the log is being closed")]
    Closed,
    /// The sequencer has ended before it said what became of it.
    #[error("the outcome is unknown")]
    Unknown,
    /// It does not fit a record, also with blobs in place of what is large.
    #[error(transparent)]
    TooLarge(SpillError),
    /// The payload is not one canonical JSON object: its author's bug.
    #[error("the payload is not one canonical JSON object")]
    Payload,
    /// Nobody could fold it: a member is not as FORMAT.md says, or has become a blob and must not.
    #[error("{0}")]
    Unreadable(EventError),
    #[error("cannot keep what is too large for the record")]
    Blob(#[from] PutError),
    #[error("cannot look the record's subjects up")]
    Lookup(#[from] KeysError),
}

/// What the author of a record that was not appended can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Look again at how things stand, once this record is seen.
    LookAgain { newest: Index },
    /// Append the same later: there is no room now.
    Wait,
    /// Nothing: the process ends, and whoever takes up the log next looks again.
    Ending,
    /// Nothing at once: the disk cannot be read or written.
    Repair,
    /// Nothing: it is refused whenever it comes.
    None,
}

impl AppendError {
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Moved { newest, .. } => Remedy::LookAgain { newest: *newest },
            Self::DiskFull | Self::Blob(PutError::DiskFull | PutError::Busy) => Remedy::Wait,
            Self::Closed | Self::Unknown => Remedy::Ending,
            Self::Blob(PutError::Io { .. }) | Self::Lookup(_) => Remedy::Repair,
            Self::TooLarge(_)
            | Self::Payload
            | Self::Unreadable(_)
            | Self::Blob(
                PutError::TooLarge { .. }
                | PutError::Mismatch { .. }
                | PutError::TooSlow { .. }
                | PutError::BrokenOff,
            ) => Remedy::None,
        }
    }
}

/// How a draft becomes a record.
enum Fit<'a> {
    Whole(Ready),
    /// Once the blobs are there.
    Spilled(spill::Members<'a>),
}

impl Appender {
    pub fn new(store: Arc<Store>, blobs: Arc<blobs::Store>, queue: Arc<Queue>) -> Self {
        Self { store, blobs, queue }
    }

    /// Appends a record and waits until it is durable.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn append(&self, draft: &Draft<'_>, place: Place) -> Result<Index, AppendError> {
        let ready = self.ready(draft).await?;
        self.push(ready, place)?.outcome().await
    }

    /// Makes a record of a draft; what is too large for it is put as blobs, which are durable on return.
    ///
    /// # Errors
    /// `TooLarge`, `Payload`, `Blob`; `Unknown` where a thread that puts blobs has panicked.
    pub async fn ready(&self, draft: &Draft<'_>) -> Result<Ready, AppendError> {
        match fit(draft)? {
            Fit::Whole(ready) => {
                ready.demand_readable(draft.kind)?;
                Ok(ready)
            }
            Fit::Spilled(spilled) => {
                let ready = Ready::of_spilled(draft, &spilled)?;
                ready.demand_readable(draft.kind)?;
                for spill in &spilled.spills {
                    let (blobs, content) = (Arc::clone(&self.blobs), spill.bytes.to_vec());
                    let put = tokio::task::spawn_blocking(move || blobs.put_bytes(&content)).await;
                    put.map_err(|_panicked| AppendError::Unknown)??;
                }
                Ok(ready)
            }
        }
    }

    /// As [`Appender::ready`], on a thread that may block on the disk.
    ///
    /// # Errors
    /// As [`Appender::ready`].
    pub fn ready_blocking(&self, draft: &Draft<'_>) -> Result<Ready, AppendError> {
        match fit(draft)? {
            Fit::Whole(ready) => Ok(ready),
            Fit::Spilled(spilled) => {
                for spill in &spilled.spills {
                    self.blobs.put_spilled(spill)?;
                }
                Ready::of_spilled(draft, &spilled)
            }
        }
    }

    /// Queues a record behind the ones that its subjects are expected at. Does not wait.
    ///
    /// # Errors
    /// `Moved`, `Closed`, `Lookup`.
    pub fn push(&self, ready: Ready, place: Place) -> Result<Pending, AppendError> {
        let Ready { prepared, keys, subjects } = ready;
        // The sequencer compares with what is in memory alone: under the ticket nothing leaves it that was not seen here.
        let ticket = self.store.keys.checked_through();
        for (subject, (key, expected)) in subjects.iter().enumerate() {
            let newest = self.store.keys.newest(key)?.map(Index);
            if let Some(newest) = newest.filter(|newest| Some(*newest) != *expected) {
                return Err(AppendError::Moved { subject, newest });
            }
        }
        let (reply, outcome) = oneshot::channel();
        let append = Append { prepared, keys, subjects, ticket, place, reply };
        self.queue.push(append).map_err(|_closed| AppendError::Closed)?;
        Ok(Pending(outcome))
    }
}

impl Pending {
    /// Waits until the record is durable, or what keeps it from being appended is.
    ///
    /// # Errors
    /// `Moved`, `DiskFull`, `Unknown`.
    pub async fn outcome(self) -> Result<Index, AppendError> {
        match self.0.await {
            Ok(Outcome::Appended(index)) => Ok(index),
            Ok(Outcome::Conflict { subject, newest }) => Err(AppendError::Moved { subject, newest }),
            Ok(Outcome::DiskFull) => Err(AppendError::DiskFull),
            Err(_sequencer_ended) => Err(AppendError::Unknown),
        }
    }
}

impl Ready {
    /// Whether those who fold it can read it: one record that they cannot read stops every projection for good.
    fn demand_readable(&self, kind: Kind) -> Result<(), AppendError> {
        match kind {
            Kind::Task | Kind::Artifact | Kind::Control | Kind::Execution | Kind::Session => {}
            // The decider's are made by the code that folds them.
            Kind::Intent | Kind::Decision | Kind::Ledger => return Ok(()),
        }
        // At which index and when, no check depends on.
        let envelope = self.prepared.envelope(Index::ZERO, Timestamp::default());
        // What an author took from elsewhere as it was would be in the log for good, and in every tail.
        if !json::is_canonical(&envelope) {
            return Err(AppendError::Payload);
        }
        Event::parse(&envelope).and_then(|event| event.check()).map_err(AppendError::Unreadable)
    }

    /// A record that fits as it is. Does no I/O.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn new(draft: &Draft<'_>) -> Result<Self, PrepareError> {
        let prepared = Prepared::new(draft)?;
        let subjects: Vec<_> = draft
            .subjects
            .iter()
            .map(|subject| (Fingerprint::subject(draft.stream_id, &subject.subject), subject.expected))
            .collect();
        let parts = KeyParts {
            stream_id: draft.stream_id,
            correlation_id: draft.correlation_id,
            thread_id: draft.thread_id,
            turn_id: draft.turn_id,
            digest: prepared.digest(),
        };
        let keys = parts.keys(subjects.iter().map(|(key, _)| *key), prepared.text());
        Ok(Self { prepared, keys, subjects })
    }

    fn of_spilled(draft: &Draft<'_>, spilled: &spill::Members<'_>) -> Result<Self, AppendError> {
        Ok(Self::new(&Draft { payload: &spilled.payload, ..draft.clone() })?)
    }
}

fn fit<'a>(draft: &Draft<'a>) -> Result<Fit<'a>, AppendError> {
    let len = match Ready::new(draft) {
        Ok(ready) => return Ok(Fit::Whole(ready)),
        Err(PrepareError::TooLarge { len }) => len,
        Err(error @ PrepareError::Payload) => return Err(error.into()),
    };
    let budget = DATA_BYTES_MAX.saturating_sub(len - draft.payload.len());
    let spilled = spill::members(draft.payload, budget).map_err(|error| match error {
        SpillError::TooLarge { .. } => AppendError::TooLarge(error),
        SpillError::NotAnObject => AppendError::Payload,
    })?;
    Ok(Fit::Spilled(spilled))
}

impl From<PrepareError> for AppendError {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::TooLarge { len } => {
                Self::TooLarge(SpillError::TooLarge { least_bytes: len, budget_bytes: DATA_BYTES_MAX })
            }
            PrepareError::Payload => Self::Payload,
        }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Moved { newest, .. } => Self::new(ReasonCode::SubjectConflict).index(newest.0),
            AppendError::DiskFull => Self::new(ReasonCode::DiskFull),
            AppendError::Closed => Self::new(ReasonCode::Draining),
            AppendError::Unknown => Self::new(ReasonCode::OutcomeUnknown),
            AppendError::TooLarge(error) => error.into(),
            AppendError::Payload => Self::new(ReasonCode::Internal),
            AppendError::Unreadable(error) => {
                Self::new(ReasonCode::InvalidInput).detail(format!("Nothing was appended: {}.", error.fault))
            }
            AppendError::Blob(error) => error.into(),
            AppendError::Lookup(error) => unreadable(&error.into()),
        }
    }
}
