//! All routes, each of one listener.

use axum::Router;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::listeners::Surface;
use super::openapi;
use crate::{
    activation, auth, blobs, capability, datasets, execution, executor, ingress, objects, page, problem,
    proofs, reads, tail, tasks,
};

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
        (name = "tasks", description = "Work for workers, as operators see it"),
        (name = "datasets", description = "What tasks publish"),
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
        .routes(routes!(execution::cancel_execution))
        .merge(executor::router())
        .merge(blobs::router())
        .merge(proofs::router())
        .merge(activation::router())
        .merge(capability::public_router())
        .merge(tasks::public_router())
        .merge(datasets::public_router())
}

/// The frame of the task listener's document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Gesta: tasks",
        description = "What the code that runs a task may ask for, with the capability of its attempt.\n\n\
            Served by the listener of `--listen-task` alone. Every request has the capability token in \
            `X-Trace-Task-Capability` or as `Authorization: Bearer`; every change but a blob also the fence, `task_id`, \
            `attempt` and `lease_token`. Errors are those of the public listener.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "tasks", description = "One attempt of one task"),
        (name = "objects", description = "Named content"),
        (name = "datasets", description = "Rows that a task publishes")
    )
)]
struct TaskFrame;

/// The frame of the internal listener's document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Gesta: workers",
        description = "What workers and the platform ask for; the code that runs a task never does.\n\n\
            Served by the listener of `--listen-internal` alone. Workers show a token with the role `worker` in \
            `X-Trace-Worker-Token` or as `Authorization: Bearer`; whatever is wrong with it is 401. Errors are those of \
            the public listener.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "keys", description = "Checking capabilities elsewhere"),
        (name = "claims", description = "Work for workers")
    )
)]
struct InternalFrame;

/// The routes of the task listener: `/v1/task/*` and `/objects/*`.
fn task_router() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(TaskFrame::openapi())
        .merge(tasks::task_router())
        .merge(objects::task_router())
        .merge(datasets::task_router())
}

/// The routes of the internal listener: `/internal/*`.
fn internal_router() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(InternalFrame::openapi())
        .merge(capability::internal_router())
        .merge(tasks::internal_router())
}

fn routes_of(surface: Surface) -> OpenApiRouter<App> {
    match surface {
        Surface::Public => routes(),
        Surface::Task => task_router(),
        Surface::Internal => internal_router(),
    }
}

/// The OpenAPI document of a listener.
pub fn document(surface: Surface) -> utoipa::openapi::OpenApi {
    openapi::complete(routes_of(surface).into_openapi(), surface)
}

/// The whole of a listener. What belongs to another is as unknown here as what nobody has.
pub(super) fn whole(app: App, surface: Surface) -> Router {
    let (router, _) = routes_of(surface).split_for_parts();
    router.fallback(problem::not_found).with_state(app)
}
