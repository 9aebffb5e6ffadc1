//! Tail tickets: what a browser's EventSource, which sends no headers, shows instead of a token.
//!
//! A ticket is first used within a minute, then good for one connection and its reconnects: a second connection takes
//! over from the first. Tickets live in memory alone, in a bounded number, and do not survive a restart: the client
//! then gets 401 and asks for a new one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::principal::Principal;
use super::token::{TokenDigest, random};
use crate::config;
use crate::problem::{Problem, ReasonCode};

/// How many tickets there may be, and for how long they wait.
#[derive(Debug, Clone, Copy)]
pub struct TicketBounds {
    pub tickets_max: usize,
    /// Until the first use.
    pub first_use_max: Duration,
    /// From the end of one connection to the next.
    pub reconnect_max: Duration,
}

impl From<&config::Auth> for TicketBounds {
    fn from(config: &config::Auth) -> Self {
        Self {
            tickets_max: config.tickets_max,
            first_use_max: Duration::from_secs(config.ticket_seconds_max),
            reconnect_max: Duration::from_secs(config.ticket_reconnect_seconds_max),
        }
    }
}

/// The tickets in use, by the beginning of their digest.
#[derive(Debug)]
pub struct Tickets {
    bounds: TicketBounds,
    held: Mutex<HashMap<[u8; 8], Ticket>>,
}

#[derive(Debug)]
struct Ticket {
    digest: TokenDigest,
    principal: Arc<Principal>,
    /// When the ticket ends; `None` while a connection has it.
    until: Option<Instant>,
    /// How many connections have had it. Each watches for the next.
    turn: watch::Sender<u64>,
}

impl Tickets {
    pub fn new(bounds: TicketBounds) -> Self {
        Self { bounds, held: Mutex::new(HashMap::new()) }
    }

    /// Makes a ticket for a principal.
    ///
    /// # Errors
    /// `TICKETS_FULL` when the bound is reached and no ticket has ended; `INTERNAL` without a random source.
    pub fn issue(&self, principal: Arc<Principal>) -> Result<String, Problem> {
        let text = random("ticket").map_err(|error| {
            tracing::error!(%error, "the random source failed");
            Problem::new(ReasonCode::Internal)
        })?;
        let digest = TokenDigest::of(text.as_bytes());
        let now = Instant::now();
        let mut held = self.lock();
        if held.len() >= self.bounds.tickets_max {
            held.retain(|_, ticket| !ticket.ended(now));
        }
        if held.len() >= self.bounds.tickets_max {
            return Err(Problem::new(ReasonCode::TicketsFull));
        }
        let until = Some(now + self.bounds.first_use_max);
        held.insert(digest.bucket(), Ticket { digest, principal, until, turn: watch::channel(0).0 });
        Ok(text)
    }

    /// Hands a ticket to a connection, which takes it from any earlier one. `None` if it is unknown or has ended.
    pub fn redeem(self: &Arc<Self>, digest: TokenDigest) -> Option<TicketUse> {
        let mut held = self.lock();
        let ticket = held.get_mut(&digest.bucket()).filter(|ticket| ticket.digest == digest)?;
        if ticket.ended(Instant::now()) {
            held.remove(&digest.bucket());
            return None;
        }
        ticket.until = None;
        ticket.turn.send_modify(|turn| *turn += 1);
        let watched = ticket.turn.subscribe();
        let turn = *watched.borrow();
        Some(TicketUse {
            tickets: Arc::clone(self),
            digest,
            principal: Arc::clone(&ticket.principal),
            turn,
            watched,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 8], Ticket>> {
        // No code that holds the lock leaves the map half changed, so a panic elsewhere does not spoil it.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    fn ended(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until < now)
    }
}

/// One connection's hold of a ticket. When it is dropped, the ticket waits for a reconnect.
#[derive(Debug)]
pub struct TicketUse {
    tickets: Arc<Tickets>,
    digest: TokenDigest,
    principal: Arc<Principal>,
    turn: u64,
    watched: watch::Receiver<u64>,
}

impl TicketUse {
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// Waits until another connection takes the ticket; this one then ends.
    pub async fn superseded(&mut self) {
        let turn = self.turn;
        // An error says that the ticket itself is gone, which ends the connection as well.
        let _ = self.watched.wait_for(|current| *current != turn).await;
    }
}

impl Drop for TicketUse {
    fn drop(&mut self) {
        let until = Instant::now() + self.tickets.bounds.reconnect_max;
        if let Some(ticket) = self.tickets.lock().get_mut(&self.digest.bucket())
            && *self.watched.borrow() == self.turn
        {
            ticket.until = Some(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: TicketBounds = TicketBounds {
        tickets_max: 2,
        first_use_max: Duration::from_secs(60),
        reconnect_max: Duration::from_secs(600),
    };

    fn tickets() -> Arc<Tickets> {
        Arc::new(Tickets::new(BOUNDS))
    }

    fn issue(tickets: &Tickets) -> TokenDigest {
        TokenDigest::of(tickets.issue(Arc::new(Principal::local())).unwrap().as_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_used_within_a_minute_or_never() {
        let tickets = tickets();
        let (early, late) = (issue(&tickets), issue(&tickets));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(tickets.redeem(early).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(tickets.redeem(late).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_used_ticket_outlives_its_minute_and_waits_for_reconnects() {
        let tickets = tickets();
        let digest = issue(&tickets);
        let used = tickets.redeem(digest).unwrap();
        tokio::time::advance(Duration::from_secs(86_400)).await;
        drop(used);
        tokio::time::advance(Duration::from_secs(600)).await;
        drop(tickets.redeem(digest).unwrap());
        tokio::time::advance(Duration::from_secs(601)).await;
        assert!(tickets.redeem(digest).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_connection_takes_the_ticket_from_the_first() {
        let tickets = tickets();
        let digest = issue(&tickets);
        let mut first = tickets.redeem(digest).unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(1), first.superseded()).await.is_err());
        let second = tickets.redeem(digest).unwrap();
        first.superseded().await;
        drop(first);
        tokio::time::advance(Duration::from_secs(601)).await;
        let mut third = tickets.redeem(digest).expect("the second connection still had it");
        drop(second);
        assert!(tokio::time::timeout(Duration::from_secs(601), third.superseded()).await.is_err());
        assert!(tickets.redeem(digest).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn tickets_are_bounded_and_ended_ones_make_room() {
        let tickets = tickets();
        let open = tickets.redeem(issue(&tickets)).unwrap();
        issue(&tickets);
        let refused = tickets.issue(Arc::new(Principal::local())).unwrap_err();
        assert_eq!(refused.code(), ReasonCode::TicketsFull);
        tokio::time::advance(Duration::from_secs(61)).await;
        issue(&tickets);
        drop(open);
    }
}
