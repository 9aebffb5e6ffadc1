//! A whole registration of a handler: the payload of a CONTROL `handler_registered`.
//!
//! What a registration leaves out is none here: the defaults are applied when a task is queued, and stand there.

use std::borrow::Cow;

use gesta_log_format::Index;

use super::content::Content;
use super::member::{Member, find};
use super::{EventError, HandlerKind};

/// A registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration<'a> {
    /// What it handles.
    pub intent_type: Cow<'a, str>,
    /// Its name among the handlers of the type.
    pub handler_name: Cow<'a, str>,
    /// Who runs it.
    pub kind: HandlerKind,
    /// Whose workers may claim its tasks.
    pub pool: Option<Cow<'a, str>>,
    /// Where invocations are posted.
    pub url: Option<Cow<'a, str>>,
    /// The digits of the SHA-256 of the bundle that a runner loads.
    pub bundle_sha256: Option<Cow<'a, str>>,
    /// What the runner calls it.
    pub job: Option<Job<'a>>,
    /// Who runs it there.
    pub operator: Option<Content<'a>>,
    /// What it is given besides the intent.
    pub config: Option<Content<'a>>,
    /// The limits of its tasks.
    pub limits: RegisteredLimits,
    /// From 0 to [`super::PRIORITY_MAX`].
    pub priority: Option<u8>,
    /// `{datasets, s3}`: what the capability tokens of its tasks grant.
    pub grants: Option<Content<'a>>,
    /// What an intent's payload has to look like.
    pub params_schema: Option<Content<'a>>,
    /// What a result has to look like.
    pub result_schema: Option<Content<'a>>,
    /// What becomes of the events that it returns.
    pub publish: Option<Publish>,
    /// The datasets whose events it is called for, as it is written.
    pub subscribe: Option<&'a [u8]>,
    /// Whatever its author likes.
    pub metadata: Option<Content<'a>>,
}

/// What a runner calls a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job<'a> {
    /// The graph that it is part of.
    pub dag_name: Cow<'a, str>,
    /// Its name in it.
    pub name: Cow<'a, str>,
}

/// How long a handler's tasks may take, and how often, where the registration says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegisteredLimits {
    /// An attempt, in all.
    pub timeout_seconds: Option<u64>,
    /// How often one is claimed; at least 1.
    pub max_attempts: Option<u64>,
    /// A lease, from the claim or its extension.
    pub lease_seconds: Option<u64>,
    /// How often a worker should be heard of.
    pub heartbeat_seconds: Option<u64>,
}

/// What becomes of the events that a handler returns, besides their records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// Nothing.
    None,
    /// They are logged.
    Log,
    /// They are posted.
    Webhook,
}

impl Publish {
    /// The written form: lower case.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Log => "log",
            Self::Webhook => "webhook",
        }
    }

    /// Reads the written form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Log, Self::Webhook].into_iter().find(|publish| publish.text() == text)
    }
}

impl<'a> Registration<'a> {
    /// Reads a canonical registration, that of the record at `index`.
    ///
    /// # Errors
    /// [`super::Fault::Payload`] names the first member that is not as it should be.
    pub fn parse(registration: &'a [u8], index: Index) -> Result<Self, EventError> {
        let [intent_type, handler_name, kind, pool, url, bundle_sha256, job, operator, config, priority] =
            find(
                registration,
                index,
                [
                    "intent_type",
                    "handler_name",
                    "kind",
                    "pool",
                    "url",
                    "bundle_sha256",
                    "job",
                    "operator",
                    "config",
                    "priority",
                ],
            );
        let [grants, params_schema, result_schema, publish, subscribe, metadata] = find(
            registration,
            index,
            ["grants", "params_schema", "result_schema", "publish", "subscribe", "metadata"],
        );
        let content = |member: Member<'a>| member.optional(|member| member.content());
        let text = |member: Member<'a>| member.optional(|member| member.text());
        Ok(Self {
            intent_type: intent_type.text()?,
            handler_name: handler_name.text()?,
            kind: kind.one_of(super::control::HANDLER_KINDS, HandlerKind::parse)?,
            pool: text(pool)?,
            url: text(url)?,
            bundle_sha256: text(bundle_sha256)?,
            job: job.optional(Job::read)?,
            operator: content(operator)?,
            config: content(config)?,
            limits: RegisteredLimits::read(registration, index)?,
            priority: priority.optional(|member| member.priority())?,
            grants: content(grants)?,
            params_schema: content(params_schema)?,
            result_schema: content(result_schema)?,
            publish: publish.optional(|member| member.one_of("none, log or webhook", Publish::parse))?,
            subscribe: subscribe.optional(|member| member.raw())?,
            metadata: content(metadata)?,
        })
    }
}

impl<'a> Job<'a> {
    fn read(job: Member<'a>) -> Result<Self, EventError> {
        let [dag_name, name] = job.members(["job.dag_name", "job.name"])?;
        Ok(Self { dag_name: dag_name.text()?, name: name.text()? })
    }
}

impl RegisteredLimits {
    fn read(registration: &[u8], index: Index) -> Result<Self, EventError> {
        let names = ["timeout_seconds", "max_attempts", "lease_seconds", "heartbeat_seconds"];
        let [timeout_seconds, max_attempts, lease_seconds, heartbeat_seconds] =
            find(registration, index, names);
        Ok(Self {
            timeout_seconds: timeout_seconds.optional(|member| member.positive())?,
            max_attempts: max_attempts.optional(|member| member.positive())?,
            lease_seconds: lease_seconds.optional(|member| member.positive())?,
            heartbeat_seconds: heartbeat_seconds.optional(|member| member.positive())?,
        })
    }
}
