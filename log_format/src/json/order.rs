//! The order of keys: by UTF-16 code units (RFC 8785, 3.2.3), found without leaving UTF-8.

use std::cmp::Ordering;

/// Compares two UTF-8 strings as their UTF-16 encodings would compare.
///
/// Bytes of UTF-8 order like code points, and so do UTF-16 code units, but for one case: the surrogates of a
/// character beyond U+FFFF (first byte F0 to F4) sort before U+E000 to U+FFFF (first byte EE or EF).
pub(super) fn utf16(a: &[u8], b: &[u8]) -> Ordering {
    let differing = a.iter().zip(b).find(|(x, y)| x != y);
    match differing {
        None => a.len().cmp(&b.len()),
        Some((x, y)) if *x >= 0xEE && *y >= 0xEE => (*x < 0xF0).cmp(&(*y < 0xF0)).then(x.cmp(y)),
        Some((x, y)) => x.cmp(y),
    }
}
