//! `gesta inspect`, `dump` and `salvage`, as a person runs them: the built program against files.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::envelope::{Draft, Expectation, Prepared};
use gesta_log_format::log::{Batch, Opened, Options, Room, open};
use gesta_log_format::record;
use gesta_log_format::segment::Fill;
use gesta_log_format::{Kind, Timestamp};
use serde_json::Value;

const CONNECTED: &str = "retry: 1000\nevent: log\n\
    data: {\"first\":0,\"generation\":1,\"head\":60,\"origin\":\"gesta.local/test\"}\n\n";

fn options() -> Options {
    Options {
        segment_bytes: 24 * 1024,
        fill: Fill::Zeroes,
        fill_ahead_bytes_max: 4096,
        fill_piece_bytes_max: 4096,
        batch_bytes_max: 12 * 1024,
        origin: None,
        new_origin: "gesta.local/test".to_owned(),
    }
}

/// An intent of a client that writes what looks like the marks of a tail, and what steers a terminal.
fn intent(nth: u64) -> Prepared {
    let correlation_id = format!("c{nth}");
    let payload = format!("{{\"text\":\"{nth} \u{9b}retry: 1000\\nevent: log\\n{}\"}}", "ab ".repeat(100));
    let draft = Draft {
        kind: Kind::Intent,
        type_name: "submitted",
        stream_id: "default",
        lane: "user",
        actor: "a",
        intent_type: "chat.message",
        thread_id: "thread",
        turn_id: "turn",
        parent_turn_id: None,
        correlation_id: &correlation_id,
        cause: None,
        subjects: &[Expectation { subject: format!("intent/{correlation_id}"), expected: None }],
        payload: payload.as_bytes(),
    };
    Prepared::new(&draft).unwrap()
}

/// A log below a temporary directory, and the records that are in it.
struct Log {
    root: tempfile::TempDir,
    records: Vec<Vec<u8>>,
}

impl Log {
    fn empty() -> Self {
        Self { root: tempfile::tempdir().unwrap(), records: Vec::new() }
    }

    /// Sixty records in several segments, the last of them open.
    fn new() -> Self {
        let mut log = Self::empty();
        drop(log.append(60));
        log
    }

    fn dir(&self) -> PathBuf {
        self.path("data")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Appends in batches of three, and gives back the open log, which holds the lock.
    fn append(&mut self, count: u64) -> Opened<RealDisk> {
        fs::create_dir_all(self.dir()).unwrap();
        let mut opened = open(RealDisk::new(self.dir()), &options(), &[], &mut |_, _| {}).unwrap();
        for nth in (0..count).step_by(3) {
            let intents = [intent(nth), intent(nth + 1), intent(nth + 2)];
            let bytes = intents.iter().map(Prepared::record_bytes_max).sum();
            let mut writer = opened.writer.roll(bytes).unwrap().0;
            while writer.room(bytes) == Room::Filling {
                opened.filler.as_mut().unwrap().step().unwrap();
            }
            let mut batch = Batch::new(writer.next());
            for intent in &intents {
                batch.push(intent, Timestamp::from_micros(1_700_000_000_000_000));
            }
            writer = writer.append(&batch).unwrap();
            writer.absorb(&batch);
            opened.writer = writer;
            let mut rest = batch.bytes();
            while let Ok(found) = record::decode(rest) {
                self.records.push(found.bytes.to_vec());
                rest = &rest[found.bytes.len()..];
            }
        }
        opened
    }

    fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir().join("log")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    /// What a connection that begins at the record `from` writes into a file.
    fn tail(&self, from: usize) -> Vec<u8> {
        let caught_up = "event: caught-up\ndata: {\"head\":60}\n\n:\n";
        [CONNECTED.as_bytes(), &self.records[from..].concat(), caught_up.as_bytes()].concat()
    }

    fn saved(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Flips a bit in the middle of the record `index`.
    fn flip(&self, index: usize) {
        let record = &self.records[index];
        for segment in self.segments() {
            let mut bytes = fs::read(&segment).unwrap();
            if let Some(at) = bytes.windows(record.len()).position(|window| window == record) {
                bytes[at + 200] ^= 4;
                fs::write(&segment, bytes).unwrap();
                return;
            }
        }
        panic!("no segment holds record {index}");
    }
}

/// Runs a command with the path behind its name.
fn gesta(arguments: &[&str], path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gesta"));
    command.arg(arguments[0]).arg(path).args(&arguments[1..]).output().unwrap()
}

fn salvage(path: &Path, to: &Path) -> Output {
    gesta(&["salvage", "--to", to.to_str().unwrap()], path)
}

/// Checks the exit code, and that standard error holds `talk`, or nothing at all where that is empty.
#[track_caller]
fn check(output: &Output, code: i32, talk: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(talk) && stderr.is_empty() == talk.is_empty(), "{stderr}");
}

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_dump_of_a_saved_tail_is_the_dump_of_its_log() {
    let log = Log::new();
    let (tail, again) = (log.tail(0), log.tail(20));
    let segments: Vec<u8> = log.segments().iter().flat_map(|path| fs::read(path).unwrap()).collect();
    let cut = [&tail[..2_000], &tail].concat();
    let cases = [
        (log.saved("whole.sse", &tail), ""),
        (log.saved("resumed.sse", &[&tail[..], &again].concat()), ""),
        (log.saved("cut.sse", &cut), "note: a record is cut off at byte"),
        (log.saved("segments.sse", &segments), ""),
    ];
    let forms: [&[&str]; 5] = [
        &["dump"],
        &["dump", "--json"],
        &["dump", "--raw"],
        &["dump", "--since", "7"],
        &["dump", "--until", "40"],
    ];
    for form in forms {
        let expected = gesta(form, &log.dir());
        check(&expected, 0, "");
        assert!(!expected.stdout.is_empty());
        for (path, note) in &cases {
            let found = gesta(form, path);
            check(&found, 0, note);
            assert!(found.stdout == expected.stdout, "{form:?} of {}", path.display());
        }
    }
}

#[test]
fn a_dump_prints_lines_for_people_or_the_exact_bytes() {
    let log = Log::new();
    let raw = gesta(&["dump", "--raw", "--since", "3", "--until", "5"], &log.dir());
    assert_eq!(raw.stdout, log.records[4..=5].concat());
    let data: Vec<_> = log.records.iter().map(|bytes| record::decode(bytes).unwrap().data).collect();
    let lines = gesta(&["dump", "--json"], &log.dir());
    assert_eq!(lines.stdout, [data.join(&b'\n'), b"\n".to_vec()].concat());
    let text = String::from_utf8(gesta(&["dump", "--until", "0"], &log.dir()).stdout).unwrap();
    let payload = std::str::from_utf8(data[0]).unwrap().split("\"payload\":").nth(1).unwrap();
    let payload = payload.chars().take(80).collect::<String>().replace('\u{9b}', "\\u009b");
    let expected = "0  2023-11-14T22:13:20.000000Z  INTENT/submitted  default  thread/turn  c0  ";
    assert_eq!(text, format!("{expected}{payload}…\n"));
}

#[test]
fn one_segment_by_itself_is_dumped() {
    let log = Log::new();
    let mut all = Vec::new();
    for path in log.segments() {
        let found = gesta(&["dump", "--raw"], &path);
        check(&found, 0, "");
        all.extend(found.stdout);
    }
    assert_eq!(all, log.records.concat());
}

#[test]
fn a_damaged_log_is_dumped_up_to_the_damage_and_salvaged_around_it() {
    let log = Log::new();
    let healthy = json(&gesta(&["inspect", "--json"], &log.dir()));
    assert_eq!((&healthy["head"], &healthy["damage"]), (&60.into(), &Value::Null));
    log.flip(30);
    let dumped = gesta(&["dump", "--raw"], &log.dir());
    check(&dumped, 3, "at index 30: ");
    assert_eq!(dumped.stdout, log.records[..30].concat());

    let inspected = gesta(&["inspect", "--json"], &log.dir());
    check(&inspected, 3, "error: segment ");
    let report = json(&inspected);
    assert_eq!((&report["head"], &report["damage"]["index"]), (&30.into(), &30.into()));
    check(&gesta(&["inspect"], &log.dir()), 3, "error: segment ");

    let new = log.path("new.sse");
    let salvaged = gesta(&["salvage", "--json", "--to", new.to_str().unwrap()], &log.dir());
    check(&salvaged, 3, "damaged at one place");
    let report = json(&salvaged);
    let loss = &report["losses"][0];
    assert_eq!((&loss["from"], &loss["until"], &report["records"]), (&30.into(), &31.into(), &59.into()));
    let kept = gesta(&["dump", "--raw"], &new);
    check(&kept, 0, "note: record 30 is not in this file");
    assert_eq!(kept.stdout, [&log.records[..30], &log.records[31..]].concat().concat());
}

#[test]
fn a_salvage_of_a_sound_log_loses_nothing_and_never_overwrites() {
    let log = Log::new();
    for (name, source) in [("a.sse", log.dir()), ("b.sse", log.saved("tail.sse", &log.tail(0)))] {
        let new = log.path(name);
        let salvaged = salvage(&source, &new);
        check(&salvaged, 0, "");
        assert!(salvaged.stdout.starts_with(b"kept 60 records from 0 to 59, "));
        let before = fs::read(&new).unwrap();
        let block = "event: log\ndata: {\"first\":0,\"generation\":1,\"origin\":\"gesta.local/test\"}\n\n";
        assert_eq!(before, [block.as_bytes(), &log.records.concat()].concat());
        check(&salvage(&source, &new), 2, "exists already");
        assert_eq!(fs::read(&new).unwrap(), before);
        assert!(!log.path(&format!("{name}.new")).exists());
    }
}

#[test]
fn while_a_server_holds_the_log_its_last_batch_is_left_out_unless_asked_for() {
    let mut log = Log::empty();
    let held = log.append(9);
    for path in [log.dir(), log.segments().remove(0)] {
        let found = gesta(&["dump", "--raw"], &path);
        check(&found, 0, "is left out without --unsynced");
        assert_eq!(found.stdout, log.records[..6].concat());
        let found = gesta(&["dump", "--raw", "--unsynced"], &path);
        check(&found, 0, "");
        assert_eq!(found.stdout, log.records.concat());
        let new = log.path("new.sse");
        check(&salvage(&path, &new), 4, "stop the server first");
        assert!(!new.exists() && !log.path("new.sse.new").exists());
    }
    assert_eq!(json(&gesta(&["inspect", "--json"], &log.dir()))["last_batch_left_out"], true);
    drop(held);
    check(&gesta(&["dump"], &log.dir()), 0, "");
}

#[test]
fn what_is_no_log_is_said_to_be_none() {
    let root = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 3] = [&["dump"], &["inspect"], &["salvage", "--to", "never-written"]];
    for command in commands {
        check(&gesta(command, &root.path().join("missing")), 1, "error: cannot open");
    }
    for command in &commands[..2] {
        check(&gesta(command, root.path()), 1, "there is no log here");
    }
    let noise = root.path().join("noise");
    fs::write(&noise, "hello\n").unwrap();
    check(&gesta(&["inspect"], &noise), 1, "error: cannot open");
    assert!(gesta(&["dump"], &noise).stdout.is_empty());
}

#[test]
fn a_saved_tail_cut_anywhere_is_dumped_up_to_the_cut() {
    let log = Log::new();
    let tail = log.tail(56);
    // The program starts once for each case: every 53rd byte here, every byte in the format's own tests.
    for cut in (0..tail.len()).step_by(53) {
        let found = gesta(&["dump", "--raw"], &log.saved("cut.sse", &tail[..cut]));
        assert_eq!(found.status.code(), Some(0), "cut at {cut}");
        assert!(log.records[56..].concat().starts_with(&found.stdout), "cut at {cut}");
    }
}
