//! The insides of strings: finding their ends, their escapes, and the one spelling that RFC 8785 prints.

use std::borrow::Cow;

use super::error::{ErrorKind, Fault};

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The first byte at or after `start` that may not stand in a string as it is: a quote, a backslash or a control
/// character; the end of the text if there is none.
#[inline]
pub(super) fn plain_end(text: &[u8], start: usize) -> usize {
    let mut position = start;
    while let Some(chunk) = text.get(position..).and_then(<[u8]>::first_chunk::<8>) {
        let special = special_bytes(u64::from_le_bytes(*chunk));
        if special != 0 {
            return position + usize::try_from(special.trailing_zeros() / 8).unwrap_or(0);
        }
        position += 8;
    }
    let tail = text.get(position..).unwrap_or_default();
    let rest = tail.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
    rest.map_or(text.len().max(start), |found| position + found)
}

/// Sets the high bit of the first special byte of eight. Bits above it may be wrong (a borrow runs upward), bits
/// below it are zero.
#[inline]
fn special_bytes(word: u64) -> u64 {
    let zero_bytes = |x: u64| x.wrapping_sub(ONES) & !x;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = zero_bytes(word ^ (ONES * 0x22));
    let backslash = zero_bytes(word ^ (ONES * 0x5C));
    (control | quote | backslash) & HIGHS
}

/// Reads the string whose opening quote stands at `start`: its value, borrowed where it has no escapes, and the byte
/// after its closing quote.
#[inline]
pub(super) fn read(text: &str, start: usize) -> Result<(Cow<'_, str>, usize), Fault> {
    let bytes = text.as_bytes();
    let end = plain_end(bytes, start + 1);
    if bytes.get(end) == Some(&b'"') {
        return Ok((Cow::Borrowed(text.get(start + 1..end).unwrap_or_default()), end + 1));
    }
    let mut value = String::new();
    let end = each_piece(text, start, |piece| match piece {
        Piece::Plain(plain) => value.push_str(plain),
        Piece::Escaped(character) => value.push(character),
    })?;
    Ok((Cow::Owned(value), end))
}

/// Appends the string whose opening quote stands at `start` in canonical form; gives the byte after it.
#[inline]
pub(super) fn rewrite(text: &str, start: usize, out: &mut Vec<u8>) -> Result<usize, Fault> {
    let bytes = text.as_bytes();
    let end = plain_end(bytes, start + 1);
    if bytes.get(end) == Some(&b'"') {
        out.extend_from_slice(bytes.get(start..=end).unwrap_or_default());
        return Ok(end + 1);
    }
    out.push(b'"');
    let end = each_piece(text, start, |piece| match piece {
        Piece::Plain(plain) => out.extend_from_slice(plain.as_bytes()),
        Piece::Escaped(character) => write_char(out, character),
    })?;
    out.push(b'"');
    Ok(end)
}

/// A stretch of a string as it is spelled.
enum Piece<'a> {
    Plain(&'a str),
    Escaped(char),
}

/// Hands out the pieces of the string whose opening quote stands at `start`; gives the byte after the closing one.
fn each_piece<'a>(text: &'a str, start: usize, mut take: impl FnMut(Piece<'a>)) -> Result<usize, Fault> {
    let bytes = text.as_bytes();
    let mut position = start + 1;
    loop {
        let end = plain_end(bytes, position);
        take(Piece::Plain(text.get(position..end).unwrap_or_default()));
        match bytes.get(end) {
            Some(b'"') => return Ok(end + 1),
            Some(b'\\') => {
                let (character, after) = escape(bytes, end)?;
                take(Piece::Escaped(character));
                position = after;
            }
            Some(&code) => return Err(Fault { offset: end, kind: ErrorKind::ControlCharacter { code } }),
            None => return Err(ends(bytes)),
        }
    }
}

/// Reads the escape whose backslash stands at `start`: the character, and the byte after the escape.
pub(super) fn escape(text: &[u8], start: usize) -> Result<(char, usize), Fault> {
    let fault = |kind| Fault { offset: start, kind };
    let simple = match text.get(start + 1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(text, start),
        Some(_) => return Err(fault(ErrorKind::InvalidEscape)),
        None => return Err(ends(text)),
    };
    Ok((simple, start + 2))
}

#[cold]
fn ends(text: &[u8]) -> Fault {
    Fault { offset: text.len(), kind: ErrorKind::UnexpectedEnd { expected: "the rest of a string" } }
}

/// `\uXXXX`, or a pair of them where the first names a high surrogate.
fn unicode_escape(text: &[u8], start: usize) -> Result<(char, usize), Fault> {
    let first = code_unit(text, start)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, start + 6));
    }
    let lone = || Fault { offset: start, kind: ErrorKind::LoneSurrogate };
    if first >= 0xDC00 || text.get(start + 6..start + 8) != Some(b"\\u") {
        return Err(lone());
    }
    let second = code_unit(text, start + 6)?;
    if !(0xDC00..0xE000).contains(&second) {
        return Err(lone());
    }
    let code_point = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    Ok((char::from_u32(code_point).ok_or_else(lone)?, start + 12))
}

/// The code unit that the `\uXXXX` at `start` names.
fn code_unit(text: &[u8], start: usize) -> Result<u32, Fault> {
    let mut unit = 0;
    for offset in start + 2..start + 6 {
        let byte = *text.get(offset).ok_or_else(|| ends(text))?;
        let digit = char::from(byte).to_digit(16);
        let digit = digit.ok_or(Fault { offset: start, kind: ErrorKind::InvalidEscape })?;
        unit = unit << 4 | digit;
    }
    Ok(unit)
}

/// Appends `text` as a canonical JSON string: quoted, with the shortest escapes of the few characters that need one.
#[inline]
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at_checked(plain_end(rest, 0)).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((&byte, after)) = special.split_first() else { break };
        write_escaped(out, byte);
        rest = after;
    }
    out.push(b'"');
}

/// Appends one character of a canonical string.
pub(super) fn write_char(out: &mut Vec<u8>, character: char) {
    match u8::try_from(character) {
        Ok(byte @ (b'"' | b'\\' | 0..0x20)) => write_escaped(out, byte),
        Ok(_) | Err(_) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Appends the escape of a quote, a backslash or a control character.
fn write_escaped(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        0x08 => b'b',
        0x09 => b't',
        0x0A => b'n',
        0x0C => b'f',
        0x0D => b'r',
        0x00..0x20 => {
            let hex = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble };
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
            return;
        }
        quote_or_backslash => quote_or_backslash,
    };
    out.extend_from_slice(&[b'\\', short]);
}
