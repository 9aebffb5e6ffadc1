//! One follower: a position and the watermark. No private queue, no ring to fall out of, no seam between catching up
//! and following; a slow client costs one number.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use gesta_log_format::Index;
use http_body::Frame;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};

use super::TailShared;
use super::control;
use super::filter::Filter;
use super::followers::Follower;
use super::history::{self, LogCursor, Read};
use super::live::Registration;
use super::query::Span;
use crate::auth::TicketUse;
use crate::store::LookupError;

/// A follower that is further behind than this reads from the disk in whole chunks instead of group by group.
const LIVE_LAG_RECORDS_MAX: u64 = 512;

/// Why a tail's connection is closed in the middle: the client comes back and resumes.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("the server is shutting down")]
    Draining,
    #[error("the ticket is used by another connection")]
    Superseded,
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("reading the log was cancelled")]
    Cancelled,
}

/// The body of a tail's response.
pub struct TailBody {
    shared: Arc<TailShared>,
    filter: Option<Arc<Filter>>,
    follower: Follower,
    ticket: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Said before anything else.
    opening: Option<Bytes>,
    /// The opening was all: nothing follows.
    only_opening: bool,
    /// The first index that was not looked at.
    next: Index,
    /// The first index that the client's cursor does not cover.
    told: Index,
    /// The head when the tail was asked for. Its client may know of records that followers were not woken for yet.
    head_at_start: Index,
    stop: Option<Index>,
    caught_up: bool,
    ended: bool,
    cursor: Option<LogCursor>,
    reading: Option<JoinHandle<Result<Read, LookupError>>>,
    registration: Registration,
    timer: Option<Pin<Box<Sleep>>>,
    last_sent: Instant,
    /// When the client's cursor fell behind what was looked at.
    skipping_since: Option<Instant>,
    /// Why the connection is about to be closed, once what was given out before has left.
    breaking: Option<Broken>,
}

impl TailBody {
    pub(super) fn new(
        shared: Arc<TailShared>,
        filter: Option<Filter>,
        follower: Follower,
        ticket: Option<TicketUse>,
        opening: String,
        span: Option<Span>,
    ) -> Self {
        let only_opening = span.is_none();
        let Span { next, stop } = span.unwrap_or(Span { next: Index::ZERO, stop: None });
        let head_at_start = shared.store.live.published();
        Self {
            shared,
            filter: filter.map(Arc::new),
            follower,
            ticket: ticket.map(|mut ticket| -> Pin<Box<dyn Future<Output = ()> + Send>> {
                Box::pin(async move { ticket.superseded().await })
            }),
            opening: Some(opening.into()),
            only_opening,
            next,
            told: next,
            head_at_start,
            stop,
            caught_up: false,
            ended: false,
            cursor: None,
            reading: None,
            registration: Registration::default(),
            timer: None,
            last_sent: Instant::now(),
            skipping_since: None,
            breaking: None,
        }
    }

    /// As [`Self::poll_bytes`], but an error comes one poll after the bytes in front of it: a connection drops what it
    /// has not written when its body fails, and the client would lose even the head of the answer.
    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if let Some(broken) = self.breaking.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        match self.poll_bytes(cx) {
            Poll::Ready(Some(Err(broken))) => {
                self.breaking = Some(broken);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            other => other,
        }
    }

    /// The next bytes to send; none at the end.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            if let Some(broken) = self.broken(cx) {
                return Poll::Ready(Some(Err(broken)));
            }
            if let Some(opening) = self.opening.take() {
                return self.send(opening);
            }
            if self.only_opening || self.ended {
                return Poll::Ready(None);
            }
            if self.reading.is_some() {
                match ready!(self.poll_history(cx)) {
                    Ok(Some(bytes)) => return self.send(bytes),
                    Ok(None) => continue,
                    Err(broken) => return Poll::Ready(Some(Err(broken))),
                }
            }
            if self.stop.is_some_and(|stop| self.next >= stop) {
                self.ended = true;
                if let Some(cursor) = self.take_cursor() {
                    return self.send(cursor);
                }
                continue;
            }
            if let Some(cursor) = self.cursor_if_due() {
                return self.send(cursor);
            }
            let head = self.head();
            if self.next < head {
                if let Some(bytes) = self.advance(head) {
                    return self.send(bytes);
                }
                continue;
            }
            if !self.caught_up {
                self.caught_up = true;
                let mut said = self.take_cursor().map(Vec::from).unwrap_or_default();
                said.extend_from_slice(control::caught_up(self.next, head).as_bytes());
                return self.send(said.into());
            }
            return self.poll_idle(cx, head);
        }
    }

    /// How far this follower may look: to where followers are woken for, and from the beginning to all that was
    /// acknowledged when it came.
    fn head(&self) -> Index {
        self.shared.store.live.head().max(self.head_at_start)
    }

    /// Why this connection should be closed now, if it should.
    fn broken(&mut self, cx: &mut Context<'_>) -> Option<Broken> {
        if self.shared.is_draining() {
            return Some(Broken::Draining);
        }
        let ticket = self.ticket.as_mut()?;
        ticket.as_mut().poll(cx).is_ready().then_some(Broken::Superseded)
    }

    /// Waits for the head to move on, for the next heartbeat, or for the cursor to be due.
    fn poll_idle(&mut self, cx: &mut Context<'_>, head: Index) -> Poll<Option<Result<Bytes, Broken>>> {
        self.shared.store.live.register(cx, &mut self.registration);
        if self.head() > head || self.shared.is_draining() {
            // It moved between the look and the registration.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let deadline = self.deadline();
            if deadline <= Instant::now() {
                return match self.cursor_if_due() {
                    Some(cursor) => self.send(cursor),
                    None => self.send(control::HEARTBEAT),
                };
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if timer.deadline() > deadline || timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
        }
    }

    fn deadline(&self) -> Instant {
        let heartbeat = self.last_sent + self.shared.heartbeat;
        match self.skipping_since {
            Some(since) => heartbeat.min(since + self.shared.cursor_patience),
            None => heartbeat,
        }
    }

    /// Moves on towards `head`: from memory where the records are there, else by starting to read the disk.
    fn advance(&mut self, head: Index) -> Option<Bytes> {
        let stop = self.stop.unwrap_or(head).min(head);
        let near = self.caught_up || head.since(self.next) <= LIVE_LAG_RECORDS_MAX;
        let group = near.then(|| self.shared.store.live.holding(self.next)).flatten();
        let Some(group) = group else {
            if head.since(self.next) > LIVE_LAG_RECORDS_MAX {
                self.caught_up = false;
            }
            self.start_reading(stop);
            return None;
        };
        let end = group.end().min(stop);
        let from = self.next;
        self.next = end;
        self.cursor = None;
        let Some(filter) = &self.filter else {
            self.told = end;
            return Some(group.slice(from, end));
        };
        let selected = group.select(from, end, |fields, data| filter.matches_fields(fields, data));
        let last = selected.last().map(|(index, _)| index.next());
        self.note_shown(last);
        match <[_; 1]>::try_from(selected) {
            Ok([(_, bytes)]) => Some(bytes),
            Err(selected) => {
                let bytes: Vec<u8> = selected.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
                (!bytes.is_empty()).then(|| bytes.into())
            }
        }
    }

    fn start_reading(&mut self, end: Index) {
        let cursor = self.cursor.take().filter(|cursor| cursor.next() == self.next);
        let cursor = cursor.unwrap_or_else(|| LogCursor::at(self.next));
        let (shared, filter) = (Arc::clone(&self.shared), self.filter.clone());
        self.reading = Some(tokio::task::spawn_blocking(move || {
            history::read(&shared.store, &shared.budget, filter.as_deref(), cursor, end)
        }));
    }

    fn poll_history(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
        let Some(reading) = &mut self.reading else { return Poll::Ready(Ok(None)) };
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let read = match read {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                tracing::error!(%error, index = self.next.0, "a tail cannot read the log");
                return Poll::Ready(Err(error.into()));
            }
            Err(_cancelled) => return Poll::Ready(Err(Broken::Cancelled)),
        };
        self.next = read.next;
        self.cursor = Some(read.cursor);
        if self.filter.is_some() {
            self.note_shown(read.shown);
        } else {
            self.told = read.next;
        }
        Poll::Ready(Ok((!read.bytes.is_empty()).then_some(read.bytes)))
    }

    /// Notes how far the client's cursor is after records up to `shown` were sent.
    fn note_shown(&mut self, shown: Option<Index>) {
        if let Some(shown) = shown {
            self.told = shown;
            self.skipping_since = None;
        }
        if self.told < self.next {
            self.skipping_since.get_or_insert_with(Instant::now);
        } else {
            self.skipping_since = None;
        }
    }

    fn cursor_if_due(&mut self) -> Option<Bytes> {
        let due = self.skipping_since? + self.shared.cursor_patience <= Instant::now();
        if due { self.take_cursor() } else { None }
    }

    /// A cursor block, where the client's cursor is behind what was looked at.
    fn take_cursor(&mut self) -> Option<Bytes> {
        self.skipping_since = None;
        if self.told >= self.next {
            return None;
        }
        self.told = self.next;
        Some(control::cursor(Index(self.next.0 - 1)).into())
    }

    fn send(&mut self, bytes: Bytes) -> Poll<Option<Result<Bytes, Broken>>> {
        self.last_sent = Instant::now();
        self.shared.metrics.tail_bytes_total.increment(bytes.len() as u64);
        Poll::Ready(Some(Ok(bytes)))
    }
}

impl http_body::Body for TailBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let bytes = self.poll_flushed(cx);
        let next = self.next;
        self.follower.stamp(next);
        bytes.map(|bytes| bytes.map(|bytes| bytes.map(Frame::data)))
    }
}

/// How long a stalled follower is waited for: its body is polled at least once in a heartbeat unless its client takes
/// nothing.
pub(super) fn stall_patience(heartbeat: Duration, idle: Duration) -> Duration {
    heartbeat + idle
}
