//! The delay before another attempt: doubled each time, bounded, and spread so that many do not come back at once.

use std::time::Duration;

use crate::limits::TASK_RETRY_MS_MAX;

/// What a delay is multiplied with at least and at most.
const RETRY_SPREAD_MIN: f64 = 0.5;
pub(super) const RETRY_SPREAD_MAX: f64 = 1.5;

/// The delay after an attempt, in whole milliseconds, by a number that was drawn from all of 64 bits.
pub(super) fn delay(base: Duration, attempt: u64, drawn: u64) -> Duration {
    let longest = Duration::from_millis(TASK_RETRY_MS_MAX);
    let doublings = u32::try_from(attempt).unwrap_or(u32::MAX);
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    let middle = base.saturating_mul(factor).min(longest);
    // 53 bits, as many as a double holds.
    let share = (drawn >> 11) as f64 / (1_u64 << 53) as f64;
    let spread = RETRY_SPREAD_MIN + share * (RETRY_SPREAD_MAX - RETRY_SPREAD_MIN);
    Duration::from_millis(u64::try_from(middle.mul_f64(spread).as_millis()).unwrap_or(u64::MAX))
}

/// 64 bits by which a delay is spread.
pub(super) fn draw() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        // The middle: nothing depends on it but that many retries do not come at once.
        Err(_no_random_source) => u64::MAX / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(attempt: u64, drawn: u64, seconds: f64) {
        let found = delay(Duration::from_secs(30), attempt, drawn).as_secs_f64();
        assert!((found - seconds).abs() < 0.01, "attempt {attempt}, drawn {drawn}: {found}");
    }

    #[test]
    fn a_delay_doubles_with_each_attempt_up_to_ten_minutes_and_is_spread_by_half() {
        check(1, u64::MAX / 2, 60.0);
        check(1, 0, 30.0);
        check(1, u64::MAX, 90.0);
        check(2, u64::MAX / 2, 120.0);
        check(4, u64::MAX / 2, 480.0);
        for many in [5, 6, 31, 32, 64, u64::MAX] {
            check(many, u64::MAX / 2, 600.0);
            check(many, u64::MAX, 900.0);
        }
    }
}
