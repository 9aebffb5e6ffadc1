//! The arguments of `gesta tasks` and `gesta leases`.

use clap::{Args, Subcommand};

use super::Target;

/// `gesta tasks`
#[derive(Debug, Clone, Args)]
pub struct Tasks {
    #[command(subcommand)]
    pub command: TasksCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum TasksCommand {
    /// List the tasks that have not ended
    Ls(TasksLs),
    /// Show one task
    Show(TasksShow),
    /// Cancel a task: at once where it waits; where it runs, its worker is asked to stop
    Cancel(TasksCancel),
    /// Queue a task again whose attempt failed or timed out, without waiting until its retry is due
    Retry(TasksRetry),
}

/// `gesta tasks ls`
#[derive(Debug, Clone, Args)]
pub struct TasksLs {
    #[command(flatten)]
    pub target: Target,
    /// Only those in this state: queued, running, timed_out, attempt_failed, retry_scheduled, completed, failed or canceled
    #[arg(long)]
    pub state: Option<String>,
    #[command(flatten)]
    pub which: Which,
}

/// Which tasks are listed.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// Only those of this pool
    #[arg(long)]
    pub pool: Option<String>,
    /// Only those of this stream
    #[arg(long)]
    pub stream: Option<String>,
    /// Most that are listed
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    /// Print one JSON object for each line
    #[arg(long)]
    pub json: bool,
}

/// `gesta tasks show`
#[derive(Debug, Clone, Args)]
pub struct TasksShow {
    #[command(flatten)]
    pub target: Target,
    /// Its id, which is that of its execution
    pub task_id: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `gesta tasks cancel`
#[derive(Debug, Clone, Args)]
pub struct TasksCancel {
    #[command(flatten)]
    pub target: Target,
    /// Its id, which is that of its execution
    pub task_id: String,
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `gesta tasks retry`
#[derive(Debug, Clone, Args)]
pub struct TasksRetry {
    #[command(flatten)]
    pub target: Target,
    /// Its id, which is that of its execution
    pub task_id: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `gesta leases`
#[derive(Debug, Clone, Args)]
pub struct Leases {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub which: Which,
}
