//! What is wrong with a bundle, for the person who wrote it: file, line, column, remedy.

use std::fmt;

use gesta_log_format::json;
use miette::Diagnostic;

/// One thing that is wrong with a bundle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The path within the bundle; empty for the bundle as a whole.
    pub file: String,
    /// Line and column, both from 1, the column in characters; none where the file as a whole is meant.
    pub place: Option<(usize, usize)>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}:", self.file)?;
            if let Some((line, column)) = self.place {
                write!(f, "{line}:{column}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Fault {
    /// About the file, or, with an empty path, the bundle as a whole.
    pub(super) fn file(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), place: None, message: message.into() }
    }

    /// About what begins at byte `offset` of the file.
    pub(super) fn at(file: &str, text: &str, offset: usize, message: impl Into<String>) -> Self {
        Self { place: Some(place(text, offset)), ..Self::file(file, message) }
    }

    /// What the JSON reader refused.
    pub(super) fn json(file: &str, text: &[u8], error: &json::Error) -> Self {
        let pointer = if error.pointer.is_empty() { "the document's root" } else { &error.pointer };
        let message = format!("{}; at {pointer}", error.kind);
        Self { place: Some(place(&String::from_utf8_lossy(text), error.offset)), ..Self::file(file, message) }
    }

    /// What Cedar says of a file's text.
    pub(super) fn cedar(file: &str, text: &str, found: &dyn Diagnostic) -> Self {
        let label = found.labels().and_then(|mut labels| labels.next());
        let place = label.as_ref().map(|label| place(text, label.offset()));
        Self { place, ..Self::file(file, message(found)) }
    }
}

/// The text of a diagnostic, with what it says about expectations and remedies, on one line.
fn message(found: &dyn Diagnostic) -> String {
    let mut message = found.to_string();
    let label = found.labels().and_then(|mut labels| labels.next());
    if let Some(expected) = label.as_ref().and_then(|label| label.label()) {
        message = format!("{message}: {expected}");
    }
    if let Some(help) = found.help() {
        message = format!("{message} ({help})");
    }
    message.replace('\n', " ")
}

/// Line and column of a byte.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let column = before.get(line_start..).map_or(0, |line| line.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}
