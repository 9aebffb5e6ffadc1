//! Redis: a consumer group on a stream. `XREADGROUP` claims, `XACK` and the `XADD` of the result in
//! one transaction complete.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};

use super::RESULT;
use super::dialect::{Dialect, Reply, text};
use crate::args::Args;

pub(super) struct Redis {
    addr: SocketAddr,
    stream: String,
    group: String,
}

impl Redis {
    /// From `--addr`, `--stream` and `--group`.
    pub(super) fn from_args(args: &mut Args) -> Result<Self, String> {
        Ok(Self {
            addr: args.required("addr")?,
            stream: args.required("stream")?,
            group: args.required("group")?,
        })
    }
}

/// Writes one command.
fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    // A vector takes whatever is written.
    let _ = write!(out, "*{}\r\n", words.len());
    for word in words {
        let _ = write!(out, "${}\r\n", word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// Strings of an answer that are kept: the stream, the id, the field and its value.
const STRINGS_MAX: usize = 4;

/// One whole answer.
#[derive(Default)]
struct Value<'a> {
    len: usize,
    strings: [&'a [u8]; STRINGS_MAX],
    integer: Option<i64>,
    error: Option<&'a [u8]>,
    is_nil: bool,
}

/// The answer at the start of `bytes`, or `None` while it is not whole.
fn value(bytes: &[u8]) -> Option<Value<'_>> {
    let mut value = Value::default();
    let (mut strings, mut pending) = (0, 1);
    while pending > 0 {
        pending -= 1;
        let rest = bytes.get(value.len..)?;
        let end = memchr::memmem::find(rest, b"\r\n")?;
        let (kind, line) = (*rest.first()?, rest.get(1..end)?);
        value.len += end + 2;
        let number = std::str::from_utf8(line).ok().and_then(|digits| digits.parse::<i64>().ok());
        match (kind, number) {
            (b'-', _) => value.error = Some(line),
            (b':', _) => value.integer = value.integer.or(number),
            (b'*' | b'$', Some(-1)) => value.is_nil = true,
            (b'*', Some(items)) => pending += items,
            (b'$', Some(size)) => {
                let (start, size) = (value.len, usize::try_from(size).ok()?);
                value.len += size + 2;
                let string = bytes.get(start..value.len)?;
                if let Some(slot) = value.strings.get_mut(strings) {
                    *slot = &string[..size];
                    strings += 1;
                }
            }
            _ => {}
        }
    }
    Some(value)
}

impl Dialect for Redis {
    fn connect(&self) -> io::Result<Vec<TcpStream>> {
        Ok(vec![TcpStream::connect(self.addr)?])
    }

    fn claim(&self, worker: usize, request: &mut Vec<u8>) {
        let consumer = format!("w-{worker:03}");
        command(
            request,
            &[
                b"XREADGROUP",
                b"GROUP",
                self.group.as_bytes(),
                consumer.as_bytes(),
                b"COUNT",
                b"1",
                b"STREAMS",
                self.stream.as_bytes(),
                b">",
            ],
        );
    }

    fn claimed(&self, answer: &[u8], completion: &mut Vec<u8>) -> Reply {
        let Some(Value { len, strings: [_, id, ..], error, is_nil, .. }) = value(answer) else {
            return Reply::Incomplete;
        };
        if error.is_some() || (id.is_empty() && !is_nil) {
            return Reply::Refused { len, why: text(&answer[..len]) };
        }
        if is_nil {
            return Reply::Empty { len };
        }
        command(completion, &[b"MULTI"]);
        command(completion, &[b"XACK", self.stream.as_bytes(), self.group.as_bytes(), id]);
        command(completion, &[b"XADD", b"results", b"*", b"task", id, b"result", RESULT.as_bytes()]);
        command(completion, &[b"EXEC"]);
        Reply::Done { len }
    }

    /// `+OK`, twice `+QUEUED`, then what the two commands answered: the acknowledged one is counted.
    fn completed(&self, answer: &[u8]) -> Reply {
        let (mut len, mut acknowledged, mut error) = (0, None, None);
        for _ in 0..4 {
            let Some(value) = value(&answer[len..]) else { return Reply::Incomplete };
            len += value.len;
            acknowledged = value.integer;
            error = error.or(value.error);
        }
        match (acknowledged, error) {
            (Some(1), None) => Reply::Done { len },
            _ => Reply::Refused { len, why: text(&answer[..len]) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redis() -> Redis {
        let addr = "127.0.0.1:1".parse().unwrap();
        Redis { addr, stream: "tasks".to_owned(), group: "bench".to_owned() }
    }

    #[test]
    fn a_claimed_entry_is_completed_by_its_id() {
        let answer = b"*1\r\n*2\r\n$5\r\ntasks\r\n*1\r\n*2\r\n$3\r\n7-0\r\n*2\r\n$1\r\nd\r\n$4\r\n\r\n*9\r\n";
        let mut completion = Vec::new();
        for cut in 0..answer.len() {
            assert_eq!(redis().claimed(&answer[..cut], &mut completion), Reply::Incomplete, "cut at {cut}");
        }
        assert_eq!(redis().claimed(answer, &mut completion), Reply::Done { len: answer.len() });
        let completion = String::from_utf8(completion).unwrap();
        let acknowledgement = "*4\r\n$4\r\nXACK\r\n$5\r\ntasks\r\n$5\r\nbench\r\n$3\r\n7-0\r\n";
        assert!(completion.contains(acknowledgement), "{completion}");
        assert_eq!(redis().claimed(b"*-1\r\n", &mut Vec::new()), Reply::Empty { len: 5 });
        assert!(matches!(redis().claimed(b"-NOGROUP\r\n", &mut Vec::new()), Reply::Refused { len: 10, .. }));
    }

    #[test]
    fn a_completion_counts_once_its_entry_was_acknowledged() {
        let answer = |count: u8| format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:{count}\r\n$3\r\n8-0\r\n");
        let one = answer(1);
        assert_eq!(redis().completed(one.as_bytes()), Reply::Done { len: one.len() });
        assert_eq!(redis().completed(&one.as_bytes()[..one.len() - 1]), Reply::Incomplete);
        assert!(matches!(redis().completed(answer(0).as_bytes()), Reply::Refused { .. }));
    }
}
