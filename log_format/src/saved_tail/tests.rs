//! Saved tails as curl leaves them behind: cut, resumed, repeated, filtered, changed.

use super::*;
use crate::disk::sim::SimDisk;
use crate::disk::{Disk, File};
use crate::envelope::{Draft, Expectation, Prepared};
use crate::log::offline::Depth;
use crate::log::{Batch, offline};
use crate::{Index, Kind, Timestamp};

const CONNECTED: &str = "retry: 1000\nevent: log\ndata: {\"first\":0,\"generation\":1,\"head\":9,\"origin\":\"gesta.local/a\"}\n\n";

fn intent(index: u64, text: &str) -> Prepared {
    let correlation_id = format!("c{index}");
    let mut payload = b"{\"text\":".to_vec();
    crate::json::write_string(&mut payload, text);
    payload.push(b'}');
    let draft = Draft {
        kind: Kind::Intent,
        type_name: "submitted",
        stream_id: "default",
        lane: "user",
        actor: "a",
        intent_type: "chat.message",
        thread_id: "t",
        turn_id: "u",
        parent_turn_id: None,
        correlation_id: &correlation_id,
        cause: None,
        subjects: &[Expectation { subject: format!("intent/{correlation_id}"), expected: None }],
        payload: &payload,
    };
    Prepared::new(&draft).expect("a small intent")
}

/// One record of a client that writes what looks like the marks of a tail.
fn record(index: u64) -> Vec<u8> {
    let text = format!("{index} retry: 1000\nevent: log\n\n: g1 000002a4 0000000000000040 \n\nretry:");
    let mut batch = Batch::new(Index(index));
    batch.push(&intent(index, &text), Timestamp::from_micros(1));
    batch.bytes().to_vec()
}

fn records(indexes: std::ops::Range<u64>) -> Vec<u8> {
    indexes.flat_map(record).collect()
}

fn file(bytes: &[u8]) -> <SimDisk as Disk>::File {
    let file = SimDisk::new(1).create_new("saved").expect("a new file");
    file.write_at(bytes, 0).expect("a working disk");
    file
}

#[derive(Debug, PartialEq, Eq)]
struct Walked {
    indexes: Vec<u64>,
    notes: Vec<Note>,
    damage: Option<Damage>,
    repeated: u64,
}

fn walked(bytes: &[u8]) -> Walked {
    let (mut indexes, mut notes) = (Vec::new(), Vec::new());
    let visit = &mut |record: &Record<'_>, _| {
        indexes.push(record.index.0);
        true
    };
    let summary =
        walk(&file(bytes), 0, Depth::Envelopes, visit, &mut |note| notes.push(note)).expect("readable");
    assert_eq!(summary.records, u64::try_from(indexes.len()).expect("few"));
    Walked {
        indexes,
        notes,
        damage: summary.damage.map(|damaged| damaged.damage),
        repeated: summary.repeated,
    }
}

#[track_caller]
fn check(bytes: &[u8], indexes: std::ops::Range<u64>, repeated: u64) {
    let expected = Walked { indexes: indexes.collect(), notes: Vec::new(), damage: None, repeated };
    assert_eq!(walked(bytes), expected);
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn control_blocks_comments_and_zeroes_are_passed_over() {
    let cursor = b"id: 2\nevent: cursor\ndata: 2\n\n";
    let caught_up = b"event: caught-up\ndata: {\"head\":3}\n\n";
    let tail =
        joined(&[CONNECTED.as_bytes(), &records(0..3), cursor, b":\n", caught_up, &[0; 600], &records(3..5)]);
    check(&tail, 0..5, 0);
    let events: Vec<_> = Items::new(&tail)
        .filter_map(|item| if let Item::Control { event, .. } = item { Some(event) } else { None })
        .collect();
    assert_eq!(events, ["log", "cursor", "caught-up"]);
    check(&records(7..9), 7..9, 0);
    check(b"", 0..0, 0);
}

#[test]
fn a_tail_cut_anywhere_is_no_damage_and_whole_again_once_it_is_resumed() {
    let tail = joined(&[CONNECTED.as_bytes(), &records(0..3)]);
    for cut in 0..=tail.len() {
        let before = &tail[..cut];
        let whole = Items::new(before).filter(|item| matches!(item, Item::Record(_))).count();
        let found = walked(before);
        assert_eq!((found.indexes.len(), found.damage), (whole, None), "cut at {cut}");
        let from = u64::try_from(whole).expect("few");
        let resumed = walked(&joined(&[before, CONNECTED.as_bytes(), &records(from..5)]));
        assert_eq!((resumed.indexes, resumed.damage), ((0..5).collect(), None), "cut at {cut}");
        assert!(resumed.notes.iter().all(|note| matches!(note, Note::CutOff { .. })), "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_is_damage_wherever_it_is_in_a_record() {
    let tail = joined(&[CONNECTED.as_bytes(), &records(0..3)]);
    for byte in CONNECTED.len()..tail.len() {
        for bit in 0..8 {
            let mut changed = tail.clone();
            changed[byte] ^= 1 << bit;
            let found = walked_items(&changed);
            // A length that grew past the end of the file leaves nothing to tell a changed record from a cut one
            // but the blank line that a cut one cannot have.
            assert!(found.is_err(), "bit {bit} of byte {byte} was flipped unseen: {found:?}");
        }
    }
    assert_eq!(walked_items(&tail), Ok(3));
}

/// The records of the bytes if nothing is wrong with them, without the cost of a disk.
fn walked_items(bytes: &[u8]) -> Result<u64, String> {
    let mut next = 0;
    for item in Items::new(bytes) {
        match item {
            Item::Record(record) if record.index.0 == next => next += 1,
            Item::Control { .. } => {}
            Item::Record(_) | Item::CutOff { .. } | Item::Bad { .. } => return Err(format!("{item:?}")),
        }
    }
    if next == 3 { Ok(next) } else { Err(format!("{next} records")) }
}

#[test]
fn a_changed_record_is_not_taken_for_a_cut_one() {
    let tail = records(0..3);
    let one = record(1);
    let at = record(0).len();
    for (byte, value) in [(at + 7, b'f'), (at + 40, b'z'), (at + one.len() - 30, b'~'), (at, b';')] {
        let mut changed = tail.clone();
        changed[byte] = value;
        let found = walked(&changed);
        assert_eq!(found.indexes, [0], "byte {byte}");
        assert!(matches!(found.damage, Some(Damage::Record(_))), "byte {byte}: {found:?}");
        let mut kept = Vec::new();
        let salvaged = offline::salvage_tail(file(&changed), &mut |record, _| {
            kept.push(record.index.0);
            Ok(())
        })
        .expect("readable");
        assert_eq!(kept, [0, 2]);
        assert_eq!((salvaged.losses[0].from, salvaged.losses[0].until), (Index(1), Some(Index(2))));
    }
}

#[test]
fn records_that_come_again_have_to_be_the_same_bytes() {
    let all = records(0..1200);
    check(&joined(&[&all, &all]), 0..1200, 1200);
    check(&joined(&[&all, &record(7), &record(5), &records(600..1201)]), 0..1201, 602);
    let mut batch = Batch::new(Index(1));
    batch.push(&intent(1, "another"), Timestamp::from_micros(1));
    let found = walked(&joined(&[&records(0..3), batch.bytes()]));
    assert_eq!((found.indexes.len(), found.damage), (3, Some(Damage::Different)));
    let found = walked(&joined(&[&records(5..8), &records(0..9)]));
    assert_eq!(found.damage, Some(Damage::OutOfOrder { expected: Index(8) }));
}

#[test]
fn a_gap_is_named_and_what_fills_it_later_is_out_of_order() {
    let found = walked(&joined(&[&records(0..2), &records(5..6)]));
    let byte = u64::try_from(records(0..2).len()).expect("small");
    assert_eq!(found.notes, [Note::Gap { from: Index(2), next: Index(5), byte }]);
    assert_eq!((found.indexes, found.damage), (vec![0, 1, 5], None));
    assert_eq!(
        found.notes[0].to_string(),
        format!("records 2 to 4 are not in this file (before byte {byte})")
    );
    let found = walked(&joined(&[&records(0..2), &records(5..6), &record(3)]));
    assert_eq!(found.damage, Some(Damage::OutOfOrder { expected: Index(6) }));
}

#[test]
fn a_later_connection_to_another_log_is_damage() {
    let other = CONNECTED.replace("gesta.local/a", "gesta.local/b");
    let found = walked(&joined(&[CONNECTED.as_bytes(), &records(0..2), other.as_bytes(), &records(2..3)]));
    assert_eq!((found.indexes.len(), found.damage), (2, Some(Damage::Foreign)));
}

/// SplitMix64.
fn number(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    crate::size::mem(z ^ (z >> 31)) % below
}

#[test]
fn the_reader_finds_the_items_that_a_walk_over_the_bytes_finds() {
    for seed in 0..60 {
        let mut state = seed;
        let mut bytes = Vec::new();
        for _ in 0..40 {
            let part = match number(&mut state, 6) {
                0 => CONNECTED.as_bytes().to_vec(),
                1 => vec![0; number(&mut state, 3000)],
                2 => vec![b'x'; number(&mut state, 200_000)],
                3 => (0..number(&mut state, 3000))
                    .map(|_| u8::try_from(number(&mut state, 256)).unwrap())
                    .collect(),
                _ => records(0..3),
            };
            let whole = number(&mut state, 3) > 0;
            let len = if whole { part.len() } else { number(&mut state, part.len() + 1) };
            bytes.extend_from_slice(&part[..len]);
        }
        let file = file(&bytes);
        let mut reader = Reader::new(&file, 0);
        let mut items = Items::new(&bytes);
        loop {
            let found = reader.next().expect("readable").map(|(item, _)| format!("{item:?}"));
            assert_eq!(found, items.next().map(|item| format!("{item:?}")), "seed {seed}");
            assert_eq!(reader.at(), u64::try_from(items.at()).expect("small"), "seed {seed}");
            if found.is_none() {
                break;
            }
        }
    }
}
