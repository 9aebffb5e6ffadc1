//! Lower-case hexadecimal, fixed width. Upper case is refused: a value has one spelling.

const fn digit(nibble: u8) -> u8 {
    match nibble & 0x0f {
        n @ 0..=9 => b'0' + n,
        n => b'a' + n - 10,
    }
}

const fn pair(byte: u8) -> [u8; 2] {
    [digit(byte >> 4), digit(byte)]
}

/// Appends the digits of `bytes`, two for each.
pub fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() * 2);
    for &byte in bytes {
        out.extend_from_slice(&pair(byte));
    }
}

/// Writes the digits of `bytes` over `out`, as far as both reach.
pub fn write(out: &mut [u8], bytes: &[u8]) {
    for (place, &byte) in out.chunks_exact_mut(2).zip(bytes) {
        place.copy_from_slice(&pair(byte));
    }
}

/// The digits of `bytes` as text.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| pair(*byte)).map(char::from).collect()
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Reads exactly `2 * N` digits. `None` for another length or any other character.
#[must_use]
pub fn read<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != N * 2 {
        return None;
    }
    let mut out = [0; N];
    for (byte, digits) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let (&high, low) = digits.split_first()?;
        *byte = value(high)? << 4 | value(*low.first()?)?;
    }
    Some(out)
}

/// Reads exactly eight digits.
#[must_use]
pub fn read_u32(digits: &[u8]) -> Option<u32> {
    read::<4>(digits).map(u32::from_be_bytes)
}

/// Reads exactly sixteen digits.
#[must_use]
pub fn read_u64(digits: &[u8]) -> Option<u64> {
    read::<8>(digits).map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_read_back_and_upper_case_is_refused() {
        let bytes: Vec<u8> = (0..=255).collect();
        let written = text(&bytes);
        assert_eq!(read::<256>(written.as_bytes()).map(Vec::from), Some(bytes));
        assert_eq!(read_u32(b"000002a4"), Some(0x2a4));
        assert_eq!(read_u32(b"000002A4"), None);
        assert_eq!(read_u32(b"000002a"), None);
    }
}
