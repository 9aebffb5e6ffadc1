//! The pull parser: its caller asks for the value that it expects, and gets that or an error with a place.
//!
//! Owns the position in the text and the open containers. Strings are borrowed wherever they have no escapes. No
//! path is kept: an error's pointer is worked out from its offset (see `pointer`). Asking for a value where none is
//! due, or leaving one unread, is the caller's bug and panics.

use std::borrow::Cow;

use super::container::{Frame, Member};
use super::error::{Error, ErrorKind, Fault, Kind};
use super::{DEPTH_MAX, number, pointer, string};

/// A place in the text that the reader has been at; see [`Reader::mark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(usize);

/// Reads one JSON value from untrusted text, in one pass.
///
/// ```
/// # use gesta_log_format::json::{Error, ErrorKind, Reader};
/// # fn main() -> Result<(), Error> {
/// let mut reader = Reader::new(br#"{"lane": "normal", "size": 1e2}"#)?;
/// let (mut lane, mut size) = (None, None);
/// reader.begin_object()?;
/// while let Some(key) = reader.next_member()? {
///     match key.as_ref() {
///         "lane" => lane = Some(reader.string()?),
///         "size" => size = Some(reader.integer()?),
///         _ => return Err(reader.fail(ErrorKind::UnknownField)),
///     }
/// }
/// let lane = lane.ok_or_else(|| reader.fail(ErrorKind::MissingField { field: "lane" }))?;
/// reader.finish()?;
/// assert_eq!((lane.as_ref(), size), ("normal", Some(100)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reader<'a> {
    pub(super) text: &'a str,
    pub(super) position: usize,
    /// Where the member or value begins that was handed out last.
    pub(super) mark: usize,
    /// The containers that the caller has begun and not ended; those within a rewritten value are not among them.
    pub(super) frames: Vec<Frame>,
    /// Keys seen so far in each open object, outermost first.
    pub(super) members: Vec<Member<'a>>,
    /// For putting members in order; empty between uses.
    pub(super) scratch: Vec<u8>,
    depth: usize,
    depth_max: usize,
    /// A member or an element was announced whose value has not been read.
    pub(super) value_owed: bool,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `text`, with the depth limit [`DEPTH_MAX`].
    ///
    /// # Errors
    /// `NotUtf8`, for all of the text at once, and `ByteOrderMark`.
    pub fn new(text: &'a [u8]) -> Result<Self, Error> {
        let refuse = |offset, kind| Error { pointer: pointer::at(text, offset), offset, kind };
        let text = std::str::from_utf8(text).map_err(|e| refuse(e.valid_up_to(), ErrorKind::NotUtf8))?;
        if text.starts_with('\u{FEFF}') {
            return Err(refuse(0, ErrorKind::ByteOrderMark));
        }
        Ok(Self {
            text,
            position: 0,
            mark: 0,
            frames: Vec::new(),
            members: Vec::new(),
            scratch: Vec::new(),
            depth: 0,
            depth_max: DEPTH_MAX,
            value_owed: false,
        })
    }

    /// The same reader with another depth limit. Rewriting recurses once a level: keep it below some hundreds.
    #[must_use]
    pub fn with_depth_max(mut self, depth_max: usize) -> Self {
        self.depth_max = depth_max;
        self
    }

    /// The kind of the value that follows, without reading it.
    ///
    /// # Errors
    /// `Unexpected` or `UnexpectedEnd` where no value follows.
    pub fn peek(&mut self) -> Result<Kind, Error> {
        let kind = match self.next_byte() {
            Some(b'"') => Kind::String,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') => Kind::Null,
            Some(_) | None => return Err(self.unexpected("a JSON value")),
        };
        Ok(kind)
    }

    /// Reads `null`.
    ///
    /// # Errors
    /// `WrongType` for any other value; what no value can be.
    pub fn null(&mut self) -> Result<(), Error> {
        self.begin(Kind::Null)?;
        self.literal("null")
    }

    /// Reads `true` or `false`.
    ///
    /// # Errors
    /// `WrongType` for any other value; what no value can be.
    pub fn boolean(&mut self) -> Result<bool, Error> {
        self.begin(Kind::Boolean)?;
        let value = self.text.as_bytes().get(self.position) == Some(&b't');
        self.literal(if value { "true" } else { "false" })?;
        Ok(value)
    }

    /// Reads a string, borrowed from the text where it has no escapes.
    ///
    /// # Errors
    /// `WrongType` for any other value; `ControlCharacter`, `InvalidEscape`, `LoneSurrogate`.
    pub fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        self.begin(Kind::String)?;
        let (value, end) = string::read(self.text, self.position).map_err(|fault| self.raise(fault))?;
        self.position = end;
        Ok(value)
    }

    /// Reads a number that is integral by value (`100`, `1e2` and `100.0` are the same), within
    /// ±[`super::INTEGER_MAX`].
    ///
    /// # Errors
    /// `WrongType` for any other value; `NotInteger`, `NumberOutOfRange`, `MisspelledNumber`.
    pub fn integer(&mut self) -> Result<i64, Error> {
        self.begin(Kind::Number)?;
        match number::read(self.text, self.position).map_err(|fault| self.raise(fault))? {
            (number::Number::Integer(value), end) => {
                self.position = end;
                Ok(value)
            }
            (number::Number::Decimal(_), _) => Err(self.fail(ErrorKind::NotInteger)),
        }
    }

    /// Reads a number. Zero is never negative.
    ///
    /// # Errors
    /// `WrongType` for any other value; `NumberOutOfRange`, `MisspelledNumber`.
    pub fn number(&mut self) -> Result<f64, Error> {
        self.begin(Kind::Number)?;
        let (value, end) = number::read(self.text, self.position).map_err(|fault| self.raise(fault))?;
        let spelling = self.text.get(self.position..end).unwrap_or_default();
        self.position = end;
        Ok(match value {
            number::Number::Integer(0) => 0.0,
            number::Number::Integer(_) => spelling.parse().unwrap_or_default(),
            number::Number::Decimal(decimal) => decimal,
        })
    }

    /// The place of what was handed out last: a member, a value, or, after its end, a container.
    pub fn mark(&self) -> Mark {
        Mark(self.mark)
    }

    /// An error of the caller's own about what was handed out last; see [`Reader::mark`].
    #[cold]
    pub fn fail(&self, kind: ErrorKind) -> Error {
        self.fail_at(self.mark(), kind)
    }

    /// An error of the caller's own about an earlier place. The pointer of a `MissingField` names the absent member.
    #[cold]
    pub fn fail_at(&self, mark: Mark, kind: ErrorKind) -> Error {
        let mut error = self.raise(Fault { offset: mark.0, kind });
        if let ErrorKind::MissingField { field } = &error.kind {
            pointer::push(&mut error.pointer, field);
        }
        error
    }

    /// Ends the reading: nothing but whitespace may follow.
    ///
    /// # Errors
    /// `TrailingBytes`.
    ///
    /// # Panics
    /// Within a container: the caller's bug.
    pub fn finish(mut self) -> Result<(), Error> {
        assert!(self.frames.is_empty() && !self.value_owed, "a value must be read to its end");
        match self.next_byte() {
            None => Ok(()),
            Some(_) => Err(self.raise(Fault { offset: self.position, kind: ErrorKind::TrailingBytes })),
        }
    }
}

/// What reading and rewriting share.
impl Reader<'_> {
    /// Passes over whitespace: the byte that follows, not yet read.
    #[inline]
    pub(super) fn next_byte(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.position)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.position += 1;
        }
    }

    /// Takes note that the value which follows is being read.
    pub(super) fn begin_any(&mut self) {
        self.next_byte();
        self.mark = self.position;
        self.value_owed = false;
    }

    #[inline]
    pub(super) fn begin(&mut self, expected: Kind) -> Result<(), Error> {
        let found = self.peek()?;
        self.begin_any();
        if found == expected { Ok(()) } else { Err(self.fail(ErrorKind::WrongType { expected, found })) }
    }

    /// Reads a word of which the first letter has been seen.
    pub(super) fn literal(&mut self, word: &'static str) -> Result<(), Error> {
        let rest = self.text.as_bytes().get(self.position..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            let differing = rest.iter().zip(word.as_bytes()).take_while(|(a, b)| a == b).count();
            let offset = self.position + differing;
            return Err(self.raise(Fault::unexpected(self.text, offset, "true, false or null")));
        }
        self.position += word.len();
        Ok(())
    }

    /// Reads an opening bracket, one level down.
    pub(super) fn descend(&mut self) -> Result<(), Error> {
        if self.depth >= self.depth_max {
            let kind = ErrorKind::TooDeep { depth_max: self.depth_max };
            return Err(self.raise(Fault { offset: self.position, kind }));
        }
        self.depth += 1;
        self.position += 1;
        Ok(())
    }

    /// Reads a closing bracket, one level up.
    pub(super) fn ascend(&mut self) {
        self.depth -= 1;
        self.position += 1;
    }

    #[cold]
    pub(super) fn raise(&self, fault: Fault) -> Error {
        let Fault { offset, kind } = fault;
        Error { pointer: pointer::at(self.text.as_bytes(), offset), offset, kind }
    }

    #[cold]
    pub(super) fn unexpected(&self, expected: &'static str) -> Error {
        self.raise(Fault::unexpected(self.text, self.position, expected))
    }
}
