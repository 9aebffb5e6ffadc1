//! What is counted of events.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

/// What became of an attempt to post one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Posted {
    Accepted,
    /// The other side wants it not, or nobody does any more.
    Dropped,
    Again,
}

/// The figures, registered with the process's recorder.
#[derive(Clone)]
pub(super) struct Metrics {
    accepted: Counter,
    dropped: Counter,
    again: Counter,
    logged: Counter,
    waiting: Gauge,
}

impl Metrics {
    pub(super) fn new() -> Self {
        describe_counter!("publish_posts_total", "Events that were posted to webhooks, by result");
        describe_counter!("publish_logged_total", "Events that were written to the server's own log");
        describe_gauge!("publish_waiting", "Events that wait to be posted");
        let posts = |result: &'static str| counter!("publish_posts_total", "result" => result);
        Self {
            accepted: posts("accepted"),
            dropped: posts("dropped"),
            again: posts("again"),
            logged: counter!("publish_logged_total"),
            waiting: gauge!("publish_waiting"),
        }
    }

    pub(super) fn posted(&self, posted: Posted) {
        match posted {
            Posted::Accepted => self.accepted.increment(1),
            Posted::Dropped => self.dropped.increment(1),
            Posted::Again => self.again.increment(1),
        }
    }

    pub(super) fn logged(&self) {
        self.logged.increment(1);
    }

    pub(super) fn waiting(&self, count: usize) {
        self.waiting.set(count as f64);
    }
}
