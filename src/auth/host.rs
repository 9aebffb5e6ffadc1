//! The Host header of a server that asks for no token. A page of a foreign site can make its own name resolve to
//! 127.0.0.1 (DNS rebinding) and then call as if from the same site, but it cannot change the name that it calls.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::{HeaderMap, Uri};

/// Whether the request names this machine by a loopback name: `localhost`, a name under it, or a loopback address. A
/// request without a name does not.
pub fn names_loopback(headers: &HeaderMap, uri: &Uri) -> bool {
    let mut named = uri.authority().is_some();
    if uri.authority().is_some_and(|authority| !is_loopback(authority.host())) {
        return false;
    }
    for value in headers.get_all(HOST) {
        named = true;
        if !value.to_str().is_ok_and(|host| is_loopback(without_port(host))) {
            return false;
        }
    }
    named
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        Some(_) | None => host,
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => {
            let name = bare.strip_suffix('.').unwrap_or(bare);
            let start = name.len().saturating_sub("localhost".len());
            let ending = name.get(start..).unwrap_or_default();
            let before = name.get(..start).unwrap_or_default();
            ending.eq_ignore_ascii_case("localhost") && (before.is_empty() || before.ends_with('.'))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(host: &'static str, expected: bool) {
        let headers: HeaderMap = [(HOST, HeaderValue::from_static(host))].into_iter().collect();
        assert_eq!(names_loopback(&headers, &Uri::from_static("/tail")), expected, "{host}");
    }

    #[test]
    fn a_loopback_name_with_or_without_port_is_one() {
        for host in
            ["localhost", "LocalHost:7070", "localhost.:1", "a.localhost", "127.0.0.1:7070", "127.9.9.9"]
        {
            check(host, true);
        }
        for host in ["[::1]", "[::1]:7070", "[::ffff:127.0.0.1]:80"] {
            check(host, true);
        }
    }

    #[test]
    fn any_other_name_is_none() {
        for host in
            ["", "evil.example", "evil.example:7070", "localhost.evil.example", "xlocalhost", "10.0.0.1"]
        {
            check(host, false);
        }
        for host in ["127.0.0.1.evil.example", "[::2]:1", "::1:x", "0.0.0.0", "1localhost:80"] {
            check(host, false);
        }
    }

    #[test]
    fn the_authority_of_http2_counts_like_the_header() {
        let none = HeaderMap::new();
        assert!(names_loopback(&none, &Uri::from_static("http://localhost:7070/tail")));
        assert!(!names_loopback(&none, &Uri::from_static("http://evil.example/tail")));
        assert!(!names_loopback(&none, &Uri::from_static("/tail")));
        let both: HeaderMap = [(HOST, HeaderValue::from_static("localhost"))].into_iter().collect();
        assert!(!names_loopback(&both, &Uri::from_static("http://evil.example/tail")));
    }
}
