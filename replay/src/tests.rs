//! Tests of the fold as a whole, over random records.

use gesta_log_format::envelope::{Draft, Expectation, Prepared};
use gesta_log_format::{Index, Kind, Timestamp, json, record};
use proptest::prelude::*;

use crate::event::{Event, Fault, Verdict};
use crate::projections::head::Head;
use crate::projections::threads::Timeline;
use crate::{Fold, FoldError, Phase, Projection, RestoreError};

mod faults;
mod folds;
mod history;
mod payloads;
mod task_faults;
mod tasks;

/// What a record of the tests says; the rest is the same in all.
#[derive(Clone, Debug)]
struct Said {
    kind: Kind,
    type_name: &'static str,
    stream: &'static str,
    thread: &'static str,
    turn: &'static str,
    correlation: &'static str,
    payload: &'static str,
}

const INTENT: (Kind, &str, &str) = (Kind::Intent, "submitted", "{\"text\":\"hi\"}");
const ALLOW: (Kind, &str, &str) = (Kind::Decision, "decided", "{\"policy\":{},\"result\":\"ALLOW\"}");
const DENY: (Kind, &str, &str) = (Kind::Decision, "decided", "{\"result\":\"DENY\"}");
const RUNNING: (Kind, &str, &str) = (Kind::Execution, "running", "{}");
const COMPLETED: (Kind, &str, &str) = (Kind::Execution, "completed", "{}");
const CANCELLED: (Kind, &str, &str) = (Kind::Execution, "cancelled", "{}");
const SESSION: (Kind, &str, &str) = (Kind::Session, "created", "{}");
const EVENT: (Kind, &str, &str) = (Kind::Execution, "event", "{}");
const BODIES: [(Kind, &str, &str); 8] = [INTENT, ALLOW, DENY, RUNNING, COMPLETED, CANCELLED, SESSION, EVENT];

fn said(body: (Kind, &'static str, &'static str), turn: &'static str, correlation: &'static str) -> Said {
    let (kind, type_name, payload) = body;
    Said { kind, type_name, stream: "default", thread: "t", turn, correlation, payload }
}

/// The envelope of the record at `index`.
fn written(said: &Said, index: u64) -> Vec<u8> {
    let subjects = [Expectation { subject: format!("x/{index}"), expected: None }];
    let draft = Draft {
        kind: said.kind,
        type_name: said.type_name,
        stream_id: said.stream,
        lane: "user",
        actor: "a",
        intent_type: "chat.message",
        thread_id: said.thread,
        turn_id: said.turn,
        parent_turn_id: None,
        correlation_id: said.correlation,
        cause: None,
        subjects: &subjects,
        payload: said.payload.as_bytes(),
    };
    let mut out = Vec::new();
    let prepared = Prepared::new(&draft).unwrap();
    record::encode(&mut out, &prepared, Index(index), Index(index), Timestamp::from_micros(1));
    record::decode(&out).unwrap().data.to_vec()
}

fn log(records: &[Said]) -> Vec<Vec<u8>> {
    (0..).zip(records).map(|(index, said)| written(said, index)).collect()
}

fn fold<P: Projection>(mut projection: P, log: &[Vec<u8>]) -> P {
    let mut fold = Fold::new(vec![&mut projection]);
    for data in log {
        fold.record(data).unwrap();
    }
    projection
}

fn records() -> impl Strategy<Value = Vec<Said>> {
    let one = (
        prop::sample::select(&BODIES[..]),
        prop::sample::select(vec!["default", "b", "a.b-c_d", "\u{10000}", "\u{ffff}\""]),
        prop::sample::select(vec!["t", "other", "qu\"ote \\ \u{2028} ä\u{7}"]),
        prop::sample::select(vec!["u1", "u2", "u3\n", ""]),
        prop::sample::select(vec!["c-1", "c-2", "c\"3", ""]),
    );
    let said = one.prop_map(|((kind, type_name, payload), stream, thread, turn, correlation)| Said {
        kind,
        type_name,
        stream,
        thread,
        turn,
        correlation,
        payload,
    });
    prop::collection::vec(said, 0..60)
}

/// Folding in one go, and with a snapshot after the first `cut` records.
fn check_snapshot<P: Projection + PartialEq + std::fmt::Debug>(
    empty: impl Fn() -> P,
    log: &[Vec<u8>],
    cut: usize,
) {
    let whole = fold(empty(), log);
    let snapshot = fold(empty(), &log[..cut]).snapshot();
    assert!(json::is_canonical(&snapshot), "{}", String::from_utf8_lossy(&snapshot));
    let restored = P::restore(&snapshot).unwrap();
    assert_eq!(restored.snapshot(), snapshot);
    let resumed = fold(restored, &log[cut..]);
    assert_eq!(resumed, whole);
    assert_eq!(resumed.digest(), whole.digest());
    assert_eq!(fold(empty(), log).digest(), whole.digest());
}

proptest! {
    #[test]
    fn a_fold_with_a_snapshot_anywhere_is_the_fold_in_one_go(records in records(), cut in any::<prop::sample::Index>()) {
        let log = log(&records);
        let cut = cut.index(log.len() + 1);
        check_snapshot(Head::default, &log, cut);
        for thread in ["t", "qu\"ote \\ \u{2028} ä\u{7}"] {
            check_snapshot(|| Timeline::new("default", thread), &log, cut);
            check_snapshot(|| Timeline::new("\u{ffff}\"", thread), &log, cut);
        }
    }

    #[test]
    fn the_projections_say_what_a_walk_over_the_records_says(records in records()) {
        let log = log(&records);
        let head = fold(Head::default(), &log);
        for (stream_id, found) in head.streams() {
            let of_stream = || (0..).zip(&records).filter(|(_, said)| said.stream == stream_id);
            prop_assert_eq!(found.count, of_stream().count() as u64);
            prop_assert_eq!(Some(found.last_index), of_stream().last().map(|(index, _)| Index(index)));
        }
        prop_assert_eq!(head.streams().map(|(_, stream)| stream.count).sum::<u64>(), log.len() as u64);
        let timeline = fold(Timeline::new("default", "t"), &log);
        for turn in timeline.turns() {
            let expected: Vec<_> = (0..).zip(&records)
                .filter(|(_, said)| (said.stream, said.thread, said.turn) == ("default", "t", turn.turn_id()))
                .map(|(index, _)| Index(index))
                .collect();
            prop_assert_eq!(turn.events(), &expected[..]);
        }
        prop_assert!(timeline.turns().is_sorted_by(|a, b| a.first_index() < b.first_index()));
    }

    #[test]
    fn the_pages_of_a_timeline_are_its_turns(records in records(), turns_max in 1..4_usize) {
        let timeline = fold(Timeline::new("default", "t"), &log(&records));
        let (mut found, mut since) = (Vec::new(), None);
        loop {
            let page = timeline.page(since, turns_max);
            prop_assert!(page.turns.len() <= turns_max);
            found.extend_from_slice(page.turns);
            since = page.next;
            if since.is_none() {
                break;
            }
        }
        prop_assert_eq!(found, timeline.turns());
    }

    #[test]
    fn a_changed_snapshot_is_refused_or_is_another_state(
        records in records(), at in any::<prop::sample::Index>(), bit in 0..7_u8,
    ) {
        let log = log(&records);
        for snapshot in [fold(Head::default(), &log).snapshot(), fold(Timeline::new("b", "t"), &log).snapshot()] {
            let mut changed = snapshot.clone();
            changed[at.index(snapshot.len())] ^= 1 << bit;
            if let Ok(head) = Head::restore(&changed) {
                prop_assert_eq!(head.snapshot(), &changed[..]);
            }
            if let Ok(timeline) = Timeline::restore(&changed) {
                prop_assert_eq!(timeline.snapshot(), &changed[..]);
            }
        }
    }
}

#[track_caller]
fn check_phase(records: &[Said], expected: Phase) {
    let log = log(records);
    let head = fold(Head::default(), &log);
    assert_eq!(head.stream("default").map_or(Phase::Empty, |stream| stream.phase), expected);
    let timeline = fold(Timeline::new("default", "t"), &log);
    let last = records.iter().rfind(|said| said.kind == Kind::Intent).or(records.last());
    let turn = timeline.turns().iter().find(|turn| Some(turn.turn_id()) == last.map(|said| said.turn));
    assert_eq!(turn.map_or(Phase::Empty, |turn| turn.phase()), expected);
}

#[test]
fn the_phase_follows_the_intent_that_was_submitted_last() {
    let first = |body| said(body, "u1", "c-1");
    check_phase(&[], Phase::Empty);
    check_phase(&[first(SESSION)], Phase::Empty);
    check_phase(&[first(INTENT)], Phase::Intented);
    check_phase(&[first(INTENT), first(DENY)], Phase::Denied);
    check_phase(&[first(INTENT), first(ALLOW)], Phase::Allowed);
    check_phase(&[first(INTENT), first(ALLOW), first(RUNNING), first(EVENT)], Phase::Running);
    check_phase(&[first(INTENT), first(ALLOW), first(RUNNING), first(COMPLETED)], Phase::Executed);
    check_phase(&[first(INTENT), first(ALLOW), first(CANCELLED)], Phase::Failed);
    let (same_turn, next_turn) = (said(INTENT, "u1", "c-2"), said(INTENT, "u2", "c-2"));
    for second in [same_turn, next_turn] {
        check_phase(&[first(INTENT), first(ALLOW), second, first(COMPLETED)], Phase::Intented);
    }
}

#[test]
fn the_state_of_the_head_is_written_as_documented() {
    let records = [said(SESSION, "u", "s"), said(INTENT, "u", "c-1"), said(ALLOW, "u", "c-1")];
    let other = Said { stream: "b", ..said(SESSION, "u", "s") };
    let head = fold(Head::default(), &log(&[&records[..], &[other]].concat()));
    assert_eq!(
        String::from_utf8(head.snapshot()).unwrap(),
        "{\"projection\":\"head\",\"state\":{\"applied\":4,\"streams\":[\
         {\"correlation_id\":null,\"count\":1,\"last_index\":3,\"phase\":\"EMPTY\",\"stream_id\":\"b\"},\
         {\"correlation_id\":\"c-1\",\"count\":3,\"last_index\":2,\"phase\":\"ALLOWED\",\"stream_id\":\"default\"}\
         ]},\"version\":1}"
    );
    assert_eq!(
        head.digest().to_string(),
        "sha256:b27caa5f372e3eb0175cec62d65e38f0d1e70ff85f5db6b03c489506479fc43d"
    );
}

/// The envelope with one text replaced by another.
fn replaced(from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(written(&said(ALLOW, "u", "c-1"), 7)).unwrap();
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1).into_bytes()
}

#[track_caller]
fn check_fault(from: &str, to: &str, index: Option<u64>, expected: &Fault) {
    let error = Event::parse(&replaced(from, to)).expect_err("a bad envelope");
    assert_eq!((error.index, &error.fault), (index.map(Index), expected), "{error}");
}

#[test]
fn what_is_unknown_is_an_error_that_names_it() {
    check_fault("\"DECISION\"", "\"VERDICT\"", Some(7), &Fault::UnknownKind { name: "VERDICT".into() });
    let unknown = Fault::UnknownType { kind: Kind::Decision, name: "overturned".into() };
    check_fault("\"decided\"", "\"overturned\"", Some(7), &unknown);
    let error = Event::parse(&replaced("\"decided\"", "\"overturned\"")).unwrap_err().to_string();
    assert!(
        error.contains("index 7") && error.contains("\"overturned\"") && error.contains("DECISION"),
        "{error}"
    );
    check_fault("\"DECISION\"", "9", Some(7), &Fault::Member { member: "kind" });
    check_fault("\"decided\"", "[]", Some(7), &Fault::Member { member: "type" });
    check_fault("\"cause\":null", "\"cause\":-1", Some(7), &Fault::Member { member: "cause" });
    check_fault("\"lane\"", "\"line\"", Some(7), &Fault::Member { member: "lane" });
    check_fault("\"index\":7", "\"index\":07", None, &Fault::Member { member: "index" });
    check_fault("\"decided\"}", "\"decided\",\"z\":1}", Some(7), &Fault::Surplus);
    assert_eq!(Event::parse(b"").unwrap_err().fault, Fault::Member { member: "actor" });
}

#[test]
fn a_decision_that_neither_allows_nor_denies_stops_the_fold_of_its_intent() {
    let mut head = Head::default();
    let data = [written(&said(INTENT, "u", "c-1"), 0), written(&said(ALLOW, "u", "c-1"), 1)];
    head.apply(&Event::parse(&data[0]).unwrap()).unwrap();
    let allowed = Event::parse(&data[1]).unwrap();
    assert_eq!(allowed.verdict(), Ok(Verdict::Allow));
    let before = head.clone();
    let maybe = String::from_utf8(data[1].clone()).unwrap().replace("ALLOW", "MAYBE");
    let error = head.apply(&Event::parse(maybe.as_bytes()).unwrap()).unwrap_err();
    let expected = Fault::UnknownResult { found: Some("\"MAYBE\"".into()) };
    assert!(matches!(&error, FoldError::Event(event) if event.fault == expected), "{error}");
    assert_eq!(head, before, "an error changes nothing");
}

#[test]
fn a_fold_insists_on_every_index_and_resumes_each_projection_where_it_was() {
    let log = log(&vec![said(INTENT, "u", "c-1"); 5]);
    let (mut ahead, mut behind) = (fold(Head::default(), &log[..3]), Head::default());
    let mut both = Fold::new(vec![&mut ahead, &mut behind]);
    assert_eq!(both.next(), Index(0));
    let error = both.record(&log[1]).unwrap_err();
    assert_eq!(error, FoldError::OutOfPlace { expected: Index(0), found: Index(1) });
    for data in &log {
        both.record(data).unwrap();
    }
    assert_eq!(ahead, behind);
    let mut timeline = fold(Timeline::new("default", "t"), &log);
    let error = timeline.apply(&Event::parse(&log[4]).unwrap()).unwrap_err();
    assert_eq!(error, FoldError::Again { applied: Index(5), found: Index(4) });
}

#[test]
fn a_snapshot_of_another_projection_or_version_is_refused() {
    let head = fold(Head::default(), &log(&[said(INTENT, "u", "c-1")]));
    let text = String::from_utf8(head.snapshot()).unwrap();
    let restored = |from: &str, to: &str| {
        assert!(text.contains(from));
        Head::restore(text.replace(from, to).as_bytes()).unwrap_err()
    };
    assert!(matches!(Timeline::restore(text.as_bytes()), Err(RestoreError::OtherProjection { .. })));
    assert!(matches!(
        restored("\"version\":1", "\"version\":2"),
        RestoreError::OtherVersion { found: 2, wanted: 1 }
    ));
    assert!(matches!(restored("\"applied\":1", "\"applied\":2"), RestoreError::Contradiction { .. }));
    assert!(matches!(restored("INTENTED", "EMPTY"), RestoreError::Contradiction { .. }));
    assert!(matches!(restored("\"applied\":1,", ""), RestoreError::Form { .. }));
    assert!(matches!(
        restored("\"applied\":1,", "\"applied\":9007199254740992,"),
        RestoreError::NotCanonical
    ));
}
