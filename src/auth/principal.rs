//! An authenticated caller and the questions that routes ask about them.

use super::access::{Patterns, Role, Roles};
use super::token::{Token, TokenDigest};
use crate::problem::{Problem, ReasonCode};

/// The stream of CONTROL records, which no pattern covers.
const SYSTEM_STREAM: &str = "_system";

/// Before the id of a task in the name of its code.
const TASK: &str = "task:";

/// Who calls. An intent records the name and the roles.
#[derive(Debug, Clone)]
pub struct Principal {
    pub name: String,
    pub roles: Roles,
    pub streams: Patterns,
    pub actors: Patterns,
    pub workers: Patterns,
    pub pools: Patterns,
    digest: Option<TokenDigest>,
}

impl Principal {
    /// The caller of a server without tokens: all roles, streams and actors.
    pub(crate) fn local() -> Self {
        Self {
            name: "local".to_owned(),
            roles: Roles::all(),
            streams: Patterns::any(),
            actors: Patterns::any(),
            workers: Patterns::any(),
            pools: Patterns::any(),
            digest: None,
        }
    }

    /// The code that runs a task: it may read the task's own stream, and do nothing.
    pub(crate) fn of_task(stream_id: &str, task_id: &str) -> Self {
        Self {
            name: format!("{TASK}{task_id}"),
            roles: [Role::LogRead].into_iter().collect(),
            streams: Patterns::one(stream_id),
            actors: Patterns::none(),
            workers: Patterns::none(),
            pools: Patterns::none(),
            digest: None,
        }
    }

    /// Whether this is the code that runs a task. No token is named so.
    pub(crate) fn is_task(&self) -> bool {
        self.digest.is_none() && self.name.starts_with(TASK)
    }

    /// A part of the platform: an operator of all streams that acts for nobody.
    pub(super) fn of_service(name: String) -> Self {
        Self {
            name,
            roles: [Role::Operator].into_iter().collect(),
            streams: Patterns::any(),
            actors: Patterns::none(),
            workers: Patterns::none(),
            pools: Patterns::none(),
            digest: None,
        }
    }

    pub(super) fn of_token(token: &Token) -> Self {
        Self {
            name: token.name.clone(),
            roles: token.roles,
            streams: token.streams.clone(),
            actors: token.actors.clone(),
            workers: token.workers.clone(),
            pools: token.pools.clone(),
            digest: Some(token.digest),
        }
    }

    /// How logs name the caller: `token:` and six hex digits; of who has no token of the configuration, the name.
    pub fn identity(&self) -> String {
        self.digest.map_or_else(|| self.name.clone(), |digest| format!("token:{}", digest.short()))
    }

    /// # Errors
    /// `FORBIDDEN` without the role.
    pub fn require(&self, role: Role) -> Result<(), Problem> {
        if self.roles.allow(role) {
            Ok(())
        } else {
            Err(Problem::new(ReasonCode::Forbidden).detail(format!("This needs the role {role}.")))
        }
    }

    /// Whether records of the stream may be shown. `_system` is for auditors, operators and admins, whatever the
    /// patterns; other streams need `log.read` and a pattern.
    pub fn may_read_stream(&self, stream: &str) -> bool {
        if stream == SYSTEM_STREAM {
            return [Role::Auditor, Role::Operator, Role::Admin].iter().any(|role| self.roles.allow(*role));
        }
        self.roles.allow(Role::LogRead) && self.streams.matches(stream)
    }

    /// Whether the whole log may be shown, every stream of it: what an unfiltered tail needs.
    pub fn may_read_all(&self) -> bool {
        self.roles.allow(Role::Auditor) && self.streams.match_all()
    }

    /// Whether intents may be appended to the stream; never to `_system`.
    pub fn may_write_stream(&self, stream: &str) -> bool {
        stream != SYSTEM_STREAM && self.roles.allow(Role::IntentWrite) && self.streams.matches(stream)
    }

    pub fn may_act_for(&self, actor: &str) -> bool {
        self.actors.matches(actor)
    }

    /// # Errors
    /// `FORBIDDEN`; it does not tell whether the stream exists.
    pub fn require_read(&self, stream: &str) -> Result<(), Problem> {
        self.require(Role::LogRead)?;
        if self.may_read_stream(stream) { Ok(()) } else { Err(forbidden_stream(stream)) }
    }

    /// # Errors
    /// `FORBIDDEN` without the auditor's role on all streams.
    pub fn require_read_all(&self) -> Result<(), Problem> {
        if self.may_read_all() {
            return Ok(());
        }
        Err(Problem::new(ReasonCode::Forbidden).detail(
            "The whole log needs the role auditor on all streams; name a stream with stream_id to read that alone.",
        ))
    }

    /// # Errors
    /// `FORBIDDEN` for the role or the stream, `ACTOR_FORBIDDEN` for the actor.
    pub fn require_write(&self, stream: &str, actor: &str) -> Result<(), Problem> {
        self.require(Role::IntentWrite)?;
        if !self.may_write_stream(stream) {
            return Err(forbidden_stream(stream));
        }
        if !self.may_act_for(actor) {
            return Err(Problem::new(ReasonCode::ActorForbidden));
        }
        Ok(())
    }

    /// Whether executions of the stream may be reported on; never of `_system`.
    ///
    /// # Errors
    /// `FORBIDDEN` for the role or the stream.
    pub fn require_report(&self, stream: &str) -> Result<(), Problem> {
        self.require(Role::ExecutionWrite)?;
        if stream != SYSTEM_STREAM && self.streams.matches(stream) {
            return Ok(());
        }
        Err(forbidden_stream(stream))
    }
}

fn forbidden_stream(stream: &str) -> Problem {
    Problem::new(ReasonCode::Forbidden).detail(format!("The token does not cover the stream {stream}."))
}
