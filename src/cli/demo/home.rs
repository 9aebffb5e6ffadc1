//! Where the demo's data lies, and the process that serves it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ulid::Ulid;

use crate::cli::{Exit, Failure};

/// The demo's data directory, removed at the end unless it was named.
pub(super) struct Home {
    pub(super) data: PathBuf,
    temporary: bool,
}

fn failed(doing: &str, cause: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("cannot {doing}: {cause}"))
}

impl Home {
    /// # Errors
    /// A directory that cannot be made, or is not empty.
    pub(super) fn make(named: Option<PathBuf>) -> Result<Self, Failure> {
        let temporary = named.is_none();
        let name = format!("gesta-demo-{}", Ulid::generate().to_string().to_lowercase());
        let data = named.unwrap_or_else(|| std::env::temp_dir().join(name));
        fs::create_dir_all(&data).map_err(|cause| failed("make the data directory", cause))?;
        let mut entries = fs::read_dir(&data).map_err(|cause| failed("read the data directory", cause))?;
        if entries.next().is_some() {
            return Err(Failure::new(Exit::Usage, format!("{} is not empty", data.display()))
                .hint("the demo begins with an empty log: name a new directory"));
        }
        Ok(Self { data, temporary })
    }

    /// Where the log of the second part lies.
    pub(super) fn pipeline(&self) -> PathBuf {
        self.data.join("pipeline")
    }

    /// What to do next.
    pub(super) fn farewell(&self) -> String {
        let start =
            "Start your own:  gesta serve   and then   gesta tail --follow   or open its URL in a browser.";
        if self.temporary {
            return start.to_owned();
        }
        let (first, second) = (self.data.display(), self.pipeline());
        format!("The logs are still in {first} and {}.\n{start}", second.display())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_dir_all(&self.data);
        }
    }
}

/// A serving process, killed when dropped.
pub(super) struct Served {
    child: Child,
    pub(super) url: String,
    /// Of its listener for tasks; empty where there is none, as the next.
    pub(super) task: String,
    pub(super) internal: String,
    /// From its start until requests were served.
    pub(super) took: Duration,
}

impl Served {
    /// # Errors
    /// It does not start.
    pub(super) fn start(home: &Home, listen: &str) -> Result<Self, Failure> {
        let mut command = Self::program("serve")?;
        command.args(["--listen", listen, "--data"]).arg(&home.data);
        // What is shown is the log: what is posted is all that is in it.
        command.env("GESTA_DECIDER__ENABLED", "false");
        Self::spawn(command, [""])
    }

    /// With all three listeners, and the tokens of a configuration file.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn start_with_workers(data: &Path, config: &Path) -> Result<Self, Failure> {
        let mut command = Self::program("serve")?;
        command.arg("--config").arg(config);
        command.args(["--listen", "127.0.0.1:0", "--insecure-loopback", "--data"]).arg(data);
        command.args(["--listen-task", "127.0.0.1:0", "--listen-internal", "127.0.0.1:0"]);
        Self::spawn(command, ["", "task ", "internal "])
    }

    /// A command of this program, the same whatever is set for other servers.
    ///
    /// # Errors
    /// The program cannot be found.
    pub(super) fn program(name: &str) -> Result<Command, Failure> {
        let program = std::env::current_exe().map_err(|cause| failed("find this program", cause))?;
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GESTA_") {
                command.env_remove(name);
            }
        }
        command.arg(name).env("RUST_LOG", "error").stdin(Stdio::null());
        Ok(command)
    }

    /// Waits until it has said its URLs, each behind its prefix: the public one, that for tasks, the internal one.
    fn spawn<const LINES: usize>(mut command: Command, prefixes: [&str; LINES]) -> Result<Self, Failure> {
        let began = Instant::now();
        command.stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|cause| failed("start the server", cause))?;
        let lines = child.stdout.take().map(|output| BufReader::new(output).lines());
        let mut served = Self {
            child,
            url: String::new(),
            task: String::new(),
            internal: String::new(),
            took: Duration::ZERO,
        };
        let mut lines = lines.into_iter().flatten().map_while(Result::ok);
        for (url, prefix) in
            [&mut served.url, &mut served.task, &mut served.internal].into_iter().zip(prefixes)
        {
            let line = lines.next().unwrap_or_default();
            match line.strip_prefix(prefix).filter(|said| said.starts_with("http://")) {
                Some(said) => *url = said.to_owned(),
                None => return Err(failed("start the server", "it ended before it was ready")),
            }
        }
        served.took = began.elapsed();
        Ok(served)
    }

    /// Host and port, to start another one there.
    pub(super) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}
