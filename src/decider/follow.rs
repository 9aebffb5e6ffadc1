//! The decider's thread: take what awaits a decision, decide it, append it, see what became of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{Either, select};
use gesta_log_format::Index;
use gesta_replay::context::ContextError;
use gesta_replay::decide::decide;
use gesta_replay::event::{Event, Verdict};
use gesta_replay::policy::Counts;
use tokio::sync::watch;

use super::active::{Active, Pending};
use super::propose::{self, ProposeError};
use super::{Parts, Stop};
use crate::append::{AppendError, Appender, Pending as Queued};
use crate::prefix::{LogPrefix, PrefixError};
use crate::projector::State;
use crate::sequencer::Places;

/// INTENTs that are decided before the outcome of their records is waited for.
const AT_ONCE: usize = 256;

/// How long the decider waits before it tries again what a full disk or an unreadable file kept it from.
const RETRY: Duration = Duration::from_secs(1);

/// An INTENT that awaits its decision, with all that depends on its place in the log.
#[derive(Clone, Copy, Debug)]
struct Due {
    index: Index,
    counts: Counts,
    policy: Option<Index>,
    context: Option<Index>,
}

/// A DECISION on its way.
struct Waiting {
    index: Index,
    result: Verdict,
    queued: Queued,
}

/// Whether the thread goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

/// Why an INTENT is not decided now.
#[derive(Debug, thiserror::Error)]
enum Kept {
    #[error("its record is not readable: {0}")]
    Read(#[from] gesta_log_format::log::ReadError),
    #[error(transparent)]
    Lookup(#[from] crate::store::LookupError),
    #[error(transparent)]
    Context(#[from] ContextError<PrefixError>),
    #[error(transparent)]
    Propose(#[from] ProposeError),
    #[error("the record is not there")]
    Absent,
}

pub(super) struct Follower {
    parts: Parts,
    appender: Appender,
    places: Arc<Places>,
    stop: Stop,
    runtime: tokio::runtime::Handle,
    applied: watch::Receiver<Index>,
    active: Active,
    /// The record that activated the configuration that ingress sees.
    settings_of: Option<Index>,
    /// The first INTENT that was not looked at.
    next: Index,
}

impl Follower {
    pub(super) fn new(parts: Parts, places: Arc<Places>, stop: Stop) -> Self {
        let applied = parts.projector.watch();
        let (store, blobs, queue) =
            (Arc::clone(&parts.store), Arc::clone(&parts.blobs), Arc::clone(&parts.queue));
        Self {
            parts,
            appender: Appender::new(store, blobs, queue),
            places,
            stop,
            runtime: tokio::runtime::Handle::current(),
            applied,
            active: Active::default(),
            settings_of: None,
            next: Index::ZERO,
        }
    }

    pub(super) fn run(mut self) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.follow()));
        if outcome.is_err() {
            self.parts.metrics.stopped.set(1.0);
            tracing::error!("the decider panicked: intents are not decided until the next start");
        }
    }

    fn follow(&mut self) {
        let at_start = self.parts.store.live.published();
        // What was decided before must be seen as decided.
        if self.wait(|applied| applied >= at_start, None) == Next::End {
            return;
        }
        // The first INTENT that could not be decided, and when it is tried again. Those behind it go on meanwhile.
        let mut kept: Option<(Index, Instant)> = None;
        loop {
            let seen = *self.applied.borrow_and_update();
            if let Some((index, _)) = kept.take_if(|(_, at)| *at <= Instant::now()) {
                self.next = index;
            }
            let due = self.take();
            let (mut waiting, mut again) = (Vec::with_capacity(due.len()), None);
            for due in &due {
                match self.propose(due) {
                    Ok(Some(proposed)) => waiting.push(proposed),
                    Ok(None) => {}
                    Err(Kept::Propose(ProposeError::Append(AppendError::Closed))) => return,
                    Err(why) => {
                        tracing::error!(index = due.index.0, %why, "an intent cannot be decided now");
                        again = again.or(Some(due.index));
                    }
                }
                self.next = due.index.next();
            }
            if self.settle(waiting, &mut again) == Next::End || self.stop.is_told() {
                return;
            }
            if let Some(index) = again {
                let (first, at) = kept.unwrap_or((index, Instant::now() + RETRY));
                kept = Some((first.min(index), at));
            }
            let longest = kept.map(|(_, at)| at.saturating_duration_since(Instant::now()));
            if due.len() < AT_ONCE && self.wait(|applied| applied > seen, longest) == Next::End {
                return;
            }
        }
    }

    /// Waits until the projections are as far as wished, or `longest` is over.
    fn wait(&mut self, wish: impl FnMut(Index) -> bool, longest: Option<Duration>) -> Next {
        let mut wish = wish;
        let (applied, wake) = (&mut self.applied, &mut self.stop.wake.subscribe());
        if self.stop.is_told() {
            return Next::End;
        }
        self.runtime.block_on(async {
            let wished = async {
                match longest {
                    Some(longest) => {
                        tokio::time::timeout(longest, applied.wait_for(|applied| wish(*applied)))
                            .await
                            .map_or(Next::GoOn, |found| found.map_or(Next::End, |_| Next::GoOn))
                    }
                    None => {
                        applied.wait_for(|applied| wish(*applied)).await.map_or(Next::End, |_| Next::GoOn)
                    }
                }
            };
            match select(pin!(wished), pin!(wake.changed())).await {
                Either::Left((next, _)) => next,
                Either::Right(_) => Next::End,
            }
        })
    }

    /// What awaits a decision next, with all that decides it ready.
    fn take(&mut self) -> Vec<Due> {
        let (due, missing, settings) = self.parts.projector.look(|state| {
            self.parts.metrics.lag.set(state.decisions.lag() as f64);
            let due: Vec<_> = state
                .decisions
                .undecided()
                .skip_while(|index| *index < self.next)
                .take(AT_ONCE)
                .map(|index| Due::of(state, index))
                .collect();
            let mut missing: Vec<Pending> = Vec::new();
            let (mut policy, mut context) = (None, None);
            for due in &due {
                if (due.policy, due.context) != (policy, context) {
                    missing.extend(self.active.missing(&state.decisions, due.index));
                    (policy, context) = (due.policy, due.context);
                }
            }
            let newest = state.decisions.context().map(|active| active.index);
            if newest != self.settings_of
                && let Some(index) = newest
            {
                missing.extend(self.active.missing(&state.decisions, index.next()));
            }
            (due, missing, newest)
        });
        let below = self.parts.store.live.published();
        let prefix = LogPrefix { store: &self.parts.store, blobs: &self.parts.blobs, below };
        for pending in missing {
            self.active.read(pending, &prefix);
        }
        if settings != self.settings_of {
            self.parts.settings.set(self.active.of(None, settings).1);
            self.settings_of = settings;
        }
        due
    }

    fn prefix(&self, below: Index) -> LogPrefix<'_> {
        LogPrefix { store: &self.parts.store, blobs: &self.parts.blobs, below }
    }

    /// Decides an INTENT and queues its DECISION; none where it has one.
    fn propose(&self, due: &Due) -> Result<Option<Waiting>, Kept> {
        let started = Instant::now();
        let Some(place) = self.places.reserve() else { return Err(Kept::Absent) };
        let record = match self.parts.store.recent(due.index) {
            Some(record) => record,
            None => self.parts.store.record(due.index)?.ok_or(Kept::Absent)?,
        };
        let intent = Event::parse(record.data()).map_err(ProposeError::from)?;
        let (bundle, config) = self.active.of(due.policy, due.context);
        let decision = decide(&intent, &self.prefix(due.index), due.counts, &config, &bundle)?;
        let ready = propose::record(&intent, &decision.payload, &self.appender)?;
        let queued = match self.appender.push(ready, place) {
            Ok(queued) => queued,
            Err(AppendError::Moved { .. }) => return Ok(None),
            Err(error) => return Err(ProposeError::from(error).into()),
        };
        self.parts.metrics.decide_seconds.record(started.elapsed());
        Ok(Some(Waiting { index: due.index, result: decision.result, queued }))
    }

    /// Waits for what became of the records. Ends where the sequencer has ended.
    fn settle(&self, waiting: Vec<Waiting>, again: &mut Option<Index>) -> Next {
        for Waiting { index, result, queued } in waiting {
            match self.runtime.block_on(queued.outcome()) {
                Ok(_) => self.parts.metrics.decided(result),
                // Another decider was faster: there is one DECISION all the same.
                Err(AppendError::Moved { .. }) => {}
                Err(AppendError::DiskFull) => {
                    *again = Some(again.map_or(index, |first: Index| first.min(index)));
                }
                Err(
                    AppendError::Closed
                    | AppendError::Unknown
                    | AppendError::TooLarge(_)
                    | AppendError::Unreadable(_)
                    | AppendError::Payload
                    | AppendError::Blob(_)
                    | AppendError::Lookup(_),
                ) => return Next::End,
            }
        }
        Next::GoOn
    }
}

impl Due {
    fn of(state: &State, index: Index) -> Self {
        let prior = state.counts.before(index).unwrap_or_default();
        Self {
            index,
            counts: Counts { prior_intents_thread: prior.thread, prior_intents_actor: prior.actor },
            policy: state.decisions.policy_at(index).map(|active| active.index),
            context: state.decisions.context_at(index).map(|active| active.index),
        }
    }
}
