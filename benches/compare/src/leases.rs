//! `leases`: many leases held at once, and some that are left to run out.
//!
//! First a few are claimed and their heartbeats sent as fast as they are answered, then all, and the
//! same again: a heartbeat that costs more beside many leases than beside few would be a scan. Then
//! each gets its heartbeat when it is due, except the last ones, which are never heard of again;
//! their names go into a file, so that the driver finds in the log when each was given up.

mod stage;

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::args::Args;
use crate::process::{cpu_seconds, memory};
use crate::schedule::micros;
use stage::{Pace, Stage};

/// Heartbeats in the time of one lease. The default lease lasts four of its heartbeats.
const BEATS_PER_LEASE: u32 = 4;

/// How long after its deadline a lease may take to be given up.
const EXPIRY_WAIT: Duration = Duration::from_secs(3);

struct Plan {
    leases: usize,
    /// Held in the first part.
    few: usize,
    /// Left to run out.
    silent: usize,
    silent_file: PathBuf,
    lease: Duration,
    seconds: f64,
    pid: u32,
}

/// What claims and heartbeats need to know of the server.
struct Server {
    internal: SocketAddr,
    task: SocketAddr,
    token: String,
    pool: String,
}

pub(crate) fn run(args: &mut Args) -> crate::Outcome {
    let server = Server {
        internal: args.required("internal")?,
        task: args.required("task")?,
        token: args.required("token")?,
        pool: args.required("pool")?,
    };
    let plan = Plan {
        leases: args.required("leases")?,
        few: args.required("few")?,
        silent: args.required("silent")?,
        silent_file: args.required("silent-file")?,
        lease: Duration::from_millis(args.required("lease-ms")?),
        seconds: args.required("seconds")?,
        pid: args.required("pid")?,
    };
    args.finish()?;
    if plan.few + plan.silent > plan.leases {
        return Err("--few and --silent are more than --leases".into());
    }
    let interval = plan.lease / BEATS_PER_LEASE;
    measure(&plan, Stage::connect(server, interval)?)
}

fn measure(plan: &Plan, mut stage: Stage) -> crate::Outcome {
    let queued = memory(plan.pid)?;
    stage.claim(plan.few, Pace::Still)?;
    let few = window(plan, &mut stage, Pace::Closed, plan.seconds)?;
    let begin = Instant::now();
    stage.claim(plan.leases, Pace::Due)?;
    let claims_per_second = (plan.leases - plan.few) as f64 / begin.elapsed().as_secs_f64();
    let live = memory(plan.pid)?;
    let many = window(plan, &mut stage, Pace::Closed, plan.seconds)?;
    // Of the newest, whose deadlines lie close together: as if one big worker had died.
    let silent = stage.silence(plan.silent);
    fs::write(
        &plan.silent_file,
        silent.iter().fold(String::new(), |mut text, name| {
            // A string takes whatever is written.
            let _ = writeln!(text, "{name}");
            text
        }),
    )?;
    let expired = Instant::now() + plan.lease + EXPIRY_WAIT;
    // Heartbeats that fell due meanwhile come first and are not counted.
    window(plan, &mut stage, Pace::Due, plan.lease.as_secs_f64() / f64::from(BEATS_PER_LEASE))?;
    let rest = expired.saturating_duration_since(Instant::now()).as_secs_f64();
    let held = window(plan, &mut stage, Pace::Due, rest)?;
    let end = memory(plan.pid)?;
    Ok(json!({
        "leases": plan.leases,
        "silent": plan.silent,
        "lease_ms": plan.lease.as_millis(),
        "claims_per_second": claims_per_second,
        "few": few,
        "many": many,
        "held": held,
        "rss_queued_bytes": queued.rss_kib << 10,
        "rss_live_bytes": live.rss_kib << 10,
        "rss_end_bytes": end.rss_kib << 10,
        "refused": stage.refused,
        "first_refusal": stage.first_refusal,
    }))
}

/// Heartbeats for `seconds`, and what each cost the server.
fn window(
    plan: &Plan,
    stage: &mut Stage,
    pace: Pace,
    seconds: f64,
) -> Result<Value, Box<dyn std::error::Error>> {
    stage.beats = 0;
    stage.latency.reset();
    let (begin, cpu, own) = (Instant::now(), cpu_seconds(plan.pid)?, cpu_seconds(std::process::id())?);
    stage.beat_until(pace, begin + Duration::from_secs_f64(seconds))?;
    let elapsed = begin.elapsed().as_secs_f64();
    let server = cpu_seconds(plan.pid)? - cpu;
    Ok(json!({
        "leases": stage.held(),
        "seconds": elapsed,
        "beats": stage.beats,
        "per_second": stage.beats as f64 / elapsed,
        "p50_us": micros(&stage.latency, 0.5),
        "p99_us": micros(&stage.latency, 0.99),
        "server_us_each": server * 1e6 / stage.beats.max(1) as f64,
        "server_cpu": server / elapsed,
        "client_cpu": (cpu_seconds(std::process::id())? - own) / elapsed,
    }))
}
