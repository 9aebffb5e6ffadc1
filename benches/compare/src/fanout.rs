//! `fanout`: many live followers, a steady trickle of intents, and how long each takes to arrive.
//!
//! The time of sending travels in the message text; each follower takes it out again. It is one
//! process and one clock, so the difference is the delivery latency.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use serde_json::json;

use crate::args::Args;
use crate::http;
use crate::intent::{self, STAMP_LEN};
use crate::poster::Poster;
use crate::process::{Memory, cpu_seconds, memory};
use crate::protocol::Protocol;
use crate::schedule::{Schedule, Ticker, histogram, micros};

/// Connections that post. More than one, so that a slow answer does not hold back the next intent.
const POSTERS: usize = 8;
const TICK: Token = Token(usize::MAX);

/// How long deliveries may take after the last intent was sent, and followers to be answered.
const DRAIN: Duration = Duration::from_secs(10);

/// How long the server has to settle before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);

struct Follower {
    stream: TcpStream,
    /// The end of the last read, where a marker may be cut.
    seam: Vec<u8>,
    answered: bool,
    closed: bool,
    /// One bit for each intent seen, by its number. A record that follows from an intent repeats
    /// its text; only the first sight counts.
    seen: Vec<u64>,
}

/// One epoll: the posters' tokens first, the followers' behind them.
struct Stage {
    poll: Poll,
    events: Events,
    epoch: Instant,
    poster: Poster,
    followers: Vec<Follower>,
    buffer: Vec<u8>,
    latency: Histogram<u64>,
    acknowledged: Histogram<u64>,
    delivered: u64,
    refused: Option<String>,
}

pub(crate) fn run(args: &mut Args) -> crate::Outcome {
    let addr: SocketAddr = args.required("addr")?;
    let protocol = Protocol::from_args(args)?;
    let path: String = args.required("path")?;
    let followers: usize = args.required("followers")?;
    let rate: f64 = args.required("rate")?;
    let seconds: f64 = args.required("seconds")?;
    let pid: u32 = args.required("pid")?;
    args.finish()?;
    let (poll, epoch) = (Poll::new()?, Instant::now());
    let poster = Poster::connect(protocol, addr, intent::CHAT, POSTERS, poll.registry(), epoch)?;
    let mut stage = Stage::new(poll, epoch, poster);
    let ticker = Ticker::start(stage.poll.registry(), TICK, Duration::from_secs_f64(1.0 / rate))?;
    // First without followers, so that what the server allocates for its first appends is not
    // counted as the followers'.
    stage.post(&ticker, rate, 1.0)?;
    stage.wait_until(Instant::now() + SETTLE, |_| false)?;
    let before = memory(pid)?;
    stage.connect(addr, &path, followers)?;
    stage.wait_until(Instant::now() + SETTLE, |_| false)?;
    let idle = memory(pid)?;
    stage.latency.reset();
    stage.acknowledged.reset();
    stage.delivered = 0;
    let cpu = cpu_seconds(pid)?;
    let posted = stage.post(&ticker, rate, seconds)?;
    let expected = posted * followers as u64;
    stage.wait_until(Instant::now() + DRAIN, |stage| stage.delivered >= expected)?;
    let server_cpu = (cpu_seconds(pid)? - cpu) / seconds;
    Ok(stage.report(posted, expected, server_cpu, [before, idle, memory(pid)?]))
}

impl Stage {
    fn new(poll: Poll, epoch: Instant, poster: Poster) -> Self {
        Self {
            poll,
            events: Events::with_capacity(1024),
            epoch,
            poster,
            followers: Vec::new(),
            buffer: vec![0; 64 << 10],
            latency: histogram(),
            acknowledged: histogram(),
            delivered: 0,
            refused: None,
        }
    }

    /// Opens the followers, and returns once each has been answered.
    fn connect(
        &mut self,
        addr: SocketAddr,
        path: &str,
        count: usize,
    ) -> Result<(), Box<dyn std::error::Error>> {
        for number in 0..count {
            let follower = Follower::connect(addr, path, self.poll.registry(), Token(POSTERS + number))?;
            self.followers.push(follower);
            // The accept queue is shorter than the followers are many.
            if number % 64 == 63 {
                self.wait_until(Instant::now() + DRAIN, |stage| {
                    stage.followers.iter().all(|one| one.answered)
                })?;
            }
        }
        self.wait_until(Instant::now() + DRAIN, |stage| stage.followers.iter().all(|one| one.answered))?;
        match &self.refused {
            Some(answer) => Err(format!("a follower was refused: {answer}").into()),
            None if self.followers.iter().all(|one| one.answered) => Ok(()),
            None => Err("some followers were never answered".into()),
        }
    }

    /// Posts at `rate` for `seconds`; the number of intents sent.
    fn post(&mut self, ticker: &Ticker, rate: f64, seconds: f64) -> io::Result<u64> {
        let start = Instant::now();
        let end = start + Duration::from_secs_f64(seconds);
        let mut schedule = Schedule::open(start, rate);
        let before = self.poster.count();
        loop {
            let now = Instant::now();
            while now < end && self.poster.has_idle() {
                let Some(due) = schedule.take(now) else { break };
                self.poster.send(due, Instant::now())?;
            }
            let drained = self.poster.outstanding() == 0 || now >= end + DRAIN;
            if now >= end && drained {
                return Ok(self.poster.count() - before);
            }
            self.turn()?;
            ticker.clear();
        }
    }

    fn wait_until(&mut self, end: Instant, done: impl Fn(&Self) -> bool) -> io::Result<()> {
        while Instant::now() < end && !done(self) {
            self.turn()?;
        }
        Ok(())
    }

    /// One round of the poll.
    fn turn(&mut self) -> io::Result<()> {
        self.poll.poll(&mut self.events, Some(Duration::from_millis(100)))?;
        for event in &self.events {
            let number = event.token().0;
            if event.token() == TICK {
                continue;
            }
            let Some(follower) = number.checked_sub(POSTERS) else {
                if let Some(started) = self.poster.ready(number)? {
                    self.acknowledged.saturating_record(started.elapsed().as_nanos() as u64);
                }
                continue;
            };
            let (epoch, latency, delivered) = (self.epoch, &mut self.latency, &mut self.delivered);
            let refused = self.followers[follower].receive(&mut self.buffer, |sent_ns| {
                let now_ns = epoch.elapsed().as_nanos() as u64;
                latency.saturating_record(now_ns.saturating_sub(sent_ns));
                *delivered += 1;
            });
            self.refused = self.refused.take().or(refused);
        }
        Ok(())
    }

    fn report(&self, posted: u64, expected: u64, server_cpu: f64, memory: [Memory; 3]) -> serde_json::Value {
        let [before, idle, live] = memory;
        let each = |of: fn(Memory) -> u64, after: Memory| {
            (of(after) as f64 - of(before) as f64) / self.followers.len() as f64
        };
        json!({
            "followers": self.followers.len(),
            "posted": posted,
            "expected": expected,
            "delivered": self.delivered,
            "closed": self.followers.iter().filter(|one| one.closed).count(),
            "p50_us": micros(&self.latency, 0.5),
            "p99_us": micros(&self.latency, 0.99),
            "p999_us": micros(&self.latency, 0.999),
            "max_us": self.latency.max() as f64 / 1_000.0,
            "acknowledged_p99_us": micros(&self.acknowledged, 0.99),
            "refused": self.poster.refused,
            "first_refusal": self.poster.first_refusal,
            "server_cpu": server_cpu,
            "rss_before_kib": before.rss_kib,
            "rss_live_kib": live.rss_kib,
            "idle_kib_each": each(|memory| memory.rss_kib, idle),
            "live_kib_each": each(|memory| memory.rss_kib, live),
            "live_anonymous_kib_each": each(|memory| memory.anonymous_kib, live),
        })
    }
}

impl Follower {
    fn connect(addr: SocketAddr, path: &str, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut stream = std::net::TcpStream::connect(addr)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nAccept: text/event-stream\r\n\r\n")?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE)?;
        Ok(Self { stream, seam: Vec::new(), answered: false, closed: false, seen: Vec::new() })
    }

    /// Reads what is there and hands each new time of sending to `arrived`. The answer, where it is
    /// not a stream.
    fn receive(&mut self, buffer: &mut [u8], mut arrived: impl FnMut(u64)) -> Option<String> {
        loop {
            // The seam stands in front of what is read, so that a marker is never cut.
            let start = self.seam.len();
            buffer[..start].copy_from_slice(&self.seam);
            let n = match self.stream.read(&mut buffer[start..]) {
                Ok(0) => {
                    self.closed = true;
                    return None;
                }
                Ok(n) => n,
                Err(cause) => {
                    self.closed = self.closed || cause.kind() != ErrorKind::WouldBlock;
                    return None;
                }
            };
            let read = &buffer[..start + n];
            if !self.answered {
                self.answered = true;
                if http::head(read).is_none_or(|head| head.status != 200) {
                    return Some(String::from_utf8_lossy(&read[..read.len().min(600)]).into_owned());
                }
            }
            for (sent_ns, number) in intent::stamps(read) {
                if first_sight(&mut self.seen, number) {
                    arrived(sent_ns);
                }
            }
            let tail = read.len().saturating_sub(STAMP_LEN - 1);
            self.seam.clear();
            self.seam.extend_from_slice(&read[tail..]);
            if start + n < buffer.len() {
                return None;
            }
        }
    }
}

/// Marks intent `number`; whether it was unmarked.
fn first_sight(seen: &mut Vec<u64>, number: u64) -> bool {
    let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
    if seen.len() <= word {
        seen.resize(word + 1, 0);
    }
    let first = seen[word] & bit == 0;
    seen[word] |= bit;
    first
}
