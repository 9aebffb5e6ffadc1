//! One POST: resolved, judged, connected, sent, and of the answer its status.
//!
//! Each call has a connection of its own, to an address that was judged. A redirect is an answer like any other: nothing
//! is followed. The answer's head is bounded and its body is not read.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::policy::{Policy, Refused};
use super::retry;
use super::target::{Name, Scheme, Target};
use crate::limits::{PUSH_ANSWER_HEAD_BYTES_MAX, PUSH_ANSWER_HEADERS_MAX};

/// Of the intent that a task came from, as it came in or as its execution is called.
pub(super) const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// W3C Trace Context, as the intent brought it.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until the connection stands, its name resolved and TLS agreed on.
    pub(super) connect: Duration,
    /// In all, to the head of the answer.
    pub(super) total: Duration,
}

/// Finds the addresses of a name.
pub(super) trait Resolve: Send + Sync + 'static {
    fn resolve<'a>(&'a self, name: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// As the platform does.
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
    }
}

/// Makes calls.
pub(super) struct Caller {
    pub(super) policy: Policy,
    pub(super) resolver: Box<dyn Resolve>,
    /// None where no host is allowed.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) patience: Patience,
}

/// What is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// JSON.
    pub(super) body: Bytes,
    pub(super) x_correlation_id: String,
    pub(super) traceparent: Option<String>,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// How long it asks to wait.
    pub(super) retry_after: Option<Duration>,
}

/// Why nothing came back. What was posted may have arrived, but where it was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the name cannot be resolved: {0}")]
    Resolve(#[source] io::Error),
    #[error("no connection: {0}")]
    Connect(#[source] io::Error),
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("the connection broke: {0}")]
    Broken(#[source] hyper::Error),
    #[error("no answer within {0:?}")]
    AnswerTimeout(Duration),
}

impl Caller {
    /// Posts a message once.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) async fn post(&self, target: &Target, message: &Message) -> Result<Answer, CallError> {
        let Patience { connect, total } = self.patience;
        let call = async {
            let connected = timeout(connect, self.connect(target)).await;
            match connected.map_err(|_elapsed| CallError::ConnectTimeout(connect))?? {
                Connection::Plain(stream) => exchange(stream, request(target, message)).await,
                Connection::Tls(stream) => exchange(*stream, request(target, message)).await,
            }
        };
        timeout(total, call).await.map_err(|_elapsed| CallError::AnswerTimeout(total))?
    }

    async fn connect(&self, target: &Target) -> Result<Connection, CallError> {
        let addresses = match &target.host.name {
            Name::Ip(address) => vec![SocketAddr::new(*address, target.host.port)],
            Name::Dns(name) => {
                self.resolver.resolve(name, target.host.port).await.map_err(CallError::Resolve)?
            }
        };
        self.policy.demand(target, &addresses)?;
        let stream = any_of(&addresses).await.map_err(CallError::Connect)?;
        let tls = match (target.scheme, &self.tls) {
            (Scheme::Http, _) => return Ok(Connection::Plain(stream)),
            (Scheme::Https, Some(tls)) => TlsConnector::from(Arc::clone(tls)),
            (Scheme::Https, None) => {
                return Err(Refused::NotListed { host: target.host.clone() }.into());
            }
        };
        let stream = tls.connect(server_name(&target.host.name)?, stream).await;
        Ok(Connection::Tls(Box::new(stream.map_err(CallError::Connect)?)))
    }
}

enum Connection {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// A connection to the first of these that takes one.
async fn any_of(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn server_name(name: &Name) -> Result<ServerName<'static>, CallError> {
    match name {
        Name::Ip(address) => Ok(ServerName::IpAddress((*address).into())),
        Name::Dns(name) => ServerName::try_from(name.clone())
            .map_err(|error| CallError::Connect(io::Error::new(io::ErrorKind::InvalidInput, error))),
    }
}

fn request(target: &Target, message: &Message) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(message.body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.path_and_query.parse().expect("a part of a URL that was read");
    let headers = request.headers_mut();
    let host = HeaderValue::try_from(target.authority()).expect("a host is visible ASCII");
    headers.insert(HOST, host);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("gesta/", env!("CARGO_PKG_VERSION"))));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    insert(headers, X_CORRELATION_ID, Some(&message.x_correlation_id));
    insert(headers, TRACEPARENT, message.traceparent.as_ref());
    request
}

/// A value that is no header's is left out: the body is what counts.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: Option<&String>) {
    if let Some(value) = value.and_then(|value| HeaderValue::try_from(value.as_str()).ok()) {
        headers.insert(name, value);
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, CallError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.max_buf_size(PUSH_ANSWER_HEAD_BYTES_MAX).max_headers(PUSH_ANSWER_HEADERS_MAX);
    let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(CallError::Broken)?;
    let answered = sender.send_request(request);
    let response = tokio::select! {
        // The connection ends first only without an answer, which the other one then tells.
        response = answered => response,
        response = drive(connection) => match response {},
    };
    let response = response.map_err(CallError::Broken)?;
    let retry_after = retry::asked(response.headers(), SystemTime::now());
    Ok(Answer { status: response.status(), retry_after })
}

/// Moves bytes until whoever waits for them has enough.
async fn drive(connection: impl Future) -> std::convert::Infallible {
    drop(connection.await);
    std::future::pending().await
}

#[cfg(test)]
mod tests;
