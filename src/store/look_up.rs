//! Look-ups on behalf of requests: off the tasks that serve sockets, and their failures as a client may see them.

use super::LookupError;
use crate::problem::{Problem, ReasonCode};

/// Runs a look-up that may read the disk.
pub async fn blocking<T: Send + 'static>(
    look_up: impl FnOnce() -> Result<T, LookupError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(look_up).await {
        Ok(found) => found.map_err(|error| unreadable(&error)),
        Err(_panicked) => Err(Problem::new(ReasonCode::Internal)),
    }
}

/// The log or its index cannot be read. What is wrong is for the operator alone.
pub fn unreadable(error: &LookupError) -> Problem {
    tracing::error!(%error, "a look-up failed");
    match error {
        LookupError::Read(gesta_log_format::log::ReadError::Damaged(_)) => {
            Problem::new(ReasonCode::LogDamaged)
        }
        LookupError::Read(_) | LookupError::Keys(_) | LookupError::Fold(_) => {
            Problem::new(ReasonCode::Internal)
        }
    }
}
