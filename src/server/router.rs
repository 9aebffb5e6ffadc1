//! All routes.

use axum::Router;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::openapi;
use crate::{activation, auth, blobs, execution, executor, ingress, page, problem, proofs, reads, tail};

/// The OpenAPI document's frame; paths and schemas come from the handlers.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Gesta",
        description = "An append-only decision log: durable acknowledgement, resumable tail.\n\n\
            Every error outside a stream is a `Problem`. A route names the reason codes of its own; `GET /errors` lists \
            all, with cause and remedy. Every response has `X-Correlation-Id`, taken over from the request or made.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "ingress", description = "Appending intents"),
        (name = "executions", description = "What allowed intents become"),
        (name = "tail", description = "Streaming the log"),
        (name = "reads", description = "Finite reads"),
        (name = "proofs", description = "Showing that the log is what it was"),
        (name = "control", description = "What is in force for the intents to come"),
        (name = "blobs", description = "Content that is too large for a record"),
        (name = "operations", description = "What runs here"),
        (name = "reference", description = "What answers mean")
    )
)]
struct Frame;

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Frame::openapi())
        .routes(routes!(ingress::post_intent))
        .routes(routes!(tail::tail))
        .routes(routes!(auth::tail_ticket))
        .routes(routes!(reads::events))
        .routes(routes!(reads::event))
        .routes(routes!(reads::events_by_digest))
        .routes(routes!(reads::timeline))
        .routes(routes!(reads::status))
        .routes(routes!(reads::snapshot))
        .routes(routes!(reads::healthz))
        .routes(routes!(reads::readyz))
        .routes(routes!(reads::metrics))
        .routes(routes!(reads::openapi))
        .routes(routes!(problem::errors))
        .routes(routes!(page::page))
        .routes(routes!(execution::post_execution_event))
        .merge(executor::router())
        .merge(blobs::router())
        .merge(proofs::router())
        .merge(activation::router())
}

/// The OpenAPI document of the public listener.
pub fn document() -> utoipa::openapi::OpenApi {
    openapi::complete(routes().into_openapi())
}

/// The whole server.
pub(super) fn whole(app: App) -> Router {
    let (router, _) = routes().split_for_parts();
    router.fallback(problem::not_found).with_state(app)
}
