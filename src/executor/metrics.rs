//! What is counted of executions.

use std::time::Duration;

use gesta_replay::lifecycle::Transition;
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

/// The figures, registered with the process's recorder.
#[derive(Clone)]
pub struct Metrics {
    open: Gauge,
    completed: Counter,
    failed: Counter,
    cancelled: Counter,
    invoke_seconds: Histogram,
}

impl Metrics {
    pub fn new() -> Self {
        describe_gauge!("executions_open", "Executions that were allowed and have not ended");
        describe_counter!(
            "executions_ended_total",
            "Ends of executions that this server has recorded, by result"
        );
        describe_histogram!(
            "execution_invoke_seconds",
            "Time that a builtin handler took, also where it failed"
        );
        Self {
            open: gauge!("executions_open"),
            completed: counter!("executions_ended_total", "result" => "completed"),
            failed: counter!("executions_ended_total", "result" => "failed"),
            cancelled: counter!("executions_ended_total", "result" => "cancelled"),
            invoke_seconds: histogram!("execution_invoke_seconds"),
        }
    }

    pub(super) fn set_open(&self, open: usize) {
        self.open.set(open as f64);
    }

    pub(super) fn invoked(&self, took: Duration) {
        self.invoke_seconds.record(took.as_secs_f64());
    }

    /// Counts a record that is durable.
    pub(super) fn happened(&self, transition: Transition) {
        match transition {
            Transition::Completed => self.completed.increment(1),
            Transition::Failed => self.failed.increment(1),
            Transition::Cancelled => self.cancelled.increment(1),
            Transition::Running { .. }
            | Transition::Event
            | Transition::StepCompleted
            | Transition::StepFailed => {}
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
