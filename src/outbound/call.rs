//! One call: resolved, judged, connected, sent, and its answer.
//!
//! Each call has a connection of its own, to an address that was judged. A redirect is an answer like any other: nothing
//! is followed. The answer's head is bounded; its body is not read unless it is asked for, and then bounded, too.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
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
pub(crate) const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// W3C Trace Context, as the intent brought it.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until the connection stands, its name resolved and TLS agreed on.
    pub(crate) connect: Duration,
    /// In all, to the head of the answer.
    pub(crate) total: Duration,
}

/// Finds the addresses of a name.
pub(crate) trait Resolve: Send + Sync + 'static {
    fn resolve<'a>(&'a self, name: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// As the platform does.
pub(crate) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
    }
}

/// Makes calls.
pub(crate) struct Caller {
    pub(crate) policy: Policy,
    pub(crate) resolver: Box<dyn Resolve>,
    /// None where no host is allowed.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) patience: Patience,
}

/// What is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// JSON.
    pub(crate) body: Bytes,
    /// Besides those of every call. A value that is no header's is left out: the body is what counts.
    pub(crate) headers: Vec<(HeaderName, String)>,
}

/// What came back, and of its content what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer<T> {
    pub(crate) status: StatusCode,
    /// How long it asks to wait.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) content: T,
}

/// The headers and the body of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why nothing came back. What was posted may have arrived, but where it was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
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
    #[error("the answer has more than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
}

/// Whether an outcome shows that the host is there and well.
pub(crate) fn is_reached<T>(outcome: &Result<Answer<T>, CallError>) -> bool {
    match outcome {
        Ok(answer) => !answer.status.is_server_error() && answer.status != StatusCode::REQUEST_TIMEOUT,
        Err(CallError::TooLarge { .. }) => true,
        Err(
            CallError::Refused(_)
            | CallError::Resolve(_)
            | CallError::Connect(_)
            | CallError::ConnectTimeout(_)
            | CallError::Broken(_)
            | CallError::AnswerTimeout(_),
        ) => false,
    }
}

impl Caller {
    /// Posts a message once; of the answer the head is read.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn post(&self, target: &Target, message: &Message) -> Result<Answer<()>, CallError> {
        let mut request = Request::new(Full::new(message.body.clone()));
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &message.headers {
            if let Ok(value) = HeaderValue::try_from(value.as_str()) {
                request.headers_mut().insert(name, value);
            }
        }
        let answer = self.call(target, request, None).await?;
        Ok(Answer { status: answer.status, retry_after: answer.retry_after, content: () })
    }

    /// Sends a request once, whose URI is the target's; the answer's body has at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn fetch(
        &self,
        target: &Target,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<Answer<Content>, CallError> {
        self.call(target, request, Some(bytes_max)).await
    }

    async fn call(
        &self,
        target: &Target,
        mut request: Request<Full<Bytes>>,
        bytes_max: Option<usize>,
    ) -> Result<Answer<Content>, CallError> {
        address(target, &mut request);
        let Patience { connect, total } = self.patience;
        let call = async {
            let connected = timeout(connect, self.connect(target)).await;
            match connected.map_err(|_elapsed| CallError::ConnectTimeout(connect))?? {
                Connection::Plain(stream) => exchange(stream, request, bytes_max).await,
                Connection::Tls(stream) => exchange(*stream, request, bytes_max).await,
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

/// What every request says, whoever makes it.
fn address(target: &Target, request: &mut Request<Full<Bytes>>) {
    *request.uri_mut() = target.path_and_query.parse().expect("a part of a URL that was read");
    let headers = request.headers_mut();
    let host = HeaderValue::try_from(target.authority()).expect("a host is visible ASCII");
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("gesta/", env!("CARGO_PKG_VERSION"))));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    bytes_max: Option<usize>,
) -> Result<Answer<Content>, CallError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.max_buf_size(PUSH_ANSWER_HEAD_BYTES_MAX).max_headers(PUSH_ANSWER_HEADERS_MAX);
    let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(CallError::Broken)?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(CallError::Broken)?;
        let retry_after = retry::asked(response.headers(), SystemTime::now());
        let (head, body) = response.into_parts();
        let body = match bytes_max {
            Some(bytes_max) => read(body, bytes_max).await?,
            None => Bytes::new(),
        };
        Ok(Answer { status: head.status, retry_after, content: Content { headers: head.headers, body } })
    };
    tokio::select! {
        // The connection ends first only without an answer, which the other one then tells.
        answer = answered => answer,
        never = drive(connection) => match never {},
    }
}

async fn read(body: Incoming, bytes_max: usize) -> Result<Bytes, CallError> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(broken) => Err(CallError::Broken(*broken)),
            Err(_over_the_limit) => Err(CallError::TooLarge { bytes_max }),
        },
    }
}

/// Moves bytes until whoever waits for them has enough.
async fn drive(connection: impl Future) -> std::convert::Infallible {
    drop(connection.await);
    std::future::pending().await
}

#[cfg(test)]
mod tests;
