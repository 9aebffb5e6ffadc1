//! What a credential is good for: the content of a session token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::capability::Prefixes;

/// A session. Its token is its JSON in base64url: no secret, but nobody can make another one of it, for the secret that
/// signs by it is derived from the whole token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Session {
    /// A ULID of its own: the access key's id.
    pub(super) id: String,
    /// First second, since 1970, in which nothing that it signed is good any more.
    pub(super) exp: u64,
    #[serde(rename = "for")]
    pub(super) grant: Grant,
}

/// What may be done with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Grant {
    /// An attempt of a task, within its own prefixes.
    Task {
        /// The task's stream.
        org_id: String,
        task_id: String,
        attempt: u64,
        s3: Prefixes,
    },
    /// One blob, to be read.
    Blob {
        /// 64 hex digits.
        sha256: String,
    },
}

impl Session {
    pub(super) fn new(exp: u64, grant: Grant) -> Self {
        Self { id: Ulid::generate().to_string(), exp, grant }
    }

    pub(super) fn token(&self) -> String {
        let text = serde_json::to_vec(self).expect("texts and numbers make JSON");
        URL_SAFE_NO_PAD.encode(text)
    }

    /// Reads a token whose signature holds.
    pub(super) fn parse(token: &str) -> Option<Self> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()
    }
}
