//! A disk that is full, and one that fails: what is rejected, what is unknown, and that nothing acknowledged is lost.
//!
//! A full disk is a small tmpfs, which needs the right to mount; a failing one is the system's own `strace`, which
//! fails chosen calls on the log's file, or a limit on the size of files. What a machine does not have is skipped by
//! name.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use support::process::{Ended, PROGRAM, serve_arguments};
use support::tail::records;
use support::{Ending, Intent, Response, Server, until};

/// A file system of its own; unmounted when dropped.
struct Volume(PathBuf, #[expect(dead_code, reason = "removes the mount point")] tempfile::TempDir);

impl Volume {
    /// None where this user may not mount.
    fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "gesta-test"]).arg(&path).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Self(path, directory))
    }

    /// Takes all the space that is left.
    fn fill(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        let mut file = fs::File::create(&path).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        while file.write_all(&[1]).is_ok() {}
        path
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|unmounted| unmounted.success()) || std::thread::panicking());
    }
}

/// Posts until one is refused, and demands that the refusal says why and that nothing was appended.
fn post_until_full(server: &Server, name: &str, bytes: usize) -> u64 {
    let mut client = server.client();
    for nth in 0.. {
        let head = server.head();
        let response = client.post(&Intent::sized(format!("{name}-{nth}"), bytes).body());
        if response.status != 202 {
            support::problem::check(&response, 503, "DISK_FULL", None);
            assert_eq!(response.json()["retriable"], json!(true));
            assert_eq!(server.head(), head, "a rejected intent was appended");
            return head;
        }
    }
    unreachable!("a small volume takes so much")
}

#[track_caller]
fn check_full_disk(settings: &[&str]) {
    let Some(volume) = Volume::mount("24m") else {
        println!("SKIPPED: this user may not mount a tmpfs");
        return;
    };
    let data = volume.0.join("data");
    let server = Server::start(&data, settings);
    let mut client = server.client();
    for nth in 0..20 {
        client.submit(&Intent::sized(format!("before-{nth}"), 2000));
    }
    let mut tail = server.tail("?since=-1");
    let ballast = volume.fill("ballast");
    let mut head = post_until_full(&server, "full", 30_000);
    // Reads, tails and repeats go on.
    assert_eq!(records(&client.get("/tail?follow=false")).len() as u64, head);
    assert_eq!(client.get("/events/7").json()["index"], 7);
    assert_eq!(client.post(&Intent::sized("before-7", 2000).body()).status, 200);
    for index in 0..head {
        assert_eq!(tail.next_record().unwrap().index(), index);
    }
    for _ in 0..20 {
        assert_eq!(client.post(&Intent::sized("again", 30_000).body()).reason_code(), "DISK_FULL");
    }
    // Starts on the full disk serve too, one after the other.
    let mut server = server;
    for nth in 0..3 {
        server.kill();
        server = Server::start(&data, settings);
        assert_eq!(server.head(), head);
        // Others take what the start has not used of its reserve.
        volume.fill(&format!("more-{nth}"));
        head = post_until_full(&server, &format!("more-{nth}"), 30_000);
        assert_eq!(records(&server.client().get("/tail?follow=false")).len() as u64, head);
    }
    let mut tail = server.tail(&format!("?since={}", head - 1));
    // With space again, appends work by themselves, and followers see them.
    fs::remove_file(ballast).unwrap();
    let taken = until("appends are taken again", || {
        let response = server.client().post(&Intent::sized("again", 30_000).body());
        (response.status != 503).then_some(response)
    });
    assert_eq!((taken.status, taken.index()), (202, head));
    assert_eq!(tail.next_record().unwrap().index(), head);
    server.stop();
    let server = Server::start(&data, settings);
    assert_eq!(server.head(), head + 1);
    server.stop();
}

#[test]
fn a_full_disk_rejects_appends_and_nothing_else() {
    check_full_disk(&["log.fill_ahead_bytes_max=64KiB", "log.fill_piece_bytes_max=4KiB"]);
}

#[test]
fn a_disk_that_is_full_when_a_segment_is_full_rejects_appends_and_nothing_else() {
    let small = ["log.segment_bytes=144KiB", "log.batch_bytes_max=64KiB"];
    check_full_disk(
        &[&small[..], &["log.fill_ahead_bytes_max=64KiB", "log.fill_piece_bytes_max=4KiB"]].concat(),
    );
}

#[test]
fn a_start_on_a_full_disk_activates_once_there_is_space() {
    let Some(volume) = Volume::mount("24m") else {
        println!("SKIPPED: this user may not mount a tmpfs");
        return;
    };
    let bundle = tempfile::tempdir().unwrap();
    fs::create_dir(bundle.path().join("policies")).unwrap();
    let policy =
        format!("@reason(\"ALL\")\npermit(principal, action, resource);\n// {}\n", "x".repeat(900_000));
    fs::write(bundle.path().join("policies/large.cedar"), policy).unwrap();
    fs::write(
        bundle.path().join("bundle.json"),
        json!({"policy_id": "large", "policy_version": "1"}).to_string(),
    )
    .unwrap();

    let data = volume.0.join("data");
    let settings = ["log.fill_ahead_bytes_max=64KiB", "log.fill_piece_bytes_max=4KiB"];
    let server = Server::start(&data, &settings);
    // A log without records is made anew, which takes space.
    server.client().submit(&Intent::new("first"));
    let ballast = volume.fill("ballast");
    post_until_full(&server, "full", 30_000);
    server.kill();
    // A start on a full disk gives up its reserve, which would hold the bundle. The rest of that is taken.
    let server = Server::start(&data, &settings);
    volume.fill("more");
    let head = post_until_full(&server, "more", 30_000);
    server.kill();
    let wanted = format!("decider.policy={}", bundle.path().display());
    let server = Server::start(&data, &[&settings[..], &["decider.enabled=true", &wanted]].concat());
    let mut client = server.client();
    assert_eq!(client.get("/control/policy").status, 404, "there is no space for it");
    assert_eq!(
        client.get("/events?stream_id=default&kinds=INTENT&limit=2000").json()["events"]
            .as_array()
            .unwrap()
            .len() as u64,
        head
    );
    fs::remove_file(ballast).unwrap();
    for path in ["/control/policy", "/control/context"] {
        until("it is activated", || (client.get(path).status == 200).then_some(()));
    }
    assert_eq!(client.get("/events?kinds=CONTROL").json()["events"].as_array().unwrap().len(), 2);
    server.stop();
}

/// What writers were told before a disk failed, and what each of those who were waiting was told.
struct Told {
    acknowledged: Vec<(Intent, u64)>,
    others: Vec<(Intent, Option<Response>)>,
}

/// Posts from several connections until the server is gone.
fn write_until_gone(server: &Server) -> Told {
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let mut client = server.client();
            std::thread::spawn(move || {
                let mut acknowledged = Vec::new();
                for nth in 0.. {
                    let intent = Intent::sized(format!("{writer}-{nth}"), 1000);
                    match client.try_post(&intent.body()) {
                        Ok(response) if response.status == 202 => {
                            acknowledged.push((intent, response.index()))
                        }
                        other => return (acknowledged, (intent, other.ok())),
                    }
                }
                unreachable!("the disk fails before")
            })
        })
        .collect();
    let (acknowledged, others): (Vec<_>, _) =
        writers.into_iter().map(|writer| writer.join().unwrap()).unzip();
    Told { acknowledged: acknowledged.concat(), others }
}

/// Demands that the server ended as a failed disk ends it, and that the directory opens again with all that was
/// acknowledged.
#[track_caller]
fn check_failed(data: &Path, told: Told, ended: &Ended) {
    assert_eq!(ended.code, Some(5), "{}", ended.errors);
    for named in ["error:", "caused by:", "hint:", "same correlation id"] {
        assert!(ended.errors.contains(named), "{named:?} is missing: {}", ended.errors);
    }
    let mut unknown = 0;
    for (_, answer) in &told.others {
        match answer {
            Some(answer) if answer.status == 500 => {
                support::problem::check(answer, 500, "OUTCOME_UNKNOWN", None);
                assert_eq!(answer.json()["retriable"], json!(true));
                unknown += 1;
            }
            Some(answer) => support::problem::check(answer, 503, "DRAINING", None),
            // Came too late for any answer: the socket was closed.
            None => {}
        }
    }
    assert!(unknown > 0, "nobody was told that the outcome is unknown");
    println!("{} acknowledged, {unknown} unknown", told.acknowledged.len());

    let server = Server::start(data, &[]);
    let (head, mut client) = (server.head(), server.client());
    for (intent, index) in &told.acknowledged {
        assert!(*index < head, "the acknowledged record at {index} is gone");
        let again = client.post(&intent.body());
        assert_eq!((again.status, again.index()), (200, *index));
    }
    for (intent, _) in &told.others {
        let settled = client.post(&intent.body());
        assert!(matches!(settled.status, 200 | 202), "{}", settled.text());
        assert_eq!(client.post(&intent.body()).index(), settled.index());
    }
    assert_eq!(records(&client.get("/tail?follow=false")).len(), told.acknowledged.len() + told.others.len());
    server.stop();
}

/// Starts a server whose calls on the active segment are tampered with; none where that cannot be done here. With `-D`
/// the tracer is not the parent, so that signals and exit codes are the server's own.
fn traced(data: &Path, call: &str, inject: &str, settings: &[&str]) -> Option<Server> {
    if !Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: strace is not installed");
        return None;
    }
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={inject}")]);
    command.arg("-P").arg(data.join("log/00000000000000000000.log"));
    command.arg(PROGRAM).args(serve_arguments(data, settings));
    match Server::spawn(command) {
        Ok(server) => Some(server),
        Err(ended) if ended.errors.to_lowercase().contains("ptrace") => {
            println!("SKIPPED: strace may not trace here");
            None
        }
        Err(ended) => panic!("{ended:?}"),
    }
}

/// Fails a system call on the active segment from its `nth` time on.
#[track_caller]
fn check_fault(call: &str, error: &str, nth: u32, settings: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let data = fs::canonicalize(directory.path()).unwrap();
    let fault = format!("{call}:error={error}:when={nth}+");
    let Some(server) = traced(&data, call, &fault, settings) else { return };
    let mut tail = server.tail("");
    let told = write_until_gone(&server);
    let seen: Vec<_> =
        tail.rest().iter().filter(|block| block.is_record()).map(|block| block.index()).collect();
    assert_eq!(tail.ending(), Ending::Cut);
    let ended = server.ended();
    check_failed(&data, told, &ended);
    let head = Server::start(&data, &[]).head();
    assert!(seen.iter().all(|index| *index < head), "a follower saw what is gone");
}

const UNFILLED: [&str; 1] = ["log.fill_ahead=false"];

#[test]
fn a_failed_write_ends_the_server_and_leaves_outcomes_unknown() {
    check_fault("pwrite64", "EIO", 40, &UNFILLED);
    check_fault("pwrite64", "ENOSPC", 40, &UNFILLED);
}

#[test]
fn a_failed_sync_ends_the_server_and_leaves_outcomes_unknown() {
    check_fault("fdatasync", "EIO", 40, &UNFILLED);
    check_fault("fdatasync", "ENOSPC", 40, &UNFILLED);
    check_fault("fdatasync", "EIO", 40, &[]);
}

#[test]
fn a_file_that_may_not_grow_ends_the_server_and_leaves_outcomes_unknown() {
    let directory = tempfile::tempdir().unwrap();
    // The limit is in blocks of 512 bytes; the signal that goes with it is ignored, so that the write itself fails.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$@\"", "sh", PROGRAM]);
    command.args(serve_arguments(directory.path(), &UNFILLED));
    let server = Server::spawn(command).unwrap();
    let told = write_until_gone(&server);
    let ended = server.ended();
    check_failed(directory.path(), told, &ended);
}

#[test]
fn nobody_learns_of_a_record_before_its_sync_has_ended() {
    /// How long each sync takes. Whoever learns of a record sooner did not wait for it.
    const SYNC: Duration = Duration::from_millis(200);
    let directory = tempfile::tempdir().unwrap();
    let data = fs::canonicalize(directory.path()).unwrap();
    let delayed = format!("fdatasync:delay_enter={}ms", SYNC.as_millis());
    let Some(server) = traced(&data, "fdatasync", &delayed, &UNFILLED) else { return };
    let mut tails =
        [server.tail(""), server.tail("?lanes=user"), server.tail("?stream_id=default&thread_id=thread")];
    for tail in &mut tails {
        tail.next_of("caught-up");
    }
    for expected in 0..3 {
        let mut client = server.client();
        let posted = Instant::now();
        let posting =
            std::thread::spawn(move || (client.submit(&Intent::new(expected.to_string())), posted.elapsed()));
        for tail in &mut tails {
            assert_eq!(tail.next_record().unwrap().index(), expected);
            assert!(posted.elapsed() >= SYNC, "a follower sees a record that is not durable");
        }
        let (index, took) = posting.join().unwrap();
        assert!(index == expected && took >= SYNC, "a record is acknowledged that is not durable");
    }
    server.kill();
}
