//! Records of intents as the route appends them, made without a server: for logs that a bench starts with.

use gesta_log_format::envelope::{PrepareError, Prepared};

use super::request;
use super::submit::record;
use crate::auth::Principal;
use crate::exchange::Exchange;
use crate::keys::Fingerprint;
use crate::problem::Problem;

/// Makes records on behalf of the caller of a server without tokens.
pub struct Maker {
    principal: Principal,
    exchange: Exchange,
}

/// Why a body becomes no record.
#[derive(Debug)]
pub enum MakeError {
    /// The route would refuse it.
    Refused(Problem),
    /// The route would put parts of it as blobs.
    TooLarge(PrepareError),
}

impl Maker {
    /// All records bear the name of one exchange.
    #[must_use]
    pub fn local() -> Self {
        Self { principal: Principal::local(), exchange: Exchange::generated() }
    }

    /// The record for a body of `POST /ingress/intent`, and what it is found by. Nothing that it refers to is looked
    /// up.
    ///
    /// # Errors
    /// [`MakeError`].
    pub fn record(&self, body: &[u8]) -> Result<(Prepared, Vec<Fingerprint>), MakeError> {
        let intent = request::parse(body).map_err(MakeError::Refused)?;
        record(&intent, &self.principal, &self.exchange).map_err(MakeError::TooLarge)
    }
}
