//! How a kind of server is asked for a task and told of its end.

use std::io;
use std::net::TcpStream;

/// What the bytes received so far are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Incomplete,
    /// The first `len` bytes say that the step is durable.
    Done {
        len: usize,
    },
    /// The first `len` bytes say that no task waits.
    Empty {
        len: usize,
    },
    /// The first `len` bytes refuse the step.
    Refused {
        len: usize,
        why: String,
    },
}

/// One worker's two steps, spoken in the server's own protocol.
pub(super) trait Dialect {
    /// The connections of one worker, ready for its first claim: one, or one for claims and one for
    /// completions.
    fn connect(&self) -> io::Result<Vec<TcpStream>>;

    /// Writes the claim of one task.
    fn claim(&self, worker: usize, request: &mut Vec<u8>);

    /// Reads the answer to a claim, and writes the completion of what was claimed.
    fn claimed(&self, answer: &[u8], completion: &mut Vec<u8>) -> Reply;

    /// Reads the answer to a completion.
    fn completed(&self, answer: &[u8]) -> Reply;
}

/// What an answer says, for a person.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(600)]).into_owned()
}
