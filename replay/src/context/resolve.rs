//! What declared references mean: which events they name, and what of those a decision may see.
//!
//! Ingress ([`check`]) and the decider ([`resolve`]) find events by the same function. INTENTs are admitted to
//! governance; of an EXECUTION nothing but index and digest is ever looked at, and those for a prompt alone.

use std::borrow::Cow;

use gesta_log_format::json::canonical;
use gesta_log_format::{Digest, Index};

use super::config::{EmptyRefsPolicy, Settings};
use super::prefix::{ContextError, Origin, Prefix, Turn, view};
use super::refs::{DeclaredRef, RefType};
use super::transform::Transform;

/// The surface for which intents without references may mean something.
pub const SURFACE_WIRE: &str = "wire";

/// Most INTENTs that the references of one intent resolve to together: a turn may have any number.
pub const RESOLVED_INTENTS_MAX: usize = 1_000;

/// Whose references are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The intent's stream.
    pub stream_id: &'a str,
    /// The intent's thread, which no reference leaves.
    pub thread_id: &'a str,
    /// Through which surface it came in.
    pub surface: &'a str,
}

/// Why references are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefCode {
    /// The event is in another thread of the stream.
    CrossThreadRef,
    /// The intent declares none, and the configuration demands some.
    EmptyRefsDenied,
    /// More than the configuration allows, or they resolve to more than [`RESOLVED_INTENTS_MAX`] INTENTs.
    MaxRefsExceeded,
    /// The stream has no such event.
    RefNotFound,
}

impl RefCode {
    /// The stable `reason_code`.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::CrossThreadRef => "CROSS_THREAD_REF",
            Self::EmptyRefsDenied => "EMPTY_REFS_DENIED",
            Self::MaxRefsExceeded => "MAX_REFS_EXCEEDED",
            Self::RefNotFound => "REF_NOT_FOUND",
        }
    }
}

/// A refused reference, or a refused list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefFault {
    /// Why.
    pub code: RefCode,
    /// Which, counted from 0 in the list that was given; none where it is the list as a whole.
    pub place: Option<usize>,
}

impl RefFault {
    /// The RFC 6901 pointer of what is refused, the list being at the pointer `list`.
    #[must_use]
    pub fn pointer(&self, list: &str) -> String {
        match self.place {
            Some(place) => format!("{list}/{place}"),
            None => list.to_owned(),
        }
    }
}

/// What an event is admitted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmittedFor {
    /// An INTENT: policy may see it.
    Governance,
    /// An EXECUTION: a prompt may use it, a policy never sees it.
    ExecutionOnly,
}

impl AdmittedFor {
    /// The written form.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Governance => "governance",
            Self::ExecutionOnly => "execution_only",
        }
    }
}

/// One event that a reference resolved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedRef<'a> {
    /// Its index.
    pub index: Index,
    /// The id by which it was found.
    pub ref_id: Cow<'a, str>,
    /// The version that was asked for.
    pub version: Option<Cow<'a, str>>,
    /// Its envelope's digest.
    pub digest: Digest,
    /// What it is admitted for.
    pub admitted_for: AdmittedFor,
    /// Of an INTENT its place in [`Resolution::intents`].
    intent: Option<usize>,
}

/// The events that references resolved to.
#[derive(Debug)]
pub struct Resolution<'a, R> {
    /// In canonical order: by event index, then id, then version.
    pub refs: Vec<ResolvedRef<'a>>,
    /// What normalisation changed.
    pub transforms: Vec<Transform>,
    intents: Vec<R>,
}

impl<R> Default for Resolution<'_, R> {
    fn default() -> Self {
        Self { refs: Vec::new(), transforms: Vec::new(), intents: Vec::new() }
    }
}

impl<R> Resolution<'_, R> {
    /// The INTENTs that are admitted to governance, in canonical order, each with its reference.
    pub fn governance(&self) -> impl Iterator<Item = (&ResolvedRef<'_>, &R)> {
        self.refs.iter().filter_map(|found| Some((found, self.intents.get(found.intent?)?)))
    }
}

/// What was found or why it is refused; or, outside of that, why nothing could be looked up.
pub type Answer<T, Refused, E> = Result<Result<T, Refused>, ContextError<E>>;

/// INTENTs, each with the place of the reference that names it.
type Located<R> = Vec<(usize, R)>;

/// Whether all references can be resolved: what ingress asks before it appends an intent. The first fault, in the
/// order in which they are given.
///
/// # Errors
/// [`ContextError`] where the prefix cannot be read.
pub fn check<P: Prefix>(
    prefix: &P,
    scope: &Scope<'_>,
    refs: &[DeclaredRef<'_>],
    settings: &Settings,
) -> Answer<(), RefFault, P::Error> {
    let located = locate_all(prefix, scope, refs, settings)?;
    Ok(match located {
        Ok(_) => Ok(()),
        Err(faults) => faults.first().map_or(Ok(()), |fault| Err(*fault)),
    })
}

/// The events that references resolve to, normalised; or everything that is wrong with them.
///
/// # Errors
/// [`ContextError`] where the prefix cannot be read.
pub fn resolve<'a, P: Prefix>(
    prefix: &P,
    scope: &Scope<'_>,
    refs: &[DeclaredRef<'a>],
    settings: &Settings,
) -> Answer<Resolution<'a, P::Record>, Vec<RefFault>, P::Error> {
    let located = match locate_all(prefix, scope, refs, settings)? {
        Ok(located) => located,
        Err(faults) => return Ok(Err(faults)),
    };
    let mut resolution = Resolution::default();
    for (place, record) in located {
        let Some(declared) = refs.get(place) else { continue };
        let (ref_id, version) = (declared.ref_id.clone(), declared.version.clone());
        admit(prefix, scope, &mut resolution, record, (ref_id, version))?;
    }
    if refs.is_empty() && is_expanded(scope, settings) {
        expand(prefix, scope, settings.expand_last_n, &mut resolution)?;
    }
    normalise(&mut resolution, settings);
    Ok(Ok(resolution))
}

fn is_expanded(scope: &Scope<'_>, settings: &Settings) -> bool {
    scope.surface == SURFACE_WIRE && settings.empty_refs_policy == EmptyRefsPolicy::ExpandLastN
}

fn locate_all<P: Prefix>(
    prefix: &P,
    scope: &Scope<'_>,
    refs: &[DeclaredRef<'_>],
    settings: &Settings,
) -> Answer<Located<P::Record>, Vec<RefFault>, P::Error> {
    let whole = |code| Ok(Err(vec![RefFault { code, place: None }]));
    if refs.len() > settings.max_refs {
        return whole(RefCode::MaxRefsExceeded);
    }
    let is_denied = scope.surface == SURFACE_WIRE && settings.empty_refs_policy == EmptyRefsPolicy::Deny;
    if refs.is_empty() && is_denied {
        return whole(RefCode::EmptyRefsDenied);
    }
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for (place, one) in refs.iter().enumerate().filter(|(_, one)| one.ref_type == RefType::Event) {
        match locate(prefix, scope, &one.ref_id)? {
            Ok(records) => found.extend(records.into_iter().map(|record| (place, record))),
            Err(code) => faults.push(RefFault { code, place: Some(place) }),
        }
    }
    if !faults.is_empty() {
        return Ok(Err(faults));
    }
    if found.len() > RESOLVED_INTENTS_MAX {
        return whole(RefCode::MaxRefsExceeded);
    }
    Ok(Ok(found))
}

/// The INTENTs that one event reference names. A correlation id decides alone; only an id that is none is a turn's.
fn locate<P: Prefix>(
    prefix: &P,
    scope: &Scope<'_>,
    ref_id: &str,
) -> Answer<Vec<P::Record>, RefCode, P::Error> {
    let found = prefix.intent_by_correlation_id(scope.stream_id, ref_id).map_err(ContextError::Prefix)?;
    if let Some(record) = found {
        let thread_id = canonical::unescape(view(record.as_ref())?.thread_id);
        let is_own = thread_id.as_deref() == Some(scope.thread_id);
        return Ok(if is_own { Ok(vec![record]) } else { Err(RefCode::CrossThreadRef) });
    }
    let turn = Turn { stream_id: scope.stream_id, thread_id: scope.thread_id, turn_id: ref_id };
    // One more than are allowed in all: enough to know that there are too many.
    let records = prefix.intents_of_turn(&turn, RESOLVED_INTENTS_MAX + 1).map_err(ContextError::Prefix)?;
    if !records.is_empty() {
        return Ok(Ok(records));
    }
    let elsewhere = prefix.is_turn_of_another_thread(&turn).map_err(ContextError::Prefix)?;
    Ok(Err(if elsewhere { RefCode::CrossThreadRef } else { RefCode::RefNotFound }))
}

/// Takes in an INTENT and the EXECUTION that ended what it became.
fn admit<'a, P: Prefix>(
    prefix: &P,
    scope: &Scope<'_>,
    resolution: &mut Resolution<'a, P::Record>,
    record: P::Record,
    (ref_id, version): (Cow<'a, str>, Option<Cow<'a, str>>),
) -> Result<(), ContextError<P::Error>> {
    let intent = view(record.as_ref())?;
    let execution_id = intent.payload_member("execution_id").and_then(canonical::string);
    let terminal = match &execution_id {
        Some(execution_id) => {
            let origin = Origin { index: intent.index, stream_id: scope.stream_id, execution_id };
            prefix.terminal_execution(&origin).map_err(ContextError::Prefix)?
        }
        None => None,
    };
    resolution.refs.push(ResolvedRef {
        index: intent.index,
        ref_id: ref_id.clone(),
        version: version.clone(),
        digest: intent.digest().ok_or(ContextError::NotAnEnvelope)?,
        admitted_for: AdmittedFor::Governance,
        intent: Some(resolution.intents.len()),
    });
    if let Some(terminal) = terminal {
        resolution.refs.push(ResolvedRef {
            index: terminal.index,
            ref_id,
            version,
            digest: terminal.digest,
            admitted_for: AdmittedFor::ExecutionOnly,
            intent: None,
        });
    }
    resolution.intents.push(record);
    Ok(())
}

/// `EXPAND_LAST_N`: the thread's last INTENTs, as if their correlation ids had been declared.
fn expand<P: Prefix>(
    prefix: &P,
    scope: &Scope<'_>,
    count_max: usize,
    resolution: &mut Resolution<'_, P::Record>,
) -> Result<(), ContextError<P::Error>> {
    let last = prefix.last_intents_of_thread(scope.stream_id, scope.thread_id, count_max);
    let mut indexes = Vec::new();
    for record in last.map_err(ContextError::Prefix)? {
        let intent = view(record.as_ref())?;
        indexes.push(intent.index);
        let id = canonical::unescape(intent.correlation_id).ok_or(ContextError::NotAnEnvelope)?.into_owned();
        admit(prefix, scope, resolution, record, (Cow::Owned(id), None))?;
    }
    if !indexes.is_empty() {
        indexes.sort_unstable();
        resolution.transforms.push(Transform::expanded(&indexes, count_max));
    }
    Ok(())
}

fn normalise<R>(resolution: &mut Resolution<'_, R>, settings: &Settings) {
    let Resolution { refs, transforms, .. } = resolution;
    if !settings.allow_execution_refs_for_prompt {
        let dropped = refs.iter().filter(|found| found.admitted_for == AdmittedFor::ExecutionOnly);
        let mut dropped: Vec<Index> = dropped.map(|found| found.index).collect();
        dropped.sort_unstable();
        dropped.dedup();
        transforms.extend(dropped.into_iter().map(Transform::filtered));
        refs.retain(|found| found.admitted_for == AdmittedFor::Governance);
    }
    refs.sort_by(|a, b| (a.index, &a.ref_id, &a.version).cmp(&(b.index, &b.ref_id, &b.version)));
    if settings.dedupe_refs {
        let mut repeated: Vec<(Index, usize)> = Vec::new();
        refs.dedup_by(|later, kept| {
            let is_same = later.index == kept.index;
            if is_same {
                match repeated.last_mut().filter(|(index, _)| *index == kept.index) {
                    Some((_, count)) => *count += 1,
                    None => repeated.push((kept.index, 1)),
                }
            }
            is_same
        });
        transforms.extend(repeated.into_iter().map(|(index, count)| Transform::deduped(index, count)));
    }
}
