//! Who calls, and what they may do.
//!
//! With tokens configured, every request names one, as `Authorization: Bearer` or `X-API-Key`; it is known by its
//! SHA-256 alone. Parts of the platform may show a service token instead, which the server's keys have signed. Without tokens the public listener is on loopback only, every caller there is the principal `local` with
//! all roles, and the Host header must be a loopback name; nobody is a worker then. One request costs at most one SHA-256 and one look-up.

mod access;
mod caller;
mod host;
mod principal;
mod ticket;
mod token;
mod worker;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

pub use access::{Patterns, Role, Roles};
pub use caller::{__path_tail_ticket, Caller, NewTicket, tail_ticket};
pub use host::names_loopback;
pub use principal::Principal;
pub use ticket::{TicketBounds, TicketUse, Tickets};
pub use token::{Token, TokenDigest, random};
pub use worker::Worker;

use crate::capability::Capabilities;
use crate::problem::{Problem, ReasonCode};

/// Longest token or ticket that is hashed, in bytes; ours have 70.
const SECRET_BYTES_MAX: usize = 1024;

/// The header of a worker's token.
const X_TRACE_WORKER_TOKEN: &str = "X-Trace-Worker-Token";

/// The server would be open to the network without asking anyone who they are.
#[derive(Debug, thiserror::Error)]
#[error("NON_LOOPBACK_WITHOUT_TOKEN: {listen} is reachable from other machines, and no token is configured")]
pub struct NonLoopbackWithoutToken {
    pub listen: SocketAddr,
}

impl NonLoopbackWithoutToken {
    /// What the user does next.
    pub const HINT: &str = "make a token with `gesta token new --name NAME --roles intent.write,log.read` and put what it prints into \
         the file of --config, or listen on 127.0.0.1";
}

/// The configured tokens and the tickets in use. Shared by all requests; only the tickets change.
#[derive(Debug)]
pub struct Auth {
    mode: Mode,
    tickets: Arc<Tickets>,
    /// Whose service tokens are good, once the keys are read.
    services: OnceLock<Arc<Capabilities>>,
}

#[derive(Debug)]
enum Mode {
    /// No token is configured and the listener is on loopback.
    Local(Arc<Principal>),
    /// By the beginning of the digest; the whole is compared in constant time.
    Tokens(HashMap<[u8; 8], Vec<(TokenDigest, Arc<Principal>)>>),
}

impl Auth {
    /// # Errors
    /// There is no token and `listen` is not a loopback address.
    pub fn new(
        tokens: &[Token],
        listen: SocketAddr,
        bounds: TicketBounds,
    ) -> Result<Self, NonLoopbackWithoutToken> {
        let mode = if !tokens.is_empty() {
            let mut known: HashMap<_, Vec<_>> = HashMap::with_capacity(tokens.len());
            for token in tokens {
                let principal = Arc::new(Principal::of_token(token));
                known.entry(token.digest.bucket()).or_default().push((token.digest, principal));
            }
            Mode::Tokens(known)
        } else if listen.ip().to_canonical().is_loopback() {
            Mode::Local(Arc::new(Principal::local()))
        } else {
            return Err(NonLoopbackWithoutToken { listen });
        };
        Ok(Self { mode, tickets: Arc::new(Tickets::new(bounds)), services: OnceLock::new() })
    }

    /// Admits parts of the platform by tokens that these keys have signed, as operators of all streams.
    pub fn admit_services(&self, keys: Arc<Capabilities>) {
        // Whoever is first stays: there is one set of keys in a process.
        let _ = self.services.set(keys);
    }

    /// Whether the Host header must be a loopback name, because nothing else keeps a foreign page out.
    pub fn demands_loopback_host(&self) -> bool {
        matches!(self.mode, Mode::Local(_))
    }

    /// The caller of a request.
    ///
    /// # Errors
    /// `MISSING_TOKEN`, `BAD_TOKEN`.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Principal>, Problem> {
        match &self.mode {
            Mode::Local(principal) => Ok(Arc::clone(principal)),
            Mode::Tokens(_) => {
                let token = presented(headers)?;
                match std::str::from_utf8(token).ok().filter(|token| is_signed(token)) {
                    Some(token) => self.service(token),
                    None => self.known(token),
                }
            }
        }
    }

    /// The service that has shown a signed token.
    fn service(&self, token: &str) -> Result<Arc<Principal>, Problem> {
        let Some(keys) = self.services.get() else { return Err(Problem::new(ReasonCode::Recovering)) };
        match keys.service(token) {
            Ok(claims) => Ok(Arc::new(Principal::of_service(claims.sub))),
            Err(refusal) => Err(Problem::new(ReasonCode::BadToken)
                .detail(format!("The service token is refused: {refusal}."))),
        }
    }

    /// The worker of a request, by its own header or as a bearer. Nobody is one without a token.
    ///
    /// # Errors
    /// `MISSING_TOKEN`; `BAD_TOKEN`, also for a token without the role.
    pub fn authenticate_worker(&self, headers: &HeaderMap) -> Result<Worker, Problem> {
        let principal = self.known(bearer_or(headers, Some(X_TRACE_WORKER_TOKEN))?)?;
        match principal.roles.allow(Role::Worker) {
            true => Ok(Worker(principal)),
            false => Err(Problem::new(ReasonCode::BadToken).detail("The token lacks the role worker.")),
        }
    }

    /// Whose token it is.
    fn known(&self, secret: &[u8]) -> Result<Arc<Principal>, Problem> {
        let digest = digest(secret)?;
        let candidates = match &self.mode {
            Mode::Local(_) => &[],
            Mode::Tokens(known) => known.get(&digest.bucket()).map(Vec::as_slice).unwrap_or_default(),
        };
        let found = candidates.iter().find(|(known, _)| *known == digest);
        found.map(|(_, principal)| Arc::clone(principal)).ok_or_else(|| Problem::new(ReasonCode::BadToken))
    }

    /// The caller of a tail, who may be a browser's EventSource, which sends no headers and has a ticket instead. The
    /// returned use, if any, lives as long as the connection, which ends when the use is superseded.
    ///
    /// # Errors
    /// `MISSING_TOKEN`, `BAD_TOKEN`.
    pub fn authenticate_tail(
        &self,
        headers: &HeaderMap,
        ticket: Option<&str>,
    ) -> Result<(Arc<Principal>, Option<TicketUse>), Problem> {
        let used = ticket.and_then(|ticket| self.tickets.redeem(digest(ticket.as_bytes()).ok()?));
        match (used, ticket) {
            (Some(used), _) => Ok((Arc::clone(used.principal()), Some(used))),
            // A ticket does not survive a restart; where no token is asked for, nor is a ticket.
            (None, Some(_)) if !self.demands_loopback_host() && !presents_token(headers) => {
                Err(Problem::new(ReasonCode::BadToken)
                    .detail("The ticket is unknown or expired; ask for a new one."))
            }
            (None, _) => self.authenticate(headers).map(|principal| (principal, None)),
        }
    }
}

fn digest(secret: &[u8]) -> Result<TokenDigest, Problem> {
    if secret.len() > SECRET_BYTES_MAX {
        return Err(Problem::new(ReasonCode::BadToken));
    }
    Ok(TokenDigest::of(secret))
}

/// Whether a token has the form of a signed one (RFC 7515, compact serialization). Ours that are not have no dots.
fn is_signed(token: &str) -> bool {
    token.split('.').count() == 3
}

fn presents_token(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION) || headers.contains_key("x-api-key")
}

fn presented(headers: &HeaderMap) -> Result<&[u8], Problem> {
    match headers.get("x-api-key") {
        Some(value) if !headers.contains_key(AUTHORIZATION) => Ok(value.as_bytes()),
        Some(_) | None => bearer_or(headers, None),
    }
}

/// What a request shows as its token: in `own_header`, where it has that one, else as `Authorization: Bearer`.
///
/// # Errors
/// `MISSING_TOKEN`; `BAD_TOKEN` for another scheme.
pub(crate) fn bearer_or<'a>(headers: &'a HeaderMap, own_header: Option<&str>) -> Result<&'a [u8], Problem> {
    if let Some(value) = own_header.and_then(|name| headers.get(name)) {
        return Ok(value.as_bytes().trim_ascii());
    }
    let missing = || match own_header {
        Some(name) => Problem::new(ReasonCode::MissingToken)
            .detail(format!("The request has neither `{name}` nor `Authorization: Bearer`.")),
        None => Problem::new(ReasonCode::MissingToken),
    };
    let value = headers.get(AUTHORIZATION).ok_or_else(missing)?;
    match value.as_bytes().split_at_checked("Bearer ".len()) {
        Some((scheme, secret)) if scheme.eq_ignore_ascii_case(b"Bearer ") => Ok(secret.trim_ascii()),
        Some(_) | None => Err(Problem::new(ReasonCode::BadToken)),
    }
}

#[cfg(test)]
mod tests;
