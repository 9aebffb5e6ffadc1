//! The URL below which a server's routes lie.

use hyper::Uri;
use hyper::http::uri::{PathAndQuery, Scheme};

/// A server's base URL: `http://HOST[:PORT][/PREFIX]`, or the same with `https`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Whether TLS is spoken.
    secure: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    authority: String,
    /// Without its last slash.
    prefix: String,
}

/// Why a URL is no server's.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// Not a URL, or with a part that a base does not have.
    #[error("{url} is not a server's URL: {reason}")]
    Invalid {
        /// As given.
        url: String,
        /// What is wrong.
        reason: &'static str,
    },
}

impl BaseError {
    /// What to do.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "write it as http://HOST:PORT, for example http://127.0.0.1:7070",
        }
    }
}

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

impl Base {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`BaseError`].
    pub fn parse(url: &str) -> Result<Self, BaseError> {
        let invalid = |reason| BaseError::Invalid { url: url.to_owned(), reason };
        let uri: Uri = url.trim().parse().map_err(|_| invalid("it cannot be read"))?;
        let secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(_) => return Err(invalid("its scheme is neither http nor https")),
            None => return Err(invalid("it does not begin with http://")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("it holds a user; tokens are given with --token or GESTA_TOKEN"));
        }
        if uri.query().is_some() {
            return Err(invalid("it has a query"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(invalid("it names no host"));
        }
        Ok(Self {
            secure,
            host,
            port: authority.port_u16().unwrap_or(if secure { HTTPS_PORT } else { HTTP_PORT }),
            authority: authority.as_str().to_owned(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Host and port, for the system's resolver.
    #[must_use]
    pub fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Whether TLS is spoken.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// As in the header `Host`.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The target of a request for `path`, which is ASCII, begins with a slash, and may have a query.
    #[must_use]
    pub(super) fn target(&self, path: &str) -> Uri {
        let target: PathAndQuery =
            format!("{}{path}", self.prefix).parse().expect("paths of our own making are encoded");
        target.into()
    }
}

impl std::fmt::Display for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.prefix)
    }
}

/// `text` as a part of a path or the value of a query, percent-encoded.
#[must_use]
pub fn query_text(text: &str) -> String {
    let mut encoded = String::new();
    encode(&mut encoded, text);
    encoded
}

/// Appends `text` to a query, percent-encoded.
pub(super) fn encode(query: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                query.push(char::from(byte))
            }
            _ => query.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, address: (&str, u16), target: &str) {
        let base = Base::parse(url).unwrap();
        assert_eq!(base.address(), address);
        assert_eq!(base.target("/tail?since=1"), target);
    }

    #[test]
    fn a_base_has_a_host_perhaps_a_port_and_perhaps_a_prefix() {
        check("http://127.0.0.1:7070", ("127.0.0.1", 7070), "/tail?since=1");
        check("http://localhost/", ("localhost", 80), "/tail?since=1");
        check("http://[::1]:9", ("::1", 9), "/tail?since=1");
        check("http://h:1/gesta/", ("h", 1), "/gesta/tail?since=1");
        check("https://h", ("h", 443), "/tail?since=1");
    }

    #[test]
    fn what_is_no_servers_url_is_refused() {
        for url in ["", "h:1", "127.0.0.1:7070", "ftp://h", "http://u:p@h", "http://h?x=1", "http://"] {
            assert!(matches!(Base::parse(url), Err(BaseError::Invalid { .. })), "{url}");
        }
    }

    #[test]
    fn a_base_is_shown_as_it_was_given() {
        for url in ["http://h:1", "https://h/gesta"] {
            let base = Base::parse(url).unwrap();
            assert_eq!((base.to_string().as_str(), base.is_secure()), (url, url.starts_with("https")));
        }
    }

    #[test]
    fn everything_but_unreserved_characters_is_encoded() {
        let mut query = String::new();
        encode(&mut query, "a-Z_0.~ &=/ä");
        assert_eq!(query, "a-Z_0.~%20%26%3D%2F%C3%A4");
    }
}
