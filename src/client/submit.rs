//! Appending intents: what may be repeated is repeated, with the same correlation id, so that it is appended once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use tokio::time::Instant;

use super::{Answer, Backoff, Body, CallError, Caller, FIRST_WAIT, LONGEST_WAIT, Outage, Refusal, Server};

/// An intent is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// It was durable before: nothing was appended.
    pub replayed: bool,
    /// The server's acknowledgement, one line of JSON.
    pub body: Bytes,
}

/// Why an intent is not known to be durable.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Nothing was appended.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The server could not take it for too long; an earlier try may have been appended.
    #[error("given up after {} s: {last}", .patience.as_secs())]
    GaveUp {
        /// For how long it was tried.
        patience: Duration,
        /// How the last try ended.
        last: Trouble,
    },
}

/// How one try ended that may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("{0}")]
    Lost(#[from] CallError),
    #[error("{0}")]
    Refused(Refusal),
}

/// Appends one intent after the other on a connection of its own.
#[derive(Debug)]
pub struct Submitter {
    caller: Caller,
    patience: Duration,
    outage: Arc<Outage>,
}

impl Submitter {
    /// `patience` is how long one intent is tried after its first failure.
    #[must_use]
    pub fn new(server: Server, patience: Duration, outage: Arc<Outage>) -> Self {
        Self { caller: Caller::new(server), patience, outage }
    }

    /// Appends an intent, an `IntentEnvelope` with a correlation id, and waits until it is durable. Dropped before it
    /// returns, the outcome is unknown, and submitting the same bytes again is safe.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn submit(&mut self, envelope: Bytes) -> Result<Acknowledged, SubmitError> {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut failing_since: Option<Instant> = None;
        loop {
            let request = self.caller.server().post("/ingress/intent", Body::new(envelope.clone()));
            let (trouble, asked) = match self.caller.call(request).await {
                Ok(answer) => match judge(&answer) {
                    Ok(acknowledged) => {
                        self.outage.back();
                        return Ok(acknowledged);
                    }
                    Err(refusal) if !refusal.retriable => return Err(SubmitError::Refused(refusal)),
                    Err(refusal) => (Trouble::Refused(refusal), answer.retry_after()),
                },
                Err(lost) => (Trouble::Lost(lost), None),
            };
            self.outage.lost(&trouble);
            let deadline = *failing_since.get_or_insert_with(Instant::now) + self.patience;
            let wait = backoff.wait().max(asked.unwrap_or_default());
            if Instant::now() + wait > deadline {
                return Err(SubmitError::GaveUp { patience: self.patience, last: trouble });
            }
            tokio::time::sleep(wait).await;
        }
    }
}

fn judge(answer: &Answer) -> Result<Acknowledged, Refusal> {
    match answer.status {
        StatusCode::ACCEPTED => Ok(Acknowledged { replayed: false, body: answer.body.clone() }),
        StatusCode::OK => Ok(Acknowledged { replayed: true, body: answer.body.clone() }),
        status => Err(Refusal::of(status, &answer.body)),
    }
}
