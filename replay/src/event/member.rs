//! One member of a payload on its way to a type.

use std::borrow::Cow;

use gesta_log_format::json::canonical::{self, Members};
use gesta_log_format::{Digest, Index};

use super::content::{Content, Elements, texts, whole_number};
use super::{Event, EventError, ExecutionId, Fault};

/// A member that a payload should have: its name, as errors give it, and its text, where it is there.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    name: &'static str,
    value: Option<&'a [u8]>,
    index: Index,
}

impl<'a> Event<'a> {
    /// Finds members of the payload in one walk.
    pub(super) fn members<const N: usize>(&self, names: [&'static str; N]) -> [Member<'a>; N] {
        find(self.view.payload, self.view.index, names)
    }
}

/// Finds members of an object in one walk; what is not one has none. A name is what stands behind its last dot.
pub(super) fn find<'a, const N: usize>(
    object: &'a [u8],
    index: Index,
    names: [&'static str; N],
) -> [Member<'a>; N] {
    let mut found = names.map(|name| Member { name, value: None, index });
    let mut missing = N;
    for (key, value) in Members::new(object).map_while(Result::ok) {
        if let Some(member) = found.iter_mut().find(|member| member.value.is_none() && member.key() == key) {
            member.value = Some(value);
            missing -= 1;
            if missing == 0 {
                break;
            }
        }
    }
    found
}

impl<'a> Member<'a> {
    fn key(&self) -> &'static [u8] {
        self.name.rsplit_once('.').map_or(self.name, |(_, key)| key).as_bytes()
    }

    pub(super) fn checked<T>(
        self,
        wanted: &'static str,
        read: impl FnOnce(&'a [u8]) -> Option<T>,
    ) -> Result<T, EventError> {
        self.value.and_then(read).ok_or_else(|| self.fault(wanted))
    }

    #[cold]
    fn fault(self, wanted: &'static str) -> EventError {
        EventError { index: Some(self.index), fault: Fault::Payload { member: self.name, wanted } }
    }

    /// What `read` makes of the value; none where it is missing or null.
    pub(super) fn optional<T>(
        self,
        read: impl FnOnce(Self) -> Result<T, EventError>,
    ) -> Result<Option<T>, EventError> {
        match self.value {
            None | Some(b"null") => Ok(None),
            Some(_) => read(self).map(Some),
        }
    }

    pub(super) fn members<const N: usize>(
        self,
        names: [&'static str; N],
    ) -> Result<[Member<'a>; N], EventError> {
        self.checked("an object", |value| {
            (value.first() == Some(&b'{')).then(|| find(value, self.index, names))
        })
    }

    /// Members of each object of a list that is in the record itself.
    pub(super) fn objects<const N: usize>(
        self,
        names: [&'static str; N],
    ) -> Result<Vec<[Member<'a>; N]>, EventError> {
        self.checked("a list of objects in the record itself", |value| {
            value.first().filter(|first| **first == b'[')?;
            let object = |element: Option<&'a [u8]>| element.filter(|one| one.first() == Some(&b'{'));
            Elements::new(value).map(|element| Some(find(object(element)?, self.index, names))).collect()
        })
    }

    pub(super) fn text(self) -> Result<Cow<'a, str>, EventError> {
        self.checked("a text", canonical::string)
    }

    pub(super) fn texts(self) -> Result<Vec<Cow<'a, str>>, EventError> {
        self.checked("a list of texts", texts)
    }

    pub(super) fn number(self) -> Result<u64, EventError> {
        self.checked("a whole number", whole_number)
    }

    pub(super) fn digest(self) -> Result<Digest, EventError> {
        self.checked("a digest, sha256: and 64 digits", |value| Digest::parse(&canonical::string(value)?))
    }

    pub(super) fn execution_id(self) -> Result<ExecutionId, EventError> {
        self.checked("a ULID", |value| ExecutionId::parse(value.strip_prefix(b"\"")?.strip_suffix(b"\"")?))
    }

    pub(super) fn content(self) -> Result<Content<'a>, EventError> {
        self.checked("given", |value| Some(Content::of(value)))
    }

    pub(super) fn one_of<T>(
        self,
        wanted: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, EventError> {
        self.checked(wanted, |value| read(&canonical::string(value)?))
    }
}
