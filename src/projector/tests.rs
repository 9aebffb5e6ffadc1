use std::time::Duration;

use gesta_log_format::disk::sim::SimDisk;
use gesta_log_format::envelope::{Draft, Expectation, Prepared};
use gesta_log_format::log::{self, Batch, Damage, Opened, Options, ReadError, Writer};
use gesta_log_format::segment::{Fill, SegmentId};
use gesta_log_format::{Digest, Kind, Timestamp};
use gesta_replay::event::Fault;
use gesta_replay::{EventError, FoldError};

use super::*;

/// No test waits so long unless it hangs.
const LONG: Duration = Duration::from_secs(60);

const FIRST_SEGMENT: SegmentId = SegmentId(Index::ZERO);

/// A log on a simulated disk with a derived store beside it.
struct World {
    disk: SimDisk,
    reader: Reader<SimDisk>,
    writer: Option<Writer<SimDisk>>,
    published: watch::Sender<Index>,
    db: sled::Db,
    pace: Pace,
    /// The newest batch, where it is to be had from memory.
    recent: Arc<Mutex<Option<(Index, Bytes)>>>,
}

impl World {
    fn new() -> Self {
        let disk = SimDisk::new(7);
        let options = Options {
            segment_bytes: 1 << 20,
            fill: Fill::None,
            fill_ahead_bytes_max: 4096,
            fill_piece_bytes_max: 4096,
            batch_bytes_max: 1 << 18,
            origin: None,
            new_origin: "gesta.local/test".to_owned(),
        };
        let Opened { writer, reader, .. } = log::open(disk.clone(), &options, &[], &mut |_, _| ()).unwrap();
        let db = sled::Config::new().temporary(true).open().unwrap();
        let pace = Pace { chunk_bytes: 2048, snapshot_records_min: 1000, snapshot_spacing: 1 };
        let published = watch::Sender::new(Index::ZERO);
        Self { disk, reader, writer: Some(writer), published, db, pace, recent: Arc::default() }
    }

    /// Appends one batch of `count` turns of an intent and its decision, and publishes it.
    fn append(&mut self, count: u64) -> (Index, Bytes) {
        let start = self.reader.head().0;
        let records = (0..count).flat_map(|turn| {
            let correlation = format!("c{}", start + turn);
            let intent = prepared(Kind::Intent, "submitted", &correlation, "{}");
            [intent, prepared(Kind::Decision, "decided", &correlation, "{\"result\":\"ALLOW\"}")]
        });
        self.append_records(&records.collect::<Vec<_>>())
    }

    fn append_records(&mut self, records: &[Prepared]) -> (Index, Bytes) {
        let writer = self.writer.take().unwrap();
        let mut batch = Batch::new(writer.next());
        for record in records {
            batch.push(record, Timestamp::from_micros(1));
        }
        let writer = writer.append(&batch).unwrap();
        writer.absorb(&batch);
        self.writer = Some(writer);
        self.published.send_replace(self.reader.head());
        (batch.start(), Bytes::copy_from_slice(batch.bytes()))
    }

    fn start(&self) -> Projector {
        self.start_under("gesta.local/test")
    }

    fn start_under(&self, origin: &str) -> Projector {
        let snapshots = Snapshots::open(&self.db, Origin(origin.to_owned())).unwrap();
        let recent = Arc::clone(&self.recent);
        let source = Source {
            reader: self.reader.clone(),
            head: self.published.subscribe(),
            recent: Box::new(move |range| {
                recent
                    .lock()
                    .unwrap()
                    .clone()
                    .filter(|(first, _)| *first == range.start)
                    .map(|(_, bytes)| bytes)
            }),
        };
        Projector::start(source, snapshots, Scope::Head, self.pace).unwrap()
    }

    fn tree(&self) -> sled::Tree {
        self.db.open_tree("projections").unwrap()
    }

    fn stored(&self) -> Option<String> {
        self.tree().get("head").unwrap().map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    /// Flips a bit of the text of the record at `index`; the byte at which the record begins.
    fn damage(&self, index: u64) -> u64 {
        let bytes = self.disk.read_raw(&FIRST_SEGMENT.path());
        let line = format!("\nid: {index}\n");
        let at = bytes.windows(line.len()).position(|window| window == line.as_bytes()).unwrap() as u64;
        self.disk.flip_bit(&FIRST_SEGMENT.path(), at + 60, 0);
        at - 63
    }
}

fn prepared(kind: Kind, type_name: &'static str, correlation_id: &str, payload: &str) -> Prepared {
    prepared_in("default", kind, type_name, correlation_id, payload)
}

fn prepared_in(
    stream_id: &str,
    kind: Kind,
    type_name: &'static str,
    correlation_id: &str,
    payload: &str,
) -> Prepared {
    let subjects = [Expectation { subject: format!("intent/{correlation_id}"), expected: None }];
    let draft = Draft {
        kind,
        type_name,
        stream_id,
        lane: "user",
        actor: "a",
        intent_type: "chat.message",
        thread_id: "t",
        turn_id: "u",
        parent_turn_id: None,
        correlation_id,
        cause: None,
        subjects: &subjects,
        payload: payload.as_bytes(),
    };
    Prepared::new(&draft).unwrap()
}

/// Waits until all that is published is applied.
#[track_caller]
fn wait(world: &World, projector: &Projector) {
    let last = Index(world.published.borrow().0 - 1);
    block_on(projector.wait_applied(last, LONG)).unwrap();
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

#[test]
fn what_is_published_is_applied_and_nothing_else() {
    let mut world = World::new();
    world.append(3);
    let projector = world.start();
    wait(&world, &projector);
    let status = projector.status("default");
    let expected = Status { applied: Index(6), phase: Phase::Allowed, last_index: Some(Index(5)), count: 6 };
    assert_eq!(status, expected);
    world.append_records(&[prepared(Kind::Intent, "submitted", "new", "{}")]);
    wait(&world, &projector);
    assert_eq!((projector.applied(), projector.status("default").phase), (Index(7), Phase::Intented));
    let other = Status { applied: Index(7), phase: Phase::Empty, last_index: None, count: 0 };
    assert_eq!(projector.status("other"), other);
}

#[test]
fn what_is_durable_and_not_published_is_not_applied() {
    let mut world = World::new();
    world.append(200);
    world.published.send_replace(Index(9));
    let projector = world.start();
    wait(&world, &projector);
    let mut applied = projector.watch();
    drop(world.published);
    block_on(async { applied.wait_for(|_| false).await.map(|_| ()) }).unwrap_err();
    assert_eq!(projector.applied(), Index(9));
}

#[test]
fn what_is_in_memory_is_not_read_from_the_disk() {
    let mut world = World::new();
    world.append(3);
    let projector = world.start();
    wait(&world, &projector);
    projector.stop();
    // More than one piece.
    let newest = world.append(60);
    world.damage(8);
    *world.recent.lock().unwrap() = Some(newest);
    let projector = world.start();
    wait(&world, &projector);
    world.append(2);
    wait(&world, &projector);
    assert_eq!((projector.status("default").count, projector.failed().is_none()), (130, true));
}

#[test]
fn all_that_was_published_is_applied_before_the_end() {
    let mut world = World::new();
    let projector = world.start();
    for _ in 0..20 {
        world.append(7);
    }
    drop(std::mem::replace(&mut world.published, watch::Sender::new(Index(280))));
    wait(&world, &projector);
    projector.stop();
    assert_eq!((projector.applied(), projector.failed().is_none()), (Index(280), true));
    assert!(world.stored().unwrap().contains("\"index\":280,"));
}

#[test]
fn a_start_folds_only_what_lies_behind_the_snapshot() {
    let mut world = World::new();
    world.append(50);
    let projector = world.start();
    wait(&world, &projector);
    projector.stop();
    let whole = projector.status("default");
    world.damage(10);
    let projector = world.start();
    assert_eq!(projector.status("default"), whole);
    world.append(1);
    wait(&world, &projector);
    assert_eq!(projector.status("default").count, 102);
    assert!(projector.failed().is_none());
}

#[test]
fn a_snapshot_is_written_after_so_many_records_and_at_the_end() {
    let mut world = World::new();
    world.pace.snapshot_records_min = 60;
    for _ in 0..4 {
        world.append(10);
    }
    let projector = world.start();
    wait(&world, &projector);
    // The thread takes the snapshot before it looks for more, so the one of the first 60 is there.
    world.append(1);
    wait(&world, &projector);
    let index =
        |stored: &str| stored.split("\"index\":").nth(1).unwrap().split(',').next().unwrap().parse::<u64>();
    let found = index(&world.stored().unwrap()).unwrap();
    assert!((60..82).contains(&found), "{found}");
    projector.stop();
    projector.stop();
    assert_eq!(index(&world.stored().unwrap()), Ok(82));
}

/// Appends turns, each in a stream of its own, so that the state grows with the log.
fn append_streams(world: &mut World, range: Range<u64>) {
    for nth in range {
        let (stream, correlation) = (format!("stream-{nth}-{}", "x".repeat(30)), format!("c{nth}"));
        world.append_records(&[prepared_in(&stream, Kind::Intent, "submitted", &correlation, "{}")]);
    }
}

#[test]
fn snapshots_take_no_more_bytes_than_the_log_however_large_the_state_is() {
    let mut world = World::new();
    world.pace.snapshot_records_min = 5;
    let mut written = world.tree().watch_prefix(b"head");
    let projector = world.start();
    for end in (20..=600).step_by(20) {
        append_streams(&mut world, end - 20..end);
        wait(&world, &projector);
    }
    projector.stop();
    drop(projector);
    let mut sizes = Vec::new();
    while let Ok(event) = written.next_timeout(Duration::from_millis(1)) {
        if let sled::Event::Insert { value, .. } = event {
            sizes.push(value.len() as u64);
        }
    }
    let log = world.disk.read_raw(&FIRST_SEGMENT.path()).len() as u64;
    let last = *sizes.last().unwrap();
    // But for the last one, which is written at the end whenever the one before it was.
    let total: u64 = sizes.iter().sum::<u64>() - last;
    assert!(sizes.len() > 3, "{sizes:?}");
    assert!(total <= log * 5 / 4, "{total} bytes of snapshots for {log} bytes of log: {sizes:?}");
    let every_time = (1..=600 / 5).map(|nth| last * nth * 5 / 600).sum::<u64>();
    assert!(every_time > 3 * log, "the bound is what keeps them few: {every_time} else");
}

#[test]
fn a_start_folds_no_more_bytes_than_it_restores() {
    let mut world = World::new();
    world.pace.snapshot_records_min = 5;
    let projector = world.start();
    append_streams(&mut world, 0..400);
    wait(&world, &projector);
    projector.stop();
    let snapshot = world.stored().unwrap().split_once('\n').unwrap().1.len() as u64;
    world.published.send_replace(Index(400));
    let projector = world.start();
    let log = |world: &World| world.disk.read_raw(&FIRST_SEGMENT.path()).len() as u64;
    let before = log(&world);
    for nth in 400.. {
        append_streams(&mut world, nth..nth + 1);
        wait(&world, &projector);
        // One more, so that the thread has gone past the place where it writes.
        append_streams(&mut world, nth + 10_000..nth + 10_001);
        wait(&world, &projector);
        let index =
            world.stored().unwrap().split("\"index\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
        let grown = log(&world) - before;
        if index != "400" {
            assert!(grown >= snapshot, "{grown} bytes of log behind {snapshot} of snapshot");
            break;
        }
        assert!(grown <= snapshot + 4 * 2048, "{grown} bytes of log behind {snapshot} of snapshot");
    }
}

#[track_caller]
fn check_discarded(origin: &str, head: Option<u64>, change: impl FnOnce(String) -> String) {
    let mut world = World::new();
    world.append(50);
    let projector = world.start();
    wait(&world, &projector);
    projector.stop();
    let whole = projector.status("default");
    let stored = change(world.stored().unwrap());
    world.tree().insert("head", stored.as_bytes()).unwrap();
    if let Some(records) = head {
        let db = world.db.clone();
        world = World { db, ..World::new() };
        world.append(records / 2);
    }
    world.published.send_replace(Index::ZERO);
    let projector = world.start_under(origin);
    assert_eq!(projector.applied(), Index::ZERO, "the fold begins at 0");
    assert_eq!(world.stored(), None, "what is of no use is deleted");
    world.published.send_replace(world.reader.head());
    wait(&world, &projector);
    if head.is_none() {
        assert_eq!(projector.status("default"), whole);
    }
}

#[test]
fn a_snapshot_that_does_not_fit_is_discarded() {
    let same = "gesta.local/test";
    check_discarded("gesta.local/other", None, |stored| stored);
    check_discarded(same, Some(10), |stored| stored);
    check_discarded(same, None, |stored| stored.replace("\"applied\":100", "\"applied\":101"));
    check_discarded(same, None, |stored| stored.replace("ALLOWED", "DENIED"));
    check_discarded(same, None, |stored| stored.replace("\"index\":100", "\"index\":99"));
    check_discarded(same, None, |stored| stored.replacen('\n', "", 1));
    check_discarded(same, None, |_| String::new());
    // A later version of the state, otherwise as it should be.
    check_discarded(same, None, |stored| {
        let (label, snapshot) = stored.split_once('\n').unwrap();
        let later = snapshot.replace("\"version\":1", "\"version\":2");
        let (old, new) = (Digest::of(snapshot.as_bytes()), Digest::of(later.as_bytes()));
        format!("{}\n{later}", label.replace(&old.to_string(), &new.to_string()))
    });
}

#[test]
fn damage_stops_the_projector_and_is_named() {
    let mut world = World::new();
    world.append(50);
    let byte = world.damage(61);
    let projector = world.start();
    let error = block_on(projector.wait_applied(Index(99), LONG)).unwrap_err();
    assert_eq!(error, NotApplied { min_index: Index(99), applied: Index(61) });
    let Some(Failure::Read(ReadError::Damaged(damaged))) = projector.failed() else {
        panic!("{:?}", projector.failed())
    };
    let found = (damaged.segment, damaged.byte, damaged.index, &damaged.damage);
    assert_eq!(found, (FIRST_SEGMENT, byte, Index(61), &Damage::Record));
    assert_eq!(projector.status("default").count, 61, "what was applied stays");
    let problem = Problem::from(error);
    let body = serde_json::to_value(problem.body()).unwrap();
    assert_eq!((&body["status"], &body["reason_code"]), (&503.into(), &"INDEX_NOT_APPLIED".into()));
    assert_eq!(body["applied"], 61);
}

#[test]
fn a_record_of_an_unknown_type_stops_the_projector_and_is_named() {
    let mut world = World::new();
    world.append(5);
    let byte = world.disk.read_raw(&FIRST_SEGMENT.path()).len() as u64;
    world.append_records(&[prepared(Kind::Task, "teleported", "c", "{}")]);
    let projector = world.start();
    let error = block_on(projector.wait_applied(Index(10), LONG)).unwrap_err();
    assert_eq!(error.applied, Index(10));
    let Some(Failure::Fold { segment, byte: found, index, cause }) = projector.failed() else {
        panic!("{:?}", projector.failed())
    };
    assert_eq!((*segment, *found, *index), (FIRST_SEGMENT, byte, Index(10)));
    let fault = Fault::UnknownType { kind: Kind::Task, name: "teleported".to_owned() };
    assert_eq!(cause, &FoldError::Event(EventError { index: Some(Index(10)), fault }));
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_what_does_not_come_ends() {
    let mut world = World::new();
    world.append(1);
    let projector = world.start();
    projector.watch().wait_for(|applied| *applied == Index(2)).await.unwrap();
    assert_eq!(projector.wait_applied(Index(1), LONG).await, Ok(Index(2)));
    let error = projector.wait_applied(Index(2), LONG).await.unwrap_err();
    assert_eq!(error, NotApplied { min_index: Index(2), applied: Index(2) });
}
