//! One socket: what closes it from outside, and whether its client still reads.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::linger::Linger;

/// A handle to one socket. Requests carry it as an extension.
#[derive(Clone, Debug)]
pub struct Connection(Arc<State>);

#[derive(Debug)]
struct State {
    id: u64,
    task: OnceLock<AbortHandle>,
    /// Second, on the list's clock, in which a write first found no room; 0 while the client takes what it is sent.
    /// Written by the I/O itself: the body of a stalled response is never polled.
    stalled_since: AtomicU64,
    /// Second in which the head of a request began to arrive; 0 while none does.
    head_since: AtomicU64,
    /// A request is being answered: what arrives is its body.
    answering: AtomicBool,
    /// A first request came over HTTP/2: what arrives from then on may be no head at all, such as a client's word that it
    /// has taken what it was sent.
    multiplexed: AtomicBool,
    /// The newest request was refused, and perhaps not all of its body was read.
    refused: AtomicBool,
    drain: AtomicWaker,
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

    /// Notes that a request's head has arrived, or that its response's head is ready.
    pub(super) fn answering(&self, answering: bool) {
        self.0.answering.store(answering, Ordering::Relaxed);
        self.0.head_since.store(0, Ordering::Relaxed);
    }

    /// Notes whether the request that is answered was refused although it has a body.
    pub(super) fn refuses_body(&self, refused: bool) {
        self.0.refused.store(refused, Ordering::Relaxed);
    }

    /// Whether the client may still be sending what nobody wants, and is to hear so.
    fn lingers(&self) -> bool {
        let state = &self.0;
        state.refused.load(Ordering::Relaxed)
            && !state.multiplexed.load(Ordering::Relaxed)
            && !state.of.draining.load(Ordering::Acquire)
    }

    /// Notes a request over HTTP/2.
    pub(super) fn multiplexes(&self) {
        self.0.multiplexed.store(true, Ordering::Relaxed);
        self.0.head_since.store(0, Ordering::Relaxed);
    }

    /// Whether the server is ending; if not, `waker` is woken when it does. `registered` spares the second time.
    pub(super) fn is_draining(&self, cx: &Context<'_>, registered: &mut bool) -> bool {
        if !*registered {
            self.0.drain.register(cx.waker());
            *registered = true;
        }
        self.0.of.draining.load(Ordering::Acquire)
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
    draining: AtomicBool,
    /// Seconds since the start, plus one, as far as the sweep has counted them: reading it costs nothing.
    seconds: AtomicU64,
}

impl Connections {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            next_id: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            seconds: AtomicU64::new(1),
        })
    }

    pub(super) fn enter(self: &Arc<Self>) -> Connection {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let state = State {
            id,
            task: OnceLock::new(),
            stalled_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            answering: AtomicBool::new(false),
            multiplexed: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            drain: AtomicWaker::new(),
            of: Arc::clone(self),
        };
        let connection = Connection(Arc::new(state));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(id, Arc::downgrade(&connection.0));
        connection
    }

    pub(super) fn len(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Counts one more second.
    pub(super) fn tick(&self) {
        self.seconds.fetch_add(1, Ordering::Relaxed);
    }

    /// Closes the sockets whose client has taken no byte for `reader` although some wait, and those where a request's
    /// head has been arriving for `head`. Says how many of the first.
    pub(super) fn close_stalled(&self, reader: Duration, head: Duration) -> usize {
        let now = self.seconds.load(Ordering::Relaxed);
        let longer = |since: &AtomicU64, patience: Duration| match since.load(Ordering::Relaxed) {
            0 => false,
            since => now.saturating_sub(since) > patience.as_secs(),
        };
        self.close_where(|state| longer(&state.head_since, head));
        self.close_where(|state| longer(&state.stalled_since, reader))
    }

    pub(super) fn close_all(&self) -> usize {
        self.close_where(|_| true)
    }

    /// Lets every connection end behind the response that it is at.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        for state in self.all() {
            state.drain.wake();
        }
    }

    fn close_where(&self, closes: impl Fn(&State) -> bool) -> usize {
        // The last reference to one may be dropped here, which takes the list's lock again.
        self.all().into_iter().filter(|state| closes(state)).map(|state| Connection(state).close()).count()
    }

    fn all(&self) -> Vec<Arc<State>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().filter_map(std::sync::Weak::upgrade).collect()
    }
}

/// A socket that notes when its client stops reading.
pub(super) struct Watched {
    stream: TcpStream,
    connection: Connection,
    stalled: bool,
    linger: Option<Linger>,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, connection: Connection) -> Self {
        Self { stream, connection, stalled: false, linger: None }
    }

    fn note<T>(&mut self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let stalls = written.is_pending();
        if stalls != self.stalled {
            self.stalled = stalls;
            let state = &self.connection.0;
            let since = if stalls { state.of.seconds.load(Ordering::Relaxed) } else { 0 };
            state.stalled_since.store(since, Ordering::Relaxed);
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
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let state = &self.connection.0;
        if buf.filled().len() > before
            && !state.answering.load(Ordering::Relaxed)
            && !state.multiplexed.load(Ordering::Relaxed)
            && state.head_since.load(Ordering::Relaxed) == 0
        {
            state.head_since.store(state.of.seconds.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        read
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
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        if this.connection.lingers() {
            ready!(this.linger.get_or_insert_with(Linger::new).poll(&mut this.stream, cx));
        }
        Poll::Ready(Ok(()))
    }
}
