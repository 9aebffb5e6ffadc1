//! Why a command could not do what was asked. What a log is found to be is no failure but a verdict.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

/// The exit code of wrong usage and of what cannot be read or written.
pub(super) const USAGE: u8 = 4;

/// An error with its causes, and what to do.
#[derive(Debug)]
pub(super) struct Failure {
    error: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
    quiet: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}", path.display())]
struct Cannot {
    doing: &'static str,
    path: PathBuf,
    #[source]
    cause: io::Error,
}

impl Failure {
    pub(super) fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { error: error.into(), hint: None, quiet: false }
    }

    pub(super) fn cannot(doing: &'static str, path: &Path, cause: io::Error) -> Self {
        Self::new(Cannot { doing, path: path.to_owned(), cause })
    }

    /// A failed write to standard output. A reader that went away, as `head` does, has what it wanted.
    pub(super) fn of_stdout(cause: io::Error) -> Self {
        let quiet = cause.kind() == io::ErrorKind::BrokenPipe;
        Self { quiet, ..Self::cannot("write to", Path::new("standard output"), cause) }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints the failure and gives the exit code.
    pub(super) fn report(&self) -> u8 {
        if self.quiet {
            return 0;
        }
        eprint!("{}", self.text());
        USAGE
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_causes_and_hint_stand_on_lines_of_their_own() {
        let cause = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let failure = Failure::cannot("open", Path::new("x.log"), cause).hint("check the path");
        assert_eq!(
            failure.text(),
            "error: cannot open x.log\ncaused by: no such file\nhint: check the path\n"
        );
    }
}
