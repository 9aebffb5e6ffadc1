//! A client of a Gesta server: plain HTTP/1.1 over connections that are kept alive.
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

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};

pub use backoff::Backoff;
pub use base::{Base, BaseError};
pub use blob::{BlobError, BlobFetcher, BlobTrouble, Fetched};
pub use call::{Answer, Body, CallError, Caller, Connection, collect};
pub use frames::{FrameError, Frames, Item};
pub use outage::{Outage, OutageEvent};
pub use refusal::Refusal;
pub use submit::{Acknowledged, SubmitError, Submitter, Trouble};
pub use tail::{Broken, Disorder, Event, Span, Tail, TailError};

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
}

/// A token that no header can hold.
#[derive(Debug, thiserror::Error)]
#[error("the token holds characters that no header can")]
pub struct TokenError;

impl Server {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn new(base: Base, token: Option<&str>) -> Result<Self, TokenError> {
        let authorization = token.map(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| TokenError)?;
            value.set_sensitive(true);
            Ok(value)
        });
        let host = HeaderValue::try_from(base.authority()).map_err(|_| TokenError)?;
        Ok(Self(Arc::new(Parts { host, authorization: authorization.transpose()?, base })))
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
        Connection::open(self.base()).await
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
