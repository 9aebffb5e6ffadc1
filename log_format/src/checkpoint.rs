//! Checkpoints: the head of the tree, as the log signs it.
//!
//! The form is C2SP's tlog-checkpoint (<https://c2sp.org/tlog-checkpoint>): the text of a signed note. Invariant: what
//! [`Checkpoint::parse`] accepts, [`Checkpoint::text`] writes again byte for byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::note::{Note, NoteError, PublicKey, SecretKey, VerifyError};
use crate::tree::Hash;

#[cfg(test)]
mod tests;

/// The name of the file with the newest checkpoint, below the data directory.
pub const FILE: &str = "checkpoint";

/// The head of a log's tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Leaves in the tree.
    pub size: u64,
    /// The root of the tree.
    pub root: Hash,
    /// Further lines, without meaning here and never written by Gesta, but signed with the rest.
    pub extensions: Vec<String>,
}

/// Why a text is no checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CheckpointError {
    /// There are fewer than three lines, or the last does not end.
    #[error("a checkpoint has at least three lines: origin, size, root")]
    Lines,
    /// An origin or an extension is empty.
    #[error("line {line} of the checkpoint is empty")]
    Empty {
        /// Which, from 1.
        line: usize,
    },
    /// The second line is not a decimal number in its one spelling.
    #[error("the checkpoint's second line is not a size")]
    Size,
    /// The third line is not base64 of 32 bytes.
    #[error("the checkpoint's third line is not a root hash")]
    Root,
}

/// Why a signed checkpoint is not to be believed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// It is no note.
    #[error("not a signed note")]
    Note(#[from] NoteError),
    /// Nobody known has signed it.
    #[error("the checkpoint cannot be trusted")]
    Untrusted(#[from] VerifyError),
    /// The note's text is no checkpoint.
    #[error("the note is not a checkpoint")]
    Checkpoint(#[from] CheckpointError),
}

impl Checkpoint {
    /// Reads the text of a checkpoint's note.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let lines: Vec<_> = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?.split('\n').collect();
        let [origin, size, root, extensions @ ..] = &lines[..] else { return Err(CheckpointError::Lines) };
        if let Some(nth) = lines.iter().position(|line| line.is_empty()) {
            return Err(CheckpointError::Empty { line: nth + 1 });
        }
        let number = size.parse::<u64>().ok().filter(|number| number.to_string() == **size);
        let hash = STANDARD.decode(root).ok().and_then(|bytes| bytes.try_into().ok());
        Ok(Self {
            origin: (*origin).to_owned(),
            size: number.ok_or(CheckpointError::Size)?,
            root: hash.map(Hash).ok_or(CheckpointError::Root)?,
            extensions: extensions.iter().map(|line| (*line).to_owned()).collect(),
        })
    }

    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0));
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// The signed checkpoint.
    ///
    /// # Errors
    /// As [`Note::sign`].
    pub fn sign(&self, keys: &[&SecretKey]) -> Result<Note, NoteError> {
        Note::sign(self.text(), keys)
    }

    /// Reads a signed checkpoint and verifies it. Whether it is of the log that was meant is its origin's to say.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(bytes: &[u8], keys: &[PublicKey]) -> Result<Self, OpenError> {
        let note = Note::parse(bytes)?;
        note.verify(keys)?;
        Ok(Self::parse(note.text())?)
    }
}
