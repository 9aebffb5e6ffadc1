//! Canonical form, written while reading: strings and numbers go straight to the output, and only an object whose
//! keys do not come in canonical order is moved once more.

use std::borrow::Cow;

use super::container::expected_after;
use super::error::{Error, ErrorKind, Fault};
use super::{Reader, number, string};

/// Looks at what passes through [`Reader::canonical_value`], and may refuse it. `()` refuses nothing.
pub trait Inspect {
    /// Called for each object member, at any depth, whose value is a string and not empty; `key` is unescaped.
    ///
    /// # Errors
    /// What to refuse the whole text with; the error's pointer names the member.
    fn string_member(&mut self, key: &str) -> Result<(), ErrorKind>;
}

impl Inspect for () {
    #[inline]
    fn string_member(&mut self, _key: &str) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl<'a> Reader<'a> {
    /// Reads any value and appends its canonical text to `out`.
    ///
    /// # Errors
    /// All that the reader refuses, but types; and what `inspect` refuses. `out` is then as it was.
    pub fn canonical_value(&mut self, out: &mut Vec<u8>, inspect: &mut impl Inspect) -> Result<(), Error> {
        self.begin_any();
        let (start, out_start) = (self.position, out.len());
        let written = self.rewrite(out, inspect);
        if written.is_err() {
            out.truncate(out_start);
        }
        self.mark = start;
        written
    }

    /// Reads any value, as strictly as if it were wanted, and gives it as it is spelled.
    ///
    /// # Errors
    /// All that the reader refuses, but types.
    pub fn skip(&mut self) -> Result<&'a str, Error> {
        self.begin_any();
        let start = self.position;
        self.canonical_value(&mut Vec::new(), &mut ())?;
        Ok(self.text.get(start..self.position).unwrap_or_default())
    }

    fn rewrite(&mut self, out: &mut Vec<u8>, inspect: &mut impl Inspect) -> Result<(), Error> {
        match self.next_byte() {
            Some(b'"') => {
                let end = string::rewrite(self.text, self.position, out);
                self.position = end.map_err(|fault| self.raise(fault))?;
                Ok(())
            }
            Some(b'{') => self.rewrite_object(out, inspect),
            Some(b'[') => self.rewrite_array(out, inspect),
            Some(b'-' | b'0'..=b'9') => {
                let end = number::rewrite(self.text, self.position, out);
                self.position = end.map_err(|fault| self.raise(fault))?;
                Ok(())
            }
            Some(b't') => self.rewrite_literal(out, "true"),
            Some(b'f') => self.rewrite_literal(out, "false"),
            Some(b'n') => self.rewrite_literal(out, "null"),
            Some(_) | None => Err(self.unexpected("a JSON value")),
        }
    }

    fn rewrite_literal(&mut self, out: &mut Vec<u8>, word: &'static str) -> Result<(), Error> {
        self.literal(word)?;
        out.extend_from_slice(word.as_bytes());
        Ok(())
    }

    fn rewrite_array(&mut self, out: &mut Vec<u8>, inspect: &mut impl Inspect) -> Result<(), Error> {
        self.descend()?;
        out.push(b'[');
        if self.next_byte() != Some(b']') {
            loop {
                self.rewrite(out, inspect)?;
                if !self.rewrite_comma(out, b']')? {
                    break;
                }
            }
        }
        self.ascend();
        out.push(b']');
        Ok(())
    }

    fn rewrite_object(&mut self, out: &mut Vec<u8>, inspect: &mut impl Inspect) -> Result<(), Error> {
        self.descend()?;
        out.push(b'{');
        let members_start = self.members.len();
        let mut ascending = true;
        if self.next_byte() != Some(b'}') {
            loop {
                ascending &= self.key(members_start, out.len())?;
                self.rewrite_member(out, inspect)?;
                if !self.rewrite_comma(out, b'}')? {
                    break;
                }
            }
        }
        if !ascending {
            self.reorder(members_start, out)?;
        }
        self.members.truncate(members_start);
        self.ascend();
        out.push(b'}');
        Ok(())
    }

    /// Writes the member whose key has just been read, and reads its value.
    fn rewrite_member(&mut self, out: &mut Vec<u8>, inspect: &mut impl Inspect) -> Result<(), Error> {
        let is_string = self.next_byte() == Some(b'"');
        let is_empty = self.text.as_bytes().get(self.position + 1) == Some(&b'"');
        if let Some(member) = self.members.last() {
            match &member.key {
                Cow::Borrowed(plain) => {
                    out.push(b'"');
                    out.extend_from_slice(plain.as_bytes());
                    out.extend_from_slice(b"\":");
                }
                Cow::Owned(key) => {
                    string::write_string(out, key);
                    out.push(b':');
                }
            }
            if is_string && !is_empty {
                let verdict = inspect.string_member(&member.key);
                verdict.map_err(|kind| self.raise(Fault { offset: self.position, kind }))?;
            }
        }
        self.rewrite(out, inspect)?;
        if let Some(member) = self.members.last_mut() {
            member.end = out.len();
        }
        Ok(())
    }

    /// Whether another member or element follows; if so, passes and writes the comma.
    #[inline]
    fn rewrite_comma(&mut self, out: &mut Vec<u8>, closing: u8) -> Result<bool, Error> {
        match self.next_byte() {
            Some(b',') => {
                self.position += 1;
                out.push(b',');
                Ok(true)
            }
            Some(byte) if byte == closing => Ok(false),
            Some(_) | None => Err(self.unexpected(expected_after(closing))),
        }
    }

    /// Puts the written members of the innermost object in canonical order.
    fn reorder(&mut self, members_start: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let members = self.members.get(members_start..).unwrap_or_default();
        let Some(out_start) = members.first().map(|member| member.start) else { return Ok(()) };
        self.sort_members(members_start)?;
        let members = self.members.get(members_start..).unwrap_or_default();
        self.scratch.reserve(out.len() - out_start);
        for (ordinal, member) in members.iter().enumerate() {
            if ordinal > 0 {
                self.scratch.push(b',');
            }
            self.scratch.extend_from_slice(out.get(member.start..member.end).unwrap_or_default());
        }
        out.truncate(out_start);
        out.append(&mut self.scratch);
        Ok(())
    }
}
