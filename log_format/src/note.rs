//! Signed notes: a text, and under it the signatures of whoever vouches for it.
//!
//! The form is C2SP's signed-note (<https://c2sp.org/signed-note>), with Ed25519 signatures alone. This module reads,
//! signs and verifies; it keeps no keys and draws no random numbers. Invariant: what [`Note::parse`] accepts,
//! [`Note::encode`] writes again byte for byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

mod key;

#[cfg(test)]
mod tests;

pub use key::{KeyError, KeyId, PublicKey, SecretKey};

/// The most bytes that a note may have.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;

/// The most signatures that a note may have; the specification asks for 16 at least.
pub const SIGNATURES_MAX: usize = 100;

/// What a signature's line begins with: an em dash and a space.
const LINE_START: &str = "— ";

/// One line below a note's text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    name: String,
    id: KeyId,
    /// What the key made of the text: 64 bytes for Ed25519, any number above 0 for other kinds of keys.
    bytes: Vec<u8>,
}

impl Signature {
    /// The name of the key that is said to have signed.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which of the keys of that name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(LINE_START)?.split_once(' ')?;
        let decoded = STANDARD.decode(encoded).ok()?;
        let (id, bytes) = decoded.split_first_chunk::<4>()?;
        let found = Self { name: name.to_owned(), id: KeyId(*id), bytes: bytes.to_vec() };
        (key::is_name(name) && !bytes.is_empty()).then_some(found)
    }

    fn push(&self, out: &mut String) {
        out.push_str(LINE_START);
        out.push_str(&self.name);
        out.push(' ');
        STANDARD.encode_string([&self.id.0, &self.bytes[..]].concat(), out);
        out.push('\n');
    }
}

/// A text with signatures. That it could be read says nothing about them: see [`Note::verify`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// Why bytes are no note.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoteError {
    /// It has more than [`NOTE_BYTES_MAX`] bytes.
    #[error("a note has at most {NOTE_BYTES_MAX} bytes")]
    TooLong,
    /// It is not UTF-8, or holds a control character other than the line feed.
    #[error("a note is UTF-8 text without control characters but the line feed")]
    NotText,
    /// There is no text that ends with a line feed.
    #[error("a note's text ends with a line feed")]
    NoText,
    /// No empty line stands between text and signatures.
    #[error("an empty line stands between a note's text and its signatures")]
    NoSignatures,
    /// A line below the text is not one of a signature.
    #[error("line {line} below the note's text is not a signature")]
    Signature {
        /// Which line, from 1.
        line: usize,
    },
    /// It has more than [`SIGNATURES_MAX`] signatures.
    #[error("a note has at most {SIGNATURES_MAX} signatures")]
    TooManySignatures,
}

/// Why a note is not to be believed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VerifyError {
    /// No known key has signed it.
    #[error("none of the known keys has signed the note: it is signed by {found}")]
    Unknown {
        /// Names and ids of the keys that are said to have signed.
        found: String,
    },
    /// The signature of a known key does not hold: the text or the signature was changed.
    #[error("the signature of {name}+{id} does not hold")]
    Wrong {
        /// The key's name.
        name: String,
        /// The key's id.
        id: KeyId,
    },
}

impl Note {
    /// Signs a text with each of the keys, in their order.
    ///
    /// # Errors
    /// [`NoteError::NotText`] and [`NoteError::NoText`] where the text cannot be that of a note,
    /// [`NoteError::NoSignatures`] without a key.
    pub fn sign(text: String, keys: &[&SecretKey]) -> Result<Self, NoteError> {
        check_text(&text)?;
        let signatures: Vec<_> = keys
            .iter()
            .map(|key| Signature {
                name: key.public().name().to_owned(),
                id: key.public().id(),
                bytes: key.sign(text.as_bytes()).to_vec(),
            })
            .collect();
        if signatures.is_empty() { Err(NoteError::NoSignatures) } else { Ok(Self { text, signatures }) }
    }

    /// Reads a note. Its text ends at the last empty line.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong);
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::NotText)?;
        let split = note.rfind("\n\n").ok_or(NoteError::NoSignatures)?;
        let (text, below) = note.split_at_checked(split + 1).ok_or(NoteError::NoText)?;
        check_text(text)?;
        check_text(below)?;
        let lines = below.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n'));
        let lines = lines.filter(|lines| !lines.is_empty()).ok_or(NoteError::NoSignatures)?;
        let mut signatures = Vec::new();
        for (nth, line) in lines.split('\n').enumerate() {
            if nth == SIGNATURES_MAX {
                return Err(NoteError::TooManySignatures);
            }
            signatures.push(Signature::parse(line).ok_or(NoteError::Signature { line: nth + 1 })?);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The text, its last line feed included.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Who is said to have signed it, in the order of the lines.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The note as it is written.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = format!("{}\n", self.text);
        self.signatures.iter().for_each(|signature| signature.push(&mut out));
        out
    }

    /// The known keys that have signed the text, at least one. Signatures of unknown keys are passed over, also where
    /// they share a name or an id, but not both, with a known one.
    ///
    /// # Errors
    /// [`VerifyError`]: one signature of a known key that does not hold is enough to refuse the note.
    pub fn verify<'k>(&self, keys: &'k [PublicKey]) -> Result<Vec<&'k PublicKey>, VerifyError> {
        let mut signed = Vec::new();
        for signature in &self.signatures {
            let known = keys.iter().find(|key| key.name() == signature.name && key.id() == signature.id);
            let Some(key) = known else { continue };
            if !key.verify(self.text.as_bytes(), &signature.bytes) {
                return Err(VerifyError::Wrong { name: signature.name.clone(), id: signature.id });
            }
            signed.push(key);
        }
        if signed.is_empty() {
            let named: Vec<_> = self.signatures.iter().map(|s| format!("{}+{}", s.name, s.id)).collect();
            return Err(VerifyError::Unknown { found: named.join(", ") });
        }
        Ok(signed)
    }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if text.chars().any(|c| c < ' ' && c != '\n') {
        return Err(NoteError::NotText);
    }
    if text.ends_with('\n') { Ok(()) } else { Err(NoteError::NoText) }
}
