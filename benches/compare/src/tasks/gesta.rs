//! Gesta: claims on the internal listener, completions on the task listener, so that a worker has
//! two connections, of which one is in use.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};

use memchr::memmem;

use super::RESULT;
use super::dialect::{Dialect, Reply, text};
use crate::args::Args;
use crate::http;

pub(super) struct Gesta {
    internal: SocketAddr,
    task: SocketAddr,
    token: String,
    pool: String,
}

impl Gesta {
    /// From `--internal`, `--task`, `--token` and `--pool`.
    pub(super) fn from_args(args: &mut Args) -> Result<Self, String> {
        Ok(Self {
            internal: args.required("internal")?,
            task: args.required("task")?,
            token: args.required("token")?,
            pool: args.required("pool")?,
        })
    }
}

/// Writes a whole `POST`, its head with one more header.
pub(crate) fn post(out: &mut Vec<u8>, addr: SocketAddr, path: &str, header: (&str, &[u8]), body: &[u8]) {
    let len = body.len();
    // A vector takes whatever is written.
    let _ = write!(
        out,
        "POST {path} HTTP/1.1\r\nHost: {addr}\r\nContent-Type: application/json\r\nContent-Length: {len}\r\n{}: ",
        header.0
    );
    out.extend_from_slice(header.1);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// Writes a claim of at most `max` tasks of a pool.
pub(crate) fn claim_request(
    out: &mut Vec<u8>,
    addr: SocketAddr,
    token: &str,
    pool: &str,
    max: usize,
    worker: usize,
) {
    let body = format!(r#"{{"max":{max},"pools":["{pool}"],"wait_ms":0,"worker_id":"w-{worker:03}"}}"#);
    let header = ("X-Trace-Worker-Token", token.as_bytes());
    post(out, addr, "/internal/task-claim", header, body.as_bytes());
}

/// The value of a member that is a string without escapes, or a number. The first one of that name:
/// where a claim names `attempt` and `task_id` more than once, it says the same.
fn member<'a>(json: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let key = format!("\"{name}\":");
    let at = memmem::find(json, key.as_bytes())? + key.len();
    let rest = json.get(at..)?;
    match rest.strip_prefix(b"\"") {
        Some(rest) => rest.get(..memchr::memchr(b'"', rest)?),
        None => rest.get(..rest.iter().position(|byte| !byte.is_ascii_digit())?),
    }
}

/// The body of the completion of the one task in a claim's answer, and its capability.
fn completion(claimed: &[u8]) -> Option<(String, &[u8])> {
    let field = |name| std::str::from_utf8(member(claimed, name)?).ok();
    let (attempt, task, lease) = (field("attempt")?, field("task_id")?, field("lease_token")?);
    let body = format!(
        r#"{{"attempt":{attempt},"lease_token":"{lease}","result":{RESULT},"status":"Completed","task_id":"{task}"}}"#
    );
    Some((body, member(claimed, "capability_token")?))
}

impl Dialect for Gesta {
    fn connect(&self) -> io::Result<Vec<TcpStream>> {
        Ok(vec![TcpStream::connect(self.internal)?, TcpStream::connect(self.task)?])
    }

    fn claim(&self, worker: usize, request: &mut Vec<u8>) {
        claim_request(request, self.internal, &self.token, &self.pool, 1, worker);
    }

    fn claimed(&self, answer: &[u8], request: &mut Vec<u8>) -> Reply {
        let Some((head, len)) = whole(answer) else { return Reply::Incomplete };
        if head.status == 204 {
            return Reply::Empty { len };
        }
        let (head_bytes, body) = answer[..len].split_at(head.len);
        match completion(body).filter(|_| head.status == 200) {
            Some((completion, capability)) => {
                let header = ("X-Trace-Task-Capability", capability);
                post(request, self.task, "/v1/task/complete", header, completion.as_bytes());
                Reply::Done { len }
            }
            None => Reply::Refused { len, why: text(&[head_bytes, body].concat()) },
        }
    }

    fn completed(&self, answer: &[u8]) -> Reply {
        match whole(answer) {
            None => Reply::Incomplete,
            Some((head, len)) if head.status == 200 => Reply::Done { len },
            Some((_, len)) => Reply::Refused { len, why: text(&answer[..len]) },
        }
    }
}

/// The head of an answer that is there to its end, and its whole length.
fn whole(answer: &[u8]) -> Option<(http::Head, usize)> {
    let head = http::head(answer)?;
    let len = head.message_len(answer)?;
    Some((head, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gesta() -> Gesta {
        let addr = "127.0.0.1:1".parse().unwrap();
        Gesta { internal: addr, task: addr, token: "secret".to_owned(), pool: "bench".to_owned() }
    }

    #[test]
    fn what_was_claimed_is_completed_with_its_fence_and_its_capability() {
        let body = concat!(
            r#"[{"attempt":2,"capability_token":"e.y.J","lease_expires_at":"x","lease_token":"0a1b","#,
            r#""status":"Claimed","task":{"attempt":2,"task_id":"01J"}}]"#
        );
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let mut request = Vec::new();
        assert_eq!(gesta().claimed(&answer.as_bytes()[..90], &mut request), Reply::Incomplete);
        assert_eq!(gesta().claimed(answer.as_bytes(), &mut request), Reply::Done { len: answer.len() });
        let request = String::from_utf8(request).unwrap();
        assert!(request.contains("\r\nX-Trace-Task-Capability: e.y.J\r\n\r\n"), "{request}");
        let body: serde_json::Value =
            serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(body["task_id"], "01J");
        assert_eq!((&body["attempt"], &body["lease_token"]), (&2.into(), &"0a1b".into()));
        assert_eq!(body["result"], serde_json::from_str::<serde_json::Value>(RESULT).unwrap());
    }

    #[test]
    fn no_task_and_a_refusal_are_told_apart() {
        let empty = b"HTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(gesta().claimed(empty, &mut Vec::new()), Reply::Empty { len: empty.len() });
        let refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}";
        assert!(matches!(gesta().claimed(refusal, &mut Vec::new()), Reply::Refused { .. }));
        assert!(matches!(gesta().completed(refusal), Reply::Refused { .. }));
    }
}
