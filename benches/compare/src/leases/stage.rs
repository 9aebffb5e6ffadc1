//! The leases that are held, and the connections that claim them and keep them alive.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};
use serde_json::Value;

use super::Server;
use crate::http;
use crate::schedule::{Ticker, histogram};
use crate::tasks::{claim_request, post};
use crate::wire::Wire;

/// Connections that claim.
const CLAIMERS: usize = 4;

/// Tasks in one claim: the most that the contract allows.
const CLAIM_TASKS: usize = 100;

/// Connections that send heartbeats, one outstanding on each.
const BEATERS: usize = 64;

const TICK: Token = Token(usize::MAX);

/// How long outstanding requests may take.
const DRAIN: Duration = Duration::from_secs(10);

type Failed = Box<dyn std::error::Error>;

/// When heartbeats are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Not at all.
    Still,
    /// Each lease's when it is due.
    Due,
    /// The next one when one is answered, the newest lease first, whatever is due.
    Closed,
}

struct Lease {
    task_id: String,
    capability: String,
    /// The body of its heartbeat.
    fence: String,
}

struct Line {
    wire: Wire,
    /// From when the outstanding request's latency counts.
    started: Option<Instant>,
}

pub(super) struct Stage {
    server: Server,
    interval: Duration,
    poll: Poll,
    ticker: Ticker,
    /// The claimers, then the beaters; a line's token is its number.
    lines: Vec<Line>,
    leases: Vec<Lease>,
    /// When each lease's next heartbeat is due, the first one first.
    due: VecDeque<(Instant, usize)>,
    /// Leases from this number on are not heard of any more.
    silent_from: usize,
    /// The next lease of a closed loop, counted down.
    next: usize,
    /// The beater whose turn it is; in turn, so that none is idle until the server closes it.
    next_line: usize,
    /// Tasks that were claimed or are being claimed.
    asked: usize,
    request: Vec<u8>,
    pub(super) beats: u64,
    pub(super) latency: Histogram<u64>,
    pub(super) refused: u64,
    pub(super) first_refusal: Option<String>,
}

impl Server {
    /// Opens the connection of a line.
    fn wire(&self, poll: &Poll, number: usize) -> io::Result<Wire> {
        let addr = if number < CLAIMERS { self.internal } else { self.task };
        Wire::new(std::net::TcpStream::connect(addr)?, poll.registry(), Token(number))
    }
}

impl Stage {
    pub(super) fn connect(server: Server, interval: Duration) -> io::Result<Self> {
        let poll = Poll::new()?;
        // Finer than any heartbeat needs, coarse enough to cost nothing.
        let ticker = Ticker::start(poll.registry(), TICK, Duration::from_millis(1))?;
        let mut lines = Vec::with_capacity(CLAIMERS + BEATERS);
        for number in 0..CLAIMERS + BEATERS {
            lines.push(Line { wire: server.wire(&poll, number)?, started: None });
        }
        Ok(Self {
            server,
            interval,
            poll,
            ticker,
            lines,
            leases: Vec::new(),
            due: VecDeque::new(),
            silent_from: usize::MAX,
            next: 0,
            next_line: 0,
            asked: 0,
            request: Vec::new(),
            beats: 0,
            latency: histogram(),
            refused: 0,
            first_refusal: None,
        })
    }

    /// Leases that are held.
    pub(super) fn held(&self) -> usize {
        self.leases.len().min(self.silent_from)
    }

    /// Claims until this many leases are held, their heartbeats at this pace meanwhile.
    pub(super) fn claim(&mut self, leases: usize, pace: Pace) -> Result<(), Failed> {
        let mut last = (self.leases.len(), Instant::now());
        while self.leases.len() < leases {
            for number in 0..CLAIMERS {
                let max = CLAIM_TASKS.min(leases - self.asked);
                if max > 0 && self.lines[number].started.is_none() {
                    self.send_claim(number, max)?;
                }
            }
            self.turn(pace)?;
            if self.leases.len() > last.0 {
                last = (self.leases.len(), Instant::now());
            } else if last.1.elapsed() > DRAIN {
                return Err(format!("{} of {leases} leases, and no more came", last.0).into());
            }
        }
        self.drain()
    }

    /// Sends heartbeats until `end`, and waits for the last answers.
    pub(super) fn beat_until(&mut self, pace: Pace, end: Instant) -> Result<(), Failed> {
        self.next = self.held();
        while Instant::now() < end {
            self.turn(pace)?;
        }
        self.drain()
    }

    /// The names of the newest leases, which get no heartbeat from now on.
    pub(super) fn silence(&mut self, count: usize) -> Vec<&str> {
        self.silent_from = self.leases.len() - count;
        self.leases[self.silent_from..].iter().map(|lease| lease.task_id.as_str()).collect()
    }

    fn drain(&mut self) -> Result<(), Failed> {
        let end = Instant::now() + DRAIN;
        while self.lines.iter().any(|line| line.started.is_some()) {
            if Instant::now() > end {
                return Err("some heartbeats were never answered".into());
            }
            self.turn(Pace::Still)?;
        }
        Ok(())
    }

    /// Sends what is due, as far as connections are free, and takes what has come.
    fn turn(&mut self, pace: Pace) -> Result<(), Failed> {
        for _ in 0..BEATERS {
            let number = CLAIMERS + self.next_line;
            if self.lines[number].started.is_none() && !self.send_beat(number, pace)? {
                break;
            }
            self.next_line = (self.next_line + 1) % BEATERS;
        }
        let mut events = Events::with_capacity(256);
        self.poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        for event in &events {
            let Token(number) = event.token();
            if event.token() == TICK {
                self.ticker.clear();
            } else if number < CLAIMERS {
                self.claimed(number)?;
            } else if self.beaten(number)? {
                self.send_beat(number, pace)?;
            }
        }
        Ok(())
    }

    fn send_claim(&mut self, number: usize, max: usize) -> io::Result<()> {
        let Server { internal, token, pool, .. } = &self.server;
        self.request.clear();
        claim_request(&mut self.request, *internal, token, pool, max, number);
        self.asked += max;
        let line = &mut self.lines[number];
        line.started = Some(Instant::now());
        line.wire.send(&self.request)
    }

    fn claimed(&mut self, number: usize) -> Result<(), Failed> {
        let line = &mut self.lines[number];
        let Some(answer) = line.wire.ready_or_closed()? else { return Ok(self.reopen(number)?) };
        let Some(head) = http::head(answer) else { return Ok(()) };
        let Some(len) = head.message_len(answer) else { return Ok(()) };
        let body = &answer[head.len..len];
        if head.status != 200 {
            let text = String::from_utf8_lossy(&answer[..len.min(600)]).into_owned();
            return Err(format!("a claim was answered: {text}").into());
        }
        let claims: Vec<Value> = serde_json::from_slice(body)?;
        line.wire.consume(len);
        line.started = None;
        for claim in &claims {
            let lease = lease(claim).ok_or_else(|| format!("a claim without a lease: {claim}"))?;
            self.due.push_back((Instant::now() + self.interval, self.leases.len()));
            self.leases.push(lease);
        }
        // A claim may bring fewer than it asked for; the others are asked for again.
        let under_way = self.lines[..CLAIMERS].iter().filter(|line| line.started.is_some()).count();
        if under_way == 0 {
            self.asked = self.leases.len();
        }
        Ok(())
    }

    /// Sends the next heartbeat on a connection that is free; says whether there was one.
    fn send_beat(&mut self, number: usize, pace: Pace) -> io::Result<bool> {
        let now = Instant::now();
        let Some((started, lease)) = self.next_beat(pace, now) else { return Ok(false) };
        let lease = &self.leases[lease];
        self.request.clear();
        let header = ("X-Trace-Task-Capability", lease.capability.as_bytes());
        post(&mut self.request, self.server.task, "/v1/task/heartbeat", header, lease.fence.as_bytes());
        let line = &mut self.lines[number];
        line.started = Some(started);
        line.wire.send(&self.request)?;
        Ok(true)
    }

    /// From when the next heartbeat counts, and whose it is.
    fn next_beat(&mut self, pace: Pace, now: Instant) -> Option<(Instant, usize)> {
        match pace {
            Pace::Still => None,
            Pace::Closed => {
                self.next = self.next.checked_sub(1).unwrap_or(self.held() - 1);
                Some((now, self.next))
            }
            Pace::Due => loop {
                let (due, lease) = self.due.pop_front()?;
                if due > now {
                    self.due.push_front((due, lease));
                    return None;
                }
                if lease < self.silent_from {
                    self.due.push_back((now + self.interval, lease));
                    return Some((due, lease));
                }
            },
        }
    }

    /// Opens a connection again that the server has closed because it was idle. A request that was
    /// on its way at that moment was not read, and is sent again.
    fn reopen(&mut self, number: usize) -> io::Result<()> {
        let line = &mut self.lines[number];
        let closed = std::mem::replace(&mut line.wire, self.server.wire(&self.poll, number)?);
        if line.started.is_some() { line.wire.send(closed.request()) } else { Ok(()) }
    }

    /// Takes the answer to a heartbeat; says whether one was there.
    fn beaten(&mut self, number: usize) -> io::Result<bool> {
        let line = &mut self.lines[number];
        let Some(answer) = line.wire.ready_or_closed()? else {
            self.reopen(number)?;
            return Ok(false);
        };
        let Some(head) = http::head(answer) else { return Ok(false) };
        let Some(len) = head.message_len(answer) else { return Ok(false) };
        if head.status == 200 {
            let took = line.started.map_or(0, |started| started.elapsed().as_nanos() as u64);
            self.latency.saturating_record(took);
            self.beats += 1;
        } else {
            let text = String::from_utf8_lossy(&answer[..len.min(600)]).into_owned();
            self.refused += 1;
            self.first_refusal.get_or_insert(text);
        }
        line.wire.consume(len);
        line.started = None;
        Ok(true)
    }
}

fn lease(claim: &Value) -> Option<Lease> {
    let (attempt, token) = (claim["attempt"].as_u64()?, claim["lease_token"].as_str()?);
    let task_id = claim["task"]["task_id"].as_str()?;
    Some(Lease {
        task_id: task_id.to_owned(),
        capability: claim["capability_token"].as_str()?.to_owned(),
        fence: format!(r#"{{"attempt":{attempt},"lease_token":"{token}","task_id":"{task_id}"}}"#),
    })
}
