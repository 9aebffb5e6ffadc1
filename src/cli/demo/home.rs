//! Where the demo's data lies, and the process that serves it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
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

    /// What to do next.
    pub(super) fn farewell(&self) -> String {
        let start =
            "Start your own:  gesta serve   and then   gesta tail --follow   or open its URL in a browser.";
        if self.temporary {
            return start.to_owned();
        }
        format!("The log is still in {}.\n{start}", self.data.display())
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
    /// From its start until requests were served.
    pub(super) took: Duration,
}

impl Served {
    /// # Errors
    /// It does not start.
    pub(super) fn start(home: &Home, listen: &str) -> Result<Self, Failure> {
        let began = Instant::now();
        let program = std::env::current_exe().map_err(|cause| failed("find this program", cause))?;
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            // The demo is the same whatever is set for other servers.
            if name.to_string_lossy().starts_with("GESTA_") {
                command.env_remove(name);
            }
        }
        command.args(["serve", "--listen", listen, "--data"]).arg(&home.data).env("RUST_LOG", "error");
        // What is shown is the log: what is posted is all that is in it.
        command.env("GESTA_DECIDER__ENABLED", "false");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|cause| failed("start the server", cause))?;
        let mut url = String::new();
        let read = child.stdout.take().map(|output| BufReader::new(output).read_line(&mut url));
        let mut served = Self { child, url: url.trim().to_owned(), took: began.elapsed() };
        if !matches!(read, Some(Ok(_))) || !served.url.starts_with("http://") {
            served.kill();
            return Err(failed("start the server", "it ended before it was ready"));
        }
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
