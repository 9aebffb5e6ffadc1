//! Where objects lie, and directories that cover them: deny by default.
//!
//! What is written in an unusual way is refused instead of understood, because two programs that understand it
//! differently are what an attack is made of: no escapes, no dots that lead elsewhere, no patterns, no empty parts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest URI, in bytes; S3 keys have at most 1024.
const URI_BYTES_MAX: usize = 1024 + 64 + 8;

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    S3,
    /// This server's own.
    Blob,
}

impl Scheme {
    /// As it is written before `://`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Blob => "blob",
        }
    }
}

/// Why a text is no object or no prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("it is longer than {URI_BYTES_MAX} bytes")]
    TooLong,
    #[error("it does not begin with s3:// or blob://")]
    Scheme,
    #[error(
        "its bucket is not 3 to 63 lower-case letters, digits, `.` or `-`, with a letter or digit at both ends"
    )]
    Bucket,
    #[error("it has no key after the bucket")]
    NoKey,
    #[error("its key has a part that is empty or holds `..`, or is `.`")]
    Part,
    #[error("its key holds a character other than letters, digits and -_.=+@,:~!()'")]
    Character,
    #[error("a prefix ends with `/`")]
    NotADirectory,
    #[error("an object does not end with `/`")]
    NotAnObject,
}

/// A directory in a bucket, and all that is below it. Its text ends with `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Prefix(Place);

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Object(Place);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    scheme: Scheme,
    bucket: String,
    key: String,
}

impl Prefix {
    /// Reads `scheme://bucket/directory/`, with one directory at least: nobody is granted a whole bucket.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let (scheme, bucket, key) = split(text)?;
        let directory = key.strip_suffix('/').ok_or(match key.is_empty() {
            true => Fault::NoKey,
            false => Fault::NotADirectory,
        })?;
        check_key(directory)?;
        Ok(Self(Place { scheme, bucket: bucket.to_owned(), key: key.to_owned() }))
    }

    /// Whether the object lies below.
    pub fn covers(&self, object: &Object) -> bool {
        let (Self(own), Object(other)) = (self, object);
        own.scheme == other.scheme && own.bucket == other.bucket && other.key.starts_with(&own.key)
    }

    /// Whether all that `other` covers is covered by this one too.
    pub fn covers_prefix(&self, other: &Self) -> bool {
        let (Self(own), Self(other)) = (self, other);
        own.scheme == other.scheme && own.bucket == other.bucket && other.key.starts_with(&own.key)
    }

    pub fn scheme(&self) -> Scheme {
        self.0.scheme
    }

    pub fn bucket(&self) -> &str {
        &self.0.bucket
    }

    /// The directory, with its closing `/`.
    pub fn key(&self) -> &str {
        &self.0.key
    }
}

impl Object {
    /// Reads `scheme://bucket/key`.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let (scheme, bucket, key) = split(text)?;
        Self::of(scheme, bucket, key)
    }

    /// The object of these parts, as a path of `/objects/{bucket}/{key…}` has them once it is decoded.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn of(scheme: Scheme, bucket: &str, key: &str) -> Result<Self, Fault> {
        if scheme.name().len() + "://".len() + bucket.len() + 1 + key.len() > URI_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        check_bucket(bucket)?;
        if key.is_empty() {
            return Err(Fault::NoKey);
        }
        if key.ends_with('/') {
            return Err(Fault::NotAnObject);
        }
        check_key(key)?;
        Ok(Self(Place { scheme, bucket: bucket.to_owned(), key: key.to_owned() }))
    }

    pub fn scheme(&self) -> Scheme {
        self.0.scheme
    }

    pub fn bucket(&self) -> &str {
        &self.0.bucket
    }

    pub fn key(&self) -> &str {
        &self.0.key
    }
}

/// Whether `prefix` is one and covers the object that `uri` is. What is neither covers nothing and is covered by nothing.
pub fn covers(prefix: &str, uri: &str) -> bool {
    matches!((Prefix::parse(prefix), Object::parse(uri)), (Ok(prefix), Ok(object)) if prefix.covers(&object))
}

fn split(text: &str) -> Result<(Scheme, &str, &str), Fault> {
    if text.len() > URI_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    let schemes = [Scheme::S3, Scheme::Blob];
    let found = schemes.into_iter().find_map(|scheme| {
        let rest = text.strip_prefix(scheme.name())?.strip_prefix("://")?;
        Some((scheme, rest))
    });
    let (scheme, rest) = found.ok_or(Fault::Scheme)?;
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    check_bucket(bucket)?;
    Ok((scheme, bucket, key))
}

fn check_bucket(bucket: &str) -> Result<(), Fault> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inside = |byte: u8| allowed(byte) || byte == b'-' || byte == b'.';
    let ends = bucket.bytes().next().is_some_and(allowed) && bucket.bytes().last().is_some_and(allowed);
    let good = (3..=63).contains(&bucket.len()) && ends && bucket.bytes().all(inside);
    if good && !bucket.contains("..") { Ok(()) } else { Err(Fault::Bucket) }
}

fn check_key(key: &str) -> Result<(), Fault> {
    if key.is_empty() {
        return Err(Fault::NoKey);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.=+@,:~!()'".contains(&byte);
    if !key.bytes().all(allowed) {
        return Err(Fault::Character);
    }
    match key.split('/').any(|part| part.is_empty() || part == "." || part.contains("..")) {
        true => Err(Fault::Part),
        false => Ok(()),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.scheme.name(), self.bucket, self.key)
    }
}

macro_rules! text {
    ($($Kind:ident),+) => {$(
        impl fmt::Display for $Kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$Kind> for String {
            fn from(place: $Kind) -> Self {
                place.to_string()
            }
        }

        impl TryFrom<String> for $Kind {
            type Error = Fault;

            fn try_from(text: String) -> Result<Self, Fault> {
                Self::parse(&text)
            }
        }
    )+};
}

text!(Prefix, Object);

#[cfg(test)]
mod tests;
