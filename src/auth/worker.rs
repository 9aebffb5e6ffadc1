//! The worker of a request on the internal listener. There whatever is wrong with a token is 401, and where no token is
//! configured nobody is a worker: the code of a task runs on the same machine, and must not become one.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;

use super::{Auth, Patterns, Principal};
use crate::problem::{Problem, ReasonCode};

/// An authenticated worker. As an extractor it refuses with `MISSING_TOKEN` or `BAD_TOKEN`.
#[derive(Debug, Clone)]
pub struct Worker(pub(super) Arc<Principal>);

impl Worker {
    /// One that may be anybody and claim everything.
    #[cfg(test)]
    pub(crate) fn of_everything() -> Self {
        Self(Arc::new(Principal::local()))
    }

    /// The token's name, which is not the worker's id.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether the token may speak for the worker of this id.
    pub fn may_be(&self, worker_id: &str) -> bool {
        self.0.workers.matches(worker_id)
    }

    /// Whether the token may claim a task of the pool and the stream.
    pub fn may_claim(&self, pool: &str, stream_id: &str) -> bool {
        self.0.pools.matches(pool) && self.0.streams.matches(stream_id)
    }

    /// The streams whose tasks the token may claim.
    pub fn streams(&self) -> &Patterns {
        &self.0.streams
    }

    /// # Errors
    /// `BAD_TOKEN` unless the token may speak for the worker.
    pub fn require_worker(&self, worker_id: &str) -> Result<(), Problem> {
        match self.may_be(worker_id) {
            true => Ok(()),
            false => Err(uncovered(format!("The token does not cover the worker {worker_id}."))),
        }
    }

    /// # Errors
    /// `BAD_TOKEN` unless the token may claim tasks of the pool.
    pub fn require_pool(&self, pool: &str) -> Result<(), Problem> {
        match self.0.pools.matches(pool) {
            true => Ok(()),
            false => Err(uncovered(format!("The token does not cover the pool {pool}."))),
        }
    }
}

fn uncovered(detail: String) -> Problem {
    Problem::new(ReasonCode::BadToken).detail(detail)
}

impl<S> FromRequestParts<S> for Worker
where
    Arc<Auth>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Arc::<Auth>::from_ref(state).authenticate_worker(&parts.headers)
    }
}
