//! A blocking HTTP/1.1 client that hides nothing: one connection, kept alive, and every status, header and byte.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::{Intent, PATIENCE, until};

/// A client; it connects anew when the server has closed its connection between two requests.
pub struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header; none where it is missing.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn reason_code(&self) -> String {
        self.json()["reason_code"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn index(&self) -> u64 {
        self.json()["index"].as_u64().unwrap_or_else(|| panic!("no index: {self:?}"))
    }
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    /// Sends a request and reads the whole answer.
    pub fn try_request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let kept = self.connection.take();
        let fresh = kept.is_none();
        let mut connection = kept.map_or_else(|| connect(self.address), Ok)?;
        let sent = send(connection.get_mut(), self.address, method, path, headers, body);
        // A server that refuses a large body may close before it has read all of it: its answer is there all the same.
        match sent.and_then(|()| read_response(&mut connection)) {
            Ok(response) => {
                if response.header("connection") != Some("close") {
                    self.connection = Some(connection);
                }
                Ok(response)
            }
            Err(_) if !fresh && method == "GET" => self.try_request(method, path, headers, body),
            Err(error) => Err(error),
        }
    }

    #[track_caller]
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.try_request(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    #[track_caller]
    pub fn get(&mut self, path: &str) -> Response {
        self.request("GET", path, &[], b"")
    }

    pub fn try_post(&mut self, body: &str) -> io::Result<Response> {
        self.try_request("POST", "/ingress/intent", &[("Content-Type", "application/json")], body.as_bytes())
    }

    #[track_caller]
    pub fn post(&mut self, body: &str) -> Response {
        self.request("POST", "/ingress/intent", &[("Content-Type", "application/json")], body.as_bytes())
    }

    /// Waits until the record at `index` is projected, which it is a moment after it can be read.
    #[track_caller]
    pub fn wait_applied(&mut self, index: u64) {
        let path = format!("/status?min_index={index}");
        until("the record is applied", || (self.get(&path).status == 200).then_some(()));
    }

    /// Waits until all that is durable is projected and followers were told of it, and gives the status then. Where
    /// nobody posts meanwhile, and where a decider runs, every intent has its decision.
    #[track_caller]
    pub fn wait_settled(&mut self) -> Value {
        until("all is projected and decided", || {
            let status = self.get("/status").json();
            // Null without a decider.
            let decided = status["decider_lag"].as_u64().unwrap_or(0) == 0;
            (decided && status["applied"] == status["head"]).then_some(status)
        })
    }

    /// Submits a new intent and gives its index.
    #[track_caller]
    pub fn submit(&mut self, intent: &Intent) -> u64 {
        let response = self.post(&intent.body());
        assert_eq!(response.status, 202, "{}", response.text());
        response.index()
    }
}

/// A connection whose reads do not wait for ever.
pub fn connect(address: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(BufReader::new(stream))
}

/// Writes a request. `Host` and `Content-Length` are added unless the headers have them.
pub fn send(
    stream: &mut TcpStream,
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<()> {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    let has = |name: &str| headers.iter().any(|(found, _)| found.eq_ignore_ascii_case(name));
    if !has("host") {
        head.push_str(&format!("Host: {address}\r\n"));
    }
    if !has("content-length") && !has("transfer-encoding") && (!body.is_empty() || method != "GET") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    match stream.write_all(&bytes) {
        // The answer may be there although not all was taken.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            Ok(())
        }
        other => other,
    }
}

/// Status and headers.
pub fn read_head(reader: &mut impl BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    let status = read_line(reader)?;
    let code = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    let code = code.ok_or_else(|| io::Error::other(format!("not a status line: {status:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok((code, headers));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| io::Error::other("not a header"))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// A line without its end; the end of the stream in its middle, or before it, is an error.
pub fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

pub fn read_response(reader: &mut impl BufRead) -> io::Result<Response> {
    let (status, headers) = read_head(reader)?;
    let mut response = Response { status, headers, body: Vec::new() };
    if status == 204 || status == 304 {
        return Ok(response);
    }
    if let Some(length) = response.header("content-length") {
        response.body = vec![0; length.parse().map_err(io::Error::other)?];
        reader.read_exact(&mut response.body)?;
    } else if response.header("transfer-encoding") == Some("chunked") {
        while let Some(chunk) = read_chunk(reader)? {
            response.body.extend_from_slice(&chunk);
        }
    }
    Ok(response)
}

/// One chunk; none for the last.
pub fn read_chunk(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let size = usize::from_str_radix(&read_line(reader)?, 16).map_err(io::Error::other)?;
    let mut chunk = vec![0; size];
    reader.read_exact(&mut chunk)?;
    read_line(reader)?;
    Ok((size > 0).then_some(chunk))
}
