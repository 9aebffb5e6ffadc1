//! The name of an execution: a ULID, chosen at ingress.

use std::fmt;

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A ULID: 128 bits, written as 26 digits of Crockford's base 32, upper case. Orders as its text does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecutionId(pub u128);

impl ExecutionId {
    /// The length of the written form in bytes.
    pub const TEXT_LEN: usize = 26;

    /// Reads the written form. Each id has one: lower case and the letters that Crockford reads as digits are refused.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        // 26 digits hold 130 bits, and the first two of them have to be 0.
        if text.len() != Self::TEXT_LEN || text.first().is_none_or(|first| *first > b'7') {
            return None;
        }
        text.iter().try_fold(0_u128, |id, byte| Some(id << 5 | u128::from(value(*byte)?))).map(Self)
    }

    /// The written form.
    #[must_use]
    pub fn text(self) -> [u8; Self::TEXT_LEN] {
        let mut out = [b'0'; Self::TEXT_LEN];
        let mut rest = self.0;
        for place in out.iter_mut().rev() {
            *place = DIGITS[(rest & 31) as usize];
            rest >>= 5;
        }
        out
    }
}

fn value(digit: u8) -> Option<u8> {
    const VALUES: [u8; 256] = {
        let mut values = [u8::MAX; 256];
        let mut at = 0;
        while at < DIGITS.len() {
            values[DIGITS[at] as usize] = at as u8;
            at += 1;
        }
        values
    };
    Some(VALUES[usize::from(digit)]).filter(|value| *value != u8::MAX)
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_written_and_no_other_spelling_is_one() {
        for text in ["00000000000000000000000000", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "01ARZ3NDEKTSV4RRFFQ69G5FAV"]
        {
            let id = ExecutionId::parse(text.as_bytes()).unwrap();
            assert_eq!(id.to_string(), text);
        }
        assert_eq!(ExecutionId::parse(b"7ZZZZZZZZZZZZZZZZZZZZZZZZZ"), Some(ExecutionId(u128::MAX)));
        for text in
            ["", "80000000000000000000000000", "0000000000000000000000000", "01arz3ndektsv4rrffq69g5fav"]
        {
            assert_eq!(ExecutionId::parse(text.as_bytes()), None, "{text}");
        }
        for letter in "ILOU-\u{e9}".chars() {
            let text = format!("{letter:0>26}");
            assert_eq!(ExecutionId::parse(text.as_bytes()), None, "{text}");
        }
    }
}
