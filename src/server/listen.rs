//! The accept loop, and one task for each socket.
//!
//! Our own, because it looks for the HTTP/2 preface before it chooses a protocol: a connection then holds one
//! protocol's state and buffers, not those of a switch between both.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt as _;
use tracing::{debug, warn};

use super::connection::{Connection, Connections, Watched};
use super::front::Front;
use crate::config;

/// What hyper needs beyond the headers that are accepted, so that too large ones are answered by us.
const HEADER_BYTES_SPARE: usize = 8 * 1024;

/// The beginning of every HTTP/2 connection (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// How long accepting pauses when the system refuses a socket, for example because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves sockets until `draining` says true.
pub(super) struct Listen {
    pub(super) front: Arc<Front>,
    pub(super) connections: Arc<Connections>,
    pub(super) limits: config::Limits,
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
        let patience = Duration::from_secs(self.limits.header_read_seconds_max);
        match tokio::time::timeout(patience, begins_http2(&stream)).await {
            Ok(Some(true)) => self.serve_http2(stream, connection).await,
            Ok(Some(false)) => self.serve_http1(stream, connection).await,
            Ok(None) | Err(_) => {}
        }
    }

    async fn serve_http1(&self, stream: TcpStream, connection: Connection) {
        let service = service_fn(|request| answer(Arc::clone(&self.front), connection.clone(), request));
        let io = TokioIo::new(Watched::new(stream, connection.clone()));
        let serving = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(self.limits.header_read_seconds_max))
            .max_buf_size(self.limits.header_bytes_max + HEADER_BYTES_SPARE)
            .serve_connection(io, service);
        tokio::pin!(serving);
        let mut draining = self.draining.clone();
        let served = tokio::select! {
            served = serving.as_mut() => served,
            () = is_true(&mut draining) => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = served {
            debug!(%error, "a connection ended");
        }
    }

    async fn serve_http2(&self, stream: TcpStream, connection: Connection) {
        let service = {
            let (front, connection) = (Arc::clone(&self.front), connection.clone());
            service_fn(move |request| answer(Arc::clone(&front), connection.clone(), request))
        };
        let io = TokioIo::new(Watched::new(stream, connection));
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(self.limits.header_bytes_max).unwrap_or(u32::MAX))
            .serve_connection(io, service);
        tokio::pin!(serving);
        let mut draining = self.draining.clone();
        let served = tokio::select! {
            served = serving.as_mut() => served,
            () = is_true(&mut draining) => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = served {
            debug!(%error, "a connection ended");
        }
    }
}

/// Resolves once the value is true, or nobody can make it so any more.
async fn is_true(value: &mut watch::Receiver<bool>) {
    drop(value.wait_for(|value| *value).await);
}

async fn answer(
    front: Arc<Front>,
    connection: Connection,
    request: hyper::Request<Incoming>,
) -> Result<axum::response::Response, std::convert::Infallible> {
    let mut request: Request = request.map(axum::body::Body::new);
    request.extensions_mut().insert(connection);
    front.router().oneshot(request).await
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
