//! What is counted of tasks.

use gesta_replay::event::HandlerKind;
use gesta_replay::task_lifecycle::{Standing, State, Transition};
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

use super::waiting::Depth;

/// The figures, registered with the process's recorder.
#[derive(Clone)]
pub(super) struct Metrics {
    queued: Counter,
    claimed: Counter,
    extended: Counter,
    timed_out: Counter,
    completed: Counter,
    failed: Counter,
    canceled: Counter,
    retried: Counter,
    /// Fences that were refused.
    pub(super) stale: Counter,
    pub(super) open: Gauge,
    pub(super) leases: Gauge,
    pub(super) deadlines: Gauge,
}

impl Metrics {
    pub(super) fn new() -> Self {
        describe_counter!("task_records_total", "TASK records that this server has appended, by type");
        describe_counter!("tasks_ended_total", "Ends of tasks that this server has recorded, by result");
        describe_counter!(
            "task_stale_attempts_total",
            "Requests of workers whose attempt was not the latest"
        );
        describe_gauge!("tasks_open", "Tasks that are there: queued, claimed, or to be tried again");
        describe_gauge!("task_leases", "Leases that are live");
        describe_gauge!("task_deadlines", "Leases and retries whose time runs");
        describe_gauge!("tasks_waiting", "Tasks that wait for a worker, by kind and pool");
        describe_gauge!("tasks_waiting_oldest_seconds", "How long the oldest of them has waited");
        describe_gauge!("task_claims_waiting", "Claims that wait for a task, by kind and pool");
        let records = |name: &'static str| counter!("task_records_total", "type" => name);
        let ended = |name: &'static str| counter!("tasks_ended_total", "result" => name);
        Self {
            queued: records("queued"),
            claimed: records("claimed"),
            extended: records("extended"),
            timed_out: records("timed_out"),
            retried: records("retry_scheduled"),
            completed: ended("completed"),
            failed: ended("failed"),
            canceled: ended("canceled"),
            stale: counter!("task_stale_attempts_total"),
            open: gauge!("tasks_open"),
            leases: gauge!("task_leases"),
            deadlines: gauge!("task_deadlines"),
        }
    }

    /// Counts the first record of a task.
    pub(super) fn queued(&self) {
        self.queued.increment(1);
    }

    /// Counts a record that is durable.
    pub(super) fn happened(&self, transition: Transition, standing: Standing) {
        match transition {
            Transition::Queued { .. } => self.queued.increment(1),
            Transition::Claimed { .. } => self.claimed.increment(1),
            Transition::Extended { .. } => self.extended.increment(1),
            Transition::TimedOut { .. } => self.timed_out.increment(1),
            Transition::RetryScheduled { .. } => self.retried.increment(1),
            Transition::CancelRequested
            | Transition::Completed { .. }
            | Transition::Failed { .. }
            | Transition::Canceled { .. }
            | Transition::Event { .. }
            | Transition::BufferPublished { .. } => {}
        }
        match standing.state {
            State::Completed => self.completed.increment(1),
            State::Failed => self.failed.increment(1),
            State::Canceled => self.canceled.increment(1),
            State::Queued
            | State::Running
            | State::TimedOut
            | State::AttemptFailed
            | State::RetryScheduled => {}
        }
    }

    /// Shows what waits in a pool. Pools are named by operators, and as many as there are registrations.
    pub(super) fn waiting(depth: &Depth) {
        let (kind, name) = &depth.pool;
        let labels = [("kind", HandlerKind::text(*kind).to_owned()), ("pool", name.clone())];
        gauge!("tasks_waiting", &labels).set(depth.tasks as f64);
        gauge!("tasks_waiting_oldest_seconds", &labels).set(depth.oldest.as_secs_f64());
        gauge!("task_claims_waiting", &labels).set(depth.workers as f64);
    }
}
