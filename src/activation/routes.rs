//! `/control/policy` and `/control/context`: what is in force, and its change.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use gesta_log_format::json::{self, ErrorKind, Reader};
use gesta_replay::context;
use gesta_replay::policy::{self, Fault, Files};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Activated, Activation, Active, Pin, Subject, texts};
use crate::auth::{Caller, Principal, Role};
use crate::control;
use crate::limits;
use crate::problem::{Problem, ProblemBody, ReasonCode, demand_json, read_body};
use crate::server::App;
use crate::store::blocking;

/// The routes of this room.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(active_policy, activate_policy))
        .routes(routes!(active_context, activate_context))
}

/// A policy that is to be activated.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyFiles {
    /// The bundle's files by their paths, which use `/`: `bundle.json`, `policies/NAME.cedar`, and, if wanted,
    /// `schema.cedarschema`, `entities.json`, `cases.json`.
    files: BTreeMap<String, String>,
}

/// The policy by which intents are decided.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ActivePolicy {
    /// Intents with a greater index are decided by it.
    index: u64,
    policy_id: String,
    policy_version: String,
    /// SHA-256 over the canonical object of each path and the digest of its file.
    policy_digest: String,
    /// The bundle's files by their paths; left out where the caller may not read the stream `_system`.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<BTreeMap<String, String>>,
}

/// A configuration of the context that is to be activated.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ContextConfiguration {
    /// The content of `context.json`; what it leaves out has its default.
    #[schema(value_type = Object)]
    config: Box<RawValue>,
}

/// The configuration by which contexts are made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ActiveContext {
    /// The contexts of intents with a greater index are made by it.
    index: u64,
    /// SHA-256 of the canonical whole configuration.
    context_config_digest: String,
    /// The whole configuration, defaults filled in; left out in the answer to an activation.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Box<RawValue>>,
}

/// The policy that was activated last.
#[utoipa::path(
    get,
    path = "/control/policy",
    tag = "control",
    responses(
        (status = 200, description = "The policy", body = ActivePolicy),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`NOT_FOUND`: none was activated", body = ProblemBody),
        (status = 500, description = "`LOG_DAMAGED`", body = ProblemBody),
    )
)]
pub(super) async fn active_policy(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<ActivePolicy>, Problem> {
    caller.require(Role::LogRead)?;
    let active = newest(&app, Subject::Policy).await?;
    let (index, pin) = (active.index.0, active.pin.clone());
    let files = match may_read(&caller) {
        true => Some(files(&content(&app, active).await?)?),
        false => None,
    };
    policy_answer(index, &pin, files).map(Json)
}

/// Activates a policy for the intents behind it.
///
/// The policy that is active already is answered 200, and nothing is appended. An `OUTCOME_UNKNOWN` is settled by sending
/// the same again.
#[utoipa::path(
    post,
    path = "/control/policy",
    tag = "control",
    request_body = PolicyFiles,
    responses(
        (status = 201, description = "Active from its index on", body = ActivePolicy),
        (status = 200, description = "Was active before", body = ActivePolicy),
        (status = 400, description = "`INVALID_JSON`, `INVALID_INPUT`, `INVALID_POLICY` with `faults`, each of file, line, column and message", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 409, description = "`POLICY_VERSION_REUSED` with the `index` of the other bundle, `SUBJECT_CONFLICT`: another was activated meanwhile", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`, `LOG_DAMAGED`", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`", body = ProblemBody),
    )
)]
pub(super) async fn activate_policy(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, Json<ActivePolicy>), Problem> {
    let bytes_max = limits::POLICY_BYTES_MAX;
    let body = body(&app, &caller, request).await?;
    let files = policy_files(&body)?;
    if files.iter().map(|(path, text)| path.len() + text.len()).sum::<usize>() > bytes_max {
        let detail = format!("A bundle has at most {bytes_max} bytes. Nothing was appended.");
        return Err(Problem::new(ReasonCode::BodyTooLarge).detail(detail));
    }
    // Reading and validating policies takes milliseconds, which sockets do not wait for.
    let checked = tokio::task::spawn_blocking(move || Activation::of_policy(&files)).await;
    let checked = checked.map_err(|_panicked| Problem::new(ReasonCode::Internal))?;
    let activation = checked.map_err(|faults| invalid(&faults))?;
    let (status, index) = activate(&app, &activation, &caller).await?;
    Ok((status, Json(policy_answer(index, activation.pin(), None)?)))
}

/// The configuration of the context that was activated last.
#[utoipa::path(
    get,
    path = "/control/context",
    tag = "control",
    responses(
        (status = 200, description = "The configuration", body = ActiveContext),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`NOT_FOUND`: none was activated", body = ProblemBody),
        (status = 500, description = "`LOG_DAMAGED`", body = ProblemBody),
    )
)]
pub(super) async fn active_context(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<ActiveContext>, Problem> {
    caller.require(Role::LogRead)?;
    let active = newest(&app, Subject::Context).await?;
    let (index, digest) = (active.index.0, active.pin.digest());
    let config = String::from_utf8(content(&app, active).await?).map_err(|_| internal())?;
    let config = RawValue::from_string(config).map_err(|_| internal())?;
    Ok(Json(ActiveContext { index, context_config_digest: digest.to_string(), config: Some(config) }))
}

/// Activates a configuration of the context for the intents behind it.
///
/// The configuration that is active already is answered 200, and nothing is appended. An `OUTCOME_UNKNOWN` is settled by
/// sending the same again.
#[utoipa::path(
    post,
    path = "/control/context",
    tag = "control",
    request_body = ContextConfiguration,
    responses(
        (status = 201, description = "Active from its index on", body = ActiveContext),
        (status = 200, description = "Was active before", body = ActiveContext),
        (status = 400, description = "`INVALID_JSON`, `INVALID_INPUT`, `INVALID_CONTEXT` with the pointer", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 409, description = "`SUBJECT_CONFLICT`: another was activated meanwhile", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`, `LOG_DAMAGED`", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`", body = ProblemBody),
    )
)]
pub(super) async fn activate_context(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, Json<ActiveContext>), Problem> {
    let body = body(&app, &caller, request).await?;
    let activation = Activation::of_context(&context_config(&body)?);
    let (status, index) = activate(&app, &activation, &caller).await?;
    let context_config_digest = activation.pin().digest().to_string();
    Ok((status, Json(ActiveContext { index, context_config_digest, config: None })))
}

/// The body of a request that may change what is in force.
async fn body(app: &App, caller: &Caller, request: Request) -> Result<axum::body::Bytes, Problem> {
    caller.require(Role::Operator)?;
    demand_json(request.headers())?;
    app.demand_running()?;
    read_body(request.into_body(), app.config.limits.body_bytes_max, app.body_patience()).await
}

async fn activate(app: &App, activation: &Activation, caller: &Caller) -> Result<(StatusCode, u64), Problem> {
    let activated = activation.activate(&app.ingress, &caller.name).await?;
    let (status, index) = match activated {
        Activated::Now(index) => (StatusCode::CREATED, index),
        Activated::Before(index) => (StatusCode::OK, index),
    };
    let digest = activation.pin().digest();
    tracing::info!(subject = activation.pin().subject().name(), %digest, index = index.0, caller = caller.identity(), "activated");
    Ok((status, index.0))
}

async fn newest(app: &App, subject: Subject) -> Result<Active, Problem> {
    let store = Arc::clone(&app.store);
    let active = blocking(move || Active::newest(&store, subject)).await?;
    active.ok_or_else(|| {
        let detail = format!("No {} was activated in this log.", subject.name());
        Problem::new(ReasonCode::NotFound).detail(detail)
    })
}

async fn content(app: &App, active: Active) -> Result<Vec<u8>, Problem> {
    let blobs = Arc::clone(&app.blobs);
    let read = tokio::task::spawn_blocking(move || active.content(&blobs)).await;
    read.map_err(|_panicked| internal())?
}

fn files(content: &[u8]) -> Result<BTreeMap<String, String>, Problem> {
    policy::files::read(content).map(texts).map_err(|_| internal())
}

/// What decisions pin is for everybody who reads; the policies themselves are records of the stream `_system`.
fn may_read(caller: &Principal) -> bool {
    caller.may_read_stream(control::STREAM)
}

fn policy_answer(
    index: u64,
    pin: &Pin,
    files: Option<BTreeMap<String, String>>,
) -> Result<ActivePolicy, Problem> {
    match pin {
        Pin::Policy { policy_id, policy_version, policy_digest } => Ok(ActivePolicy {
            index,
            policy_id: policy_id.clone(),
            policy_version: policy_version.clone(),
            policy_digest: policy_digest.to_string(),
            files,
        }),
        Pin::Context { .. } => Err(internal()),
    }
}

fn policy_files(body: &[u8]) -> Result<Files, Problem> {
    only_member(body, "files", policy::files::read_from).map_err(|error| refused(body, &error))
}

fn context_config(body: &[u8]) -> Result<context::Config, Problem> {
    let mut text = Vec::new();
    only_member(body, "config", |reader| reader.canonical_value(&mut text, &mut ()))
        .map_err(|error| refused(body, &error))?;
    context::Config::parse(&text).map_err(|context::ConfigError(error)| {
        Problem::new(ReasonCode::InvalidContext)
            .detail(format!("{error}. Nothing was appended."))
            .pointer(format!("/config{}", error.pointer))
    })
}

/// Reads a body of one member.
fn only_member<'a, T>(
    body: &'a [u8],
    name: &'static str,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<T, json::Error>,
) -> Result<T, json::Error> {
    let mut reader = Reader::new(body)?.with_depth_max(limits::JSON_DEPTH_MAX);
    let mut value = None;
    reader.begin_object()?;
    let whole = reader.mark();
    while let Some(key) = reader.next_member()? {
        if key != name {
            return Err(reader.fail(ErrorKind::UnknownField));
        }
        value = Some(read(&mut reader)?);
    }
    let value = value.ok_or_else(|| reader.fail_at(whole, ErrorKind::MissingField { field: name }))?;
    reader.finish()?;
    Ok(value)
}

/// A body that is not JSON, or has another shape.
fn refused(body: &[u8], error: &json::Error) -> Problem {
    let code = match json::canonicalize(body) {
        Ok(_) => ReasonCode::InvalidInput,
        Err(_) => ReasonCode::InvalidJson,
    };
    let place = if error.pointer.is_empty() { "the body" } else { &error.pointer };
    Problem::new(code).detail(format!("{place}: {}.", error.kind)).pointer(error.pointer.clone())
}

fn invalid(faults: &[Fault]) -> Problem {
    let first = faults.first().map_or_else(String::new, Fault::to_string);
    let more = match faults.len().saturating_sub(1) {
        0 => Cow::Borrowed(""),
        1 => Cow::Borrowed(" (and one more fault)"),
        more => Cow::Owned(format!(" (and {more} more faults)")),
    };
    let named: Vec<_> = faults.iter().take(limits::POLICY_FAULTS_MAX).map(fault_json).collect();
    Problem::new(ReasonCode::InvalidPolicy)
        .detail(format!("{first}{more}. Nothing was appended."))
        .extra("faults", named)
}

/// A fault as answers and commands show it.
pub(crate) fn fault_json(fault: &Fault) -> serde_json::Value {
    let (line, column) = fault.place.unzip();
    serde_json::json!({"file": fault.file, "line": line, "column": column, "message": fault.message})
}

fn internal() -> Problem {
    Problem::new(ReasonCode::Internal)
}
