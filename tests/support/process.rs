//! The built program, serving a directory as a child process.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::{Client, PATIENCE, Random, Tail, until};

/// Settings under which a segment holds one batch and little more, so that a test meets many of them.
pub const SMALL_SEGMENTS: [&str; 4] = [
    "log.segment_bytes=144KiB",
    "log.batch_bytes_max=64KiB",
    "log.fill_piece_bytes_max=16KiB",
    "log.fill_ahead_bytes_max=64KiB",
];

/// A plain log: nothing but what a test submits is in it, so that its first intent has index 0. What is about decisions
/// says `decider.enabled=true` in its settings, which come later and win.
pub const PLAIN: &str = "decider.enabled=false";

/// The program that is tested.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_gesta");

/// A serving process; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// What it printed when it was ready: a line for each listener, the public one's URL first.
    pub printed: Vec<String>,
    errors: PathBuf,
}

/// How a process ended by itself.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub errors: String,
}

/// `gesta serve` on a free port of loopback.
pub fn serve(data: &Path, settings: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(serve_arguments(data, settings));
    command
}

/// The arguments of [`serve`], for whoever starts it through another program.
pub fn serve_arguments(data: &Path, settings: &[&str]) -> Vec<String> {
    let mut arguments = vec!["serve".to_owned(), "--listen".to_owned(), "127.0.0.1:0".to_owned()];
    arguments.extend(["--data".to_owned(), data.to_str().unwrap().to_owned()]);
    for setting in [&PLAIN].into_iter().chain(settings) {
        arguments.extend(["--set".to_owned(), (*setting).to_owned()]);
    }
    arguments
}

impl Server {
    /// Serves `data`; returns once requests are answered.
    #[track_caller]
    pub fn start(data: &Path, settings: &[&str]) -> Self {
        Self::spawn(serve(data, settings)).unwrap_or_else(|ended| panic!("it did not start: {ended:?}"))
    }

    /// Serves `data` at an address that [`Server::start_at`] finds free again after a kill: outside the range from
    /// which the system hands out ports, so that no other server and no client that comes back too early takes it.
    #[track_caller]
    pub fn start_lasting(data: &Path) -> Self {
        let mut random = Random::seeded("lasting address");
        until("a server has found an address that lasts", || {
            let port = u16::try_from(20_000 + random.below(10_000)).unwrap();
            Self::try_start_at(data, (Ipv4Addr::LOCALHOST, port).into())
        })
    }

    /// Serves `data` at the address of a [`Server::start_lasting`] that was killed.
    #[track_caller]
    pub fn start_at(data: &Path, address: SocketAddr) -> Self {
        until("the address is free again", || Self::try_start_at(data, address))
    }

    /// None where another has the address.
    #[track_caller]
    fn try_start_at(data: &Path, address: SocketAddr) -> Option<Self> {
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--listen", &address.to_string(), "--data", data.to_str().unwrap()]);
        command.args(["--set", PLAIN]);
        match Self::spawn(command) {
            Ok(server) => Some(server),
            Err(ended) if ended.errors.contains("cannot listen on") => None,
            Err(ended) => panic!("it did not start: {ended:?}"),
        }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Runs a command that should end in serving.
    pub fn spawn(command: Command) -> Result<Self, Ended> {
        let listeners =
            1 + command.get_args().filter(|name| name.to_string_lossy().starts_with("--listen-")).count();
        let mut starting = Starting::spawn(command);
        let output = starting.child.stdout.take().unwrap();
        let (told, lines) = sync_channel(1);
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let lines = (0..listeners).map(|_| {
                let mut line = String::new();
                output.read_line(&mut line).unwrap();
                line.trim().to_owned()
            });
            let _ = told.send(lines.collect::<Vec<String>>());
            // The pipe stays open as long as the process, which never writes to it again.
            let _ = output.read_to_end(&mut Vec::new());
        });
        let printed = lines.recv_timeout(PATIENCE).expect("it neither serves nor ends");
        match printed[0].split_once("://") {
            Some((_, address)) => {
                let address = address.parse().unwrap();
                Ok(Self { child: starting.child, address, printed, errors: starting.errors })
            }
            None => Err(starting.ended()),
        }
    }

    /// The URL of another listener, by its name.
    #[track_caller]
    pub fn url_of(&self, listener: &str) -> &str {
        let found = self.printed.iter().find_map(|line| line.strip_prefix(listener)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no listener {listener}: {:?}", self.printed))
    }

    /// The address of another listener, by its name.
    #[track_caller]
    pub fn address_of(&self, listener: &str) -> SocketAddr {
        self.url_of(listener).split_once("://").unwrap().1.parse().unwrap()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    #[track_caller]
    pub fn tail(&self, query: &str) -> Tail {
        Tail::open(self.address, query, &[]).unwrap()
    }

    /// As `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.id())]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until the process has ended by itself.
    #[track_caller]
    pub fn ended(mut self) -> Ended {
        let status = until("the process has ended", || self.child.try_wait().unwrap());
        Ended::of(status, &self.errors)
    }

    /// Ends it in order and demands success.
    #[track_caller]
    pub fn stop(self) -> Ended {
        self.signal("TERM");
        let ended = self.ended();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        ended
    }

    /// What it has written to standard error.
    pub fn errors(&self) -> String {
        fs::read_to_string(&self.errors).unwrap()
    }

    /// Resident memory, in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// The most resident memory that it has had, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// One of its own figures.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.client().get("/metrics").text();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// The number of durable records.
    pub fn head(&self) -> u64 {
        self.client().get("/status").json()["head"].as_u64().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- standard error of the server\n{}", self.errors());
        }
        let _ = fs::remove_file(&self.errors);
    }
}

impl Ended {
    fn of(status: ExitStatus, errors: &Path) -> Self {
        Self { code: status.code(), errors: fs::read_to_string(errors).unwrap() }
    }
}

/// A process of which it is not known yet whether it will serve.
pub struct Starting {
    child: Child,
    errors: PathBuf,
}

impl Starting {
    pub fn spawn(mut command: Command) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let errors = std::env::temp_dir().join(format!("gesta-test-{}-{nth}.log", std::process::id()));
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).unwrap())
            .env("NO_COLOR", "1")
            .spawn()
            .unwrap();
        Self { child, errors }
    }

    /// As `kill -9`, wherever it is.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
        let _ = fs::remove_file(&self.errors);
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn ended(self) -> Ended {
        let ended = self.ends(PATIENCE);
        ended.unwrap_or_else(|| panic!("it does not end"))
    }

    /// How it has ended by itself; none where it runs on, and is killed.
    fn ends(mut self, patience: Duration) -> Option<Ended> {
        let deadline = Instant::now() + patience;
        let status = loop {
            match self.child.try_wait().unwrap() {
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                status => break status,
            }
        };
        let ended = status.map(|status| Ended::of(status, &self.errors));
        self.kill();
        ended
    }
}

/// Runs a command that should end at once.
#[track_caller]
pub fn run(command: Command) -> Ended {
    Starting::spawn(command).ended()
}
