//! When the next request is due, and the histograms of what came of it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// Nanoseconds from 1 µs to a minute, three significant digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("the bounds are in order")
}

/// A quantile in microseconds.
pub(crate) fn micros(times: &Histogram<u64>, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64 / 1_000.0
}

/// When requests are due. `Closed`: whenever a connection is free. `Open`: at fixed times, whatever
/// the server does, so that a stall shows in every request that it delays.
pub(crate) enum Schedule {
    Closed { remaining: u64 },
    Open { start: Instant, period: Duration, next: u32 },
}

impl Schedule {
    pub(crate) fn open(start: Instant, rate: f64) -> Self {
        Self::Open { start, period: Duration::from_secs_f64(1.0 / rate), next: 0 }
    }

    /// Takes the next request if it is due: the time from which its latency counts.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Instant> {
        match self {
            Self::Closed { remaining } => {
                *remaining = remaining.checked_sub(1)?;
                Some(now)
            }
            Self::Open { start, period, next } => {
                let due = *start + *period * *next;
                (due <= now).then(|| {
                    *next += 1;
                    due
                })
            }
        }
    }

    /// Open requests that were due by `end` and were never taken.
    pub(crate) fn unsent(&self, end: Instant) -> u64 {
        match self {
            Self::Closed { .. } => 0,
            Self::Open { start, period, next } => {
                let due = end.duration_since(*start).as_secs_f64() / period.as_secs_f64();
                (due as u64).saturating_sub(u64::from(*next))
            }
        }
    }
}

/// A timer that wakes the poll. Epoll's own time-out counts whole milliseconds, too coarse for
/// latencies below one.
pub(crate) struct Ticker(OwnedFd);

impl Ticker {
    /// Fires each `period`, but at most 20,000 times a second.
    pub(crate) fn start(registry: &Registry, token: Token, period: Duration) -> std::io::Result<Self> {
        let period = period.max(Duration::from_micros(50));
        let spec = Timespec { tv_sec: period.as_secs() as i64, tv_nsec: i64::from(period.subsec_nanos()) };
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        let every = Itimerspec { it_interval: spec, it_value: spec };
        timerfd_settime(&fd, TimerfdTimerFlags::empty(), &every)?;
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self(fd))
    }

    /// Takes the expirations so far, so that the next one shows as a new edge.
    pub(crate) fn clear(&self) {
        // An empty timer answers EAGAIN, which is as good as cleared.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}
