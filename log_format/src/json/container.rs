//! Objects and arrays, pulled member by member; and the keys of every open object, rewritten ones included.
//!
//! As long as an object's keys come in ascending order, none of them can be a duplicate and nothing is done. For
//! other objects the keys are sorted once, at the end, so that no order of keys costs more than sorting them.

use std::borrow::Cow;

use super::error::{Error, ErrorKind, Fault, Kind};
use super::{Reader, order, string};

/// Members for which there is room from the first key on: those of a usual request that are open at once.
const MEMBERS_USUAL: usize = 24;

/// A container that the caller is in.
#[derive(Debug)]
pub(super) struct Frame {
    start: usize,
    closing: u8,
    /// No member or element was handed out yet.
    fresh: bool,
    /// The keys so far are strictly ascending.
    ascending: bool,
    /// The first of this object's entries in the reader's `members`.
    members_start: usize,
}

/// A member of an open object.
#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) key: Cow<'a, str>,
    /// Where its key begins in the text.
    offset: usize,
    /// Where its canonical text begins and ends in the output, while a value is being rewritten.
    pub(super) start: usize,
    pub(super) end: usize,
}

impl<'a> Reader<'a> {
    /// Enters an object. Its members follow by [`Reader::next_member`], to the end.
    ///
    /// # Errors
    /// `WrongType` for any other value; `TooDeep`.
    pub fn begin_object(&mut self) -> Result<(), Error> {
        self.begin(Kind::Object)?;
        self.open(b'}')
    }

    /// The key of the next member, whose value must then be read; `None` leaves the object.
    ///
    /// A key that the object has twice is found when the object ends, so what was read of an object counts only
    /// once this has returned `None`.
    ///
    /// # Errors
    /// `DuplicateKey`, at the later of the two; what the punctuation and the key can be.
    ///
    /// # Panics
    /// Outside of an object, or with a value left unread: the caller's bug.
    pub fn next_member(&mut self) -> Result<Option<Cow<'a, str>>, Error> {
        if !self.advance(b'}')? {
            return Ok(None);
        }
        let Some(frame) = self.frames.last() else { return Ok(None) };
        let ascending = self.key(frame.members_start, 0)?;
        if let Some(frame) = self.frames.last_mut() {
            frame.ascending &= ascending;
        }
        Ok(self.members.last().map(|member| member.key.clone()))
    }

    /// Enters an array. Its elements follow by [`Reader::next_element`], to the end.
    ///
    /// # Errors
    /// `WrongType` for any other value; `TooDeep`.
    pub fn begin_array(&mut self) -> Result<(), Error> {
        self.begin(Kind::Array)?;
        self.open(b']')
    }

    /// Whether an element follows, which must then be read; `false` leaves the array.
    ///
    /// # Errors
    /// What the punctuation can be.
    ///
    /// # Panics
    /// Outside of an array, or with a value left unread: the caller's bug.
    pub fn next_element(&mut self) -> Result<bool, Error> {
        let follows = self.advance(b']')?;
        if follows {
            self.peek()?;
            self.mark = self.position;
        }
        Ok(follows)
    }

    fn open(&mut self, closing: u8) -> Result<(), Error> {
        let (start, members_start) = (self.position, self.members.len());
        self.descend()?;
        self.frames.push(Frame { start, closing, fresh: true, ascending: true, members_start });
        Ok(())
    }

    /// Passes the comma before the next member or element, or leaves the container.
    fn advance(&mut self, closing: u8) -> Result<bool, Error> {
        let byte = self.next_byte();
        let frame = self.frames.last_mut().filter(|frame| frame.closing == closing && !self.value_owed);
        let frame = frame.expect("the container is open and each value in it was read");
        let fresh = std::mem::replace(&mut frame.fresh, false);
        if byte == Some(closing) {
            self.close()?;
            return Ok(false);
        }
        match (fresh, byte) {
            (true, _) => {}
            (false, Some(b',')) => self.position += 1,
            (false, _) => return Err(self.unexpected(expected_after(closing))),
        }
        self.value_owed = true;
        Ok(true)
    }

    fn close(&mut self) -> Result<(), Error> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        if !frame.ascending {
            self.sort_members(frame.members_start)?;
        }
        self.members.truncate(frame.members_start);
        self.ascend();
        self.mark = frame.start;
        Ok(())
    }

    /// Reads a key and its colon and adds it to `members`, of which those from `members_start` on are its object's;
    /// `out_start` is where its canonical text begins. Says whether it sorts after the key before it.
    #[inline]
    pub(super) fn key(&mut self, members_start: usize, out_start: usize) -> Result<bool, Error> {
        if self.next_byte() != Some(b'"') {
            return Err(self.unexpected("a key, in double quotes,"));
        }
        let offset = self.position;
        let (key, end) = string::read(self.text, offset).map_err(|fault| self.raise(fault))?;
        self.position = end;
        if self.next_byte() != Some(b':') {
            return Err(self.unexpected("a colon"));
        }
        self.position += 1;
        self.mark = offset;
        let before = self.members.get(members_start..).and_then(<[_]>::last);
        let ascending =
            before.is_none_or(|before| order::utf16(before.key.as_bytes(), key.as_bytes()).is_lt());
        if self.members.capacity() == 0 {
            self.members.reserve(MEMBERS_USUAL);
        }
        self.members.push(Member { key, offset, start: out_start, end: out_start });
        Ok(ascending)
    }

    /// Puts the members of the innermost object, those from `start` on, in canonical order.
    pub(super) fn sort_members(&mut self, start: usize) -> Result<(), Error> {
        let members = self.members.get_mut(start..).unwrap_or_default();
        members.sort_unstable_by(|a, b| {
            order::utf16(a.key.as_bytes(), b.key.as_bytes()).then(a.offset.cmp(&b.offset))
        });
        let pairs = members.iter().zip(members.iter().skip(1));
        let duplicate = pairs.filter(|(a, b)| a.key == b.key).map(|(_, later)| later.offset).min();
        match duplicate {
            None => Ok(()),
            Some(offset) => Err(self.raise(Fault { offset, kind: ErrorKind::DuplicateKey })),
        }
    }
}

/// What may stand after a member or an element.
pub(super) fn expected_after(closing: u8) -> &'static str {
    if closing == b'}' {
        "a comma or the object's closing brace"
    } else {
        "a comma or the array's closing bracket"
    }
}
