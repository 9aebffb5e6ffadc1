//! Where a handler's tasks are posted: a URL, read in one way only.
//!
//! What is compared with the list of allowed hosts, what is resolved and what is called are the same parts of it. So
//! nothing is decoded, guessed or completed: a name that could also be read as a number is no name, an address is
//! written as it is shown, and whatever else a URL may hold that is not needed here is refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::Uri;

/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// Longest name of a host, in bytes: RFC 1035, 2.3.4.
const NAME_BYTES_MAX: usize = 253;

/// Longest label of one, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// How a target is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// TLS.
    Https,
    /// Plain, on this machine.
    Http,
}

impl Scheme {
    const fn port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
        }
    }
}

/// A machine, as a URL names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Name {
    /// In lower case.
    Dns(String),
    Ip(IpAddr),
}

/// A machine and a port of it. Its text is `name:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Host {
    pub(crate) name: Name,
    pub(crate) port: u16,
}

/// A URL that may be called, if its host may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    pub(crate) host: Host,
    /// What the request line says.
    pub(crate) path_and_query: String,
}

/// Why a text is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("it is no URL of at most {URL_BYTES_MAX} visible ASCII characters")]
    Url,
    #[error("its scheme is not https: http is for loopback alone")]
    Scheme,
    #[error("it holds a user or a password")]
    User,
    #[error("it holds a fragment")]
    Fragment,
    #[error("its host is neither a name nor an address as it is shown, such as 192.0.2.1 or [2001:db8::1]")]
    Host,
    #[error("its port is not a number from 1 to 65535")]
    Port,
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`Fault`].
    pub(crate) fn parse(url: &str) -> Result<Self, Fault> {
        let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte));
        if !is_plain || url.len() > URL_BYTES_MAX {
            return Err(Fault::Url);
        }
        if url.contains('#') {
            return Err(Fault::Fragment);
        }
        let uri: Uri = url.parse().map_err(|_invalid| Fault::Url)?;
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            Some(_) | None => return Err(Fault::Scheme),
        };
        let authority = uri.authority().ok_or(Fault::Host)?.as_str();
        if authority.contains('@') {
            return Err(Fault::User);
        }
        let (name, port) = split(authority)?;
        let host = Host { name, port: port.unwrap_or(scheme.port()) };
        let path_and_query = match uri.path_and_query().map_or("/", |path| path.as_str()) {
            // A URL may have a query and no path, and a request may not (RFC 9112, section 3.2.1).
            query if query.starts_with('?') => format!("/{query}"),
            path => path.to_owned(),
        };
        Ok(Self { scheme, host, path_and_query })
    }

    /// What the header `Host` says: the port where it is not the scheme's.
    pub(crate) fn authority(&self) -> String {
        match self.host.port == self.scheme.port() {
            true => self.host.name.to_string(),
            false => self.host.to_string(),
        }
    }
}

/// A host of the configuration: without a port, that of https.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listed(Host);

impl Listed {
    /// Reads `host[:port]`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, port) = split(text).ok()?;
        Some(Self(Host { name, port: port.unwrap_or(Scheme::Https.port()) }))
    }

    pub(crate) fn is(&self, host: &Host) -> bool {
        self.0 == *host
    }
}

/// Name and port of an authority.
fn split(authority: &str) -> Result<(Name, Option<u16>), Fault> {
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        Some(_) | None => (authority, None),
    };
    let port = port.map(|port| number(port).ok_or(Fault::Port)).transpose()?;
    Ok((Name::parse(name).ok_or(Fault::Host)?, port))
}

fn number(port: &str) -> Option<u16> {
    let is_plain = !port.starts_with('0') && port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|_| is_plain)
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return address.parse::<Ipv6Addr>().ok().map(|address| Self::Ip(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Ip(address.into()));
        }
        let name = text.to_ascii_lowercase();
        let labels_fit = name.split('.').all(is_label);
        // A resolver may read a last label that is a number as part of an address, in whatever base.
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_number = last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit());
        (name.len() <= NAME_BYTES_MAX && labels_fit && !is_number).then_some(Self::Dns(name))
    }

    /// Whether it names this machine by itself.
    pub(crate) fn is_loopback(&self) -> bool {
        match self {
            Self::Dns(name) => name == "localhost",
            Self::Ip(address) => super::address::is_loopback(*address),
        }
    }
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(url: &str, fault: Fault) {
        assert_eq!(Target::parse(url), Err(fault), "{url}");
    }

    #[track_caller]
    fn read(url: &str, host: &str, path: &str) {
        let target = Target::parse(url).unwrap();
        assert_eq!((target.host.to_string().as_str(), target.path_and_query.as_str()), (host, path), "{url}");
    }

    #[test]
    fn a_url_is_read_into_what_is_called() {
        read("https://Runner.Example/run?x=1", "runner.example:443", "/run?x=1");
        read("https://runner.example:8443", "runner.example:8443", "/");
        read("https://runner.example?x=1", "runner.example:443", "/?x=1");
        read("http://127.0.0.1:9000/a", "127.0.0.1:9000", "/a");
        read("https://[2001:DB8::0:1]/a", "[2001:db8::1]:443", "/a");
        let target = Target::parse("https://runner.example:8443/").unwrap();
        assert_eq!(target.authority(), "runner.example:8443");
        assert_eq!(Target::parse("https://runner.example:443/").unwrap().authority(), "runner.example");
    }

    #[test]
    fn a_url_that_could_be_read_in_two_ways_is_refused() {
        for url in ["", "/run", "runner.example", "https://", "https:///run", "https:runner.example"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
        for url in ["ftp://a.example/", "file:///etc/passwd", "gopher://a.example/", "ws://a.example/"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
        refused("ftp://a.example/", Fault::Scheme);
        refused("https://user@a.example/", Fault::User);
        refused("https://user:secret@a.example/", Fault::User);
        refused("https://a.example@127.0.0.1/", Fault::User);
        refused("https://a.example/#f", Fault::Fragment);
        refused("https://a.example\\@b.example/", Fault::Url);
        refused("https://a.example/ b", Fault::Url);
        refused("https://a.example/\r\nX: y", Fault::Url);
        refused("https://ä.example/", Fault::Url);
    }

    #[test]
    fn an_address_that_is_not_written_as_it_is_shown_is_no_host() {
        for host in [
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "127.1",
            "127.0.1",
            "0177.0.0.1",
            "127.0.0.01",
            "127.0.0.1.",
            "1.2.3.4.5",
            "a.example.",
            "a..example",
            "-a.example",
            "a-.example",
            "a_b.example",
            "a.0x1",
            "example.1",
            "%31.example",
        ] {
            assert!(Target::parse(&format!("https://{host}/")).is_err(), "{host}");
        }
        refused("https://2130706433/", Fault::Host);
        refused("https://0177.0.0.1/", Fault::Host);
    }

    #[test]
    fn a_port_is_a_plain_number() {
        for port in ["0", "00", "080", "65536", "+1", "", "8443x"] {
            assert!(Target::parse(&format!("https://a.example:{port}/")).is_err(), "{port}");
        }
    }

    #[test]
    fn a_listed_host_is_one_host_and_one_port() {
        let listed = |text: &str, url: &str| {
            Listed::parse(text).is_some_and(|listed| listed.is(&Target::parse(url).unwrap().host))
        };
        assert!(
            listed("a.example", "https://A.example/") && listed("a.example:8443", "https://a.example:8443/")
        );
        assert!(listed("[::1]:9000", "http://[0::1]:9000/") && listed("127.0.0.1:80", "http://127.0.0.1/"));
        for (text, url) in [
            ("a.example", "https://b.a.example/"),
            ("a.example", "https://a.example.b/"),
            ("a.example", "https://a.example:8443/"),
            ("a.example", "http://a.example/"),
            ("a.example:8443", "https://a.example/"),
        ] {
            assert!(!listed(text, url), "{text} {url}");
        }
        for text in
            ["", "*", "*.example", "https://a.example", "a.example/", "u@a.example", "10.0.0.0/8", "a:b"]
        {
            assert_eq!(Listed::parse(text), None, "{text}");
        }
    }
}
