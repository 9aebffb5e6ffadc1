//! Query parameters, refused as a problem instead of as plain text.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::{Problem, ReasonCode};

/// The query of a request as `T`; what does not fit is 400 `INVALID_INPUT`.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|axum::extract::Query(query)| Self(query)).map_err(
            |rejection| {
                let cause =
                    std::error::Error::source(&rejection).map_or_else(String::new, ToString::to_string);
                Problem::new(ReasonCode::InvalidInput).detail(format!("The query does not fit: {cause}."))
            },
        )
    }
}
