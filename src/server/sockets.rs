//! All listeners together: what begins, opens and ends with them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower::Layer as _;
use tracing::info;

use super::app::App;
use super::connection::Connections;
use super::cors;
use super::front::{Front, Routes, Shortcut};
use super::listen::Listen;
use super::listeners::{self, Bound, Endpoint, Surface};
use super::router;
use super::run::ServeError;
use super::tls::Tls;
use crate::auth::Auth;
use crate::config::Config;
use crate::exchange::ExchangeLayer;

/// The listeners of a server, from before its log is open to its end.
pub(super) struct Sockets {
    dress: Dress,
    fronts: Vec<(Surface, Arc<Front>)>,
    accepting: Vec<JoinHandle<()>>,
    endpoints: Vec<Endpoint>,
    connections: Arc<Connections>,
    drain: watch::Sender<bool>,
}

impl Sockets {
    /// Listens, and answers that the log is not open yet.
    ///
    /// # Errors
    /// [`ServeError::Listeners`], [`ServeError::Listen`]: nothing listens.
    pub(super) async fn begin(config: &Config, auth: &Arc<Auth>) -> Result<Self, ServeError> {
        let mut bound = Vec::new();
        for wanted in listeners::wanted(config)? {
            bound.push(wanted.bind().await?);
        }
        let certificates: Vec<Arc<Tls>> = bound.iter().filter_map(|bound| bound.tls.clone()).collect();
        if !certificates.is_empty() {
            tokio::spawn(listeners::reload_at_hangup(certificates));
        }
        let dress = Dress {
            exchange: ExchangeLayer::new(auth, config.limits.header_bytes_max),
            cors_origins: config.server.cors_origins.clone(),
        };
        let (drain, draining) = watch::channel(false);
        let mut sockets = Self {
            dress,
            fronts: Vec::new(),
            accepting: Vec::new(),
            endpoints: bound.iter().map(|bound| bound.endpoint).collect(),
            connections: Connections::new(),
            drain,
        };
        for Bound { surface, listener, tls, .. } in bound {
            let front = Front::new(surface, |router| sockets.dress.around(surface, Shortcut::none(router)));
            let listen = Listen {
                front: Arc::clone(&front),
                tls,
                connections: Arc::clone(&sockets.connections),
                limits: config.limits.clone(),
                draining: draining.clone(),
            };
            sockets.fronts.push((surface, front));
            sockets.accepting.push(tokio::spawn(Arc::new(listen).accept(listener)));
        }
        Ok(sockets)
    }

    /// Where the server is reached, the public listener first.
    pub(super) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    pub(super) fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// Serves all routes from now on.
    pub(super) fn open(&self, app: &App) {
        for (surface, front) in &self.fronts {
            let whole = router::whole(app.clone(), *surface);
            let whole = match surface {
                // The shortcut passes by what is around the router.
                Surface::Public if self.dress.cors_origins.is_empty() => {
                    Shortcut::to_ingress(whole, app.clone())
                }
                Surface::Public | Surface::Task | Surface::Internal => Shortcut::none(whole),
            };
            front.open(self.dress.around(*surface, whole));
        }
    }

    /// Closes every listening socket, lets the connections end behind the response that they are at, and closes those
    /// that are left after `patience`. `draining` is told in between, for what ends responses that have no end.
    pub(super) async fn end(self, patience: Duration, draining: impl FnOnce()) {
        self.drain.send_replace(true);
        for accepting in self.accepting {
            drop(accepting.await);
        }
        self.connections.drain();
        draining();
        let started = Instant::now();
        while self.connections.len() > 0 && started.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let closed = self.connections.close_all();
        if closed > 0 {
            info!(closed, "connections did not end by themselves and were closed");
        }
    }
}

/// What is around the routes.
struct Dress {
    exchange: ExchangeLayer,
    cors_origins: Vec<String>,
}

impl Dress {
    /// Browsers are for the public listener alone. The others ask for a token from whatever host, so that a foreign page
    /// has nothing to gain by another name for this machine.
    fn around(&self, surface: Surface, routes: Shortcut) -> Routes {
        match surface {
            Surface::Public => {
                let cors_origins = &self.cors_origins;
                self.exchange.layer(routes.map(|router: Router| cors::around(router, cors_origins)))
            }
            Surface::Task | Surface::Internal => self.exchange.of_any_host().layer(routes),
        }
    }
}
