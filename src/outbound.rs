//! Calls to other machines, on behalf of whoever posts something or asks for something there.
//!
//! Everything that leaves goes through here: to hosts that the operator lists, at addresses that were judged, by TLS,
//! bounded in time and size; a host that fails again and again is left alone for a while, whoever calls it. Never follows a
//! redirect and never resolves a name twice. What to make of an answer, and when to call again, is the caller's to know.

mod address;
pub(crate) mod call;
pub(crate) mod circuit;
pub(crate) mod policy;
pub(crate) mod retry;
pub(crate) mod target;
mod tls;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

pub use tls::AuthoritiesError;

use crate::config;
use crate::problem::{Problem, ReasonCode};
use call::{Answer, CallError, Caller, Patience, SystemResolver, is_reached};
use circuit::{Circuits, Tolerance};
use policy::{Policy, Refused};
use target::{Host, Listed, Target};

/// Calls hosts.
pub struct Outbound {
    pub(crate) caller: Caller,
    circuits: Mutex<Circuits>,
    /// Somebody has said how a call ended: a host that one has asked may be asked by others.
    ended: Notify,
    started: Instant,
}

/// A call that its host's circuit lets through; dropping it says that nobody knows how it ended.
pub(crate) struct Begun<'a> {
    outbound: &'a Outbound,
    pub(crate) host: Option<Host>,
}

/// Whether a text is a host as `push.allow_hosts` takes it.
pub(crate) fn is_host(text: &str) -> bool {
    Listed::parse(text).is_some()
}

impl Outbound {
    /// # Errors
    /// [`AuthoritiesError`]: hosts are allowed, and there is nothing to know them by.
    pub fn new(settings: &config::Push, insecure_loopback: bool) -> Result<Arc<Self>, AuthoritiesError> {
        let tls = match settings.allow_hosts.is_empty() {
            true => None,
            false => Some(tls::client(settings.ca_file.as_deref())?),
        };
        let seconds = Duration::from_secs;
        let caller = Caller {
            policy: Policy::new(&settings.allow_hosts, &settings.allow_private, insecure_loopback),
            resolver: Box::new(SystemResolver),
            tls,
            patience: Patience {
                connect: seconds(settings.connect_seconds_max),
                total: seconds(settings.answer_seconds_max),
            },
        };
        let tolerance =
            Tolerance { failures_max: settings.failures_max, open: seconds(settings.open_seconds) };
        let circuits = Mutex::new(Circuits::new(tolerance));
        Ok(Arc::new(Self { caller, circuits, ended: Notify::new(), started: Instant::now() }))
    }

    /// What a URL names, if it may be called as far as can be said without resolving its name.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) fn target(&self, url: &str) -> Result<Target, Refused> {
        self.caller.policy.target(url)
    }

    /// Demands that a handler's URL may be called, as far as can be said without resolving its name.
    ///
    /// # Errors
    /// `INVALID_INPUT` for `/url`, with what to do.
    pub(crate) fn demand_url(&self, url: &str) -> Result<(), Problem> {
        match self.target(url) {
            Ok(_) => Ok(()),
            Err(refused) => Err(Problem::new(ReasonCode::InvalidInput)
                .detail(format!("/url: {refused}."))
                .pointer("/url")),
        }
    }

    pub(crate) fn circuits(&self) -> MutexGuard<'_, Circuits> {
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a host's circuit for a call.
    ///
    /// # Errors
    /// When to ask again, as [`Outbound::now`] tells time.
    pub(crate) fn begin(&self, host: &Host) -> Result<Begun<'_>, Duration> {
        let now = self.now();
        let mut circuits = self.circuits();
        match circuits.begin(host, now) {
            true => Ok(self.begun(Some(host.clone()))),
            false => Err(circuits.until(host, now)),
        }
    }

    /// A call that a circuit has been asked for; without a host none was.
    pub(crate) fn begun(&self, host: Option<Host>) -> Begun<'_> {
        Begun { outbound: self, host }
    }

    /// Waits until a call has ended, whoever made it. For one who waits; an end that came before counts.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Since it was made; never falls.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Begun<'_> {
    /// Says how it ended. True where its host is left alone from now on.
    pub(crate) fn end<T>(mut self, outcome: &Result<Answer<T>, CallError>) -> bool {
        // Whether a host is there, a call that was never made does not say.
        if let Err(CallError::Refused(_)) = outcome {
            return false;
        }
        let Some(host) = self.host.take() else { return false };
        let now = self.outbound.now();
        let opened = self.outbound.circuits().end(&host, is_reached(outcome), now);
        self.outbound.ended.notify_one();
        if opened {
            tracing::warn!(%host, "a host that is called has failed again and again: it is left alone for a while");
        }
        opened
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(host) = self.host.take() {
            let now = self.outbound.now();
            self.outbound.circuits().abandon(&host, now);
            self.outbound.ended.notify_one();
        }
    }
}
