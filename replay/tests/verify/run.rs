//! Runs the program and reads what it says.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn run<A: AsRef<OsStr>>(arguments: &[A]) -> Ran {
    let ran = Command::new(env!("CARGO_BIN_EXE_gesta-replay")).args(arguments).output().unwrap();
    Ran {
        code: ran.status.code().unwrap(),
        stdout: String::from_utf8(ran.stdout).unwrap(),
        stderr: String::from_utf8(ran.stderr).unwrap(),
    }
}

/// Verifies a path; the exit code and the report.
#[track_caller]
pub(crate) fn verify(path: &Path, more: &[&str]) -> (i32, Value) {
    let path = path.to_str().unwrap();
    let ran = run(&[&["verify", path, "--json"], more].concat());
    let report = serde_json::from_str(&ran.stdout);
    let report: Value = report.unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr));
    assert_eq!(report["exit_code"], ran.code);
    (ran.code, report)
}

/// The rules of what was found, each with its index.
pub(crate) fn found(report: &Value) -> Vec<(String, Option<u64>)> {
    let findings = report["findings"].as_array().unwrap();
    let one = |finding: &Value| (finding["rule"].as_str().unwrap().to_owned(), finding["index"].as_u64());
    findings.iter().map(one).collect()
}
