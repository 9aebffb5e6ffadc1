//! What the commands that call a server share.

use std::path::Path;

use indicatif::ProgressBar;
use tokio::runtime::Runtime;

use super::{Exit, Failure, args};
use crate::client::{
    Answer, Base, Caller, Identity, Outage, OutageEvent, Refusal, Server, ServerError, Trust,
};

/// What to do about a server that cannot be reached.
pub(super) const UNREACHABLE: &str =
    "start it with `gesta serve`, or name another with --url; --retry-seconds says how long to try";

/// The server that a command calls.
///
/// # Errors
/// A URL that is none, a token that no header can hold, authorities that cannot be read.
pub(super) fn server(target: &args::Target) -> Result<Server, Failure> {
    let trust = trust(target.ca.as_deref(), None)?;
    server_at(&target.url, target.token.as_deref(), trust.as_ref())
}

/// The authorities of a file, where one is named, and what is shown to servers that ask.
///
/// # Errors
/// A file that cannot be read, or holds none.
pub(super) fn trust(file: Option<&Path>, identity: Option<&Identity>) -> Result<Option<Trust>, Failure> {
    let file = file.filter(|path| !path.as_os_str().is_empty());
    file.map(|file| Trust::in_file(file, identity))
        .transpose()
        .map_err(|error| Failure::new(Exit::Usage, error))
}

/// A server by its URL.
///
/// # Errors
/// A URL that is none, a token that no header can hold, TLS without a trust.
pub(super) fn server_at(url: &str, token: Option<&str>, trust: Option<&Trust>) -> Result<Server, Failure> {
    let base = Base::parse(url).map_err(|error| {
        let hint = error.hint();
        Failure::new(Exit::Usage, error).hint(hint)
    })?;
    // An empty variable is how some environments unset one.
    let token = token.map(str::trim).filter(|token| !token.is_empty());
    Server::new(base, token, trust).map_err(|error| match error {
        ServerError::Token => Failure::new(Exit::Usage, error),
        ServerError::NoTrust { .. } => {
            Failure::new(Exit::Usage, error).hint("name the PEM file of its authority with --ca or GESTA_CA")
        }
    })
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

/// How often an answer that is there soon is asked for: a new record is signed within a second.
const SOON_TRIES: u32 = 10;

/// A finite answer, whatever its status; one that asks to come again soon is asked for again.
///
/// # Errors
/// A server that does not answer.
pub(super) async fn get(caller: &mut Caller, path: &str) -> Result<Answer, Failure> {
    let mut tries = 0;
    loop {
        let request = caller.server().get(path);
        let answer = caller
            .call(request)
            .await
            .map_err(|error| Failure::new(Exit::Failed, error).hint(UNREACHABLE))?;
        tries += 1;
        let again = Refusal::of(answer.status, &answer.body).reason_code == "PROOF_NOT_READY";
        match answer.retry_after().filter(|_| again && tries < SOON_TRIES) {
            Some(delay) => tokio::time::sleep(delay).await,
            None => return Ok(answer),
        }
    }
}

/// An answer's body as JSON.
///
/// # Errors
/// Another shape than the command knows.
pub(super) fn json<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        Failure::new(Exit::Failed, error).hint("this is not an answer of gesta: is --url right?")
    })
}

/// The failure that an answer other than success is.
pub(super) fn refusal(answer: &Answer) -> Failure {
    refused(&Refusal::of(answer.status, &answer.body))
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
