//! What the commands that call a server share.

use indicatif::ProgressBar;
use tokio::runtime::Runtime;

use super::{Exit, Failure, args};
use crate::client::{Base, Outage, OutageEvent, Refusal, Server};

/// What to do about a server that cannot be reached.
pub(super) const UNREACHABLE: &str =
    "start it with `gesta serve`, or name another with --url; --retry-seconds says how long to try";

/// The server that a command calls.
///
/// # Errors
/// A URL that is none, a token that no header can hold.
pub(super) fn server(target: &args::Target) -> Result<Server, Failure> {
    let base = Base::parse(&target.url).map_err(|error| {
        let hint = error.hint();
        Failure::new(Exit::Usage, error).hint(hint)
    })?;
    // An empty variable is how some environments unset one.
    let token = target.token.as_deref().map(str::trim).filter(|token| !token.is_empty());
    Server::new(base, token).map_err(|error| Failure::new(Exit::Usage, error))
}

/// One thread does it: the rest of the machine is the server's.
///
/// # Errors
/// Where the system gives no runtime.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, error))
}

/// Says on standard error that the server is lost or back, past a progress bar where there is one.
pub(super) fn outage(bar: Option<ProgressBar>) -> Outage {
    Outage::new(move |event| {
        let say = || match event {
            OutageEvent::Lost(why) => eprintln!("note: {why}; trying again"),
            OutageEvent::Back => eprintln!("note: the server answers again"),
        };
        match &bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    })
}

/// A refusal that ends the command.
pub(super) fn refused(refusal: &Refusal) -> Failure {
    let failure = Failure::new(Exit::Failed, format!("refused: {refusal}"));
    if refusal.is_about_token() {
        return failure.hint("give a token with GESTA_TOKEN or --token that has the role and the stream");
    }
    match refusal.reason_code.as_str() {
        "" => failure.hint("this is not an answer of gesta: is --url right?"),
        code => failure.hint(format!("`GET /errors` of the server says what {code} means and what to do")),
    }
}
