//! A worker from its first claim to its end: how many tasks at once, how many in all, what a signal means.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Ground;
use super::attempt::{self, Ended};
use super::claims::{Claims, NoClaim};
use super::journal::Note;
use super::wire::{Claimed, Status};
use crate::cli::{Exit, Failure, remote};

/// What a worker is to do.
pub(super) struct Shift {
    pub(super) concurrency: usize,
    /// After how many tasks it ends.
    pub(super) tasks_max: Option<u64>,
    /// For how long running tasks may go on once it was told to stop.
    pub(super) grace: Duration,
}

/// How many attempts ended in which way.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) canceled: u64,
    pub(super) abandoned: u64,
}

impl Tally {
    fn count(&mut self, ended: Ended) {
        let count = match ended {
            Ended::Reported(Status::Completed) => &mut self.completed,
            Ended::Reported(Status::Failed) => &mut self.failed,
            Ended::Reported(Status::Canceled) => &mut self.canceled,
            Ended::Abandoned => &mut self.abandoned,
        };
        *count += 1;
    }
}

/// A claim under way. It goes on while other things happen: one that is dropped may have been granted.
type Poll = Pin<Box<dyn Future<Output = (Claims, Result<Vec<Claimed>, NoClaim>)>>>;

/// A worker at work.
struct Work {
    ground: Arc<Ground>,
    idle: Option<Claims>,
    poll: Option<Poll>,
    running: JoinSet<Ended>,
    tally: Tally,
    /// How many tasks it may still claim.
    left: u64,
    /// When it was told to stop, until when running tasks may go on.
    stopping: Option<Instant>,
    refused: Option<NoClaim>,
    halt: watch::Sender<bool>,
}

impl Shift {
    /// Works until `signals` says to stop, or all tasks are done that it may do.
    ///
    /// # Errors
    /// The server does not want this worker.
    pub(super) async fn work(
        self,
        ground: Arc<Ground>,
        mut signals: mpsc::Receiver<()>,
    ) -> Result<Tally, Failure> {
        let (worker_id, pools) = (&ground.worker_id, &ground.pools);
        ground.journal.note(&Note::Started { worker_id, pools, concurrency: self.concurrency });
        let mut draining = ground.draining.subscribe();
        let mut work = Work {
            idle: Some(Claims::new(&ground)),
            ground: Arc::clone(&ground),
            poll: None,
            running: JoinSet::new(),
            tally: Tally::default(),
            left: self.tasks_max.unwrap_or(u64::MAX),
            stopping: None,
            refused: None,
            halt: watch::Sender::new(false),
        };
        loop {
            let drained = *draining.borrow_and_update() > 0;
            work.claim_or_not(self.concurrency, drained);
            if work.is_over() {
                break;
            }
            tokio::select! {
                (claims, polled) = poll(&mut work.poll) => work.polled(claims, polled),
                Some(ended) = work.running.join_next() => {
                    // An attempt that panicked has dropped its program, which is dead.
                    work.tally.count(ended.unwrap_or(Ended::Abandoned));
                }
                Some(()) = signals.recv() => work.told_to_stop(self.grace),
                () = at(work.stopping), if !*work.halt.borrow() => drop(work.halt.send_replace(true)),
                _ = draining.changed() => {}
            }
        }
        let Tally { completed, failed, canceled, abandoned } = work.tally;
        ground.journal.note(&Note::Stopped { completed, failed, canceled, abandoned });
        match work.refused {
            Some(NoClaim::Refused(refusal)) => Err(refused(&refusal)),
            Some(NoClaim::Strange(error)) => Err(Failure::new(Exit::Failed, error).hint(WRONG_LISTENER)),
            None => Ok(work.tally),
        }
    }
}

const WRONG_LISTENER: &str = "--url is that of the server's internal listener, which it prints at its start";

fn refused(refusal: &crate::client::Refusal) -> Failure {
    let failure = remote::refused(refusal);
    match refusal.status {
        hyper::StatusCode::NOT_FOUND => failure.hint(WRONG_LISTENER),
        hyper::StatusCode::UNAUTHORIZED | hyper::StatusCode::FORBIDDEN => {
            failure.hint("the token needs the role worker, and has to admit this worker's id and its pools")
        }
        _ => failure,
    }
}

impl Work {
    /// Begins a claim where there is room, and drops the one under way where there must be none.
    fn claim_or_not(&mut self, concurrency: usize, drained: bool) {
        if self.stopping.is_some() || self.refused.is_some() || drained {
            if self.poll.take().is_some() {
                self.idle = Some(Claims::new(&self.ground));
            }
            return;
        }
        let free = concurrency.saturating_sub(self.running.len());
        let max = free.min(usize::try_from(self.left).unwrap_or(usize::MAX)).min(CLAIM_MAX);
        if max > 0
            && let Some(mut claims) = self.idle.take()
        {
            let ground = Arc::clone(&self.ground);
            self.poll = Some(Box::pin(async move {
                let polled = claims.next(&ground, max).await;
                (claims, polled)
            }));
        }
    }

    fn is_over(&self) -> bool {
        let no_more = self.stopping.is_some() || self.refused.is_some() || self.left == 0;
        no_more && self.running.is_empty() && self.poll.is_none()
    }

    fn polled(&mut self, claims: Claims, polled: Result<Vec<Claimed>, NoClaim>) {
        self.poll = None;
        self.idle = Some(claims);
        match polled {
            Ok(claimed) => {
                for claimed in claimed {
                    self.left = self.left.saturating_sub(1);
                    let (ground, halt) = (Arc::clone(&self.ground), self.halt.subscribe());
                    self.running.spawn(async move { attempt::run(&ground, claimed, halt).await });
                }
            }
            Err(refused) => self.refused = Some(refused),
        }
    }

    /// The second time, running tasks have to end at once.
    fn told_to_stop(&mut self, grace: Duration) {
        let now = Instant::now();
        if self.stopping.is_some() {
            self.stopping = Some(now);
            return;
        }
        self.stopping = Some(now + grace);
        self.ground
            .journal
            .note(&Note::Stopping { running: self.running.len(), grace_seconds: grace.as_secs() });
    }
}

/// Most tasks of one claim: the contract's.
const CLAIM_MAX: usize = 100;

/// The claim that is under way; without one, for ever.
async fn poll(poll: &mut Option<Poll>) -> (Claims, Result<Vec<Claimed>, NoClaim>) {
    match poll {
        Some(poll) => poll.await,
        None => std::future::pending().await,
    }
}

/// That time; without one, for ever.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
