//! A program in a process group of its own: what it is told, what it writes, how it ends.
//!
//! The group is signalled only while its leader is not reaped: until then nobody else can have its number.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::limits::{WORKER_STDERR_BYTES_MAX, WORKER_STDOUT_BYTES_MAX};

/// For how long what a program wrote is read after its end. Whoever left its group may hold the pipe open for ever.
const PIPE_PATIENCE: Duration = Duration::from_secs(2);

/// The variables of gesta hold tokens that are the worker's alone.
const OWN_VARIABLES: &str = "GESTA_";

/// A program on its way. Dropped, it is killed.
pub(super) struct Program {
    child: Child,
    group: Pid,
    reaped: bool,
    exited: watch::Receiver<bool>,
    stdout: Reader,
    stderr: Reader,
}

/// A program that has ended.
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stdout: Kept,
    pub(super) stderr: Kept,
}

/// What was written to a pipe, as far as it is kept.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) bytes: Vec<u8>,
    /// Bytes that were written and are not kept.
    pub(super) lost: u64,
}

impl Program {
    /// Starts it and writes `input` to its standard input.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(words: &[String], input: Bytes) -> io::Result<Self> {
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(OWN_VARIABLES) {
                command.env_remove(name);
            }
        }
        let mut child = command.spawn()?;
        let group = Pid::from_child(&child);
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut guard = Unfinished(Some(child));
        let piped = "all three are piped";
        let stdin = pipe::Sender::from_owned_fd(stdin.expect(piped).into())?;
        let stdout = pipe::Receiver::from_owned_fd(stdout.expect(piped).into())?;
        let stderr = pipe::Receiver::from_owned_fd(stderr.expect(piped).into())?;
        let exited = watch_exit(group)?;
        tokio::spawn(write(stdin, input));
        let child = guard.0.take().expect("it was put there above");
        let stdout = Reader::start(stdout, Keep::First(WORKER_STDOUT_BYTES_MAX));
        let stderr = Reader::start(stderr, Keep::Last(WORKER_STDERR_BYTES_MAX));
        Ok(Self { child, group, reaped: false, exited, stdout, stderr })
    }

    /// Waits until it has ended. May be dropped and called again.
    pub(super) async fn exited(&mut self) {
        // The thread that watches goes away only after it has said so.
        let _ = self.exited.wait_for(|exited| *exited).await;
    }

    /// Tells it to stop, and kills it where it has not within `patience`.
    pub(super) async fn stop(&mut self, patience: Duration) {
        self.signal(Signal::TERM);
        if timeout(patience, self.exited()).await.is_err() {
            self.kill();
            self.exited().await;
        }
    }

    /// As `kill -9` of its whole group.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if !self.reaped {
            // The group is there as long as its leader is not reaped; whoever changed their user cannot be reached.
            let _ = kill_process_group(self.group, signal);
        }
    }

    /// Waits for its end, kills what is left of its group, and gives what it wrote.
    ///
    /// # Errors
    /// The system does not say how it ended.
    pub(super) async fn finish(mut self) -> io::Result<Finished> {
        self.exited().await;
        self.kill();
        self.reaped = true;
        let status = self.child.wait()?;
        let (stdout, stderr) = tokio::join!(self.stdout.finish(), self.stderr.finish());
        Ok(Finished { status, stdout, stderr })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if !self.reaped {
            let _ = self.child.wait();
        }
    }
}

/// A child that is killed unless it becomes a [`Program`].
struct Unfinished(Option<Child>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.wait();
        }
    }
}

/// Says when the process has ended, without reaping it.
fn watch_exit(pid: Pid) -> io::Result<watch::Receiver<bool>> {
    let (told, exited) = watch::channel(false);
    std::thread::Builder::new().name("exit".to_owned()).stack_size(64 * 1024).spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(pid), options), Err(rustix::io::Errno::INTR)) {}
        told.send_replace(true);
    })?;
    Ok(exited)
}

/// A program need not read what it is told.
async fn write(mut stdin: pipe::Sender, input: Bytes) {
    let _ = stdin.write_all(&input).await;
}

/// Which part is kept of what is too long.
#[derive(Clone, Copy)]
enum Keep {
    First(usize),
    Last(usize),
}

/// Reads a pipe to its end, whatever is kept of it, so that the program is never held up.
struct Reader {
    keep: Keep,
    kept: Arc<Mutex<Kept>>,
    task: JoinHandle<()>,
}

impl Reader {
    fn start(mut pipe: impl AsyncRead + Unpin + Send + 'static, keep: Keep) -> Self {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let into = Arc::clone(&kept);
        let task = tokio::spawn(async move {
            let mut piece = vec![0; 16 * 1024];
            while let Ok(len @ 1..) = pipe.read(&mut piece).await {
                into.lock().unwrap_or_else(PoisonError::into_inner).take(&piece[..len], keep);
            }
        });
        Self { keep, kept, task }
    }

    async fn finish(&mut self) -> Kept {
        let _ = timeout(PIPE_PATIENCE, &mut self.task).await;
        self.task.abort();
        let mut kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        if let Keep::Last(bytes_max) = self.keep {
            kept.cut_last(bytes_max);
        }
        kept
    }
}

impl Kept {
    fn take(&mut self, piece: &[u8], keep: Keep) {
        match keep {
            Keep::First(bytes_max) => {
                let (kept, lost) =
                    piece.split_at(piece.len().min(bytes_max.saturating_sub(self.bytes.len())));
                self.bytes.extend_from_slice(kept);
                self.lost += lost.len() as u64;
            }
            Keep::Last(bytes_max) => {
                self.bytes.extend_from_slice(piece);
                // Cut when it is twice as long, so that each byte is moved once.
                if self.bytes.len() >= 2 * bytes_max {
                    self.cut_last(bytes_max);
                }
            }
        }
    }

    fn cut_last(&mut self, bytes_max: usize) {
        let lost = self.bytes.len().saturating_sub(bytes_max);
        self.bytes.drain(..lost);
        self.lost += lost as u64;
    }
}
