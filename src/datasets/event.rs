//! Dataset events: ARTIFACT `dataset_event`, each the first record of a subject that is derived from its cause.

use gesta_log_format::envelope::{Expectation, View};
use gesta_log_format::{Digest, Index, Kind, Timestamp};
use serde_json::Value;

use super::Datasets;
use super::name::Version;
use super::record::{Anchors, Proposal, SERVER, Trouble};
use crate::follower_id::follower_id;

const TYPE: &str = "dataset_event";

/// The record that an event follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) index: Index,
    pub(super) anchors: Anchors,
    digest: Digest,
    recorded_at: Timestamp,
}

impl Cause {
    /// None where it is not a record.
    pub(super) fn of(view: &View<'_>) -> Option<Self> {
        Some(Self {
            index: view.index,
            anchors: Anchors::of(view)?,
            digest: view.digest()?,
            recorded_at: view.recorded_at()?,
        })
    }
}

impl Datasets {
    /// Appends the `nth` event that follows from a record, unless it is there. Says whether it was appended.
    pub(super) async fn add_event(
        &self,
        cause: &Cause,
        nth: u64,
        version: &Version,
        event: &Value,
    ) -> Result<bool, Trouble> {
        let stream_id = &cause.anchors.stream_id;
        let own = format!("artifact/{}", follower_id(cause.recorded_at, &cause.digest, TYPE, nth));
        loop {
            if self.newest(stream_id, &own).await?.is_some() {
                return Ok(false);
            }
            let subject = version.subject();
            let expected = self.newest(stream_id, &subject).await?;
            let proposal = Proposal {
                kind: Kind::Artifact,
                type_name: TYPE,
                actor: SERVER,
                anchors: &cause.anchors,
                cause: Some(cause.index),
                subjects: &[
                    Expectation { subject, expected },
                    Expectation { subject: own.clone(), expected: None },
                ],
                payload: event,
            };
            match self.append(&proposal).await {
                Ok(_) => {
                    self.metrics.events.increment(1);
                    return Ok(true);
                }
                Err(Trouble::Moved { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
