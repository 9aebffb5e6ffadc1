//! Runs the program and reads what it says.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::prefix::said;
use crate::support::{Maker, example};

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

/// A log of decided intents, some denied, some that refer to others; the last one awaits its DECISION.
pub(crate) fn decided() -> Maker {
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
