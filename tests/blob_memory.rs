//! What a blob costs a server: measured on a process of its own, where nothing else takes memory meanwhile.

mod support;

use gesta_log_format::Digest;
use support::Server;

#[test]
fn the_largest_blob_goes_in_and_out_in_little_memory() {
    const BYTES: usize = 64 << 20;
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["limits.body_read_seconds_max=600"]);
    let content: Vec<u8> = (0..BYTES as u64 / 8).flat_map(u64::to_le_bytes).collect();
    let path = format!("/api/blob/sha256/{}", Digest::of(&content).hex());
    let mut client = server.client();
    // What connections and threads take once is there before.
    for (method, body) in [("PUT", &b"small"[..]), ("GET", b"")] {
        let small = format!("/api/blob/sha256/{}", Digest::of(b"small").hex());
        client.request(method, &small, &[], body);
    }
    let before_kib = server.peak_kib();
    assert_eq!(client.request("PUT", &path, &[], &content).status, 201);
    assert!(client.get(&path).body == content);
    let grown_kib = server.peak_kib() - before_kib;
    println!("{grown_kib} KiB more");
    // What the allocator keeps for later varies; a blob that is held as a whole would take all of its own.
    assert!(grown_kib < 40 << 10, "the server grew by {grown_kib} KiB for a blob of {} KiB", BYTES >> 10);
    server.stop();
}
