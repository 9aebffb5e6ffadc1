//! The routes of tasks, by listener.

mod attempt;
mod blob;
mod operator;
mod state;
mod worker;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use attempt::TaskFence;

use crate::server::App;

/// For operators: the public listener.
pub(crate) fn public_router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(operator::tasks))
        .routes(routes!(operator::task))
        .routes(routes!(operator::cancel_task))
        .routes(routes!(operator::retry_task))
}

/// For the code that runs a task: the task listener.
pub(crate) fn task_router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(attempt::heartbeat))
        .routes(routes!(attempt::complete))
        .routes(routes!(attempt::task_events))
        .routes(routes!(attempt::task_control))
        .routes(routes!(state::task_state))
        .routes(routes!(state::task_artifacts))
        .routes(routes!(state::task_wal))
        .routes(routes!(blob::put_task_blob))
}

/// For workers: the internal listener.
pub(crate) fn internal_router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(worker::task_claim))
        .routes(routes!(worker::task_fetch))
        .routes(routes!(worker::wakeups))
}

/// An answer that is JSON already.
fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
