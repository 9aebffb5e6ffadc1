//! One key, its public half, and its name.
//!
//! A key of ES256 is named by the RFC 7638 thumbprint of its public half, so that nobody can give two keys one name. The
//! secret of HS256 has one fixed name: it is shared by hand, and there is one at most.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

/// The `kid` of the configured secret.
pub const HS256_KEY_ID: &str = "hs256";

/// Shortest secret of HS256, in bytes: the length of its digest (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// The two algorithms there are. A key is for one of them, whatever a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Es256,
    Hs256,
}

impl Algorithm {
    /// The name in a token's header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Hs256 => "HS256",
        }
    }

    pub(super) const fn of_crate(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
        }
    }
}

/// Why bytes are no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("it is no PKCS#8 key of the curve P-256 in PEM form")]
    NotP256,
    #[error("a secret of HS256 has at least {SECRET_BYTES_MIN} bytes, and this one has {0}")]
    ShortSecret(usize),
    #[error("the random source failed")]
    Random,
}

/// A key that signs and checks. `Debug` shows its name alone.
pub struct Key {
    id: String,
    algorithm: Algorithm,
    pub(super) signing: EncodingKey,
    pub(super) checking: DecodingKey,
    public: Option<PublicKey>,
}

impl Key {
    /// A key of ES256 from its PKCS#8 document.
    ///
    /// # Errors
    /// [`KeyFault::NotP256`].
    pub fn es256(pkcs8: &[u8]) -> Result<Self, KeyFault> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
            .map_err(|_rejected| KeyFault::NotP256)?;
        let point = pair.public_key().as_ref();
        let public = PublicKey::of_point(point).ok_or(KeyFault::NotP256)?;
        Ok(Self {
            id: public.kid.clone(),
            algorithm: Algorithm::Es256,
            signing: EncodingKey::from_ec_der(pkcs8),
            checking: DecodingKey::from_ec_der(point),
            public: Some(public),
        })
    }

    /// The key of the configured secret.
    ///
    /// # Errors
    /// [`KeyFault::ShortSecret`].
    pub fn hs256(secret: &[u8]) -> Result<Self, KeyFault> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyFault::ShortSecret(secret.len()));
        }
        Ok(Self {
            id: HS256_KEY_ID.to_owned(),
            algorithm: Algorithm::Hs256,
            signing: EncodingKey::from_secret(secret),
            checking: DecodingKey::from_secret(secret),
            public: None,
        })
    }

    /// A new PKCS#8 document of ES256, from the operating system's random source.
    ///
    /// # Errors
    /// [`KeyFault::Random`].
    pub fn generate() -> Result<Vec<u8>, KeyFault> {
        let pair =
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_failed| KeyFault::Random)?;
        let document = pair.to_pkcs8v1().map_err(|_failed| KeyFault::Random)?;
        Ok(document.as_ref().to_vec())
    }

    /// What a token's `kid` names.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// None for a secret.
    pub fn public(&self) -> Option<&PublicKey> {
        self.public.as_ref()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.algorithm.name(), self.id)
    }
}

/// The public half of a key that signs capabilities, as a JSON Web Key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PublicKey {
    /// Always `EC`.
    kty: &'static str,
    /// Always `P-256`.
    crv: &'static str,
    /// Always `ES256`.
    alg: &'static str,
    /// Always `sig`.
    #[serde(rename = "use")]
    purpose: &'static str,
    /// RFC 7638 thumbprint: what a token's header names.
    pub kid: String,
    /// base64url, 32 bytes.
    x: String,
    /// base64url, 32 bytes.
    y: String,
}

impl PublicKey {
    /// From an uncompressed point: 4, x, y.
    fn of_point(point: &[u8]) -> Option<Self> {
        let (x, y) = point.strip_prefix(&[4]).filter(|point| point.len() == 64)?.split_at(32);
        let mut public = Self {
            kty: "EC",
            crv: "P-256",
            alg: "ES256",
            purpose: "sig",
            kid: String::new(),
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
        };
        public.kid = URL_SAFE_NO_PAD.encode(Sha256::digest(public.text()));
        Some(public)
    }

    /// The members that make the key, as canonical JSON: what the thumbprint is of, and what the log keeps.
    pub fn text(&self) -> String {
        format!(r#"{{"crv":"{}","kty":"{}","x":"{}","y":"{}"}}"#, self.crv, self.kty, self.x, self.y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_what_it_is() {
        let pkcs8 = Key::generate().unwrap();
        let (one, again) = (Key::es256(&pkcs8).unwrap(), Key::es256(&pkcs8).unwrap());
        assert_eq!(one.id(), again.id());
        assert_eq!(one.id().len(), 43);
        assert_ne!(one.id(), Key::es256(&Key::generate().unwrap()).unwrap().id());
        assert_eq!(format!("{one:?}"), format!("ES256 {}", one.id()));
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        // The point of RFC 7517, appendix A.1; its thumbprint was computed from RFC 7638's text.
        let x = URL_SAFE_NO_PAD.decode("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4").unwrap();
        let y = URL_SAFE_NO_PAD.decode("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM").unwrap();
        let public = PublicKey::of_point(&[&[4], &x[..], &y[..]].concat()).unwrap();
        assert_eq!(
            public.text(),
            r#"{"crv":"P-256","kty":"EC","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#
        );
        assert_eq!(public.kid, "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bytes in [&b""[..], b"abc", &[4; 65]] {
            assert_eq!(Key::es256(bytes).unwrap_err(), KeyFault::NotP256);
        }
        assert_eq!(Key::hs256(&[7; 31]).unwrap_err(), KeyFault::ShortSecret(31));
    }
}
