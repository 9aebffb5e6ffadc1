//! The logs under `fixtures/logs`: sound ones, and one for each way in which a log can be wrong.

use std::fs;
use std::path::{Path, PathBuf};

use gesta_log_format::checkpoint::Checkpoint;
use gesta_log_format::envelope::View;
use gesta_log_format::note::SecretKey;
use gesta_log_format::tree::{CompactRange, leaf_hash};

use super::prefix::said;
use super::tasks::{PLANTED, lived, worked};
use super::{Maker, ORIGIN, changed, example, framed, rerequested, write_segment};

/// Larger than any of these logs.
const NEVER_FULL: u64 = 1 << 24;

/// So small that a log has several segments.
const SMALL_SEGMENT: u64 = 20 * 1024;

/// The key that signs the fixtures' checkpoints: of no use for anything else.
fn key() -> SecretKey {
    SecretKey::new(ORIGIN, [7; 32]).expect("a key")
}

/// A log of decided intents, some denied, some that refer to others; the last one awaits its DECISION.
pub fn decided() -> Maker {
    let mut maker = Maker::new(&example());
    maker.round(&said(1));
    maker.round(&said(2).refs(&["c-1"]));
    maker.round(&said(3).refs(&["u-1", "c-2"]));
    let mut denied = said(4);
    denied.intent_type = "shell.exec".into();
    maker.round(&denied);
    maker.configure(r#"{"context":{"empty_refs_policy":"EXPAND_LAST_N","expand_last_n":2}}"#);
    maker.round(&said(5));
    maker.round(&said(6).thread("t-2").payload(r#"{"order":{"amount":1200}}"#));
    let late = maker.intent(&said(7));
    maker.round(&said(8));
    maker.decide(late);
    maker.intent(&said(9));
    maker
}

fn with_blobs() -> Maker {
    let mut maker = Maker::empty();
    maker.activate_by_blob(&example());
    let reference = maker.log.blob(r#"{"message":" rm -r / "}"#, "application/json");
    maker.round(&said(1).payload(&reference));
    maker.round(&said(2).refs(&["c-1"]));
    maker
}

fn erased() -> Maker {
    let mut maker = with_blobs();
    let message = br#"{"message":" rm -r / "}"#;
    let digest = gesta_log_format::Digest::of(message);
    maker.log.blobs.remove(&digest);
    let payload = format!(r#"{{"sha256":["{}"],"by":"operator","reason":"asked for"}}"#, digest.hex());
    maker.control("erasure", "log", &payload);
    maker.log.erased.insert(digest);
    maker.round(&said(3).refs(&["c-1"]));
    maker
}

fn checkpoint(dir: &Path, records: &[Vec<u8>]) {
    let mut tree = CompactRange::new();
    records.iter().for_each(|data| tree.append(leaf_hash(data)));
    let (size, root, extensions) = (records.len() as u64, tree.root(), Vec::new());
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root, extensions };
    let note = checkpoint.sign(&[&key()]).expect("a note");
    fs::write(dir.join("checkpoint"), note.encode()).expect("written");
}

/// Where the nth record whose text holds `what` is.
fn find(maker: &Maker, what: &str, nth: usize) -> usize {
    let holds = |(_, data): &(usize, &Vec<u8>)| String::from_utf8_lossy(data).contains(what);
    maker.log.records.iter().enumerate().filter(holds).nth(nth).expect("it is there").0
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("log")).expect("a directory");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// Writes everything below `root`.
pub fn make(root: &Path) {
    fs::create_dir_all(root).expect("a directory");
    fs::write(root.join("key"), format!("{}\n", key().public())).expect("written");
    good(&root.join("good"));
    let bad = root.join("bad");
    changed_bytes(&bad);
    changed_records(&bad);
    changed_wholes(&bad);
    absent(&bad);
    for planted in PLANTED {
        let (mut maker, running) = worked();
        (planted.append)(&mut maker, running);
        maker.write(&bad.join(format!("tampered-task-{}", planted.name)), 1, NEVER_FULL);
    }
}

fn good(root: &Path) {
    let maker = decided();
    maker.write(&root.join("decided"), 3, SMALL_SEGMENT);
    checkpoint(&root.join("decided"), &maker.log.records);
    with_blobs().write(&root.join("blobs"), 1, NEVER_FULL);
    erased().write(&root.join("erased"), 1, NEVER_FULL);
    lived().write(&root.join("tasks"), 1, NEVER_FULL);
    let records = (0..).zip(&maker.log.records);
    let tail: Vec<u8> = records.flat_map(|(index, data)| framed(index, data)).collect();
    let hello = format!(
        "retry: 1000\nevent: log\ndata: {{\"first\":0,\"generation\":1,\"head\":32,\"origin\":\"{ORIGIN}\"}}\n\n"
    );
    fs::create_dir_all(root.join("saved-tail")).expect("a directory");
    fs::write(root.join("saved-tail/tail.sse"), [hello.as_bytes(), &tail].concat()).expect("written");
}

/// One byte of each kind of place.
fn changed_bytes(bad: &Path) {
    let flip = |name: &str, segment: usize, what: &[u8], offset: usize| {
        let dir = bad.join(format!("tampered-byte-{name}"));
        decided().write(&dir, 3, SMALL_SEGMENT);
        let path = &segments(&dir)[segment];
        let mut bytes = fs::read(path).expect("a segment");
        let found = bytes.windows(what.len()).position(|window| window == what).expect("it is there");
        bytes[found + offset] ^= 1;
        fs::write(path, bytes).expect("written");
    };
    flip("segment-header", 0, b": origin ", 9);
    flip("record-header", 0, b": g1 ", 40);
    flip("id-line", 0, b"\nid: 1\n", 5);
    flip("envelope", 1, b"\"message\":\"hello", 13);
    flip("blank-line", 0, b"\n\n: g1 ", 1);
    flip("seal", 0, b": root ", 10);
    flip("segment-link", 1, b": previous ", 60);
}

/// A record whose frame, digest and checksum are right, and which is not the one that was written.
fn changed_records(bad: &Path) {
    let maker = decided();
    let write = |name: &str, change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut records = maker.log.records.clone();
        change(&mut records);
        write_segment(&bad.join(name), &records);
    };
    let denied = find(&maker, "\"result\":\"DENY\"", 0);
    write("diverged-forged-decision", &|records| {
        records[denied] = changed(&records[denied], "\"result\":\"DENY\"", "\"result\":\"ALLOW\"");
    });
    let referring = find(&maker, "\"kind\":\"DECISION\"", 1);
    write("diverged-leaked-observation", &|records| {
        let heard = r#"{"content":"hello 1","role":"user"}"#;
        let leaked = format!(r#"{heard},{{"content":"re: u-1","role":"assistant"}}"#);
        records[referring] = changed(&records[referring], heard, &leaked);
    });
    let intent = find(&maker, "\"kind\":\"INTENT\"", 0);
    write("diverged-changed-intent-and-request", &|records| {
        records[intent] = rerequested(&changed(&records[intent], "hello 1", "hullo 1"));
    });
    write("tampered-changed-intent", &|records| {
        records[intent] = changed(&records[intent], "hello 1", "hullo 1");
    });
    write("tampered-request-digest", &|records| {
        let last = records.last_mut().expect("it is there");
        let own =
            View::parse(last).and_then(|view| view.payload_member("request_digest")).expect("an INTENT");
        let other = format!("\"{}\"", gesta_log_format::Digest::of(b"another request"));
        *last = changed(last, std::str::from_utf8(own).expect("text"), &other);
    });
    write("tampered-policy-replaced", &|records| {
        records[0] = changed(&records[0], ">= 20", ">= 21");
    });
    write("tampered-digest", &|records| {
        let text = String::from_utf8(records[5].clone()).expect("text").replacen("re: u-1", "re: u-9", 1);
        records[5] = text.into_bytes();
    });
    write("tampered-swapped-pair", &|records| records.swap(4, 5));
    write("tampered-removed-record", &|records| drop(records.remove(4)));
    write("tampered-removed-decision-renumbered", &|records| {
        records.remove(denied);
        for (index, data) in records.iter_mut().enumerate() {
            let own = View::parse(data).expect("an envelope").index;
            *data = changed(data, &format!("\"index\":{own},"), &format!("\"index\":{index},"));
        }
    });
    let mut after_deny = Maker::new(&example());
    let mut denied = said(1);
    denied.intent_type = "shell.exec".into();
    let intent = after_deny.round(&denied);
    after_deny.execution(intent, "running", r#"{"delivery":1}"#);
    after_deny.write(&bad.join("tampered-execution-after-deny"), 1, NEVER_FULL);
}

/// What a checkpoint shows, also where the request digests were made right.
fn changed_wholes(bad: &Path) {
    let maker = decided();
    let last = maker.log.records.len() - 1;
    let mut fork = maker.log.records.clone();
    fork[last] = changed(&fork[last], "hello 9", "hello X");
    write_segment(&bad.join("tampered-fork"), &fork);
    checkpoint(&bad.join("tampered-fork"), &maker.log.records);
    write_segment(&bad.join("tampered-truncated-end"), &maker.log.records[..last]);
    checkpoint(&bad.join("tampered-truncated-end"), &maker.log.records);
    write_segment(&bad.join("tampered-checkpoint-signature"), &maker.log.records);
    checkpoint(&bad.join("tampered-checkpoint-signature"), &maker.log.records[..9]);
    let path = bad.join("tampered-checkpoint-signature/checkpoint");
    let note = fs::read_to_string(&path).expect("a note").replacen("\n9\n", "\n8\n", 1);
    fs::write(path, note).expect("written");
}

/// What is not there, and not known to be wrong.
fn absent(bad: &Path) {
    let dir = bad.join("incomplete-missing-segment");
    decided().write(&dir, 3, SMALL_SEGMENT);
    fs::remove_file(&segments(&dir)[1]).expect("removed");
    let mut passed_over = Maker::new(&example());
    passed_over.round(&said(1));
    passed_over.intent(&said(2));
    passed_over.round(&said(3));
    passed_over.write(&bad.join("incomplete-missing-decision"), 1, NEVER_FULL);
    let dir = bad.join("incomplete-missing-blob");
    with_blobs().write(&dir, 1, NEVER_FULL);
    fs::remove_dir_all(dir.join("blobs")).expect("removed");
}
