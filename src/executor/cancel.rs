//! Requests to cancel: a token for what runs in this process, and the follower that finds the requests in the log.
//!
//! A request is an INTENT `cancel_requested`; nothing else decides that something is cancelled, so a request that is
//! durable before a kill is found by the next start. What runs here learns of it at once. What does not run, because it
//! waits for its turn or for someone outside, is ended here; what someone outside runs is theirs to end.

use std::sync::Arc;

use gesta_log_format::Index;
use gesta_replay::event::Event;
use gesta_replay::lifecycle::Transition;
use gesta_replay::projections::executions::Open;
use tokio::sync::watch;
use tracing::error;

use super::Executor;
use super::course::Left;
use super::dispatch::{Job, Running};
use crate::limits::EXECUTIONS_LOOKED_AT_MAX;

/// Says to what runs an execution that somebody asks to cancel it.
#[derive(Clone, Debug)]
pub struct Cancel(watch::Receiver<Option<Index>>);

/// Tells a [`Cancel`].
pub(super) type Teller = watch::Sender<Option<Index>>;

impl Cancel {
    /// A token, and who tells it the index of the request.
    pub(super) fn new() -> (Teller, Self) {
        let (teller, told) = watch::channel(None);
        (teller, Self(told))
    }

    /// Whether somebody has asked.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.request().is_some()
    }

    /// Ends once somebody asks; never where nobody can any more.
    pub async fn requested(&self) {
        let mut told = self.0.clone();
        if told.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The INTENT `cancel_requested`.
    pub(super) fn request(&self) -> Option<Index> {
        *self.0.borrow()
    }
}

/// What one look at the requests has found.
struct Found {
    /// To be ended here, one after the other.
    jobs: Vec<(Job, Running)>,
    /// The request at which the next look begins.
    next: Index,
    /// There may be more behind that.
    more: bool,
}

impl Executor {
    /// Follows the requests until the executor is stopped.
    pub(super) async fn follow_cancels(self: Arc<Self>) {
        let (mut applied, mut stopped) = (self.projector.watch(), self.stop.subscribe());
        let mut next = Index::ZERO;
        if self.applied_below(self.head_at_start).await.is_none() {
            return;
        }
        loop {
            applied.borrow_and_update();
            loop {
                let found = self.find_cancels(next);
                next = found.next;
                for (job, running) in found.jobs {
                    if *self.stop.borrow() {
                        return;
                    }
                    self.run(job, &running.cancel).await;
                }
                if !found.more {
                    break;
                }
            }
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return,
                moved = applied.changed() => if moved.is_err() { return },
            }
        }
    }

    /// Tells what runs here, and gives what does not run anywhere.
    fn find_cancels(self: &Arc<Self>, next: Index) -> Found {
        let mut busy = self.busy();
        self.projector.look(|state| {
            let mut found = Found { jobs: Vec::new(), next, more: false };
            for (looked_at, open) in state.executions.cancel_requested_since(next).enumerate() {
                if looked_at == EXECUTIONS_LOOKED_AT_MAX {
                    found.more = true;
                    break;
                }
                let Some(request) = open.cancel_requested else { continue };
                found.next = request.next();
                match busy.get(&open.execution_id) {
                    Some(teller) => {
                        teller.send_replace(Some(request));
                    }
                    None => {
                        let job = self.job(state, open);
                        found.jobs.extend(job.map(|job| {
                            let running = Running::begin(self, &mut busy, open.execution_id, None);
                            (job, running)
                        }));
                    }
                }
            }
            found
        })
    }

    /// Records that it is cancelled, as the request says by whom and why.
    pub(super) async fn cancelled(&self, open: &mut Open, actor: &str, request: Index) -> Result<(), Left> {
        let record = self.works.record(request).await.map_err(|error| {
            error!(%error, execution = %open.execution_id, "a request to cancel cannot be read");
            Left::Open
        })?;
        let payload = Event::parse(record.data()).and_then(|event| {
            let requested = event.cancel_requested()?;
            Ok(payload(&requested.by, requested.reason.as_deref()))
        });
        let payload = payload.map_err(|error| {
            error!(%error, execution = %open.execution_id, "a request to cancel cannot be read");
            Left::Open
        })?;
        self.persist_here(open, actor, Transition::Cancelled, &payload).await.map(drop)
    }
}

/// The payload of an INTENT `cancel_requested`, and of an EXECUTION `cancelled`: canonical.
pub fn payload(by: &str, reason: Option<&str>) -> Vec<u8> {
    let mut out = b"{\"by\":".to_vec();
    gesta_log_format::json::write_string(&mut out, by);
    if let Some(reason) = reason {
        out.extend_from_slice(b",\"reason\":");
        gesta_log_format::json::write_string(&mut out, reason);
    }
    out.push(b'}');
    out
}
