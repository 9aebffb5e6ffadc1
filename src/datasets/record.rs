//! Appending what nobody asked for: anchored where its cause is, on subjects that only one record can be the first of.

use std::time::Duration;

use gesta_log_format::envelope::{Draft, Expectation, View};
use gesta_log_format::json::{self, canonical};
use gesta_log_format::{Index, Kind};

use super::Datasets;
use crate::append::{AppendError, Remedy};
use crate::keys::Fingerprint;
use crate::limits::DATASET_RETRY_MS;
use crate::store::LookupError;

/// Whom a record is by that nobody asked for.
pub(super) const SERVER: &str = "gesta";

/// Where a record stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Anchors {
    pub(super) stream_id: String,
    pub(super) lane: String,
    pub(super) intent_type: String,
    pub(super) correlation_id: String,
    pub(super) thread_id: String,
    pub(super) turn_id: String,
    pub(super) parent_turn_id: Option<String>,
}

impl Anchors {
    /// Those of a record. None where it is not one.
    pub(super) fn of(view: &View<'_>) -> Option<Self> {
        let text = |raw| canonical::unescape(raw).map(|text| text.into_owned());
        Some(Self {
            stream_id: text(view.stream_id)?,
            lane: text(view.lane)?,
            intent_type: text(view.intent_type)?,
            correlation_id: text(view.correlation_id)?,
            thread_id: text(view.thread_id)?,
            turn_id: text(view.turn_id)?,
            parent_turn_id: view.parent_turn_id.and_then(text),
        })
    }
}

/// A record that is to be appended.
pub(super) struct Proposal<'a> {
    pub(super) kind: Kind,
    pub(super) type_name: &'static str,
    pub(super) actor: &'a str,
    pub(super) anchors: &'a Anchors,
    pub(super) cause: Option<Index>,
    pub(super) subjects: &'a [Expectation],
    /// Any JSON object; it is made canonical.
    pub(super) payload: &'a serde_json::Value,
}

/// Why something was not done. What is not `Ending` is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Another record is newer than what was expected of a subject.
    #[error("the record at index {newest} is newer")]
    Moved { newest: Index },
    /// There is no room for now.
    #[error("there is no room for a record")]
    Full,
    #[error("the server ends")]
    Ending,
    #[error(transparent)]
    Append(AppendError),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Rows(#[from] super::rows::RowsError),
    #[error("a blob cannot be read")]
    Blob(#[from] std::io::Error),
    #[error("a thread has panicked")]
    Panicked,
}

impl Datasets {
    /// Appends a record and waits until it is durable.
    pub(super) async fn append(&self, proposal: &Proposal<'_>) -> Result<Index, Trouble> {
        let place = self.places.reserve().ok_or(Trouble::Full)?;
        let payload = json::canonicalize(proposal.payload.to_string().as_bytes())
            .expect("what is made of canonical JSON is JSON");
        let anchors = proposal.anchors;
        let draft = Draft {
            kind: proposal.kind,
            type_name: proposal.type_name,
            stream_id: &anchors.stream_id,
            lane: &anchors.lane,
            actor: proposal.actor,
            intent_type: &anchors.intent_type,
            thread_id: &anchors.thread_id,
            turn_id: &anchors.turn_id,
            parent_turn_id: anchors.parent_turn_id.as_deref(),
            correlation_id: &anchors.correlation_id,
            cause: proposal.cause,
            subjects: proposal.subjects,
            payload: &payload,
        };
        self.appender.append(&draft, place).await.map_err(|error| match error.remedy() {
            Remedy::LookAgain { newest } => Trouble::Moved { newest },
            Remedy::Wait => Trouble::Full,
            Remedy::Ending => Trouble::Ending,
            Remedy::Repair | Remedy::None => Trouble::Append(error),
        })
    }

    /// The newest record of a subject.
    pub(super) async fn newest(&self, stream_id: &str, subject: &str) -> Result<Option<Index>, Trouble> {
        let (store, key) = (std::sync::Arc::clone(&self.store), Fingerprint::subject(stream_id, subject));
        self.blocking(move || Ok(store.keys.newest(&key).map_err(LookupError::from)?.map(Index))).await
    }

    /// Runs what may read the disk.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(Trouble::Panicked))
    }

    /// Does something again and again until it is done; `None` where the server ends before.
    pub(super) async fn insist<T, F: Future<Output = Result<T, Trouble>>>(
        &self,
        what: &str,
        index: Index,
        mut attempt: impl FnMut() -> F,
    ) -> Option<T> {
        let mut told = false;
        while !self.is_stopped() {
            match attempt().await {
                Ok(done) => return Some(done),
                Err(Trouble::Ending) => return None,
                Err(Trouble::Moved { .. }) => continue,
                Err(Trouble::Full) => {}
                Err(error) if !told => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, index = index.0, "{what}; it is tried again and again");
                    told = true;
                }
                Err(_again) => {}
            }
            self.pause(Duration::from_millis(DATASET_RETRY_MS)).await;
        }
        None
    }
}
