//! The header `Range` (RFC 9110, section 14): one range of bytes. What asks for anything else is not understood, which
//! means that the whole is sent.

use std::ops::Range;

/// What of a representation is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection {
    Whole,
    /// Not empty and within the length.
    Part(Range<u64>),
    Unsatisfiable,
}

/// What the header's value selects of `len` bytes.
pub(super) fn select(value: &[u8], len: u64) -> Selection {
    let Some((first, last)) = parse(value) else { return Selection::Whole };
    match (first, last) {
        (Some(first), Some(last)) if last < first => Selection::Whole,
        (Some(first), _) if first >= len => Selection::Unsatisfiable,
        (Some(first), last) => {
            Selection::Part(first..last.map_or(len, |last| len.min(last.saturating_add(1))))
        }
        (None, Some(0)) => Selection::Unsatisfiable,
        (None, Some(_)) if len == 0 => Selection::Whole,
        (None, Some(suffix)) => Selection::Part(len.saturating_sub(suffix)..len),
        (None, None) => Selection::Whole,
    }
}

type Ends = (Option<u64>, Option<u64>);

/// The numbers on either side of the hyphen. `None` for another unit, for several ranges and for what is malformed.
fn parse(value: &[u8]) -> Option<Ends> {
    let value = std::str::from_utf8(value).ok()?;
    let (unit, range) = value.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    unit.eq_ignore_ascii_case("bytes").then_some(())?;
    Some((number(first)?, number(last)?))
}

/// A number beyond 2^64 is as far behind the end as any.
#[expect(clippy::option_option, reason = "the outer level says malformed, the inner one says left out")]
fn number(digits: &str) -> Option<Option<u64>> {
    match digits {
        "" => Some(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(Some(digits.parse().unwrap_or(u64::MAX)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, len: u64, expected: Selection) {
        assert_eq!(select(value.as_bytes(), len), expected, "{value} of {len}");
    }

    #[test]
    fn one_range_within_the_length_is_a_part() {
        check("bytes=0-0", 10, Selection::Part(0..1));
        check("bytes=2-4", 10, Selection::Part(2..5));
        check("BYTES=2-4", 10, Selection::Part(2..5));
        check("bytes=9-", 10, Selection::Part(9..10));
        check("bytes=0-", 10, Selection::Part(0..10));
        check("bytes=5-99999999999999999999999", 10, Selection::Part(5..10));
        check("bytes=-3", 10, Selection::Part(7..10));
        check("bytes=-30", 10, Selection::Part(0..10));
        check("bytes=-18446744073709551615", 10, Selection::Part(0..10));
    }

    #[test]
    fn a_range_behind_the_end_is_not_satisfiable() {
        for value in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999-"] {
            check(value, 10, Selection::Unsatisfiable);
        }
        check("bytes=0-", 0, Selection::Unsatisfiable);
    }

    #[test]
    fn what_is_not_one_range_of_bytes_means_the_whole() {
        let others = [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=4-2",
            "bytes=0-1,3-4",
            "items=0-1",
            "bytes=+1-2",
        ];
        for value in others {
            check(value, 10, Selection::Whole);
        }
        check("bytes=-5", 0, Selection::Whole);
        assert_eq!(select(b"bytes=0-\xff", 10), Selection::Whole);
    }
}
