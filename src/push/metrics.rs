//! What is counted of calls.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

use super::verdict::Verdict;

/// The figures, registered with the process's recorder.
#[derive(Clone)]
pub(super) struct Metrics {
    accepted: Counter,
    refused: Counter,
    again: Counter,
    undelivered: Counter,
    opened: Counter,
    pub(super) waiting: Gauge,
    pub(super) unaccepted: Gauge,
    pub(super) open: Gauge,
}

impl Metrics {
    pub(super) fn new() -> Self {
        describe_counter!("push_calls_total", "Tasks that were posted to their handlers' URLs, by result");
        describe_counter!("push_undelivered_total", "Attempts that failed since nobody accepted them");
        describe_counter!(
            "push_circuits_opened_total",
            "Hosts that were left alone since they failed in a row"
        );
        describe_gauge!("push_waiting", "Tasks that wait to be posted");
        describe_gauge!(
            "push_unaccepted",
            "Attempts that were claimed to be posted and that nobody has accepted"
        );
        describe_gauge!("push_circuits_open", "Hosts that are left alone");
        let calls = |result: &'static str| counter!("push_calls_total", "result" => result);
        Self {
            accepted: calls("accepted"),
            refused: calls("refused"),
            again: calls("again"),
            undelivered: counter!("push_undelivered_total"),
            opened: counter!("push_circuits_opened_total"),
            waiting: gauge!("push_waiting"),
            unaccepted: gauge!("push_unaccepted"),
            open: gauge!("push_circuits_open"),
        }
    }

    /// Counts a call.
    pub(super) fn called(&self, verdict: &Verdict) {
        match verdict {
            Verdict::Accepted => self.accepted.increment(1),
            Verdict::Refused { .. } => self.refused.increment(1),
            Verdict::Again { .. } => self.again.increment(1),
        }
    }

    pub(super) fn undelivered(&self) {
        self.undelivered.increment(1);
    }

    pub(super) fn opened(&self) {
        self.opened.increment(1);
    }
}
