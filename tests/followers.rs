//! Many followers, slow ones and silent ones: what one of them costs, when it is closed, and that nobody else notices.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::io::Read as _;
use std::sync::Arc;

use support::process::Server;
use support::{Intent, Tail, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// Followers that must not notice the others.
const OTHERS: usize = 1000;

#[test]
fn a_silent_tail_sends_heartbeats_that_dispatch_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["tail.heartbeat_seconds=1"]);
    let mut tail = server.tail("");
    tail.next_of("caught-up");
    // The reader refuses a comment that a blank line follows.
    tail.wait_for_heartbeats(2);
    server.client().submit(&Intent::new("after"));
    assert_eq!(tail.next().unwrap().index(), 0, "a heartbeat was taken for a block");
}

#[test]
fn one_follower_too_many_is_closed_without_an_answer_until_there_is_a_place() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["tail.followers_max=2"]);
    let mut followers: Vec<Tail> = (0..2).map(|_| server.tail("")).collect();
    for follower in &mut followers {
        follower.next_of("caught-up");
    }
    let mut refused = support::http::connect(server.address).unwrap();
    support::http::send(refused.get_mut(), server.address, "GET", "/tail", &[], b"").unwrap();
    let mut answer = Vec::new();
    let _ = refused.read_to_end(&mut answer);
    assert_eq!(answer, b"", "an EventSource that is answered an error gives up for good");
    assert!(server.metric("followers_refused") >= 1.0);
    followers.pop();
    until("a place is free", || Tail::open(server.address, "", &[]).ok()).next_of("caught-up");
    server.client().submit(&Intent::new("for-the-others"));
    assert_eq!(followers[0].next_record().unwrap().index(), 0);
}

#[test]
fn a_follower_that_falls_behind_is_told_when_it_has_caught_up_again() {
    let directory = tempfile::tempdir().unwrap();
    // However long the disk takes for what is appended, nobody is closed for not reading meanwhile.
    let settings = ["tail.live_bytes=1MiB", "tail.reader_idle_seconds_max=3600"];
    let server = Server::start(directory.path(), &settings);
    let mut tail = server.tail("");
    assert_eq!(tail.next_of("caught-up").json()["head"], 0);
    // More than sockets buffer and memory holds, while nobody reads.
    const COUNT: u64 = 800;
    let mut client = server.client();
    for nth in 0..COUNT {
        client.submit(&Intent::sized(nth.to_string(), 48_000));
    }
    // What is acknowledged is told to followers a moment later.
    client.wait_settled();
    let mut next = 0;
    let caught_up = loop {
        let block = tail.next().unwrap();
        match block.event.as_str() {
            "envelope" => {
                assert_eq!(block.index(), next);
                next += 1;
            }
            "caught-up" => break block.json()["head"].as_u64().unwrap(),
            other => panic!("{other}"),
        }
    };
    assert_eq!((caught_up, next), (COUNT, COUNT));
    client.submit(&Intent::new("live"));
    assert_eq!(tail.next().unwrap().index(), COUNT);
}

/// A socket that asks for a tail and is cheap: no thread, a small buffer.
async fn ask(server: &Server, query: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let request = format!("GET /tail{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads until the record `last` is there, and gives the indexes of all records that came.
async fn read_indexes(mut stream: TcpStream, last: u64) -> Vec<u64> {
    let (mut indexes, mut rest, mut buffer) = (Vec::new(), Vec::new(), vec![0; 16 << 10]);
    let mut is_record = false;
    while indexes.last() != Some(&last) {
        let len = stream.read(&mut buffer).await.unwrap();
        assert_ne!(len, 0, "a follower that reads was closed after {indexes:?}");
        rest.extend_from_slice(&buffer[..len]);
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let text = String::from_utf8(rest.drain(..whole).collect()).unwrap();
        for line in text.lines() {
            // A record's id stands behind its first line; other blocks have ids too.
            if let (true, Some(index)) = (is_record, line.strip_prefix("id: ")) {
                indexes.push(index.parse().unwrap());
            }
            is_record = line.starts_with(": g1 ");
        }
    }
    indexes
}

#[test]
fn followers_that_never_read_cost_little_are_closed_and_disturb_nobody() {
    let directory = tempfile::tempdir().unwrap();
    // Long enough for a thousand that do read on a busy machine.
    let settings = ["tail.reader_idle_seconds_max=5", "tail.heartbeat_seconds=1"];
    let server = Arc::new(Server::start(directory.path(), &settings));
    // More history than the sockets between the two buffer.
    const HISTORY: u64 = 500;
    let mut client = server.client();
    for nth in 0..HISTORY {
        client.submit(&Intent::sized(format!("history-{nth}"), 48_000));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    const LIVE: u64 = 100;
    let last = HISTORY + LIVE - 1;
    let query = format!("?since={}", HISTORY - 1);
    let others: Vec<_> = runtime.block_on(async {
        let mut others = Vec::with_capacity(OTHERS);
        for _ in 0..OTHERS {
            others.push(tokio::spawn(read_indexes(ask(&server, &query).await, last)));
        }
        others
    });
    until("all others follow", || (server.metric("followers") >= OTHERS as f64).then_some(()));
    let before_kib = server.resident_kib();
    println!("{OTHERS} followers: {before_kib} KiB resident");

    const SILENT: usize = 40;
    let silent: Vec<_> = runtime.block_on(async {
        let mut silent = Vec::with_capacity(SILENT);
        for _ in 0..SILENT {
            silent.push(ask(&server, "?since=-1").await);
        }
        silent
    });
    let (mut most_kib, mut nth) = (before_kib, 0);
    until("the silent ones are closed", || {
        if nth < LIVE {
            client.submit(&Intent::new(format!("live-{nth}")));
            nth += 1;
        }
        most_kib = most_kib.max(server.resident_kib());
        (server.metric("readers_stalled_total") >= SILENT as f64).then_some(())
    });
    for nth in nth..LIVE {
        client.submit(&Intent::new(format!("live-{nth}")));
    }
    // Unbounded, each would hold the 24 MB of history.
    let cost_kib = most_kib - before_kib;
    println!("{SILENT} silent ones: {cost_kib} KiB more");
    assert!(cost_kib < 64 << 10, "{SILENT} followers that never read took {cost_kib} KiB");
    runtime.block_on(async {
        let expected: Vec<u64> = (HISTORY..=last).collect();
        for other in others {
            assert!(other.await.unwrap() == expected, "one of the others missed a record");
        }
        for stream in silent {
            let mut stream = stream;
            let mut received = Vec::new();
            let _ = stream.read_to_end(&mut received).await;
            assert!(received.len() < 24 << 20, "it was not closed, it was served");
            assert!(!received.ends_with(b"0\r\n\r\n"), "the stream seems complete, so its client stays away");
        }
    });
    until("their places are free", || (server.metric("followers") < SILENT as f64).then_some(()));
}

#[test]
fn a_tail_and_an_append_go_over_http2_by_prior_knowledge() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let whole = runtime.block_on(async {
        let socket = TcpStream::connect(server.address).await.unwrap();
        let (client, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let url = |path: &str| format!("http://{}{path}", server.address);
        let request = http::Request::get(url("/tail?until=1")).body(()).unwrap();
        let (tail, _) = client.send_request(request, true).unwrap();
        let tail = tail.await.unwrap();
        assert_eq!(tail.status(), 200);
        for nth in 0..2 {
            let request =
                http::Request::post(url("/ingress/intent")).header("content-type", "application/json");
            let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
            body.send_data(Intent::new(nth.to_string()).body().into(), true).unwrap();
            assert_eq!(answer.await.unwrap().status(), 202);
        }
        let (mut body, mut whole) = (tail.into_body(), Vec::new());
        while let Some(bytes) = body.data().await {
            let bytes = bytes.unwrap();
            let _ = body.flow_control().release_capacity(bytes.len());
            whole.extend_from_slice(&bytes);
        }
        whole
    });
    let blocks = support::frames(&whole);
    let events: Vec<_> = blocks.iter().map(|block| block.event.as_str()).collect();
    assert_eq!(events, ["log", "caught-up", "envelope", "envelope"]);
    // The records are the same bytes by either protocol.
    let http1 = support::tail::records(&server.client().get("/tail?follow=false"));
    assert_eq!(blocks[2..], http1);
}

#[test]
fn a_tail_over_http2_outlives_the_time_for_a_head_although_its_client_speaks() {
    let directory = tempfile::tempdir().unwrap();
    let server =
        Server::start(directory.path(), &["limits.header_read_seconds_max=1", "tail.heartbeat_seconds=1"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = TcpStream::connect(server.address).await.unwrap();
        let (mut client, mut connection) = h2::client::handshake(socket).await.unwrap();
        let mut pings = connection.ping_pong().unwrap();
        tokio::spawn(connection);
        let request = http::Request::get(format!("http://{}/tail", server.address)).body(()).unwrap();
        let (tail, _) = client.send_request(request, true).unwrap();
        let mut body = tail.await.unwrap().into_body();
        pings.ping(h2::Ping::opaque()).await.unwrap();
        let mut heartbeats = 0;
        while heartbeats < 4 {
            let bytes = body.data().await.expect("the tail was closed").unwrap();
            heartbeats += usize::from(bytes.starts_with(b":"));
            body.flow_control().release_capacity(bytes.len()).unwrap();
        }
    });
    server.stop();
}
