use super::{Draft, Expectation, PrepareError, Prepared, View, digest_of};
use crate::record::{self, DATA_BYTES_MAX, RECORD_BYTES_MAX};
use crate::{Index, Kind, Timestamp, json};
use proptest::prelude::*;

fn draft<'a>(subjects: &'a [Expectation], text: &'a str, payload: &'a [u8]) -> Draft<'a> {
    Draft {
        kind: Kind::Intent,
        type_name: "submitted",
        stream_id: "default",
        lane: "user",
        actor: text,
        intent_type: "chat.message",
        thread_id: text,
        turn_id: "turn",
        parent_turn_id: Some(text),
        correlation_id: "c-1",
        cause: Some(Index(41)),
        subjects,
        payload,
    }
}

fn subjects() -> [Expectation; 2] {
    [
        Expectation { subject: "intent/c-1".to_owned(), expected: None },
        Expectation { subject: "dataset/\"x\"/1".to_owned(), expected: Some(Index(7)) },
    ]
}

fn written(draft: &Draft<'_>, index: Index) -> Vec<u8> {
    let prepared = Prepared::new(draft).expect("a draft that fits");
    let mut out = Vec::new();
    record::encode(&mut out, &prepared, index, index, Timestamp::from_micros(1));
    record::decode(&out).expect("a record").data.to_vec()
}

#[test]
fn an_envelope_is_canonical_and_reads_back_member_by_member() {
    let subjects = subjects();
    let data = written(&draft(&subjects, "ann \u{2028} \"q\"", b"{\"text\":\"hi\"}"), Index(66));
    assert!(json::is_canonical(&data), "{}", String::from_utf8_lossy(&data));
    let view = View::parse(&data).expect("an envelope");
    assert_eq!(json::canonical::unescape(view.actor).as_deref(), Some("ann \u{2028} \"q\""));
    assert_eq!((view.index, view.cause, view.kind), (Index(66), Some(Index(41)), Kind::Intent));
    assert_eq!(view.payload_member("text"), Some(&b"\"hi\""[..]));
    let found: Option<Vec<_>> = view.subjects().collect();
    let found = found.expect("whole subjects");
    assert_eq!((found[0].subject, found[0].expected), (&b"intent/c-1"[..], None));
    assert_eq!((found[1].subject, found[1].expected), (&b"dataset/\\\"x\\\"/1"[..], Some(Index(7))));
    assert_eq!(digest_of(&data), view.digest());
}

#[test]
fn what_is_observational_is_outside_the_digest_wherever_it_stands() {
    let subjects = subjects();
    let of = |payload: &[u8]| {
        let prepared = Prepared::new(&draft(&subjects, "a", payload)).expect("a draft that fits");
        let data = written(&draft(&subjects, "a", payload), Index(3));
        assert_eq!(digest_of(&data), Some(prepared.digest()), "{}", String::from_utf8_lossy(payload));
        prepared.digest()
    };
    let (bare, one) = (of(b"{}"), of(b"{\"a\":1}"));
    assert_eq!(of(b"{\"_obs\":{\"t\":\"x\"}}"), bare);
    assert_eq!(of(b"{\"_obs\":{\"t\":\"x\"},\"a\":1}"), one);
    assert_eq!(of(b"{\"A\":1,\"_obs\":2}"), of(b"{\"A\":1}"));
    assert_eq!(of(b"{\"A\":1,\"_obs\":[2],\"a\":1}"), of(b"{\"A\":1,\"a\":1}"));
    assert_ne!(
        of(b"{\"a\":{\"_obs\":1}}"),
        of(b"{\"a\":{}}"),
        "only the payload's own member is observational"
    );
}

#[test]
fn index_and_time_are_outside_the_digest_and_all_else_is_inside() {
    let subjects = subjects();
    let digest = |draft: &Draft<'_>, index| digest_of(&written(draft, index));
    let base = draft(&subjects, "a", b"{}");
    assert_eq!(digest(&base, Index(1)), digest(&base, Index(900_000)));
    assert_ne!(digest(&base, Index(1)), digest(&draft(&subjects, "b", b"{}"), Index(1)));
    assert_ne!(digest(&base, Index(1)), digest(&draft(&subjects[..1], "a", b"{}"), Index(1)));
    assert_ne!(digest(&base, Index(1)), digest(&Draft { cause: None, ..base.clone() }, Index(1)));
}

#[test]
fn the_largest_envelope_fits_a_record_and_one_byte_more_is_refused() {
    let subjects = subjects();
    let payload = |len: usize| format!("{{\"t\":\"{}\"}}", "x".repeat(len));
    let spare = {
        let small = payload(0);
        let prepared = Prepared::new(&draft(&subjects, "a", small.as_bytes())).expect("a draft that fits");
        DATA_BYTES_MAX - (prepared.text.len() + 16 + Timestamp::TEXT_LEN)
    };
    let largest = payload(spare);
    let prepared = Prepared::new(&draft(&subjects, "a", largest.as_bytes())).expect("a draft that fits");
    let mut out = Vec::new();
    record::encode(&mut out, &prepared, Index::MAX, Index::MAX, Timestamp::MAX);
    assert!(out.len() <= RECORD_BYTES_MAX && out.len() <= prepared.record_bytes_max());
    assert_eq!(record::decode(&out).map(|record| record.data.len()), Ok(DATA_BYTES_MAX));
    let refused = Prepared::new(&draft(&subjects, "a", payload(spare + 1).as_bytes()));
    assert_eq!(refused, Err(PrepareError::TooLarge { len: DATA_BYTES_MAX + 1 }));
}

#[test]
fn a_payload_that_is_no_object_is_refused() {
    let subjects = subjects();
    for payload in [&b"[]"[..], b"null", b"", b"{", b"{\"_obs\":1"] {
        assert_eq!(Prepared::new(&draft(&subjects, "a", payload)), Err(PrepareError::Payload));
    }
}

proptest! {
    #[test]
    fn the_strict_reader_accepts_every_envelope(text in "\\PC{1,40}", value in any::<i32>(), index in 0u64..1 << 53) {
        let subjects = subjects();
        let payload = format!("{{\"n\":{value}}}");
        let data = written(&draft(&subjects, &text, payload.as_bytes()), Index(index));
        prop_assert!(json::is_canonical(&data));
        let view = View::parse(&data).expect("an envelope");
        prop_assert_eq!(json::canonical::unescape(view.thread_id), Some(text.as_str().into()));
        prop_assert_eq!(digest_of(&data), view.digest());
        for cut in 0..data.len() {
            prop_assert_eq!(View::parse(&data[..cut]), None);
        }
    }
}
