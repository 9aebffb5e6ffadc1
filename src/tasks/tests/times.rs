//! When each record was made, as narrowly as the schedule knows it, and what the contract makes of that: how long a lease
//! lasts by the time that really passes, and what a restart gives.

use std::time::Duration;

use gesta_log_format::{Index, Timestamp};
use serde_json::Value;

use super::schedule::{Journal, Round};
use super::world::Started;
use crate::limits::TASK_RETRY_MS_MAX;

/// How many periods beyond its recorded deadline a lease may live after a restart.
const PERIODS: u32 = 3;

/// The moments of a schedule.
#[derive(Clone)]
pub(super) struct Times {
    rounds: Vec<Round>,
    starts: Vec<Started>,
}

pub(super) fn millis(value: &Value) -> Duration {
    Duration::from_millis(value.as_u64().unwrap())
}

fn index(record: &Value) -> Index {
    Index(record["index"].as_u64().unwrap())
}

/// From one wall time to another; nothing where they are the other way round.
fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::from_micros(later.micros().saturating_sub(earlier.micros()))
}

fn time(value: &Value) -> Timestamp {
    Timestamp::parse(value.as_str().unwrap().as_bytes()).unwrap()
}

impl Times {
    pub(super) fn of(journal: &Journal) -> Self {
        Self { rounds: journal.rounds.clone(), starts: journal.starts.clone() }
    }

    /// The heads of the log and the times at which everything that was due had happened.
    pub(super) fn rests(&self) -> impl Iterator<Item = (u64, Duration)> {
        self.rounds.iter().filter(|round| round.is_quiet).map(|round| (round.head.0, round.time))
    }

    /// The same, of nothing that happened when the log was longer.
    pub(super) fn as_of(&self, head: u64) -> Self {
        let starts = self.starts.iter().filter(|start| start.head.0 <= head).copied().collect();
        Self { rounds: self.rounds.clone(), starts }
    }

    /// Nobody made the record before.
    fn earliest(&self, record: &Value) -> Duration {
        let index = index(record);
        self.rounds.iter().rfind(|round| round.head <= index).map_or(Duration::ZERO, |round| round.time)
    }

    /// Nobody made the record later.
    pub(super) fn latest(&self, record: &Value) -> Duration {
        let index = index(record);
        let round = self.rounds.iter().find(|round| round.head > index);
        round.or(self.rounds.last()).map_or(Duration::ZERO, |round| round.time)
    }

    /// The process that was the last to start with the record in its log, of those that started before `behind`.
    fn restart(&self, record: &Value) -> Option<Started> {
        let index = index(record);
        self.starts.iter().rfind(|start| start.head > index).copied()
    }
}

/// What has its end at the earliest, and at the latest.
type Span = (Duration, Duration);

impl Times {
    /// When a lease ends that was begun or extended by the record.
    pub(super) fn lease_ends(&self, renewed: &Value, lease: Duration) -> Span {
        match self.restart(renewed) {
            None => (self.earliest(renewed) + lease, self.latest(renewed) + lease),
            Some(start) => {
                let end = start.at.time + grace(renewed, lease, start);
                (end, end)
            }
        }
    }

    /// When an attempt ends that was claimed by the record, whatever its worker says.
    pub(super) fn attempt_ends(
        &self,
        claimed: &Value,
        renewed: &Value,
        lease: Duration,
        timeout: Duration,
    ) -> Span {
        let Some(start) = self.restart(claimed) else {
            return (self.earliest(claimed) + timeout, self.latest(claimed) + timeout);
        };
        // What the process saw first: an extension that came later gives no other grace.
        let seen = if start.head > index(renewed) { renewed } else { claimed };
        let spent = between(time(&claimed["recorded_at"]), start.at.wall);
        let left = timeout.saturating_sub(spent);
        let at_least = left.max(if seen == renewed { grace(seen, lease, start) } else { Duration::ZERO });
        (start.at.time + at_least, start.at.time + left.max(lease))
    }

    /// When a task is to be queued again by the record that says so.
    pub(super) fn retry_is_due(&self, scheduled: &Value) -> Span {
        match self.restart(scheduled) {
            None => {
                let delay = millis(&scheduled["payload"]["delay_ms"]);
                (self.earliest(scheduled) + delay, self.latest(scheduled) + delay)
            }
            Some(start) => {
                let left = between(start.at.wall, time(&scheduled["payload"]["next_retry_at"]));
                let longest = Duration::from_millis(TASK_RETRY_MS_MAX) * 3 / 2;
                let end = start.at.time + left.min(longest);
                (end, end)
            }
        }
    }
}

/// One full period, but never more than three beyond the recorded deadline.
fn grace(renewed: &Value, lease: Duration, start: Started) -> Duration {
    let deadline = time(&renewed["payload"]["lease_expires_at"]).micros();
    let periods = u64::try_from((lease * PERIODS).as_micros()).unwrap();
    lease.min(between(start.at.wall, Timestamp::from_micros(deadline + periods)))
}
