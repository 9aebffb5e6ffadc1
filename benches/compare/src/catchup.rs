//! `catchup`: followers that read a whole history at once, each over its own connection and thread.
//!
//! Reading is blocking and in large pieces, and only bytes are counted: a client that parsed would
//! measure itself. `--record-marker` counts records too, for one pass that is not timed.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memmem;
use serde_json::json;

use crate::args::Args;
use crate::http::{self, Body};
use crate::process::cpu_seconds;

const READ_LEN: usize = 256 << 10;

/// Payload bytes that are kept, so that a marker cut by two reads is found.
const SEAM_LEN: usize = 256;

#[derive(Clone)]
struct Plan {
    addr: SocketAddr,
    path: String,
    /// Ends a stream that its server would keep open; it stands within the last `SEAM_LEN` bytes.
    end_marker: Option<Vec<u8>>,
    record_marker: Option<Vec<u8>>,
    save: Option<PathBuf>,
    timeout: Duration,
}

#[derive(Default)]
struct Seen {
    bytes: u64,
    records: u64,
}

pub(crate) fn run(args: &mut Args) -> crate::Outcome {
    let followers: usize = args.required("followers")?;
    let plan = Plan {
        addr: args.required("addr")?,
        path: args.required("path")?,
        end_marker: args.optional::<String>("end-marker")?.map(String::into_bytes),
        record_marker: args.optional::<String>("record-marker")?.map(String::into_bytes),
        save: args.optional("save")?,
        timeout: Duration::from_secs(args.optional("timeout")?.unwrap_or(60)),
    };
    args.finish()?;
    let barrier = Arc::new(Barrier::new(followers + 1));
    let start_one = |_| {
        let (plan, barrier) = (plan.clone(), Arc::clone(&barrier));
        thread::spawn(move || {
            let connection = TcpStream::connect(plan.addr);
            // Waited for also by one that failed, or the others would wait for ever.
            barrier.wait();
            follow(connection?, &plan)
        })
    };
    let threads: Vec<_> = (0..followers).map(start_one).collect();
    barrier.wait();
    let start = Instant::now();
    let mut all = Vec::with_capacity(followers);
    for thread in threads {
        all.push(thread.join().map_err(|_| "a follower's thread panicked")??);
    }
    let seconds = start.elapsed().as_secs_f64();
    let bytes: u64 = all.iter().map(|seen| seen.bytes).sum();
    Ok(json!({
        "followers": followers,
        "seconds": seconds,
        "bytes": bytes,
        "bytes_each": all.iter().map(|seen| seen.bytes).min(),
        "records_each": all.iter().map(|seen| seen.records).min(),
        "bytes_per_second": bytes as f64 / seconds,
        "client_cpu": cpu_seconds(std::process::id())? / seconds,
    }))
}

/// Reads one whole answer.
fn follow(mut stream: TcpStream, plan: &Plan) -> io::Result<Seen> {
    stream.set_read_timeout(Some(plan.timeout))?;
    write!(
        stream,
        "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n",
        plan.path, plan.addr
    )?;
    let mut buffer = vec![0; READ_LEN];
    let mut filled = 0;
    let head = loop {
        filled += read_some(&mut stream, &mut buffer[filled..])?;
        if let Some(head) = http::head(&buffer[..filled]) {
            break head;
        }
    };
    if head.status != 200 {
        return Err(io::Error::other(String::from_utf8_lossy(&buffer[..filled.min(600)]).into_owned()));
    }
    let mut sink = Sink::open(plan)?;
    let mut body = Body::new(head.framing);
    body.feed(&buffer[head.len..filled], |payload| sink.take(payload));
    let end = Instant::now() + plan.timeout;
    while !body.ended && !sink.at_end() {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        body.feed(&buffer[..n], |payload| sink.take(payload));
        if Instant::now() > end {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    sink.finish()
}

fn read_some(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        n => Ok(n),
    }
}

/// What becomes of the payload.
struct Sink<'a> {
    plan: &'a Plan,
    seen: Seen,
    /// The last `SEAM_LEN` bytes of the payload, where a marker is looked for.
    seam: Vec<u8>,
    file: Option<BufWriter<File>>,
    failed: Option<io::Error>,
}

impl<'a> Sink<'a> {
    fn open(plan: &'a Plan) -> io::Result<Self> {
        let file = plan.save.as_ref().map(File::create).transpose()?.map(BufWriter::new);
        Ok(Self { plan, seen: Seen::default(), seam: Vec::new(), file, failed: None })
    }

    fn take(&mut self, payload: &[u8]) {
        self.seen.bytes += payload.len() as u64;
        if let Some(file) = &mut self.file {
            self.failed = self.failed.take().or(file.write_all(payload).err());
        }
        if let Some(marker) = &self.plan.record_marker {
            // A marker that two pieces share begins in the last bytes of the first.
            let tail = self.seam.len().saturating_sub(marker.len() - 1);
            let joint = [&self.seam[tail..], &payload[..payload.len().min(marker.len() - 1)]].concat();
            let whole =
                memmem::find_iter(payload, marker).count() + memmem::find_iter(&joint, marker).count();
            self.seen.records += whole as u64;
        }
        if self.plan.end_marker.is_some() || self.plan.record_marker.is_some() {
            self.seam.extend_from_slice(&payload[payload.len().saturating_sub(SEAM_LEN)..]);
            self.seam.drain(..self.seam.len().saturating_sub(SEAM_LEN));
        }
    }

    fn at_end(&self) -> bool {
        self.plan.end_marker.as_ref().is_some_and(|marker| memmem::find(&self.seam, marker).is_some())
    }

    fn finish(mut self) -> io::Result<Seen> {
        if let Some(file) = &mut self.file {
            self.failed = self.failed.take().or(file.flush().err());
        }
        self.failed.map_or(Ok(self.seen), Err)
    }
}
