//! The end of a socket whose client may still be sending: what comes is read and dropped for a while. A socket that is
//! closed over unread bytes resets the connection, and a client that writes before it reads never sees its answer
//! (RFC 9112, section 9.6).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::limits::{LINGER_BYTES_MAX, LINGER_SECONDS_MAX};

/// Bytes that are dropped at once.
const PIECE_BYTES: usize = 16 * 1024;

/// What is left of a socket's bounds. Its sending side is closed.
pub(super) struct Linger {
    bytes_left: usize,
    until: Pin<Box<Sleep>>,
}

impl Linger {
    pub(super) fn new() -> Self {
        let until = Box::pin(sleep(Duration::from_secs(LINGER_SECONDS_MAX)));
        Self { bytes_left: LINGER_BYTES_MAX, until }
    }

    /// Ready once the client has sent all that it will, or more than is waited for.
    pub(super) fn poll(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        let mut piece = [0; PIECE_BYTES];
        while self.bytes_left > 0 && self.until.as_mut().poll(cx).is_pending() {
            let mut read = ReadBuf::new(&mut piece);
            match Pin::new(&mut *stream).poll_read(cx, &mut read) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    self.bytes_left = self.bytes_left.saturating_sub(read.filled().len());
                }
                Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(()),
            }
        }
        Poll::Ready(())
    }
}
