//! The arguments of `gesta worker`.

use std::path::PathBuf;

use clap::Args;

use crate::limits;

/// `gesta worker`
#[derive(Clone, Args)]
#[command(after_help = WHAT_A_PROGRAM_DOES)]
pub struct Worker {
    /// The program, run once for each task: words as a shell would split them, but no shell
    #[arg(long, value_name = "CMD")]
    pub exec: String,
    /// Pools of which tasks are claimed; may be repeated
    #[arg(long = "pool", required = true, value_delimiter = ',', value_name = "NAME")]
    pub pools: Vec<String>,
    /// Base URL of the server's internal listener, where tasks are claimed
    #[arg(long, env = "GESTA_INTERNAL_URL")]
    pub url: String,
    /// Base URL of its task listener, where attempts report and standard error is kept
    #[arg(long, env = "GESTA_TASK_URL", value_name = "URL")]
    pub task_url: String,
    /// Name of this worker in the log, which its token has to admit [default: host name and process id]
    #[arg(long, value_name = "ID")]
    pub worker_id: Option<String>,
    /// Access token with the role worker; better in the environment or a file, where other users do not see it
    #[arg(long, env = "GESTA_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// File that holds the token
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// PEM file of the authorities that are believed where the URLs are https
    #[arg(long, env = "GESTA_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// PEM file of the certificate that is shown to a listener that asks for one
    #[arg(long, requires = "key", value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// PEM file of its key
    #[arg(long, requires = "cert", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Tasks that are run at once
    #[arg(long, default_value_t = 1, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=limits::WORKER_TASKS_MAX as i64))]
    pub concurrency: u16,
    /// How long running tasks may go on after SIGTERM; then they are stopped, and failed so that another worker has them
    #[arg(long, default_value_t = 25, value_name = "SECONDS")]
    pub grace: u64,
    /// How long a program may go on after it was told to stop by SIGTERM; then it is killed
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    pub kill_after: u64,
    /// End after one task; the exit code is 1 where it was not completed
    #[arg(long, conflicts_with = "max")]
    pub once: bool,
    /// End after so many tasks; the exit code is 1 where one was not completed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max: Option<u64>,
    /// Say what is done as one JSON object for each line, on standard output
    #[arg(long)]
    pub json: bool,
}

const WHAT_A_PROGRAM_DOES: &str = "\
The program gets one JSON object on standard input: task_id, attempt, lease_token, lease_expires_at, capability_token, \
task_url, and task, which is what the server says of it. It ends with exit code 0 and exactly one JSON object on \
standard output: the result. Its environment is that of the worker without the variables of gesta.

  exit code 0, one JSON object     completed
  exit code 0, anything else       failed for good
  exit code 64, 65, 78             failed for good (EX_USAGE, EX_DATAERR, EX_CONFIG of sysexits.h)
  any other, such as 75            failed, and tried again (75 is EX_TEMPFAIL)
  ended by a signal                failed, and tried again

It runs in a process group of its own, of which nothing is left once it has ended. A task that is cancelled gets SIGTERM, and \
SIGKILL after --kill-after. To use a shell, say so: --exec \"sh -c 'jq .task | tee log'\".";

impl std::fmt::Debug for Worker {
    /// Leaves the token out, so that no log line holds it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("exec", &self.exec).field("url", &self.url).finish_non_exhaustive()
    }
}
