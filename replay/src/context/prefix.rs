//! What a decision may look up: the records below its intent, through whatever index its caller has.

use gesta_log_format::blob::Reference;
use gesta_log_format::envelope::View;
use gesta_log_format::{Digest, Index};

/// The records of a log with an index below one bound: that of the intent, or at ingress the watermark.
///
/// One value stands for one bound, and every look-up is relative to it: a record at or beyond it is as if it were not
/// there, also where the index that is asked knows it. The server implements this over its key index, an auditor over
/// an index in memory; both give equal answers for equal logs.
pub trait Prefix {
    /// The envelope of a record: exactly the JSON text of its `data:` line.
    type Record: AsRef<[u8]>;

    /// Why a look-up failed.
    type Error;

    /// The INTENT `submitted` of the stream that has this correlation id.
    ///
    /// # Errors
    /// What keeps the implementer from looking; so for each look-up.
    fn intent_by_correlation_id(
        &self,
        stream_id: &str,
        correlation_id: &str,
    ) -> Result<Option<Self::Record>, Self::Error>;

    /// The INTENTs `submitted` of a turn, by ascending index; the first `count_max` of them.
    ///
    /// # Errors
    /// As above.
    fn intents_of_turn(&self, turn: &Turn<'_>, count_max: usize) -> Result<Vec<Self::Record>, Self::Error>;

    /// Whether another thread of the stream has an INTENT `submitted` of a turn with this id.
    ///
    /// # Errors
    /// As above.
    fn is_turn_of_another_thread(&self, turn: &Turn<'_>) -> Result<bool, Self::Error>;

    /// The last INTENTs `submitted` of a thread, by ascending index; at most `count_max`.
    ///
    /// # Errors
    /// As above.
    fn last_intents_of_thread(
        &self,
        stream_id: &str,
        thread_id: &str,
        count_max: usize,
    ) -> Result<Vec<Self::Record>, Self::Error>;

    /// The EXECUTION `completed`, `failed` or `cancelled` that ended the execution of an INTENT of this prefix.
    ///
    /// # Errors
    /// As above.
    fn terminal_execution(&self, intent: &Origin<'_>) -> Result<Option<Terminal>, Self::Error>;

    /// The content of a blob.
    ///
    /// # Errors
    /// As above.
    fn blob(&self, reference: &Reference<'_>) -> Result<Blob, Self::Error>;
}

/// A turn of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn<'a> {
    /// The stream.
    pub stream_id: &'a str,
    /// The thread.
    pub thread_id: &'a str,
    /// The turn within it.
    pub turn_id: &'a str,
}

/// An INTENT whose execution is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Its index.
    pub index: Index,
    /// Its stream.
    pub stream_id: &'a str,
    /// The execution that it becomes if it is allowed, the subject being `execution/{execution_id}`.
    pub execution_id: &'a str,
}

/// The EXECUTION that ended an execution: all that a decision may know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Its index.
    pub index: Index,
    /// Its envelope's digest.
    pub digest: Digest,
}

/// What became of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blob {
    /// It is here.
    Content(Vec<u8>),
    /// A record says that it was erased.
    Erased,
    /// It is not here, and nothing says why: nothing can be decided or compared without it.
    Missing,
}

/// Why no decision could be reached, nor compared.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError<E> {
    /// A look-up failed.
    #[error("the log's prefix cannot be read: {0}")]
    Prefix(E),
    /// A blob that a value is in is not here: the decision is *not replayable*.
    #[error("the blob {digest} is needed for the context and is not here: copy it beside the log")]
    BlobMissing {
        /// Its digest.
        digest: Digest,
    },
    /// A blob has other content than its name says.
    #[error("the blob {digest} has other content than its name says: restore it from a copy")]
    BlobDiffers {
        /// The digest that it should have.
        digest: Digest,
    },
    /// A look-up gave something that is no envelope.
    #[error("a look-up gave a record that is no envelope: the log or its index is damaged")]
    NotAnEnvelope,
}

/// The members of a record that a look-up gave.
pub(super) fn view<E>(record: &[u8]) -> Result<View<'_>, ContextError<E>> {
    View::parse(record).ok_or(ContextError::NotAnEnvelope)
}
