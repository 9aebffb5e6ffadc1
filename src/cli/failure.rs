//! Why a command ended, as a message for a person and an exit code for a script.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use crate::auth::NonLoopbackWithoutToken;
use crate::config::ConfigError;

/// The exit codes of `gesta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Fine,
    /// The command could not do what was asked.
    Failed,
    /// The arguments or the configuration are wrong; nothing was done.
    Usage,
    /// The log is damaged; segment, byte and index are named.
    Damaged,
    /// Another process has the data directory.
    Locked,
    /// A write or sync failed: what was pending may or may not be durable.
    DiskFailed,
}

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Damaged => 3,
            Self::Locked => 4,
            Self::DiskFailed => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// A failed command: the exit code, the error with its causes, and what to do.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    error: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
struct StdoutError {
    #[source]
    cause: io::Error,
}

impl Failure {
    pub fn new(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit, error: error.into(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A failed write to standard output. A reader that went away, as `head` does, has what it wanted: that is a
    /// success, and the command ends quietly.
    pub fn of_stdout(cause: io::Error) -> Self {
        let exit = if cause.kind() == io::ErrorKind::BrokenPipe { Exit::Fine } else { Exit::Failed };
        Self::new(exit, StdoutError { cause })
    }

    /// Prints the failure once and gives the exit code.
    pub fn report(&self) -> ExitCode {
        if self.exit != Exit::Fine {
            eprint!("{}", self.text());
        }
        self.exit.into()
    }

    fn text(&self) -> String {
        let mut text = format!("error: {}\n", self.error);
        let mut cause = self.error.source();
        while let Some(error) = cause {
            text.push_str(&format!("caused by: {error}\n"));
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
        text
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let hint = error.hint();
        Self::new(Exit::Usage, error).hint(hint)
    }
}

impl From<NonLoopbackWithoutToken> for Failure {
    fn from(error: NonLoopbackWithoutToken) -> Self {
        Self::new(Exit::Usage, error).hint(NonLoopbackWithoutToken::HINT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_causes_and_hint_stand_on_lines_of_their_own() {
        let cause = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let failure = Failure::from(ConfigError::Read { path: "x.toml".into(), cause });
        assert_eq!(
            failure.text(),
            "error: cannot read the configuration file x.toml\ncaused by: no such file\n\
             hint: check the path after --config, and that this user may read the file\n"
        );
        assert_eq!(failure.exit.code(), 2);
    }

    #[test]
    fn a_broken_pipe_is_a_success_and_another_failed_write_is_not() {
        for (kind, exit) in
            [(io::ErrorKind::BrokenPipe, Exit::Fine), (io::ErrorKind::StorageFull, Exit::Failed)]
        {
            assert_eq!(Failure::of_stdout(kind.into()).exit, exit);
        }
    }
}
