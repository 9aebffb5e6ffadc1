use std::fs;

use gesta_log_format::checkpoint::Checkpoint;
use gesta_log_format::disk::Disk as _;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::log::LOCK;
use gesta_log_format::note::SecretKey;
use gesta_log_format::tree::{CompactRange, leaf_hash};

use crate::run::{found, run, verify};
use crate::support::fixtures::decided;
use crate::support::prefix::said;
use crate::support::{Maker, ORIGIN, default_bundle, example, framed, write_segment};

const NEVER_FULL: u64 = 1 << 24;

#[test]
fn a_log_of_decided_intents_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let maker = decided();
    maker.write(dir.path(), 3, NEVER_FULL);
    let (code, report) = verify(dir.path(), &[]);
    assert_eq!((code, found(&report)), (0, vec![]), "{report:#}");
    assert_eq!(report["decisions"]["same"], 8);
    assert_eq!(report["decisions"]["undecided"], 1);
    assert_eq!(report["log"]["records"], maker.len());
    assert_eq!(report["log"]["origin"], ORIGIN);
    let ran = run(&["verify", dir.path().to_str().unwrap()]);
    assert!(ran.stdout.starts_with("SOUND"), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn sealed_segments_a_saved_tail_and_a_checkpoint_of_each_size_are_sound() {
    let dir = tempfile::tempdir().unwrap();
    let maker = decided();
    maker.write(&dir.path().join("data"), 2, 8 * 1024);
    let segments = fs::read_dir(dir.path().join("data/log")).unwrap().count();
    assert!(segments > 3, "{segments} segments");
    let key = SecretKey::new(ORIGIN, [7; 32]).unwrap();
    let (mut tree, mut arguments) = (CompactRange::new(), vec!["--key".to_owned(), key.public().to_string()]);
    for (size, data) in maker.log.records.iter().enumerate() {
        if size % 5 == 0 {
            let checkpoint = Checkpoint {
                origin: ORIGIN.into(),
                size: size as u64,
                root: tree.root(),
                extensions: vec![],
            };
            let path = dir.path().join(format!("checkpoint-{size}"));
            fs::write(&path, checkpoint.sign(&[&key]).unwrap().encode()).unwrap();
            arguments.extend(["--checkpoint".into(), path.to_str().unwrap().into()]);
        }
        tree.append(leaf_hash(data));
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (code, report) = verify(&dir.path().join("data"), &arguments);
    assert_eq!((code, found(&report)), (0, vec![]), "{report:#}");
    assert_eq!(report["seals_compared"], segments - 1);
    assert_eq!(report["checkpoints"].as_array().unwrap().len(), maker.log.records.len().div_ceil(5));
    let tail: Vec<u8> = (0..).zip(&maker.log.records).flat_map(|(index, data)| framed(index, data)).collect();
    fs::write(dir.path().join("tail.sse"), tail).unwrap();
    let (code, report) = verify(&dir.path().join("tail.sse"), &arguments);
    assert_eq!((code, found(&report)), (0, vec![]), "{report:#}");
    assert_eq!(report["decisions"]["same"], 8);
}

#[test]
fn what_is_in_blobs_is_read_and_a_missing_one_is_incomplete() {
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::empty();
    maker.activate_by_blob(&example());
    let reference = maker.log.blob(r#"{"message":" rm -r / "}"#, "application/json");
    maker.round(&said(1).payload(&reference));
    maker.round(&said(2).refs(&["c-1"]));
    maker.write(dir.path(), 1, NEVER_FULL);
    let (code, report) = verify(dir.path(), &[]);
    assert_eq!((code, found(&report)), (0, vec![]), "{report:#}");
    fs::remove_dir_all(dir.path().join("blobs")).unwrap();
    let elsewhere = dir.path().join("elsewhere");
    maker.write_blobs(&elsewhere);
    let (code, report) = verify(dir.path(), &[]);
    assert_eq!(code, 3, "{report:#}");
    assert_eq!(report["decisions"]["not_replayable"], 2);
    let (code, _) = verify(dir.path(), &["--blobs", elsewhere.to_str().unwrap()]);
    assert_eq!(code, 0);
}

#[test]
fn the_last_batch_of_a_log_that_a_server_holds_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let maker = decided();
    maker.write(dir.path(), 5, NEVER_FULL);
    let held = RealDisk::new(dir.path()).lock(LOCK).unwrap();
    let records = |report: &serde_json::Value| report["log"]["records"].as_u64().unwrap();
    let (code, report) = verify(dir.path(), &[]);
    assert_eq!((code, records(&report)), (0, maker.len() / 5 * 5), "{report:#}");
    let segment = dir.path().join("log/00000000000000000000.log");
    assert_eq!(records(&verify(&segment, &[]).1), maker.len() / 5 * 5);
    assert_eq!(records(&verify(dir.path(), &["--unsynced"]).1), maker.len());
    drop(held);
    assert_eq!(records(&verify(dir.path(), &[]).1), maker.len());
}

#[test]
fn a_tail_that_begins_in_the_middle_is_read_and_incomplete() {
    let (dir, maker) = (tempfile::tempdir().unwrap(), decided());
    for start in 1..maker.len() {
        let records = (start..).zip(maker.log.records.iter().skip(usize::try_from(start).unwrap()));
        let tail: Vec<u8> = records.flat_map(|(index, data)| framed(index, data)).collect();
        fs::write(dir.path().join("tail.sse"), tail).unwrap();
        let (code, report) = verify(&dir.path().join("tail.sse"), &[]);
        assert_eq!((code, found(&report)), (3, vec![("RECORDS_ABSENT".to_owned(), Some(0))]), "{report:#}");
        assert_eq!(report["log"]["records"], maker.len() - start);
    }
}

#[test]
fn an_empty_log_is_sound_and_what_is_no_log_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    write_segment(dir.path(), &[]);
    assert_eq!(verify(dir.path(), &[]).0, 0);
    for arguments in [
        vec!["verify", "no-such-path"],
        vec!["verify"],
        vec!["verify", "--nonsense"],
        vec!["nonsense"],
        vec!["verify", "Cargo.toml", "--checkpoint", "x"],
        vec!["verify", "src"],
    ] {
        let ran = run(&arguments);
        assert_eq!(ran.code, 4, "{arguments:?}: {}", ran.stderr);
    }
    assert_eq!(run(&["--help"]).code, 0);
}

#[test]
fn without_any_activation_everything_is_denied_and_that_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::empty();
    maker.round(&said(1));
    maker.activate(&default_bundle());
    maker.round(&said(2));
    maker.write(dir.path(), 1, NEVER_FULL);
    let (code, report) = verify(dir.path(), &[]);
    assert_eq!((code, report["decisions"]["same"].as_u64()), (0, Some(2)), "{report:#}");
}
