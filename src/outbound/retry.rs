//! When the same attempt is sent again: later each time, bounded, and spread so that many do not come at once.

use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, header::RETRY_AFTER};

use crate::config;
use crate::limits::PUSH_RETRY_AFTER_SECONDS_MAX;

/// What a delay is multiplied with at least and at most.
const SPREAD_MIN: f64 = 0.5;
const SPREAD_MAX: f64 = 1.5;

/// Between which bounds a delay lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The first delay, and the shortest.
    pub(crate) base: Duration,
    pub(crate) longest: Duration,
}

impl Pace {
    pub(crate) fn of(settings: &config::Push) -> Self {
        Self {
            base: Duration::from_millis(settings.resend_ms),
            longest: Duration::from_millis(settings.resend_ms_max),
        }
    }
}

/// The delay behind so many sendings, by a number that was drawn from all of 64 bits: within its bounds, but never under
/// what the other side asks for.
pub(crate) fn delay(pace: Pace, sent: u32, drawn: u64, asked: Option<Duration>) -> Duration {
    let Pace { base, longest } = pace;
    let factor = 1_u32.checked_shl(sent.saturating_sub(1)).unwrap_or(u32::MAX);
    let middle = base.saturating_mul(factor).min(longest);
    // 53 bits, as many as a double holds.
    let share = (drawn >> 11) as f64 / (1_u64 << 53) as f64;
    let spread = middle.mul_f64(SPREAD_MIN + share * (SPREAD_MAX - SPREAD_MIN));
    spread.clamp(base.min(longest), longest).max(asked.unwrap_or_default())
}

/// 64 bits by which a delay is spread.
pub(crate) fn draw() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        // The middle: nothing depends on it but that many do not come at once.
        Err(_no_random_source) => u64::MAX / 2,
    }
}

/// How long an answer asks to wait: a number of seconds, or a date (RFC 9110, 10.2.3). Bounded; what cannot be read asks
/// for nothing.
pub(crate) fn asked(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_no_number) => httpdate::parse_http_date(text).ok()?.duration_since(now).ok()?,
    };
    Some(asked.min(Duration::from_secs(PUSH_RETRY_AFTER_SECONDS_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { base: Duration::from_secs(1), longest: Duration::from_secs(300) };
    const MIDDLE: u64 = u64::MAX / 2;

    #[track_caller]
    fn check(sent: u32, drawn: u64, asked: Option<u64>, seconds: f64) {
        let found = delay(PACE, sent, drawn, asked.map(Duration::from_secs)).as_secs_f64();
        assert!((found - seconds).abs() < 0.01, "{sent} {drawn}: {found}");
    }

    #[test]
    fn a_delay_doubles_from_a_second_to_five_minutes_and_is_spread() {
        check(1, MIDDLE, None, 1.0);
        check(1, 0, None, 1.0);
        check(1, u64::MAX, None, 1.5);
        check(2, MIDDLE, None, 2.0);
        check(2, 0, None, 1.0);
        check(5, MIDDLE, None, 16.0);
        check(9, MIDDLE, None, 256.0);
        for many in [10, 20, 32, 33, u32::MAX] {
            check(many, MIDDLE, None, 300.0);
            check(many, 0, None, 150.0);
            check(many, u64::MAX, None, 300.0);
        }
    }

    #[test]
    fn what_the_other_side_asks_for_is_honoured() {
        check(1, MIDDLE, Some(7), 7.0);
        check(1, MIDDLE, Some(0), 1.0);
        check(9, MIDDLE, Some(7), 256.0);
        check(9, MIDDLE, Some(3600), 3600.0);
    }

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let asked_by = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            asked(&headers, now).map(|asked| asked.as_secs())
        };
        assert_eq!(asked(&HeaderMap::new(), now), None);
        assert_eq!(asked_by("120"), Some(120));
        assert_eq!(asked_by("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(asked_by("Sun, 06 Nov 1994 08:49:36 GMT"), None, "it has passed");
        assert_eq!(asked_by("99999999"), Some(PUSH_RETRY_AFTER_SECONDS_MAX));
        for text in ["", "-1", "1.5", "soon"] {
            assert_eq!(asked_by(text), None, "{text}");
        }
    }
}
