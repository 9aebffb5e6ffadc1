//! Follows a log over restarts of its server, without a gap and without a repeat.
//!
//! Owns the cursor. It checks what it is sent: each record's frame checksum, that indexes go on (one by one where
//! nothing is filtered), and that it is still the same log. What was given out is never given out again.

mod position;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

pub use self::position::Disorder;
use self::position::Position;
use super::base::encode;
use super::call::collect;
use super::{
    ANSWER_BYTES_MAX, Backoff, CallError, Connection, FrameError, Frames, Item, Outage, Refusal, Server,
};

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A tail that is silent for so long is broken: a server sends something every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What part of the log is wanted.
#[derive(Debug, Clone, Default)]
pub struct Span {
    /// The index behind which it begins; −1 is the beginning of the log.
    pub since: i64,
    /// The last index.
    pub until: Option<u64>,
    /// Whether it goes on behind the head of the first request.
    pub follow: bool,
    /// Filters of `GET /tail`, by name.
    pub filters: Vec<(&'static str, String)>,
}

/// What a tail gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A connection was made to this log.
    Log { origin: String, first: u64, head: u64 },
    /// Whole records whose checksums hold, one behind the other.
    Records(Bytes),
    /// Everything up to the head has been given.
    CaughtUp { head: u64 },
    /// Records behind the cursor are gone from the log: it goes on with the first that there is.
    Gone { first: u64 },
}

/// Why a tail ends before its end.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The server does not want to.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// It could not be reached for too long.
    #[error("given up after {} s: {last}", .patience.as_secs())]
    GaveUp { patience: Duration, last: Broken },
    /// What is sent is not the log's continuation.
    #[error(transparent)]
    Disorder(#[from] Disorder),
    /// Another log answers at this address.
    #[error("the tail began in the log {was}, and now the log {now} answers")]
    OtherLog { was: String, now: String },
    /// The cursor is not in the log.
    #[error("index {cursor} is not in the log, which ends before index {head}")]
    Ahead { cursor: i64, head: u64 },
    /// A reset for another reason.
    #[error("the server cannot serve the cursor {cursor}: {reason}")]
    Reset { cursor: i64, reason: String },
}

/// Why a connection ended; another one goes on.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("{0}")]
    Refused(Refusal),
    #[error("the tail broke off")]
    BrokeOff,
    #[error("the tail was silent for {} s", SILENCE_MAX.as_secs())]
    Silent,
    #[error("what arrived is not a tail: {0}")]
    Frame(#[from] FrameError),
}

/// Why one connection was given up.
enum Stop {
    Broken(Broken),
    Failed(TailError),
    /// Nothing will ever follow.
    Over,
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl<E: Into<TailError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A tail on its way.
#[derive(Debug)]
pub struct Tail {
    server: Server,
    span: Span,
    position: Position,
    patience: Option<Duration>,
    outage: Arc<Outage>,
    origin: Option<String>,
    body: Option<Incoming>,
    frames: Frames,
    events: VecDeque<Event>,
    backoff: Backoff,
    failing_since: Option<Instant>,
    connections: u64,
}

#[derive(Deserialize)]
struct Log {
    origin: String,
    first: u64,
    head: u64,
}

#[derive(Deserialize)]
struct CaughtUp {
    head: u64,
}

#[derive(Deserialize)]
struct Reset {
    reason: String,
    first: u64,
    head: u64,
}

impl Tail {
    /// `patience` is how long a server that cannot be reached is tried again; none is for ever.
    #[must_use]
    pub fn new(server: Server, span: Span, patience: Option<Duration>, outage: Arc<Outage>) -> Self {
        Self {
            position: Position::new(span.since, span.until, !span.filters.is_empty()),
            server,
            span,
            patience,
            outage,
            origin: None,
            body: None,
            frames: Frames::default(),
            events: VecDeque::new(),
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            failing_since: None,
            connections: 0,
        }
    }

    /// The last index that is behind the tail; −1 before the first.
    #[must_use]
    pub fn cursor(&self) -> i64 {
        self.position.cursor()
    }

    /// What comes next; none at the end.
    ///
    /// # Errors
    /// [`TailError`].
    pub async fn next(&mut self) -> Result<Option<Event>, TailError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if self.position.is_at_end() {
                self.body = None;
                return Ok(None);
            }
            match self.advance().await {
                Ok(()) => {}
                Err(Stop::Over) => return Ok(None),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Broken(broken)) => self.recover(broken).await?,
            }
        }
    }

    /// Takes what arrives next into `events`, over a new connection where there is none.
    async fn advance(&mut self) -> Result<(), Stop> {
        let mut body = match self.body.take() {
            Some(body) => body,
            None => self.connect().await?,
        };
        let frame = match timeout(SILENCE_MAX, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_)) | None) => return Err(Broken::BrokeOff.into()),
            Err(_elapsed) => return Err(Broken::Silent.into()),
        };
        self.body = Some(body);
        if let Ok(data) = frame.into_data() {
            self.frames.put(&data);
            while let Some(item) = self.frames.take().map_err(Broken::from)? {
                self.note(item)?;
            }
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<Incoming, Stop> {
        let mut request = self.server.get(&self.target());
        if self.connections > 0 {
            request.headers_mut().insert("last-event-id", HeaderValue::from(self.cursor()));
        }
        let mut connection: Connection = self.server.connect().await.map_err(Broken::from)?;
        let response = connection.send(request).await.map_err(Broken::from)?;
        match response.status() {
            StatusCode::OK => {
                self.connections += 1;
                Ok(response.into_body())
            }
            StatusCode::NO_CONTENT => Err(Stop::Over),
            status => {
                let authority = self.server.base().authority();
                let body = collect(response.into_body(), ANSWER_BYTES_MAX, authority);
                let refusal = Refusal::of(status, &body.await.map_err(Broken::from)?);
                if refusal.retriable || status.is_server_error() {
                    return Err(Broken::Refused(refusal).into());
                }
                Err(TailError::Refused(refusal).into())
            }
        }
    }

    fn target(&self) -> String {
        let mut target = format!("/tail?since={}", self.cursor());
        match self.position.end() {
            Some(until) => target.push_str(&format!("&until={until}")),
            None if !self.span.follow => target.push_str("&follow=false"),
            None => {}
        }
        for (name, value) in &self.span.filters {
            target.push_str(&format!("&{name}="));
            encode(&mut target, value);
        }
        target
    }

    fn note(&mut self, item: Item) -> Result<(), Stop> {
        match item {
            Item::Records(records) => {
                self.working();
                self.note_records(&records)
            }
            Item::Control { event, id, data, retry } => {
                if let Ok(retry_ms) = retry.parse() {
                    self.backoff.restart(Duration::from_millis(retry_ms));
                }
                match event.as_str() {
                    "log" => self.note_log(parse(&data)?),
                    "caught-up" => {
                        self.working();
                        let CaughtUp { head } = parse(&data)?;
                        self.events.push_back(Event::CaughtUp { head });
                        Ok(())
                    }
                    "cursor" => Ok(self.position.skip_to(&id)?),
                    "reset" => self.note_reset(parse(&data)?),
                    // What a later version of the protocol may add.
                    _ => Ok(()),
                }
            }
        }
    }

    /// The sound records before a bad one are given out.
    fn note_records(&mut self, records: &Bytes) -> Result<(), Stop> {
        let (len, disorder) = self.position.take(records);
        if len > 0 {
            self.events.push_back(Event::Records(records.slice(..len)));
        }
        match disorder {
            // A record that is spoilt on its way is asked for again.
            Some(Disorder::Record { .. }) if len > 0 => Err(Broken::BrokeOff.into()),
            Some(disorder) => Err(disorder.into()),
            None => Ok(()),
        }
    }

    fn note_log(&mut self, log: Log) -> Result<(), Stop> {
        match &self.origin {
            Some(was) if *was != log.origin => {
                return Err(TailError::OtherLog { was: was.clone(), now: log.origin }.into());
            }
            Some(_) => {}
            None => self.origin = Some(log.origin.clone()),
        }
        self.position.begin(log.first);
        if !self.span.follow && self.cursor() < position::signed(log.head) {
            self.position.end_before(log.head);
        }
        self.outage.back();
        self.events.push_back(Event::Log { origin: log.origin, first: log.first, head: log.head });
        Ok(())
    }

    fn note_reset(&mut self, reset: Reset) -> Result<(), Stop> {
        let cursor = self.cursor();
        match reset.reason.as_str() {
            "gone" => {
                self.position.move_to(reset.first);
                self.events.push_back(Event::Gone { first: reset.first });
                Ok(())
            }
            "ahead" => Err(TailError::Ahead { cursor, head: reset.head }.into()),
            _ => Err(TailError::Reset { cursor, reason: reset.reason }.into()),
        }
    }

    /// Something arrived that shows that the server works.
    fn working(&mut self) {
        self.failing_since = None;
        self.backoff.reset();
    }

    /// Waits before the next connection, or gives up.
    async fn recover(&mut self, broken: Broken) -> Result<(), TailError> {
        self.body = None;
        self.frames.clear();
        if !self.events.is_empty() || self.position.is_at_end() {
            return Ok(());
        }
        self.outage.lost(&broken);
        let wait = self.backoff.wait();
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if let Some(patience) = self.patience
            && Instant::now() + wait > since + patience
        {
            return Err(TailError::GaveUp { patience, last: broken });
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

fn parse<'a, T: Deserialize<'a>>(data: &'a str) -> Result<T, Stop> {
    serde_json::from_str(data).map_err(|_| Disorder::Control { data: data.to_owned() }.into())
}
