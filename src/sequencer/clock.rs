//! The time that records carry.

use std::time::{SystemTime, UNIX_EPOCH};

use gesta_log_format::Timestamp;

/// Where the time comes from.
pub trait Clock: Send + 'static {
    /// UTC now; may jump either way.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

/// The times of records: those of the clock, but never decreasing.
#[derive(Debug)]
pub(super) struct RecordClock<C> {
    clock: C,
    newest: Timestamp,
    behind: bool,
}

/// What the clock says, and what a record gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// What a record gets.
    pub(super) recorded_at: Timestamp,
    /// The clock has fallen back since the last reading, and this is the first that shows it: by how much, in
    /// microseconds.
    pub(super) fell_back_us: Option<u64>,
}

impl<C: Clock> RecordClock<C> {
    pub(super) fn new(clock: C, newest: Timestamp) -> Self {
        Self { clock, newest, behind: false }
    }

    pub(super) fn read(&mut self) -> Reading {
        let now = self.clock.now();
        let behind_us = self.newest.micros().saturating_sub(now.micros());
        let fell_back_us = (behind_us > 0 && !self.behind).then_some(behind_us);
        self.behind = behind_us > 0;
        self.newest = self.newest.max(now);
        Reading { recorded_at: self.newest, fell_back_us }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[derive(Clone, Default)]
    struct Hands(std::sync::Arc<std::sync::atomic::AtomicU64>);

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.0.load(std::sync::atomic::Ordering::Relaxed))
        }
    }

    #[test]
    fn times_never_decrease_and_a_fall_is_told_once() {
        let hands = Hands::default();
        let told = Rc::new(Cell::new(0));
        let mut clock = RecordClock::new(hands.clone(), Timestamp::from_micros(100));
        let mut read = |now: u64| {
            hands.0.store(now, std::sync::atomic::Ordering::Relaxed);
            let reading = clock.read();
            told.set(told.get() + u32::from(reading.fell_back_us.is_some()));
            reading
        };
        assert_eq!(read(90), Reading { recorded_at: Timestamp::from_micros(100), fell_back_us: Some(10) });
        assert_eq!(read(95), Reading { recorded_at: Timestamp::from_micros(100), fell_back_us: None });
        assert_eq!(read(120), Reading { recorded_at: Timestamp::from_micros(120), fell_back_us: None });
        assert_eq!(read(50).fell_back_us, Some(70));
        assert_eq!(told.get(), 2);
    }
}
