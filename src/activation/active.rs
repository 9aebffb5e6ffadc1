//! What is in force, and what was: the records of the subjects `policy` and `context`.

use std::sync::Arc;

use gesta_log_format::{Digest, Index};
use gesta_replay::event::{Body, Content, Control};
use gesta_replay::{Event, EventError};

use super::{Pin, Subject};
use crate::blobs;
use crate::control::STREAM;
use crate::ingress::Ingress;
use crate::keys::Fingerprint;
use crate::problem::{Problem, ReasonCode};
use crate::store::{LookupError, RecordBytes, Store, blocking};

/// Records of a subject that are looked at together in search of an earlier version.
const PAGE_RECORDS: usize = 256;

/// A policy or a configuration that was activated.
#[derive(Debug, Clone)]
pub struct Active {
    /// Of the CONTROL record.
    pub index: Index,
    pub pin: Pin,
    record: RecordBytes,
}

impl Active {
    fn of(index: Index, record: RecordBytes) -> Result<Self, LookupError> {
        let pin = pin(record.data()).map_err(|error| LookupError::Fold(error.to_string()))?;
        let pin =
            pin.ok_or_else(|| LookupError::Fold(format!("the record at index {index} activates nothing")))?;
        Ok(Self { index, pin, record })
    }

    /// The newest activation; none where there was none. May read the disk.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn newest(store: &Store, subject: Subject) -> Result<Option<Self>, LookupError> {
        let key = Fingerprint::subject(STREAM, subject.name());
        match store.keys.newest(&key)? {
            Some(index) => Self::read(store, Index(index)).map(Some),
            None => Ok(None),
        }
    }

    fn read(store: &Store, index: Index) -> Result<Self, LookupError> {
        let record = store.record(index)?;
        let record =
            record.ok_or_else(|| LookupError::Fold(format!("the record at index {index} is gone")))?;
        Self::of(index, record)
    }

    /// The canonical bundle or configuration, out of a blob where it is in one. Blocks on the disk.
    ///
    /// # Errors
    /// `BLOB_NOT_FOUND`; `INTERNAL` where the disk or the blob is damaged.
    pub fn content(&self, blobs: &blobs::Store) -> Result<Vec<u8>, Problem> {
        let stored = self.stored().map_err(|error| {
            tracing::error!(%error, index = self.index.0, "an activation cannot be read again");
            Problem::new(ReasonCode::Internal)
        })?;
        match stored {
            Stored::Inline(text) => Ok(text),
            Stored::Blob(digest) => blobs
                .whole(&digest)
                .map_err(blobs::unreadable)?
                .ok_or_else(|| Problem::new(ReasonCode::BlobNotFound)),
        }
    }

    fn stored(&self) -> Result<Stored, EventError> {
        let event = Event::parse(self.record.data())?;
        let content = match self.pin.subject() {
            Subject::Policy => event.policy_activated()?.bundle,
            Subject::Context => event.context_activated()?.config,
        };
        Ok(match content {
            Content::Inline(text) => Stored::Inline(text.to_vec()),
            Content::Blob(reference) => Stored::Blob(reference.digest),
        })
    }
}

/// Where the content of an activation is.
enum Stored {
    Inline(Vec<u8>),
    Blob(Digest),
}

/// What a record activates; none where it is another record.
fn pin(data: &[u8]) -> Result<Option<Pin>, EventError> {
    let event = Event::parse(data)?;
    match event.body() {
        Body::Control(Control::PolicyActivated) => {
            let activated = event.policy_activated()?;
            Ok(Some(Pin::Policy {
                policy_id: activated.policy_id.into_owned(),
                policy_version: activated.policy_version.into_owned(),
                policy_digest: activated.policy_digest,
            }))
        }
        Body::Control(Control::ContextActivated) => {
            let context_config_digest = event.context_activated()?.context_config_digest;
            Ok(Some(Pin::Context { context_config_digest }))
        }
        Body::Control(_)
        | Body::Intent(_)
        | Body::Decision(_)
        | Body::Execution(_)
        | Body::Task(_)
        | Body::Artifact(_)
        | Body::Session(_)
        | Body::Ledger(_) => Ok(None),
    }
}

/// The activation at an index that the key index gave for one of the two subjects.
pub(super) async fn at(ingress: &Ingress, index: Index) -> Result<Active, Problem> {
    let store = Arc::clone(&ingress.store);
    blocking(move || Active::read(&store, index)).await
}

/// The first activation of another bundle under the same name and version. Reads every activation of the log, of which
/// there are as many as operators have made.
pub(super) async fn other_of_same_version(ingress: &Ingress, pin: Pin) -> Result<Option<Index>, Problem> {
    let store = Arc::clone(&ingress.store);
    blocking(move || {
        let key = Fingerprint::subject(STREAM, pin.subject().name());
        let mut since = Index::ZERO;
        loop {
            let found = store.find(&key, since, PAGE_RECORDS, |_| true)?;
            let Some((last, _)) = found.last() else { return Ok(None) };
            since = last.next();
            for (index, record) in found {
                if pin.reuses(&Active::of(index, record)?.pin) {
                    return Ok(Some(index));
                }
            }
        }
    })
    .await
}
