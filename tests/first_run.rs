//! The first real run: a repository's own history goes into a log while curl tails it, the server is killed in the
//! middle and started again, and in the end the saved tail and the data directory are the same log.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use gesta_log_format::envelope::View;
use gesta_log_format::saved_tail::{Item, Items};
use serde_json::Value;
use support::Server;
use support::process::PROGRAM;

/// The history is repeated until it has so many intents, so that there is a middle to be killed in.
const INTENTS: &str = "600";

/// Bytes of the tail that have arrived when the server is killed.
const TAILED_BYTES: usize = 100_000;

fn history() -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/history-to-ndjson");
    let output = Command::new(script).args(["--repeat-to", INTENTS]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn curl(arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--no-buffer"]).args(arguments).stdin(Stdio::null());
    command
}

fn submit(url: &str) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(["submit", "--url", url, "--ndjson", "-", "--json", "--concurrency", "4"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[track_caller]
fn fine(output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn dump(path: &Path, form: &[&str]) -> Vec<u8> {
    fine(Command::new(PROGRAM).arg("dump").arg(path).args(form).output().unwrap())
}

/// The indexes and correlation ids of the records in a saved tail.
fn records(tail: &[u8]) -> Vec<(u64, String)> {
    let record = |item| match item {
        Item::Record(record) => {
            let view = View::parse(record.data).unwrap();
            Some((record.index.0, String::from_utf8(view.correlation_id.to_vec()).unwrap()))
        }
        Item::Bad { .. } => panic!("a record in the tail is bad: {item:?}"),
        Item::Control { .. } | Item::CutOff { .. } => None,
    };
    Items::new(tail).filter_map(record).collect()
}

#[test]
fn a_repositorys_history_survives_a_killed_server_and_its_saved_tail_is_the_log() {
    let lines = history();
    let total = lines.len() as u64;
    let ids: BTreeSet<String> = lines
        .iter()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["correlation_id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert!(ids.len() >= 50 && ids.len() == lines.len(), "each intent has an id of its own");

    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let server = Server::start_lasting(&data);
    let (url, address) = (server.url(), server.address);
    let mut tail = curl(&[&format!("{url}/tail")]).stdout(Stdio::piped()).spawn().unwrap();
    let mut submitting = submit(&url);
    let mut stdin = submitting.stdin.take().unwrap();
    let (first_half, second_half) = lines.split_at(lines.len() / 2);
    first_half.iter().for_each(|line| writeln!(stdin, "{line}").unwrap());

    // Once curl has received some of it, the server dies in the middle of what is under way.
    let mut first_part = vec![0; TAILED_BYTES];
    tail.stdout.as_mut().unwrap().read_exact(&mut first_part).unwrap();
    server.kill();
    let server = Server::start_at(&data, address);
    second_half.iter().for_each(|line| writeln!(stdin, "{line}").unwrap());
    drop(stdin);
    let summary: Value = serde_json::from_slice(&fine(submitting.wait_with_output().unwrap())).unwrap();
    assert_eq!((&summary["accepted"], &summary["failed"]), (&Value::from(total), &Value::from(0)));

    // curl has lost its connection, and comes back as any client does: with the last id that it received.
    let ended = tail.wait_with_output().unwrap();
    assert!(!ended.status.success(), "curl says that the transfer was cut off");
    first_part.extend_from_slice(&ended.stdout);
    let last = records(&first_part).last().unwrap().0;
    assert!(last + 1 < total, "the server was killed after the last record");
    let resumed = format!("{url}/tail?until={}", total - 1);
    let second_part =
        fine(curl(&["--header", &format!("Last-Event-Id: {last}"), &resumed]).output().unwrap());
    let tailed = [first_part, second_part].concat();
    let found = records(&tailed);
    assert!(found.iter().map(|(index, _)| *index).eq(0..total), "each index once and in order");
    assert_eq!(
        found.into_iter().map(|(_, id)| id).collect::<BTreeSet<_>>(),
        ids,
        "no intent twice, none lost"
    );

    let whole = home.path().join("whole.sse");
    let path = whole.to_str().unwrap();
    fine(curl(&["--output", path, &format!("{url}/tail?follow=false")]).output().unwrap());
    let pieces = home.path().join("pieces.sse");
    fs::write(&pieces, tailed).unwrap();
    server.stop();
    for form in [&[][..], &["--json"], &["--raw"]] {
        let log = dump(&data, form);
        assert!(dump(&whole, form) == log, "the saved tail and the data directory differ: {form:?}");
        assert!(
            dump(&pieces, form) == log,
            "the tail that was resumed and the data directory differ: {form:?}"
        );
    }
}
