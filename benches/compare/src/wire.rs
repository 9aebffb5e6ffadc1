//! One connection in the epoll that sends requests of any length and keeps what was received until
//! somebody has read a whole answer out of it.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// Bytes of answer that a connection begins with room for.
const ANSWER_BYTES: usize = 16 << 10;

/// Most bytes of one answer: a hundred claimed tasks are far below it.
const ANSWER_BYTES_MAX: usize = 16 << 20;

pub(crate) struct Wire {
    stream: TcpStream,
    out: Vec<u8>,
    /// Bytes of `out` that the kernel has taken.
    sent: usize,
    input: Vec<u8>,
    received: usize,
}

impl Wire {
    /// Takes a connection over, and registers it under `token`.
    pub(crate) fn new(stream: std::net::TcpStream, registry: &Registry, token: Token) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, out: Vec::new(), sent: 0, input: vec![0; ANSWER_BYTES], received: 0 })
    }

    /// Sends a request, as far as the kernel takes it now; [`Self::ready`] sends the rest. The
    /// request before it has been answered.
    pub(crate) fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.out.clear();
        self.out.extend_from_slice(request);
        self.sent = 0;
        self.flush()
    }

    /// The request that was sent last.
    pub(crate) fn request(&self) -> &[u8] {
        &self.out
    }

    /// Does what the connection is ready for. The bytes that nobody has consumed yet.
    pub(crate) fn ready(&mut self) -> io::Result<&[u8]> {
        self.flush()?;
        self.receive()?;
        Ok(&self.input[..self.received])
    }

    /// As [`Self::ready`], of a connection that the server may close because it was long idle.
    pub(crate) fn ready_or_closed(&mut self) -> io::Result<Option<&[u8]>> {
        use ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        let done = self.flush().and_then(|()| self.receive());
        match done {
            Ok(()) => Ok(Some(&self.input[..self.received])),
            Err(cause) if matches!(cause.kind(), BrokenPipe | ConnectionReset | UnexpectedEof) => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Drops an answer that was read.
    pub(crate) fn consume(&mut self, len: usize) {
        self.input.copy_within(len..self.received, 0);
        self.received -= len;
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => break,
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }

    /// Reads what is there. A read that does not fill the buffer has emptied the socket.
    fn receive(&mut self) -> io::Result<()> {
        loop {
            if self.received == self.input.len() {
                if self.received >= ANSWER_BYTES_MAX {
                    return Err(io::Error::other("an answer is longer than 16 MiB"));
                }
                self.input.resize(self.received * 2, 0);
            }
            match self.stream.read(&mut self.input[self.received..]) {
                Ok(0) => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed a connection"));
                }
                Ok(n) => self.received += n,
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(cause) => return Err(cause),
            }
            if self.received < self.input.len() {
                return Ok(());
            }
        }
    }
}
