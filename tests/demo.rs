//! `gesta demo`: it ends well, says what it proves, and leaves nothing behind.

mod support;

use std::fs;
use std::process::Command;

use support::process::PROGRAM;

#[test]
fn the_demo_ends_well_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM).arg("demo").env("TMPDIR", home.path()).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    for said in ["kill -9", "Last-Event-Id: ", "no gap, no repeat", "All of it held"] {
        assert!(told.contains(said), "{said} is not in:\n{told}");
    }
    assert!(!told.contains('\x1b'), "no colour where there is no terminal");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn the_demo_keeps_its_log_where_it_is_told_and_overwrites_none() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("kept");
    let demo = || Command::new(PROGRAM).arg("demo").arg("--data").arg(&data).output().unwrap();
    assert!(demo().status.success());
    let dumped = Command::new(PROGRAM).arg("dump").arg("--json").arg(&data).output().unwrap();
    assert_eq!(dumped.stdout.iter().filter(|byte| **byte == b'\n').count(), 403);
    assert_eq!(demo().status.code(), Some(2), "a directory that is not empty is left alone");
}
