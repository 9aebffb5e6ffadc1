//! Activation: by which policy and which configuration of the context intents are decided from a record on.
//!
//! Each is a CONTROL record of the subject `policy` or `context`, appended by swap; the newest of a subject is the one
//! in force for the intents behind it. What is active is asked of the key index, so the answer is exact and waits for
//! no projection. Nothing here decides.

mod active;
pub mod directory;
mod routes;
mod start;

use std::collections::BTreeMap;

use gesta_log_format::{Digest, Index, json};
use gesta_replay::context;
use gesta_replay::policy::{self, Bundle, Checked, Fault, Files, SCHEMA_FILE};

pub use active::Active;
pub(crate) use routes::{fault_json, router};
pub use start::{StartError, Wanted, WantedError, begin};

use crate::control::{self, Control};
use crate::ingress::Ingress;
use crate::problem::{Problem, ReasonCode};

/// What is activated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Policy,
    Context,
}

impl Subject {
    /// The records' subject.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Context => "context",
        }
    }

    const fn type_name(self) -> &'static str {
        match self {
            Self::Policy => "policy_activated",
            Self::Context => "context_activated",
        }
    }
}

/// What names a policy or a configuration of the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    Policy { policy_id: String, policy_version: String, policy_digest: Digest },
    Context { context_config_digest: Digest },
}

impl Pin {
    pub const fn subject(&self) -> Subject {
        match self {
            Self::Policy { .. } => Subject::Policy,
            Self::Context { .. } => Subject::Context,
        }
    }

    /// Of the bundle or of the configuration.
    pub const fn digest(&self) -> Digest {
        match self {
            Self::Policy { policy_digest: digest, .. } | Self::Context { context_config_digest: digest } => {
                *digest
            }
        }
    }

    /// Whether this is another bundle under the name and version of `earlier`.
    fn reuses(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (
                Self::Policy { policy_id, policy_version, policy_digest },
                Self::Policy { policy_id: id, policy_version: version, policy_digest: digest },
            ) => (policy_id, policy_version) == (id, version) && policy_digest != digest,
            (Self::Policy { .. } | Self::Context { .. }, Self::Context { .. })
            | (Self::Context { .. }, Self::Policy { .. }) => false,
        }
    }
}

/// A policy or a configuration that may be activated: it was read and checked.
#[derive(Debug, Clone)]
pub struct Activation {
    pin: Pin,
    /// FORMAT.md, `policy_activated` and `context_activated`: canonical JSON.
    payload: Vec<u8>,
}

/// What became of an activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activated {
    /// By this call, at this index.
    Now(Index),
    /// It was active already, since this index; nothing was appended.
    Before(Index),
}

impl Activation {
    /// # Errors
    /// Everything that is wrong with the bundle.
    pub fn of_policy(files: &Files) -> Result<Self, Vec<Fault>> {
        let Checked { bundle, .. } = check(files)?;
        let mut payload = b"{\"bundle\":".to_vec();
        payload.extend_from_slice(&policy::files::write(files)?);
        payload.extend_from_slice(b",\"policy_digest\":\"");
        bundle.digest().push(&mut payload);
        payload.extend_from_slice(b"\",\"policy_id\":");
        json::write_string(&mut payload, bundle.policy_id());
        payload.extend_from_slice(b",\"policy_version\":");
        json::write_string(&mut payload, bundle.policy_version());
        payload.push(b'}');
        let pin = Pin::Policy {
            policy_id: bundle.policy_id().to_owned(),
            policy_version: bundle.policy_version().to_owned(),
            policy_digest: bundle.digest(),
        };
        Ok(Self { pin, payload })
    }

    /// The activation of a configuration of the context.
    pub fn of_context(config: &context::Config) -> Self {
        let mut payload = b"{\"config\":".to_vec();
        payload.extend_from_slice(config.canonical());
        payload.extend_from_slice(b",\"context_config_digest\":\"");
        config.digest().push(&mut payload);
        payload.extend_from_slice(b"\"}");
        Self { pin: Pin::Context { context_config_digest: config.digest() }, payload }
    }

    pub const fn pin(&self) -> &Pin {
        &self.pin
    }

    /// Activates it on behalf of `actor`, unless it is active. Durable on return.
    ///
    /// # Errors
    /// `POLICY_VERSION_REUSED`; `SUBJECT_CONFLICT` where another was activated meanwhile; those of
    /// [`control::append_behind`].
    pub async fn activate(&self, ingress: &Ingress, actor: &str) -> Result<Activated, Problem> {
        let subject = self.pin.subject();
        let standing = control::look(ingress, subject.name()).await?;
        if let Some(index) = self.active_at(ingress, standing.newest).await? {
            return Ok(Activated::Before(index));
        }
        if let Some(earlier) = active::other_of_same_version(ingress, self.pin.clone()).await? {
            return Err(reused(&self.pin, earlier));
        }
        let control = Control {
            type_name: subject.type_name(),
            subject: subject.name().to_owned(),
            actor,
            payload: self.payload.clone(),
        };
        match control::append_behind(ingress, &control, standing).await {
            Ok(index) => Ok(Activated::Now(index)),
            Err(problem) if problem.code() == ReasonCode::SubjectConflict => {
                let newest = control::look(ingress, subject.name()).await?.newest;
                let active = self.active_at(ingress, newest).await?;
                active.map(Activated::Before).ok_or(problem)
            }
            Err(problem) => Err(problem),
        }
    }

    /// The index at which it became active, if that is the newest record of its subject.
    async fn active_at(&self, ingress: &Ingress, newest: Option<Index>) -> Result<Option<Index>, Problem> {
        let Some(newest) = newest else { return Ok(None) };
        let active = active::at(ingress, newest).await?;
        Ok((active.pin.digest() == self.pin.digest()).then_some(active.index))
    }
}

/// A bundle that may be activated: it can be read, and where it has a schema it fits that.
///
/// # Errors
/// Everything that is wrong with it, in order of files and places.
pub fn check(files: &Files) -> Result<Checked, Vec<Fault>> {
    if files.contains_key(SCHEMA_FILE) {
        return policy::check(files);
    }
    Ok(Checked { bundle: Bundle::read(files)?, warnings: Vec::new() })
}

fn reused(pin: &Pin, earlier: Index) -> Problem {
    let problem = Problem::new(ReasonCode::PolicyVersionReused).index(earlier.0);
    match pin {
        Pin::Policy { policy_id, policy_version, .. } => problem.detail(format!(
            "Another bundle is version {policy_version} of {policy_id} since index {earlier}. Nothing was appended."
        )),
        Pin::Context { .. } => problem,
    }
}

/// The texts of a bundle's files, as people and programs read them.
fn texts(files: Files) -> BTreeMap<String, String> {
    files.into_iter().map(|(path, text)| (path, String::from_utf8_lossy(&text).into_owned())).collect()
}
