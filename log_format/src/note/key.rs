//! The keys that sign notes, and how they are written.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::hex;

/// The type byte of Ed25519 in key ids and written keys.
const ED25519: u8 = 1;

/// What a written secret key begins with.
const SECRET_PREFIX: &str = "PRIVATE+KEY+";

/// The first four bytes of SHA-256 over a key's name, a line feed, its type and the public key: it names the key, and
/// proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl KeyId {
    fn of(name: &str, key: &VerifyingKey) -> Self {
        let hash = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', ED25519])
            .chain_update(key.as_bytes())
            .finalize();
        let hash: [u8; 32] = hash.into();
        let [a, b, c, d, ..] = hash;
        Self([a, b, c, d])
    }
}

impl fmt::Display for KeyId {
    /// Eight lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::text(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// A name is empty, or holds a space, a plus or a control character.
    #[error("a key's name has at least one character, and no space, plus or control character")]
    Name,
    /// The parts are not there, or not in their encoding.
    #[error("a {form} is written {written}")]
    Form {
        /// `public key` or `secret key`.
        form: &'static str,
        /// How it is written.
        written: &'static str,
    },
    /// The id belongs to another name or key.
    #[error("the key's id is {computed}, and {written} is written: the name or the key was changed")]
    Id {
        /// What follows from name and key.
        computed: KeyId,
        /// What is written.
        written: KeyId,
    },
    /// The key is of another kind.
    #[error("only Ed25519 keys (type 1) are known, not type {0}")]
    Kind(u8),
    /// The bytes are no point of the curve, or one under which anything verifies.
    #[error("the bytes are not a usable Ed25519 key")]
    Unusable,
}

const PUBLIC_FORM: KeyError = KeyError::Form { form: "public key", written: "name+8 hex digits+base64" };
const SECRET_FORM: KeyError =
    KeyError::Form { form: "secret key", written: "PRIVATE+KEY+name+8 hex digits+base64" };

/// A key that verifies, with its name.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    id: KeyId,
    key: VerifyingKey,
}

impl PublicKey {
    /// Reads `name+id+base64(0x01 ‖ 32 bytes)`.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let Written { name, id, key } = parts(text).ok_or(PUBLIC_FORM)?;
        let key = VerifyingKey::from_bytes(&key?).map_err(|_| KeyError::Unusable)?;
        Self::new(name, key)?.with_written(id)
    }

    fn new(name: &str, key: VerifyingKey) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError::Name);
        }
        if key.is_weak() {
            return Err(KeyError::Unusable);
        }
        Ok(Self { name: name.to_owned(), id: KeyId::of(name, &key), key })
    }

    fn with_written(self, written: KeyId) -> Result<Self, KeyError> {
        if self.id == written { Ok(self) } else { Err(KeyError::Id { computed: self.id, written }) }
    }

    /// The name: of a log's key its origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The 32 bytes of RFC 8032.
    #[must_use]
    pub fn bytes(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Whether the signature over the message is this key's, by the strict rules: no second encoding of a signature and
    /// no key of small order passes.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = ed25519_dalek::Signature::from_slice(signature);
        signature.is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, self.id, encoded(self.key.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that signs. Neither `Debug` nor `Display` shows it.
pub struct SecretKey {
    public: PublicKey,
    key: SigningKey,
}

impl SecretKey {
    /// The key that follows from 32 random bytes.
    ///
    /// # Errors
    /// [`KeyError::Name`].
    pub fn new(name: &str, seed: [u8; 32]) -> Result<Self, KeyError> {
        let key = SigningKey::from_bytes(&seed);
        Ok(Self { public: PublicKey::new(name, key.verifying_key())?, key })
    }

    /// Reads `PRIVATE+KEY+name+id+base64(0x01 ‖ 32 bytes)`.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let written = text.strip_prefix(SECRET_PREFIX).and_then(parts).ok_or(SECRET_FORM)?;
        let Self { public, key } = Self::new(written.name, written.key?)?;
        Ok(Self { public: public.with_written(written.id)?, key })
    }

    /// The text that [`SecretKey::parse`] reads: whoever has it signs in this key's name.
    #[must_use]
    pub fn secret_text(&self) -> String {
        let (name, id) = (self.public.name(), self.public.id());
        format!("{SECRET_PREFIX}{name}+{id}+{}", encoded(self.key.as_bytes()))
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public)
    }
}

/// Whether a key may have this name.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// The parts of `name+id+base64(kind ‖ key)`.
struct Written<'t> {
    name: &'t str,
    id: KeyId,
    key: Result<[u8; 32], KeyError>,
}

/// `None` where the parts are not there, or not in their encoding.
fn parts(text: &str) -> Option<Written<'_>> {
    let mut parts = text.splitn(3, '+');
    let name = parts.next()?;
    let id = KeyId(hex::read(parts.next()?.as_bytes())?);
    let bytes = STANDARD.decode(parts.next()?).ok()?;
    let (&kind, key) = bytes.split_first()?;
    let key = if kind == ED25519 { Ok(key.try_into().ok()?) } else { Err(KeyError::Kind(kind)) };
    Some(Written { name, id, key })
}

fn encoded(key: &[u8; 32]) -> String {
    STANDARD.encode([&[ED25519], &key[..]].concat())
}
