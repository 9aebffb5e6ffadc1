//! What is counted of datasets.

use std::time::{SystemTime, UNIX_EPOCH};

use gesta_log_format::Timestamp;
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

/// The figures, registered with the process's recorder.
#[derive(Clone)]
pub(super) struct Metrics {
    pub(super) committed: Counter,
    pub(super) dead_lettered: Counter,
    pub(super) rows: Counter,
    pub(super) events: Counter,
    pub(super) intents: Counter,
    waiting: Gauge,
    oldest: Gauge,
}

impl Metrics {
    pub(super) fn new() -> Self {
        describe_counter!("dataset_batches_total", "Batches that the sink has taken or refused, by result");
        describe_counter!(
            "dataset_rows_total",
            "Rows of the batches that were committed, repeated ones included"
        );
        describe_counter!("dataset_events_total", "Dataset events that this server has appended");
        describe_counter!("dataset_intents_total", "INTENTs that subscriptions to datasets have led to");
        describe_gauge!("outbox_batches", "Batches that wait for the sink");
        describe_gauge!("outbox_oldest_seconds", "How long the oldest of them has waited");
        Self {
            committed: counter!("dataset_batches_total", "result" => "committed"),
            dead_lettered: counter!("dataset_batches_total", "result" => "dead_lettered"),
            rows: counter!("dataset_rows_total"),
            events: counter!("dataset_events_total"),
            intents: counter!("dataset_intents_total"),
            waiting: gauge!("outbox_batches"),
            oldest: gauge!("outbox_oldest_seconds"),
        }
    }

    pub(super) fn waiting(&self, batches: usize, oldest: Option<Timestamp>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.waiting.set(batches as f64);
        self.oldest.set(oldest.map_or(0.0, |oldest| (now - oldest.micros() as f64 / 1e6).max(0.0)));
    }
}
