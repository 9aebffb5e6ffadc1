//! The steps, in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::log::offline::{self, Depth, LastBatch};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::follower::{Follower, PATIENCE};
use super::home::{Home, Served};
use super::say::Say;
use crate::cli::{Exit, Failure};
use crate::client::{Acknowledged, Base, Outage, Server, Submitter};

const MESSAGES: [&str; 3] = ["What is on the agenda?", "Approve the budget", "Ship it"];

/// Intents of the burst that is interrupted, the connections that they are posted on, and how many are acknowledged
/// before the kill.
const BURST: u64 = 400;
const CONNECTIONS: u64 = 8;
const BEFORE_KILL: u64 = 150;

/// Characters of a record's line that are shown.
const LINE_CHARS: usize = 100;

#[derive(Deserialize)]
struct Accepted {
    index: u64,
}

/// An intent that is durable.
struct Posted {
    index: u64,
    replayed: bool,
}

/// # Errors
/// A step that did not come out as it should.
pub(super) async fn run(home: &Home, say: &mut Say) -> Result<(), Failure> {
    let mut served = start(home, say)?;
    let server = client(&served.url)?;
    // Lost connections are part of the show, and told by it.
    let outage = Arc::new(Outage::new(|_| {}));
    post(say, &server, &outage).await?;
    repeat(say, &server, &outage).await?;
    let mut follower = tail(say, &server, &outage).await?;
    let (acknowledged, posting) = burst_and_kill(say, &mut served, &server, &outage).await?;
    let address = served.address().to_owned();
    let served = restart(home, say, &address).await?;
    finish_burst(say, acknowledged, posting).await?;
    resume(say, &mut follower).await?;
    drop(follower);
    drop(served);
    inspect(home, say)
}

fn start(home: &Home, say: &mut Say) -> Result<Served, Failure> {
    say.step("A server starts on an empty directory; there is nothing to configure")?;
    let served = Served::start(home, "127.0.0.1:0")?;
    say.detail(&format!("$ gesta serve --data {} --listen {}", home.data.display(), served.address()))?;
    say.proved(&format!("ready after {} ms: {}", served.took.as_millis(), served.url))?;
    Ok(served)
}

fn client(url: &str) -> Result<Server, Failure> {
    let base = Base::parse(url).map_err(|error| Failure::new(Exit::Failed, error))?;
    Server::new(base, None, None).map_err(|error| Failure::new(Exit::Failed, error))
}

async fn post(say: &mut Say, server: &Server, outage: &Arc<Outage>) -> Result<(), Failure> {
    say.step("Three intents are posted, and each is answered with its index in the log")?;
    let mut submitter = Submitter::new(server.clone(), PATIENCE, Arc::clone(outage));
    for (nth, message) in (0..).zip(MESSAGES) {
        let posted = submit(&mut submitter, &format!("hello-{nth}"), message).await?;
        check(posted.index == nth && !posted.replayed, "an index is not the next")?;
        say.detail(&format!("POST /ingress/intent  \"{message}\"  ->  202, index {}", posted.index))?;
    }
    say.proved("an acknowledgement means durable: written and synced before the answer")
}

async fn repeat(say: &mut Say, server: &Server, outage: &Arc<Outage>) -> Result<(), Failure> {
    say.step("The first one is posted again, as a client does whose answer was lost")?;
    let mut submitter = Submitter::new(server.clone(), PATIENCE, Arc::clone(outage));
    let posted = submit(&mut submitter, "hello-0", MESSAGES[0]).await?;
    check(posted.index == 0 && posted.replayed, "a repeat was not recognised")?;
    say.detail("POST /ingress/intent  the same correlation id  ->  200, Idempotent-Replayed: true, index 0")?;
    say.proved("nothing was appended: a request may be repeated for ever, also over restarts")
}

async fn tail(say: &mut Say, server: &Server, outage: &Arc<Outage>) -> Result<Follower, Failure> {
    say.step("A follower tails the log from its beginning, and waits for more")?;
    say.detail(&format!("$ gesta tail --url {} --follow", server.base()))?;
    let mut follower = Follower::start(server.clone(), Arc::clone(outage));
    for received in follower.wait_for(MESSAGES.len()).await? {
        say.plain(&format!("     {}", shortened(&received.line)))?;
    }
    say.proved("the same bytes that lie on the disk, each record with its checksum")?;
    Ok(follower)
}

fn shortened(line: &str) -> String {
    if line.chars().count() <= LINE_CHARS {
        return line.to_owned();
    }
    line.chars().take(LINE_CHARS - 1).chain(['…']).collect()
}

/// Correlation id and index of each intent of the burst that was acknowledged, as they come.
type Burst = JoinSet<Result<Vec<(String, u64)>, Failure>>;

/// Starts the burst and kills the server in the middle. Gives how many were acknowledged by then, and the burst.
async fn burst_and_kill(
    say: &mut Say,
    served: &mut Served,
    server: &Server,
    outage: &Arc<Outage>,
) -> Result<(u64, Burst), Failure> {
    say.step(&format!("{BURST} intents on {CONNECTIONS} connections, and in the middle of it: kill -9"))?;
    let (told, mut acknowledged) = watch::channel(0);
    let (told, next) = (Arc::new(told), Arc::new(AtomicU64::new(0)));
    let mut posting: Burst = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (told, next) = (Arc::clone(&told), Arc::clone(&next));
        let mut submitter = Submitter::new(server.clone(), PATIENCE, Arc::clone(outage));
        posting.spawn(async move {
            let mut posted = Vec::new();
            loop {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                if nth >= BURST {
                    return Ok(posted);
                }
                let correlation_id = format!("burst-{nth}");
                let Posted { index, .. } = submit(&mut submitter, &correlation_id, "one of many").await?;
                posted.push((correlation_id, index));
                told.send_modify(|count| *count += 1);
            }
        });
    }
    let enough = acknowledged.wait_for(|count| *count >= BEFORE_KILL);
    let reached = tokio::time::timeout(PATIENCE, enough).await.is_ok_and(|reached| reached.is_ok());
    check(reached, "the burst was not acknowledged in time")?;
    served.kill();
    let count = *acknowledged.borrow();
    say.blow(&format!("kill -9 {}", served.id()))?;
    say.detail(&format!(
        "{count} were acknowledged; for those under way nobody knows: the outcome is unknown"
    ))?;
    Ok((count, posting))
}

async fn restart(home: &Home, say: &mut Say, address: &str) -> Result<Served, Failure> {
    say.step("The server starts again on the same directory and recovers")?;
    // Long enough to see that the clients find nobody.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let served = Served::start(home, address)?;
    say.proved(&format!("ready after {} ms, nothing was repaired by hand", served.took.as_millis()))?;
    Ok(served)
}

async fn finish_burst(say: &mut Say, before: u64, mut posting: Burst) -> Result<(), Failure> {
    say.step("The clients repeat what was under way, with the same correlation ids, and go on")?;
    let mut indexes = HashMap::new();
    while let Some(posted) = posting.join_next().await {
        let posted = posted.map_err(|error| Failure::new(Exit::Failed, error))??;
        indexes.extend(posted.into_iter().map(|(correlation_id, index)| (index, correlation_id)));
    }
    let count = indexes.len() as u64;
    check(count == BURST, "an index was given twice or an intent was lost")?;
    say.proved(&format!(
        "all {BURST} are acknowledged, {} of them before the kill, none of them twice",
        before
    ))
}

async fn resume(say: &mut Say, follower: &mut Follower) -> Result<(), Failure> {
    say.step("The follower comes back by itself and says how far it was")?;
    let total = MESSAGES.len() as u64 + BURST;
    let received = follower.wait_for(usize::try_from(total).unwrap_or(usize::MAX)).await?;
    let Some(cursor) = follower.resumed_behind() else {
        return check(false, "the follower did not come back");
    };
    say.detail(&format!("GET /tail  Last-Event-Id: {cursor}"))?;
    check(received.iter().map(|received| received.index).eq(0..total), "the follower has a gap or a repeat")?;
    let ids: std::collections::HashSet<_> =
        received.iter().map(|received| &received.correlation_id).collect();
    check(ids.len() as u64 == total, "an intent is in the log twice")?;
    say.proved(&format!("indexes 0 to {}, each once and in order: no gap, no repeat, no double", total - 1))
}

fn inspect(home: &Home, say: &mut Say) -> Result<(), Failure> {
    say.step("The server is killed once more, and the log is read without it")?;
    say.detail(&format!("$ gesta inspect {}", home.data.display()))?;
    let disk = RealDisk::new(&home.data);
    let summary = offline::walk(&disk, Depth::Envelopes, LastBatch::Always, &mut |_, _, _| true)
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    check(summary.damage.is_none(), "the log is damaged")?;
    check(summary.head.0 == MESSAGES.len() as u64 + BURST, "the log does not hold what was acknowledged")?;
    say.proved(&format!(
        "{} records, every checksum and digest holds; anyone can check that offline",
        summary.head
    ))
}

async fn submit(submitter: &mut Submitter, correlation_id: &str, message: &str) -> Result<Posted, Failure> {
    let envelope = json!({
        "interface_version": 2,
        "correlation_id": correlation_id,
        "payload": {
            "stream_id": "default", "lane": "user", "actor": "demo", "intent_type": "chat.message",
            "thread_id": "demo", "turn_id": correlation_id, "parent_turn_id": null,
            "payload": {"message": message},
        },
    });
    let answer = submitter.submit(envelope.to_string().into()).await;
    let Acknowledged { replayed, body } =
        answer.map_err(|error| Failure::new(Exit::Failed, format!("an intent: {error}")))?;
    let Accepted { index } =
        serde_json::from_slice(&body).map_err(|error| Failure::new(Exit::Failed, error))?;
    Ok(Posted { index, replayed })
}

pub(super) fn check(holds: bool, what_if_not: &str) -> Result<(), Failure> {
    if holds {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, format!("this should not be: {what_if_not}"))
        .hint("this is a bug in gesta; `gesta demo --data DIR` keeps the log of another try"))
}
