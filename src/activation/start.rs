//! What a start activates: what the configuration names, and in a log without any the embedded defaults.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gesta_replay::context;
use gesta_replay::policy::{Fault, default_files};
use tracing::{info, warn};

use super::directory::{self, DirectoryError};
use super::{Activated, Activation, Active, Pin};
use crate::config::Decider;
use crate::ingress::Ingress;
use crate::problem::{Problem, ReasonCode};
use crate::server::App;
use crate::store::blocking;

/// On whose behalf a start activates.
const ACTOR: &str = "gesta";

/// How long an activation waits that a full disk has refused.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// What the configuration names cannot be activated. Nothing was opened.
#[derive(Debug, thiserror::Error)]
pub enum WantedError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("the policy bundle in {directory} is invalid: {}", list(faults))]
    Policy { directory: PathBuf, faults: Vec<Fault> },
    #[error("{file}:{line}:{column}: {}", error.0)]
    Context { file: PathBuf, line: usize, column: usize, error: context::ConfigError },
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ")
}

/// A start cannot activate what it has to.
#[derive(Debug, thiserror::Error)]
#[error("cannot activate the {subject}: {}: {}", problem.code().name(), problem.body().detail())]
pub struct StartError {
    pub subject: &'static str,
    pub problem: Problem,
}

/// What is to be active when requests are served, in the order in which it is activated.
#[derive(Debug)]
pub struct Wanted(Vec<Wish>);

#[derive(Debug)]
struct Wish {
    activation: Activation,
    when: When,
}

#[derive(Debug, Clone, Copy)]
enum When {
    /// The configuration names it.
    NotActive,
    /// It is embedded.
    NoneActive,
}

impl Wanted {
    /// Reads and checks what is configured. Without a decider nothing is wanted.
    ///
    /// # Errors
    /// [`WantedError`].
    pub fn of(decider: &Decider) -> Result<Self, WantedError> {
        if !decider.enabled {
            return Ok(Self(Vec::new()));
        }
        Ok(Self(vec![policy(decider)?, context(decider)?]))
    }
}

fn policy(decider: &Decider) -> Result<Wish, WantedError> {
    let (files, directory, when) = match &decider.policy {
        Some(directory) => (directory::read_bundle(directory)?, directory.clone(), When::NotActive),
        None => (default_files(), PathBuf::new(), When::NoneActive),
    };
    let activation =
        Activation::of_policy(&files).map_err(|faults| WantedError::Policy { directory, faults })?;
    Ok(Wish { activation, when })
}

fn context(decider: &Decider) -> Result<Wish, WantedError> {
    let Some(file) = &decider.context else {
        let activation = Activation::of_context(&context::Config::default());
        return Ok(Wish { activation, when: When::NoneActive });
    };
    let text = directory::read_context(file)?;
    let config = context::Config::parse(&text).map_err(|error| {
        let (line, column) = directory::place(&text, &error);
        WantedError::Context { file: file.clone(), line, column, error }
    })?;
    Ok(Wish { activation: Activation::of_context(&config), when: When::NotActive })
}

impl Wish {
    async fn fulfil(&self, ingress: &Ingress) -> Result<(), Problem> {
        let subject = self.activation.pin().subject();
        if let When::NoneActive = self.when {
            let store = Arc::clone(&ingress.store);
            if blocking(move || Active::newest(&store, subject)).await?.is_some() {
                return Ok(());
            }
        }
        match (self.activation.activate(ingress, ACTOR).await?, self.activation.pin()) {
            (Activated::Now(index), Pin::Policy { policy_id, policy_version, policy_digest }) => {
                info!(policy_id, policy_version, %policy_digest, index = index.0, "a policy is activated");
            }
            (Activated::Now(index), Pin::Context { context_config_digest }) => {
                info!(%context_config_digest, index = index.0, "a configuration of the context is activated");
            }
            (Activated::Before(_), _) => {}
        }
        Ok(())
    }
}

/// Activates what is wanted and is not active. Durable on return, but for what a full disk refuses: that is tried again
/// until there is space, because a full disk stops no start.
///
/// # Errors
/// [`StartError`].
pub async fn begin(app: &App, wanted: Wanted) -> Result<(), StartError> {
    for wish in wanted.0 {
        match wish.fulfil(&app.ingress).await {
            Ok(()) => {}
            Err(problem) if problem.code() == ReasonCode::DiskFull => {
                warn!("the disk is full: what decides intents is activated once there is space");
                tokio::spawn(fulfil_later(app.clone(), wish));
            }
            Err(problem) => {
                return Err(StartError { subject: wish.activation.pin().subject().name(), problem });
            }
        }
    }
    Ok(())
}

async fn fulfil_later(app: App, wish: Wish) {
    while !app.draining.load(Ordering::Acquire) {
        tokio::time::sleep(FULL_PAUSE).await;
        match wish.fulfil(&app.ingress).await {
            Ok(()) => return,
            Err(problem) if [ReasonCode::DiskFull, ReasonCode::QueueFull].contains(&problem.code()) => {}
            Err(problem) => {
                let subject = wish.activation.pin().subject().name();
                return tracing::error!(subject, reason_code = problem.code().name(), "cannot activate");
            }
        }
    }
}
