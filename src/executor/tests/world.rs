//! A server's parts without HTTP and without a decider: the test decides.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use gesta_log_format::disk::Disk;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::envelope::{Draft, Expectation, Prepared, View};
use gesta_log_format::json::canonical;
use gesta_log_format::log::Dead;
use gesta_log_format::{Digest, Index, Kind, Timestamp};
use gesta_replay::Fold;
use gesta_replay::context::Config as ContextConfig;
use gesta_replay::decide::decide;
use gesta_replay::event::Event;
use gesta_replay::policy::{Bundle, Counts, default_files};
use gesta_replay::projections::audit::Audit;
use gesta_replay::projections::executions::{Executions, Open};
use gesta_replay::projections::head::Head;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::handlers::{Odd, Stuck};
use crate::append::Appender;
use crate::blobs;
use crate::config::Config;
use crate::executor::{Bounds, Executor, Parts, Shipped, Works};
use crate::ingress::Maker;
use crate::keys::Fingerprint;
use crate::metrics::LogMetrics;
use crate::prefix::LogPrefix;
use crate::projector::{Origin, Pace, Projector, Scope, Snapshots, Source};
use crate::runtime::{IntentRegistry, Solution as _};
use crate::sequencer::{
    Acknowledgements, Append, HANDS, Outcome, Places, Queue, Sequencer, Sequencing, SystemClock,
};
use crate::store::{self, Opened, Store};

/// Nothing that goes well waits for it.
const LONG: Duration = Duration::from_secs(60);

pub(super) struct World {
    store: Arc<Store>,
    blobs: Arc<blobs::Store>,
    pub(super) queue: Arc<Queue>,
    pub(super) places: Arc<Places>,
    projector: Arc<Projector>,
    hands: Mutex<Vec<JoinHandle<Result<(), Dead>>>>,
    _lock: <RealDisk as Disk>::Lock,
    _data: TempDir,
}

impl World {
    pub(super) fn open() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.data = data.path().to_owned();
        config.log.fill_ahead = false;
        let Opened { store, writer, state, lock, .. } = store::open(&config).unwrap();
        let blobs = Arc::new(blobs::Store::open(data.path(), blobs::Bounds::default()).unwrap());
        let (queue, replies) = (Arc::new(Queue::default()), Arc::new(Acknowledgements::default()));
        tokio::spawn(Arc::clone(&replies).hand_out());
        tokio::spawn(Arc::clone(&store.live).fan_out(Duration::ZERO, |_| ()));
        let limits = Sequencing { batch_records_max: 16, batch_bytes_max: 1 << 18 };
        let sequencer = Arc::new(Sequencer::<RealDisk, _>::new(
            Arc::clone(&store),
            Arc::clone(&queue),
            replies,
            LogMetrics::new(),
            limits,
            SystemClock,
            Timestamp::default(),
            None,
            Box::new(|| ()),
            writer,
        ));
        let hands = (0..HANDS).map(|hand| {
            let sequencer = Arc::clone(&sequencer);
            std::thread::spawn(move || sequencer.run(hand))
        });
        let hands = Mutex::new(hands.collect());
        let snapshots = Snapshots::open(&state, Origin(store.origin.clone())).unwrap();
        let (reader, head) = (store.reader.clone(), store.live.watch());
        let source = Source { reader, head, recent: Box::new(|_| None) };
        let projector = Projector::start(source, snapshots, Scope::Decisions, Pace::default()).unwrap();
        let (projector, places) = (Arc::new(projector), Places::new(64));
        Self { store, blobs, queue, places, projector, hands, _lock: lock, _data: data }
    }

    /// These handlers and no others.
    pub(super) fn registry(&self, fill: impl FnOnce(&mut IntentRegistry)) -> IntentRegistry {
        let mut registry = IntentRegistry::of_a_test(&self.store, &self.blobs, &self.queue);
        fill(&mut registry);
        registry
    }

    pub(super) fn shipped(&self) -> IntentRegistry {
        self.registry(|registry| Shipped.register(registry))
    }

    pub(super) fn odd(&self) -> IntentRegistry {
        self.registry(|registry| assert!(registry.register_intent("odd", "odd", Odd, json!({}))))
    }

    pub(super) fn registry_of(&self, stuck: &Stuck) -> IntentRegistry {
        self.registry(|registry| {
            assert!(registry.register_intent("stuck", "stuck", stuck.clone(), json!({})))
        })
    }

    pub(super) fn executor(&self, registry: IntentRegistry, bounds: Bounds) -> Arc<Executor> {
        self.executor_with(registry, bounds, Arc::clone(&self.queue))
    }

    /// An executor whose records go through another queue.
    pub(super) fn executor_with(
        &self,
        registry: IntentRegistry,
        bounds: Bounds,
        queue: Arc<Queue>,
    ) -> Arc<Executor> {
        let executor = Executor::new(Parts {
            store: Arc::clone(&self.store),
            blobs: Arc::clone(&self.blobs),
            queue,
            projector: Arc::clone(&self.projector),
            registry,
            bounds,
        });
        executor.start();
        executor
    }

    /// Ends the threads, and demands that the log keeps to the rules.
    pub(super) async fn close(self) {
        self.queue.close();
        for hand in self.hands.lock().unwrap().drain(..) {
            hand.join().unwrap().unwrap();
        }
        assert!(self.projector.failed().is_none(), "{:?}", self.projector.failed());
        let (mut audit, mut head, mut executions) =
            (Audit::default(), Head::default(), Executions::default());
        let mut fold = Fold::new(vec![&mut audit, &mut head, &mut executions]);
        for index in 0..self.store.reader.head().0 {
            let record = self.store.record(Index(index)).unwrap().unwrap();
            fold.record(record.data()).unwrap();
            let event = Event::parse(record.data()).unwrap();
            if let gesta_replay::event::Body::Execution(execution) = event.body() {
                event.happened(execution).unwrap();
            }
        }
        let projector = Arc::clone(&self.projector);
        tokio::task::spawn_blocking(move || projector.stop()).await.unwrap();
    }

    async fn append(
        &self,
        prepared: Prepared,
        keys: Vec<Fingerprint>,
        subjects: Vec<(Fingerprint, Option<Index>)>,
    ) -> Index {
        let (reply, outcome) = oneshot::channel();
        let (ticket, place) = (self.store.keys.checked_through(), self.places.reserve().unwrap());
        assert!(self.queue.push(Append { prepared, keys, subjects, ticket, place, reply }).is_ok());
        match outcome.await.unwrap() {
            Outcome::Appended(index) => index,
            refused @ (Outcome::Conflict { .. } | Outcome::DiskFull) => panic!("{refused:?}"),
        }
    }

    pub(super) async fn intent(&self, correlation: &str, intent_type: &str, payload: Value) -> Index {
        self.intent_with_refs(correlation, intent_type, payload, &[]).await
    }

    pub(super) async fn intent_with_refs(
        &self,
        correlation: &str,
        intent_type: &str,
        payload: Value,
        refs: &[&str],
    ) -> Index {
        let refs: Vec<_> = refs.iter().map(|id| json!({ "ref_type": "event", "ref_id": id })).collect();
        let body = json!({
            "interface_version": 2,
            "correlation_id": correlation,
            "payload": {
                "lane": "user",
                "actor": "agent-1",
                "intent_type": intent_type,
                "thread_id": "thread",
                "turn_id": format!("turn-{correlation}"),
                "parent_turn_id": null,
                "payload": payload,
                "declared_refs": refs,
            },
        });
        let (prepared, keys) = Maker::local().record(body.to_string().as_bytes()).unwrap();
        let subject = keys[0];
        self.append(prepared, keys, vec![(subject, None)]).await
    }

    /// Decides by the default bundle, which allows everything.
    pub(super) async fn allow(&self, intent: Index) -> Index {
        self.decide(intent, &Bundle::read(&default_files()).unwrap()).await
    }

    /// Asks that the execution of an INTENT ends.
    pub(super) async fn cancel(&self, intent: Index) -> Index {
        let record = self.store.record(intent).unwrap().unwrap();
        let event = Event::parse(record.data()).unwrap();
        let subject = format!("intent/{}", event.correlation_id().unwrap());
        let payload = crate::executor::cancel::payload("ann", Some("no longer wanted"));
        self.record(Kind::Intent, "cancel_requested", &event, subject, Some(intent), &payload).await
    }

    pub(super) async fn deny(&self, intent: Index) -> Index {
        self.decide(intent, &Bundle::none()).await
    }

    async fn decide(&self, intent: Index, bundle: &Bundle) -> Index {
        let record = self.store.record(intent).unwrap().unwrap();
        let event = Event::parse(record.data()).unwrap();
        let prefix = LogPrefix { store: &self.store, blobs: &self.blobs, below: intent };
        let decision = decide(&event, &prefix, Counts::default(), &ContextConfig::default(), bundle).unwrap();
        let subject = format!("decision/{intent}");
        self.record(Kind::Decision, "decided", &event, subject, None, &decision.payload).await
    }

    /// Appends a record that is anchored where `event` is.
    async fn record(
        &self,
        kind: Kind,
        type_name: &'static str,
        event: &Event<'_>,
        subject: String,
        expected: Option<Index>,
        payload: &[u8],
    ) -> Index {
        let view = event.view();
        let text = |raw| canonical::unescape(raw).unwrap().into_owned();
        let (stream_id, thread_id) = (text(view.stream_id), text(view.thread_id));
        let (turn_id, correlation_id) = (text(view.turn_id), text(view.correlation_id));
        let draft = Draft {
            kind,
            type_name,
            stream_id: &stream_id,
            lane: &text(view.lane),
            actor: "gesta",
            intent_type: &text(view.intent_type),
            thread_id: &thread_id,
            turn_id: &turn_id,
            parent_turn_id: None,
            correlation_id: &correlation_id,
            cause: Some(event.index()),
            subjects: &[Expectation { subject, expected }],
            payload,
        };
        self.draft(&draft).await
    }

    async fn draft(&self, draft: &Draft<'_>) -> Index {
        let (store, blobs, queue) =
            (Arc::clone(&self.store), Arc::clone(&self.blobs), Arc::clone(&self.queue));
        Appender::new(store, blobs, queue).append(draft, self.places.reserve().unwrap()).await.unwrap()
    }

    pub(super) async fn register(&self, intent_type: &str, name: &str, kind: &str) {
        let payload =
            json!({ "handler_name": name, "intent_type": intent_type, "kind": kind, "metadata": {} });
        self.control("handler_registered", intent_type, name, &payload, None).await;
    }

    /// As [`World::register`], with a time of so many seconds.
    pub(super) async fn register_for(&self, intent_type: &str, name: &str, kind: &str, seconds: u64) {
        let payload = json!({ "handler_name": name, "intent_type": intent_type, "kind": kind, "timeout_seconds": seconds });
        self.control("handler_registered", intent_type, name, &payload, None).await;
    }

    pub(super) async fn remove(&self, intent_type: &str, name: &str) {
        let payload = json!({ "handler_name": name, "intent_type": intent_type });
        let registered = self.projector.look(|state| state.handlers.first(intent_type).unwrap().index);
        self.control("handler_removed", intent_type, name, &payload, Some(registered)).await;
    }

    /// Appends a CONTROL record and waits until it is applied.
    async fn control(
        &self,
        type_name: &'static str,
        intent_type: &str,
        name: &str,
        payload: &Value,
        expected: Option<Index>,
    ) {
        let (subject, payload) = (format!("handler/{intent_type}/{name}"), payload.to_string().into_bytes());
        let draft = Draft {
            kind: Kind::Control,
            type_name,
            stream_id: "_system",
            lane: "system",
            actor: "operator",
            intent_type: "system",
            thread_id: "system",
            turn_id: type_name,
            parent_turn_id: None,
            correlation_id: type_name,
            cause: None,
            subjects: &[Expectation { subject, expected }],
            payload: &payload,
        };
        let index = self.draft(&draft).await;
        self.projector.wait_applied(index, LONG).await.unwrap();
    }

    /// Waits until so many executions have ended and the records of all are applied.
    pub(super) async fn ended(&self, count: usize) {
        let is_end = |record: &Value| {
            record["kind"] == "EXECUTION"
                && ["completed", "failed", "cancelled"].contains(&record["type"].as_str().unwrap())
        };
        let mut applied = self.projector.watch();
        let ended = async {
            while self.records().iter().filter(|record| is_end(record)).count() < count {
                applied.changed().await.unwrap();
            }
        };
        tokio::time::timeout(LONG, ended).await.unwrap_or_else(|_| panic!("{:#?}", self.records()));
    }

    /// Waits until the open execution of the intent is as wished, and gives it.
    pub(super) async fn until(
        &self,
        mut wished: impl FnMut(Option<&Open>) -> bool,
        correlation: &str,
    ) -> Option<Open> {
        let mut applied = self.projector.watch();
        loop {
            let found = self.projector.look(|state| {
                let mut open = state.executions.all_open();
                open.find(|open| open.correlation_id == correlation).cloned()
            });
            if wished(found.as_ref()) {
                return found;
            }
            tokio::time::timeout(LONG, applied.changed()).await.unwrap().unwrap();
        }
    }

    /// All that is applied.
    pub(super) fn records(&self) -> Vec<Value> {
        let data = |index| self.store.record(Index(index)).unwrap().unwrap();
        let parse = |index| {
            let record = data(index);
            assert!(View::parse(record.data()).is_some());
            serde_json::from_slice(record.data()).unwrap()
        };
        (0..self.projector.applied().0).map(parse).collect()
    }

    pub(super) async fn blob(&self, digest: &str) -> Vec<u8> {
        let works = Works::new(Arc::clone(&self.store), Arc::clone(&self.blobs));
        works.blob(Digest::parse(digest).unwrap(), 1 << 20).await.unwrap()
    }
}

/// A member of the one record of an intent that is of this kind or type.
#[track_caller]
pub(super) fn member(records: &[Value], correlation: &str, kind_or_type: &str, name: &str) -> Value {
    let mut found = records.iter().filter(|record| {
        record["correlation_id"] == correlation
            && (record["kind"] == kind_or_type || record["type"] == kind_or_type)
    });
    found.next().unwrap_or_else(|| panic!("{correlation} has no {kind_or_type}"))[name].clone()
}
