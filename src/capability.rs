//! Who acts for a task, and what with: capability tokens, service tokens, lease tokens, and the keys behind them.
//!
//! A capability is a signed JWT for one attempt of one task. The code that runs a task is not trusted and holds this and
//! nothing else: it opens `/v1/task/*` and `/objects/*` for its own task and never `/internal/*`. Whether a token is good
//! is a pure function of the token, the keys and the time; whether the attempt is still the latest one, only the log says.

mod claims;
mod extract;
mod files;
mod keys;
mod lease;
pub mod prefix;
mod routes;
mod set;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use claims::{
    Claims, Dataset, Grant, OPERATOR_ROLE, PLATFORM_AUDIENCE, Prefixes, ServiceClaims, ServiceGrant,
    TASK_AUDIENCE,
};
pub use extract::Capability;
pub use files::{KeyFilesError, TaskKeyFiles, create_pem, lease_key, objects_key, read_pem, read_secret};
pub use keys::{Algorithm, HS256_KEY_ID, Key, KeyFault, PublicKey};
pub use lease::{Lease, LeaseKey, Nonce, NonceFault};
pub(crate) use routes::{internal_router, public_router};
pub use set::{Issue, KeySet, MintError, Refusal};

use crate::keys::Fingerprint;
use crate::store::Store;

/// Names the one cryptographic provider of the process. With two in the program, or none, the first handshake or token
/// would panic. May be called again.
pub fn install_provider() {
    // An error says that one is installed already, which is this one: no other is linked.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// The subject of the CONTROL records about a key.
pub(crate) fn key_subject(id: &str) -> String {
    format!("key/{id}")
}

/// The keys of a running server: what mints and checks.
#[derive(Debug)]
pub struct Capabilities {
    set: RwLock<Arc<KeySet>>,
    lease_key: LeaseKey,
    files: TaskKeyFiles,
    /// Held through a rotation, so that there is one at a time.
    rotating: tokio::sync::Mutex<()>,
}

impl Capabilities {
    /// Reads the keys in the data directory, and makes those that are missing. `secret_file` has the secret of HS256, which
    /// then signs; the keys of ES256 go on being accepted.
    ///
    /// # Errors
    /// [`KeyFilesError`].
    pub fn open(data: &Path, store: &Store, secret_file: Option<&Path>) -> Result<Self, KeyFilesError> {
        let files = TaskKeyFiles::new(data);
        let keys = files.open(|id| {
            let key = Fingerprint::subject(crate::control::STREAM, &key_subject(id));
            store.keys.newest(&key).map(|newest| newest.is_some()).map_err(io::Error::other)
        })?;
        let secret = secret_file.map(read_secret).transpose()?;
        let keys = secret.map(Arc::new).into_iter().chain(keys).collect();
        Ok(Self {
            set: RwLock::new(Arc::new(KeySet::new(&store.origin, keys))),
            lease_key: lease_key(data)?,
            files,
            rotating: tokio::sync::Mutex::default(),
        })
    }

    /// The keys as they are now.
    pub fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.set.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What makes and checks the tokens of leases.
    pub fn lease_key(&self) -> &LeaseKey {
        &self.lease_key
    }

    /// A capability token for one attempt of a task, from now on.
    ///
    /// # Errors
    /// [`MintError`]: more datasets and prefixes than a token holds.
    pub fn mint(&self, grant: &Grant) -> Result<String, MintError> {
        self.keys().mint(grant, &Issue::now())
    }

    /// What a service token says that is good now.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn service(&self, token: &str) -> Result<ServiceClaims, Refusal> {
        self.keys().check_service(token, unix_seconds())
    }

    /// With a key of its own, and no files.
    #[cfg(test)]
    pub(crate) fn of_a_test() -> Arc<Self> {
        let key = Key::generate().and_then(|key| Key::es256(&key)).expect("keys can be made");
        Arc::new(Self {
            set: RwLock::new(Arc::new(KeySet::new("log.test/1", vec![Arc::new(key)]))),
            lease_key: LeaseKey::new(&[7; 32]),
            files: TaskKeyFiles::new(Path::new("unused")),
            rotating: tokio::sync::Mutex::default(),
        })
    }

    /// First second, since 1970, in which the capability is no longer good that is minted now for an attempt that may take
    /// `timeout`.
    #[must_use]
    pub fn expiry(&self, timeout: Duration) -> u64 {
        set::capability_expiry(unix_seconds(), timeout)
    }

    fn replace(&self, set: KeySet) {
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
    }
}

/// The time, in seconds since 1970.
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
