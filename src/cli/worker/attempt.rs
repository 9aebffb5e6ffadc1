//! One attempt at a task: its program, its heartbeats, its report.
//!
//! A program never outlives the attempt. Nothing is reported of an attempt that may be someone else's.

use std::time::Duration;

use gesta_log_format::Digest;
use hyper::StatusCode;
use serde_json::value::RawValue;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::Ground;
use super::control::Listener;
use super::journal::Note;
use super::link::{Link, Lost, json};
use super::outcome::{self, Failed, Outcome};
use super::program::{Finished, Kept, Program};
use super::wire::{Blob, Claimed, Input, Report, Status, Task};
use crate::client::{Answer, Refusal};

const BLOB_NOT_FOUND: &str = "BLOB_NOT_FOUND";

/// How an attempt ended, as far as this worker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Reported(Status),
    /// The server was not told.
    Abandoned,
}

/// Why a program is stopped that would go on.
#[derive(Debug)]
enum Stop {
    Canceled,
    /// The worker ends.
    Halted,
    TimedOut,
    Lost(Lost),
}

/// What is to be reported.
struct Verdict<'a> {
    status: Status,
    result: Option<&'a RawValue>,
    failed: Option<Failed>,
}

impl Verdict<'_> {
    fn failed(failed: Failed) -> Self {
        Self { status: Status::Failed, result: None, failed: Some(failed) }
    }

    /// Another worker may have more luck.
    fn unlucky(code: &str, why: impl Into<String>) -> Self {
        Self::failed(Failed::new(code, why, true))
    }
}

/// Runs an attempt to its end. `halt` turns true when running tasks have to end now.
pub(super) async fn run(ground: &Ground, claimed: Claimed, halt: watch::Receiver<bool>) -> Ended {
    let began = Instant::now();
    let task: Task = match serde_json::from_str(claimed.task.get()) {
        Ok(task) => task,
        Err(error) => {
            let why = format!("what the server says of a task is not understood: {error}");
            ground.journal.note(&Note::Abandoned { task_id: "?", attempt: claimed.attempt, why });
            return Ended::Abandoned;
        }
    };
    ground.journal.note(&Note::Claimed { task_id: &task.task_id, attempt: claimed.attempt });
    let mut link = match Link::new(ground, &claimed, &task) {
        Ok(link) => link,
        Err(lost) => {
            let why = lost.to_string();
            ground.journal.note(&Note::Abandoned { task_id: &task.task_id, attempt: claimed.attempt, why });
            return Ended::Abandoned;
        }
    };
    let mut attempt = Attempt { ground, task: &task, began, halt, draining: Draining::new(ground) };
    let ended = attempt.work(&mut link, input(ground, &claimed, &task)).await;
    ended.unwrap_or_else(|lost| {
        ground.journal.note(&Note::abandoned(link.fence(), lost));
        Ended::Abandoned
    })
}

fn input(ground: &Ground, claimed: &Claimed, task: &Task) -> bytes::Bytes {
    let input = Input {
        task_id: &task.task_id,
        attempt: claimed.attempt,
        lease_token: &claimed.lease_token,
        lease_expires_at: &claimed.lease_expires_at,
        capability_token: &claimed.capability_token,
        task_url: &ground.tasks.base().to_string(),
        task: &claimed.task,
    };
    let mut text = serde_json::to_vec(&input).expect("texts, numbers and JSON are JSON");
    text.push(b'\n');
    text.into()
}

struct Attempt<'a> {
    ground: &'a Ground,
    task: &'a Task,
    began: Instant,
    halt: watch::Receiver<bool>,
    draining: Draining<'a>,
}

impl Attempt<'_> {
    async fn work(&mut self, link: &mut Link<'_>, input: bytes::Bytes) -> Result<Ended, Lost> {
        let mut program = match Program::start(&self.ground.command, input) {
            Ok(program) => program,
            Err(cause) => {
                let verdict =
                    Verdict::unlucky("START_FAILED", format!("the program cannot be started: {cause}"));
                return self.report(link, verdict, &Kept::default()).await;
            }
        };
        let stop = self.watch(&mut program, link).await;
        if let Some(stop) = &stop {
            self.end(&mut program, link, stop).await?;
        }
        let Finished { status, stdout, stderr } = match program.finish().await {
            Ok(finished) => finished,
            Err(cause) => {
                let verdict =
                    Verdict::unlucky("ENDED", format!("how the program ended is not known: {cause}"));
                return self.report(link, verdict, &Kept::default()).await;
            }
        };
        let seconds = self.task.limits.timeout_ms.div_ceil(1000);
        let verdict = match stop {
            None => match outcome::judge(status, &stdout) {
                Outcome::Completed(result) => {
                    Verdict { status: Status::Completed, result: Some(result), failed: None }
                }
                Outcome::Failed(failed) => Verdict::failed(failed),
            },
            Some(Stop::Canceled) => Verdict { status: Status::Canceled, result: None, failed: None },
            Some(Stop::Halted) => {
                Verdict::unlucky("WORKER_STOPPED", "the worker was stopped before the program had ended")
            }
            Some(Stop::TimedOut) => {
                Verdict::unlucky("PROGRAM_TIMEOUT", format!("the program took longer than {seconds} s"))
            }
            Some(Stop::Lost(lost)) => return Err(lost),
        };
        self.report(link, verdict, &stderr).await
    }

    /// Beats until the program has ended, or must.
    async fn watch(&mut self, program: &mut Program, link: &mut Link<'_>) -> Option<Stop> {
        let deadline = self.began + Duration::from_millis(self.task.limits.timeout_ms);
        let interval = Duration::from_millis(self.task.limits.heartbeat_ms.max(1));
        let mut halt = self.halt.clone();
        let heard = Notify::new();
        let (fence, capability) = (link.fence().clone(), link.capability());
        let listener = Listener { ground: self.ground, fence, capability };
        tokio::select! {
            biased;
            () = program.exited() => None,
            stop = self.beat(link, interval, &heard) => Some(stop),
            never = listener.listen(&heard) => match never {},
            () = sleep_until(deadline) => Some(Stop::TimedOut),
            _ = halt.wait_for(|halt| *halt) => Some(Stop::Halted),
        }
    }

    /// Beats, each `interval` and when something was heard, until there is a reason to stop.
    async fn beat(&mut self, link: &mut Link<'_>, interval: Duration, heard: &Notify) -> Stop {
        loop {
            let _ = timeout(interval, heard.notified()).await;
            match link.beat().await {
                Ok(beaten) => {
                    self.draining.set(beaten.drain);
                    if beaten.cancel_requested {
                        return Stop::Canceled;
                    }
                }
                Err(lost) => return Stop::Lost(lost),
            }
        }
    }

    /// Ends a program that would go on: in order where the attempt is still ours, else at once.
    ///
    /// # Errors
    /// [`Lost`], once the program is dead.
    async fn end(&self, program: &mut Program, link: &mut Link<'_>, stop: &Stop) -> Result<(), Lost> {
        match stop {
            Stop::Lost(lost) => {
                program.kill();
                program.exited().await;
                return Err(lost.clone());
            }
            Stop::Canceled => {
                let (task_id, attempt) = (&link.fence().task_id, link.fence().attempt);
                self.ground.journal.note(&Note::CancelRequested { task_id, attempt });
            }
            Stop::Halted | Stop::TimedOut => {}
        }
        program.stop(self.ground.kill_after).await;
        Ok(())
    }

    /// Tells the server how it ended. A report that is late counts as long as nobody has claimed the task again, so it is
    /// tried for one lease longer.
    ///
    /// # Errors
    /// [`Lost`].
    async fn report(&self, link: &mut Link<'_>, verdict: Verdict<'_>, stderr: &Kept) -> Result<Ended, Lost> {
        let mut blob = self.keep(link, stderr).await?;
        let mut was_kept_again = false;
        let (mut status, mut result, mut failed) = (verdict.status, verdict.result, verdict.failed);
        loop {
            let message = failed.as_ref().map(|failed| outcome::message(&failed.why, stderr));
            let retryable = failed.as_ref().map(|failed| failed.retryable);
            let until = link.lease_until.max(Instant::now()) + link.lease();
            let report = Report {
                fence: link.fence(),
                status,
                result,
                retryable,
                code: failed.as_ref().map(|failed| failed.code.as_str()),
                error_message: message.as_deref(),
                stderr: blob.as_ref(),
            };
            match link.call("/v1/task/complete", json(&report), until).await {
                Ok(Answer { .. }) => {
                    self.ground.journal.note(&Note::Reported {
                        task_id: &link.fence().task_id,
                        attempt: link.fence().attempt,
                        status,
                        retryable,
                        error_message: message.as_deref(),
                        stderr: blob.map(|blob| blob.digest.to_string()),
                        took_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
                    });
                    return Ok(Ended::Reported(status));
                }
                Err(Lost::Refused(refusal)) if blob.is_some() && lacks_stderr(&refusal) => {
                    blob = match was_kept_again {
                        false => self.keep(link, stderr).await?,
                        true => self.stderr_lost(link, refusal.to_string()),
                    };
                    was_kept_again = true;
                }
                // The same program would give the same result, so the attempt is failed for good; not so where it put a
                // blob that the server has forgotten.
                Err(Lost::Refused(refusal)) if result.is_some() && is_about_result(refusal.status) => {
                    let why = format!("the result was refused: {refusal}");
                    let refused = Failed::new("RESULT_INVALID", why, refusal.reason_code == BLOB_NOT_FOUND);
                    (status, result, failed) = (Status::Failed, None, Some(refused));
                }
                Err(lost) => return Err(lost),
            }
        }
    }

    /// Puts what the program wrote to standard error, where it wrote something. That it cannot be kept is no reason to lose
    /// the result, and neither is the time that it takes.
    ///
    /// # Errors
    /// [`Lost::Stale`].
    async fn keep(&self, link: &mut Link<'_>, stderr: &Kept) -> Result<Option<Blob>, Lost> {
        if stderr.bytes.is_empty() {
            return Ok(None);
        }
        let digest = Digest::of(&stderr.bytes);
        let until = Instant::now() + self.ground.blob_patience.min(link.lease() / 2);
        match link.put(&digest, stderr.bytes.clone().into(), until).await {
            Ok(()) => {
                let size_bytes = stderr.bytes.len() as u64;
                Ok(Some(Blob { digest, media_type: "text/plain", size_bytes }))
            }
            Err(Lost::Stale) => Err(Lost::Stale),
            Err(Lost::LeaseOver) => {
                Ok(self.stderr_lost(link, "the server has not taken it in time".to_owned()))
            }
            Err(Lost::Refused(refusal)) => Ok(self.stderr_lost(link, refusal.to_string())),
        }
    }

    /// The report goes on without it.
    fn stderr_lost(&self, link: &Link<'_>, why: String) -> Option<Blob> {
        let (task_id, attempt) = (&link.fence().task_id, link.fence().attempt);
        self.ground.journal.note(&Note::StderrLost { task_id, attempt, why });
        None
    }
}

fn is_about_result(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::CONFLICT
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY
    )
}

/// Whether the server does not know the blob of standard error any more. It forgets who put what when it ends.
fn lacks_stderr(refusal: &Refusal) -> bool {
    refusal.reason_code == BLOB_NOT_FOUND && refusal.pointer.as_deref() == Some("/stderr")
}

/// Whether this attempt was told that the server ends, counted among all.
struct Draining<'a> {
    all: &'a watch::Sender<usize>,
    told: bool,
}

impl<'a> Draining<'a> {
    fn new(ground: &'a Ground) -> Self {
        Self { all: &ground.draining, told: false }
    }

    fn set(&mut self, told: bool) {
        if self.told != told {
            self.told = told;
            self.all.send_modify(|count| *count = if told { *count + 1 } else { count.saturating_sub(1) });
        }
    }
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}
