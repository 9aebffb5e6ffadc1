//! The three listeners: which there are, at which address, and whether they speak TLS.
//!
//! The public one serves clients, the task one the code that runs a task, the internal one workers and the platform. The
//! latter two are off unless they are asked for, and never plain but on loopback, and there only if the operator says so.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tracing::{error, info, warn};

use super::run::ServeError;
use super::tls::{Tls, TlsError, TlsFiles};
use crate::auth::Role;
use crate::config::Config;

/// Which listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// `--listen`: everything but the two others' routes.
    Public,
    /// `--listen-task`: `/v1/task/*` and `/objects/*`.
    Task,
    /// `--listen-internal`: `/internal/*`.
    Internal,
}

impl Surface {
    /// As start and log lines name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Task => "task",
            Self::Internal => "internal",
        }
    }

    /// The flag that asks for it.
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Public => "--listen",
            Self::Task => "--listen-task",
            Self::Internal => "--listen-internal",
        }
    }
}

/// Why a listener cannot be as it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ListenersError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{flag} {listen} has to speak TLS, and no certificate is configured", flag = surface.flag())]
    Plain { surface: Surface, listen: SocketAddr },
    #[error("tls.public is set, and no certificate is configured")]
    PublicWithoutCertificate,
}

impl ListenersError {
    /// What the user does next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Tls(_) => "set tls.certificate and tls.key to PEM files of a certificate chain and its key",
            Self::Plain { listen, .. } if is_loopback(*listen) => {
                "set tls.certificate and tls.key in the file of --config, or say --insecure-loopback: what runs on this \
                 machine may then listen in"
            }
            Self::Plain { .. } => {
                "set tls.certificate and tls.key in the file of --config; --insecure-loopback is for loopback addresses alone"
            }
            Self::PublicWithoutCertificate => "set tls.certificate and tls.key, or leave tls.public out",
        }
    }
}

/// A listener that is asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) surface: Surface,
    listen: SocketAddr,
    tls: Option<Arc<Tls>>,
}

/// The listeners that a configuration asks for, the public one first.
///
/// # Errors
/// [`ListenersError`]: nothing listens.
pub(super) fn wanted(config: &Config) -> Result<Vec<Wanted>, ListenersError> {
    let server = &config.server;
    let files = TlsFiles::configured(&config.tls)?;
    let asked = [
        (Surface::Public, Some(server.listen)),
        (Surface::Task, server.listen_task),
        (Surface::Internal, server.listen_internal),
    ];
    let mut wanted = Vec::with_capacity(asked.len());
    for (surface, listen) in asked {
        let Some(listen) = listen else { continue };
        let files = files.clone();
        let files = match surface {
            Surface::Public if !config.tls.public => None,
            Surface::Public => Some(files.ok_or(ListenersError::PublicWithoutCertificate)?),
            Surface::Task => files,
            Surface::Internal => files.map(|files| files.demanding(config.tls.client_ca.as_deref())),
        };
        match (surface, &files) {
            (Surface::Public, _) | (Surface::Task | Surface::Internal, Some(_)) => {}
            (Surface::Task | Surface::Internal, None) => demand_plain(config, surface, listen)?,
        }
        wanted.push(Wanted { surface, listen, tls: files.map(Tls::open).transpose()? });
    }
    if server.listen_internal.is_some() && !config.tokens.iter().any(|token| token.roles.allow(Role::Worker))
    {
        warn!("no token has the role worker: the internal listener refuses every worker");
    }
    Ok(wanted)
}

fn demand_plain(config: &Config, surface: Surface, listen: SocketAddr) -> Result<(), ListenersError> {
    if !config.server.insecure_loopback || !is_loopback(listen) {
        return Err(ListenersError::Plain { surface, listen });
    }
    warn!(
        listener = surface.name(),
        %listen,
        "--insecure-loopback: this listener speaks plain HTTP, and every program on this machine may listen in"
    );
    Ok(())
}

fn is_loopback(listen: SocketAddr) -> bool {
    listen.ip().to_canonical().is_loopback()
}

/// A listener that is bound.
pub(super) struct Bound {
    pub(super) surface: Surface,
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) endpoint: Endpoint,
}

/// Where a listener is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    pub surface: Surface,
    pub address: SocketAddr,
    pub is_tls: bool,
}

impl fmt::Display for Endpoint {
    /// Its URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.address)
    }
}

impl Wanted {
    /// Takes the address; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub(super) async fn bind(self) -> Result<Bound, ServeError> {
        let Self { surface, listen, tls } = self;
        let failed = |cause| ServeError::Listen { listen, flag: surface.flag(), cause };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let endpoint = Endpoint { surface, address, is_tls: tls.is_some() };
        Ok(Bound { surface, listener, tls, endpoint })
    }
}

/// Reads the certificates again at each SIGHUP, for as long as the process lives.
pub(super) async fn reload_at_hangup(all: Vec<Arc<Tls>>) {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return error!(%error, "SIGHUP will not reload the certificates"),
    };
    while hangup.recv().await.is_some() {
        let all = all.clone();
        let reload = move || all.iter().try_for_each(|tls| tls.reload());
        match tokio::task::spawn_blocking(reload).await {
            Ok(Ok(())) => info!("SIGHUP: the certificates were read again"),
            Ok(Err(error)) => error!(%error, "SIGHUP: the certificates stay as they are"),
            Err(_panicked) => error!("SIGHUP: reading the certificates panicked; they stay as they are"),
        }
    }
}
