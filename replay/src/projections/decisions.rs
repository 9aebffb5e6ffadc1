//! What awaits a DECISION, and by which policy and which configuration of the context it is to be decided.
//!
//! A CONTROL `policy_activated` or `context_activated` is in force for INTENTs with a greater index than its own, and
//! stays here until the last INTENT that it is for is decided. Memory: 14 bytes for each INTENT that awaits its
//! DECISION (the decider's lag bounds them), and the activations that are in force, each at most a record long.
//!
//! The state in a snapshot, version 1, everything by ascending index:
//!
//! ```text
//! {"applied":9,"contexts":[{"config":"{…}","context_config_digest":"sha256:…","index":1}],
//!  "policies":[{"bundle":"{…}","index":0,"policy_digest":"sha256:…","policy_id":"p","policy_version":"1"}],
//!  "undecided":[7,8]}
//! ```
//!
//! `bundle` and `config` are the canonical texts of the records' members, references to blobs included.

use std::collections::{BTreeSet, VecDeque};

use gesta_log_format::{Digest, Index};
use serde::{Deserialize, Serialize};

use super::in_system_stream;
use crate::event::{Body, Content, Control, Decision, Event, EventError, Intent};
use crate::projection::{FoldError, Projection};
use crate::rule::Rule;
use crate::snapshot::{self, RestoreError, ensure};

const NAME: &str = "decisions";
const VERSION: u32 = 1;

/// What awaits a DECISION, and what is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    applied: Index,
    /// By ascending index; all but the last are there for INTENTs that are still undecided.
    policies: VecDeque<ActivePolicy>,
    contexts: VecDeque<ActiveContext>,
    undecided: BTreeSet<Index>,
}

/// A policy that was activated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivePolicy {
    /// Of the CONTROL record.
    pub index: Index,
    /// Its name.
    pub policy_id: String,
    /// Its author's version.
    pub policy_version: String,
    /// The digest of its bundle.
    pub policy_digest: Digest,
    bundle: String,
}

/// A configuration of the context that was activated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveContext {
    /// Of the CONTROL record.
    pub index: Index,
    /// SHA-256 of the canonical whole configuration.
    pub context_config_digest: Digest,
    config: String,
}

impl ActivePolicy {
    /// The whole bundle.
    #[must_use]
    pub fn bundle(&self) -> Content<'_> {
        Content::of(self.bundle.as_bytes())
    }
}

impl ActiveContext {
    /// The whole configuration.
    #[must_use]
    pub fn config(&self) -> Content<'_> {
        Content::of(self.config.as_bytes())
    }
}

impl Decisions {
    /// The state of a log of which nothing below `first` is known, as where its beginning is not at hand.
    #[must_use]
    pub fn starting_at(first: Index) -> Self {
        Self { applied: first, ..Self::default() }
    }

    /// The policy by which an INTENT at `index` is decided: the last one that was activated before it. Told for every
    /// INTENT that awaits its DECISION and for those to come; none where none was.
    #[must_use]
    pub fn policy_at(&self, index: Index) -> Option<&ActivePolicy> {
        self.policies.iter().rfind(|active| active.index < index)
    }

    /// The configuration by which the context of an INTENT at `index` is assembled; as [`Decisions::policy_at`].
    #[must_use]
    pub fn context_at(&self, index: Index) -> Option<&ActiveContext> {
        self.contexts.iter().rfind(|active| active.index < index)
    }

    /// The policy that was activated last.
    #[must_use]
    pub fn policy(&self) -> Option<&ActivePolicy> {
        self.policies.back()
    }

    /// The configuration of the context that was activated last.
    #[must_use]
    pub fn context(&self) -> Option<&ActiveContext> {
        self.contexts.back()
    }

    /// The INTENTs that await their DECISION, ascending.
    pub fn undecided(&self) -> impl DoubleEndedIterator<Item = Index> {
        self.undecided.iter().copied()
    }

    /// Whether the INTENT at `index` awaits its DECISION.
    #[must_use]
    pub fn is_undecided(&self, index: Index) -> bool {
        self.undecided.contains(&index)
    }

    /// How many INTENTs await their DECISION.
    #[must_use]
    pub fn lag(&self) -> usize {
        self.undecided.len()
    }

    fn decide(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        let intent_index = event.intent_index()?;
        event.verdict()?;
        if !self.undecided.remove(&intent_index) {
            return Err(FoldError::broken(event, not_awaiting(event, intent_index)));
        }
        self.forget(event.index());
        Ok(())
    }

    /// Lets go of what is in force for no INTENT that awaits its DECISION, and for none that comes after `index`.
    fn forget(&mut self, index: Index) {
        let needed = self.undecided.first().copied().unwrap_or(index.next());
        while self.policies.get(1).is_some_and(|second| second.index < needed) {
            self.policies.pop_front();
        }
        while self.contexts.get(1).is_some_and(|second| second.index < needed) {
            self.contexts.pop_front();
        }
    }
}

/// What is wrong with a DECISION of something that does not await one.
#[cold]
pub(super) fn not_awaiting(event: &Event<'_>, intent_index: Index) -> Rule {
    let first = event.view().subjects().flatten().find_map(|subject| subject.expected);
    match first {
        Some(first) => Rule::SecondDecision { intent_index, first },
        None => Rule::NotAwaiting { intent_index },
    }
}

fn policy(event: &Event<'_>) -> Result<ActivePolicy, EventError> {
    let activated = event.policy_activated()?;
    Ok(ActivePolicy {
        index: event.index(),
        policy_id: activated.policy_id.into_owned(),
        policy_version: activated.policy_version.into_owned(),
        policy_digest: activated.policy_digest,
        bundle: event.payload_text("bundle")?.to_owned(),
    })
}

fn context(event: &Event<'_>) -> Result<ActiveContext, EventError> {
    let activated = event.context_activated()?;
    Ok(ActiveContext {
        index: event.index(),
        context_config_digest: activated.context_config_digest,
        config: event.payload_text("config")?.to_owned(),
    })
}

impl Projection for Decisions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn take_in(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        match event.body() {
            Body::Intent(Intent::Submitted) => {
                self.undecided.insert(event.index());
            }
            Body::Decision(Decision::Decided) => self.decide(event)?,
            Body::Control(Control::PolicyActivated) => {
                in_system_stream(event)?;
                self.policies.push_back(policy(event)?);
                self.forget(event.index());
            }
            Body::Control(Control::ContextActivated) => {
                in_system_stream(event)?;
                self.contexts.push_back(context(event)?);
                self.forget(event.index());
            }
            Body::Intent(Intent::CancelRequested)
            | Body::Execution(_)
            | Body::Task(_)
            | Body::Artifact(_)
            | Body::Session(_)
            | Body::Control(_)
            | Body::Ledger(_) => {}
        }
        Ok(())
    }

    fn applied(&self) -> Index {
        self.applied
    }

    fn applied_mut(&mut self) -> &mut Index {
        &mut self.applied
    }

    fn snapshot(&self) -> Vec<u8> {
        let contexts = self.contexts.iter().map(|active| ContextForm {
            config: active.config.clone(),
            context_config_digest: active.context_config_digest.to_string(),
            index: active.index.0,
        });
        let policies = self.policies.iter().map(|active| PolicyForm {
            bundle: active.bundle.clone(),
            index: active.index.0,
            policy_digest: active.policy_digest.to_string(),
            policy_id: active.policy_id.clone(),
            policy_version: active.policy_version.clone(),
        });
        let form = Form {
            applied: self.applied.0,
            contexts: contexts.collect(),
            policies: policies.collect(),
            undecided: self.undecided.iter().map(|index| index.0).collect(),
        };
        snapshot::write(NAME, VERSION, &form)
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        let form: Form = snapshot::read(NAME, VERSION, snapshot)?;
        let mut decisions = Self { applied: Index(form.applied), ..Self::default() };
        ensure(form.undecided.is_sorted_by(|a, b| a < b), "the undecided INTENTs are not in order")?;
        ensure(form.undecided.last().is_none_or(|last| *last < form.applied), "an INTENT is not applied")?;
        decisions.undecided = form.undecided.into_iter().map(Index).collect();
        for active in form.policies {
            decisions.policies.push_back(ActivePolicy {
                index: Index(active.index),
                policy_id: active.policy_id,
                policy_version: active.policy_version,
                policy_digest: snapshot::digest(&active.policy_digest)?,
                bundle: active.bundle,
            });
        }
        for active in form.contexts {
            decisions.contexts.push_back(ActiveContext {
                index: Index(active.index),
                context_config_digest: snapshot::digest(&active.context_config_digest)?,
                config: active.config,
            });
        }
        let policies = decisions.policies.iter().map(|active| active.index);
        let contexts = decisions.contexts.iter().map(|active| active.index);
        ensure(policies.is_sorted_by(|a, b| a < b), "the policies are not in order")?;
        ensure(contexts.is_sorted_by(|a, b| a < b), "the contexts are not in order")?;
        let last = decisions.policy().map(|active| active.index);
        let last = last.max(decisions.context().map(|active| active.index));
        ensure(last.is_none_or(|last| last < decisions.applied), "an activation is not applied")?;
        let kept = (decisions.policies.len(), decisions.contexts.len());
        if let Some(last) = form.applied.checked_sub(1) {
            decisions.forget(Index(last));
        }
        let needed = (decisions.policies.len(), decisions.contexts.len());
        ensure(kept == needed, "an activation is for no INTENT")?;
        Ok(decisions)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    applied: u64,
    contexts: Vec<ContextForm>,
    policies: Vec<PolicyForm>,
    undecided: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContextForm {
    config: String,
    context_config_digest: String,
    index: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyForm {
    bundle: String,
    index: u64,
    policy_digest: String,
    policy_id: String,
    policy_version: String,
}
