//! Folds the records of a log in order, and says of each DECISION what it has to be derived from.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use gesta_log_format::json::canonical;
use gesta_log_format::{Digest, Index};

use super::active::{Active, Given};
use super::below::Below;
use super::check::{Checked, check};
use super::finding::{Class, Finding};
use super::folds::Folds;
use super::history::History;
use super::pipeline::{self, Stages};
use super::report::RequestCounts;
use super::request::Requests;
use super::{BLOB_DIFFERS, BLOB_MISSING, Record, Store, parallel};
use crate::context::{Config, ContextError, assemble};
use crate::decide::{Decision, decide};
use crate::event::{Body, Event};
use crate::policy::{Bundle, Counts, Input, request_texts};

/// A DECISION, or an INTENT without one, with all that it is derived from.
pub struct Job<'c> {
    /// The DECISION's index; none where there is none.
    pub decision_index: Option<Index>,
    /// The DECISION's payload; empty where there is none.
    pub recorded: &'c [u8],
    /// The INTENT.
    pub intent_index: Index,
    /// Its envelope, where it is at hand.
    intent: Option<&'c [u8]>,
    counts: Counts,
    config: Given<Config>,
    bundle: Given<Bundle>,
    /// What its context is looked up in.
    history: Arc<RwLock<History>>,
}

/// Gets each record before it is folded, with where findings go.
pub type Before<'b, R> = &'b mut dyn FnMut(&R, &Record<'_>, &mut dyn FnMut(Finding));

/// What a job comes to.
pub enum Derived<T> {
    /// What was made of the decision.
    Decision(T),
    /// Why there is none.
    Not(Finding),
}

/// A decision that was derived.
pub struct Taken<'t> {
    /// What it was derived for.
    pub job: &'t Job<'t>,
    /// The INTENT.
    pub intent: &'t Event<'t>,
    /// What its inputs demand.
    pub decision: Decision<'t>,
    asked: &'t dyn Fn() -> Option<Asked>,
}

impl Taken<'_> {
    /// What the policy was asked; none where none was.
    #[must_use]
    pub fn asked(&self) -> Option<Asked> {
        (self.asked)()
    }
}

/// The request that a policy saw, as Cedar writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// On whose behalf.
    pub principal: String,
    /// Always the same.
    pub action: String,
    /// The stream.
    pub resource: String,
    /// Everything else.
    pub context: String,
}

/// Folds a log.
pub struct Replay<S> {
    store: Arc<S>,
    jobs: usize,
    folds: Folds,
    /// Jobs keep it when records are absent and another one begins.
    history: Arc<RwLock<History>>,
    active: Active,
    next: Index,
    /// Ranges of records that are absent, as they were met.
    absent: Vec<(Index, Index)>,
    absent_total: u64,
    /// DECISIONs behind absent records.
    out_of_reach: u64,
    requests: Requests,
}

/// Most ranges of absent records that are listed.
const ABSENT_MAX: usize = 100;

/// Records that are indexed at once, while nobody looks anything up.
const INDEXED_AT_ONCE: usize = 64;

impl<S: Store> Replay<S> {
    /// A replay from the log's beginning, by so many threads.
    #[must_use]
    pub fn new(store: S, jobs: usize) -> Self {
        Self {
            store: Arc::new(store),
            jobs: jobs.max(1),
            folds: Folds::new(),
            history: Arc::default(),
            active: Active::new(),
            next: Index::ZERO,
            absent: Vec::new(),
            absent_total: 0,
            out_of_reach: 0,
            requests: Requests::default(),
        }
    }

    /// The index of the record that comes next.
    #[must_use]
    pub fn next(&self) -> Index {
        self.next
    }

    /// The states.
    #[must_use]
    pub fn folds(&self) -> &Folds {
        &self.folds
    }

    /// What is read besides the records.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The ranges of records that are absent, the first ones of them, and how many records they are in all.
    #[must_use]
    pub fn absent(&self) -> (&[(Index, Index)], u64) {
        (self.absent.get(..ABSENT_MAX).unwrap_or(&self.absent), self.absent_total)
    }

    /// How many DECISIONs lie behind absent records, where neither counts nor configuration are known.
    #[must_use]
    pub fn out_of_reach(&self) -> u64 {
        self.out_of_reach
    }

    /// What became of the digests of the INTENTs' requests so far.
    #[must_use]
    pub fn requests(&self) -> RequestCounts {
        self.requests.counts(|blob| self.is_ever_erased(blob))
    }

    /// Whether any record says that a blob was erased.
    #[must_use]
    pub fn is_ever_erased(&self, digest: &Digest) -> bool {
        self.history.read().unwrap_or_else(PoisonError::into_inner).is_ever_erased(digest)
    }

    /// Notes that the records from the next one up to `to` are absent. The states begin anew there.
    pub fn skip(&mut self, to: Index) {
        if to <= self.next {
            return;
        }
        self.absent_total += to.since(self.next);
        match self.absent.last_mut() {
            Some(last) if last.1 == self.next => last.1 = to,
            Some(_) | None => self.absent.push((self.next, to)),
        }
        // The last one may still grow, so that it is cut off by the next.
        if self.absent.len() > ABSENT_MAX + 1 {
            self.absent.remove(ABSENT_MAX);
        }
        self.folds = Folds::starting_at(to, self.folds.unchecked());
        self.history = Arc::default();
        self.next = to;
    }

    /// Folds pieces of the log, derives the decision of each DECISION among them, and hands it to `take`; what comes of
    /// it is in the order of the DECISIONs. The pieces go through by all threads at once.
    ///
    /// # Errors
    /// As [`Store`].
    pub fn run<'c, T: Send>(
        &mut self,
        pieces: &[Vec<Record<'c>>],
        before: Before<'_, Self>,
        report: &mut dyn FnMut(Finding),
        take: impl Fn(Taken<'_>) -> T + Sync,
    ) -> Result<Vec<(Job<'c>, Derived<T>)>, S::Error> {
        let (jobs, store) = (self.jobs, Arc::clone(&self.store));
        let stages = Stages {
            check: |piece: &Vec<Record<'c>>| -> Result<Vec<Checked<'c>>, S::Error> {
                piece.iter().map(|record| check(record, &*store)).collect()
            },
            derive: |jobs: Vec<Job<'c>>| -> Result<Vec<(Job<'c>, Derived<T>)>, S::Error> {
                let derived = jobs.into_iter().map(|job| {
                    let derived = derive_one(&*store, &job, None, &take)?;
                    Ok((job, derived))
                });
                derived.collect()
            },
        };
        let fold = &mut |checked: Result<Vec<Checked<'c>>, S::Error>| self.folded(&checked?, before, report);
        let derived = pipeline::run(jobs, pieces, &stages, fold)?;
        let derived: Vec<Vec<_>> = derived.into_iter().collect::<Result<_, _>>()?;
        Ok(derived.into_iter().flatten().collect())
    }

    /// Folds records and gives the job of each DECISION among them. `before` gets each before it is folded.
    ///
    /// # Errors
    /// As [`Store`].
    pub fn fold<'c>(
        &mut self,
        records: &[Record<'c>],
        before: Before<'_, Self>,
        report: &mut dyn FnMut(Finding),
    ) -> Result<Vec<Job<'c>>, S::Error> {
        let checked = parallel::map(self.jobs, records, |record| check(record, &*self.store));
        let checked = checked.into_iter().collect::<Result<Vec<_>, _>>()?;
        self.folded(&checked, before, report)
    }

    fn folded<'c>(
        &mut self,
        checked: &[Checked<'c>],
        before: Before<'_, Self>,
        report: &mut dyn FnMut(Finding),
    ) -> Result<Vec<Job<'c>>, S::Error> {
        let mut jobs = Vec::new();
        for run in checked.chunk_by(|one, next| one.event.is_some() && one.is_followed_by(next)) {
            if let Some(first) = run.first() {
                self.skip(first.record.index);
            }
            self.index(run);
            for one in run {
                before(self, &one.record, report);
                if let Some(fault) = &one.fault {
                    report((**fault).clone());
                }
                if let Some(request) = &one.request {
                    self.requests.take(request, report);
                }
                match &one.event {
                    Some(event) => jobs.extend(self.event(event, checked, report)?),
                    // Nobody knows what it did to the states.
                    None => self.skip(one.record.index.next()),
                }
            }
        }
        Ok(jobs)
    }

    /// Takes records without a gap into the history, before they are folded: what looks something up says below which
    /// index, so it may know more.
    fn index(&self, run: &[Checked<'_>]) {
        for part in run.chunks(INDEXED_AT_ONCE) {
            let mut history: RwLockWriteGuard<'_, History> =
                self.history.write().unwrap_or_else(PoisonError::into_inner);
            for one in part {
                if let Some(event) = &one.event {
                    // What is not the text of a string is reported by a fold.
                    let _unreadable = history.record(event, one.record.place);
                }
            }
        }
    }

    fn event<'c>(
        &mut self,
        event: &Event<'c>,
        checked: &[Checked<'c>],
        report: &mut dyn FnMut(Finding),
    ) -> Result<Option<Job<'c>>, S::Error> {
        let job = match event.body() {
            Body::Decision(_) => self.job_of(event, checked, report)?,
            Body::Intent(_)
            | Body::Execution(_)
            | Body::Task(_)
            | Body::Artifact(_)
            | Body::Session(_)
            | Body::Control(_)
            | Body::Ledger(_) => None,
        };
        self.folds.record(event, &self.history, report);
        self.next = event.index().next();
        if matches!(event.body(), Body::Control(_)) {
            self.activated(event.index(), report)?;
        }
        Ok(job)
    }

    /// Reads what a CONTROL has activated, so that what is wrong with it is told at its index.
    fn activated(&mut self, index: Index, report: &mut dyn FnMut(Finding)) -> Result<(), S::Error> {
        let decisions = &self.folds.decisions;
        if let Some(policy) = decisions.policy().filter(|policy| policy.index == index) {
            self.active.bundle(Some(policy), &*self.store, report)?;
        }
        if let Some(context) = decisions.context().filter(|context| context.index == index) {
            self.active.config(Some(context), &*self.store, report)?;
        }
        Ok(())
    }

    fn job_of<'c>(
        &mut self,
        event: &Event<'c>,
        checked: &[Checked<'c>],
        report: &mut dyn FnMut(Finding),
    ) -> Result<Option<Job<'c>>, S::Error> {
        self.out_of_reach += u64::from(self.folds.start() > Index::ZERO);
        let Ok(intent_index) = event.intent_index() else { return Ok(None) };
        let Some(job) = self.job(intent_index, report)? else { return Ok(None) };
        let first = checked.first().map_or(Index::ZERO, |first| first.record.index);
        let at_hand = usize::try_from(intent_index.since(first)).ok().and_then(|nth| checked.get(nth));
        let at_hand = at_hand.filter(|found| found.record.index == intent_index);
        Ok(Some(Job {
            decision_index: Some(event.index()),
            recorded: event.view().payload,
            intent: at_hand.map(|found| found.record.data),
            ..job
        }))
    }

    /// What the INTENT at `intent_index` is decided from, if it awaits its DECISION and all before it is there.
    ///
    /// # Errors
    /// As [`Store`].
    pub fn job<'c>(
        &mut self,
        intent_index: Index,
        report: &mut dyn FnMut(Finding),
    ) -> Result<Option<Job<'c>>, S::Error> {
        let decisions = &self.folds.decisions;
        if self.folds.start() > Index::ZERO || !decisions.is_undecided(intent_index) {
            return Ok(None);
        }
        let prior = self.folds.counts.before(intent_index).unwrap_or_default();
        let counts = Counts { prior_intents_thread: prior.thread, prior_intents_actor: prior.actor };
        let config = self.active.config(decisions.context_at(intent_index), &*self.store, report)?;
        let bundle = self.active.bundle(decisions.policy_at(intent_index), &*self.store, report)?;
        let (decision_index, recorded) = (None, &[][..]);
        let history = Arc::clone(&self.history);
        Ok(Some(Job {
            decision_index,
            recorded,
            intent_index,
            intent: None,
            counts,
            config,
            bundle,
            history,
        }))
    }

    /// Derives each job again, by this bundle where one is given, and hands what comes of it to `take`.
    ///
    /// # Errors
    /// As [`Store`].
    pub fn derive<T: Send>(
        &self,
        jobs: &[Job<'_>],
        other: Option<&Bundle>,
        take: impl Fn(Taken<'_>) -> T + Sync,
    ) -> Result<Vec<Derived<T>>, S::Error> {
        parallel::map(self.jobs, jobs, |job| derive_one(&*self.store, job, other, &take))
            .into_iter()
            .collect()
    }
}

fn derive_one<S: Store, T>(
    store: &S,
    job: &Job<'_>,
    other: Option<&Bundle>,
    take: impl Fn(Taken<'_>) -> T,
) -> Result<Derived<T>, S::Error> {
    let at = job.decision_index.unwrap_or(job.intent_index);
    let not = |class, rule, message: String, blob| {
        Ok(Derived::Not(Finding { blob, ..Finding::at(class, rule, at, message) }))
    };
    let unread = || {
        let message = "its INTENT cannot be read again".to_owned();
        not(Class::Tampered, "INTENT_UNREADABLE", message, None)
    };
    let found = job.history.read().unwrap_or_else(PoisonError::into_inner).intent_at(job.intent_index);
    let (data, bundle, config): (Cow<'_, [u8]>, _, _);
    match (job.intent, found) {
        (Some(at_hand), _) => data = Cow::Borrowed(at_hand),
        (None, Some(found)) => data = Cow::Owned(store.record(found.place)?),
        (None, None) => return unread(),
    }
    let Ok(event) = Event::parse(&data) else { return unread() };
    let lacks = |what: &str, given: Option<Digest>| match given {
        Some(digest) => {
            let message =
                format!("it cannot be derived: {what} in force is in the blob {digest}, which is not here");
            not(Class::Incomplete, BLOB_MISSING, message, Some(digest))
        }
        None => {
            let message = format!("it cannot be derived: {what} in force cannot be read");
            not(Class::Incomplete, "UNUSABLE", message, None)
        }
    };
    match &job.config {
        Given::Ready(ready) => config = Arc::clone(ready),
        Given::Missing(digest) => return lacks("the context's configuration", Some(*digest)),
        Given::Unusable => return lacks("the context's configuration", None),
    }
    match (other, &job.bundle) {
        (Some(other), _) => bundle = other,
        (None, Given::Ready(ready)) => bundle = ready,
        (None, Given::Missing(digest)) => return lacks("the policy bundle", Some(*digest)),
        (None, Given::Unusable) => return lacks("the policy bundle", None),
    }
    let Some(stream_id) = canonical::unescape(event.view().stream_id) else { return unread() };
    let (history, bound) = (&*job.history, event.index());
    let below = Below { history, store, stream_id: &stream_id, bound };
    match decide(&event, &below, job.counts, &config, bundle) {
        Ok(decision) => {
            let asked = || asked(&event, &below, job.counts, &config);
            Ok(Derived::Decision(take(Taken { job, intent: &event, decision, asked: &asked })))
        }
        Err(ContextError::Prefix(error)) => Err(error),
        Err(error @ ContextError::BlobMissing { digest }) => {
            not(Class::Incomplete, BLOB_MISSING, error_text(&error), Some(digest))
        }
        Err(error @ ContextError::BlobDiffers { .. }) => {
            not(Class::Tampered, BLOB_DIFFERS, error_text(&error), None)
        }
        Err(ContextError::NotAnEnvelope) => unread(),
    }
}

fn asked<S: Store>(
    intent: &Event<'_>,
    below: &Below<'_, S>,
    counts: Counts,
    config: &Config,
) -> Option<Asked> {
    let view = intent.view();
    let context = assemble(view, below, config).ok().filter(|context| context.denials.is_empty())?;
    let [principal, action, resource, context] = request_texts(&Input {
        actor: &canonical::unescape(view.actor)?,
        stream_id: &canonical::unescape(view.stream_id)?,
        lane: &canonical::unescape(view.lane)?,
        intent_type: &canonical::unescape(view.intent_type)?,
        thread_id: &canonical::unescape(view.thread_id)?,
        roles: &context.roles,
        payload: context.payload.text(),
        counts,
        governance_refs: context.governance_refs,
    })?;
    Some(Asked { principal, action, resource, context })
}

fn error_text<E>(error: &ContextError<E>) -> String {
    match error {
        ContextError::BlobMissing { digest } => {
            format!(
                "the blob {digest} is needed for the context and is not here: give the blobs with --blobs DIR"
            )
        }
        ContextError::BlobDiffers { digest } => {
            format!("the blob {digest} has other content than its name says: restore it from a copy")
        }
        ContextError::Prefix(_) | ContextError::NotAnEnvelope => "the log cannot be read again".to_owned(),
    }
}
