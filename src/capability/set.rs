//! Minting and checking by a set of keys: pure functions of token, keys and time. What was signed or verified before is
//! remembered, which changes no answer: a signature that held holds as long as the set has its key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gesta_log_format::Digest;
use jsonwebtoken::{Header, Validation, decode, decode_header, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use ulid::Ulid;

use super::claims::{
    Claims, Grant, OPERATOR_ROLE, PLATFORM_AUDIENCE, ServiceClaims, ServiceGrant, TASK_AUDIENCE,
};
use super::keys::{Key, PublicKey};
use crate::limits::{
    CAPABILITIES_KNOWN_MAX, CAPABILITY_BYTES_MAX, CAPABILITY_LEEWAY_SECONDS, CAPABILITY_SECONDS_MAX,
    CAPABILITY_SPARE_SECONDS,
};

/// Why a token is refused. Every one of them is 401 `BAD_TOKEN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it has more than {CAPABILITY_BYTES_MAX} bytes")]
    TooLarge,
    #[error("it is no JWT with a header that is understood")]
    Malformed,
    #[error("its header names no key")]
    NoKeyId,
    #[error("its key is not known here, or no longer")]
    UnknownKey,
    #[error("its algorithm is not that of its key")]
    Algorithm,
    #[error("its signature does not hold")]
    Signature,
    #[error("its claims are not those of such a token")]
    Claims,
    #[error("it is of another issuer")]
    Issuer,
    #[error("it is for another audience")]
    Audience,
    #[error("its subject is not what it is for")]
    Subject,
    #[error("it lacks the role")]
    Role,
    #[error("it is not valid yet")]
    NotYetValid,
    #[error("it has expired")]
    Expired,
    #[error("it would live longer than a token may")]
    LivesTooLong,
}

/// Why a token cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    #[error(
        "the token would have {0} bytes, and at most {CAPABILITY_BYTES_MAX} are accepted: grant fewer datasets and prefixes"
    )]
    TooLarge(usize),
    #[error("cannot sign a token: {0}")]
    Sign(jsonwebtoken::errors::Error),
}

/// What differs between two tokens of one grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issue {
    /// Seconds since 1970.
    pub at: u64,
    /// Becomes `jti`.
    pub id: Ulid,
}

impl Issue {
    /// By the clock and the random source.
    pub fn now() -> Self {
        Self { at: super::unix_seconds(), id: Ulid::generate() }
    }
}

/// The keys that are live, of one issuer. The first signs, all check.
#[derive(Debug)]
pub struct KeySet {
    issuer: String,
    keys: Vec<Arc<Key>>,
    /// Capabilities whose signature is known to hold, so that an attempt's many requests cost one verification at most.
    known: Known,
}

/// The SHA-256 of whole tokens.
#[derive(Debug, Default)]
struct Known(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    tokens: HashSet<Digest>,
    /// The oldest first.
    order: VecDeque<Digest>,
}

impl Known {
    /// A panic while the lock is held leaves at most one token that is never forgotten.
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, name: &Digest) -> bool {
        self.lock().tokens.contains(name)
    }

    fn note(&self, name: Digest) {
        let mut known = self.lock();
        if !known.tokens.insert(name) {
            return;
        }
        known.order.push_back(name);
        if known.order.len() > CAPABILITIES_KNOWN_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.tokens.remove(&oldest);
        }
    }
}

/// What a token says, whoever signed it.
fn claims_of(token: &str) -> Option<Claims> {
    let claims = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

/// The claims that every token has.
struct Registered<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: u64,
    nbf: Option<u64>,
    exp: u64,
}

impl KeySet {
    /// `issuer` is the log's origin.
    pub fn new(issuer: &str, keys: Vec<Arc<Key>>) -> Self {
        Self { issuer: issuer.to_owned(), keys, known: Known::default() }
    }

    /// The keys, that which signs first.
    pub fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    /// The same issuer with other keys, which knows no token yet.
    #[must_use]
    pub fn with_keys(&self, keys: Vec<Arc<Key>>) -> Self {
        Self::new(&self.issuer, keys)
    }

    /// The public halves, for whoever checks tokens elsewhere.
    pub fn public(&self) -> Vec<PublicKey> {
        self.keys.iter().filter_map(|key| key.public().cloned()).collect()
    }

    /// The claims of a capability token that is good at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn check(&self, token: &str, now: u64) -> Result<Claims, Refusal> {
        let name = Digest::of(token.as_bytes());
        let is_known = self.known.has(&name);
        let claims: Claims = match is_known {
            true => claims_of(token).ok_or(Refusal::Claims)?,
            false => self.verify(token)?,
        };
        let Claims { iss, aud, iat, nbf, exp, .. } = &claims;
        let registered = Registered { iss, aud, iat: *iat, nbf: *nbf, exp: *exp };
        self.demand(&registered, TASK_AUDIENCE, now)?;
        if claims.sub != subject(&claims.task_id) {
            return Err(Refusal::Subject);
        }
        if !is_known {
            self.known.note(name);
        }
        Ok(claims)
    }

    /// The claims of a service token that is good at `now`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn check_service(&self, token: &str, now: u64) -> Result<ServiceClaims, Refusal> {
        let claims: ServiceClaims = self.verify(token)?;
        let ServiceClaims { iss, aud, iat, nbf, exp, .. } = &claims;
        let registered = Registered { iss, aud, iat: *iat, nbf: *nbf, exp: *exp };
        self.demand(&registered, PLATFORM_AUDIENCE, now)?;
        if claims.sub.is_empty() {
            return Err(Refusal::Subject);
        }
        if claims.role != OPERATOR_ROLE {
            return Err(Refusal::Role);
        }
        Ok(claims)
    }

    /// Signature and shape. The key is that which the header names and no other, and the algorithm is the key's: what
    /// the header says of it can only be wrong.
    fn verify<T: DeserializeOwned>(&self, token: &str) -> Result<T, Refusal> {
        if token.len() > CAPABILITY_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        let header = decode_header(token).map_err(|_unreadable| Refusal::Malformed)?;
        if header.crit.is_some() {
            // RFC 7515, section 4.1.11: what is critical and not understood is refused, and none is understood.
            return Err(Refusal::Malformed);
        }
        let id = header.kid.ok_or(Refusal::NoKeyId)?;
        let key = self.keys.iter().find(|key| key.id() == id).ok_or(Refusal::UnknownKey)?;
        if header.alg != key.algorithm().of_crate() {
            return Err(Refusal::Algorithm);
        }
        let decoded = decode(token, &key.checking, &signature_alone(key));
        decoded.map(|token| token.claims).map_err(|error| refusal(error.kind()))
    }

    fn demand(&self, claims: &Registered<'_>, audience: &str, now: u64) -> Result<(), Refusal> {
        if claims.aud != audience {
            return Err(Refusal::Audience);
        }
        if claims.iss != self.issuer {
            return Err(Refusal::Issuer);
        }
        if claims.exp.saturating_sub(claims.iat) > CAPABILITY_SECONDS_MAX {
            return Err(Refusal::LivesTooLong);
        }
        let latest = now.saturating_add(CAPABILITY_LEEWAY_SECONDS);
        if claims.iat > latest || claims.nbf.is_some_and(|nbf| nbf > latest) {
            return Err(Refusal::NotYetValid);
        }
        if claims.exp.saturating_add(CAPABILITY_LEEWAY_SECONDS) <= now {
            return Err(Refusal::Expired);
        }
        Ok(())
    }

    /// A capability token: good for the attempt's time and a little more.
    ///
    /// # Errors
    /// [`MintError`].
    pub fn mint(&self, grant: &Grant, issue: &Issue) -> Result<String, MintError> {
        let Grant { stream_id, task_id, attempt, timeout, datasets, s3 } = grant;
        let token = self.sign(&Claims {
            iss: self.issuer.clone(),
            aud: TASK_AUDIENCE.to_owned(),
            sub: subject(task_id),
            iat: issue.at,
            nbf: None,
            exp: capability_expiry(issue.at, *timeout),
            jti: issue.id.to_string(),
            org_id: stream_id.clone(),
            task_id: task_id.clone(),
            attempt: *attempt,
            datasets: datasets.clone(),
            s3: s3.clone(),
        })?;
        self.known.note(Digest::of(token.as_bytes()));
        Ok(token)
    }

    /// A service token.
    ///
    /// # Errors
    /// [`MintError`].
    pub fn mint_service(&self, grant: &ServiceGrant, issue: &Issue) -> Result<String, MintError> {
        self.sign(&ServiceClaims {
            iss: self.issuer.clone(),
            aud: PLATFORM_AUDIENCE.to_owned(),
            sub: grant.name.clone(),
            role: OPERATOR_ROLE.to_owned(),
            iat: issue.at,
            nbf: None,
            exp: expiry(issue.at, grant.lifetime),
            jti: issue.id.to_string(),
        })
    }

    fn sign(&self, claims: &impl Serialize) -> Result<String, MintError> {
        let key = self.keys.first().expect("a set of keys has one that signs");
        let mut header = Header::new(key.algorithm().of_crate());
        header.kid = Some(key.id().to_owned());
        let token = encode(&header, claims, &key.signing).map_err(MintError::Sign)?;
        match token.len() {
            len if len > CAPABILITY_BYTES_MAX => Err(MintError::TooLarge(len)),
            _ => Ok(token),
        }
    }
}

fn subject(task_id: &str) -> String {
    format!("task:{task_id}")
}

/// When the capability of an attempt that may take `timeout` expires, if it is minted at `at`: seconds since 1970.
pub(super) fn capability_expiry(at: u64, timeout: Duration) -> u64 {
    expiry(at, timeout.saturating_add(Duration::from_secs(CAPABILITY_SPARE_SECONDS)))
}

fn expiry(at: u64, lifetime: Duration) -> u64 {
    at.saturating_add(lifetime.as_secs().min(CAPABILITY_SECONDS_MAX))
}

/// The crate's own checks of claims read the wall clock and are lenient where a claim is missing: ours are in
/// [`KeySet::demand`].
fn signature_alone(key: &Key) -> Validation {
    let mut validation = Validation::new(key.algorithm().of_crate());
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims = HashSet::new();
    validation
}

fn refusal(kind: &jsonwebtoken::errors::ErrorKind) -> Refusal {
    use jsonwebtoken::errors::ErrorKind;
    match kind {
        ErrorKind::InvalidSignature | ErrorKind::Base64(_) => Refusal::Signature,
        ErrorKind::Json(_) | ErrorKind::Utf8(_) => Refusal::Claims,
        // The crate's enum is open; whatever else it finds, the token is refused.
        _ => Refusal::Malformed,
    }
}
