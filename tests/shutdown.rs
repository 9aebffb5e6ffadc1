//! How the program ends and how it refuses to begin: signals, exit codes, messages, and what is left on disk.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::process::{Ended, PROGRAM, SMALL_SEGMENTS, run, serve};
use support::{Ending, Intent, Response, Server, http, until};

/// What the design allows from the signal to the end, whatever the clients do, and as much again for a machine that has
/// more to do. A client that is waited for keeps it alive for ever.
const LIMIT: Duration = Duration::from_secs(20);

/// A connection that has answered a request and waits for the next.
fn idle(server: &Server) -> BufReader<TcpStream> {
    let mut connection = http::connect(server.address).unwrap();
    http::send(connection.get_mut(), server.address, "GET", "/healthz", &[], b"").unwrap();
    assert_eq!(http::read_response(&mut connection).unwrap().status, 200);
    connection
}

/// A request whose handler waits for the rest of its body.
fn pending(server: &Server, intent: &Intent) -> (BufReader<TcpStream>, String) {
    let body = intent.body();
    let length = body.len().to_string();
    let headers =
        [("Content-Type", "application/json"), ("Content-Length", &*length), ("Expect", "100-continue")];
    let mut connection = http::connect(server.address).unwrap();
    http::send(connection.get_mut(), server.address, "POST", "/ingress/intent", &headers, b"").unwrap();
    assert_eq!(http::read_head(&mut connection).unwrap().0, 100);
    (connection, body)
}

/// Writers that post until they are refused; what was acknowledged to them.
fn writers(server: &Server) -> Vec<std::thread::JoinHandle<Vec<u64>>> {
    (0..4)
        .map(|writer| {
            let mut client = server.client();
            std::thread::spawn(move || {
                let mut acknowledged = Vec::new();
                for nth in 0.. {
                    match client.try_post(&Intent::new(format!("writer-{writer}-{nth}")).body()) {
                        Ok(Response { status: 503, .. }) | Err(_) => break,
                        Ok(response) => acknowledged.push(response.index()),
                    }
                }
                acknowledged
            })
        })
        .collect()
}

#[track_caller]
fn check_ends_in_order(signal: &str) {
    let directory = tempfile::tempdir().unwrap();
    let settings = ["log.segment_bytes=4MiB", "limits.body_read_seconds_max=600"];
    let server = Server::start(directory.path(), &settings);
    for nth in 0..200 {
        server.client().submit(&Intent::sized(format!("history-{nth}"), 48_000));
    }
    let mut tails: Vec<_> = (0..5).map(|_| server.tail("?since=199")).collect();
    for tail in &mut tails {
        tail.next_of("caught-up");
    }
    // Asks for more than its socket takes, and reads nothing.
    let mut stalled = http::connect(server.address).unwrap();
    http::send(stalled.get_mut(), server.address, "GET", "/tail", &[], b"").unwrap();
    stalled.fill_buf().unwrap();
    let mut idle: Vec<_> = (0..5).map(|_| idle(&server)).collect();
    let (mut slow, body) = pending(&server, &Intent::new("slow"));
    let writers = writers(&server);
    until("writers are at work", || (server.head() > 250).then_some(()));

    let address = server.address;
    let signalled = Instant::now();
    server.signal(signal);
    until("new connections are refused", || TcpStream::connect(address).err());
    slow.get_mut().write_all(body.as_bytes()).unwrap();
    let slow = http::read_response(&mut slow).expect("a pending request is answered");
    assert_eq!(slow.status, 202, "{}", slow.text());
    for tail in &mut tails {
        assert_eq!(tail.ending(), Ending::Cut, "a client that is told that all was said stays away");
    }
    for connection in &mut idle {
        assert_eq!(connection.read(&mut [0]).unwrap_or(0), 0, "an idle connection is closed");
    }
    let mut acknowledged: Vec<u64> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    acknowledged.push(slow.index());
    let ended = server.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(signalled.elapsed() < LIMIT, "it took {:?}", signalled.elapsed());
    drop(stalled);

    let again = Server::start(directory.path(), &["log.segment_bytes=4MiB"]);
    let head = again.head();
    assert!(acknowledged.iter().all(|index| *index < head), "an acknowledged record is gone");
    assert!(!again.errors().contains("cut off"), "an orderly end left torn bytes: {}", again.errors());
    let replayed = again.client().post(&Intent::new("slow").body());
    assert_eq!((replayed.status, replayed.index()), (200, slow.index()));
    again.stop();
}

#[test]
fn sigterm_ends_it_in_order_whatever_the_clients_do() {
    check_ends_in_order("TERM");
}

#[test]
fn sigint_ends_it_in_order_whatever_the_clients_do() {
    check_ends_in_order("INT");
}

#[test]
fn a_client_that_never_finishes_its_request_does_not_keep_it_alive() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["limits.shutdown_seconds_max=2"]);
    let (mut unfinished, _body) = pending(&server, &Intent::new("unfinished"));
    server.stop();
    assert!(http::read_response(&mut unfinished).is_err(), "nothing was appended, and no answer says so");
    assert_eq!(Server::start(directory.path(), &[]).head(), 0);
}

/// Demands that the program ends at once with this code and names all of this.
#[track_caller]
fn check_refuses(ended: &Ended, code: i32, names: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}", ended.errors);
    for name in names {
        assert!(ended.errors.contains(name), "{name:?} is not named: {}", ended.errors);
    }
}

#[test]
fn a_directory_in_use_is_refused_and_its_owner_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let ended = run(serve(directory.path(), &[]));
    check_refuses(&ended, 4, &["error:", "hint:", "--data"]);
    assert_eq!(server.client().submit(&Intent::new("goes-on")), 0);
    server.stop();
    Server::start(directory.path(), &[]).stop();
}

/// The segments of a log, in order.
fn segments(data: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(data.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Changes one byte in the middle of the record at `index` in the file that holds it.
fn damage(data: &Path, index: u64) -> String {
    let mark = format!("\nid: {index}\n");
    for path in segments(data) {
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = memchr::memmem::find(&bytes, mark.as_bytes()) {
            bytes[at + 200] ^= 0x20;
            fs::write(&path, bytes).unwrap();
            return path.file_name().unwrap().to_str().unwrap().to_owned();
        }
    }
    panic!("no segment holds the record at {index}");
}

/// A log of 60 records in several segments, ended in order.
fn small_log() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &SMALL_SEGMENTS);
    for nth in 0..60 {
        server.client().submit(&Intent::sized(nth.to_string(), 5000));
    }
    server.stop();
    assert!(segments(directory.path()).len() > 2);
    directory
}

fn contents(data: &Path) -> Vec<Vec<u8>> {
    segments(data).iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn a_log_whose_end_is_damaged_is_not_served_and_the_place_is_named() {
    for index in [59, 57] {
        let directory = small_log();
        let segment = damage(directory.path(), index);
        let damaged = contents(directory.path());
        let ended = run(serve(directory.path(), &SMALL_SEGMENTS));
        check_refuses(&ended, 3, &[&segment, &format!("index {index}"), "byte", "hint:"]);
        assert!(contents(directory.path()) == damaged, "what is damaged is left as it is");
    }
}

#[test]
fn a_damaged_sealed_record_is_named_and_never_skipped() {
    for index in [0, 7, 30] {
        let directory = small_log();
        let segment = damage(directory.path(), index);
        let server = Server::start(directory.path(), &SMALL_SEGMENTS);
        let refused = server.client().get(&format!("/events/{index}"));
        support::problem::check(&refused, 500, "LOG_DAMAGED", None);
        let mut tail = server.tail("");
        let shown: Vec<_> =
            tail.rest().iter().filter(|block| block.is_record()).map(|block| block.index()).collect();
        assert_eq!(shown, (0..index).collect::<Vec<_>>(), "all in front of it, and nothing behind it");
        assert_eq!(tail.ending(), Ending::Cut);
        let errors = server.errors();
        for named in [&*segment, &format!("index {index}"), "byte"] {
            assert!(errors.contains(named), "{named:?} is not named: {errors}");
        }
        // What is sound is served, and appends go on.
        assert_eq!(server.client().get("/events/59").json()["index"], 59);
        assert_eq!(server.client().submit(&Intent::new("after")), 60);
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gesta.toml");
    fs::write(&file, "[log]\nsegment_bites = 1\n").unwrap();
    let mut command = serve(directory.path(), &[]);
    command.arg("--config").arg(&file);
    check_refuses(&run(command), 2, &["gesta.toml:2", "segment_bites", "segment_bytes"]);
    for (setting, named) in [
        ("tail.heartbeat_seconds=16", "tail.heartbeat_seconds"),
        ("log.nothing=1", "log.nothing"),
        ("log.segment_bytes=64KiB", "segment"),
        ("nonsense", "nonsense"),
    ] {
        check_refuses(&run(serve(directory.path(), &[setting])), 2, &["error:", named]);
    }
    let mut command = serve(directory.path(), &[]);
    command.env("GESTA_LOG__SEGMENT_BYTES", "many");
    check_refuses(&run(command), 2, &["GESTA_LOG__SEGMENT_BYTES"]);
    assert!(!directory.path().join("log").exists(), "a refused start leaves nothing behind");
}

#[test]
fn without_tokens_it_listens_on_loopback_alone() {
    let directory = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7070"] {
        let mut command = std::process::Command::new(PROGRAM);
        command.args(["serve", "--listen", address, "--data"]).arg(directory.path());
        check_refuses(&run(command), 2, &["NON_LOOPBACK_WITHOUT_TOKEN", address, "gesta token new"]);
    }
}

#[test]
fn a_log_keeps_its_origin() {
    let directory = tempfile::tempdir().unwrap();
    let named = |origin: &str| {
        let mut command = serve(directory.path(), &[]);
        command.args(["--origin", origin]);
        command
    };
    let server = Server::spawn(named("example.com/log-1")).unwrap();
    assert_eq!(server.client().get("/status").json()["origin"], "example.com/log-1");
    server.stop();
    check_refuses(&run(named("example.com/log-2")), 2, &["example.com/log-1", "example.com/log-2"]);
    Server::start(directory.path(), &[]).stop();
}
