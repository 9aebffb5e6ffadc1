//! One socket: what closes it from outside, and whether its client still reads.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// A handle to one socket. Requests carry it as an extension.
#[derive(Clone, Debug)]
pub struct Connection(Arc<State>);

#[derive(Debug)]
struct State {
    id: u64,
    task: OnceLock<AbortHandle>,
    /// Milliseconds, counted from the list's beginning, at which a write first found no room, plus one; 0 while the
    /// client takes what it is sent. Written by the I/O itself: the body of a stalled response is never polled.
    stalled_ms: AtomicU64,
    of: Arc<Connections>,
}

impl Connection {
    /// Closes the socket at once, without an answer.
    pub fn close(&self) {
        if let Some(task) = self.0.task.get() {
            task.abort();
        }
    }

    /// Names the task that serves the socket.
    pub(super) fn served_by(&self, task: AbortHandle) {
        let _ = self.0.task.set(task);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.of.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// All open sockets.
#[derive(Debug)]
pub(super) struct Connections {
    open: Mutex<HashMap<u64, std::sync::Weak<State>>>,
    next_id: AtomicU64,
    began: Instant,
}

impl Connections {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), next_id: AtomicU64::new(0), began: Instant::now() })
    }

    pub(super) fn enter(self: &Arc<Self>) -> Connection {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let state = State { id, task: OnceLock::new(), stalled_ms: AtomicU64::new(0), of: Arc::clone(self) };
        let connection = Connection(Arc::new(state));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(id, Arc::downgrade(&connection.0));
        connection
    }

    pub(super) fn len(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Closes the sockets whose client has taken no byte for `patience` although some wait, and says how many.
    pub(super) fn close_stalled(&self, patience: Duration) -> usize {
        let now_ms = self.now_ms();
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.close_where(|state| match state.stalled_ms.load(Ordering::Relaxed) {
            0 => false,
            since => now_ms.saturating_sub(since) > patience_ms,
        })
    }

    pub(super) fn close_all(&self) -> usize {
        self.close_where(|_| true)
    }

    fn close_where(&self, closes: impl Fn(&State) -> bool) -> usize {
        let open: Vec<_> = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.values().filter_map(std::sync::Weak::upgrade).collect()
        };
        // The last reference may be dropped here, which takes the lock again.
        open.into_iter().filter(|state| closes(state)).map(|state| Connection(state).close()).count()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// A socket that notes when its client stops reading.
pub(super) struct Watched {
    stream: TcpStream,
    connection: Connection,
    stalled: bool,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, connection: Connection) -> Self {
        Self { stream, connection, stalled: false }
    }

    fn note<T>(&mut self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let stalls = written.is_pending();
        if stalls != self.stalled {
            self.stalled = stalls;
            let state = &self.connection.0;
            state.stalled_ms.store(if stalls { state.of.now_ms() } else { 0 }, Ordering::Relaxed);
        }
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}
