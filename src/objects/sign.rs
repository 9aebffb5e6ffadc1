//! Signed queries: `expires`, `session_token` and `signature`, for one method and one path.
//!
//! The server keeps no credential. The secret of a session is an HMAC of its token under the server's key, so it can be
//! computed again from any request that names the token; a token that was changed has another secret. README, "Objects",
//! says it for clients.

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use gesta_log_format::hex;

use super::session::Session;
use crate::problem::{Problem, ReasonCode};

/// What the text that is signed begins with: the version of these rules.
const RULES: &str = "GESTA-OBJECTS-1";

/// What a secret is derived from besides the token.
const SECRET: &[u8] = b"gesta-objects-secret-1\0";

/// Digits of an HMAC-SHA-256.
const SIGNATURE_DIGITS: usize = 64;

/// The key of all credentials. `Debug` does not show it.
pub(super) struct Signer(hmac::Key);

/// A session with its secret.
pub(super) struct Credential {
    pub(super) session_token: String,
    /// 64 hex digits, whose text is the key.
    pub(super) secret: String,
}

/// Why a query does not open its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the query is not expires, session_token and signature, each once")]
    Malformed,
    #[error("it is not the signature of this method, path, expiry and session")]
    Signature,
    #[error("the signature has expired")]
    Expired,
    #[error("the signature would outlive its session")]
    OutlivesSession,
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::new(ReasonCode::BadSignature).detail(format!("Refused: {fault}."))
    }
}

/// The query of a signed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Query<'a> {
    expires: u64,
    session_token: &'a str,
    signature: &'a str,
}

impl<'a> Query<'a> {
    /// Nothing in it needs an escape, so none is understood.
    fn parse(query: &'a str) -> Option<Self> {
        let (mut expires, mut session_token, mut signature) = (None, None, None);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=')?;
            let place = match name {
                "expires" => &mut expires,
                "session_token" => &mut session_token,
                "signature" => &mut signature,
                _ => return None,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        let digits = expires?;
        let is_plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self {
            expires: digits.parse().ok().filter(|_| is_plain)?,
            session_token: session_token?,
            signature: signature.filter(|signature| signature.len() == SIGNATURE_DIGITS)?,
        })
    }
}

impl Signer {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, secret))
    }

    pub(super) fn issue(&self, session: &Session) -> Credential {
        self.credential(session.token())
    }

    fn credential(&self, session_token: String) -> Credential {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(SECRET);
        context.update(session_token.as_bytes());
        Credential { secret: hex::text(context.sign().as_ref()), session_token }
    }

    /// The session of a request whose signature holds at `now`, in seconds since 1970. HEAD is signed as GET.
    ///
    /// # Errors
    /// [`Fault`].
    pub(super) fn check(
        &self,
        method: &str,
        path: &str,
        query: Option<&str>,
        now: u64,
    ) -> Result<Session, Fault> {
        let query = query.and_then(Query::parse).ok_or(Fault::Malformed)?;
        let method = if method == "HEAD" { "GET" } else { method };
        let credential = self.credential(query.session_token.to_owned());
        let signature: [u8; 32] = hex::read(query.signature.as_bytes()).ok_or(Fault::Malformed)?;
        let text = text(method, path, query.expires, query.session_token);
        hmac::verify(&credential.key(), text.as_bytes(), &signature).map_err(|_differs| Fault::Signature)?;
        let session = Session::parse(query.session_token).ok_or(Fault::Signature)?;
        if query.expires > session.exp {
            return Err(Fault::OutlivesSession);
        }
        if query.expires <= now {
            return Err(Fault::Expired);
        }
        Ok(session)
    }
}

impl Credential {
    /// The query that opens one path for one method, as any client computes it.
    pub(super) fn sign(&self, method: &str, path: &str, expires: u64) -> String {
        let text = text(method, path, expires, &self.session_token);
        let signature = hmac::sign(&self.key(), text.as_bytes());
        format!(
            "expires={expires}&session_token={}&signature={}",
            self.session_token,
            hex::text(signature.as_ref())
        )
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(HMAC_SHA256, self.secret.as_bytes())
    }
}

/// None of the parts holds a line feed.
fn text(method: &str, path: &str, expires: u64, session_token: &str) -> String {
    format!("{RULES}\n{method}\n{path}\n{expires}\n{session_token}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Prefixes;
    use crate::objects::session::Grant;

    const NOW: u64 = 1_700_000_000;
    const PATH: &str = "/objects/bucket/a/b";

    fn session(exp: u64) -> Session {
        let grant = Grant::Task {
            org_id: "default".to_owned(),
            task_id: "T".to_owned(),
            attempt: 1,
            s3: Prefixes::default(),
        };
        Session { id: "01JD000000000000000000000A".to_owned(), exp, grant }
    }

    fn signer() -> Signer {
        Signer::new(&[1; 32])
    }

    #[test]
    fn a_signature_opens_its_method_and_path_until_it_expires() {
        let session = session(NOW + 60);
        let query = signer().issue(&session).sign("GET", PATH, NOW + 10);
        assert_eq!(signer().check("GET", PATH, Some(&query), NOW).as_ref(), Ok(&session));
        assert_eq!(signer().check("HEAD", PATH, Some(&query), NOW + 9), Ok(session));
        for (method, path, now, fault) in [
            ("PUT", PATH, NOW, Fault::Signature),
            ("GET", "/objects/bucket/a/c", NOW, Fault::Signature),
            ("GET", "/objects/bucket/a/b/", NOW, Fault::Signature),
            ("GET", PATH, NOW + 10, Fault::Expired),
        ] {
            assert_eq!(signer().check(method, path, Some(&query), now), Err(fault), "{method} {path}");
        }
        assert_eq!(Signer::new(&[2; 32]).check("GET", PATH, Some(&query), NOW), Err(Fault::Signature));
    }

    #[test]
    fn a_signature_does_not_outlive_its_session() {
        let query = signer().issue(&session(NOW + 60)).sign("GET", PATH, NOW + 61);
        assert_eq!(signer().check("GET", PATH, Some(&query), NOW), Err(Fault::OutlivesSession));
    }

    #[test]
    fn whatever_is_changed_in_a_query_closes_the_path() {
        let query = signer().issue(&session(NOW + 60)).sign("GET", PATH, NOW + 10);
        for nth in 0..query.len() {
            let mut changed = query.clone().into_bytes();
            changed[nth] ^= 1;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            assert!(signer().check("GET", PATH, Some(&changed), NOW).is_err(), "{changed}");
        }
        let other = signer().issue(&session(NOW + 6000)).session_token;
        let own = signer().issue(&session(NOW + 60)).session_token;
        assert_eq!(
            signer().check("GET", PATH, Some(&query.replace(&own, &other)), NOW),
            Err(Fault::Signature)
        );
    }

    #[test]
    fn a_query_is_read_in_one_way_only() {
        let query = signer().issue(&session(NOW + 60)).sign("GET", PATH, NOW + 10);
        let changes = [
            String::new(),
            format!("{query}&"),
            format!("{query}&x=1"),
            format!("{query}&expires={}", NOW + 10),
            query.replace("expires=", "expires=0"),
            query.replace("expires=", "expires=+"),
            query.replace("expires", "%65xpires"),
            query.replace("&signature", "&Signature"),
            query.to_uppercase(),
        ];
        for changed in changes {
            assert!(signer().check("GET", PATH, Some(&changed), NOW).is_err(), "{changed}");
        }
        assert_eq!(signer().check("GET", PATH, None, NOW), Err(Fault::Malformed));
    }

    #[test]
    fn a_signature_is_that_of_the_written_rule() {
        // By Python's hmac module, as README, "Objects", says it.
        let credential = Credential { session_token: "token".to_owned(), secret: "secret".to_owned() };
        assert_eq!(
            credential.sign("PUT", PATH, 1_700_000_060),
            "expires=1700000060&session_token=token&signature=84e1d3d092b845eac5bb768708ad5bf31cee8c510252b82a4f8047211bd9df55"
        );
        assert_eq!(
            signer().credential("token".to_owned()).secret,
            "fc342b015a1d6649733052c3364f03a17082bc2cfe5ae726eb5adb786d9e74a9"
        );
    }
}
