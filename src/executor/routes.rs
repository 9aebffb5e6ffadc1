//! `/api/intent/handlers`: who handles which type of intent.
//!
//! A registration is a CONTROL record, and the registry is folded from those. The executor looks at everything that is
//! open again once it has changed, so that a restart would find nothing else to do.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gesta_log_format::Index;
use gesta_log_format::blob::spill;
use gesta_replay::projections::handlers::Handler;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::registration::{self, subject};
use super::{Executor, bundle};
use crate::auth::{Caller, Role};
use crate::control::{self, Control, STREAM};
use crate::limits;
use crate::problem::{Problem, ProblemBody, ReasonCode, demand_json, read_body};
use crate::runtime::Registered;
use crate::server::App;

/// The routes of the registry.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(handlers, register_handler)).routes(routes!(remove_handler))
}

/// A handler as an operator registers it.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct NewHandler {
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    intent_type: String,
    /// Its name among the handlers of the type; of a builtin one which it is: `echo` or `assemble_prompt`.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    handler_name: String,
    /// `builtin` runs in the server, `external` elsewhere and is reported on with `POST /execution/event`; `worker` becomes
    /// a task that a worker claims, `push` one that is posted to `url`. What follows is of the latter two, unless it says
    /// otherwise.
    #[schema(pattern = "^(builtin|external|worker|push)$")]
    kind: String,
    /// Of all: time that it has for an execution, after which that fails, `DEADLINE_EXCEEDED`. Of a `builtin` handler for each
    /// invocation, `executor.invoke_seconds_default` where it is left out and at most `executor.invoke_seconds_max`; of an
    /// `external` one from the DECISION to `running`, and from there to the end, without limit where it is left out;
    /// of a task for one attempt, 3,600 where it is left out and at most 86,400.
    #[schema(minimum = 1, maximum = 31_536_000)]
    timeout_seconds: Option<u64>,
    /// Whose workers may claim its tasks; `default` where it is left out.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    pool: Option<String>,
    /// Of `push`: where its tasks are posted; of all with `publish` webhook: where its events are. At a host of
    /// `push.allow_hosts`.
    url: Option<String>,
    /// The digits of the SHA-256 of the bundle that a runner loads: a blob that is here, and that the caller has put or may
    /// read.
    bundle_sha256: Option<String>,
    /// `{dag_name, name}`: what a runner calls it.
    #[schema(value_type = Option<Object>)]
    job: Option<serde_json::Value>,
    /// Given to its tasks as it is.
    #[schema(value_type = Option<Object>)]
    operator: Option<serde_json::Value>,
    /// Given to its tasks as it is.
    #[schema(value_type = Option<Object>)]
    config: Option<serde_json::Value>,
    /// Most attempts; 3 where it is left out.
    #[schema(minimum = 1, maximum = 100)]
    max_attempts: Option<u64>,
    /// How long a lease lasts; 120 where it is left out.
    #[schema(minimum = 1, maximum = 86_400)]
    lease_seconds: Option<u64>,
    /// How often a worker should be heard of; 30 where it is left out, and never less often than three times a lease.
    #[schema(minimum = 1, maximum = 86_400)]
    heartbeat_seconds: Option<u64>,
    /// From 0 to 9, the higher ones first; 5 where it is left out.
    #[schema(minimum = 0, maximum = 9)]
    priority: Option<u8>,
    /// `{datasets [{dataset_uuid, dataset_version, storage_ref?}], s3 {read_prefixes[], write_prefixes[]}}`: what the
    /// capabilities of its tasks grant.
    #[schema(value_type = Option<Object>)]
    grants: Option<serde_json::Value>,
    /// Of `builtin`, `worker` and `push`: JSON Schema of an intent's payload. One that does not fit fails its execution,
    /// `PARAMS_INVALID`, before the handler is given it.
    #[schema(value_type = Option<Object>)]
    params_schema: Option<serde_json::Value>,
    /// JSON Schema of a result: one that does not fit is refused, `RESULT_INVALID`.
    #[schema(value_type = Option<Object>)]
    result_schema: Option<serde_json::Value>,
    /// Of all: what becomes of its EXECUTION `event` records besides. `log` writes a line in the server's log, without what
    /// they hold; `webhook` posts each envelope to `url`, at least once, in order for each execution; `none` where it is left
    /// out.
    #[schema(pattern = "^(none|log|webhook)$")]
    publish: Option<String>,
    /// The datasets whose events it is called for.
    subscribe: Option<Vec<String>>,
    /// Of all: whatever the operator wants to keep with it.
    #[schema(value_type = Option<Object>)]
    metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A handler that is in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HandlerShown {
    intent_type: String,
    handler_name: String,
    kind: String,
    /// The CONTROL record of its newest registration; null for what ships with the server.
    index: Option<u64>,
    /// As it was registered; null where it was not.
    timeout_seconds: Option<u64>,
    /// As it was registered.
    #[schema(value_type = Object)]
    metadata: Box<RawValue>,
    /// All of it, as it was registered; null for what ships with the server.
    #[schema(value_type = Option<Object>)]
    registration: Option<Box<RawValue>>,
    /// Whether executions of the type are given to it: the first that was registered is.
    used: bool,
}

/// The registry.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HandlersShown {
    /// By type, then in the order of their first registration. What the program brings along stands behind, unless it was
    /// registered, too.
    handlers: Vec<HandlerShown>,
}

/// A change of the registry.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HandlerChanged {
    /// Always true.
    ok: bool,
    /// The CONTROL record that says so; of an equal registration the one that is there.
    index: u64,
}

/// Which handlers there are.
#[utoipa::path(
    get,
    path = "/api/intent/handlers",
    tag = "executions",
    responses(
        (status = 200, description = "The registry", body = HandlersShown, headers(("Gesta-Applied-Index" = u64, description = "The first index that is not folded into it"))),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
    )
)]
pub(super) async fn handlers(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    if !caller.may_read_stream(STREAM) {
        return Err(Problem::new(ReasonCode::Forbidden)
            .detail("The registry is for the roles auditor, operator and admin."));
    }
    let (handlers, applied) = app.projector.look(|state| {
        let mut shown = Vec::new();
        for (intent_type, handlers) in state.handlers.types() {
            let of_type = handlers.iter().enumerate();
            shown.extend(of_type.map(|(nth, handler)| HandlerShown::of(intent_type, handler, nth == 0)));
        }
        for (intent_type, handlers) in app.executor.registry().types() {
            let logged = state.handlers.of(intent_type);
            let is_logged = |name: &str| logged.iter().any(|known| known.handler_name == name);
            let of_type = handlers.iter().filter(|known| !is_logged(&known.handler_name)).enumerate();
            let shown_of =
                |(nth, known)| HandlerShown::of_program(intent_type, known, nth == 0 && logged.is_empty());
            shown.extend(of_type.map(shown_of));
        }
        (shown, state.applied())
    });
    let mut response = Json(HandlersShown { handlers }).into_response();
    response.headers_mut().insert("gesta-applied-index", applied.0.into());
    Ok(response)
}

impl HandlerShown {
    fn of(intent_type: &str, handler: &Handler, used: bool) -> Self {
        #[derive(Deserialize)]
        struct Registration {
            metadata: Option<Box<RawValue>>,
            timeout_seconds: Option<u64>,
        }
        let registration = serde_json::from_str::<Registration>(&handler.registration);
        let (metadata, timeout_seconds) = registration
            .map_or((None, None), |registration| (registration.metadata, registration.timeout_seconds));
        Self {
            intent_type: intent_type.to_owned(),
            handler_name: handler.handler_name.clone(),
            kind: handler.kind.text().to_owned(),
            index: Some(handler.index.0),
            timeout_seconds,
            metadata: metadata.unwrap_or_else(no_metadata),
            registration: RawValue::from_string(handler.registration.clone()).ok(),
            used,
        }
    }

    fn of_program(intent_type: &str, known: &Registered, used: bool) -> Self {
        Self {
            intent_type: intent_type.to_owned(),
            handler_name: known.handler_name.clone(),
            kind: "builtin".to_owned(),
            index: None,
            timeout_seconds: None,
            metadata: RawValue::from_string(known.metadata.to_string()).unwrap_or_else(|_| no_metadata()),
            registration: None,
            used,
        }
    }
}

fn no_metadata() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).expect("an empty object is JSON")
}

/// Registers a handler, or replaces the one of the same type and name.
///
/// Of several handlers of a type the first that was registered is used. Executions that are open already go by it too.
#[utoipa::path(
    post,
    path = "/api/intent/handlers",
    tag = "executions",
    request_body = NewHandler,
    responses(
        (status = 201, description = "Registered", body = HandlerChanged),
        (status = 200, description = "Replaced, or was registered equally before", body = HandlerChanged),
        (status = 400, description = "`INVALID_JSON`, `INVALID_INPUT`: also for a kind that is not offered yet; `SECRETS_PRESENT`; `BLOB_NOT_FOUND` for a bundle", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 409, description = "`SUBJECT_CONFLICT`", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`", body = ProblemBody),
    )
)]
pub(super) async fn register_handler(
    State(app): State<App>,
    request: Request,
) -> Result<(StatusCode, Json<HandlerChanged>), Problem> {
    let (parts, body) = request.into_parts();
    let caller = app.auth.authenticate(&parts.headers)?;
    caller.require(Role::Operator)?;
    demand_json(&parts.headers)?;
    app.demand_running()?;
    let body = read_body(body, app.config.limits.body_bytes_max, app.body_patience()).await?;
    let new = registration::parse(&body, app.config.executor.invoke_seconds_max)?;
    new.demand_known(app.executor.registry())?;
    if let Some(url) = new.url() {
        app.outbound.demand_url(&url)?;
    }
    let payload = new.payload();
    let (known, count) = app.projector.look(|state| {
        let known = state.handlers.of(&new.intent_type).iter();
        let known = known.clone().find(|handler| handler.handler_name == new.handler_name).cloned();
        (known, state.handlers.types().map(|(_, handlers)| handlers.len()).sum::<usize>())
    });
    if let Some(known) = known.as_ref().filter(|known| spill::is_of(known.registration.as_bytes(), &payload))
    {
        return Ok((StatusCode::OK, Json(HandlerChanged { ok: true, index: known.index.0 })));
    }
    if known.is_none() && count >= limits::HANDLERS_MAX {
        return Err(Problem::new(ReasonCode::InvalidInput)
            .detail(format!("{count} handlers are registered, and more are not taken: remove some.")));
    }
    if new.bundle() != known.as_ref().and_then(|known| bundle::of(&known.registration)) {
        bundle::demand(&app, &new, Some(&caller)).await?;
    }
    let control =
        Control { type_name: "handler_registered", subject: new.subject(), actor: &caller.name, payload };
    let index = control::append(&app.ingress, &control).await?;
    settled(&app, index).await;
    let status = if known.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(HandlerChanged { ok: true, index: index.0 })))
}

/// Removes a handler. What ships with the server cannot be removed; register another handler for its type instead.
#[utoipa::path(
    delete,
    path = "/api/intent/handlers/{intent_type}/{handler_name}",
    tag = "executions",
    params(
        ("intent_type" = String, Path, description = "What it handles"),
        ("handler_name" = String, Path, description = "Its name among the handlers of the type"),
    ),
    responses(
        (status = 200, description = "Removed", body = HandlerChanged),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`HANDLER_NOT_FOUND`", body = ProblemBody),
        (status = 409, description = "`SUBJECT_CONFLICT`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`", body = ProblemBody),
    )
)]
pub(super) async fn remove_handler(
    State(app): State<App>,
    caller: Caller,
    Path((intent_type, handler_name)): Path<(String, String)>,
) -> Result<Json<HandlerChanged>, Problem> {
    caller.require(Role::Operator)?;
    app.demand_running()?;
    let registered = app.projector.look(|state| {
        let mut handlers = state.handlers.of(&intent_type).iter();
        handlers.find(|handler| handler.handler_name == handler_name).map(|handler| handler.index)
    });
    let registered = registered.ok_or_else(|| Problem::new(ReasonCode::HandlerNotFound))?;
    let control = Control {
        type_name: "handler_removed",
        subject: subject(&intent_type, &handler_name),
        actor: &caller.name,
        payload: registration::removal(&intent_type, &handler_name),
    };
    // By what the projection has seen: a log in which a handler is removed twice cannot be folded.
    let standing = control::look(&app.ingress, &control.subject).await?;
    if let Some(newest) = standing.newest.filter(|newest| *newest != registered) {
        return Err(Problem::new(ReasonCode::SubjectConflict).index(newest.0));
    }
    let index = control::append_behind(&app.ingress, &control, standing).await?;
    settled(&app, index).await;
    Ok(Json(HandlerChanged { ok: true, index: index.0 }))
}

/// Lets the caller read what they wrote, if the projector is not far behind, and the executor go by it.
async fn settled(app: &App, index: Index) {
    let patience = Duration::from_millis(limits::APPLIED_WAIT_MS);
    if let Err(behind) = app.projector.wait_applied(index, patience).await {
        tracing::warn!(%behind, "a change of the registry is durable and not applied yet");
    }
    Executor::look_again(&app.executor);
    app.tasks.look_again();
}
