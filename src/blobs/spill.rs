//! What a client is told whose intent does not fit a record.

use gesta_log_format::blob::spill::SpillError;

use crate::problem::{Problem, ReasonCode};

impl From<SpillError> for Problem {
    fn from(error: SpillError) -> Self {
        match error {
            SpillError::TooLarge { .. } => {
                Self::new(ReasonCode::BodyTooLarge).detail(format!("Nothing was appended: {error}."))
            }
            SpillError::NotAnObject => Self::new(ReasonCode::Internal),
        }
    }
}
