//! Connections that post intents, one request outstanding on each, in one epoll.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::intent::{self, Slots};
use crate::protocol::{Protocol, Reply};

/// Bytes of answer that a connection can hold: more than any server here sends for one append.
const ANSWER_BYTES_MAX: usize = 16 << 10;

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    slots: Slots,
    /// Bytes of the request that the kernel has taken.
    sent: usize,
    answer: Box<[u8]>,
    received: usize,
    /// The time from which the outstanding request's latency counts.
    started: Option<Instant>,
}

/// Posts intents over connections whose tokens are their numbers, from 0.
pub(crate) struct Poster {
    protocol: Protocol,
    connections: Vec<Connection>,
    idle: VecDeque<usize>,
    /// Intents sent so far, which number them.
    count: u64,
    /// Times in messages count from here.
    epoch: Instant,
    pub(crate) refused: u64,
    pub(crate) first_refusal: Option<String>,
}

impl Poster {
    pub(crate) fn connect(
        protocol: Protocol,
        addr: SocketAddr,
        intent_type: &str,
        connections: usize,
        registry: &Registry,
        epoch: Instant,
    ) -> io::Result<Self> {
        let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos() as u32);
        let mut all = Vec::with_capacity(connections);
        for number in 0..connections {
            let stream = protocol.connect(addr, number)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            registry.register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
            let (prefix, suffix) = protocol.frame(addr, number);
            let (request, slots) = intent::request(run, intent_type, &prefix, &suffix);
            let answer = vec![0; ANSWER_BYTES_MAX].into_boxed_slice();
            all.push(Connection {
                sent: request.len(),
                stream,
                request,
                slots,
                answer,
                received: 0,
                started: None,
            });
        }
        let idle = (0..connections).collect();
        Ok(Self { protocol, connections: all, idle, count: 0, epoch, refused: 0, first_refusal: None })
    }

    pub(crate) fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.connections.len() - self.idle.len()
    }

    /// Intents sent so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Sends the next intent on the connection that has been idle longest. Its latency counts from
    /// `started`; the time in its message is `now`.
    pub(crate) fn send(&mut self, started: Instant, now: Instant) -> io::Result<()> {
        let number = self.idle.pop_front().expect("the caller asks has_idle first");
        let connection = &mut self.connections[number];
        let time_ns = now.duration_since(self.epoch).as_nanos() as u64;
        connection.slots.fill(&mut connection.request, self.count, time_ns);
        self.count += 1;
        connection.started = Some(started);
        connection.sent = 0;
        connection.flush()
    }

    /// Does what connection `number` is ready for. The start time of its request, once that is
    /// acknowledged.
    pub(crate) fn ready(&mut self, number: usize) -> io::Result<Option<Instant>> {
        let connection = &mut self.connections[number];
        connection.flush()?;
        connection.receive()?;
        loop {
            let answer = &connection.answer[..connection.received];
            if answer.is_empty() {
                return Ok(None);
            }
            let acknowledged = match self.protocol.reply(answer) {
                Reply::Incomplete => return Ok(None),
                Reply::Aside { len, answer } => {
                    connection.consume(len);
                    // A handful of bytes into a socket buffer that holds less than one request.
                    connection.stream.write_all(answer)?;
                    continue;
                }
                Reply::Acknowledged { len } => {
                    connection.consume(len);
                    true
                }
                Reply::Refused { len, why } => {
                    connection.consume(len);
                    self.refused += 1;
                    self.first_refusal.get_or_insert(why);
                    false
                }
            };
            self.idle.push_back(number);
            return Ok(connection.started.take().filter(|_| acknowledged));
        }
    }
}

impl Connection {
    fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.request.len() {
            match self.stream.write(&self.request[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => break,
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }

    /// Reads what is there. A read that does not fill the buffer has emptied the socket, so the
    /// next bytes show as a new edge; that spares a second call for each answer.
    fn receive(&mut self) -> io::Result<()> {
        match self.stream.read(&mut self.answer[self.received..]) {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed a posting connection")),
            Ok(n) => {
                self.received += n;
                Ok(())
            }
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(cause) => Err(cause),
        }
    }

    fn consume(&mut self, len: usize) {
        self.answer.copy_within(len..self.received, 0);
        self.received -= len;
    }
}
