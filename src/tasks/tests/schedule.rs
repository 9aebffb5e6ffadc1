//! A random schedule: workers that crash, stall, repeat, come late and lie, operators, a clock that is moved and set, and
//! processes that end and begin over the same log.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gesta_log_format::Index;
use gesta_replay::event::TaskId;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use super::Random;
use super::asked::{Answer, Desk, Question, Request, Route, Said, Ticket};
use super::world::{Process, Started, States, World};
use crate::tasks::control::Hint;

/// How much happens in one schedule.
const ROUNDS: u64 = 100;
const INTENTS_MAX: usize = 24;

/// How often the clock goes on at the end, at most, until everything has ended.
const LAST_ROUNDS: u64 = 200;

const HOUR: i64 = 3_600_000_000;

/// What is known of the log and of the time at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// All below was recorded at `time` or before, and nothing from here on was before `time`.
    pub(super) head: Index,
    pub(super) time: Duration,
    /// Everything had happened that was due.
    pub(super) is_quiet: bool,
}

/// What a schedule has left behind, besides the log.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) said: Vec<Said>,
    pub(super) rounds: Vec<Round>,
    pub(super) starts: Vec<Started>,
    pub(super) intents: Vec<Index>,
    /// The projections of the process, now and then, and how much of the log they had seen.
    pub(super) states: Vec<(Index, States)>,
}

struct Pending {
    question: Question,
    from: Index,
    answer: JoinHandle<Said>,
}

pub(super) struct Schedule<'w> {
    world: &'w World,
    /// None only while one has ended and the next has not begun.
    process: Option<Process>,
    random: Random,
    journal: Journal,
    tickets: Vec<Arc<Ticket>>,
    /// What was asked before, and may be asked again.
    requests: Vec<Request>,
    pending: Vec<Pending>,
    tasks: BTreeSet<TaskId>,
    hints: broadcast::Receiver<Arc<Hint>>,
    marks: u64,
}

impl<'w> Schedule<'w> {
    pub(super) async fn begin(world: &'w World, random: Random) -> Self {
        let slow = json!({
            "pool": "slow", "lease_seconds": 60, "timeout_seconds": 200, "max_attempts": 3,
        });
        world.register("work.slow", &slow).await;
        let quick = json!({
            "pool": "quick", "lease_seconds": 20, "timeout_seconds": 1000, "max_attempts": 2, "priority": 7,
        });
        world.register("work.quick", &quick).await;
        let process = world.start();
        let journal = Journal { starts: vec![process.started], ..Journal::default() };
        let hints = process.tasks.control.hints();
        Self {
            world,
            process: Some(process),
            random,
            journal,
            tickets: Vec::new(),
            requests: Vec::new(),
            pending: Vec::new(),
            tasks: BTreeSet::new(),
            hints,
            marks: 0,
        }
    }

    /// Plays it to its end: everything has ended then, unless it says why not.
    pub(super) async fn play(mut self) -> (Process, Journal, Result<(), String>) {
        let played = self.rounds().await;
        (self.process.unwrap(), self.journal, played)
    }

    async fn rounds(&mut self) -> Result<(), String> {
        self.rest().await?;
        for _ in 0..ROUNDS {
            self.some(5).await;
            match self.random.below(12) {
                0 => self.crash().await,
                1..=7 => {
                    let by = self.some_time();
                    self.world.hands.advance(by);
                    self.some(4).await;
                }
                _ => {}
            }
            self.rest().await?;
            if self.random.below(6) == 0 {
                let jumps = [-HOUR, 24 * HOUR, -HOUR / 60, HOUR / 60];
                self.world.hands.jump(*self.random.pick(&jumps));
            }
        }
        self.finish().await
    }

    fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    /// Lets workers that ask again and again, and are told nothing, do what is left.
    async fn finish(&mut self) -> Result<(), String> {
        for _ in 0..LAST_ROUNDS {
            if self.process().projector.look(|state| state.executions.all_open().len()) == 0 {
                return Ok(());
            }
            for pool in ["slow", "quick"] {
                let (pool, worker_id) = (pool.to_owned(), "w-last".to_owned());
                self.ask(Question::ClaimSome { pool, max: 8, wait: Duration::ZERO, worker_id });
            }
            let before = self.tickets.len();
            self.rest().await?;
            for ticket in self.tickets.split_off(before) {
                let request = self.honest(Route::Complete, &ticket);
                self.ask(Question::OfTask(request));
                self.tickets.push(ticket);
            }
            self.rest().await?;
            self.world.hands.advance(Duration::from_secs(40));
            self.rest().await?;
        }
        Err("it never ends".to_owned())
    }

    /// Waits for all answers, and until nothing is left to be done; notes how far the log is.
    async fn rest(&mut self) -> Result<(), String> {
        for Pending { answer, .. } in std::mem::take(&mut self.pending) {
            let said = answer.await.unwrap();
            self.hear(said);
        }
        let rested = self.world.quiet(self.process()).await;
        self.note(rested.is_ok());
        rested?;
        let known = self.process().projector.look(|state| {
            let tasks: Vec<_> = state.tasks.all().map(|open| open.task_id).collect();
            tasks
        });
        self.tasks.extend(known);
        if self.random.below(4) == 0 {
            self.journal.states.push((self.world.head(), self.process().states()));
        }
        Ok(())
    }

    fn note(&mut self, is_quiet: bool) {
        let (head, time) = (self.world.head(), self.world.hands.read().time);
        self.journal.rounds.push(Round { head, time, is_quiet });
    }

    fn hear(&mut self, said: Said) {
        if let Answer::Claimed(tickets) = &said.answer {
            // Some workers crash before they hear of it; what they got is used by nobody.
            for ticket in tickets.iter().filter(|_| self.random.below(8) > 0) {
                self.tickets.push(Arc::new(ticket.clone()));
            }
        }
        self.journal.said.push(said);
    }

    /// The process ends in the middle of everything, and another begins after a while.
    async fn crash(&mut self) {
        tokio::task::yield_now().await;
        for Pending { question, from, answer } in std::mem::take(&mut self.pending) {
            answer.abort();
            let said = answer.await.unwrap_or_else(|error| {
                assert!(error.is_cancelled(), "{error}");
                let (answer, to) = (Answer::Unknown, Index(u64::MAX));
                Said { question, answer, from, to }
            });
            self.hear(said);
        }
        if let Some(process) = self.process.take() {
            process.stop().await;
        }
        self.world.drained().await;
        self.note(false);
        let down = if self.random.below(2) == 0 { Duration::ZERO } else { self.some_time() };
        self.world.hands.advance(down);
        self.note(false);
        let process = self.world.start();
        self.journal.starts.push(process.started);
        self.hints = process.tasks.control.hints();
        self.process = Some(process);
    }

    fn some_time(&mut self) -> Duration {
        let around = [300, 900, 5_000, 11_000, 19_500, 20_000, 31_000, 45_000, 60_000, 61_000, 130_000];
        Duration::from_millis(*self.random.pick(&around) + self.random.below(400))
    }

    /// Lets less than `most` things happen at once.
    async fn some(&mut self, most: u64) {
        for _ in 0..self.random.below(most) {
            self.one().await;
            if self.random.below(3) == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn one(&mut self) {
        match self.random.below(20) {
            0..=2 => self.submit().await,
            3..=5 => self.claim_some(),
            6 => self.wake(),
            7 => self.claim_any(),
            8 => self.operate().await,
            9..=10 => self.repeat(),
            _ => self.work(),
        }
    }

    fn ask(&mut self, question: Question) {
        let desk = Desk::of(self.world, self.process());
        let from = self.world.ingress.store.live.published();
        let answer = tokio::spawn(desk.ask(question.clone(), from));
        self.pending.push(Pending { question, from, answer });
    }

    async fn submit(&mut self) {
        if self.journal.intents.len() < INTENTS_MAX {
            let nth = self.journal.intents.len();
            let stream_id = *self.random.pick(&["default", "other"]);
            let intent_type = *self.random.pick(&["work.slow", "work.quick"]);
            let intent = self.world.submit(stream_id, &format!("c-{nth}"), intent_type).await;
            self.journal.intents.push(intent);
        }
    }

    fn worker(&mut self) -> String {
        format!("w-{}", self.random.below(4))
    }

    fn claim_some(&mut self) {
        let pool = (*self.random.pick(&["slow", "quick"])).to_owned();
        let (max, worker_id) = (1 + usize::try_from(self.random.below(3)).unwrap(), self.worker());
        let wait = Duration::from_millis(*self.random.pick(&[0, 0, 5, 20]));
        self.ask(Question::ClaimSome { pool, max, wait, worker_id });
    }

    /// What was told of tasks that wait is lost, or heard by several, or late.
    fn wake(&mut self) {
        while let Ok(hint) = self.hints.try_recv() {
            for _ in 0..self.random.below(3) {
                let worker_id = self.worker();
                self.ask(Question::ClaimOne { task_id: hint.task_id, worker_id });
            }
            if self.random.below(3) == 0 {
                return;
            }
        }
    }

    fn any_task(&mut self) -> Option<TaskId> {
        let tasks: Vec<_> = self.tasks.iter().copied().collect();
        (!tasks.is_empty()).then(|| *self.random.pick(&tasks))
    }

    fn claim_any(&mut self) {
        let Some(task_id) = self.any_task() else { return };
        let worker_id = self.worker();
        for _ in 0..=self.random.below(2) {
            self.ask(Question::ClaimOne { task_id, worker_id: worker_id.clone() });
        }
    }

    async fn operate(&mut self) {
        let Some(task_id) = self.any_task() else { return };
        match self.random.below(6) {
            0..=1 => {
                let mark = self.mark();
                self.ask(Question::Cancel { task_id, mark });
            }
            2..=4 => {
                let mark = self.mark();
                self.ask(Question::Retry { task_id, mark });
            }
            _ => {
                let intents = self.journal.intents.clone();
                let intent = *self.random.pick(&intents);
                self.world.cancel(intent).await;
            }
        }
    }

    /// Asks again for what was asked before, as a worker does that heard no answer.
    fn repeat(&mut self) {
        if self.requests.is_empty() {
            return;
        }
        let from = self.requests.len().saturating_sub(12);
        let recent = from + usize::try_from(self.random.below((self.requests.len() - from) as u64)).unwrap();
        let request = self.requests[recent].clone();
        for _ in 0..=self.random.below(2) {
            self.ask(Question::OfTask(request.clone()));
        }
    }

    /// A worker says something of its attempt, which may be over; sometimes of one that is not its own.
    fn work(&mut self) {
        if self.tickets.is_empty() {
            return;
        }
        let ticket = self.ticket();
        let routes = [Route::Heartbeat, Route::Heartbeat, Route::Events, Route::Publish, Route::Complete];
        let route = *self.random.pick(&routes);
        let mut request = self.honest(route, &ticket);
        if self.random.below(4) == 0 {
            self.lie(&mut request, &ticket);
        }
        self.requests.push(request.clone());
        for _ in 0..=self.random.below(6) / 5 {
            self.ask(Question::OfTask(request.clone()));
        }
    }

    /// Mostly one of the newest.
    fn ticket(&mut self) -> Arc<Ticket> {
        let all = self.tickets.len() as u64;
        let among = if self.random.below(4) == 0 { all } else { all.min(4) };
        let nth = all - 1 - self.random.below(among);
        Arc::clone(&self.tickets[usize::try_from(nth).unwrap()])
    }

    fn mark(&mut self) -> String {
        self.marks += 1;
        format!("m-{}", self.marks)
    }

    /// What a worker may ask that has this attempt.
    fn honest(&mut self, route: Route, ticket: &Ticket) -> Request {
        let mark = self.mark();
        let more = match route {
            Route::Heartbeat => json!({}),
            Route::Events => json!({ "events": [event(&mark)] }),
            Route::Publish => json!({
                "batch_uri": format!("blob://b/{mark}"), "content_type": "application/jsonl",
                "batch_size_bytes": 5, "dedupe_scope": "rows/1",
            }),
            Route::Complete => self.end(&mark),
        };
        let mut request = Request { route, mark, ..Request::heartbeat(ticket) };
        request.body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    }

    fn end(&mut self, mark: &str) -> Value {
        match self.random.below(8) {
            0..=3 => json!({ "status": "Completed", "result": { "mark": mark }, "events": [event(mark)] }),
            4 => {
                // Few versions, of which each may be published as two things.
                let (uuid, bucket) = (self.random.below(3), self.random.below(2));
                let version = json!({
                    "dataset_uuid": format!("d-{uuid}"), "dataset_version": "1",
                    "storage_ref": format!("s3://b/{bucket}/"),
                });
                json!({ "status": "Completed", "result": { "mark": mark }, "datasets_published": [version] })
            }
            5..=6 => {
                let retryable = self.random.below(4) > 0;
                json!({ "status": "Failed", "error_message": mark, "retryable": retryable })
            }
            _ => json!({ "status": "Canceled", "error_message": mark }),
        }
    }

    fn lie(&mut self, request: &mut Request, ticket: &Ticket) {
        let other = self.ticket();
        let is_other = (&other.task_id, other.attempt) != (&ticket.task_id, ticket.attempt);
        match self.random.below(8) {
            0 => request.capability = None,
            1 => request.capability = Some(format!("{}x", ticket.capability)),
            2 => request.body["attempt"] = json!(ticket.attempt + 1),
            3 if other.task_id != ticket.task_id => request.body["task_id"] = json!(other.task_id),
            4 if is_other => request.capability = Some(other.capability.clone()),
            5 if is_other => {
                // Everything but the lease token is the other one's.
                request.capability = Some(other.capability.clone());
                request.body["task_id"] = json!(other.task_id);
                request.body["attempt"] = json!(other.attempt);
            }
            _ => {
                let last = if ticket.lease_token.ends_with('0') { "1" } else { "0" };
                let wrong = format!("{}{last}", &ticket.lease_token[..31]);
                request.body["lease_token"] = json!(wrong);
            }
        }
        request.is_honest = false;
    }
}

fn event(mark: &str) -> Value {
    json!({ "dataset_uuid": "d", "dataset_version": "1", "cursor": mark })
}
