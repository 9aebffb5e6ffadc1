//! Two deciders over one log: each with projections of its own, which the test lets lag behind as it likes.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use gesta_log_format::disk::Disk;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::log::Dead;
use gesta_log_format::{Index, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};

use super::{ActiveSettings, Decider, Parts};
use crate::blobs;
use crate::config::Config;
use crate::ingress::Maker;
use crate::metrics::{DeciderMetrics, LogMetrics};
use crate::projector::{Origin, Pace, Projector, Scope, Snapshots, Source};
use crate::sequencer::{
    Acknowledgements, Append, HANDS, Outcome, Places, Queue, Sequencer, Sequencing, SystemClock,
};
use crate::store::{self, Opened, Store};

/// Nothing that goes well waits for it.
const LONG: Duration = Duration::from_secs(60);

/// What one race does, step after step.
const STEPS: u64 = 120;

/// A log, and the threads that append to it.
struct World {
    store: Arc<Store>,
    blobs: Arc<blobs::Store>,
    queue: Arc<Queue>,
    places: Arc<Places>,
    hands: Vec<JoinHandle<Result<(), Dead>>>,
    submitted: u64,
    _lock: <RealDisk as Disk>::Lock,
    _data: TempDir,
}

/// Projections, and what decides by them.
struct Contender {
    projector: Arc<Projector>,
    head: watch::Sender<Index>,
    decider: Option<Decider>,
}

impl World {
    fn open() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.data = data.path().to_owned();
        config.log.fill_ahead = false;
        let Opened { store, writer, lock, .. } = store::open(&config).unwrap();
        let blobs = Arc::new(blobs::Store::open(data.path(), blobs::Bounds::default()).unwrap());
        let (queue, replies) = (Arc::new(Queue::default()), Arc::new(Acknowledgements::default()));
        tokio::spawn(Arc::clone(&replies).hand_out());
        tokio::spawn(Arc::clone(&store.live).fan_out(Duration::ZERO, |_| ()));
        let sequencer = Arc::new(Sequencer::<RealDisk, _>::new(
            Arc::clone(&store),
            Arc::clone(&queue),
            replies,
            LogMetrics::new(),
            Sequencing { batch_records_max: 16, batch_bytes_max: 1 << 18 },
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
        let (hands, places) = (hands.collect(), Places::new(64));
        Self { store, blobs, queue, places, hands, submitted: 0, _lock: lock, _data: data }
    }

    fn contender(&self) -> Contender {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let snapshots = Snapshots::open(&db, Origin(self.store.origin.clone())).unwrap();
        let head = watch::Sender::new(Index::ZERO);
        let (reader, watched) = (self.store.reader.clone(), head.subscribe());
        let source = Source { reader, head: watched, recent: Box::new(|_| None) };
        let projector = Projector::start(source, snapshots, Scope::Decisions, Pace::default()).unwrap();
        let mut contender = Contender { projector: Arc::new(projector), head, decider: None };
        contender.decide(self);
        contender
    }

    /// Submits intents at once, and waits until all of them are durable.
    async fn submit(&mut self, count: u64) {
        let mut outcomes = Vec::new();
        for _ in 0..count {
            let (nth, (reply, outcome)) = (self.submitted, oneshot::channel());
            self.submitted += 1;
            let body = json!({
                "interface_version": 2,
                "correlation_id": format!("c-{nth}"),
                "payload": {
                    "lane": "user",
                    "actor": "ann",
                    "intent_type": "chat.message",
                    "thread_id": format!("t-{}", nth % 3),
                    "turn_id": format!("u-{nth}"),
                    "payload": { "message": "hello" },
                },
            });
            let (prepared, keys) = Maker::local().record(body.to_string().as_bytes()).unwrap();
            let subjects = vec![(keys[0], None)];
            let (ticket, place) = (self.store.keys.checked_through(), self.places.reserve().unwrap());
            let append = Append { prepared, keys, subjects, ticket, place, reply };
            assert!(self.queue.push(append).is_ok());
            outcomes.push(outcome);
        }
        for outcome in outcomes {
            assert!(matches!(outcome.await.unwrap(), Outcome::Appended(_)));
        }
    }

    fn records(&self) -> Vec<Value> {
        let record = |index| self.store.record(Index(index)).unwrap().unwrap();
        (0..self.store.live.published().0)
            .map(|index| serde_json::from_slice(record(index).data()).unwrap())
            .collect()
    }

    /// Waits until every intent is decided and each of the contenders that go on has seen that.
    async fn settled(&self, contenders: &[&Contender]) {
        let mut live = self.store.live.watch();
        let settled = async {
            loop {
                // Followers are told of a record a moment after its author.
                live.borrow_and_update();
                let published = self.store.live.published();
                for contender in contenders {
                    contender.head.send_replace(published);
                    let last = Index(published.0 - 1);
                    contender.projector.wait_applied(last, LONG).await.unwrap();
                }
                if contenders.iter().all(|contender| contender.projector.undecided() == 0) {
                    return;
                }
                live.changed().await.unwrap();
            }
        };
        tokio::time::timeout(LONG, settled).await.unwrap();
    }

    /// Every intent has exactly one DECISION.
    #[track_caller]
    fn check(&self, what: &str) {
        let records = self.records();
        let decisions = records.iter().filter(|record| record["kind"] == "DECISION");
        let mut decided: Vec<_> =
            decisions.map(|record| record["payload"]["intent_index"].as_u64().unwrap()).collect();
        decided.sort_unstable();
        let intents = records.iter().filter(|record| record["kind"] == "INTENT");
        let intents: Vec<_> = intents.map(|record| record["index"].as_u64().unwrap()).collect();
        assert_eq!((intents.len() as u64, decided), (self.submitted, intents), "{what}");
    }

    async fn close(self, contenders: Vec<Contender>) {
        for contender in contenders {
            contender.stop().await;
            assert!(contender.projector.failed().is_none(), "{:?}", contender.projector.failed());
            tokio::task::spawn_blocking(move || contender.projector.stop()).await.unwrap();
        }
        self.queue.close();
        for hand in self.hands {
            hand.join().unwrap().unwrap();
        }
    }
}

impl Contender {
    fn decide(&mut self, world: &World) {
        let parts = Parts {
            store: Arc::clone(&world.store),
            blobs: Arc::clone(&world.blobs),
            queue: Arc::clone(&world.queue),
            projector: Arc::clone(&self.projector),
            settings: ActiveSettings::default(),
            metrics: DeciderMetrics::new(),
        };
        self.decider = Some(Decider::start(parts).unwrap());
    }

    /// Lets the projections see some more of the log.
    fn advance(&self, world: &World, records: u64) {
        let published = world.store.live.published();
        self.head.send_modify(|head| *head = Index((head.0 + records).min(published.0)));
    }

    async fn stop(&self) {
        tokio::task::block_in_place(|| self.decider.as_ref().unwrap().stop());
    }
}

/// Numbers below a bound, the same ones for a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn run(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test());
}

#[test]
fn two_deciders_make_one_decision_for_each_intent_however_they_are_interleaved() {
    for seed in 0..6 {
        run(async || {
            let (mut world, mut random) = (World::open(), Random(seed));
            let contenders = [world.contender(), world.contender()];
            for _ in 0..STEPS {
                let who = &contenders[usize::try_from(random.below(2)).unwrap()];
                match random.below(4) {
                    0 => world.submit(1 + random.below(12)).await,
                    // Both at once, so that they decide the same.
                    1 => contenders.iter().for_each(|one| one.advance(&world, 16)),
                    _ => who.advance(&world, 1 + random.below(8)),
                }
            }
            world.submit(1).await;
            world.settled(&[&contenders[0], &contenders[1]]).await;
            world.check(&format!("seed {seed}"));
            world.close(contenders.into()).await;
        });
    }
}

#[test]
fn a_decider_that_lost_a_race_goes_on_when_the_other_one_ends() {
    run(async || {
        let mut world = World::open();
        let (mut one, other) = (world.contender(), world.contender());
        world.submit(40).await;
        world.settled(&[&one, &other]).await;
        one.stop().await;
        world.submit(10).await;
        world.settled(&[&other]).await;
        world.check("the other one alone");
        // It comes back far behind, and what it finds undecided is decided.
        other.stop().await;
        one.decide(&world);
        world.settled(&[&one]).await;
        world.submit(10).await;
        world.settled(&[&one]).await;
        world.check("the first one alone");
        world.close(vec![one, other]).await;
    });
}
