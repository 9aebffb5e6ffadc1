//! The bundles and configurations that a log has activated, read from its own records.

use std::collections::BTreeMap;
use std::sync::Arc;

use gesta_log_format::{Digest, Index};

use super::finding::{Class, Finding};
use super::{BLOB_DIFFERS, BLOB_MISSING, Store};
use crate::context::Config;
use crate::event::Content;
use crate::policy::{self, Bundle};
use crate::projections::decisions::{ActiveContext, ActivePolicy};

/// Most bundles and configurations that are kept ready; an older one is read again where a decision needs it.
const READY_MAX: usize = 64;

/// What an activation gave.
#[derive(Debug)]
pub(super) enum Given<T> {
    /// This.
    Ready(Arc<T>),
    /// It is in a blob that is not here.
    Missing(Digest),
    /// What it holds is not what its digest says, or cannot be read.
    Unusable,
}

impl<T> Clone for Given<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Ready(value) => Self::Ready(Arc::clone(value)),
            Self::Missing(digest) => Self::Missing(*digest),
            Self::Unusable => Self::Unusable,
        }
    }
}

/// What is in force, by the index of the CONTROL that activated it.
pub(super) struct Active {
    bundles: BTreeMap<Index, Given<Bundle>>,
    configs: BTreeMap<Index, Given<Config>>,
    no_bundle: Arc<Bundle>,
    no_config: Arc<Config>,
}

type Report<'r> = &'r mut dyn FnMut(Finding);

impl Active {
    pub(super) fn new() -> Self {
        Self {
            bundles: BTreeMap::new(),
            configs: BTreeMap::new(),
            no_bundle: Arc::new(Bundle::none()),
            no_config: Arc::new(Config::default()),
        }
    }

    /// The bundle of an activation; of none the one that is in force without any.
    pub(super) fn bundle<S: Store>(
        &mut self,
        active: Option<&ActivePolicy>,
        store: &S,
        report: Report<'_>,
    ) -> Result<Given<Bundle>, S::Error> {
        let Some(active) = active else { return Ok(Given::Ready(Arc::clone(&self.no_bundle))) };
        if let Some(ready) = self.bundles.get(&active.index) {
            return Ok(ready.clone());
        }
        let given = match content(active.bundle(), store)? {
            Fetched::Text(text) => read_bundle(active, &text, report),
            Fetched::Missing(digest) => {
                report(missing(active.index, digest, "the policy bundle"));
                Given::Missing(digest)
            }
            Fetched::Differs(digest) => {
                report(differs(active.index, digest));
                Given::Unusable
            }
        };
        keep(&mut self.bundles, active.index, given.clone());
        Ok(given)
    }

    /// As [`Active::bundle`], of the context's configuration.
    pub(super) fn config<S: Store>(
        &mut self,
        active: Option<&ActiveContext>,
        store: &S,
        report: Report<'_>,
    ) -> Result<Given<Config>, S::Error> {
        let Some(active) = active else { return Ok(Given::Ready(Arc::clone(&self.no_config))) };
        if let Some(ready) = self.configs.get(&active.index) {
            return Ok(ready.clone());
        }
        let given = match content(active.config(), store)? {
            Fetched::Text(text) => read_config(active, &text, report),
            Fetched::Missing(digest) => {
                report(missing(active.index, digest, "the context's configuration"));
                Given::Missing(digest)
            }
            Fetched::Differs(digest) => {
                report(differs(active.index, digest));
                Given::Unusable
            }
        };
        keep(&mut self.configs, active.index, given.clone());
        Ok(given)
    }
}

fn keep<T>(ready: &mut BTreeMap<Index, T>, index: Index, given: T) {
    while ready.len() >= READY_MAX {
        ready.pop_first();
    }
    ready.insert(index, given);
}

enum Fetched {
    Text(Vec<u8>),
    Missing(Digest),
    Differs(Digest),
}

fn content<S: Store>(content: Content<'_>, store: &S) -> Result<Fetched, S::Error> {
    let reference = match content {
        Content::Inline(text) => return Ok(Fetched::Text(text.to_vec())),
        Content::Blob(reference) => reference,
    };
    Ok(match store.blob(&reference.digest)? {
        None => Fetched::Missing(reference.digest),
        Some(bytes) if Digest::of(&bytes) != reference.digest => Fetched::Differs(reference.digest),
        Some(bytes) => Fetched::Text(bytes),
    })
}

fn missing(index: Index, digest: Digest, what: &str) -> Finding {
    let message =
        format!("{what} is in the blob {digest}, which is not here: give the blobs with --blobs DIR");
    Finding { blob: Some(digest), ..Finding::at(Class::Incomplete, BLOB_MISSING, index, message) }
}

fn differs(index: Index, digest: Digest) -> Finding {
    let message = format!("the blob {digest} has other content than its name says");
    Finding::at(Class::Tampered, BLOB_DIFFERS, index, message)
}

fn read_bundle(active: &ActivePolicy, text: &[u8], report: Report<'_>) -> Given<Bundle> {
    let (index, named) = (active.index, active.policy_digest);
    let (id, version) = (&active.policy_id, &active.policy_version);
    let (class, rule, message) = match judge(active, text) {
        Ok(bundle) => return Given::Ready(Arc::new(bundle)),
        Err(found) => found,
    };
    report(Finding::at(class, rule, index, message));
    // What an activation that contradicts itself means is laid down: it denies everything.
    Given::Ready(Arc::new(Bundle::unreadable(id, version, named)))
}

fn judge(active: &ActivePolicy, text: &[u8]) -> Result<Bundle, (Class, &'static str, String)> {
    let files = policy::files::read(text).ok();
    let found = files.as_ref().map(policy::digest);
    if found != Some(active.policy_digest) {
        let found = found.map_or_else(|| "that of no bundle".to_owned(), |found| found.to_string());
        let message =
            format!("the policy bundle's digest should be {}, and it is {found}", active.policy_digest);
        return Err((Class::Tampered, "POLICY_DIGEST", message));
    }
    let bundle = Bundle::read(&files.unwrap_or_default()).map_err(|faults| {
        let first = faults.first().map(ToString::to_string).unwrap_or_default();
        let message = format!("the policy bundle cannot be read, so it denies everything: {first}");
        (Class::Warning, "POLICY_UNREADABLE", message)
    })?;
    let (id, version) = (bundle.policy_id(), bundle.policy_version());
    if (id, version) == (&active.policy_id, &active.policy_version) {
        return Ok(bundle);
    }
    let (named_id, named_version) = (&active.policy_id, &active.policy_version);
    let message = format!(
        "it activates the policy {named_id:?} {named_version:?}, and its bundle is {id:?} {version:?}"
    );
    Err((Class::Tampered, "POLICY_NAME", message))
}

fn read_config(active: &ActiveContext, text: &[u8], report: Report<'_>) -> Given<Config> {
    let index = active.index;
    let config = match Config::parse(text) {
        Ok(config) => config,
        Err(error) => {
            let message = format!("the context's configuration cannot be read: {error}");
            report(Finding::at(Class::Tampered, "CONTEXT_CONFIG", index, message));
            return Given::Unusable;
        }
    };
    if config.digest() != active.context_config_digest {
        let (wanted, found) = (active.context_config_digest, config.digest());
        let message =
            format!("the digest of the context's configuration should be {wanted}, and it is {found}");
        report(Finding::at(Class::Tampered, "CONTEXT_CONFIG_DIGEST", index, message));
        return Given::Unusable;
    }
    Given::Ready(Arc::new(config))
}
