//! Why the projector stopped.

use gesta_log_format::Index;
use gesta_log_format::log::ReadError;
use gesta_log_format::segment::SegmentId;
use gesta_replay::FoldError;
use tracing::error;

/// What ended the projector. The log is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A durable record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record was read and cannot be folded.
    #[error("segment {segment}, byte {byte}: {cause}")]
    Fold {
        /// Its segment.
        segment: SegmentId,
        /// Where it begins.
        byte: u64,
        /// Its index.
        index: Index,
        /// What is wrong.
        #[source]
        cause: FoldError,
    },
    /// The thread panicked: a bug.
    #[error("the projector panicked")]
    Panicked,
}

impl Failure {
    /// Says once, for the operator, where the log cannot be folded.
    pub(super) fn log(&self) {
        const MESSAGE: &str = "the projector has stopped: what depends on projections stays as it is";
        match self {
            Self::Read(ReadError::Damaged(at)) => {
                error!(segment = %at.segment, byte = at.byte, index = at.index.0, cause = %at.damage, "{MESSAGE}");
            }
            Self::Read(ReadError::Io { segment, byte, cause }) => {
                error!(%segment, byte, %cause, "{MESSAGE}");
            }
            Self::Read(gone @ ReadError::Gone { index, first }) => {
                error!(index = index.0, first = first.0, cause = %gone, "{MESSAGE}");
            }
            Self::Fold { segment, byte, index, cause } => {
                error!(%segment, byte, index = index.0, %cause, "{MESSAGE}");
            }
            Self::Panicked => error!("{MESSAGE}: it panicked"),
        }
    }
}
