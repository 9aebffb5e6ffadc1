//! A saved tail whose connection broke at any byte of a record holds every whole record and nothing bad.

#![expect(clippy::indexing_slicing, reason = "a test that indexes beyond what it made fails, as it should")]

use gesta_log_format::record;
use gesta_log_format::saved_tail::{Item, Items};

const TAIL: &[u8] = include_bytes!("../../fixtures/format/golden/tail.sse");
const HELLO: &[u8] =
    b"retry: 1000\nevent: log\ndata: {\"first\":0,\"generation\":1,\"head\":1,\"origin\":\"o\"}\n\n";

fn whole_record() -> &'static [u8] {
    let at = memchr::memmem::find(TAIL, b": g1 ").expect("a record");
    record::decode(&TAIL[at..]).expect("a record").bytes
}

/// The indexes of the whole records.
#[track_caller]
fn records(bytes: &[u8]) -> Vec<u64> {
    let mut found = Vec::new();
    for item in Items::new(bytes) {
        match item {
            Item::Record(record) => found.push(record.index.0),
            Item::Control { .. } | Item::CutOff { .. } => {}
            Item::Bad { len, reason } => panic!("a bad record of {len} bytes: {reason}"),
        }
    }
    found
}

#[test]
fn a_connection_that_broke_at_any_byte_and_came_back_loses_nothing() {
    let record = whole_record();
    for cut in 0..record.len() {
        let bytes = [HELLO, &record[..cut], HELLO, record].concat();
        assert_eq!(records(&bytes), [0], "cut after {cut} bytes");
    }
}

#[test]
fn a_file_that_ends_at_any_byte_of_a_record_ends_in_a_cut() {
    let record = whole_record();
    for cut in 0..record.len() {
        let bytes = [HELLO, record, &record[..cut]].concat();
        assert_eq!(records(&bytes), [0], "cut after {cut} bytes");
    }
}

#[test]
fn a_whole_record_with_a_changed_byte_is_bad() {
    let record = whole_record();
    for byte in [5, 20, 40, 63, 70, record.len() - 3] {
        let mut changed = record.to_vec();
        changed[byte] ^= 1;
        let bytes = [HELLO, &changed, record].concat();
        let bad = Items::new(&bytes).any(|item| matches!(item, Item::Bad { .. } | Item::CutOff { .. }));
        assert!(bad, "byte {byte}");
    }
}
