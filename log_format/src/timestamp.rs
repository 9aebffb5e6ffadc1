//! UTC with microseconds, written at a fixed width.

use std::fmt;

/// Microseconds since 1970-01-01T00:00:00Z, leap seconds not counted. Years 1970 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(u64);

const MICROS: u64 = 1_000_000;
const DAY: u64 = 86_400;

impl Timestamp {
    /// The length of a written timestamp in bytes: `2026-11-20T04:10:33.123456Z`.
    pub const TEXT_LEN: usize = 27;

    /// 9999-12-31T23:59:59.999999Z.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// The instant `micros` after the epoch, at most [`Timestamp::MAX`].
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        if micros > Self::MAX.0 { Self::MAX } else { Self(micros) }
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The written form, RFC 3339 with six decimals and `Z`.
    #[must_use]
    pub fn text(self) -> [u8; Self::TEXT_LEN] {
        let seconds = self.0 / MICROS;
        let (year, month, day) = civil(seconds / DAY);
        let clock = seconds % DAY;
        let mut out = *b"0000-00-00T00:00:00.000000Z";
        digits(&mut out, 0..4, year);
        digits(&mut out, 5..7, month);
        digits(&mut out, 8..10, day);
        digits(&mut out, 11..13, clock / 3600);
        digits(&mut out, 14..16, clock / 60 % 60);
        digits(&mut out, 17..19, clock % 60);
        digits(&mut out, 20..26, self.0 % MICROS);
        out
    }

    /// Reads the written form; anything else is `None`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let number = |range: std::ops::Range<usize>| -> Option<u64> {
            std::str::from_utf8(text.get(range)?).ok()?.parse().ok()
        };
        let days = days_before(number(0..4)?, number(5..7)?, number(8..10)?)?;
        let clock = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
        let found = Self::from_micros((days * DAY + clock) * MICROS + number(20..26)?);
        (found.text() == text).then_some(found)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

fn digits(out: &mut [u8; Timestamp::TEXT_LEN], range: std::ops::Range<usize>, mut value: u64) {
    for place in out.get_mut(range).into_iter().flatten().rev() {
        *place = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

/// Year, month and day of the proleptic Gregorian calendar, `days` after the epoch.
///
/// Counts in years that begin in March, so that the leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

fn days_before(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year.checked_sub(u64::from(month <= 2))?;
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let year_of_era = year % 400;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    (year / 400 * 146_097 + of_era).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(micros: u64, text: &str) {
        assert_eq!(Timestamp::from_micros(micros).to_string(), text);
        assert_eq!(Timestamp::parse(text.as_bytes()), Some(Timestamp::from_micros(micros)));
    }

    #[test]
    fn known_instants_are_written_and_read() {
        check(0, "1970-01-01T00:00:00.000000Z");
        check(951_782_400_000_001, "2000-02-29T00:00:00.000001Z");
        check(1_793_592_633_123_456, "2026-11-02T04:10:33.123456Z");
        check(Timestamp::MAX.micros(), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn every_day_of_four_centuries_reads_back() {
        for day in 0..146_097 {
            let instant = Timestamp::from_micros(day * DAY * MICROS);
            assert_eq!(Timestamp::parse(&instant.text()), Some(instant));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in ["1970-01-01T00:00:00Z", "1970-02-30T00:00:00.000000Z", "1970-01-01 00:00:00.000000Z", ""]
        {
            assert_eq!(Timestamp::parse(text.as_bytes()), None, "{text}");
        }
    }
}
