//! Holds what everybody was told against the log, and the log against what replays it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use gesta_log_format::{Digest, Index, tree};
use gesta_replay::projections::counts::Counts;
use gesta_replay::projections::datasets::Datasets;
use gesta_replay::projections::decisions::Decisions;
use gesta_replay::projections::executions::Executions;
use gesta_replay::projections::handlers::Handlers;
use gesta_replay::projections::head::Head;
use gesta_replay::projections::leases::Leases;
use gesta_replay::projections::outbox::Outbox;
use gesta_replay::projections::tasks::Tasks;
use gesta_replay::verify::{Place, Record, Store, Verdict, Verifier};
use gesta_replay::{Fold, Projection};
use serde_json::Value;

use super::asked::{Answer, Question, Request, Route, Said, Ticket};
use super::model::{Model, Stage, Task, subject};
use super::world::States;
use crate::problem::ReasonCode;
use crate::tasks::claim::NotClaimed;

/// What a record was asked for by.
fn mark(record: &Value) -> Option<&str> {
    let payload = &record["payload"];
    let text = match (record["kind"].as_str()?, record["type"].as_str()?) {
        ("TASK", "event") => &payload["events"][0]["cursor"],
        ("TASK", "completed") => &payload["result"]["mark"],
        ("TASK", "failed") => &payload["error_message"],
        ("TASK", "canceled" | "cancel_requested") => &payload["reason"],
        ("TASK", "buffer_published") => return payload["batch_uri"].as_str()?.strip_prefix("blob://b/"),
        ("TASK", "queued") => &record["actor"],
        _ => return None,
    };
    text.as_str().filter(|text| text.starts_with("m-"))
}

/// What was told, beside a log that was judged.
pub(super) struct Audit<'a> {
    model: &'a Model,
    said: &'a [Said],
    /// The records that each request led to.
    marked: BTreeMap<&'a str, Vec<&'a Value>>,
    /// The deadlines that were recorded of each attempt: the claim's, and those of its extensions.
    deadlines: BTreeMap<(String, u64), Vec<&'a Value>>,
}

impl<'a> Audit<'a> {
    pub(super) fn new(model: &'a Model, said: &'a [Said]) -> Self {
        let mut marked: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut deadlines: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for record in &model.records {
            if let Some(mark) = mark(record) {
                marked.entry(mark).or_default().push(record);
            }
            if record["kind"] == "TASK" && (record["type"] == "claimed" || record["type"] == "extended") {
                let attempt = record["payload"]["attempt"].as_u64().unwrap();
                deadlines.entry((subject(record, "task/").unwrap(), attempt)).or_default().push(record);
            }
        }
        Self { model, said, marked, deadlines }
    }

    /// Demands that each answer is what the log says, and that nothing is in the log that was refused.
    ///
    /// # Errors
    /// The first answer that is not, or the first record.
    pub(super) fn demand_answers(&self) -> Result<(), String> {
        for said in self.said {
            self.answer(said).map_err(|wrong| format!("{wrong}: {said:?}"))?;
        }
        self.demand_asked()?;
        self.demand_claimed()?;
        self.demand_extended()?;
        self.demand_one_meaning()
    }

    fn answer(&self, said: &Said) -> Result<(), String> {
        let is_mine = |task: &Option<&Task>, attempt| task.is_some_and(|task| task.attempt == attempt);
        match (&said.question, &said.answer) {
            (_, Answer::Unknown) => Ok(()),
            (Question::ClaimOne { .. } | Question::ClaimSome { .. }, Answer::Claimed(tickets)) => {
                tickets.iter().try_for_each(|ticket| self.ticket(ticket, said.to))
            }
            (Question::ClaimOne { task_id, .. }, Answer::NotClaimed(reason)) => {
                let stood = |task: Option<&Task>| explains(*reason, task.map(|task| task.stage));
                self.demand_stood(said, &task_id.to_string(), stood, "it was not given for no reason")
            }
            (Question::OfTask(request), Answer::Done(body)) => self.done(request, body, said),
            (Question::OfTask(request), Answer::Refused(code)) => {
                let (task_id, attempt) = fence(&request.body);
                let is_end = request.route == Route::Complete;
                let stale = |task: Option<&Task>| match task {
                    Some(task) if is_end => !is_mine(&Some(task), attempt) || task.has_ended(),
                    Some(task) => !is_mine(&Some(task), attempt) || task.stage != Stage::Live,
                    None => true,
                };
                match code {
                    _ if !request.is_honest => refusal_of_a_lie(*code),
                    ReasonCode::StaleAttempt if self.was_reported(request, said) => {
                        Err("it was recorded before, and no other attempt has begun since".to_owned())
                    }
                    ReasonCode::StaleAttempt => {
                        self.demand_stood(said, task_id, stale, "it is refused and was the latest attempt's")
                    }
                    ReasonCode::DatasetVersionConflict => Ok(()),
                    code => Err(format!("{code:?} is no answer")),
                }
            }
            (Question::Cancel { task_id, mark }, Answer::Done(_)) => {
                let asked = |task: Option<&Task>| task.is_some_and(|task| task.cancel_requested);
                match self.marked.contains_key(mark.as_str()) {
                    true => Ok(()),
                    false => self.demand_stood(said, &task_id.to_string(), asked, "nothing was recorded"),
                }
            }
            (Question::Retry { task_id, mark }, Answer::Done(_)) => {
                let waits = |task: Option<&Task>| task.is_some_and(|task| task.stage == Stage::Waiting);
                match self.marked.contains_key(mark.as_str()) {
                    true => Ok(()),
                    false => self.demand_stood(said, &task_id.to_string(), waits, "nothing was recorded"),
                }
            }
            (Question::Cancel { .. } | Question::Retry { .. }, Answer::Refused(code)) => match code {
                ReasonCode::TaskNotFound | ReasonCode::IllegalTransition => Ok(()),
                code => Err(format!("{code:?} is no answer")),
            },
            _ => Err("it is no answer".to_owned()),
        }
    }

    /// Whether this end of the attempt was recorded before it was reported now, and the attempt was the latest throughout.
    fn was_reported(&self, request: &Request, said: &Said) -> bool {
        let (task_id, attempt) = fence(&request.body);
        let led_to = self.marked.get(request.mark.as_str()).map(Vec::as_slice).unwrap_or_default();
        let mut between = self.model.between(task_id, said.from.0, said.to.0);
        request.route == Route::Complete
            && led_to.iter().any(|record| record["index"].as_u64().unwrap() < said.from.0)
            && between.all(|task| task.is_some_and(|task| task.attempt == attempt))
    }

    /// Demands that the task stood so at some moment between the question and the answer.
    fn demand_stood(
        &self,
        said: &Said,
        task_id: &str,
        stood: impl Fn(Option<&Task>) -> bool,
        otherwise: &str,
    ) -> Result<(), String> {
        let mut between = self.model.between(task_id, said.from.0, said.to.0);
        between.any(stood).then_some(()).ok_or_else(|| otherwise.to_owned())
    }

    fn ticket(&self, ticket: &Ticket, to: Index) -> Result<(), String> {
        let of_attempt = self.deadlines.get(&(ticket.task_id.clone(), ticket.attempt));
        let of_attempt = of_attempt.ok_or("an attempt was given out that is not in the log")?;
        if of_attempt[0]["payload"]["worker_id"] != ticket.worker_id.as_str() {
            return Err("another worker has the attempt".to_owned());
        }
        self.demand_deadline(of_attempt, &ticket.lease_expires_at, to)
    }

    fn demand_deadline(&self, of_attempt: &[&Value], told: &str, to: Index) -> Result<(), String> {
        let mut known = of_attempt.iter().filter(|record| record["index"].as_u64().unwrap() < to.0);
        let is_recorded = known.any(|record| record["payload"]["lease_expires_at"] == told);
        is_recorded.then_some(()).ok_or_else(|| format!("the deadline {told} was not recorded"))
    }

    /// 200 or 202 to the code of a task.
    fn done(&self, request: &Request, body: &Value, said: &Said) -> Result<(), String> {
        if !request.is_honest {
            return Err("a lie was believed".to_owned());
        }
        let (task_id, attempt) = fence(&request.body);
        if request.route == Route::Heartbeat {
            let live = |task: Option<&Task>| {
                task.is_some_and(|task| task.attempt == attempt && task.stage == Stage::Live)
            };
            self.demand_stood(said, task_id, live, "the attempt was not live")?;
            let of_attempt = &self.deadlines[&(task_id.to_owned(), attempt)];
            return self.demand_deadline(of_attempt, body["lease_expires_at"].as_str().unwrap(), said.to);
        }
        let led_to = self.marked.get(request.mark.as_str()).map(Vec::as_slice).unwrap_or_default();
        let at = usize::try_from(body["index"].as_u64().unwrap()).unwrap();
        // A worker that stops because it was asked to gives the reason that it was asked for.
        let cancels = |record: &Value| record["type"] == "canceled" && body["status"] == "Canceled";
        let record = self.model.records.get(at).filter(|record| led_to.contains(record) || cancels(record));
        let record = record.ok_or("it was answered and is not in the log")?;
        let is_its = subject(record, "task/").as_deref() == Some(task_id)
            && record["payload"]["attempt"] == attempt
            && record["index"].as_u64().unwrap() < said.to.0;
        is_its.then_some(()).ok_or_else(|| format!("the record is another one's: {record}"))
    }

    /// Demands that each record was asked for and not refused, and as often as it is there.
    fn demand_asked(&self) -> Result<(), String> {
        for (mark, records) in &self.marked {
            let of_mark = self.said.iter().filter(|said| said.question.mark() == Some(mark));
            let (mut recorded, mut unknown, mut most) = (BTreeSet::new(), 0, 0);
            for said in of_mark {
                match (&said.question, &said.answer) {
                    (Question::OfTask(request), Answer::Done(body)) => {
                        recorded.insert(body["index"].as_u64());
                        most = if request.route == Route::Events { usize::MAX } else { 1 };
                    }
                    (Question::OfTask(request), Answer::Unknown) => {
                        unknown += 1;
                        most = if request.route == Route::Events { usize::MAX } else { 1 };
                    }
                    // What an operator asked for is told again when the grace is over.
                    (_, Answer::Done(_) | Answer::Unknown) => (most, unknown) = (2, 2),
                    (_, Answer::Refused(_) | Answer::Claimed(_) | Answer::NotClaimed(_)) => {}
                }
            }
            if records.len() > most.min(recorded.len() + unknown) {
                return Err(format!("{mark}: {} records, and {recorded:?} were answered", records.len()));
            }
        }
        Ok(())
    }

    /// Demands that each attempt was given to somebody, and that all who have it have the same token, and nobody else.
    fn demand_claimed(&self) -> Result<(), String> {
        let mut tokens: BTreeMap<(&str, u64), &str> = BTreeMap::new();
        for said in self.said {
            let Answer::Claimed(tickets) = &said.answer else { continue };
            for ticket in tickets {
                let of = (ticket.task_id.as_str(), ticket.attempt);
                let token = tokens.entry(of).or_insert(&ticket.lease_token);
                if *token != ticket.lease_token {
                    return Err(format!("{of:?} has two tokens"));
                }
            }
        }
        if tokens.values().collect::<BTreeSet<_>>().len() != tokens.len() {
            return Err("two attempts have the same token".to_owned());
        }
        for ((task_id, attempt), records) in &self.deadlines {
            let worker_id = records[0]["payload"]["worker_id"].as_str().unwrap();
            let unheard = |said: &&Said| {
                matches!(said.answer, Answer::Unknown) && said.question.claimant() == Some(worker_id)
            };
            if !tokens.contains_key(&(task_id.as_str(), *attempt))
                && !self.said.iter().any(|said| unheard(&said))
            {
                return Err(format!("attempt {attempt} of {task_id} was claimed by nobody"));
            }
        }
        Ok(())
    }

    /// Demands that a lease was extended for whom it is, and no more often than that was asked.
    fn demand_extended(&self) -> Result<(), String> {
        for ((task_id, attempt), records) in &self.deadlines {
            let asked = self.said.iter().filter(|said| match (&said.question, &said.answer) {
                (Question::OfTask(request), Answer::Done(_) | Answer::Unknown) => {
                    request.route == Route::Heartbeat
                        && request.is_honest
                        && fence(&request.body) == (task_id.as_str(), *attempt)
                }
                _ => false,
            });
            if records.len() - 1 > asked.count() {
                return Err(format!("attempt {attempt} of {task_id} was extended and nobody asked for it"));
            }
        }
        Ok(())
    }

    /// Demands that a version of a dataset is published as one thing.
    fn demand_one_meaning(&self) -> Result<(), String> {
        let mut versions: BTreeMap<String, &Value> = BTreeMap::new();
        for record in self.model.records.iter().filter(|record| record["type"] == "completed") {
            let published = record["payload"]["datasets_published"].as_array();
            for version in published.into_iter().flatten() {
                let name = format!("{}/{}", record["stream_id"], version["dataset_uuid"]);
                if *versions.entry(name).or_insert(version) != version {
                    return Err(format!("it is published as something else: {record}"));
                }
            }
        }
        Ok(())
    }
}

impl Question {
    fn mark(&self) -> Option<&str> {
        match self {
            Self::OfTask(request) => Some(&request.mark),
            Self::Cancel { mark, .. } | Self::Retry { mark, .. } => Some(mark),
            Self::ClaimOne { .. } | Self::ClaimSome { .. } => None,
        }
    }

    fn claimant(&self) -> Option<&str> {
        match self {
            Self::ClaimOne { worker_id, .. } | Self::ClaimSome { worker_id, .. } => Some(worker_id),
            Self::OfTask(_) | Self::Cancel { .. } | Self::Retry { .. } => None,
        }
    }
}

/// Whether a task that stood so is not given out for this reason.
fn explains(reason: NotClaimed, stage: Option<Stage>) -> bool {
    match stage {
        None => reason == NotClaimed::NotFound,
        Some(Stage::Waiting) => false,
        Some(Stage::Live) => reason == NotClaimed::AlreadyRunning,
        Some(Stage::Over | Stage::Scheduled) => reason == NotClaimed::NotDue,
        // It is there until its execution has ended.
        Some(Stage::Completed) => [NotClaimed::Completed, NotClaimed::NotFound].contains(&reason),
        Some(Stage::Failed) => [NotClaimed::Failed, NotClaimed::NotFound].contains(&reason),
        Some(Stage::Canceled) => [NotClaimed::Canceled, NotClaimed::NotFound].contains(&reason),
    }
}

fn refusal_of_a_lie(code: ReasonCode) -> Result<(), String> {
    let refusals =
        [ReasonCode::MissingToken, ReasonCode::BadToken, ReasonCode::WrongTask, ReasonCode::StaleAttempt];
    refusals.contains(&code).then_some(()).ok_or_else(|| format!("a lie is refused otherwise: {code:?}"))
}

fn fence(body: &Value) -> (&str, u64) {
    (body["task_id"].as_str().unwrap(), body["attempt"].as_u64().unwrap())
}

/// A log in memory, and no blobs.
struct Copy<'a>(&'a [Vec<u8>]);

impl Store for Copy<'_> {
    type Error = Infallible;

    fn record(&self, place: Place) -> Result<Vec<u8>, Infallible> {
        Ok(self.0[usize::try_from(place.0).unwrap()].clone())
    }

    fn blob(&self, _digest: &Digest) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(None)
    }
}

/// Demands that an auditor finds nothing.
///
/// # Errors
/// What it finds.
pub(super) fn demand_sound(records: &[Vec<u8>]) -> Result<(), String> {
    let mut verifier = Verifier::new(Copy(records), 1, Vec::new(), Vec::new());
    for (index, data) in (0..).zip(records) {
        let (place, leaf) = (Place(index), tree::leaf_hash(data));
        let record = Record { index: Index(index), place, data, leaf };
        verifier.records(&[record]).unwrap_or_else(|never| match never {});
    }
    let report = verifier.finish();
    (report.verdict == Verdict::Sound).then_some(()).ok_or_else(|| format!("{:#?}", report.findings))
}

/// Demands that the projections of the processes were, to the byte, what so much of the log folds into.
///
/// # Errors
/// The first that was not.
pub(super) fn demand_same(states: &[(Index, States)], records: &[Vec<u8>]) -> Result<(), String> {
    let mut folded = Folded::default();
    for (head, live) in states {
        let rest =
            &records[usize::try_from(folded.head.applied().0).unwrap()..usize::try_from(head.0).unwrap()];
        let mut fold = Fold::new(folded.all());
        rest.iter().try_for_each(|data| fold.record(data)).map_err(|error| error.to_string())?;
        let all = folded.all();
        assert_eq!(live.len(), all.len());
        for ((name, live), folded) in live.iter().zip(all) {
            if (*name, live) != (folded.name(), &folded.snapshot()) {
                let text = String::from_utf8_lossy(live).into_owned();
                return Err(format!("{name} at {head} is not what the log folds into: {text}"));
            }
        }
    }
    Ok(())
}

/// The projections that a server has, in its order.
#[derive(Default)]
struct Folded {
    head: Head,
    decisions: Decisions,
    counts: Counts,
    executions: Executions,
    handlers: Handlers,
    tasks: Tasks,
    leases: Leases,
    datasets: Datasets,
    outbox: Outbox,
}

impl Folded {
    fn all(&mut self) -> Vec<&mut dyn Projection> {
        vec![
            &mut self.head,
            &mut self.decisions,
            &mut self.counts,
            &mut self.executions,
            &mut self.handlers,
            &mut self.tasks,
            &mut self.leases,
            &mut self.datasets,
            &mut self.outbox,
        ]
    }
}
