//! The demo's words, on standard output, with colour where that is a terminal.

use std::io::{IsTerminal as _, Write as _};

use crate::cli::Failure;

pub(super) struct Say {
    colour: bool,
    step: u32,
}

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const RED: &str = "31";

impl Say {
    pub(super) fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colour: wanted && std::io::stdout().is_terminal(), step: 0 }
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// # Errors
    /// A failed write, as all that follow.
    pub(super) fn plain(&self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(Failure::of_stdout)
    }

    pub(super) fn title(&self, text: &str) -> Result<(), Failure> {
        self.plain(&format!("\n{}", self.paint(BOLD, text)))
    }

    /// What is done next.
    pub(super) fn step(&mut self, text: &str) -> Result<(), Failure> {
        self.step += 1;
        self.title(&format!("{}. {text}", self.step))
    }

    /// What somebody would type, or a server would say.
    pub(super) fn detail(&self, text: &str) -> Result<(), Failure> {
        self.plain(&format!("   {}", self.paint(DIM, text)))
    }

    /// As [`Say::detail`], but for something that went down.
    pub(super) fn blow(&self, text: &str) -> Result<(), Failure> {
        self.plain(&format!("   {}", self.paint(RED, text)))
    }

    /// What was just checked.
    pub(super) fn proved(&self, text: &str) -> Result<(), Failure> {
        self.plain(&format!("   {} {text}", self.paint(GREEN, "✓")))
    }
}
