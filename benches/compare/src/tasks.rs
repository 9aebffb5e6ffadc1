//! `tasks`: workers that claim one task, complete it and claim the next, one request outstanding
//! for each worker.
//!
//! The queue is full before the run. Where it runs dry, the run ends with the first claim that got
//! nothing, and its time too.

mod dialect;
mod gesta;
mod postgres;
mod redis;

use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Poll, Registry, Token};
use serde_json::json;

use crate::args::Args;
use crate::process::cpu_seconds;
use crate::schedule::{histogram, micros};
use crate::wire::Wire;
use dialect::{Dialect, Reply};

pub(crate) use gesta::{claim_request, post};

/// What every worker reports of its task, the same for all servers.
const RESULT: &str = r#"{"artifacts":{"answer":{"text":"it stands in the log"}},"events":[]}"#;

/// Connections that a worker may have.
const WIRES_MAX: usize = 2;

/// Refusals after which a run ends: a server that refuses everything is not measured.
const REFUSED_MAX: u64 = 1_000;

/// How long outstanding requests may take after the last one was sent.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Idle,
    Claiming,
    Completing,
}

struct Worker {
    /// The first one claims, the last one completes.
    wires: Vec<Wire>,
    step: Step,
    /// When the outstanding request was sent.
    sent: Instant,
}

struct Run {
    dialect: Box<dyn Dialect>,
    workers: Vec<Worker>,
    request: Vec<u8>,
    from: Instant,
    /// When the last claim is made: planned, or when the queue has run dry.
    end: Instant,
    is_dry: bool,
    pairs: u64,
    claim: Histogram<u64>,
    complete: Histogram<u64>,
    refused: u64,
    first_refusal: Option<String>,
}

pub(crate) fn run(args: &mut Args) -> crate::Outcome {
    let dialect = dialect(args)?;
    let workers: usize = args.required("workers")?;
    let seconds: f64 = args.required("seconds")?;
    let warmup: f64 = args.optional("warmup")?.unwrap_or(0.0);
    let pid: u32 = args.required("pid")?;
    args.finish()?;
    let poll = Poll::new()?;
    let mut run = Run::connect(dialect, workers, poll.registry())?;
    run.from = Instant::now() + Duration::from_secs_f64(warmup);
    run.end = run.from + Duration::from_secs_f64(seconds);
    let cpu = run.drive(poll, pid)?;
    let elapsed = run.end.saturating_duration_since(run.from).as_secs_f64();
    if elapsed == 0.0 {
        return Err("the queue ran dry before the warm-up was over".into());
    }
    Ok(json!({
        "workers": workers,
        "pairs": run.pairs,
        "seconds": elapsed,
        "per_second": run.pairs as f64 / elapsed,
        "claim_p50_us": micros(&run.claim, 0.5),
        "claim_p99_us": micros(&run.claim, 0.99),
        "complete_p50_us": micros(&run.complete, 0.5),
        "complete_p99_us": micros(&run.complete, 0.99),
        "dry": run.is_dry,
        "refused": run.refused,
        "first_refusal": run.first_refusal,
        "client_cpu": cpu.client / elapsed,
        "server_cpu": cpu.server / elapsed,
    }))
}

fn dialect(args: &mut Args) -> Result<Box<dyn Dialect>, String> {
    match args.required::<String>("protocol")?.as_str() {
        "gesta" => Ok(Box::new(gesta::Gesta::from_args(args)?)),
        "postgres" => Ok(Box::new(postgres::Postgres::from_args(args)?)),
        "redis" => Ok(Box::new(redis::Redis::from_args(args)?)),
        unknown => Err(format!("--protocol cannot be {unknown:?}")),
    }
}

/// Processor seconds.
struct Cpu {
    client: f64,
    server: f64,
}

impl Cpu {
    fn now(pid: u32) -> Result<Self, String> {
        Ok(Self { client: cpu_seconds(std::process::id())?, server: cpu_seconds(pid)? })
    }

    fn since(&self, from: &Self) -> Self {
        Self { client: self.client - from.client, server: self.server - from.server }
    }
}

impl Run {
    fn connect(dialect: Box<dyn Dialect>, workers: usize, registry: &Registry) -> io::Result<Self> {
        let now = Instant::now();
        let mut all = Vec::with_capacity(workers);
        for number in 0..workers {
            let mut wires = Vec::new();
            for (at, stream) in dialect.connect()?.into_iter().enumerate() {
                wires.push(Wire::new(stream, registry, Token(number * WIRES_MAX + at))?);
            }
            all.push(Worker { wires, step: Step::Idle, sent: now });
        }
        Ok(Self {
            dialect,
            workers: all,
            request: Vec::new(),
            from: now,
            end: now,
            is_dry: false,
            pairs: 0,
            claim: histogram(),
            complete: histogram(),
            refused: 0,
            first_refusal: None,
        })
    }

    /// Runs to the end, and waits for the last answers. The processor time between warm-up and end.
    fn drive(&mut self, mut poll: Poll, pid: u32) -> Result<Cpu, Box<dyn std::error::Error>> {
        let mut events = Events::with_capacity(1024);
        let (mut before, mut after) = (None, None);
        for number in 0..self.workers.len() {
            self.send_claim(number, Instant::now())?;
        }
        loop {
            let now = Instant::now();
            if before.is_none() && now >= self.from {
                before = Some(Cpu::now(pid)?);
            }
            if after.is_none() && now >= self.end {
                after = Some(Cpu::now(pid)?);
            }
            let is_quiet = self.workers.iter().all(|worker| worker.step == Step::Idle);
            if after.is_some() && (is_quiet || now >= self.end + DRAIN) {
                break;
            }
            if self.refused >= REFUSED_MAX {
                return Err(format!("{} refusals: {:?}", self.refused, self.first_refusal).into());
            }
            poll.poll(&mut events, Some(Duration::from_millis(20)))?;
            for event in &events {
                let Token(token) = event.token();
                self.ready(token / WIRES_MAX, token % WIRES_MAX)?;
            }
        }
        let (Some(before), Some(after)) = (before, after) else {
            return Err("the queue ran dry before the warm-up was over".into());
        };
        Ok(after.since(&before))
    }

    fn send_claim(&mut self, number: usize, now: Instant) -> io::Result<()> {
        let worker = &mut self.workers[number];
        if now >= self.end {
            worker.step = Step::Idle;
            return Ok(());
        }
        self.request.clear();
        self.dialect.claim(number, &mut self.request);
        worker.step = Step::Claiming;
        worker.sent = now;
        worker.wires[0].send(&self.request)
    }

    /// Does what one of a worker's connections is ready for.
    fn ready(&mut self, number: usize, wire: usize) -> io::Result<()> {
        let worker = &mut self.workers[number];
        let last = worker.wires.len() - 1;
        let answer = worker.wires[wire].ready()?;
        if answer.is_empty() {
            return Ok(());
        }
        let reply = match worker.step {
            Step::Claiming if wire == 0 => {
                self.request.clear();
                self.dialect.claimed(answer, &mut self.request)
            }
            Step::Completing if wire == last => self.dialect.completed(answer),
            Step::Idle | Step::Claiming | Step::Completing => {
                return Err(io::Error::other(format!("unasked: {}", dialect::text(answer))));
            }
        };
        let now = Instant::now();
        match reply {
            Reply::Incomplete => Ok(()),
            Reply::Done { len } => {
                worker.wires[wire].consume(len);
                self.done(number, now)
            }
            Reply::Empty { len } => {
                worker.wires[wire].consume(len);
                worker.step = Step::Idle;
                // The others may still get one; what counts is the time while all of them got some.
                self.is_dry |= now < self.end;
                self.end = self.end.min(now);
                Ok(())
            }
            Reply::Refused { len, why } => {
                worker.wires[wire].consume(len);
                self.refused += 1;
                self.first_refusal.get_or_insert(why);
                self.send_claim(number, now)
            }
        }
    }

    /// A worker's step was answered: the next one.
    fn done(&mut self, number: usize, now: Instant) -> io::Result<()> {
        let counts = now >= self.from && now <= self.end;
        let worker = &mut self.workers[number];
        let took = now.duration_since(worker.sent).as_nanos() as u64;
        if worker.step == Step::Claiming {
            if counts {
                self.claim.saturating_record(took);
            }
            worker.step = Step::Completing;
            worker.sent = now;
            let last = worker.wires.len() - 1;
            return worker.wires[last].send(&self.request);
        }
        if counts {
            self.complete.saturating_record(took);
            self.pairs += 1;
        }
        self.send_claim(number, now)
    }
}
