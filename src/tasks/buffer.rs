//! A batch of rows that an attempt publishes: its request, and its record, once.

use gesta_log_format::Index;
use gesta_log_format::envelope::Expectation;
use gesta_replay::projections::tasks::Open;
use gesta_replay::task_lifecycle::Transition;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Tasks;
use super::author::{Step, StepError};
use super::fence::Fence;
use super::request::{FenceMembers, missing, number, object, text};
use super::routes::TaskFence;
use crate::append::AppendError;
use crate::limits::TASK_CONFLICTS_MAX;
use crate::problem::{Problem, ReasonCode};

/// Longest text, in bytes: more than a URI or a scope has.
const TEXT_BYTES_MAX: usize = 2048;

/// A batch of rows, put as an object before.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct BufferPublish {
    #[serde(flatten)]
    fence: TaskFence,
    /// `blob://{bucket}/{key}`, below one of the capability's write prefixes.
    batch_uri: String,
    /// Always `application/jsonl`.
    #[schema(pattern = "^application/jsonl$")]
    content_type: String,
    /// The object's length; at most 16 MiB.
    batch_size_bytes: u64,
    /// The dataset version that the rows are for, which the capability names: `{dataset_uuid}/{dataset_version}`, or the
    /// `dataset_uuid` alone where it names one version of it.
    dedupe_scope: String,
}

/// The same, its shape checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Publication {
    pub(crate) fence: Fence,
    pub(crate) batch_uri: String,
    pub(crate) content_type: String,
    pub(crate) batch_size_bytes: u64,
    pub(crate) dedupe_scope: String,
}

/// Reads a publication.
///
/// # Errors
/// `INVALID_JSON`, `INVALID_INPUT`.
pub(crate) fn read_publication(body: &[u8]) -> Result<Publication, Problem> {
    let mut members = FenceMembers::default();
    let (mut batch_uri, mut content_type, mut size, mut scope) = (None, None, None, None);
    object(body, |key, reader, _| {
        match key {
            "batch_uri" => batch_uri = Some(text(reader, TEXT_BYTES_MAX)?),
            "content_type" => content_type = Some(text(reader, TEXT_BYTES_MAX)?),
            "batch_size_bytes" => size = Some(number(reader, 0, u64::from(u32::MAX))?),
            "dedupe_scope" => scope = Some(text(reader, TEXT_BYTES_MAX)?),
            _ => return members.member(key, reader),
        }
        Ok(true)
    })?;
    Ok(Publication {
        fence: members.fence()?,
        batch_uri: batch_uri.ok_or_else(missing("/batch_uri"))?,
        content_type: content_type.ok_or_else(missing("/content_type"))?,
        batch_size_bytes: size.ok_or_else(missing("/batch_size_bytes"))?,
        dedupe_scope: scope.ok_or_else(missing("/dedupe_scope"))?,
    })
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    Now(Index),
    /// The attempt has published it, by the record that its subject stands at.
    Before(Index),
}

impl Tasks {
    /// Records that a live attempt publishes a batch, unless `subject`, which is the batch's own, has its record.
    ///
    /// # Errors
    /// `STALE_ATTEMPT`; what keeps a record from being appended.
    pub(crate) async fn record_batch(
        &self,
        fence: &Fence,
        subject: &str,
        payload: &[u8],
    ) -> Result<Recorded, Problem> {
        for _ in 0..TASK_CONFLICTS_MAX {
            let open = self.live(fence).await?;
            match self.append_batch(&open, subject, payload).await {
                Ok(index) => return Ok(Recorded::Now(index)),
                Err(StepError::Append(AppendError::Moved { subject: 1, newest })) => {
                    return Ok(Recorded::Before(newest));
                }
                Err(error) => self.again(error).await?,
            }
        }
        Err(Problem::new(ReasonCode::SubjectConflict))
    }

    async fn append_batch(&self, open: &Open, subject: &str, payload: &[u8]) -> Result<Index, StepError> {
        let step = Step {
            transition: Transition::BufferPublished { attempt: open.standing.attempt },
            actor: open.lease.as_ref().map_or("", |lease| lease.worker_id.as_str()),
            payload,
            others: vec![Expectation { subject: subject.to_owned(), expected: None }],
        };
        self.author.append(open, step).await.map(|(index, _)| index)
    }
}
