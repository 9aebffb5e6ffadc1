//! The caller as an extractor, and the route that gives a caller a tail ticket.

use std::ops::Deref;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRef, FromRequestParts, State};
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Auth, Principal, Role};
use crate::problem::{Problem, ProblemBody};

/// The authenticated principal of a request. As an extractor it refuses with `MISSING_TOKEN` or `BAD_TOKEN`.
#[derive(Debug, Clone)]
pub struct Caller(pub Arc<Principal>);

impl Deref for Caller {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.0
    }
}

impl<S> FromRequestParts<S> for Caller
where
    Arc<Auth>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Arc::<Auth>::from_ref(state).authenticate(&parts.headers).map(Self)
    }
}

/// A ticket for `GET /tail?ticket=`.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewTicket {
    /// To be used within 60 s; then good for one connection and its reconnects, until the server restarts.
    pub ticket: String,
}

/// A ticket with which a browser's EventSource, which cannot send a token, opens one tail.
///
/// Asking takes the role `log.read`; the tail then shows what the asking token may read.
#[utoipa::path(
    post,
    path = "/tail/ticket",
    tag = "tail",
    responses(
        (status = 200, description = "A ticket", body = NewTicket),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 503, description = "`TICKETS_FULL`", body = ProblemBody),
    )
)]
pub async fn tail_ticket(State(auth): State<Arc<Auth>>, caller: Caller) -> Result<Response, Problem> {
    caller.require(Role::LogRead)?;
    let mut response = Json(NewTicket { ticket: auth.tickets.issue(caller.0)? }).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
