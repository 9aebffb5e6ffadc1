//! Numbers, judged by value and printed as ECMAScript prints them (RFC 8785, 3.2.2.3).
//!
//! A spelling is reduced to a normal form, coefficient times a power of ten, exactly and without a double. What is
//! integral in that form must lie within ±[`INTEGER_MAX`]; for the rest the nearest double is printed and reduced
//! likewise, and both forms must be equal. A short integer takes none of these steps: its spelling is canonical.

use super::error::{ErrorKind, Fault};

/// The greatest integer that is read, 2^53 − 1; the least is its negative. Beyond it, a double does not tell
/// neighbours apart.
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

/// A NaN or an infinity, which JSON cannot say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a number is not finite")]
pub struct NotFinite;

/// Appends a finite double as RFC 8785 prints it. Negative zero prints as `0`.
///
/// The reader refuses what this prints for an integral value beyond ±[`INTEGER_MAX`]: see [`is_admissible`].
///
/// # Errors
/// [`NotFinite`] for NaN and the infinities; `out` is unchanged.
pub fn write_number(out: &mut Vec<u8>, number: f64) -> Result<(), NotFinite> {
    if !number.is_finite() {
        return Err(NotFinite);
    }
    out.extend_from_slice(ryu_js::Buffer::new().format_finite(number).as_bytes());
    Ok(())
}

/// Whether the reader accepts what [`write_number`] prints for `number`.
pub fn is_admissible(number: f64) -> bool {
    const LIMIT: f64 = 9_007_199_254_740_991.0;
    number.is_finite() && (number.fract() != 0.0 || number.abs() <= LIMIT)
}

/// A number that the reader accepts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    /// Integral by value, within ±[`INTEGER_MAX`].
    Integer(i64),
    /// Not integral; equal to the decimal that is printed for it.
    Decimal(f64),
}

/// The parts of a number as it is spelled.
struct Spelling<'a> {
    negative: bool,
    integer: &'a [u8],
    fraction: &'a [u8],
    /// Saturated, which no text is long enough to make a difference.
    exponent: i64,
    has_exponent: bool,
    /// Nothing but a sign and digits.
    plain: bool,
    end: usize,
}

impl Spelling<'_> {
    /// Whether this is what is printed for the double that it names, as far as that shows without printing it.
    ///
    /// A decimal of at most 15 digits is the shortest, hence the printed, of those that name its double; from 1e-6
    /// up it is printed without an exponent.
    fn is_short_canonical_decimal(&self) -> bool {
        let (integer, fraction) = (self.integer.len(), self.fraction.len());
        !self.has_exponent
            && integer + fraction <= 15
            && self.fraction.last().is_some_and(|digit| *digit != b'0')
            && (self.integer != b"0" || !self.fraction.starts_with(b"000000"))
    }
}

/// Reads the number at `start`; also gives the byte after it.
pub(super) fn read(text: &str, start: usize) -> Result<(Number, usize), Fault> {
    let spelling = spell(text.as_bytes(), start)?;
    let number = admit(text, start, &spelling);
    match number {
        Some(number) => Ok((number, spelling.end)),
        None => Err(Fault { offset: start, kind: ErrorKind::NumberOutOfRange }),
    }
}

/// Appends the number at `start` in canonical form; gives the byte after it.
pub(super) fn rewrite(text: &str, start: usize, out: &mut Vec<u8>) -> Result<usize, Fault> {
    let spelling = spell(text.as_bytes(), start)?;
    if spelling.is_short_canonical_decimal() {
        out.extend_from_slice(text.as_bytes().get(start..spelling.end).unwrap_or_default());
        return Ok(spelling.end);
    }
    let mut buffer = ryu_js::Buffer::new();
    let printed = match admit(text, start, &spelling) {
        Some(Number::Integer(0)) => "0",
        Some(Number::Integer(_)) if spelling.plain => text.get(start..spelling.end).unwrap_or_default(),
        Some(Number::Integer(integer)) => &integer.to_string(),
        Some(Number::Decimal(decimal)) => buffer.format_finite(decimal),
        None => return Err(Fault { offset: start, kind: ErrorKind::NumberOutOfRange }),
    };
    out.extend_from_slice(printed.as_bytes());
    Ok(spelling.end)
}

/// Takes a number apart: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`.
fn spell(text: &[u8], start: usize) -> Result<Spelling<'_>, Fault> {
    let negative = text.get(start) == Some(&b'-');
    let integer_start = start + usize::from(negative);
    let integer = digits(text, integer_start)?;
    if integer.len() > 1 && integer.first() == Some(&b'0') {
        return Err(misspelled(text, integer_start + 1));
    }
    let mut end = integer_start + integer.len();
    let integer_end = end;
    let mut fraction: &[u8] = &[];
    if text.get(end) == Some(&b'.') {
        fraction = digits(text, end + 1)?;
        end += 1 + fraction.len();
    }
    let mut exponent = 0;
    let mantissa_end = end;
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let sign = text.get(end + 1).filter(|byte| matches!(byte, b'+' | b'-'));
        let exponent_start = end + 1 + usize::from(sign.is_some());
        let magnitude = digits(text, exponent_start)?;
        end = exponent_start + magnitude.len();
        let magnitude = magnitude.iter().fold(0_i64, |sum, digit| {
            sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(i64::MAX / 4)
        });
        exponent = if sign == Some(&b'-') { -magnitude } else { magnitude };
    }
    Ok(Spelling {
        negative,
        integer,
        fraction,
        exponent,
        has_exponent: end > mantissa_end,
        plain: end == integer_end,
        end,
    })
}

/// The digits at `start`, at least one.
fn digits(text: &[u8], start: usize) -> Result<&[u8], Fault> {
    let rest = text.get(start..).unwrap_or_default();
    let len = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    match rest.get(..len) {
        Some(digits @ [_, ..]) => Ok(digits),
        Some([]) | None => Err(misspelled(text, start)),
    }
}

#[cold]
fn misspelled(text: &[u8], offset: usize) -> Fault {
    let kind = match text.get(offset) {
        Some(_) => ErrorKind::MisspelledNumber,
        None => ErrorKind::UnexpectedEnd { expected: "a digit" },
    };
    Fault { offset, kind }
}

/// The number's value, if a double and its printed form hold it exactly.
fn admit(text: &str, start: usize, spelling: &Spelling<'_>) -> Option<Number> {
    if spelling.plain && spelling.integer.len() <= 15 {
        let magnitude = spelling.integer.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        return Some(Number::Integer(if spelling.negative { -magnitude } else { magnitude }));
    }
    let exact = Normal::of(spelling)?;
    if let Ok(exponent) = u32::try_from(exact.exponent) {
        let power = 10_i64.checked_pow(exponent)?;
        let magnitude = exact.coefficient.checked_mul(power).filter(|magnitude| *magnitude <= INTEGER_MAX)?;
        return Some(Number::Integer(if exact.negative { -magnitude } else { magnitude }));
    }
    let nearest: f64 = text.get(start..spelling.end)?.parse().ok()?;
    let mut buffer = ryu_js::Buffer::new();
    let printed = spell(buffer.format(nearest).as_bytes(), 0).ok()?;
    (Normal::of(&printed)? == exact).then_some(Number::Decimal(nearest))
}

/// A decimal value in the one form it has: the coefficient is no multiple of ten, and zero has no sign and the
/// exponent 0. Equal values are equal structures.
#[derive(Debug, PartialEq, Eq)]
struct Normal {
    negative: bool,
    coefficient: i64,
    exponent: i64,
}

impl Normal {
    /// Digits that a coefficient may have: the printed form of a double never needs more, and neither does an
    /// integer within the limit.
    const DIGITS_MAX: usize = 17;

    /// `None` where the value has too many digits to be a printed double.
    fn of(spelling: &Spelling<'_>) -> Option<Self> {
        let (mut coefficient, mut len, mut zeroes) = (0_i64, 0, 0);
        for digit in spelling.integer.iter().chain(spelling.fraction).map(|byte| i64::from(byte - b'0')) {
            if digit == 0 {
                zeroes += usize::from(len > 0);
                continue;
            }
            len += zeroes + 1;
            if len > Self::DIGITS_MAX {
                return None;
            }
            coefficient = coefficient * 10_i64.pow(u32::try_from(zeroes + 1).ok()?) + digit;
            zeroes = 0;
        }
        if coefficient == 0 {
            return Some(Self { negative: false, coefficient, exponent: 0 });
        }
        let shift = i64::try_from(zeroes).ok()? - i64::try_from(spelling.fraction.len()).ok()?;
        Some(Self { negative: spelling.negative, coefficient, exponent: spelling.exponent + shift })
    }
}
