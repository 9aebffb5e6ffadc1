//! Canonical JSON (RFC 8785), strictly read.
//!
//! [`Reader`] pulls typed values out of text that nobody vouches for, in one pass and without a tree, and rewrites
//! what its caller does not interpret in canonical form ([`Reader::canonical_value`]). [`canonical`] walks text that
//! is known to be canonical, such as a record on disk whose checksum held.
//!
//! The reader refuses what two programs could understand differently: duplicate keys, lone surrogates, text that is
//! not UTF-8, and numbers that a double cannot hold. Numbers are judged by value and not by spelling: an integral
//! one must lie within ±(2^53−1), any other must be equal to the decimal that is printed for it. Invariant: the
//! reader accepts everything that the writer prints for values it has read, and the second pass changes nothing.

pub mod canonical;
mod container;
mod error;
mod number;
mod order;
mod pointer;
mod reader;
mod rewrite;
mod string;

#[cfg(test)]
mod tests;

pub use error::{Error, ErrorKind, Kind};
pub use number::{INTEGER_MAX, NotFinite, is_admissible, write_number};
pub use pointer::at as pointer_at;
pub use reader::{Mark, Reader};
pub use rewrite::Inspect;
pub use string::write_string;

/// How deep objects and arrays may be nested, counted together: `[[]]` is 2 deep.
pub const DEPTH_MAX: usize = 64;

/// The canonical text of one JSON value.
///
/// # Errors
/// Those of [`Reader`]: any text that is not exactly one strictly valid value.
pub fn canonicalize(text: &[u8]) -> Result<Vec<u8>, Error> {
    let mut reader = Reader::new(text)?;
    let mut out = Vec::with_capacity(text.len());
    reader.canonical_value(&mut out, &mut ())?;
    reader.finish()?;
    Ok(out)
}

/// Whether `text` is exactly the canonical text of one value.
pub fn is_canonical(text: &[u8]) -> bool {
    canonicalize(text).is_ok_and(|canonical| canonical == text)
}
