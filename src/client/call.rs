//! One request on a connection that is kept alive, and its answer.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{ANSWER_BYTES_MAX, ANSWER_PATIENCE, Base, CONNECT_PATIENCE, Server, Trust};

/// The body of a request.
pub type Body = Full<Bytes>;

/// Why there is no whole answer. What the request asked for may or may not have been done.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection.
    #[error("cannot connect to {authority}: {cause}")]
    Connect { authority: String, cause: io::Error },
    /// The connection ended before the answer did.
    #[error("the connection to {authority} broke")]
    Broken {
        authority: String,
        #[source]
        cause: hyper::Error,
    },
    /// No whole answer in time.
    #[error("{authority} has not answered within {patience:?}")]
    Silent { authority: String, patience: Duration },
    /// More than is read.
    #[error("{authority} answers with more than {bytes_max} bytes")]
    TooLarge { authority: String, bytes_max: usize },
}

/// One connection; one request at a time.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Body>,
    authority: String,
}

impl Connection {
    /// Under TLS where `trust` is given.
    pub(super) async fn open(base: &Base, trust: Option<&Trust>) -> Result<Self, CallError> {
        let authority = base.authority().to_owned();
        let connect = async {
            let stream = TcpStream::connect(base.address()).await?;
            stream.set_nodelay(true)?;
            match trust {
                None => Ok(Self::over(stream, &authority).await),
                Some(trust) => {
                    let stream = trust.connect(base.address().0, stream).await?;
                    Ok(Self::over(stream, &authority).await)
                }
            }
        };
        match timeout(CONNECT_PATIENCE, connect).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(cause)) => Err(CallError::Connect { authority, cause }),
            Err(_elapsed) => Err(CallError::Connect { authority, cause: io::ErrorKind::TimedOut.into() }),
        }
    }

    async fn over<S>(stream: S, authority: &str) -> Result<Self, CallError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let authority = authority.to_owned();
        match http1::handshake(TokioIo::new(stream)).await {
            Ok((sender, connection)) => {
                // How it ends, the request that is under way learns.
                tokio::spawn(async move { drop(connection.await) });
                Ok(Self { sender, authority })
            }
            Err(cause) => Err(CallError::Broken { authority, cause }),
        }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// `Broken`, `Silent`.
    pub async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, CallError> {
        let answered = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        match timeout(ANSWER_PATIENCE, answered).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(cause)) => Err(CallError::Broken { authority: self.authority.clone(), cause }),
            Err(_elapsed) => Err(self.silent()),
        }
    }

    /// As [`Connection::send`], and reads the whole answer.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&mut self, request: Request<Body>) -> Result<Answer, CallError> {
        let response = self.send(request).await?;
        let (head, body) = response.into_parts();
        let body = match timeout(ANSWER_PATIENCE, collect(body, ANSWER_BYTES_MAX, &self.authority)).await {
            Ok(body) => body?,
            Err(_elapsed) => return Err(self.silent()),
        };
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    fn silent(&self) -> CallError {
        CallError::Silent { authority: self.authority.clone(), patience: ANSWER_PATIENCE }
    }

    fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// The whole of a body of at most `bytes_max`.
///
/// # Errors
/// `Broken`, `TooLarge`.
pub async fn collect(mut body: Incoming, bytes_max: usize, authority: &str) -> Result<Bytes, CallError> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|cause| CallError::Broken { authority: authority.to_owned(), cause })?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.is_empty() && body.is_end_stream() && data.len() <= bytes_max {
            return Ok(data);
        }
        if whole.len() + data.len() > bytes_max {
            return Err(CallError::TooLarge { authority: authority.to_owned(), bytes_max });
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// How long the server asks to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers)
    }
}

pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Calls a server on one connection after the other.
#[derive(Debug)]
pub struct Caller {
    server: Server,
    connection: Option<Connection>,
}

impl Caller {
    #[must_use]
    pub fn new(server: Server) -> Self {
        Self { server, connection: None }
    }

    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Calls once, on the connection of the last call if it still stands.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&mut self, request: Request<Body>) -> Result<Answer, CallError> {
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            Some(_) | None => self.server.connect().await?,
        };
        let answer = connection.call(request).await?;
        self.connection = Some(connection);
        Ok(answer)
    }
}
