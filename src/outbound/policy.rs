//! Which targets may be called: asked when a handler is registered, and again of every call, once its name is resolved.
//!
//! By default none. A host is allowed by name and port; one that resolves to an address of this machine, of its network
//! or of the platform beneath it is refused nevertheless, unless the operator says that it lies there. All addresses of a
//! name have to be fit, and the connection is made to one of those that were judged, never resolved again.

use std::net::{IpAddr, SocketAddr};

use super::address::{is_loopback, is_public};
use super::target::{Fault, Host, Listed, Name, Scheme, Target};

/// What the operator allows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    allowed: Vec<Listed>,
    private: Vec<Listed>,
    insecure_loopback: bool,
}

/// Why a target is not called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Unfit(#[from] Fault),
    #[error(
        "the host {host} is not in push.allow_hosts: add it to the configuration and start the server again"
    )]
    NotListed { host: Host },
    #[error("{host} is spoken to without TLS: say https, or a loopback host and --insecure-loopback")]
    Plain { host: Host },
    #[error(
        "{host} is at {address}, which is not public: if that is meant, add the host to push.allow_private and start the \
         server again"
    )]
    Private { host: Host, address: IpAddr },
    #[error("{host} is at {address}, which is not loopback, and would be spoken to without TLS: say https")]
    PlainElsewhere { host: Host, address: IpAddr },
}

impl Policy {
    /// Of lists that the configuration has checked: what is no host allows none.
    pub(crate) fn new(allow_hosts: &[String], allow_private: &[String], insecure_loopback: bool) -> Self {
        let read = |list: &[String]| list.iter().filter_map(|text| Listed::parse(text)).collect();
        Self { allowed: read(allow_hosts), private: read(allow_private), insecure_loopback }
    }

    /// What a URL names, if it may be called as far as can be said without resolving it.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) fn target(&self, url: &str) -> Result<Target, Refused> {
        let target = Target::parse(url)?;
        if !self.allowed.iter().any(|listed| listed.is(&target.host)) {
            return Err(Refused::NotListed { host: target.host });
        }
        match target.scheme {
            Scheme::Https => {}
            Scheme::Http if self.insecure_loopback && target.host.name.is_loopback() => {}
            Scheme::Http => return Err(Refused::Plain { host: target.host }),
        }
        if let Name::Ip(address) = target.host.name {
            self.judge(&target, address)?;
        }
        Ok(target)
    }

    /// Demands that a target may be called at each of these addresses.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) fn demand(&self, target: &Target, addresses: &[SocketAddr]) -> Result<(), Refused> {
        addresses.iter().try_for_each(|address| self.judge(target, address.ip()))
    }

    fn judge(&self, target: &Target, address: IpAddr) -> Result<(), Refused> {
        let host = || target.host.clone();
        if !is_public(address) && !self.private.iter().any(|listed| listed.is(&target.host)) {
            return Err(Refused::Private { host: host(), address });
        }
        match target.scheme {
            Scheme::Http if !is_loopback(address) => Err(Refused::PlainElsewhere { host: host(), address }),
            Scheme::Http | Scheme::Https => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn policy() -> Policy {
        let allowed =
            ["a.example", "near.example:8443", "localhost:9000", "127.0.0.1:9000", "10.0.0.5", "192.168.0.9"];
        let allowed = [&allowed[..], &["[::ffff:127.0.0.1]"]].concat();
        let private = ["near.example:8443", "localhost:9000", "127.0.0.1:9000", "10.0.0.5", "b.example"];
        Policy::new(&texts(&allowed), &texts(&private), true)
    }

    /// Whether a URL may be called where its name resolves to these addresses.
    fn judged(policy: &Policy, url: &str, addresses: &[&str]) -> Result<(), Refused> {
        let target = policy.target(url)?;
        let addresses: Vec<_> = addresses
            .iter()
            .map(|address| SocketAddr::new(address.parse().unwrap(), target.host.port))
            .collect();
        policy.demand(&target, &addresses)
    }

    #[test]
    fn by_default_nothing_may_be_called() {
        for url in ["https://a.example/", "https://127.0.0.1/", "http://localhost/"] {
            assert!(matches!(judged(&Policy::default(), url, &[]), Err(Refused::NotListed { .. })), "{url}");
        }
    }

    #[test]
    fn a_listed_host_may_be_called_at_public_addresses() {
        assert_eq!(judged(&policy(), "https://a.example/x", &["1.1.1.1", "2606:4700::1111"]), Ok(()));
        assert_eq!(judged(&policy(), "https://near.example:8443/", &["10.1.2.3"]), Ok(()));
        assert_eq!(judged(&policy(), "http://localhost:9000/", &["127.0.0.1", "::1"]), Ok(()));
        assert_eq!(judged(&policy(), "http://127.0.0.1:9000/", &["127.0.0.1"]), Ok(()));
        assert_eq!(judged(&policy(), "https://10.0.0.5/", &["10.0.0.5"]), Ok(()));
    }

    #[test]
    fn each_target_that_leads_elsewhere_is_refused() {
        type Expected = fn(&Refused) -> bool;
        let private: Expected = |refused| matches!(refused, Refused::Private { .. });
        let not_listed: Expected = |refused| matches!(refused, Refused::NotListed { .. });
        let unfit: Expected = |refused| matches!(refused, Refused::Unfit(_));
        let plain: Expected =
            |refused| matches!(refused, Refused::Plain { .. } | Refused::PlainElsewhere { .. });
        let table: &[(&str, &[&str], Expected)] = &[
            ("https://a.example/", &["127.0.0.1"], private),
            ("https://a.example/", &["169.254.169.254"], private),
            ("https://a.example/", &["1.1.1.1", "10.0.0.1"], private),
            ("https://a.example/", &["::ffff:127.0.0.1"], private),
            ("https://a.example/", &["64:ff9b::a00:1"], private),
            ("https://a.example/", &["fd00:ec2::254"], private),
            ("https://192.168.0.9/", &[], private),
            ("https://[::ffff:7f00:1]/", &[], private),
            ("https://a.example:8443/", &[], not_listed),
            ("https://b.example/", &[], not_listed),
            ("https://x.a.example/", &[], not_listed),
            ("https://[::1]/", &[], not_listed),
            ("https://2130706433/", &[], unfit),
            ("https://0x7f000001/", &[], unfit),
            ("https://a.example@10.0.0.5/", &[], unfit),
            ("ftp://a.example/", &[], unfit),
            ("http://near.example:8443/", &[], plain),
            ("http://localhost:9000/", &["10.1.2.3"], plain),
        ];
        for (url, addresses, expected) in table {
            let refused = judged(&policy(), url, addresses).expect_err(url);
            assert!(expected(&refused), "{url} {addresses:?}: {refused}");
        }
    }

    #[test]
    fn plain_http_takes_the_operators_word() {
        let hosts = texts(&["127.0.0.1:9000"]);
        let refused = judged(&Policy::new(&hosts, &hosts, false), "http://127.0.0.1:9000/", &[]);
        assert!(matches!(refused, Err(Refused::Plain { .. })), "{refused:?}");
    }
}
