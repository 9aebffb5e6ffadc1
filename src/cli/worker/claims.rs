//! Asking for work: a long poll, repeated for as long as it may help.

use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::Ground;
use super::link::{json, may_pass};
use super::wire::{ClaimAny, Claimed};
use crate::client::{Answer, Backoff, Caller, Refusal};

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The claims of one worker.
pub(super) struct Claims {
    caller: Caller,
    backoff: Backoff,
}

/// How one poll ended that is not to be repeated.
#[derive(Debug)]
pub(super) enum NoClaim {
    /// The server does not want this worker.
    Refused(Refusal),
    /// Its answer is none.
    Strange(serde_json::Error),
}

impl Claims {
    pub(super) fn new(ground: &Ground) -> Self {
        Self { caller: Caller::new(ground.internal.clone()), backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT) }
    }

    /// Waits until there are some, at most `max`. A server that is away is waited for.
    ///
    /// # Errors
    /// [`NoClaim`].
    pub(super) async fn next(&mut self, ground: &Ground, max: usize) -> Result<Vec<Claimed>, NoClaim> {
        let wait_ms = u64::try_from(ground.wait.as_millis()).unwrap_or(u64::MAX);
        let claim = ClaimAny { pools: &ground.pools, max, wait_ms, worker_id: &ground.worker_id };
        loop {
            let asked_at = Instant::now();
            let request = self.caller.server().post("/internal/task-claim", json(&claim));
            let wait = match self.caller.call(request).await {
                Ok(answer) if answer.status.is_success() => {
                    ground.outage.back();
                    let claimed = read(&answer).map_err(NoClaim::Strange)?;
                    if !claimed.is_empty() {
                        self.backoff.reset();
                        return Ok(claimed);
                    }
                    // Who says no at once would be asked in a loop.
                    if asked_at.elapsed() >= ground.wait / 2 {
                        self.backoff.reset();
                        continue;
                    }
                    self.backoff.wait()
                }
                Ok(answer) => {
                    let refusal = Refusal::of(answer.status, &answer.body);
                    if !may_pass(&refusal) {
                        return Err(NoClaim::Refused(refusal));
                    }
                    ground.outage.lost(&refusal);
                    self.backoff.wait().max(answer.retry_after().unwrap_or_default())
                }
                Err(error) => {
                    ground.outage.lost(&error);
                    self.backoff.wait()
                }
            };
            sleep(wait).await;
        }
    }
}

fn read(answer: &Answer) -> Result<Vec<Claimed>, serde_json::Error> {
    if answer.status == StatusCode::NO_CONTENT {
        return Ok(Vec::new());
    }
    let answers: Vec<&RawValue> = serde_json::from_slice(&answer.body)?;
    answers.into_iter().filter_map(|answer| Claimed::read(answer.get().as_bytes()).transpose()).collect()
}
