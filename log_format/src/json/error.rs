//! Why a text was refused, and where: for the person who sent it.

use std::borrow::Cow;
use std::fmt;

/// A refused text: what is wrong with which value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}; at {} (byte {offset})", Place(pointer))]
pub struct Error {
    /// RFC 6901 pointer to the offending value or member; empty for the document itself. Where the text breaks off
    /// within a value, the pointer names that value.
    pub pointer: String,
    /// Byte at which the offending value, member or character begins; the length of the text where it ends early.
    pub offset: usize,
    /// What is wrong.
    pub kind: ErrorKind,
}

struct Place<'a>(&'a str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "the document's root" } else { self.0 })
    }
}

/// What is wrong with a value, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// A byte sequence is not UTF-8.
    #[error("the text is not UTF-8: encode it as UTF-8 without a byte order mark")]
    NotUtf8,
    /// The text begins with U+FEFF.
    #[error("the text begins with a byte order mark: leave it out")]
    ByteOrderMark,
    /// The text ends within a value.
    #[error("the text ends where {expected} must follow: send the whole value")]
    UnexpectedEnd {
        /// What would have continued the text.
        expected: &'static str,
    },
    /// A character stands where JSON does not allow it.
    #[error("found {found:?} where {expected} must stand")]
    Unexpected {
        /// The character that stands there.
        found: char,
        /// What would have been valid.
        expected: &'static str,
    },
    /// Something follows the value.
    #[error("more text follows the value: send exactly one JSON value")]
    TrailingBytes,
    /// U+0000 to U+001F stands unescaped in a string.
    #[error("a control character (U+{code:04X}) stands in a string: write it as \\u{code:04x}")]
    ControlCharacter {
        /// Its code point, 0 to 31.
        code: u8,
    },
    /// A backslash is not followed by a valid escape.
    #[error(
        "a backslash begins no valid escape: use \\\" \\\\ \\/ \\b \\f \\n \\r \\t or \\u with four hex digits"
    )]
    InvalidEscape,
    /// A `\u` escape names half of a surrogate pair.
    #[error("a \\u escape names half of a surrogate pair: write both halves, or the character itself")]
    LoneSurrogate,
    /// A number is not spelled as JSON spells numbers.
    #[error("a number is misspelled: no leading zeroes or plus, and digits on both sides of a point")]
    MisspelledNumber,
    /// A number is not exactly representable; see [`crate::json`].
    #[error(
        "a number is out of range: integers lie within ±9007199254740991, decimals have at most 17 digits \
         and are exactly those of a double; send others as a string"
    )]
    NumberOutOfRange,
    /// An object has this key twice, compared after unescaping.
    #[error("an object has this key twice: keep one of them")]
    DuplicateKey,
    /// Objects and arrays are nested too deep.
    #[error("objects and arrays are nested deeper than {depth_max}: send a flatter value")]
    TooDeep {
        /// The greatest depth that is accepted.
        depth_max: usize,
    },
    /// A value is of another kind than this place asks for.
    #[error("a value must be {expected} here, not {found}")]
    WrongType {
        /// What the place asks for.
        expected: Kind,
        /// What stands there.
        found: Kind,
    },
    /// A number has a fraction where an integer must stand.
    #[error("a number must be an integer here")]
    NotInteger,
    /// A required member is absent; the pointer names it.
    #[error("the required field {field:?} is missing")]
    MissingField {
        /// Its key.
        field: &'static str,
    },
    /// A member is not one of those that this object may have; the pointer names it.
    #[error("this field is unknown: leave it out, or check its spelling")]
    UnknownField,
    /// The value is valid JSON of the right type, but whoever reads it refuses it.
    #[error("{reason}")]
    Rejected {
        /// What is wrong and what to do, as one clause.
        reason: Cow<'static, str>,
    },
}

/// The kinds of JSON values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// Any number, integral or not.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        })
    }
}

/// An error before anyone has worked out its pointer, which costs a second walk over the text.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) offset: usize,
    pub(super) kind: ErrorKind,
}

impl Fault {
    /// Something invalid, or the end of the text, at `offset`, which lies on a character's first byte.
    #[cold]
    pub(super) fn unexpected(text: &str, offset: usize, expected: &'static str) -> Self {
        let found = text.get(offset..).and_then(|rest| rest.chars().next());
        let kind = match found {
            Some(found) => ErrorKind::Unexpected { found, expected },
            None => ErrorKind::UnexpectedEnd { expected },
        };
        Self { offset, kind }
    }
}
