//! What tokens say.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::prefix::{Object, Prefix};

/// Whom a capability is for: the task listener.
pub const TASK_AUDIENCE: &str = "trace.task";

/// Whom a service token is for: the privileged routes.
pub const PLATFORM_AUDIENCE: &str = "gesta.platform";

/// The role of a service token.
pub const OPERATOR_ROLE: &str = "operator";

/// The claims of a capability token. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The log's origin.
    pub iss: String,
    /// [`TASK_AUDIENCE`].
    pub aud: String,
    /// `task:` and the task's id.
    pub sub: String,
    pub iat: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// First second in which the token is no longer good.
    pub exp: u64,
    /// A ULID of its own.
    pub jti: String,
    /// The task's stream.
    pub org_id: String,
    pub task_id: String,
    /// From 1.
    pub attempt: u64,
    pub datasets: Vec<Dataset>,
    pub s3: Prefixes,
}

impl Claims {
    /// Whether the claims are about this attempt of this task.
    pub fn are_for(&self, task_id: &str, attempt: u64) -> bool {
        self.task_id == task_id && self.attempt == attempt
    }
}

/// A dataset that a task may work with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    pub dataset_uuid: String,
    pub dataset_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_ref: Option<String>,
}

/// Where a task may read and write. What neither list covers is denied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefixes {
    pub read_prefixes: Vec<Prefix>,
    pub write_prefixes: Vec<Prefix>,
}

impl Prefixes {
    pub fn may_read(&self, object: &Object) -> bool {
        self.read_prefixes.iter().any(|prefix| prefix.covers(object))
    }

    pub fn may_write(&self, object: &Object) -> bool {
        self.write_prefixes.iter().any(|prefix| prefix.covers(object))
    }
}

/// What a capability is minted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Becomes `org_id`.
    pub stream_id: String,
    pub task_id: String,
    pub attempt: u64,
    /// The absolute limit of the attempt, which the token outlives by a little.
    pub timeout: Duration,
    pub datasets: Vec<Dataset>,
    pub s3: Prefixes,
}

/// The claims of a service token: a part of the platform that is no person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceClaims {
    pub iss: String,
    /// [`PLATFORM_AUDIENCE`].
    pub aud: String,
    /// The service's name, which records bear as `by`.
    pub sub: String,
    /// [`OPERATOR_ROLE`].
    pub role: String,
    pub iat: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    pub exp: u64,
    pub jti: String,
}

/// What a service token is minted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceGrant {
    pub name: String,
    pub lifetime: Duration,
}
