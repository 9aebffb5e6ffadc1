//! What the server counts. Labels come from bounded configuration only, never from ids.

use std::time::Duration;

use gesta_log_format::log::Batch;
use gesta_replay::event::Verdict;
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// Bounds of the histograms, in seconds: from a fast sync to a stalled disk.
const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
];
const RECORDS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// A histogram of durations, recorded in seconds.
#[derive(Clone)]
pub struct Seconds(Histogram);

impl Seconds {
    pub fn record(&self, duration: Duration) {
        self.0.record(duration.as_secs_f64());
    }
}

/// The log's own figures.
#[derive(Clone)]
pub struct LogMetrics {
    append_total: Counter,
    batch_records: Histogram,
    segment_bytes: Counter,
    /// From a batch's first record to its acknowledgement.
    pub append_seconds: Seconds,
    /// One write and its sync.
    pub sync_seconds: Seconds,
    /// Appends that are answered 503 because the disk is full.
    pub disk_full_total: Counter,
    pub head: Gauge,
    pub watermark: Gauge,
    pub applied: Gauge,
    pub queue_depth: Gauge,
    pub followers: Gauge,
    pub follower_lag_max: Gauge,
    /// Followers whose socket was closed because there are too many.
    pub followers_refused: Counter,
    /// Connections that were closed because they took no byte for too long.
    pub readers_stalled_total: Counter,
    pub tail_bytes_total: Counter,
    pub recovery_seconds: Gauge,
    /// Segments in which the last scrub found damage.
    pub damaged_segments: Gauge,
    /// Records that the newest checkpoint covers.
    pub checkpoint_size: Gauge,
    /// 0 where the log cannot be signed.
    pub checkpoint_signing: Gauge,
}

/// The decider's figures.
#[derive(Clone)]
pub struct DeciderMetrics {
    /// INTENTs that await their DECISION.
    pub lag: Gauge,
    /// From an INTENT's record to its DECISION's, without the sequencer.
    pub decide_seconds: Seconds,
    /// 1 where the decider has ended by a bug.
    pub stopped: Gauge,
    allowed: Counter,
    denied: Counter,
}

impl DeciderMetrics {
    /// The handles, registered with the process's recorder.
    pub fn new() -> Self {
        describe_gauge!("decider_lag", "Intents that await their decision");
        describe_histogram!("decide_seconds", "Time of one decision, without making it durable");
        describe_gauge!("decider_stopped", "1 where the decider has stopped by a bug");
        describe_counter!("decisions_total", "Decisions made durable, by result");
        Self {
            lag: gauge!("decider_lag"),
            decide_seconds: Seconds(histogram!("decide_seconds")),
            stopped: gauge!("decider_stopped"),
            allowed: counter!("decisions_total", "result" => "ALLOW"),
            denied: counter!("decisions_total", "result" => "DENY"),
        }
    }

    pub fn decided(&self, result: Verdict) {
        match result {
            Verdict::Allow => self.allowed.increment(1),
            Verdict::Deny => self.denied.increment(1),
        }
    }
}

impl Default for DeciderMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Starts collecting for the process.
///
/// # Errors
/// The buckets are wrong, or something collects already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(metrics_exporter_prometheus::Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(
            metrics_exporter_prometheus::Matcher::Full("batch_records".to_owned()),
            RECORDS,
        )?
        .build_recorder();
    let handle = recorder.handle();
    // A second server in one process, as tests have, shares the first one's recorder.
    let _ = metrics::set_global_recorder(recorder);
    Ok(handle)
}

impl LogMetrics {
    /// The handles, registered with the process's recorder.
    pub fn new() -> Self {
        describe_counter!("append_total", "Records made durable");
        describe_histogram!("append_seconds", "Time from taking a batch to its acknowledgement");
        describe_histogram!("sync_seconds", "Time of one write and its sync");
        describe_histogram!("batch_records", "Records that one sync made durable");
        describe_counter!("segment_bytes", "Bytes of records appended");
        describe_counter!("disk_full_total", "Appends rejected because the disk is full");
        describe_gauge!("head", "Number of durable records");
        describe_gauge!("watermark", "First index that is not durable");
        describe_gauge!("applied", "First index that the projections have not folded");
        describe_gauge!("queue_depth", "Records that wait for the sequencer");
        describe_gauge!("followers", "Open tails");
        describe_gauge!("follower_lag_max", "Records by which the slowest follower is behind");
        describe_counter!("followers_refused", "Followers closed because there are too many");
        describe_counter!(
            "readers_stalled_total",
            "Connections closed because they took no byte for too long"
        );
        describe_counter!("tail_bytes_total", "Bytes handed to followers");
        describe_gauge!("recovery_seconds", "Time that opening the log took");
        describe_gauge!("damaged_segments", "Segments in which the last scrub found damage");
        describe_gauge!("checkpoint_size", "Records that the newest checkpoint covers");
        describe_gauge!("checkpoint_signing", "0 where the log cannot be signed, else 1");
        Self {
            append_total: counter!("append_total"),
            batch_records: histogram!("batch_records"),
            segment_bytes: counter!("segment_bytes"),
            append_seconds: Seconds(histogram!("append_seconds")),
            sync_seconds: Seconds(histogram!("sync_seconds")),
            disk_full_total: counter!("disk_full_total"),
            head: gauge!("head"),
            watermark: gauge!("watermark"),
            applied: gauge!("applied"),
            queue_depth: gauge!("queue_depth"),
            followers: gauge!("followers"),
            follower_lag_max: gauge!("follower_lag_max"),
            followers_refused: counter!("followers_refused"),
            readers_stalled_total: counter!("readers_stalled_total"),
            tail_bytes_total: counter!("tail_bytes_total"),
            recovery_seconds: gauge!("recovery_seconds"),
            damaged_segments: gauge!("damaged_segments"),
            checkpoint_size: gauge!("checkpoint_size"),
            checkpoint_signing: gauge!("checkpoint_signing"),
        }
    }

    /// Counts a durable batch.
    pub fn appended(&self, batch: &Batch) {
        self.append_total.increment(batch.len() as u64);
        self.batch_records.record(batch.len() as f64);
        self.segment_bytes.increment(batch.bytes().len() as u64);
    }
}

impl Default for LogMetrics {
    fn default() -> Self {
        Self::new()
    }
}
