//! `gesta submit` and `gesta tail`, as a person runs them: the built program against a server that is killed.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use gesta_log_format::Digest;
use gesta_log_format::envelope::View;
use gesta_log_format::record;
use serde_json::{Value, json};
use support::Server;
use support::process::PROGRAM;

fn gesta() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_remove("GESTA_TOKEN").env_remove("GESTA_URL");
    command
}

#[track_caller]
fn run(arguments: &[&str]) -> Output {
    gesta().args(arguments).output().unwrap()
}

#[track_caller]
fn fine(output: &Output) -> &[u8] {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    &output.stdout
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn short_line(nth: usize) -> Value {
    json!({
        "lane": "l", "actor": "a", "intent_type": "t", "thread_id": format!("th{}", nth % 3),
        "turn_id": format!("tu{nth}"), "payload": {"nth": nth},
    })
}

fn write_lines(path: &Path, lines: impl IntoIterator<Item = Value>) {
    let text: String = lines.into_iter().map(|line| format!("{line}\n")).collect();
    fs::write(path, text).unwrap();
}

/// Submits a file and gives the exit code, the summary and standard error.
fn submit(url: &str, path: &Path, more: &[&str]) -> (i32, Value, String) {
    let path = path.to_str().unwrap();
    let output = run(&[&["submit", "--url", url, "--ndjson", path, "--json"], more].concat());
    let summary = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), summary, String::from_utf8(output.stderr).unwrap())
}

/// Indexes and correlation ids of records that lie one behind the other.
fn records(mut bytes: &[u8]) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let record = record::decode(bytes).unwrap();
        let view = View::parse(record.data).unwrap();
        found.push((record.index.0, text(view.correlation_id).to_owned()));
        bytes = &bytes[record.bytes.len()..];
    }
    found
}

#[test]
fn a_message_is_acknowledged_in_one_line_and_a_repeat_is_recognised() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let arguments = [
        "submit",
        "--url",
        &server.url(),
        "--message",
        "hello",
        "--thread",
        "t",
        "--turn",
        "u",
        "--correlation-id",
        "c",
    ];
    let first = run(&arguments);
    let acknowledgement: Value = serde_json::from_slice(fine(&first)).unwrap();
    assert_eq!(acknowledgement["accepted"], true);
    assert_eq!(acknowledgement["index"], 0);
    assert_eq!(fine(&run(&arguments)), fine(&first));
    assert_eq!(text(&first.stdout).lines().count(), 1);
}

#[test]
fn a_file_that_is_submitted_twice_appends_each_line_once() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let file = data.path().join("lines.ndjson");
    write_lines(&file, (0..300).map(short_line));
    let (code, summary, _) = submit(&server.url(), &file, &[]);
    assert_eq!((code, &summary["accepted"], &summary["replayed"]), (0, &json!(300), &json!(0)));
    let (code, summary, _) = submit(&server.url(), &file, &["--skip", "100"]);
    assert_eq!((code, &summary["accepted"], &summary["replayed"]), (0, &json!(200), &json!(200)));
    let raw = run(&["tail", "--url", &server.url(), "--raw"]);
    assert_eq!(records(fine(&raw)).len(), 300);
}

#[test]
fn a_line_that_is_refused_ends_the_run_and_says_how_to_go_on() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let file = data.path().join("lines.ndjson");
    let mut lines: Vec<Value> = (0..5).map(short_line).collect();
    lines[3].as_object_mut().unwrap().remove("lane");
    write_lines(&file, lines);
    let (code, summary, told) = submit(&server.url(), &file, &["--concurrency", "1"]);
    assert_eq!((code, &summary["accepted"], &summary["failed"]), (1, &json!(3), &json!(1)));
    assert_eq!(summary["resume_skip"], 3);
    assert!(told.contains("line 4: refused: 400 INVALID_INPUT") && told.contains("--skip 3"), "{told}");
    write_lines(&file, (0..5).map(short_line));
    let (code, summary, _) = submit(&server.url(), &file, &["--skip", "3"]);
    assert_eq!((code, &summary["accepted"], &summary["replayed"]), (0, &json!(2), &json!(0)));
}

#[test]
fn lines_that_answer_the_line_before_them_are_all_accepted() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let file = data.path().join("lines.ndjson");
    write_lines(
        &file,
        (0..150).map(|nth| {
            let mut line = short_line(nth);
            line["thread_id"] = "one".into();
            if nth > 0 {
                line["parent_turn_id"] = format!("tu{}", nth - 1).into();
            }
            line
        }),
    );
    let (code, summary, told) = submit(&server.url(), &file, &[]);
    assert_eq!((code, &summary["accepted"]), (0, &json!(150)), "{told}");
}

fn spawn(arguments: &[&str], stdin: Stdio) -> Child {
    gesta().args(arguments).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_submission_and_a_tail_go_on_over_a_killed_server() {
    const LINES: usize = 1500;
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_lasting(data.path());
    let url = server.url();
    let last = (LINES - 1).to_string();
    let mut tail = spawn(&["tail", "--url", &url, "--raw", "--follow", "--until", &last], Stdio::null());
    let mut submitting =
        spawn(&["submit", "--url", &url, "--ndjson", "-", "--json", "--concurrency", "8"], Stdio::piped());
    let mut lines = submitting.stdin.take().unwrap();
    let write = |lines: &mut std::process::ChildStdin, range: std::ops::Range<usize>| {
        range.for_each(|nth| writeln!(lines, "{}", short_line(nth)).unwrap());
    };
    write(&mut lines, 0..LINES / 3);
    // Once some of it has been tailed, the server dies; what is under way is not known to be durable.
    let mut raw = vec![0; 64 * 1024];
    tail.stdout.as_mut().unwrap().read_exact(&mut raw).unwrap();
    let writing = std::thread::spawn(move || write(&mut lines, LINES / 3..LINES));
    let address = server.address;
    server.kill();
    let _server = Server::start_at(data.path(), address);
    writing.join().unwrap();
    let submitted = submitting.wait_with_output().unwrap();
    let summary: Value = serde_json::from_slice(fine(&submitted)).unwrap();
    assert_eq!((&summary["accepted"], &summary["failed"]), (&json!(LINES), &json!(0)));
    let tailed = tail.wait_with_output().unwrap();
    raw.extend_from_slice(fine(&tailed));
    let found = records(&raw);
    assert!(found.iter().map(|(index, _)| *index).eq(0..LINES as u64), "each index once and in order");
    let ids: std::collections::HashSet<_> = found.iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), LINES, "no line was appended twice");
}

#[test]
fn a_tail_is_the_dump_of_its_data_directory_in_every_form() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let file = data.path().join("lines.ndjson");
    write_lines(&file, (0..40).map(short_line));
    assert_eq!(submit(&server.url(), &file, &[]).0, 0);
    let forms = ["--raw", "--json", "--pretty"];
    let tailed = forms.map(|form| fine(&run(&["tail", "--url", &server.url(), form])).to_vec());
    assert!(text(&tailed[2]).lines().all(|line| line.contains("  {\"nth\":")), "the client's own content");
    server.stop();
    let directory = data.path().to_str().unwrap();
    let dumped = [&["--raw"][..], &["--json"], &[]]
        .map(|form| fine(&run(&[&["dump", directory], form].concat())).to_vec());
    assert_eq!(tailed, dumped);
}

#[test]
fn a_tail_begins_and_ends_where_it_is_told_and_shows_what_its_filter_shows() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let nothing = run(&["tail", "--url", &server.url()]);
    assert_eq!(fine(&nothing), b"");
    let file = data.path().join("lines.ndjson");
    write_lines(&file, (0..30).map(short_line));
    assert_eq!(submit(&server.url(), &file, &["--concurrency", "1"]).0, 0);
    let indexes = |more: &[&str]| -> Vec<u64> {
        let output = run(&[&["tail", "--url", &server.url(), "--raw"], more].concat());
        records(fine(&output)).into_iter().map(|(index, _)| index).collect()
    };
    assert_eq!(indexes(&["--since", "25"]), [26, 27, 28, 29]);
    assert_eq!(indexes(&["--since", "3", "--until", "6"]), [4, 5, 6]);
    assert_eq!(indexes(&["--since", "29"]), [0; 0]);
    assert_eq!(indexes(&["--thread-id", "th1", "--until", "8"]), [1, 4, 7]);
    assert_eq!(indexes(&["--thread-id", "th2", "--stream-id", "default", "--since", "20"]), [23, 26, 29]);
    assert_eq!(indexes(&["--kinds", "DECISION"]), [0; 0]);
    let ahead = run(&["tail", "--url", &server.url(), "--since", "30"]);
    assert_eq!(ahead.status.code(), Some(1));
    assert!(text(&ahead.stderr).contains("is not in the log"), "{}", text(&ahead.stderr));
}

#[test]
fn a_tail_keeps_the_blobs_that_its_records_name() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let file = data.path().join("lines.ndjson");
    let mut line = short_line(0);
    line["payload"] = json!({"text": "x".repeat(100_000)});
    write_lines(&file, [line.clone(), short_line(1)]);
    assert_eq!(submit(&server.url(), &file, &[]).0, 0);
    let kept = data.path().join("kept");
    fine(&run(&["tail", "--url", &server.url(), "--raw", "--with-blobs", kept.to_str().unwrap()]));
    let content = serde_json::to_vec(&line["payload"]).unwrap();
    let hex = Digest::of(&content).hex();
    let blob = fs::read(kept.join(format!("blobs/sha256/{}/{hex}", &hex[..2]))).unwrap();
    assert_eq!(blob, content);
}

#[test]
fn a_tail_does_not_go_on_in_another_log() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start_lasting(one.path());
    let (url, address) = (server.url(), server.address);
    let message = ["submit", "--url", &url, "--message", "m", "--thread", "t"];
    fine(&run(&message));
    let mut tail = spawn(&["tail", "--url", &url, "--raw", "--follow"], Stdio::null());
    // It has begun in the first log.
    tail.stdout.as_mut().unwrap().read_exact(&mut [0; 64]).unwrap();
    server.kill();
    let _other = Server::start_at(other.path(), address);
    let ended = tail.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let told = text(&ended.stderr);
    assert!(told.contains("the tail began in the log gesta.local/") && told.contains("hint:"), "{told}");
}

/// An authority, written to `NAME-ca.pem`, and a certificate of 127.0.0.1 that it signed, as `NAME.pem` and `NAME.key`.
fn authority(directory: &Path, name: &str) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let write =
        |suffix: &str, pem: String| fs::write(directory.join(format!("{name}{suffix}")), pem).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let signed = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer);
    write("-ca.pem", issuer.pem());
    write(".pem", signed.unwrap().pem());
    write(".key", key.serialize_pem());
}

#[test]
fn a_command_speaks_tls_with_a_server_whose_authority_it_was_told_and_with_no_other() {
    let directory = tempfile::tempdir().unwrap();
    ["own", "other"].into_iter().for_each(|name| authority(directory.path(), name));
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let data = directory.path().join("data");
    let (certificate, key) =
        (format!("tls.certificate={}", path("own.pem")), format!("tls.key={}", path("own.key")));
    let server = Server::start(&data, &[&certificate, &key, "tls.public=true"]);
    let url = server.url().replace("http:", "https:");
    let message = ["submit", "--url", &url, "--message", "m", "--thread", "t", "--retry-seconds", "0"];
    fine(&run(&[&message[..], &["--ca", &path("own-ca.pem")]].concat()));
    let tail = ["tail", "--url", &url, "--raw", "--ca", &path("own-ca.pem")];
    assert_eq!(records(fine(&run(&tail))).len(), 1);
    let other = run(&[&message[..], &["--ca", &path("other-ca.pem")]].concat());
    assert_eq!(other.status.code(), Some(1));
    assert!(text(&other.stderr).contains("invalid peer certificate"), "{}", text(&other.stderr));
    let none = run(&[&message[..], &["--ca", &path("own.key")]].concat());
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).contains("holds no certificate"), "{}", text(&none.stderr));
}

#[test]
fn an_url_that_is_no_servers_is_a_usage_error_and_a_server_that_is_away_is_a_failure() {
    let tls = run(&["tail", "--url", "https://127.0.0.1:1"]);
    assert_eq!(tls.status.code(), Some(2));
    assert!(text(&tls.stderr).contains("no certificate authority is named"), "{}", text(&tls.stderr));
    let away =
        ["submit", "--url", "http://127.0.0.1:1", "--message", "m", "--thread", "t", "--retry-seconds", "0"];
    let away = run(&away);
    assert_eq!(away.status.code(), Some(1));
    assert!(text(&away.stderr).contains("cannot connect to 127.0.0.1:1"), "{}", text(&away.stderr));
}
