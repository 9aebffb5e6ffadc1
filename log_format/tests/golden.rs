//! A log that an earlier build wrote, checked in and opened as it lies. It is never edited: a change of the format
//! adds a directory beside it, and what is on disk stays readable. `fixtures/format/golden/README.md`.

#![expect(clippy::indexing_slicing, reason = "a test that indexes beyond what it made fails, as it should")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::envelope::View;
use gesta_log_format::log::offline::{self, Depth, LastBatch, Summary};
use gesta_log_format::log::{self, Batch, Options};
use gesta_log_format::saved_tail::{Item, Items};
use gesta_log_format::segment::{Fill, Seal};
use gesta_log_format::{Index, Timestamp, tree};
use serde_json::{Value, json};

#[path = "golden/maker.rs"]
mod maker;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/format")
}

fn golden() -> PathBuf {
    fixtures().join("golden")
}

/// What `reader.py` said of the log when it was made.
fn expected() -> Value {
    let text = fs::read(golden().join("expected.json")).expect("expected.json");
    serde_json::from_slice(&text).expect("JSON")
}

/// The options under which the log was made.
fn options() -> Options {
    Options {
        segment_bytes: 8192,
        fill: Fill::Zeroes,
        fill_ahead_bytes_max: 4096,
        fill_piece_bytes_max: 4096,
        batch_bytes_max: 3000,
        origin: Some("gesta.local/golden".to_owned()),
        new_origin: String::new(),
    }
}

fn record_json(record: &gesta_log_format::record::Record<'_>) -> Value {
    let view = View::parse(record.data).expect("an envelope");
    json!({
        "index": record.index.0,
        "batch_start": record.batch_start.0,
        "type": format!("{}/{}", view.kind, view.type_name),
        "digest": view.digest().expect("a digest").to_string(),
        "leaf": tree::leaf_hash(record.data).to_string(),
    })
}

/// Walks the log below `root` with every check that the bytes allow.
fn walk(root: &Path) -> (Summary, Vec<Value>) {
    let mut records = Vec::new();
    let mut visit = |record: &gesta_log_format::record::Record<'_>, _, _| {
        records.push(record_json(record));
        true
    };
    let disk = RealDisk::new(root);
    let summary = offline::walk(&disk, Depth::Envelopes, LastBatch::Always, &mut visit).expect("a log");
    (summary, records)
}

fn segment_json(root: &Path, summary: &offline::SegmentSummary) -> Value {
    let bytes = fs::read(root.join(summary.id.path())).expect("a segment");
    let mut found = json!({
        "file": summary.id.file_name(),
        "first": summary.id.0.0,
        "next": summary.id.0.0 + summary.records,
        "bytes": summary.bytes,
        "sealed": summary.sealed,
    });
    if summary.sealed {
        let at = memchr::memmem::rfind(&bytes, b": s1 ").expect("a seal");
        let (seal, _) = Seal::decode(&bytes[at..]).expect("a seal");
        found["seal_at"] = json!(at);
        found["root"] = json!(seal.root.to_string());
    }
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copied");
        }
    }
}

#[test]
fn the_checked_in_log_is_sound_and_says_what_it_said_when_it_was_made() {
    let (summary, records) = walk(&golden());
    assert_eq!(summary.damage, None);
    assert_eq!((summary.torn_bytes, summary.frontier), (0, Some(summary.head)));
    let segments: Vec<_> = summary.segments.iter().map(|one| segment_json(&golden(), one)).collect();
    let found = json!({
        "origin": summary.origin,
        "generation": summary.generation,
        "head": summary.head.0,
        "root": summary.root.expect("read from the first record on").to_string(),
        "segments": segments,
        "records": records,
    });
    assert_eq!(found, expected());
}

#[test]
fn a_copy_of_it_opens_for_writing_without_a_changed_byte_and_goes_on() {
    let root = tempfile::tempdir().expect("a directory");
    copy(&golden(), root.path());
    let log = log::open(RealDisk::new(root.path()), &options(), &[], &mut |_, _| {}).expect("a sound log");
    assert!(!log.recovery.created && !log.recovery.roll_finished && log.recovery.torn_bytes == 0);
    for entry in fs::read_dir(golden().join("log")).expect("segments") {
        let path = entry.expect("an entry").path();
        let name = Path::new("log").join(path.file_name().expect("a name"));
        assert_eq!(
            fs::read(root.path().join(&name)).expect("a copy"),
            fs::read(&path).expect("it"),
            "{name:?}"
        );
    }
    let (before, _) = walk(&golden());
    assert_eq!((log.writer.next(), log.writer.root()), (before.head, before.root.expect("a root")));

    let mut batch = Batch::new(log.writer.next());
    let intent = maker::intent(100, r#"{"message":"one more"}"#);
    batch.push(&intent, Timestamp::from_micros(1_793_592_700_000_000));
    let writer = log.writer.append(&batch).expect("appended");
    writer.absorb(&batch);
    drop(writer);
    let (after, records) = walk(root.path());
    assert_eq!((after.damage, after.head), (None, before.head.next()));
    assert_eq!(records.len(), expected()["records"].as_array().expect("a list").len() + 1);
}

#[test]
fn the_checked_in_saved_tail_holds_the_same_records() {
    let bytes = fs::read(golden().join("tail.sse")).expect("a saved tail");
    let (mut records, mut events, mut cut_off) = (Vec::new(), Vec::new(), 0);
    for item in Items::new(&bytes) {
        match item {
            Item::Record(record) => records.push(record_json(&record)),
            Item::Control { event, id, .. } => events.push((event, id)),
            Item::CutOff { .. } => cut_off += 1,
            Item::Bad { reason, .. } => panic!("a bad record: {reason}"),
        }
    }
    assert_eq!(Value::from(records), expected()["records"]);
    let wanted =
        [("log", None), ("log", None), ("caught-up", None), ("cursor", Some("12")), ("reset", Some("-1"))];
    assert_eq!((events, cut_off), (wanted.to_vec(), 1));
}

/// Runs `reader.py`; none where there is no Python 3.11.
fn reader(arguments: &[&Path]) -> Option<std::process::Output> {
    let script = fixtures().join("reader.py");
    let run = |arguments: &[&Path]| Command::new("python3").arg(&script).args(arguments).output();
    let version =
        Command::new("python3").args(["-c", "import sys; sys.exit(sys.version_info < (3, 11))"]).status();
    if !version.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no python3 of version 3.11 or newer");
        return None;
    }
    Some(run(arguments).expect("python3 runs"))
}

#[test]
fn a_reader_in_another_language_agrees() {
    let Some(found) = reader(&[&golden().join("log")]) else { return };
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    assert_eq!(serde_json::from_slice::<Value>(&found.stdout).expect("JSON"), expected());
    let found = reader(&[&golden().join("tail.sse")]).expect("it ran before");
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let found: Value = serde_json::from_slice(&found.stdout).expect("JSON");
    assert_eq!((&found["records"], &found["root"]), (&expected()["records"], &expected()["root"]));
}

#[test]
fn a_reader_in_another_language_refuses_a_changed_envelope_and_a_missing_record() {
    let root = tempfile::tempdir().expect("a directory");
    let name = Path::new("log/00000000000000000000.log");
    let sound = fs::read(golden().join(name)).expect("a segment");
    let message = memchr::memmem::find(&sound, b"first").expect("the first message");
    let second = memchr::memmem::find(&sound, b"\n\n: g1 ").expect("a second record") + 2;
    let mut changed = sound.clone();
    changed[message] ^= 1;
    let third = second + memchr::memmem::find(&sound[second..], b"\n\n").expect("its end") + 2;
    let missing = [&sound[..second], &sound[third..]].concat();
    for (bytes, says) in [(changed, "index 0: "), (missing, "index 1: ")] {
        copy(&golden(), root.path());
        fs::write(root.path().join(name), bytes).expect("written");
        let Some(found) = reader(&[&root.path().join("log")]) else { return };
        let error = String::from_utf8_lossy(&found.stderr);
        assert!(found.status.code() == Some(1) && error.contains(says), "{error}");
    }
}

#[test]
#[ignore = "made the golden log; a new format version gets a directory of its own"]
fn make_the_golden_log() {
    assert!(!golden().join("log").exists(), "it is never made again");
    maker::make(&golden(), &options());
    assert_eq!(walk(&golden()).0.head, Index(13));
}
