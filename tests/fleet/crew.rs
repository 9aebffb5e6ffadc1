//! Worker processes that are killed, stalled and replaced, and never end by themselves.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::site::{POOL, Site, WORKER};
use crate::support::Random;
use crate::support::process::PROGRAM;

/// What most workers run: it takes up to a fifth of a second, now and then longer than a lease, and fails now and then.
const EXEC: &str = r#"sh -c 'case $(($$ % 31)) in 0) sleep 3;; 1|2) exit 75;; *) sleep 0.$(($$ % 2))$(($$ % 7));; esac; echo {}'"#;

/// Each so manieth worker is the one in plain Python, where there is one.
const PYTHON_EACH: u64 = 8;

/// Bytes of what workers say that are shown where a test fails.
const SAID_BYTES_MAX: usize = 8 * 1024;

/// All workers; killed when dropped.
pub(crate) struct Crew {
    workers: Vec<Worker>,
    urls: [String; 2],
    said: PathBuf,
    python: Option<&'static str>,
    /// Those that were stopped in their tracks, the first one first.
    stalled: VecDeque<usize>,
    kills: u64,
    stalls: u64,
}

/// One process.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Crew {
    pub(crate) fn start(site: &Site, workers: u64) -> Self {
        let said = site.directory().join("workers.log");
        File::create(&said).unwrap();
        let python = ["python3", "python"].into_iter().find(|name| {
            let tried =
                Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            tried.is_ok_and(|status| status.success())
        });
        let mut crew = Self {
            workers: Vec::new(),
            urls: site.urls(),
            said,
            python,
            stalled: VecDeque::new(),
            kills: 0,
            stalls: 0,
        };
        crew.workers = (0..workers).map(|nth| crew.worker(nth)).collect();
        crew
    }

    fn worker(&self, nth: u64) -> Worker {
        let [task, internal] = &self.urls;
        let mut command = match self.python {
            Some(python) if nth % PYTHON_EACH == 3 => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/workers/worker.py");
                let mut command = Command::new(python);
                command.env("PYTHONDONTWRITEBYTECODE", "1").arg(script).args([internal, task, POOL]);
                command
            }
            Some(_) | None => {
                let mut command = Command::new(PROGRAM);
                command.args([
                    "worker",
                    "--exec",
                    EXEC,
                    "--pool",
                    POOL,
                    "--url",
                    internal,
                    "--task-url",
                    task,
                ]);
                command.args(["--concurrency", if nth % 5 == 4 { "3" } else { "1" }]);
                // Half of them come back under their name.
                if nth.is_multiple_of(2) {
                    command.args(["--worker-id", &format!("w-{nth}")]);
                }
                command
            }
        };
        let said = OpenOptions::new().append(true).open(&self.said).unwrap();
        command.env("GESTA_TOKEN", WORKER).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        Worker(command.spawn().unwrap())
    }

    /// Kills one and puts another in its place, or stalls it for a while.
    pub(crate) fn disturb(&mut self, random: &mut Random) {
        let nth = random.below(self.workers.len() as u64);
        let place = usize::try_from(nth).unwrap();
        let most = self.workers.len() / 4;
        if self.stalled.len() > most || (random.below(4) == 0 && !self.stalled.is_empty()) {
            let place = self.stalled.pop_front().unwrap();
            self.signal(place, Signal::CONT);
        }
        let ended = self.workers[place].0.try_wait().unwrap();
        assert!(ended.is_none(), "a worker has given up: {ended:?}");
        if self.stalled.contains(&place) {
            return;
        }
        if random.below(4) == 0 {
            self.signal(place, Signal::STOP);
            self.stalled.push_back(place);
            self.stalls += 1;
        } else {
            self.signal(place, Signal::KILL);
            self.workers[place] = self.worker(nth);
            self.kills += 1;
        }
    }

    fn signal(&self, place: usize, signal: Signal) {
        kill_process(Pid::from_child(&self.workers[place].0), signal).unwrap();
    }

    /// Ends them all, and says what was done to them.
    pub(crate) fn dismiss(mut self) -> String {
        for Worker(child) in &mut self.workers {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "a worker has given up: {ended:?}");
        }
        self.workers.clear();
        format!("{} workers killed, {} stalled", self.kills, self.stalls)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = std::fs::read(&self.said).unwrap_or_default();
            let from = said.len().saturating_sub(SAID_BYTES_MAX);
            eprintln!("--- what workers said last\n{}", String::from_utf8_lossy(&said[from..]));
        }
    }
}
