//! What a start registers: the handlers of the configuration, before anything is run.
//!
//! What the log says decides: a handler whose newest record is an equal registration gets none, so starts that change
//! nothing append nothing. What is not in the configuration any more stays registered, since the log has it and others
//! may rely on it: it is named, and `DELETE` removes it.

use std::collections::HashSet;
use std::time::Duration;

use gesta_log_format::Index;
use gesta_log_format::blob::spill;
use gesta_replay::event::{Body, Control as Type, Event};
use tracing::{error, info, warn};

use super::bundle;
use super::registration::{self, Registration};
use crate::control::{self, Control};
use crate::limits;
use crate::problem::{Problem, ReasonCode};
use crate::server::App;

/// On whose behalf a start registers.
const ACTOR: &str = "gesta";

/// A start cannot register a handler that its configuration names.
#[derive(Debug, thiserror::Error)]
#[error("cannot register the handler {handler_name} of {intent_type}: {}: {}", problem.code().name(), problem.body().detail())]
pub struct BootError {
    pub intent_type: String,
    pub handler_name: String,
    pub problem: Problem,
}

/// Registers what the configuration names, then begins to run what is allowed. Durable on return, but for what a full
/// disk refuses: that is tried again until there is space, and nothing is run before, because a full disk stops no start.
///
/// # Errors
/// [`BootError`].
pub async fn begin(app: &App) -> Result<(), BootError> {
    match register(app).await {
        Ok(newest) => run(app, newest),
        Err(error) if is_passing(&error.problem) => {
            warn!(%error, "executions wait until the handlers of the configuration are registered");
            tokio::spawn(begin_later(app.clone()));
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

fn is_passing(problem: &Problem) -> bool {
    [ReasonCode::DiskFull, ReasonCode::QueueFull].contains(&problem.code())
}

async fn begin_later(app: App) {
    while !app.draining.load(std::sync::atomic::Ordering::Acquire) {
        tokio::time::sleep(Duration::from_millis(limits::EXECUTION_RETRY_MS)).await;
        match register(&app).await {
            Ok(newest) => return run(&app, newest),
            Err(error) if is_passing(&error.problem) => {}
            Err(error) => return error!(%error, "executions are not run"),
        }
    }
}

/// Begins once the registrations are folded: what waits is looked at once, and by them.
fn run(app: &App, newest: Option<Index>) {
    let app = app.clone();
    tokio::spawn(async move {
        let folded = newest.map_or(app.head_at_start, |newest| newest.next().max(app.head_at_start));
        if app.executor.applied_below(folded).await.is_some() {
            app.executor.start();
            app.tasks.start();
            app.push.start();
            app.publish.start();
            name_others(&app).await;
        }
    });
}

/// Gives the last record that it has appended.
async fn register(app: &App) -> Result<Option<Index>, BootError> {
    let mut newest = None;
    for handler in &app.config.handlers {
        let registered = register_one(app, handler).await;
        let appended = registered.map_err(|problem| BootError {
            intent_type: handler.intent_type.to_string(),
            handler_name: handler.handler_name.to_string(),
            problem,
        })?;
        newest = appended.or(newest);
    }
    Ok(newest)
}

async fn register_one(app: &App, handler: &Registration<'static>) -> Result<Option<Index>, Problem> {
    if let Some(url) = handler.url() {
        app.outbound.demand_url(&url)?;
    }
    handler.demand_known(app.executor.registry())?;
    let (subject, payload) = (handler.subject(), handler.payload());
    let standing = control::look(&app.ingress, &subject).await?;
    if let Some(newest) = standing.newest
        && is_equal(app, newest, &payload).await?
    {
        return Ok(None);
    }
    bundle::demand(app, handler, None).await?;
    let control = Control { type_name: "handler_registered", subject, actor: ACTOR, payload };
    let index = control::append_behind(&app.ingress, &control, standing).await?;
    info!(
        intent_type = &*handler.intent_type,
        handler_name = &*handler.handler_name,
        index = index.0,
        "a handler of the configuration is registered"
    );
    Ok(Some(index))
}

/// Whether the record registers a handler with this payload.
async fn is_equal(app: &App, index: Index, payload: &[u8]) -> Result<bool, Problem> {
    let record = app.executor.works().record(index).await.map_err(|error| {
        error!(%error, "a registration cannot be read");
        Problem::new(ReasonCode::Internal)
    })?;
    let event = Event::parse(record.data()).map_err(|error| {
        error!(%error, "a registration cannot be read");
        Problem::new(ReasonCode::Internal)
    })?;
    Ok(event.body() == Body::Control(Type::HandlerRegistered) && spill::is_of(event.view().payload, payload))
}

/// Says which handlers an earlier configuration has registered and this one does not name.
async fn name_others(app: &App) {
    let named: HashSet<String> = app.config.handlers.iter().map(Registration::subject).collect();
    let registered = app.projector.look(|state| {
        let handlers = state.handlers.types().flat_map(|(intent_type, handlers)| {
            handlers.iter().map(move |handler| (intent_type, &handler.handler_name, handler.index))
        });
        let others = handlers
            .filter(|(intent_type, name, _)| !named.contains(&registration::subject(intent_type, name)));
        others
            .map(|(intent_type, name, index)| (intent_type.to_owned(), name.clone(), index))
            .collect::<Vec<_>>()
    });
    for (intent_type, handler_name, index) in registered {
        let Ok(record) = app.executor.works().record(index).await else { continue };
        let actor = Event::parse(record.data()).and_then(|event| event.actor().map(|actor| actor == ACTOR));
        if matches!(actor, Ok(true)) {
            info!(
                intent_type,
                handler_name,
                "a handler that an earlier configuration has registered stays: DELETE /api/intent/handlers/{{intent_type}}/{{handler_name}} removes it"
            );
        }
    }
}
