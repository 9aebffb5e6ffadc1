//! A client of a Gesta server: HTTP/1.1, plain or under TLS, over connections that are kept alive.
//!
//! [`Server`] names a server and opens connections to it; [`Submitter`] appends intents and repeats what may be
//! repeated; [`Tail`] follows the log over restarts without a gap or a repeat. Nothing here prints: who wants to know
//! that a server is lost or back listens to an [`Outage`].

mod backoff;
mod base;
mod blob;
mod call;
mod frames;
mod outage;
mod refusal;
mod submit;
mod tail;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};

pub use backoff::Backoff;
pub use base::{Base, BaseError, query_text};
pub use blob::{BlobError, BlobFetcher, BlobTrouble, Fetched};
pub use call::{Answer, Body, CallError, Caller, Connection, collect};
pub use frames::{FrameError, Frames, Item};
pub use outage::{Outage, OutageEvent};
pub use refusal::Refusal;
pub use submit::{Acknowledged, SubmitError, Submitter, Trouble};
pub use tail::{Broken, Disorder, Event, Span, Tail, TailError};
pub use trust::{Identity, Trust, TrustError};

/// Longest time in which a connection is made.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Longest time in which a finite answer arrives whole.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// First and longest wait before a finite request is repeated.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Largest finite answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A server, and as whom it is called. Clones share everything.
#[derive(Clone)]
pub struct Server(Arc<Parts>);

struct Parts {
    base: Base,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    /// There is one where the base is secure.
    trust: Option<Trust>,
}

/// Why a server cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No header can hold the token.
    #[error("the token holds characters that no header can")]
    Token,
    /// TLS, and nobody is trusted.
    #[error("{url} is under TLS, and no certificate authority is named")]
    NoTrust {
        /// Of the server.
        url: String,
    },
}

/// The header by which a token is shown.
///
/// # Errors
/// [`ServerError::Token`].
pub fn bearer(token: &str) -> Result<HeaderValue, ServerError> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| ServerError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

impl Server {
    /// Connects to nothing yet. `trust` is used where the base is secure.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn new(base: Base, token: Option<&str>, trust: Option<&Trust>) -> Result<Self, ServerError> {
        let authorization = token.map(bearer).transpose()?;
        let trust = trust.filter(|_| base.is_secure()).cloned();
        if base.is_secure() && trust.is_none() {
            return Err(ServerError::NoTrust { url: base.to_string() });
        }
        let host =
            HeaderValue::try_from(base.authority()).expect("an authority that was parsed is visible ASCII");
        Ok(Self(Arc::new(Parts { host, authorization, base, trust })))
    }

    /// Where the server is.
    #[must_use]
    pub fn base(&self) -> &Base {
        &self.0.base
    }

    /// Opens one connection.
    ///
    /// # Errors
    /// [`CallError::Connect`].
    pub async fn connect(&self) -> Result<Connection, CallError> {
        Connection::open(self.base(), self.0.trust.as_ref()).await
    }

    /// A `GET` of a path with its query, which begins with a slash.
    #[must_use]
    pub fn get(&self, path: &str) -> Request<Body> {
        self.request(Method::GET, path, Body::default())
    }

    /// A `POST` of JSON.
    #[must_use]
    pub fn post(&self, path: &str, json: Body) -> Request<Body> {
        let mut request = self.request(Method::POST, path, json);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request
    }

    /// A `PUT` of bytes.
    #[must_use]
    pub fn put(&self, path: &str, bytes: Body) -> Request<Body> {
        self.request(Method::PUT, path, bytes)
    }

    fn request(&self, method: Method, path: &str, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = self.0.base.target(path);
        let headers = request.headers_mut();
        headers.insert(HOST, self.0.host.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        if let Some(authorization) = &self.0.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }
}

impl std::fmt::Debug for Server {
    /// Leaves the token out, so that no log line holds it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Server").field(&self.0.base).finish()
    }
}
