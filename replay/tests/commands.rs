//! `gesta-replay explain`, `whatif`, `rebuild`, `diff` and `dump`.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

#[path = "verify/run.rs"]
mod run;

use std::fs;
use std::path::Path;

use serde_json::Value;

use run::{found, run, verify};
use support::fixtures::decided;
use support::{changed, default_bundle, example, write_segment};

fn json(arguments: &[&str]) -> (i32, Value) {
    let ran = run(arguments);
    (ran.code, serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}{}", ran.stdout, ran.stderr)))
}

fn written(dir: &Path) -> String {
    decided().write(dir, 3, 16 * 1024);
    dir.to_str().unwrap().to_owned()
}

#[test]
fn a_decision_is_explained_by_the_lines_that_determined_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path());
    let maker = decided();
    let find = |what: &str| {
        let is = |data: &Vec<u8>| String::from_utf8_lossy(data).contains(what);
        maker.log.records.iter().position(is).unwrap().to_string()
    };
    let denied = find("\"intent_type\":\"shell.exec\",\"kind\":\"INTENT\"");
    let (code, explained) = json(&["explain", &denied, &path, "--json"]);
    assert_eq!((code, &explained["answer"]["result"]), (0, &"DENY".into()));
    assert_eq!(explained["verdict"], "same");
    assert_eq!(explained["decided_by"][0]["file"], "policies/deny.cedar");
    assert_eq!(explained["decided_by"][0]["line"], 12);
    assert!(explained["policy_saw"]["context"].as_str().unwrap().contains("shell.exec"), "{explained:#}");
    let decision = explained["decision_index"].to_string();
    assert_eq!(json(&["explain", &decision, &path, "--json"]).1, explained);
    let referring = find("\"correlation_id\":\"c-2\"");
    let ran = run(&["explain", &referring, &path]);
    assert!(ran.stdout.contains("c-1 -> event 2 for governance"), "{}", ran.stdout);
    assert!(ran.stdout.contains("the EXECUTION at index 5: only its index and digest"), "{}", ran.stdout);
    let undecided = (maker.len() - 1).to_string();
    assert!(json(&["explain", &undecided, &path, "--json"]).1["decision_index"].is_null());
    assert_eq!(run(&["explain", "0", &path]).code, 4);
}

#[test]
fn another_bundle_changes_what_it_would_have_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(&dir.path().join("data"));
    let bundle = |name: &str, files: &gesta_replay::policy::Files| {
        let dir = dir.path().join(name);
        for (path, content) in files {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir.to_str().unwrap().to_owned()
    };
    let same = bundle("same", &example());
    let (code, report) = json(&["whatif", "--policy", &same, &path, "--json", "--fail-on-change"]);
    assert_eq!((code, &report["changed"]), (0, &0.into()), "{report:#}");
    let other = bundle("other", &default_bundle());
    let (code, report) = json(&["whatif", "--policy", &other, &path, "--json"]);
    assert_eq!((code, &report["decisions"], &report["result_changed"]), (0, &8.into(), &1.into()));
    assert_eq!(report["changed"], 8, "each has another reason");
    let denied = report["changes"].as_array().unwrap().iter().find(|one| one["before"]["result"] == "DENY");
    assert_eq!(denied.unwrap()["after"]["result"], "ALLOW");
    assert_eq!(run(&["whatif", "--policy", &other, &path, "--fail-on-change"]).code, 1);
    assert_eq!(run(&["whatif", "--policy", dir.path().to_str().unwrap(), &path]).code, 4);
}

#[test]
fn what_is_rebuilt_is_a_snapshot_that_verify_accepts_and_diff_compares() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(&dir.path().join("data"));
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for (name, at) in [("a", "12"), ("b", "12"), ("c", "13")] {
        let ran = run(&["rebuild", &path, "--at", at, "--json"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        fs::write(file(name), ran.stdout).unwrap();
    }
    let (code, report) = verify(path.as_ref(), &["--snapshot", &file("a"), "--snapshot", &file("c")]);
    assert_eq!((code, report["projections"].as_array().unwrap().len()), (0, 20), "{report:#}");
    assert_eq!(run(&["diff", &file("a"), &file("b")]).code, 0);
    let ran = run(&["diff", &file("a"), &file("c")]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("/length"), "{}", ran.stdout);
    let mut wrong = fs::read_to_string(file("a")).unwrap();
    let counts = "\"counts\": \"sha256:";
    let at = wrong.find(counts).unwrap() + counts.len();
    let digit = if &wrong[at..=at] == "0" { "1" } else { "0" };
    wrong.replace_range(at..=at, digit);
    fs::write(file("d"), wrong).unwrap();
    let (code, report) = verify(path.as_ref(), &["--snapshot", &file("d")]);
    assert_eq!((code, &*found(&report)[0].0), (2, "SNAPSHOT"), "{report:#}");
    assert_eq!(run(&["rebuild", &path, "--at", "1000"]).code, 4);
}

#[test]
fn the_first_difference_of_two_logs_is_named_with_both_sides() {
    let (dir, maker) = (tempfile::tempdir().unwrap(), decided());
    let path = written(&dir.path().join("data"));
    let other = dir.path().join("other");
    write_segment(&other, &maker.log.records);
    let other = other.to_str().unwrap();
    assert_eq!(run(&["diff", &path, other]).code, 0);
    let mut records = maker.log.records.clone();
    records[6] = changed(&records[6], "hello 2", "hello X");
    write_segment(other.as_ref(), &records);
    let (code, answer) = json(&["diff", &path, other, "--json"]);
    assert_eq!((code, &answer["difference"]["at"]), (1, &"index 6".into()), "{answer:#}");
    assert!(answer["difference"]["b"].as_str().unwrap().contains("hello X"));
    write_segment(other.as_ref(), &maker.log.records[..9]);
    let (code, answer) = json(&["diff", &path, other, "--json"]);
    assert_eq!((code, &answer["difference"]["at"]), (1, &"index 9".into()));
    assert!(answer["difference"]["b"].is_null());
}

#[test]
fn a_dump_has_every_envelope() {
    let (dir, maker) = (tempfile::tempdir().unwrap(), decided());
    let path = written(dir.path());
    let ran = run(&["dump", &path, "--json"]);
    let expected: Vec<u8> = maker.log.records.iter().flat_map(|data| [&data[..], b"\n"].concat()).collect();
    assert!(ran.stdout.as_bytes() == expected, "{}", ran.stderr);
    assert_eq!(run(&["dump", &path, "--since", "3", "--until", "5"]).stdout.lines().count(), 2);
}
