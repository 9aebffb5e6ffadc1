//! A reader of `GET /tail` that keeps every byte, and says how the stream ended.

use std::collections::VecDeque;
use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::{self, connect, read_chunk, read_head};
use super::{PATIENCE, Response};

/// One block of the stream: its lines up to a blank one, as `text/event-stream` reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// As it came, from the first line through the blank one; comments in front of it that are not its own left out.
    pub raw: Vec<u8>,
    pub id: Option<String>,
    /// `message` where the block has none.
    pub event: String,
    pub data: String,
    pub retry: Option<u64>,
}

impl Block {
    fn parse(raw: &[u8]) -> Self {
        let mut block = Self { raw: raw.to_vec(), event: "message".to_owned(), ..Self::default() };
        let text = std::str::from_utf8(raw).expect("UTF-8");
        let mut data: Vec<&str> = Vec::new();
        // A line ends at CR, LF or both, and nowhere else: not at U+2028, not at U+0085.
        for line in text.split(['\n', '\r']) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => block.id = Some(value.to_owned()),
                "event" => block.event = value.to_owned(),
                "data" => data.push(value),
                "retry" => block.retry = Some(value.parse().unwrap()),
                _ => assert!(field.is_empty(), "an unknown field: {line:?}"),
            }
        }
        block.data = data.join("\n");
        block
    }

    pub fn is_record(&self) -> bool {
        self.event == "envelope"
    }

    /// The index of a record or cursor.
    #[track_caller]
    pub fn index(&self) -> u64 {
        self.id.as_ref().unwrap_or_else(|| panic!("no id: {self:?}")).parse().unwrap()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// Cuts a whole stream into blocks. Comments of the connection, such as heartbeats, are left out; the first line of a
/// record is a comment too, and belongs to it.
pub fn frames(bytes: &[u8]) -> Vec<Block> {
    let mut parser = Parser::default();
    parser.feed(bytes);
    assert!(parser.rest.is_empty(), "the stream ends within a block");
    parser.blocks.into()
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a last chunk: the server has said all.
    Complete,
    /// The socket was closed in the middle: the client comes back.
    Cut,
}

#[derive(Default)]
struct Parser {
    rest: Vec<u8>,
    blocks: VecDeque<Block>,
    heartbeats: usize,
}

impl Parser {
    fn feed(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(len) = self.take(at) {
            at += len;
        }
        self.rest.drain(..at);
    }

    /// Takes what begins at `at`, if it is whole, and says how long it is.
    fn take(&mut self, at: usize) -> Option<usize> {
        let rest = &self.rest[at..];
        if rest.starts_with(b":") && !rest.starts_with(b": g1 ") {
            let end = memchr::memchr(b'\n', rest)?;
            assert_ne!(rest.get(end + 1), Some(&b'\n'), "a comment is followed by a blank line");
            self.heartbeats += 1;
            return Some(end + 1);
        }
        let end = memchr::memmem::find(rest, b"\n\n")? + 2;
        self.blocks.push_back(Block::parse(&rest[..end]));
        Some(end)
    }
}

/// An open tail.
pub struct Tail {
    connection: BufReader<TcpStream>,
    pub headers: Vec<(String, String)>,
    parser: Parser,
    ending: Option<Ending>,
}

impl Tail {
    /// Opens a tail that answers 200. `query` is what follows `/tail`, such as `?since=4`.
    pub fn open(address: SocketAddr, query: &str, headers: &[(&str, &str)]) -> io::Result<Self> {
        let mut connection = connect(address)?;
        http::send(connection.get_mut(), address, "GET", &format!("/tail{query}"), headers, b"")?;
        Self::over(connection)
    }

    /// A tail over a connection on which it was asked for.
    pub fn over(mut connection: BufReader<TcpStream>) -> io::Result<Self> {
        let (status, headers) = read_head(&mut connection)?;
        if status != 200 {
            return Err(io::Error::other(format!("status {status}")));
        }
        Ok(Self { connection, headers, parser: Parser::default(), ending: None })
    }

    /// The next block; none at the end.
    #[track_caller]
    pub fn next(&mut self) -> Option<Block> {
        let deadline = Instant::now() + PATIENCE;
        while self.parser.blocks.is_empty() && self.ending.is_none() {
            self.read(deadline);
        }
        self.parser.blocks.pop_front()
    }

    /// The next block of this kind; the others are dropped.
    #[track_caller]
    pub fn next_of(&mut self, event: &str) -> Block {
        loop {
            let block = self.next().unwrap_or_else(|| panic!("the tail ends before {event}"));
            if block.event == event {
                return block;
            }
        }
    }

    /// The next record; none at the end.
    #[track_caller]
    pub fn next_record(&mut self) -> Option<Block> {
        loop {
            let block = self.next()?;
            if block.is_record() {
                return Some(block);
            }
        }
    }

    /// Everything up to the end.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<Block> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Waits until so many heartbeats have come in all.
    #[track_caller]
    pub fn wait_for_heartbeats(&mut self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.parser.heartbeats < count {
            assert_eq!(self.ending, None, "the tail ends before its heartbeat");
            self.read(deadline);
        }
    }

    /// How it ended; reads up to there.
    #[track_caller]
    pub fn ending(&mut self) -> Ending {
        self.rest();
        self.ending.expect("read to its end")
    }

    #[track_caller]
    fn read(&mut self, deadline: Instant) {
        assert!(Instant::now() < deadline, "nothing came for too long");
        match read_chunk(&mut self.connection) {
            Ok(Some(chunk)) => self.parser.feed(&chunk),
            Ok(None) => {
                assert!(self.parser.rest.is_empty(), "a whole stream ends within a block");
                self.ending = Some(Ending::Complete);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                panic!("nothing came for {PATIENCE:?}")
            }
            Err(_closed) => self.ending = Some(Ending::Cut),
        }
    }
}

/// The records of a finite tail's answer.
#[track_caller]
pub fn records(response: &Response) -> Vec<Block> {
    assert_eq!(response.status, 200, "{}", response.text());
    frames(&response.body).into_iter().filter(Block::is_record).collect()
}

/// A pause in which something must not happen.
pub const MOMENT: Duration = Duration::from_millis(300);
