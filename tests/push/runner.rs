//! A runner on loopback: takes what is posted, and answers as it is told.

use std::collections::VecDeque;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::http::read_line;

/// Most invocations that a test lets wait.
const INVOCATIONS_MAX: usize = 1000;

/// What was posted.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Invocation {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// A runner; its thread ends with the process.
pub(crate) struct Runner {
    address: SocketAddr,
    taken: Arc<AtomicUsize>,
    invocations: Receiver<Invocation>,
}

impl Runner {
    /// One that answers with these status lines, and headers, in turn; with an empty one it closes the connection. Behind
    /// them it accepts.
    pub(crate) fn start(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers: Mutex<VecDeque<String>> =
            Mutex::new(answers.iter().map(|answer| (*answer).to_owned()).collect());
        let (told, invocations) = sync_channel(INVOCATIONS_MAX);
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::Relaxed);
                take(stream.unwrap(), &answers, &told);
            }
        });
        Self { address, taken, invocations }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// The next thing that is posted, or was.
    #[track_caller]
    pub(crate) fn next(&self) -> Invocation {
        self.invocations.recv_timeout(PATIENCE).expect("nothing is posted")
    }
}

fn take(stream: TcpStream, answers: &Mutex<VecDeque<String>>, told: &SyncSender<Invocation>) {
    let mut reader = BufReader::new(stream);
    let Ok(line) = read_line(&mut reader) else { return };
    let mut headers = Vec::new();
    while let Some((name, value)) =
        read_line(&mut reader).ok().as_deref().and_then(|line| line.split_once(':'))
    {
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut invocation = Invocation { line, headers, body: Value::Null };
    let mut body = vec![0; invocation.header("content-length").map_or(0, |length| length.parse().unwrap())];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    invocation.body = serde_json::from_slice(&body).unwrap();
    let answer = answers.lock().unwrap().pop_front();
    let answer = answer.as_deref().unwrap_or("202 Accepted");
    if !answer.is_empty() {
        let _ = write!(reader.get_mut(), "HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
    }
    // Whoever listens has gone where a test is over.
    let _ = told.send(invocation);
}
