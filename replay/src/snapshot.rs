//! The written form of a projection's state: canonical JSON with a name and a version.

use gesta_log_format::{Digest, json};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Why bytes are not a snapshot of the projection.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// They are not canonical JSON, so no projection has written them.
    #[error("the snapshot is not canonical JSON")]
    NotCanonical,
    /// They are not of this form.
    #[error("the snapshot cannot be read: {cause}")]
    Form {
        /// What is wrong with which member.
        #[from]
        cause: serde_json::Error,
    },
    /// They are another projection's.
    #[error("the snapshot is one of {found:?}, and {wanted:?} is wanted")]
    OtherProjection {
        /// Whose they are.
        found: String,
        /// Whose they should be.
        wanted: &'static str,
    },
    /// They are of another version.
    #[error("the snapshot is of version {found}, and version {wanted} is wanted")]
    OtherVersion {
        /// The version that was found.
        found: u32,
        /// The version that this program writes.
        wanted: u32,
    },
    /// The form is right, and no records lead to such a state.
    #[error("the snapshot contradicts itself: {what}")]
    Contradiction {
        /// What does not go together.
        what: &'static str,
    },
}

#[derive(Serialize)]
struct Written<'a, T> {
    projection: &'static str,
    state: &'a T,
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read<'a> {
    projection: String,
    #[serde(borrow)]
    state: &'a RawValue,
    version: u32,
}

pub(crate) fn write<T: Serialize>(projection: &'static str, version: u32, state: &T) -> Vec<u8> {
    let text = serde_json::to_vec(&Written { projection, state, version })
        .expect("a state consists of plain structs, lists, texts and indexes");
    json::canonicalize(&text).expect("every index is below 2^53, and no state is nested deeply")
}

pub(crate) fn read<T: DeserializeOwned>(
    projection: &'static str,
    version: u32,
    snapshot: &[u8],
) -> Result<T, RestoreError> {
    if !json::is_canonical(snapshot) {
        return Err(RestoreError::NotCanonical);
    }
    let read: Read<'_> = serde_json::from_slice(snapshot)?;
    if read.projection != projection {
        return Err(RestoreError::OtherProjection { found: read.projection, wanted: projection });
    }
    if read.version != version {
        return Err(RestoreError::OtherVersion { found: read.version, wanted: version });
    }
    Ok(serde_json::from_str(read.state.get())?)
}

/// Refuses a state in which something that every fold keeps does not hold.
pub(crate) fn ensure(holds: bool, what: &'static str) -> Result<(), RestoreError> {
    if holds { Ok(()) } else { Err(RestoreError::Contradiction { what }) }
}

/// Reads a digest as snapshots hold it.
pub(crate) fn digest(text: &str) -> Result<Digest, RestoreError> {
    Digest::parse(text).ok_or(RestoreError::Contradiction { what: "a digest is none" })
}
