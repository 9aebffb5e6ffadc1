//! How each kind of server is asked to append one intent, and how its answer is read.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::args::Args;
use crate::http;
use crate::intent::BODY_LEN;

/// One append, spoken in the server's own protocol.
pub(crate) enum Protocol {
    /// `POST` of the intent; any 2xx acknowledges it.
    Http { path: String, content_type: String, header: Option<String> },
    /// `XADD` to a stream; the id acknowledges it.
    Redis { stream: String },
    /// A publication to a subject that JetStream stores; the stream's answer acknowledges it.
    Nats { subject: String },
}

/// What the bytes received so far are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Incomplete,
    /// The first `len` bytes acknowledge the append.
    Acknowledged {
        len: usize,
    },
    /// The first `len` bytes refuse it.
    Refused {
        len: usize,
        why: String,
    },
    /// The first `len` bytes are the protocol's own talk, to be answered with `answer`.
    Aside {
        len: usize,
        answer: &'static [u8],
    },
}

impl Protocol {
    /// From `--protocol`, `--target`, `--content-type` and `--header`.
    pub(crate) fn from_args(args: &mut Args) -> Result<Self, String> {
        let target = args.required("target")?;
        let content_type = args.optional("content-type")?.unwrap_or_else(|| "application/json".to_owned());
        match args.optional::<String>("protocol")?.as_deref() {
            None | Some("http") => {
                Ok(Self::Http { path: target, content_type, header: args.optional("header")? })
            }
            Some("redis") => Ok(Self::Redis { stream: target }),
            Some("nats") => Ok(Self::Nats { subject: target }),
            Some(unknown) => Err(format!("--protocol cannot be {unknown:?}")),
        }
    }

    /// A connection that is ready for the first append.
    pub(crate) fn connect(&self, addr: SocketAddr, connection: usize) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        if let Self::Nats { .. } = self {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            // Protocol 0: the server sends no news of its cluster behind the PONG.
            let hello = concat!(
                r#"CONNECT {"verbose":false,"pedantic":false,"tls_required":false,"lang":"rust","#,
                r#""version":"0","protocol":0,"echo":true,"headers":true,"no_responders":true}"#
            );
            write!(stream, "{hello}\r\nSUB {} 1\r\nPING\r\n", inbox(connection))?;
            read_until(&mut stream, b"PONG\r\n")?;
        }
        Ok(stream)
    }

    /// The bytes before and after the intent's in one request of this connection.
    pub(crate) fn frame(&self, addr: SocketAddr, connection: usize) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::Http { path, content_type, header } => {
                let header = header.as_ref().map(|line| format!("{line}\r\n")).unwrap_or_default();
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: {addr}\r\nContent-Type: {content_type}\r\n{header}Content-Length: {BODY_LEN}\r\n\r\n"
                );
                (head.into_bytes(), Vec::new())
            }
            Self::Redis { stream } => {
                let len = stream.len();
                let head = format!(
                    "*5\r\n$4\r\nXADD\r\n${len}\r\n{stream}\r\n$1\r\n*\r\n$1\r\nd\r\n${BODY_LEN}\r\n"
                );
                (head.into_bytes(), b"\r\n".to_vec())
            }
            Self::Nats { subject } => {
                let head = format!("PUB {subject} {} {BODY_LEN}\r\n", inbox(connection));
                (head.into_bytes(), b"\r\n".to_vec())
            }
        }
    }

    /// Reads the answer at the start of `bytes`.
    pub(crate) fn reply(&self, bytes: &[u8]) -> Reply {
        match self {
            Self::Http { .. } => http_reply(bytes),
            Self::Redis { .. } => redis_reply(bytes),
            Self::Nats { .. } => nats_reply(bytes),
        }
    }
}

fn inbox(connection: usize) -> String {
    format!("_INBOX.load.{connection}")
}

fn http_reply(bytes: &[u8]) -> Reply {
    let Some(head) = http::head(bytes) else { return Reply::Incomplete };
    let Some(len) = head.message_len(bytes) else { return Reply::Incomplete };
    if (200..300).contains(&head.status) {
        return Reply::Acknowledged { len };
    }
    Reply::Refused { len, why: text(&bytes[..len.min(600)]) }
}

fn redis_reply(bytes: &[u8]) -> Reply {
    let Some(line) = memchr::memmem::find(bytes, b"\r\n") else { return Reply::Incomplete };
    let Some(size) = bytes.strip_prefix(b"$").and_then(|rest| number(rest.get(..line - 1)?)) else {
        return Reply::Refused { len: line + 2, why: text(&bytes[..line]) };
    };
    let len = line + 2 + size + 2;
    if bytes.len() < len { Reply::Incomplete } else { Reply::Acknowledged { len } }
}

fn nats_reply(bytes: &[u8]) -> Reply {
    let Some(line) = memchr::memmem::find(bytes, b"\r\n") else { return Reply::Incomplete };
    let first = &bytes[..line];
    if first == b"PING" {
        return Reply::Aside { len: line + 2, answer: b"PONG\r\n" };
    }
    if first.starts_with(b"INFO ") || first == b"+OK" || first == b"PONG" {
        return Reply::Aside { len: line + 2, answer: b"" };
    }
    let size = first.rsplit(|&byte| byte == b' ').next().and_then(number);
    let (Some(size), true) = (size, first.starts_with(b"MSG ")) else {
        return Reply::Refused { len: line + 2, why: text(first) };
    };
    let len = line + 2 + size + 2;
    let Some(body) = bytes.get(line + 2..len) else { return Reply::Incomplete };
    // A publish acknowledgement names the sequence; an error is `{"error":…}` in the same place.
    if memchr::memmem::find(body, b"\"seq\"").is_some() {
        return Reply::Acknowledged { len };
    }
    Reply::Refused { len, why: text(body) }
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read_until(stream: &mut TcpStream, end: &[u8]) -> io::Result<()> {
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    while !seen.ends_with(end) {
        match stream.read(&mut chunk)? {
            0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text(&seen))),
            n => seen.extend_from_slice(&chunk[..n]),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(protocol: &Protocol, answer: &[u8], expected: Reply) {
        assert_eq!(protocol.reply(answer), expected);
        assert_eq!(protocol.reply(&answer[..answer.len() - 1]), Reply::Incomplete, "one byte short");
    }

    #[test]
    fn an_acknowledgement_is_recognised_once_it_is_whole() {
        let http = Protocol::Http { path: String::new(), content_type: String::new(), header: None };
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";
        check(&http, answer, Reply::Acknowledged { len: answer.len() });
        let answer = b"HTTP/1.1 204 No Content\r\nstream-next-offset: 7\r\n\r\n";
        check(&http, answer, Reply::Acknowledged { len: answer.len() });
        let redis = Protocol::Redis { stream: String::new() };
        check(&redis, b"$5\r\n123-0\r\n", Reply::Acknowledged { len: 11 });
        let nats = Protocol::Nats { subject: String::new() };
        let answer = b"MSG _INBOX.load.0 1 24\r\n{\"stream\":\"S\", \"seq\":12}\r\n";
        check(&nats, answer, Reply::Acknowledged { len: answer.len() });
    }

    #[test]
    fn a_refusal_and_talk_are_told_from_an_acknowledgement() {
        let redis = Protocol::Redis { stream: String::new() };
        check(&redis, b"-OOM\r\n", Reply::Refused { len: 6, why: "-OOM".to_owned() });
        let nats = Protocol::Nats { subject: String::new() };
        check(&nats, b"PING\r\n", Reply::Aside { len: 6, answer: b"PONG\r\n" });
        check(&nats, b"-ERR 'x'\r\n", Reply::Refused { len: 10, why: "-ERR 'x'".to_owned() });
    }
}
