//! Policies and configurations ready to be asked, by the CONTROL record that activated them.

use std::collections::BTreeMap;
use std::sync::Arc;

use gesta_log_format::{Digest, Index};
use gesta_replay::context::{Blob, Config, Prefix};
use gesta_replay::event::Content;
use gesta_replay::policy::Bundle;
use gesta_replay::projections::decisions::{ActiveContext, ActivePolicy, Decisions};

use crate::prefix::LogPrefix;

/// Activations that are kept ready at most: decisions go by one, or by two around a change.
const KEPT: usize = 4;

/// What a record activated, taken out of the projections.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    Policy { index: Index, id: String, version: String, digest: Digest, bundle: Vec<u8> },
    Context { index: Index, config: Vec<u8> },
}

/// The bundles and configurations that decisions need now.
#[derive(Default)]
pub(super) struct Active {
    bundles: BTreeMap<Index, Arc<Bundle>>,
    configs: BTreeMap<Index, Arc<Config>>,
}

impl Active {
    /// What is in force for an INTENT at `index` and not ready, to be read by [`Active::read`].
    pub(super) fn missing(&self, decisions: &Decisions, index: Index) -> Vec<Pending> {
        let policy = decisions.policy_at(index).filter(|active| !self.bundles.contains_key(&active.index));
        let context = decisions.context_at(index).filter(|active| !self.configs.contains_key(&active.index));
        policy.map(pending_policy).into_iter().chain(context.map(pending_context)).collect()
    }

    /// Makes what was missing ready. What cannot be read denies every intent that it is for, and says so.
    pub(super) fn read(&mut self, pending: Pending, prefix: &LogPrefix<'_>) {
        match pending {
            Pending::Policy { index, id, version, digest, bundle } => {
                let bundle = match content(&bundle, prefix) {
                    Ok(text) => Bundle::activated(&id, &version, digest, &text),
                    Err(error) => {
                        tracing::error!(index = index.0, %error, "the active policy cannot be read: its intents are denied");
                        Bundle::unreadable(&id, &version, digest)
                    }
                };
                keep(&mut self.bundles, index, bundle);
            }
            Pending::Context { index, config } => {
                let config = content(&config, prefix)
                    .and_then(|text| Config::parse(&text).map_err(|error| error.to_string()));
                let config = config.unwrap_or_else(|error| {
                    tracing::error!(index = index.0, %error, "the active context configuration cannot be read: the default is used");
                    Config::default()
                });
                keep(&mut self.configs, index, config);
            }
        }
    }

    /// What decides an INTENT, by the records that activated it.
    pub(super) fn of(&self, policy: Option<Index>, context: Option<Index>) -> (Arc<Bundle>, Arc<Config>) {
        let bundle = policy.and_then(|index| self.bundles.get(&index).cloned());
        let config = context.and_then(|index| self.configs.get(&index).cloned());
        (bundle.unwrap_or_else(|| Arc::new(Bundle::none())), config.unwrap_or_default())
    }
}

fn pending_policy(active: &ActivePolicy) -> Pending {
    Pending::Policy {
        index: active.index,
        id: active.policy_id.clone(),
        version: active.policy_version.clone(),
        digest: active.policy_digest,
        bundle: text(active.bundle()),
    }
}

fn pending_context(active: &ActiveContext) -> Pending {
    Pending::Context { index: active.index, config: text(active.config()) }
}

/// The member as it stands in the record.
fn text(content: Content<'_>) -> Vec<u8> {
    match content {
        Content::Inline(text) => text.to_vec(),
        Content::Blob(reference) => {
            let mut text = Vec::new();
            gesta_log_format::blob::Reference {
                digest: reference.digest,
                media_type: std::str::from_utf8(reference.media_type).unwrap_or_default(),
                size_bytes: reference.size_bytes,
            }
            .write(&mut text);
            text
        }
    }
}

/// The value itself.
fn content(member: &[u8], prefix: &LogPrefix<'_>) -> Result<Vec<u8>, String> {
    let Some(reference) = gesta_log_format::blob::Reference::parse(member) else {
        return Ok(member.to_vec());
    };
    match prefix.blob(&reference).map_err(|error| error.to_string())? {
        Blob::Content(content) => Ok(content),
        Blob::Erased | Blob::Missing => Err(format!("the blob {} is not here", reference.digest)),
    }
}

fn keep<T>(kept: &mut BTreeMap<Index, Arc<T>>, index: Index, value: T) {
    kept.insert(index, Arc::new(value));
    while kept.len() > KEPT {
        kept.pop_first();
    }
}
