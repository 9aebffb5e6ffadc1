//! The recipe of `fixtures/ci`, run on the fixtures.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::fs;
use std::path::Path;
use std::process::Command;

#[track_caller]
fn check(log: &str, fails_on_change: bool, code: i32) -> (String, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let out = tempfile::tempdir().unwrap();
    let mut command = Command::new("bash");
    command
        .arg(root.join("fixtures/ci/check-decisions"))
        .args([out.path(), &root.join("replay/policies/default"), &root.join("fixtures/logs").join(log)])
        .env("GESTA_REPLAY", env!("CARGO_BIN_EXE_gesta-replay"))
        .env("GESTA_KEY", root.join("fixtures/logs/key"));
    if fails_on_change {
        command.env("WHATIF_FAILS", "1");
    }
    let ran = command.output().unwrap();
    assert_eq!(ran.status.code(), Some(code), "{}", String::from_utf8_lossy(&ran.stderr));
    let name = Path::new(log).file_name().unwrap().to_str().unwrap();
    let read = |suffix: &str| fs::read_to_string(out.path().join(format!("{name}.{suffix}"))).unwrap();
    (read("junit.xml"), read("whatif.txt"))
}

#[test]
fn a_sound_log_passes_and_the_changes_of_another_policy_are_told() {
    let (junit, whatif) = check("good/decided", false, 0);
    assert!(junit.contains("failures=\"0\""), "{junit}");
    assert!(whatif.starts_with("8 of 8 decisions would change under gesta.default 1"), "{whatif}");
    check("good/decided", true, 1);
}

#[test]
fn a_forged_decision_and_a_tampered_log_fail() {
    let (junit, _) = check("bad/diverged-forged-decision", false, 1);
    assert!(junit.contains("type=\"DIVERGED\""), "{junit}");
    check("bad/tampered-execution-after-deny", true, 2);
}
