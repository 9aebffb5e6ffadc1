//! How long to wait before the next try.

use std::time::Duration;

/// Doubling delays, of which each wait is a random part, so that many clients do not come back all at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits up to `first`, then up to twice that, and so on up to `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next wait: between half of the delay and the delay.
    pub fn wait(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.longest);
        delay.mul_f64(0.5 + 0.5 * draw())
    }

    /// Begins again, with another first delay.
    pub fn restart(&mut self, first: Duration) {
        self.first = first.min(self.longest);
        self.reset();
    }

    /// Begins again.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A number from 0 to 1. Without randomness there is no jitter, and nothing else is lost.
pub(super) fn draw() -> f64 {
    getrandom::u32().map_or(0.5, |draw| f64::from(draw) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_each_is_at_least_half_of_its_delay() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(300));
        for delay_ms in [100, 200, 300, 300] {
            let delay = Duration::from_millis(delay_ms);
            let wait = backoff.wait();
            assert!(wait >= delay / 2 && wait <= delay, "{wait:?} of {delay:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(100));
    }
}
