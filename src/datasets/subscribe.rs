//! Subscriptions: an INTENT for each event of a dataset's current version and each handler that asks for it.
//!
//! What was current, and who had subscribed, is asked of the log below the event: however late the follower is, and
//! however often it looks, the answer is the same.

use std::sync::Arc;

use gesta_log_format::envelope::{Expectation, View};
use gesta_log_format::json::{self, canonical};
use gesta_log_format::{Digest, Index, Kind};
use gesta_replay::event::{Elements, Registration};
use gesta_replay::projections::datasets::Dataset;
use gesta_replay::projections::handlers::Handler;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use super::Datasets;
use super::record::{Anchors, Proposal, SERVER, Trouble};
use crate::control;
use crate::ingress::request::Intent;
use crate::ingress::request_digest;
use crate::keys::Fingerprint;
use crate::limits::REGISTRATIONS_LOOKED_AT_MAX;

/// What the correlation ids begin with that events are given; no client gives one of these.
const PREFIX: &str = "dataset:";

/// Where these intents come in.
const LANE: &str = "dataset";
const SURFACE: &str = "dataset";

/// A handler that has subscribed to a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Subscriber {
    intent_type: String,
    handler_name: String,
}

impl Datasets {
    /// Appends an INTENT for each subscriber of an event.
    pub(super) async fn tell(&self, view: &View<'_>) -> Result<(), Trouble> {
        let text = |name: &str| {
            let value = view.payload_member(name)?;
            let digits = || String::from_utf8_lossy(value).into_owned();
            Some(canonical::string(value).map_or_else(digits, |text| text.into_owned()))
        };
        let stream_id = canonical::unescape(view.stream_id).unwrap_or_default().into_owned();
        let (Some(uuid), Some(version)) = (text("dataset_uuid"), text("dataset_version")) else {
            return Ok(());
        };
        let (is_current, handlers) = self.projector.look(|state| {
            let dataset = state.datasets.dataset(&stream_id, &uuid);
            let current = dataset.and_then(|dataset| current_below(dataset, view.index));
            let in_use = state.handlers.types().filter_map(|(_, handlers)| handlers.first());
            let handlers = in_use.filter(|handler| handler.registration.contains("\"subscribe\""));
            (current == Some(version.as_str()), handlers.cloned().collect::<Vec<Handler>>())
        });
        if !is_current {
            return Ok(());
        }
        for handler in handlers {
            if let Some(subscriber) = self.subscriber(handler, &uuid, view.index).await? {
                self.add_intent(view, &stream_id, &uuid, &version, &subscriber).await?;
            }
        }
        Ok(())
    }

    /// A handler that is in use now, if it had subscribed to the dataset before the record at `below`.
    async fn subscriber(
        &self,
        handler: Handler,
        dataset_uuid: &str,
        below: Index,
    ) -> Result<Option<Subscriber>, Trouble> {
        let Ok(registration) = handler.registration() else { return Ok(None) };
        let own = Subscriber {
            intent_type: registration.intent_type.clone().into_owned(),
            handler_name: registration.handler_name.clone().into_owned(),
        };
        if handler.index < below {
            return Ok(subscribes(&registration, dataset_uuid).then_some(own));
        }
        // It was registered anew since: what it had asked for before counts.
        let (store, uuid) = (Arc::clone(&self.store), dataset_uuid.to_owned());
        let subject = format!("handler/{}/{}", own.intent_type, own.handler_name);
        let key = Fingerprint::subject(control::STREAM, &subject);
        let subscribed = self.blocking(move || {
            let mut subscribed = false;
            store.find(&key, Index::ZERO, REGISTRATIONS_LOOKED_AT_MAX, |data| {
                if let Some(view) = View::parse(data).filter(|view| view.index < below) {
                    let said = Registration::parse(view.payload, view.index);
                    subscribed = said.is_ok_and(|said| subscribes(&said, &uuid));
                }
                false
            })?;
            Ok(subscribed)
        });
        Ok(subscribed.await?.then_some(own))
    }

    /// Appends the INTENT of an event for a handler, unless it is there.
    async fn add_intent(
        &self,
        event: &View<'_>,
        stream_id: &str,
        uuid: &str,
        version: &str,
        subscriber: &Subscriber,
    ) -> Result<(), Trouble> {
        let correlation_id = correlation_id(event, uuid, version, subscriber);
        let subject = format!("intent/{correlation_id}");
        if self.newest(stream_id, &subject).await?.is_some() {
            return Ok(());
        }
        let content = json!({
            "event": extent(event), "event_index": event.index.0, "handler_name": subscriber.handler_name,
        });
        let anchors = Anchors {
            stream_id: stream_id.to_owned(),
            lane: LANE.to_owned(),
            intent_type: subscriber.intent_type.clone(),
            thread_id: format!("dataset:{uuid}"),
            turn_id: correlation_id.clone(),
            correlation_id,
            parent_turn_id: None,
        };
        let proposal = Proposal {
            kind: Kind::Intent,
            type_name: "submitted",
            actor: SERVER,
            cause: Some(event.index),
            subjects: &[Expectation { subject, expected: None }],
            payload: &json!({
                "declared_refs": [],
                "execution_id": Ulid::generate().to_string(),
                "principal": { "name": SERVER, "roles": [] },
                "request_digest": digest(&anchors, &content).to_string(),
                "payload": content,
                "surface": SURFACE,
            }),
            anchors: &anchors,
        };
        match self.append(&proposal).await {
            Ok(_) => {
                self.metrics.intents.increment(1);
                Ok(())
            }
            // Another was faster, by the same event.
            Err(Trouble::Moved { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The version that was registered last, of those that were before the record at `below`.
fn current_below(dataset: &Dataset, below: Index) -> Option<&str> {
    let registered = dataset.versions().filter_map(|(name, version)| {
        let index = version.registered.as_ref()?.index;
        (index < below).then_some((index, name))
    });
    registered.max().map(|(_, name)| name)
}

/// A registration names one dataset, `{dataset_uuid}`, or a list of them, each so or by its uuid alone.
fn subscribes(registration: &Registration<'_>, dataset_uuid: &str) -> bool {
    let Some(subscribe) = registration.subscribe else { return false };
    let names = |value: &[u8]| {
        let member = canonical::Members::new(value).flatten().find(|(key, _)| *key == b"dataset_uuid");
        let name = if value.first() == Some(&b'{') { member.map(|(_, name)| name) } else { Some(value) };
        name.and_then(canonical::string).is_some_and(|found| found == dataset_uuid)
    };
    match subscribe.first() {
        Some(b'[') => Elements::new(subscribe).flatten().any(names),
        Some(_) | None => names(subscribe),
    }
}

/// What an event is about.
fn extent(event: &View<'_>) -> Value {
    let mut extent = serde_json::Map::new();
    for name in ["cursor", "dataset_uuid", "dataset_version", "end", "partition_key", "row_count", "start"] {
        if let Some(value) = event.payload_member(name).and_then(|value| serde_json::from_slice(value).ok()) {
            extent.insert(name.to_owned(), value);
        }
    }
    Value::Object(extent)
}

/// By dataset, version, cursor or range, and handler: an event that says the same again is no news.
fn correlation_id(event: &View<'_>, uuid: &str, version: &str, subscriber: &Subscriber) -> String {
    let mut hash = Sha256::new();
    let members = ["cursor", "partition_key", "start", "end"];
    let parts = members.iter().map(|name| event.payload_member(name).unwrap_or_default());
    let names = [uuid, version, &subscriber.intent_type, &subscriber.handler_name];
    for part in names.iter().map(|name| name.as_bytes()).chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    format!("{PREFIX}{}", gesta_log_format::hex::text(&hash.finalize()))
}

/// The digest of the request that the intent would be if a client had made it.
fn digest(anchors: &Anchors, content: &Value) -> Digest {
    let payload = json::canonicalize(content.to_string().as_bytes());
    request_digest(&Intent {
        correlation_id: anchors.correlation_id.as_str().into(),
        stream_id: anchors.stream_id.as_str().into(),
        lane: anchors.lane.as_str().into(),
        actor: SERVER.into(),
        intent_type: anchors.intent_type.as_str().into(),
        thread_id: anchors.thread_id.as_str().into(),
        turn_id: anchors.turn_id.as_str().into(),
        parent_turn_id: None,
        payload: payload.expect("what is made of canonical JSON is JSON"),
        declared_refs: b"[]".to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(subscribe: &str, expected: bool) {
        let registration =
            format!(r#"{{"handler_name":"h","intent_type":"t","kind":"worker","subscribe":{subscribe}}}"#);
        let registration = Registration::parse(registration.as_bytes(), Index::ZERO).unwrap();
        assert_eq!(subscribes(&registration, "d"), expected, "{subscribe}");
    }

    #[test]
    fn a_handler_subscribes_to_one_dataset_or_to_several() {
        check(r#"{"dataset_uuid":"d"}"#, true);
        check(r#"["c","d"]"#, true);
        check(r#"[{"dataset_uuid":"c"},{"dataset_uuid":"d"}]"#, true);
        check(r#"{"dataset_uuid":"e"}"#, false);
        check(r#"["dd"]"#, false);
        check("[]", false);
        check("null", false);
    }
}
