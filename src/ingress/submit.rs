//! One intent on its way: looked up, prepared, queued, acknowledged.

use std::sync::Arc;

use gesta_log_format::envelope::{Draft, Expectation, PrepareError, Prepared, View};
use gesta_log_format::json::{self, canonical};
use gesta_log_format::{Digest, Index, Kind, blob};
use tokio::sync::oneshot;
use ulid::Ulid;

use gesta_replay::context::refs::{self, DeclaredRef};
use gesta_replay::context::{ContextError, EmptyRefsPolicy, RefCode, RefFault, Scope, Settings, check};

use super::request::{INTERFACE_VERSION, Intent};
use super::{Submitted, parents};
use crate::append::Appender;
use crate::auth::Principal;
use crate::blobs;
use crate::decider::ActiveSettings;
use crate::exchange::Exchange;
use crate::keys::Fingerprint;
use crate::prefix::{LogPrefix, PrefixError};
use crate::problem::{Problem, ReasonCode};
use crate::sequencer::{Append, Outcome, Place, Places, Queue};
use crate::store::{KeyParts, LookupError, Store, blocking, unreadable};

/// The surface that an intent came in by.
const SURFACE: &str = "wire";

/// What ingress needs of the rest of the server.
pub struct Ingress {
    pub store: Arc<Store>,
    pub blobs: Arc<blobs::Store>,
    pub queue: Arc<Queue>,
    pub places: Arc<Places>,
    /// What references are checked by.
    pub settings: ActiveSettings,
}

/// A request with what is derived from it once.
struct Request<'a> {
    intent: &'a Intent<'a>,
    subject: String,
    key: Fingerprint,
    digest: Digest,
}

impl<'a> Request<'a> {
    fn of(intent: &'a Intent<'a>) -> Self {
        let subject = format!("intent/{}", intent.correlation_id);
        let key = Fingerprint::subject(&intent.stream_id, &subject);
        Self { intent, subject, key, digest: request_digest(intent) }
    }
}

impl Ingress {
    /// What appends other records than intents by the same queue.
    #[must_use]
    pub fn appender(&self) -> Appender {
        Appender::new(Arc::clone(&self.store), Arc::clone(&self.blobs), Arc::clone(&self.queue))
    }

    /// A place in the queue, reserved before anything else is done for a request.
    ///
    /// # Errors
    /// `QUEUE_FULL`.
    pub fn reserve(&self) -> Result<Place, Problem> {
        self.places.reserve().ok_or_else(|| Problem::new(ReasonCode::QueueFull))
    }

    /// Appends the intent unless an equal one is there, and waits until that is durable.
    ///
    /// # Errors
    /// What the route documents.
    pub async fn submit(
        self: Arc<Self>,
        intent: &Intent<'_>,
        principal: &Principal,
        exchange: &Exchange,
        place: Place,
    ) -> Result<Submitted, Problem> {
        let request = Request::of(intent);
        let key = request.key;
        let ticket = self.store.keys.checked_through();
        if self.store.keys.newest(&key).map_err(|error| unreadable(&error.into()))?.is_some() {
            return self.repeated(&request).await;
        }
        self.check_parent(intent).await?;
        self.check_refs(intent).await?;
        self.check_blobs(intent, principal).await?;
        let prepared = self.prepare(&request, principal, exchange).await?;
        let keys = keys(&request, &prepared);
        let (reply, outcome) = oneshot::channel();
        let append = Append { prepared, keys, subjects: vec![(key, None)], ticket, place, reply };
        if self.queue.push(append).is_err() {
            return Err(Problem::new(ReasonCode::Draining));
        }
        match outcome.await {
            Ok(Outcome::Appended(index)) => Ok(Submitted::Now(index)),
            Ok(Outcome::Conflict { .. }) => self.repeated(&request).await,
            Ok(Outcome::DiskFull) => Err(Problem::new(ReasonCode::DiskFull)),
            Err(_sequencer_ended) => Err(Problem::new(ReasonCode::OutcomeUnknown)),
        }
    }

    /// Answers for a correlation id that the stream already has: with the first acknowledgement where the requests
    /// are equal.
    async fn repeated(self: &Arc<Self>, request: &Request<'_>) -> Result<Submitted, Problem> {
        let (this, key, subject) = (Arc::clone(self), request.key, request.subject.clone());
        let stream = request.intent.stream_id.clone().into_owned();
        let first = blocking(move || this.first_submitted(&key, &stream, &subject)).await?;
        match first {
            Some((index, digest)) if digest.as_deref() == Some(&*request.digest.to_string()) => {
                Ok(Submitted::Before(index))
            }
            Some((index, _)) => Err(Problem::new(ReasonCode::CorrelationIdReused)
                .detail(format!(
                    "The stream {} has another intent with this correlation id, at index {index}.",
                    request.intent.stream_id
                ))
                .index(index.0)),
            // The key belongs to another subject: 128 bits collided.
            None => Err(Problem::new(ReasonCode::Internal)),
        }
    }

    /// The first record of an intent's subject: its index and its request digest.
    fn first_submitted(
        &self,
        key: &Fingerprint,
        stream: &str,
        subject: &str,
    ) -> Result<Option<(Index, Option<String>)>, LookupError> {
        let found = self.store.find(key, Index::ZERO, 4, |data| {
            View::parse(data).is_some_and(|view| {
                view.kind == Kind::Intent
                    && view.type_name == "submitted"
                    && canonical::unescape(view.stream_id).as_deref() == Some(stream)
                    && view
                        .subjects()
                        .flatten()
                        .any(|found| canonical::unescape(found.subject).as_deref() == Some(subject))
            })
        })?;
        Ok(found.first().map(|(index, record)| {
            let view = View::parse(record.data());
            let digest =
                view.and_then(|view| view.payload_member("request_digest").and_then(canonical::string));
            (*index, digest.map(|digest| digest.into_owned()))
        }))
    }

    async fn check_parent(self: &Arc<Self>, intent: &Intent<'_>) -> Result<(), Problem> {
        let Some(parent) = intent.parent_turn_id.clone().map(|parent| parent.into_owned()) else {
            return Ok(());
        };
        let this = Arc::clone(self);
        let (stream, thread, turn) = (
            intent.stream_id.clone().into_owned(),
            intent.thread_id.clone().into_owned(),
            intent.turn_id.clone().into_owned(),
        );
        blocking(move || parents::check(&this.store, &stream, &thread, &turn, &parent)).await?
    }

    /// Every reference has to name an event of the thread, below what is acknowledged now. The decider resolves them
    /// again, from the records before the intent.
    async fn check_refs(self: &Arc<Self>, intent: &Intent<'_>) -> Result<(), Problem> {
        let config = self.settings.get();
        let nothing_to_check = config.settings().empty_refs_policy != EmptyRefsPolicy::Deny;
        if intent.declared_refs == b"[]" && nothing_to_check {
            return Ok(());
        }
        let this = Arc::clone(self);
        let declared = intent.declared_refs.clone();
        let (stream, thread) = (intent.stream_id.clone().into_owned(), intent.thread_id.clone().into_owned());
        let checked = tokio::task::spawn_blocking(move || {
            let refs = refs::read(&declared).map_err(|_| Problem::new(ReasonCode::Internal))?;
            let below = this.store.live.published();
            let prefix = LogPrefix { store: &this.store, blobs: &this.blobs, below };
            let scope = Scope { stream_id: &stream, thread_id: &thread, surface: SURFACE };
            match check(&prefix, &scope, &refs, config.settings()) {
                Ok(checked) => checked.map_err(|fault| refused_refs(&fault, &refs, config.settings())),
                Err(ContextError::Prefix(PrefixError::Lookup(error))) => Err(unreadable(&error)),
                Err(error) => {
                    tracing::error!(%error, "references cannot be checked");
                    Err(Problem::new(ReasonCode::Internal))
                }
            }
        });
        checked.await.unwrap_or_else(|_panicked| Err(Problem::new(ReasonCode::Internal)))
    }

    /// Content that the client refers to has to be there.
    async fn check_blobs(
        self: &Arc<Self>,
        intent: &Intent<'_>,
        principal: &Principal,
    ) -> Result<(), Problem> {
        if memchr::memmem::find(&intent.payload, b"\"$blob\"").is_none() {
            return Ok(());
        }
        let (this, payload, caller) = (Arc::clone(self), intent.payload.clone(), principal.clone());
        let checked =
            tokio::task::spawn_blocking(move || this.blobs.check_references(&payload, &caller, &*this.store));
        let checked = checked.await;
        match checked {
            Ok(checked) => checked.map_err(|error| error.problem("/payload/payload")),
            Err(_panicked) => Err(Problem::new(ReasonCode::Internal)),
        }
    }

    /// The envelope; content that is too large for it is put as blobs first.
    async fn prepare(
        self: &Arc<Self>,
        request: &Request<'_>,
        principal: &Principal,
        exchange: &Exchange,
    ) -> Result<Prepared, Problem> {
        let intent = request.intent;
        let execution_id = exchange.generated_id().unwrap_or_else(Ulid::generate);
        let frame = PayloadFrame { request, principal, exchange, execution_id };
        match frame.prepare(&intent.payload, &intent.declared_refs) {
            Ok(prepared) => Ok(prepared),
            Err(PrepareError::TooLarge { len }) => {
                let content = intent.payload.len() + intent.declared_refs.len();
                let budget = gesta_log_format::record::DATA_BYTES_MAX.saturating_sub(len - content);
                let spilled = blob::spill::intent(&intent.payload, &intent.declared_refs, budget)?;
                for spill in &spilled.spills {
                    let (this, content) = (Arc::clone(self), spill.bytes.to_vec());
                    let put = tokio::task::spawn_blocking(move || this.blobs.put_bytes(&content)).await;
                    put.map_err(|_panicked| Problem::new(ReasonCode::Internal))??;
                }
                frame
                    .prepare(&spilled.payload, &spilled.declared_refs)
                    .map_err(|_too_large| Problem::new(ReasonCode::BodyTooLarge))
            }
            Err(PrepareError::Payload) => Err(Problem::new(ReasonCode::Internal)),
        }
    }
}

/// The seed's errors, each with the pointer of what is refused.
fn refused_refs(fault: &RefFault, refs: &[DeclaredRef<'_>], settings: &Settings) -> Problem {
    let named = fault.place.and_then(|place| refs.get(place)).map_or("", |found| &*found.ref_id);
    let (code, detail) = match fault.code {
        RefCode::RefNotFound => {
            (ReasonCode::RefNotFound, format!("No event of the stream is named {named:?}."))
        }
        RefCode::CrossThreadRef => {
            (ReasonCode::CrossThreadRef, format!("The event {named:?} belongs to another thread."))
        }
        RefCode::MaxRefsExceeded => {
            let max = settings.max_refs;
            (ReasonCode::MaxRefsExceeded, format!("At most {max} references are allowed."))
        }
        RefCode::EmptyRefsDenied => {
            (ReasonCode::EmptyRefsDenied, "The configuration demands at least one reference.".to_owned())
        }
    };
    Problem::new(code).detail(detail).pointer(fault.pointer("/payload/declared_refs"))
}

/// What an intent's payload holds besides the client's content.
struct PayloadFrame<'a> {
    request: &'a Request<'a>,
    principal: &'a Principal,
    exchange: &'a Exchange,
    execution_id: Ulid,
}

impl PayloadFrame<'_> {
    fn prepare(&self, payload: &[u8], declared_refs: &[u8]) -> Result<Prepared, PrepareError> {
        let intent = self.request.intent;
        let subjects = [Expectation { subject: self.request.subject.clone(), expected: None }];
        Prepared::new(&Draft {
            kind: Kind::Intent,
            type_name: "submitted",
            stream_id: &intent.stream_id,
            lane: &intent.lane,
            actor: &intent.actor,
            intent_type: &intent.intent_type,
            thread_id: &intent.thread_id,
            turn_id: &intent.turn_id,
            parent_turn_id: intent.parent_turn_id.as_deref(),
            correlation_id: &intent.correlation_id,
            cause: None,
            subjects: &subjects,
            payload: &self.payload(payload, declared_refs),
        })
    }

    /// What the client sent to be kept beside the intent. A name that the server gave to the exchange is the execution's
    /// id and is not repeated.
    fn observations(&self, out: &mut Vec<u8>) {
        let traceparent = self.exchange.traceparent().map(|value| ("traceparent", value));
        let sent = self.exchange.generated_id().is_none();
        let name = sent.then(|| ("x_correlation_id", self.exchange.correlation_id()));
        for (nth, (member, value)) in traceparent.into_iter().chain(name).enumerate() {
            out.extend_from_slice(if nth == 0 { b"\"_obs\":{" } else { b"," });
            json::write_string(out, member);
            out.push(b':');
            json::write_string(out, value);
        }
        if traceparent.is_some() || sent {
            out.extend_from_slice(b"},");
        }
    }

    /// The payload, its members in canonical order.
    fn payload(&self, payload: &[u8], declared_refs: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(448 + payload.len() + declared_refs.len());
        out.push(b'{');
        self.observations(&mut out);
        out.extend_from_slice(b"\"declared_refs\":");
        out.extend_from_slice(declared_refs);
        out.extend_from_slice(b",\"execution_id\":\"");
        let mut ulid = [0; ulid::ULID_LEN];
        out.extend_from_slice(self.execution_id.array_to_str(&mut ulid).as_bytes());
        out.extend_from_slice(b"\",\"payload\":");
        out.extend_from_slice(payload);
        out.extend_from_slice(b",\"principal\":{\"name\":");
        json::write_string(&mut out, &self.principal.name);
        out.extend_from_slice(b",\"roles\":[");
        for (nth, role) in self.principal.roles.iter().enumerate() {
            out.extend_from_slice(if nth == 0 { b"\"" } else { b",\"" });
            out.extend_from_slice(role.name().as_bytes());
            out.push(b'"');
        }
        out.extend_from_slice(b"]},\"request_digest\":\"");
        self.request.digest.push(&mut out);
        out.extend_from_slice(b"\",\"surface\":\"");
        out.extend_from_slice(SURFACE.as_bytes());
        out.extend_from_slice(b"\"}");
        out
    }
}

/// The record of an intent that fits one without blobs, and what it is found by.
///
/// # Errors
/// [`PrepareError`].
pub(super) fn record(
    intent: &Intent<'_>,
    principal: &Principal,
    exchange: &Exchange,
) -> Result<(Prepared, Vec<Fingerprint>), PrepareError> {
    let request = Request::of(intent);
    let frame = PayloadFrame { request: &request, principal, exchange, execution_id: Ulid::generate() };
    let prepared = frame.prepare(&intent.payload, &intent.declared_refs)?;
    let keys = keys(&request, &prepared);
    Ok((prepared, keys))
}

/// What decides whether a repeated request is the same: SHA-256 of the canonical JSON of all that the client sent, its
/// defaults filled in. FORMAT.md, "INTENT".
pub(crate) fn request_digest(intent: &Intent<'_>) -> Digest {
    let mut text = Vec::with_capacity(256 + intent.payload.len() + intent.declared_refs.len());
    let member = |text: &mut Vec<u8>, name: &str, value: &str| {
        text.extend_from_slice(name.as_bytes());
        json::write_string(text, value);
    };
    member(&mut text, "{\"actor\":", &intent.actor);
    member(&mut text, ",\"correlation_id\":", &intent.correlation_id);
    text.extend_from_slice(b",\"declared_refs\":");
    text.extend_from_slice(&intent.declared_refs);
    member(&mut text, ",\"intent_type\":", &intent.intent_type);
    text.extend_from_slice(format!(",\"interface_version\":{INTERFACE_VERSION}").as_bytes());
    member(&mut text, ",\"lane\":", &intent.lane);
    match &intent.parent_turn_id {
        Some(parent) => member(&mut text, ",\"parent_turn_id\":", parent),
        None => text.extend_from_slice(b",\"parent_turn_id\":null"),
    }
    text.extend_from_slice(b",\"payload\":");
    text.extend_from_slice(&intent.payload);
    member(&mut text, ",\"stream_id\":", &intent.stream_id);
    member(&mut text, ",\"thread_id\":", &intent.thread_id);
    member(&mut text, ",\"turn_id\":", &intent.turn_id);
    text.push(b'}');
    Digest::of(&text)
}

fn keys(request: &Request<'_>, prepared: &Prepared) -> Vec<Fingerprint> {
    let intent = request.intent;
    let parts = KeyParts {
        stream_id: &intent.stream_id,
        correlation_id: &intent.correlation_id,
        thread_id: &intent.thread_id,
        turn_id: &intent.turn_id,
        digest: prepared.digest(),
    };
    parts.keys(std::iter::once(request.key), prepared.text())
}
