//! Whether the blobs are here that a client's content refers to.

use std::io;

use gesta_log_format::blob::{Reference, find};
use gesta_log_format::disk::Disk;
use gesta_log_format::{Digest, json};

use super::{References, Store};
use crate::auth::Principal;
use crate::problem::{Problem, ReasonCode};

/// Why a client's content cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There is no blob of this digest and this length, or none that the caller has put or may read.
    #[error("no blob {digest} of {size_bytes} bytes is here that you have put or may read")]
    NotFound {
        /// RFC 6901 pointer to the reference, within the content.
        pointer: String,
        digest: Digest,
        size_bytes: u64,
    },
    #[error("cannot look for a blob")]
    Io(#[from] io::Error),
    /// The log cannot be read.
    #[error("the records cannot be asked who may read a blob")]
    Log(Box<Problem>),
}

impl CheckError {
    /// The problem for a client in whose request the content stands at the pointer `at`: 400 `BLOB_NOT_FOUND`.
    pub fn problem(self, at: &str) -> Problem {
        match &self {
            Self::NotFound { pointer, .. } => Problem::new(ReasonCode::BlobNotFound)
                .status(axum::http::StatusCode::BAD_REQUEST)
                .detail(format!("Nothing was appended: {self}."))
                .pointer(format!("{at}{pointer}")),
            Self::Io(cause) => {
                tracing::error!(%cause, "cannot look for a blob");
                Problem::new(ReasonCode::Internal).detail("The disk failed. Nothing was appended.")
            }
            Self::Log(problem) => Problem::clone(problem),
        }
    }
}

impl<D: Disk> Store<D> {
    /// Whether all blobs are here, durably, that a client's canonical content refers to, and are the caller's to refer to:
    /// they have put them, or may read them by `references`. Blocks on the disk, if there is a reference.
    ///
    /// # Errors
    /// The first reference whose blob is not here, has another length, or is not the caller's: the one answer for all.
    pub fn check_references(
        &self,
        content: &[u8],
        caller: &Principal,
        references: &dyn References,
    ) -> Result<(), CheckError> {
        for (at, Reference { digest, size_bytes, .. }) in find(content) {
            if self.len_for(&digest, caller, references)? != Some(size_bytes) {
                let pointer = json::pointer_at(content, at);
                return Err(CheckError::NotFound { pointer, digest, size_bytes });
            }
        }
        Ok(())
    }

    /// The length of a blob that is here, durably, and is the caller's to refer to. Blocks on the disk.
    ///
    /// # Errors
    /// The disk or the log cannot tell.
    pub fn len_for(
        &self,
        digest: &Digest,
        caller: &Principal,
        references: &dyn References,
    ) -> Result<Option<u64>, CheckError> {
        let theirs = caller.may_read_all()
            || self.puts.has(caller, digest)
            || references.readable(digest, caller).map_err(|problem| CheckError::Log(Box::new(problem)))?;
        Ok(if theirs { self.len(digest)? } else { None })
    }
}
