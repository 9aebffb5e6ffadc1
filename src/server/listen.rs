//! The accept loop of a listener, and one task for each socket.
//!
//! Our own, because it looks for the HTTP/2 preface before it chooses a protocol: a connection then holds one
//! protocol's state and buffers, not those of a switch between both. Under TLS the handshake chooses.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::Service as _;
use tracing::{debug, warn};

use super::connection::{Connection, Connections, Watched};
use super::front::Front;
use super::tls::{HTTP2, Tls};
use crate::config;

/// What hyper needs beyond the headers that are accepted, so that too large ones are answered by us.
const HEADER_BYTES_SPARE: usize = 8 * 1024;

/// The route whose handler may close its own socket.
const TAIL_PATH: &str = "/tail";

/// The beginning of every HTTP/2 connection (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// How long accepting pauses when the system refuses a socket, for example because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the sockets of one listener until `draining` says true.
pub(super) struct Listen {
    pub(super) front: Arc<Front>,
    /// None where the listener speaks plain HTTP.
    pub(super) tls: Option<Arc<Tls>>,
    /// Of all listeners.
    pub(super) connections: Arc<Connections>,
    pub(super) limits: config::Limits,
    /// True once no more sockets are accepted.
    pub(super) draining: watch::Receiver<bool>,
}

impl Listen {
    /// Accepts until the server drains; the listening socket is then closed.
    pub(super) async fn accept(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(self.limits.connections_max));
        let mut draining = self.draining.clone();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = is_true(&mut draining) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = self.connections.enter();
                    let this = Arc::clone(&self);
                    let handle = connection.clone();
                    let task = tokio::spawn(async move {
                        this.serve(stream, connection).await;
                        drop(place);
                    });
                    handle.served_by(task.abort_handle());
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve(&self, stream: TcpStream, connection: Connection) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "cannot set TCP_NODELAY");
        }
        if let Some(tls) = &self.tls {
            return Box::pin(self.serve_tls(tls, stream, connection)).await;
        }
        let begins = self.while_wanted(begins_http2(&stream)).await;
        let stream = Watched::new(stream, connection.clone());
        match begins.flatten() {
            // Boxed: its state is many times that of HTTP/1.1, and would be part of every connection's task.
            Some(true) => Box::pin(self.serve_http2(stream, connection)).await,
            Some(false) => self.serve_http1(stream, connection).await,
            None => {}
        }
    }

    async fn serve_tls(&self, tls: &Tls, stream: TcpStream, connection: Connection) {
        let handshake = tls.acceptor().accept(Watched::new(stream, connection.clone()));
        match self.while_wanted(handshake).await {
            Some(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(HTTP2) => {
                self.serve_http2(stream, connection).await;
            }
            Some(Ok(stream)) => self.serve_http1(stream, connection).await,
            Some(Err(error)) => debug!(%error, "a TLS handshake failed"),
            None => debug!("a TLS handshake did not come to its end"),
        }
    }

    /// What a client begins with, unless it takes too long, or the server ends before it has asked for anything.
    async fn while_wanted<T>(&self, begin: impl Future<Output = T>) -> Option<T> {
        let patience = Duration::from_secs(self.limits.header_read_seconds_max);
        let mut draining = self.draining.clone();
        tokio::select! {
            biased;
            begun = tokio::time::timeout(patience, begin) => begun.ok(),
            () = is_true(&mut draining) => None,
        }
    }

    async fn serve_http1<S: Socket>(&self, stream: S, connection: Connection) {
        let io = TokioIo::new(stream);
        let serving = hyper::server::conn::http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(self.limits.header_bytes_max + HEADER_BYTES_SPARE)
            .serve_connection(io, service_fn(|request| answer(&self.front, &connection, request)));
        drive(serving, &connection, |serving| serving.graceful_shutdown()).await;
    }

    async fn serve_http2<S: Socket>(&self, stream: S, connection: Connection) {
        let (front, handle) = (Arc::clone(&self.front), connection.clone());
        let service = service_fn(move |request| {
            let (front, connection) = (Arc::clone(&front), handle.clone());
            async move {
                connection.multiplexes();
                answer(&front, &connection, request).await
            }
        });
        let io = TokioIo::new(stream);
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(self.limits.header_bytes_max).unwrap_or(u32::MAX))
            .serve_connection(io, service);
        drive(serving, &connection, |serving| serving.graceful_shutdown()).await;
    }
}

/// A socket, plain or under TLS.
trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Socket for S {}

/// Serves a connection to its end; `shut` is called once the server is ending.
async fn drive<C: Future<Output = Result<(), hyper::Error>>>(
    serving: C,
    connection: &Connection,
    shut: impl Fn(Pin<&mut C>),
) {
    let mut serving = std::pin::pin!(serving);
    let (mut registered, mut told) = (false, false);
    let served = std::future::poll_fn(|cx| {
        if !told && connection.is_draining(cx, &mut registered) {
            told = true;
            shut(serving.as_mut());
        }
        serving.as_mut().poll(cx)
    });
    if let Err(error) = served.await {
        debug!(%error, "a connection ended");
    }
}

/// Resolves once the value is true, or nobody can make it so any more.
async fn is_true(value: &mut watch::Receiver<bool>) {
    drop(value.wait_for(|value| *value).await);
}

async fn answer(
    front: &Front,
    connection: &Connection,
    request: hyper::Request<Incoming>,
) -> Result<axum::response::Response, Infallible> {
    connection.answering(true);
    let has_body = !request.body().is_end_stream();
    let mut request: Request = request.map(axum::body::Body::new);
    // Only a tail closes its own socket; for all others the extension would be an allocation for nothing.
    if request.uri().path() == TAIL_PATH {
        request.extensions_mut().insert(connection.clone());
    }
    let response = front.routes().call(request).await;
    connection.answering(false);
    let is_refused = |status: StatusCode| status.is_client_error() || status.is_server_error();
    connection
        .refuses_body(has_body && response.as_ref().is_ok_and(|response| is_refused(response.status())));
    response
}

/// Whether the client begins with the HTTP/2 preface; none where it is gone.
async fn begins_http2(stream: &TcpStream) -> Option<bool> {
    let mut begin = [0; HTTP2_PREFACE.len()];
    loop {
        let peeked = stream.peek(&mut begin).await.ok().filter(|peeked| *peeked > 0)?;
        let begin = begin.get(..peeked)?;
        if begin.len() == HTTP2_PREFACE.len() || !HTTP2_PREFACE.starts_with(begin) {
            return Some(begin == HTTP2_PREFACE);
        }
        // The rest of the preface, or of another method that begins with the same letter, is on its way.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
