use std::fs;
use std::path::Path;

use gesta_log_format::checkpoint::Checkpoint;
use gesta_log_format::envelope::View;
use gesta_log_format::note::SecretKey;
use gesta_log_format::tree::{CompactRange, leaf_hash};
use gesta_log_format::{Kind, json};
use proptest::prelude::*;
use serde_json::Value;

use crate::run::{found, verify};
use crate::support::fixtures::decided;
use crate::support::prefix::said;
use crate::support::{Maker, ORIGIN, changed, example, redigested, rerequested, write_segment};

/// Writes the envelopes with frames that hold, and verifies them.
#[track_caller]
fn judge(maker: &Maker, envelopes: &[Vec<u8>], more: &[&str]) -> (i32, Vec<(String, Option<u64>)>) {
    let dir = tempfile::tempdir().unwrap();
    write_segment(dir.path(), envelopes);
    maker.write_blobs(dir.path());
    let (code, report) = verify(dir.path(), more);
    (code, found(&report))
}

#[track_caller]
fn check(maker: &Maker, envelopes: &[Vec<u8>], code: i32, rule: &str, index: u64) {
    let (found_code, found) = judge(maker, envelopes, &[]);
    assert_eq!(found_code, code, "{found:?}");
    assert!(found.contains(&(rule.to_owned(), Some(index))), "{rule} at {index} is not in {found:?}");
}

/// The index of the nth record of a kind and type.
fn nth(maker: &Maker, kind: Kind, type_name: &str, nth: usize) -> usize {
    let is = |data: &&Vec<u8>| {
        let view = View::parse(data).unwrap();
        (view.kind, view.type_name) == (kind, type_name)
    };
    let records = &maker.log.records;
    let found = records.iter().enumerate().filter(|(_, data)| is(data)).nth(nth);
    found.unwrap().0
}

#[test]
fn a_forged_decision_with_valid_digests_diverged() {
    let maker = decided();
    let mut records = maker.log.records.clone();
    let denied = nth(&maker, Kind::Decision, "decided", 3);
    records[denied] = changed(&records[denied], r#""result":"DENY""#, r#""result":"ALLOW""#);
    check(&maker, &records, 1, "DIVERGED", denied as u64);
    let mut records = maker.log.records.clone();
    records[denied] =
        changed(&records[denied], r#""context_digest":"sha256:"#, r#""context_digest":"sha256:0"#);
    assert!(judge(&maker, &records, &[]).0 != 0);
}

#[test]
fn an_execution_after_a_deny_is_tampering() {
    let mut maker = Maker::new(&example());
    let mut denied = said(1);
    denied.intent_type = "shell.exec".into();
    let intent = maker.round(&denied);
    let at = maker.execution(intent, "running", r#"{"delivery":1}"#);
    check(&maker, &maker.log.records, 2, "EXECUTION_NOT_OPEN", at);
}

#[test]
fn an_execution_before_its_decision_is_tampering() {
    let mut maker = Maker::new(&example());
    let intent = maker.intent(&said(1));
    let at = maker.execution(intent, "running", r#"{"delivery":1}"#);
    check(&maker, &maker.log.records, 2, "EXECUTION_WITHOUT_ALLOW", at);
}

#[test]
fn a_second_decision_and_a_transition_that_cannot_be_are_tampering() {
    let mut maker = Maker::new(&example());
    let intent = maker.round(&said(1));
    let at = maker.decide_as(intent, &maker.decision(intent));
    let again = maker.execution(intent, "completed", r#"{"delivery":1,"output":{}}"#);
    check(&maker, &maker.log.records, 2, "SECOND_DECISION", at);
    check(&maker, &maker.log.records, 2, "EXECUTION_NOT_OPEN", again);
}

#[test]
fn removed_and_swapped_records_are_tampering() {
    let maker = decided();
    for at in 1..maker.log.records.len() - 1 {
        let mut removed = maker.log.records.clone();
        removed.remove(at);
        let (code, found) = judge(&maker, &removed, &[]);
        assert_eq!(code, 2, "without record {at}: {found:?}");
        let mut swapped = maker.log.records.clone();
        swapped.swap(at, at - 1);
        assert_eq!(judge(&maker, &swapped, &[]).0, 2, "{at}");
    }
}

#[test]
fn removed_records_are_noticed_even_if_all_behind_them_are_renumbered() {
    let maker = decided();
    for at in 0..maker.log.records.len() - 1 {
        let mut removed = maker.log.records.clone();
        removed.remove(at);
        for (index, data) in removed.iter_mut().enumerate() {
            let own = View::parse(data).unwrap().index;
            *data = changed(data, &format!("\"index\":{own},"), &format!("\"index\":{index},"));
        }
        let dir = tempfile::tempdir().unwrap();
        let arguments = checkpoint(dir.path(), &maker.log.records, ORIGIN);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let (code, found) = judge(&maker, &removed, &arguments);
        assert_eq!(code, 2, "without record {at}: {found:?}");
        if View::parse(&maker.log.records[at]).unwrap().kind == Kind::Decision {
            assert_ne!(judge(&maker, &removed, &[]).0, 0, "without the DECISION {at} and any checkpoint");
        }
    }
}

#[test]
fn a_replaced_policy_bundle_is_tampering() {
    let maker = decided();
    let mut records = maker.log.records.clone();
    records[0] = changed(&records[0], ">= 20", ">= 21");
    check(&maker, &records, 2, "POLICY_DIGEST", 0);
}

#[test]
fn a_leaked_observation_in_the_context_diverged() {
    let maker = decided();
    let mut records = maker.log.records.clone();
    let at = nth(&maker, Kind::Decision, "decided", 1);
    records[at] = changed(
        &records[at],
        r#"{"content":"hello 1","role":"user"}"#,
        r#"{"content":"hello 1","role":"user"},{"content":"re: u-1","role":"user"}"#,
    );
    check(&maker, &records, 1, "DIVERGED", at as u64);
}

#[test]
fn a_digest_an_index_or_a_form_that_is_wrong_is_tampering() {
    let maker = decided();
    let at = nth(&maker, Kind::Execution, "completed", 0);
    let text = String::from_utf8(maker.log.records[at].clone()).unwrap();
    for (rule, changed) in [
        ("DIGEST", text.replace("re: u-1", "re: u-2")),
        ("INDEX", text.replace(&format!("\"index\":{at},"), "\"index\":1,")),
        ("ENVELOPE", text.replace("\"actor\":", "\"author\":")),
        ("ENVELOPE", text.replace("\"cause\":", "\"cause\": ")),
    ] {
        assert_ne!(changed, text);
        let mut records = maker.log.records.clone();
        records[at] = changed.into_bytes();
        check(&maker, &records, 2, rule, at as u64);
    }
    let mut records = maker.log.records.clone();
    records[at] = redigested(text.replace("\"delivery\":1", "\"delivery\":1.0").as_bytes());
    check(&maker, &records, 2, "CANONICAL", at as u64);
}

#[test]
fn an_intent_that_is_not_what_its_request_digest_covers_is_tampering() {
    let mut maker = Maker::new(&example());
    let mut asked = said(1).refs(&["c-0"]);
    asked.parent = Some("u-0".into());
    let at = usize::try_from(maker.intent(&asked)).unwrap();
    let whole = maker.log.records[at].clone();
    let verdict = |data: Vec<u8>| {
        let mut records = maker.log.records.clone();
        records[at] = data;
        let (_, found) = judge(&maker, &records, &[]);
        found.contains(&("REQUEST_DIGEST".to_owned(), Some(at as u64)))
    };
    assert!(!verdict(whole.clone()));
    for (from, to) in [
        (r#""actor":"ann""#, r#""actor":"bob""#),
        (r#""correlation_id":"c-1""#, r#""correlation_id":"c-2""#),
        (r#""intent_type":"chat.message""#, r#""intent_type":"shell.exec""#),
        (r#""lane":"user""#, r#""lane":"operator""#),
        (r#""message":"hello 1""#, r#""message":"hello 2""#),
        (r#""parent_turn_id":"u-0""#, r#""parent_turn_id":null"#),
        (r#""ref_id":"c-0""#, r#""ref_id":"c-1""#),
        (r#""stream_id":"default""#, r#""stream_id":"defaults""#),
        (r#""thread_id":"t-1""#, r#""thread_id":"t-2""#),
        (r#""turn_id":"u-1""#, r#""turn_id":"u-2""#),
        (r#""request_digest""#, r#""request_digesu""#),
    ] {
        let other = changed(&whole, from, to);
        assert!(verdict(other.clone()), "{to}");
        if !to.contains("digesu") {
            assert!(!verdict(rerequested(&other)), "{to}, as if it had been asked for");
        }
    }
}

#[test]
fn a_request_whose_content_was_moved_into_blobs_is_computed_again() {
    let mut maker = Maker::new(&example());
    let (payload, refs) = (r#"{"message":"hello"}"#, r#"[{"ref_id":"c-0","ref_type":"event"}]"#);
    let at = usize::try_from(maker.intent(&said(1).payload(payload).refs(&["c-0"]))).unwrap();
    let [in_payload, in_refs] = [payload, refs].map(|content| maker.log.blob(content, "application/json"));
    let moved = changed(&maker.log.records[at], payload, &in_payload);
    let both = changed(&moved, refs, &in_refs);
    for data in [moved, both] {
        let mut records = maker.log.records.clone();
        records[at] = data;
        assert_eq!(judge(&maker, &records, &[]), (0, vec![]));
        records[at] = changed(&records[at], r#""lane":"user""#, r#""lane":"operator""#);
        check(&maker, &records, 2, "REQUEST_DIGEST", at as u64);
    }
}

#[test]
fn a_request_whose_blob_is_missing_is_not_replayable_and_an_erased_one_is_listed() {
    let mut maker = Maker::new(&example());
    let payload = r#"{"message":"hello"}"#;
    let at = usize::try_from(maker.intent(&said(1).payload(payload))).unwrap();
    let reference = maker.log.blob(payload, "application/json");
    let (digest, _) = maker.log.blobs.pop_first().unwrap();
    let mut records = maker.log.records.clone();
    records[at] = changed(&records[at], payload, &reference);
    let dir = tempfile::tempdir().unwrap();
    write_segment(dir.path(), &records);
    let (code, report) = verify(dir.path(), &[]);
    assert_eq!(code, 3, "{report:#}");
    assert_eq!(found(&report), [("REQUEST_NOT_REPLAYABLE".to_owned(), Some(at as u64))]);
    assert_eq!(report["requests"]["not_replayable"], 1);
    maker.control("erasure", "log", &format!(r#"{{"sha256":["{}"],"by":"x","reason":"y"}}"#, digest.hex()));
    records.push(maker.log.records.last().unwrap().clone());
    write_segment(dir.path(), &records);
    let (code, report) = verify(dir.path(), &[]);
    assert_eq!(code, 0, "{report:#}");
    let requests = &report["requests"];
    assert_eq!((&requests["erased"], &requests["not_replayable"]), (&1.into(), &0.into()));
}

#[test]
fn a_blob_with_other_content_is_tampering() {
    let mut maker = Maker::new(&example());
    let reference = maker.log.blob(r#"{"message":"hello"}"#, "application/json");
    maker.round(&said(1).payload(&reference));
    for content in maker.log.blobs.values_mut() {
        *content = br#"{"message":"other"}"#.to_vec();
    }
    check(&maker, &maker.log.records, 2, "BLOB_DIFFERS", 3);
}

#[test]
fn what_was_erased_later_is_listed_and_sound() {
    let mut maker = Maker::new(&example());
    let reference = maker.log.blob(r#"{"message":"hello"}"#, "application/json");
    maker.round(&said(1).payload(&reference));
    let (digest, _) = maker.log.blobs.pop_first().unwrap();
    maker.control("erasure", "log", &format!(r#"{{"sha256":["{}"],"by":"x","reason":"y"}}"#, digest.hex()));
    let dir = tempfile::tempdir().unwrap();
    maker.write(dir.path(), 1, 1 << 24);
    let (code, report) = verify(dir.path(), &[]);
    assert_eq!((code, report["decisions"]["erased"].as_u64()), (0, Some(1)), "{report:#}");
    maker.log.erased.insert(digest);
    maker.round(&said(2).refs(&["c-1"]));
    let dir = tempfile::tempdir().unwrap();
    maker.write(dir.path(), 1, 1 << 24);
    let (code, report) = verify(dir.path(), &[]);
    assert_eq!((code, report["decisions"]["same"].as_u64()), (0, Some(1)), "{report:#}");
}

#[test]
fn a_missing_segment_is_incomplete_and_what_lies_behind_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    decided().write(dir.path(), 2, 8 * 1024);
    let mut segments: Vec<_> =
        fs::read_dir(dir.path().join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let records = |report: &Value| report["log"]["records"].as_u64().unwrap();
    let (_, whole) = verify(dir.path(), &[]);
    let (code, one) = verify(&segments[2], &[]);
    assert_eq!(code, 3, "{one:#}");
    fs::remove_file(&segments[2]).unwrap();
    let (code, report) = verify(dir.path(), &[]);
    assert_eq!(code, 3, "{report:#}");
    assert_eq!(records(&report) + records(&one), records(&whole));
    assert_eq!(report["absent"]["ranges"].as_array().unwrap().len(), 1);
    assert!(found(&report).iter().all(|(rule, _)| rule == "RECORDS_ABSENT"), "{report:#}");
    // Exchanged for another: the one behind it names it.
    let mut bytes = fs::read(&segments[3]).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&segments[3], bytes).unwrap();
    assert_eq!(verify(dir.path(), &[]).0, 2);
}

fn checkpoint(dir: &Path, records: &[Vec<u8>], origin: &str) -> Vec<String> {
    let key = SecretKey::new(ORIGIN, [7; 32]).unwrap();
    let mut tree = CompactRange::new();
    records.iter().for_each(|data| tree.append(leaf_hash(data)));
    let (size, root, extensions) = (records.len() as u64, tree.root(), vec![]);
    let checkpoint = Checkpoint { origin: origin.into(), size, root, extensions };
    fs::write(dir.join("checkpoint"), checkpoint.sign(&[&key]).unwrap().encode()).unwrap();
    let path = dir.join("checkpoint").to_str().unwrap().to_owned();
    vec!["--checkpoint".into(), path, "--key".into(), key.public().to_string()]
}

#[test]
fn what_no_checkpoint_covers_is_said() {
    let (dir, maker) = (tempfile::tempdir().unwrap(), decided());
    let records = &maker.log.records;
    let unchecked = |shown: &[Vec<u8>], more: &[&str]| {
        let data = tempfile::tempdir().unwrap();
        write_segment(data.path(), shown);
        let (code, report) = verify(data.path(), more);
        let lines =
            report["not_checked"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned());
        (code, lines.filter(|line| line.starts_with("whether the ")).collect::<Vec<_>>())
    };
    // The last record of an execution is gone, and nothing but a checkpoint shows it.
    let cut = nth(&maker, Kind::Execution, "completed", 0);
    let (code, lines) = unchecked(&records[..cut], &[]);
    assert!(code == 0 && lines.len() == 1 && lines[0].contains("the last one of an execution"), "{lines:?}");
    let arguments = checkpoint(dir.path(), &records[..cut], ORIGIN);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    assert_eq!(unchecked(&records[..cut], &arguments), (0, vec![]));
    let (code, lines) = unchecked(records, &arguments);
    assert!(code == 0 && lines.len() == 1 && lines[0].contains(&format!("from index {cut} on")), "{lines:?}");
    let arguments = checkpoint(dir.path(), &records[..=cut], ORIGIN);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    assert_eq!(unchecked(&records[..cut], &arguments).0, 2);
}

#[test]
fn a_fork_a_cut_end_and_another_log_are_seen_by_a_checkpoint() {
    let (dir, maker) = (tempfile::tempdir().unwrap(), decided());
    let records = &maker.log.records;
    let check = |claimed: &[Vec<u8>], origin, shown: &[Vec<u8>], rule: Option<&str>| {
        let arguments = checkpoint(dir.path(), claimed, origin);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let (code, found) = judge(&maker, shown, &arguments);
        assert_eq!(code, if rule.is_some() { 2 } else { 0 }, "{found:?}");
        assert_eq!(found.first().map(|(rule, _)| rule.as_str()), rule);
    };
    check(records, ORIGIN, records, None);
    check(&records[..7], ORIGIN, records, None);
    check(records, ORIGIN, &records[..records.len() - 1], Some("RECORDS_MISSING"));
    check(records, "gesta.test/other", records, Some("CHECKPOINT_ORIGIN"));
    let mut fork = records.clone();
    let last = fork.len() - 1;
    fork[last] = changed(&fork[last], "hello 9", "hello X");
    check(&fork, ORIGIN, records, Some("CHECKPOINT"));
    let arguments = checkpoint(dir.path(), records, ORIGIN);
    let other = SecretKey::new(ORIGIN, [8; 32]).unwrap().public().to_string();
    let (code, found) = judge(&maker, records, &["--checkpoint", &arguments[1], "--key", &other]);
    assert_eq!((code, &*found[0].0), (2, "CHECKPOINT_UNTRUSTED"));
}

/// Every string and number of a text, by its place.
fn scalars(data: &[u8]) -> Vec<(usize, usize)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < data.len() {
        let len = match data[at] {
            b'"' | b'0'..=b'9' => json::canonical::value_end(&data[at..]).unwrap(),
            _ => 0,
        };
        // A key is followed by a colon.
        if len > 0 && data.get(at + len) != Some(&b':') {
            found.push((at, len));
        }
        at += len.max(1);
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Without a checkpoint what no decision depends on, such as a time, may be anything; with one, nothing may.
    #[test]
    fn any_single_change_of_any_record_is_found(at in any::<prop::sample::Index>(), scalar in any::<prop::sample::Index>(), redigest in any::<bool>()) {
        let maker = decided();
        let mut records = maker.log.records.clone();
        let at = at.index(records.len());
        let places = scalars(&records[at]);
        let (start, len) = places[scalar.index(places.len())];
        let mut data = records[at].clone();
        let byte = &mut data[start + len / 2];
        *byte = match *byte { b'1' => b'2', b'"' => b'x', b'\\' => b'x', b'x' => b'y', b'0'..=b'9' => b'1', _ => b'x' };
        if len == 2 {
            data.splice(start + 1..=start, *b"x");
        }
        prop_assume!(data != records[at]);
        if redigest && View::parse(&data).is_some_and(|view| view.digest().is_some()) {
            data = redigested(&data);
            prop_assume!(data != records[at]);
        }
        let dir = tempfile::tempdir().unwrap();
        let arguments = checkpoint(dir.path(), &records, ORIGIN);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        records[at] = data;
        let (code, found) = judge(&maker, &records, &arguments);
        prop_assert_eq!(code, 2, "{:?}", found);
    }

    #[test]
    fn any_changed_bit_of_any_segment_is_found(segment in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let (dir, maker) = (tempfile::tempdir().unwrap(), decided());
        maker.write(dir.path(), 3, 16 * 1024);
        let arguments = checkpoint(dir.path(), &maker.log.records, ORIGIN);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let segments: Vec<_> = fs::read_dir(dir.path().join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
        let path = &segments[segment.index(segments.len())];
        let mut bytes = fs::read(path).unwrap();
        let at = byte.index(bytes.len());
        bytes[at] ^= 1 << bit;
        fs::write(path, bytes).unwrap();
        let (code, report) = verify(dir.path(), &arguments);
        prop_assert_eq!(code, 2, "byte {} of {}: {:#}", at, path.display(), report);
    }
}
