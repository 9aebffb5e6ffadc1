//! The time of tasks: durations by the monotonic clock, deadlines in records by the other.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use gesta_log_format::Timestamp;

/// One moment by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since the process started; never falls, never jumps.
    pub running: Duration,
    /// UTC; may jump either way.
    pub wall: Timestamp,
}

/// Where the time comes from. Whoever waits for a deadline waits for the clock that it was set by, so that nothing else
/// can say that it has come.
pub trait Clock: Send + Sync + 'static {
    /// Now, by both.
    fn now(&self) -> Now;

    /// Ends once [`Now::running`] is `running` or more, and no sooner.
    fn until(&self, running: Duration) -> BoxFuture<'static, ()>;
}

/// The system's clocks.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// Running from now on.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
        Now { running: self.0.elapsed(), wall }
    }

    fn until(&self, running: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(running.saturating_sub(self.0.elapsed())))
    }
}

/// A time so much later.
pub(super) fn after(time: Timestamp, delay: Duration) -> Timestamp {
    let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
    Timestamp::from_micros(time.micros().saturating_add(micros))
}

/// From `earlier` to `later`; nothing where they are the other way round.
pub(super) fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::from_micros(later.micros().saturating_sub(earlier.micros()))
}
