//! The logs of `fixtures/logs`, each with the report that it has to have.
//!
//! `GESTA_BLESS=1` writes the reports, which somebody then has to read.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

#[path = "verify/run.rs"]
mod run;

use std::fs;
use std::path::{Path, PathBuf};

use gesta_replay::policy::engine_version;
use run::{found, run, verify};
use support::tasks::PLANTED;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/logs")
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// All files below a directory but the reports.
fn files(dir: &Path, prefix: &str, found: &mut Vec<(String, Vec<u8>)>) {
    for path in directories(dir) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let below = format!("{prefix}{name}");
        if path.is_dir() {
            files(&path, &format!("{below}/"), found);
        } else if name != "expected.json" {
            found.push((below, fs::read(&path).unwrap()));
        }
    }
}

fn report(dir: &Path, jobs: &str) -> run::Ran {
    let tail = dir.join("tail.sse");
    let path = if tail.exists() { tail } else { dir.to_owned() };
    let key = root().join("key");
    let arguments =
        ["verify", path.to_str().unwrap(), "--json", "--jobs", jobs, "--key", key.to_str().unwrap()];
    run(&arguments)
}

#[track_caller]
fn check(dir: &Path, code: i32) {
    let ran = report(dir, "1");
    assert_eq!(ran.code, code, "{}: {}{}", dir.display(), ran.stdout, ran.stderr);
    assert_eq!(report(dir, "3").stdout, ran.stdout, "{}", dir.display());
    let expected = dir.join("expected.json");
    if std::env::var_os("GESTA_BLESS").is_some() {
        fs::write(&expected, &ran.stdout).unwrap();
    }
    let expected = fs::read_to_string(&expected).unwrap_or_default();
    if is_of_this_engine(&expected) {
        assert_eq!(expected, ran.stdout, "{}", dir.display());
    }
}

/// Another engine's version says so of every decision: of a report that an older one wrote, the verdict alone is kept.
fn is_of_this_engine(report: &str) -> bool {
    let report: serde_json::Value = serde_json::from_str(report).unwrap_or_default();
    report["engine"]["version"].as_str().is_none_or(|version| version == engine_version())
}

#[test]
fn every_good_log_is_sound() {
    for dir in directories(&root().join("good")) {
        check(&dir, 0);
    }
}

#[test]
fn every_bad_log_has_the_verdict_that_its_name_says() {
    let dirs = directories(&root().join("bad"));
    assert!(dirs.len() >= 20);
    for dir in dirs {
        let name = dir.file_name().unwrap().to_str().unwrap();
        let verdicts = [("diverged-", 1), ("tampered-", 2), ("incomplete-", 3)];
        let (_, code) = verdicts.into_iter().find(|(verdict, _)| name.starts_with(verdict)).unwrap();
        check(&dir, code);
        let (_, report) = verify(&dir, &["--key", root().join("key").to_str().unwrap()]);
        assert!(!found(&report).is_empty(), "{name}");
    }
}

#[test]
fn each_planted_violation_of_a_task_is_found_in_its_last_record() {
    for planted in PLANTED {
        let dir = root().join("bad").join(format!("tampered-task-{}", planted.name));
        let (code, report) = verify(&dir, &[]);
        let last = report["log"]["records"].as_u64().unwrap() - 1;
        let expected: Vec<_> = planted.rules.iter().map(|rule| ((*rule).to_owned(), Some(last))).collect();
        assert_eq!((code, found(&report)), (2, expected), "{}: {report:#}", planted.name);
    }
}

#[test]
fn the_fixtures_are_what_their_script_makes() {
    if !is_of_this_engine(&fs::read_to_string(root().join("good/decided/expected.json")).unwrap()) {
        return;
    }
    let made = tempfile::tempdir().unwrap();
    support::fixtures::make(made.path());
    let (mut expected, mut lying) = (Vec::new(), Vec::new());
    files(made.path(), "", &mut expected);
    for sub in ["bad", "good"] {
        files(&root().join(sub), &format!("{sub}/"), &mut lying);
    }
    lying.push(("key".into(), fs::read(root().join("key")).unwrap()));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&lying), names(&expected));
    for ((name, lying), (_, expected)) in lying.iter().zip(&expected) {
        assert!(lying == expected, "{name}");
    }
}
