//! What a live attempt asks of the state surface: the state of its session and its execution, artifacts, steps.
//!
//! Each record moves the task's subject besides its own, so that the log refuses it of an attempt that was replaced.

pub(super) mod request;

use std::time::Duration;

use gesta_log_format::Index;
use gesta_replay::lifecycle::Status;
use gesta_replay::projections::executions;
use gesta_replay::projections::tasks::Open;

use super::Tasks;
use super::fence::Fence;
use crate::capability::Claims;
use crate::limits::{APPLIED_WAIT_MS, TASK_CONFLICTS_MAX};
use crate::members::Members;
use crate::problem::{Problem, ReasonCode};
use crate::state::{Artifact, Name, Registered, Scope, Step, SurfaceError, Writer, Written};

/// A live attempt, as the state surface sees it.
fn writer(open: &Open) -> Writer<'_> {
    Writer {
        execution_id: open.task_id,
        attempt: Some(open.standing.attempt),
        cause: open.last_index,
        actor: open.lease.as_ref().map_or("", |lease| lease.worker_id.as_str()),
        intent_type: &open.intent_type,
        stream_id: &open.stream_id,
        lane: &open.lane,
        correlation_id: &open.correlation_id,
        thread_id: &open.thread_id,
        turn_id: &open.turn_id,
        parent_turn_id: open.parent_turn_id.as_deref(),
    }
}

impl Tasks {
    /// The state of an attempt's own session or execution.
    ///
    /// # Errors
    /// `STALE_ATTEMPT`; what keeps it from being read.
    pub(super) async fn get_state(&self, fence: &Fence, scope: Scope) -> Result<Vec<u8>, Problem> {
        let open = self.live(fence).await?;
        let held = self.surface.state(&Name::own(&writer(&open), scope)).await;
        let held = held.map_err(|error| error.problem(""))?;
        let index = held.as_ref().map_or("null".to_owned(), |held| held.index.to_string());
        let value = held.map_or_else(|| b"null".to_vec(), |held| held.value);
        Ok(Members::new().raw("index", index).text("scope", scope.text()).raw("value", value).finish())
    }

    /// Sets it, if it is as expected.
    ///
    /// # Errors
    /// `STALE_ATTEMPT`, `STATE_CONFLICT`, `BLOB_NOT_FOUND`; what keeps a record from being appended.
    pub(super) async fn set_state(
        &self,
        fence: &Fence,
        scope: Scope,
        expected: Option<Index>,
        value: &[u8],
    ) -> Result<(Written, Vec<u8>), Problem> {
        for _ in 0..TASK_CONFLICTS_MAX {
            let open = self.live(fence).await?;
            self.demand_blobs(&open.stream_id, fence, value, "/value").await?;
            match self.surface.set_state(&writer(&open), scope, expected, value).await {
                Ok(written) => {
                    let answer = Members::new()
                        .number("index", written.index().0)
                        .text("scope", scope.text())
                        .raw("value", value);
                    return Ok((written, answer.finish()));
                }
                Err(error) => self.overtaken(error).await?,
            }
        }
        Err(Problem::new(ReasonCode::SubjectConflict))
    }

    /// Registers an artifact of an attempt's execution.
    ///
    /// # Errors
    /// `STALE_ATTEMPT`, `ARTIFACT_EXISTS`, `PREFIX_FORBIDDEN`, `INVALID_INPUT`, `BLOB_NOT_FOUND`; what keeps a record from
    /// being appended.
    pub(super) async fn register_artifact(
        &self,
        fence: &Fence,
        artifact: &Artifact,
        capability: &Claims,
    ) -> Result<Registered, Problem> {
        for (nth, object) in artifact.objects() {
            if !capability.s3.may_read(object) && !capability.s3.may_write(object) {
                return Err(Problem::new(ReasonCode::PrefixForbidden)
                    .detail("Nothing was appended: no prefix of the capability's covers the object.")
                    .pointer(format!("{AT}/materializations/{nth}/uri")));
            }
        }
        let content = artifact.content();
        for _ in 0..TASK_CONFLICTS_MAX {
            let open = self.live(fence).await?;
            self.demand_blobs(&open.stream_id, fence, &content, AT).await?;
            match self.surface.register_artifact(&writer(&open), artifact).await {
                Ok(registered) => return Ok(registered),
                Err(error) => self.overtaken(error).await?,
            }
        }
        Err(Problem::new(ReasonCode::SubjectConflict))
    }

    /// Records a step of an attempt's execution.
    ///
    /// # Errors
    /// `STALE_ATTEMPT`, `BLOB_NOT_FOUND`, `INDEX_NOT_APPLIED`; what keeps a record from being appended.
    pub(super) async fn tell_step(&self, fence: &Fence, step: &Step) -> Result<Vec<u8>, Problem> {
        for _ in 0..TASK_CONFLICTS_MAX {
            let open = self.live(fence).await?;
            if let Some(payload) = step.payload() {
                self.demand_blobs(&open.stream_id, fence, payload, "/record/payload").await?;
            }
            let execution = self.running(&open).await?;
            match self.surface.append_step(&writer(&open), execution.last_index, step).await {
                Ok((index, digest)) => {
                    let answer = Members::new().text("digest", &digest.to_string()).number("index", index.0);
                    return Ok(answer.finish());
                }
                Err(error) => self.overtaken(error).await?,
            }
        }
        Err(Problem::new(ReasonCode::SubjectConflict))
    }

    /// The execution of a task that was claimed, once its `running` is applied, which a follower appends.
    async fn running(&self, open: &Open) -> Result<executions::Open, Problem> {
        let mut applied = self.projector.watch();
        let running = async {
            loop {
                applied.borrow_and_update();
                let found = self.projector.look(|state| state.executions.open(open.task_id).cloned());
                let found = found.ok_or_else(|| self.stale("the execution has ended"))?;
                if found.standing.status == Status::Running {
                    return Ok(found);
                }
                if applied.changed().await.is_err() {
                    return Err(Problem::new(ReasonCode::Draining));
                }
            }
        };
        let patience = Duration::from_millis(APPLIED_WAIT_MS);
        tokio::time::timeout(patience, running).await.unwrap_or_else(|_elapsed| {
            Err(Problem::new(ReasonCode::IndexNotApplied)
                .detail("The execution is not running yet: nothing was appended."))
        })
    }

    /// Waits for what was faster; gives back what is no race.
    async fn overtaken(&self, error: SurfaceError) -> Result<(), Problem> {
        match error {
            SurfaceError::Overtaken { newest } => {
                let applied = self.applied_below(newest.next()).await;
                applied.ok_or_else(|| Problem::new(ReasonCode::Draining))
            }
            error @ (SurfaceError::StateConflict { .. }
            | SurfaceError::ArtifactExists { .. }
            | SurfaceError::NoParent { .. }
            | SurfaceError::NoObject { .. }
            | SurfaceError::Full
            | SurfaceError::Append(_)
            | SurfaceError::Works(_)
            | SurfaceError::LookUp(_)
            | SurfaceError::Foreign(_)) => Err(error.problem(AT)),
        }
    }
}

/// Where an artifact stands in a request.
const AT: &str = "/artifact";
