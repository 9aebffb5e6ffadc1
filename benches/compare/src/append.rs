//! `append`: closed loop (one request outstanding on each connection) or, with `--rate`, open loop.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};
use serde_json::json;

use crate::args::Args;
use crate::intent::CHAT;
use crate::poster::Poster;
use crate::process::cpu_seconds;
use crate::protocol::Protocol;
use crate::schedule::{Schedule, Ticker, histogram, micros};

const TICK: Token = Token(usize::MAX);

/// How long outstanding requests may take after the last one was sent.
const DRAIN: Duration = Duration::from_secs(5);

struct Plan {
    connections: usize,
    seconds: f64,
    warmup: f64,
    rate: Option<f64>,
    count: Option<u64>,
    pid: Option<u32>,
}

struct Measured {
    completed: u64,
    latency: Histogram<u64>,
    /// How late the generator itself sent, open loop only.
    lag: Histogram<u64>,
    elapsed: f64,
    unsent: u64,
    lost: usize,
    client_cpu: f64,
    server_cpu: Option<f64>,
}

pub(crate) fn run(args: &mut Args) -> crate::Outcome {
    let addr: SocketAddr = args.required("addr")?;
    let protocol = Protocol::from_args(args)?;
    let plan = Plan {
        connections: args.required("connections")?,
        seconds: args.required("seconds")?,
        warmup: args.optional("warmup")?.unwrap_or(0.0),
        rate: args.optional("rate")?,
        count: args.optional("count")?,
        pid: args.optional("pid")?,
    };
    let intent_type = args.optional("intent-type")?.unwrap_or_else(|| CHAT.to_owned());
    args.finish()?;
    let poll = Poll::new()?;
    let registry = poll.registry();
    let mut poster =
        Poster::connect(protocol, addr, &intent_type, plan.connections, registry, Instant::now())?;
    let measured = measure(&plan, poll, &mut poster)?;
    let latency = &measured.latency;
    Ok(json!({
        "connections": plan.connections,
        "rate": plan.rate,
        "sent": poster.count(),
        "completed": measured.completed,
        "seconds": measured.elapsed,
        "per_second": measured.completed as f64 / measured.elapsed,
        "p50_us": micros(latency, 0.5),
        "p99_us": micros(latency, 0.99),
        "p999_us": micros(latency, 0.999),
        "max_us": latency.max() as f64 / 1_000.0,
        "send_lag_p99_us": micros(&measured.lag, 0.99),
        "unsent": measured.unsent,
        "lost": measured.lost,
        "refused": poster.refused,
        "first_refusal": poster.first_refusal,
        "client_cpu": measured.client_cpu / measured.elapsed,
        "server_cpu": measured.server_cpu.map(|seconds| seconds / measured.elapsed),
    }))
}

/// Sends what is due, as far as connections are free.
fn issue(
    poster: &mut Poster,
    schedule: &mut Schedule,
    lag: &mut Histogram<u64>,
    now: Instant,
) -> std::io::Result<()> {
    while poster.has_idle() {
        let Some(started) = schedule.take(now) else { break };
        lag.saturating_record(now.duration_since(started).as_nanos() as u64);
        poster.send(started, now)?;
    }
    Ok(())
}

/// Processor seconds of the generator and of the server.
fn cpu(plan: &Plan) -> Result<(f64, Option<f64>), String> {
    Ok((cpu_seconds(std::process::id())?, plan.pid.map(cpu_seconds).transpose()?))
}

/// Posts until the time is up or `--count` intents are sent, and waits for the last answers. Only
/// what ends between the warm-up and the end counts.
fn measure(plan: &Plan, mut poll: Poll, poster: &mut Poster) -> Result<Measured, Box<dyn std::error::Error>> {
    let mut events = Events::with_capacity(1024);
    let begin = Instant::now();
    let from = begin + Duration::from_secs_f64(plan.warmup);
    let end = from + Duration::from_secs_f64(plan.seconds);
    let remaining = plan.count.unwrap_or(u64::MAX);
    let mut schedule = plan.rate.map_or(Schedule::Closed { remaining }, |rate| Schedule::open(begin, rate));
    let period = plan.rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
    let ticker = period.map(|period| Ticker::start(poll.registry(), TICK, period)).transpose()?;
    let (mut latency, mut lag, mut completed) = (histogram(), histogram(), 0);
    let mut cpu_from = None;
    let mut now = Instant::now();
    loop {
        if cpu_from.is_none() && now >= from {
            cpu_from = Some(cpu(plan)?);
        }
        if now < end {
            issue(poster, &mut schedule, &mut lag, now)?;
        }
        let idle = poster.outstanding() == 0;
        if (idle && (now >= end || plan.count == Some(poster.count()))) || now >= end + DRAIN {
            break;
        }
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        for event in &events {
            now = Instant::now();
            if event.token() == TICK {
                ticker.iter().for_each(Ticker::clear);
            } else if let Some(started) = poster.ready(event.token().0)? {
                now = Instant::now();
                if now >= from && now <= end {
                    completed += 1;
                    latency.saturating_record(now.duration_since(started).as_nanos() as u64);
                }
            }
            // At once, not after the other events: the server gets its next request while the
            // generator still reads.
            if now < end {
                issue(poster, &mut schedule, &mut lag, now)?;
            }
        }
        now = Instant::now();
    }
    let elapsed = now.min(end).duration_since(from).as_secs_f64();
    let (client_to, server_to) = cpu(plan)?;
    let (client_from, server_from) = cpu_from.unwrap_or((client_to, server_to));
    Ok(Measured {
        completed,
        latency,
        lag,
        elapsed,
        unsent: schedule.unsent(now.min(end)),
        lost: poster.outstanding(),
        client_cpu: client_to - client_from,
        server_cpu: server_to.zip(server_from).map(|(to, from)| to - from),
    })
}
