//! PostgreSQL: one table, two prepared statements, each its own transaction, spoken in the wire
//! protocol of version 3 (its manual, "Frontend/Backend Protocol").
//!
//! The claim is `SELECT … FOR UPDATE SKIP LOCKED LIMIT 1` inside its `UPDATE`: one transaction in one
//! round trip, which is the fastest form of it. The driver makes the table.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::RESULT;
use super::dialect::{Dialect, Reply, text};
use crate::args::Args;

const CLAIM: &str = "\
UPDATE tasks SET state = 'running', attempt = attempt + 1, worker = $1, token = gen_random_uuid(),
    lease_expires_at = now() + interval '120 seconds'
WHERE id = (SELECT id FROM tasks WHERE state = 'queued' ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1)
RETURNING id, attempt, token, payload";

/// With the fence that Gesta has: attempt and token must be the latest ones.
const COMPLETE: &str = "\
UPDATE tasks SET state = 'completed', result = $4, completed_at = now()
WHERE id = $1 AND attempt = $2 AND token = $3 AND state = 'running'";

pub(super) struct Postgres {
    addr: SocketAddr,
    user: String,
    database: String,
}

impl Postgres {
    /// From `--addr`, `--user` and `--database`. The user needs no password.
    pub(super) fn from_args(args: &mut Args) -> Result<Self, String> {
        let (addr, user) = (args.required("addr")?, args.required("user")?);
        Ok(Self { addr, user, database: args.required("database")? })
    }
}

/// Writes a message: its kind, the length of what follows with its own four bytes, what follows.
fn message(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let len = 4 + parts.iter().map(|part| part.len()).sum::<usize>();
    out.push(kind);
    out.extend_from_slice(&(len as u32).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// Writes the run of a prepared statement, with its parameters as text, and the end of its
/// transaction.
fn execute(out: &mut Vec<u8>, statement: &[u8], parameters: &[&[u8]]) {
    let mut bound = (parameters.len() as u16).to_be_bytes().to_vec();
    for parameter in parameters {
        bound.extend_from_slice(&(parameter.len() as u32).to_be_bytes());
        bound.extend_from_slice(parameter);
    }
    // The portal without a name; all parameters and all results as text.
    message(out, b'B', &[b"\0", statement, b"\0", &[0, 0], &bound, &[0, 0]]);
    message(out, b'E', &[b"\0", &[0; 4]]);
    message(out, b'S', &[]);
}

/// The kind and the content of the message at the start of `bytes`, and what follows it.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let len: [u8; 4] = bytes.get(1..5)?.try_into().ok()?;
    let end = 1 + u32::from_be_bytes(len) as usize;
    Some((*bytes.first()?, bytes.get(5..end)?, bytes.get(end..)?))
}

/// What the answer to one run says.
#[derive(Default)]
struct Answer<'a> {
    len: usize,
    row: Option<&'a [u8]>,
    /// As `UPDATE 1`.
    tag: &'a [u8],
    error: Option<&'a [u8]>,
}

/// The answer at the start of `bytes`, through the server's readiness for the next one; `None` while
/// it is not whole.
fn answer(bytes: &[u8]) -> Option<Answer<'_>> {
    let (mut answer, mut rest) = (Answer::default(), bytes);
    loop {
        let (kind, content, behind) = split(rest)?;
        rest = behind;
        match kind {
            b'D' => answer.row = Some(content),
            b'C' => answer.tag = content.strip_suffix(b"\0").unwrap_or(content),
            b'E' => answer.error = Some(content),
            b'Z' => {
                answer.len = bytes.len() - rest.len();
                return Some(answer);
            }
            _ => {}
        }
    }
}

/// The first columns of a row.
fn columns<const N: usize>(row: &[u8]) -> Option<[&[u8]; N]> {
    let mut columns = [&row[..0]; N];
    let mut rest = row.get(2..)?;
    for column in &mut columns {
        let len: [u8; 4] = rest.get(..4)?.try_into().ok()?;
        let end = 4 + u32::from_be_bytes(len) as usize;
        *column = rest.get(4..end)?;
        rest = rest.get(end..)?;
    }
    Some(columns)
}

/// Waits for a whole answer on a connection that still blocks.
fn await_answer(stream: &mut TcpStream) -> io::Result<()> {
    let (mut seen, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(answer) = answer(&seen) {
            return answer.error.map_or(Ok(()), |error| Err(io::Error::other(text(error))));
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text(&seen))),
            n => seen.extend_from_slice(&chunk[..n]),
        }
    }
}

impl Dialect for Postgres {
    fn connect(&self) -> io::Result<Vec<TcpStream>> {
        let mut stream = TcpStream::connect(self.addr)?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
        let names = format!("user\0{}\0database\0{}\0\0", self.user, self.database);
        // The first message alone has no kind; 3.0 is the protocol's version.
        let mut hello = ((8 + names.len()) as u32).to_be_bytes().to_vec();
        hello.extend_from_slice(&(3_u32 << 16).to_be_bytes());
        hello.extend_from_slice(names.as_bytes());
        stream.write_all(&hello)?;
        await_answer(&mut stream)?;
        let mut prepare = Vec::new();
        for (name, statement) in [(b"claim\0".as_slice(), CLAIM), (b"complete\0", COMPLETE)] {
            message(&mut prepare, b'P', &[name, statement.as_bytes(), b"\0", &[0, 0]]);
        }
        message(&mut prepare, b'S', &[]);
        stream.write_all(&prepare)?;
        await_answer(&mut stream)?;
        Ok(vec![stream])
    }

    fn claim(&self, worker: usize, request: &mut Vec<u8>) {
        execute(request, b"claim", &[format!("w-{worker:03}").as_bytes()]);
    }

    fn claimed(&self, bytes: &[u8], completion: &mut Vec<u8>) -> Reply {
        let Some(Answer { len, row, tag, error }) = answer(bytes) else { return Reply::Incomplete };
        match (error, row.and_then(columns)) {
            (None, Some([id, attempt, token])) => {
                execute(completion, b"complete", &[id, attempt, token, RESULT.as_bytes()]);
                Reply::Done { len }
            }
            (None, None) if tag == b"UPDATE 0" => Reply::Empty { len },
            (error, _) => Reply::Refused { len, why: text(error.unwrap_or(tag)) },
        }
    }

    fn completed(&self, bytes: &[u8]) -> Reply {
        match answer(bytes) {
            None => Reply::Incomplete,
            Some(Answer { len, tag: b"UPDATE 1", error: None, .. }) => Reply::Done { len },
            Some(Answer { len, tag, error, .. }) => Reply::Refused { len, why: text(error.unwrap_or(tag)) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres() -> Postgres {
        let addr = "127.0.0.1:1".parse().unwrap();
        Postgres { addr, user: "bench".to_owned(), database: "postgres".to_owned() }
    }

    fn run(row: Option<&[&[u8]]>, tag: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        message(&mut out, b'2', &[]);
        if let Some(columns) = row {
            let mut content = (columns.len() as u16).to_be_bytes().to_vec();
            for column in columns {
                content.extend_from_slice(&(column.len() as u32).to_be_bytes());
                content.extend_from_slice(column);
            }
            message(&mut out, b'D', &[&content]);
        }
        message(&mut out, b'C', &[tag, b"\0"]);
        message(&mut out, b'Z', &[b"I"]);
        out
    }

    #[test]
    fn a_claimed_row_is_completed_by_its_fence() {
        let answer = run(Some(&[b"7", b"1", b"some-token", b"{}"]), b"UPDATE 1");
        let mut completion = Vec::new();
        for cut in 0..answer.len() {
            assert_eq!(
                postgres().claimed(&answer[..cut], &mut completion),
                Reply::Incomplete,
                "cut at {cut}"
            );
        }
        assert_eq!(postgres().claimed(&answer, &mut completion), Reply::Done { len: answer.len() });
        let (kind, content, rest) = split(&completion).unwrap();
        assert_eq!(kind, b'B');
        let bound = [b"\0complete\0\0\0\0\x04\0\0\0\x017\0\0\0\x011\0\0\0\x0asome-token".as_slice()].concat();
        assert!(content.starts_with(&bound), "{}", text(content));
        assert_eq!(split(rest).unwrap().0, b'E');
    }

    #[test]
    fn no_row_an_error_and_a_stale_fence_are_told_apart() {
        let none = run(None, b"UPDATE 0");
        assert_eq!(postgres().claimed(&none, &mut Vec::new()), Reply::Empty { len: none.len() });
        assert!(matches!(postgres().completed(&none), Reply::Refused { .. }));
        let one = run(None, b"UPDATE 1");
        assert_eq!(postgres().completed(&one), Reply::Done { len: one.len() });
        let mut error = Vec::new();
        message(&mut error, b'E', &[b"SERROR\0\0"]);
        message(&mut error, b'Z', &[b"I"]);
        let refused = postgres().claimed(&error, &mut Vec::new());
        assert!(matches!(refused, Reply::Refused { len, .. } if len == error.len()));
    }
}
