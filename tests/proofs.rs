//! Checkpoints, proofs and tiles of a running server, checked by programs that are not ours.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{TryRecvError, sync_channel};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use signed_note::{Note, StandardVerifier, VerifierList};
use support::process::{PROGRAM, SMALL_SEGMENTS, run, serve};
use support::{Client, Intent, Response, Server, until};
use tlog_tiles::{Checkpoint, Hash, Tile, TileHashReader, TileReader};

/// A checkpoint that a server has served.
#[derive(Clone, Debug, PartialEq)]
struct Head {
    note: String,
    origin: String,
    size: u64,
    root: Hash,
}

impl Head {
    fn parse(note: &str) -> Self {
        let parsed = Note::from_bytes(note.as_bytes()).unwrap();
        let checkpoint = Checkpoint::from_bytes(parsed.text()).unwrap();
        Self {
            note: note.to_owned(),
            origin: checkpoint.origin().to_owned(),
            size: checkpoint.size(),
            root: *checkpoint.hash(),
        }
    }

    fn is_signed_by(&self, vkey: &str) -> bool {
        let list = VerifierList::new(vec![Box::new(StandardVerifier::new(vkey).unwrap())]);
        Note::from_bytes(self.note.as_bytes()).unwrap().verify(&list).is_ok()
    }
}

/// The newest checkpoint, once it covers so many records.
#[track_caller]
fn signed(server: &Server, size: u64) -> Head {
    let mut client = server.client();
    until("the log is signed", || {
        let response = client.get("/checkpoint");
        let head = (response.status == 200).then(|| Head::parse(&response.text()));
        head.filter(|head| head.size >= size)
    })
}

fn append(client: &mut Client, range: std::ops::Range<u64>) {
    for index in range {
        assert_eq!(client.submit(&Intent::new(format!("c-{index}"))), index);
    }
}

fn hash(value: &Value) -> Hash {
    Hash(STANDARD.decode(value.as_str().unwrap()).unwrap().try_into().unwrap())
}

fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().unwrap().iter().map(hash).collect()
}

fn keys(server: &Server) -> Vec<String> {
    let body = server.client().get("/checkpoint/keys").json();
    body["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect()
}

/// The leaf of a record as its reader knows it.
fn leaf(client: &mut Client, index: u64) -> Hash {
    tlog_tiles::record_hash(&client.get(&format!("/events/{index}")).body)
}

/// Demands that the record at each index is shown to be in the tree.
#[track_caller]
fn check_inclusion(client: &mut Client, root: Hash, size: u64, indexes: impl IntoIterator<Item = u64>) {
    for index in indexes {
        let proof = client.get(&format!("/proof/inclusion?index={index}&size={size}")).json();
        assert_eq!(
            (hash(&proof["root"]), proof["index"].as_u64(), proof["size"].as_u64()),
            (root, Some(index), Some(size))
        );
        let leaf = leaf(client, index);
        assert_eq!(hash(&proof["leaf"]), leaf);
        let path = hashes(&proof["hashes"]);
        tlog_tiles::check_record(&path, size, root, index, leaf).unwrap();
        let wrong = tlog_tiles::record_hash(b"another");
        assert!(tlog_tiles::check_record(&path, size, root, index, wrong).is_err());
        assert!(tlog_tiles::check_record(&path, size, wrong, index, leaf).is_err());
    }
}

#[track_caller]
fn check_consistency(client: &mut Client, older: &Head, newer: &Head) {
    let (from, to) = (older.size, newer.size);
    let proof = client.get(&format!("/proof/consistency?from={from}&to={to}")).json();
    assert_eq!((hash(&proof["from_root"]), hash(&proof["to_root"])), (older.root, newer.root));
    if from > 0 {
        let path = hashes(&proof["hashes"]);
        tlog_tiles::check_tree(&path, to, newer.root, from, older.root).unwrap();
        let wrong = tlog_tiles::record_hash(b"another");
        assert!(tlog_tiles::check_tree(&path, to, newer.root, from, wrong).is_err());
    }
}

/// Every file of a directory of files.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").args(["-r", "--"]).args([from, to]).status().unwrap().success());
}

#[test]
fn every_record_is_proven_in_every_checkpoint_and_every_checkpoint_extends_those_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &SMALL_SEGMENTS);
    let mut client = server.client();
    let mut heads = vec![signed(&server, 0)];
    for end in [1, 2, 7, 40, 300] {
        append(&mut client, heads.last().unwrap().size..end);
        heads.push(signed(&server, end));
    }
    let keys = keys(&server);
    assert_eq!(keys.len(), 1);
    let foreign = "decisionlog.test/log1+12b12908+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
    for head in &heads {
        assert!(head.is_signed_by(&keys[0]) && !head.is_signed_by(foreign));
        assert_eq!(head.origin, client.get("/status").json()["origin"].as_str().unwrap());
        check_inclusion(&mut client, head.root, head.size, 0..head.size.min(50));
        check_inclusion(&mut client, head.root, head.size, head.size.saturating_sub(3)..head.size);
    }
    for (nth, newer) in heads.iter().enumerate() {
        for older in &heads[..nth] {
            check_consistency(&mut client, older, newer);
        }
    }
    let event = client.get("/events/7/proof").json();
    assert_eq!(event["checkpoint"].as_str().unwrap(), heads.last().unwrap().note);
    let response = client.get("/checkpoint");
    assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(response.header("cache-control"), Some("no-cache"));
    server.stop();
}

#[test]
fn what_no_tree_has_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["checkpoint.interval_seconds=3600"]);
    let mut client = server.client();
    signed(&server, 0);
    append(&mut client, 0..3);
    let mut check = |path: &str, status, code| {
        support::problem::check(&client.get(path), status, code, None);
    };
    check("/proof/inclusion?index=3&size=3", 404, "INDEX_NOT_FOUND");
    check("/proof/inclusion?index=0&size=4", 404, "INDEX_NOT_FOUND");
    check("/proof/inclusion?index=2&size=2", 400, "INVALID_INPUT");
    check("/proof/inclusion?index=0&size=3", 503, "PROOF_NOT_READY");
    check("/proof/inclusion?index=0", 503, "PROOF_NOT_READY");
    check("/proof/inclusion", 400, "INVALID_INPUT");
    check("/proof/consistency?from=4&to=5", 404, "INDEX_NOT_FOUND");
    check("/proof/consistency?from=3&to=2", 400, "INVALID_INPUT");
    check("/events/2/proof", 503, "PROOF_NOT_READY");
    check("/events/3/proof", 404, "INDEX_NOT_FOUND");
    check("/events/x/proof", 400, "INVALID_INPUT");
    for tile in ["0/000", "0/000.p/4", "0/00", "1/000.p/1", "entries/000", "x/000", "entries/001.p/1"] {
        check(&format!("/tile/{tile}"), 404, "TILE_NOT_FOUND");
    }
    check("/tile/0/000.p/3", 503, "PROOF_NOT_READY");
    server.stop();
}

/// Reads tiles as a client of tlog-tiles does, over HTTP.
struct Tiles(RefCell<Client>);

impl Tiles {
    fn get(&self, path: &str) -> Response {
        let response = self.0.borrow_mut().get(path);
        assert_eq!(response.status, 200, "{path}: {}", String::from_utf8_lossy(&response.body));
        assert_eq!(response.header("content-type"), Some("application/octet-stream"));
        assert!(response.header("cache-control").unwrap().contains("immutable"));
        response
    }
}

impl TileReader for Tiles {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        Ok(tiles.iter().map(|tile| self.get(&tile.path().replacen("tile/8/", "/tile/", 1)).body).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

#[test]
fn a_client_of_tlog_tiles_needs_nothing_but_tiles_and_entries() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &SMALL_SEGMENTS);
    let mut client = server.client();
    append(&mut client, 0..600);
    let head = signed(&server, 600);
    let tiles = Tiles(RefCell::new(server.client()));
    let reader = TileHashReader::new(head.size, head.root, &tiles);
    let mut entries = Vec::new();
    for bundle in ["000", "001", "002.p/88"] {
        let bytes = tiles.get(&format!("/tile/entries/{bundle}")).body;
        entries.extend(gesta_log_format::tile::entries(&bytes).unwrap().into_iter().map(<[u8]>::to_vec));
    }
    assert_eq!(entries.len(), 600);
    for index in [0, 255, 256, 511, 512, 599] {
        let entry = &entries[usize::try_from(index).unwrap()];
        assert_eq!(*entry, client.get(&format!("/events/{index}")).body);
        let path = tlog_tiles::prove_record(head.size, index, &reader).unwrap();
        tlog_tiles::check_record(&path, head.size, head.root, index, tlog_tiles::record_hash(entry)).unwrap();
    }
    server.stop();
}

#[test]
fn checkpoints_go_on_over_a_restart_and_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &SMALL_SEGMENTS);
    append(&mut server.client(), 0..30);
    let first = signed(&server, 30);
    append(&mut server.client(), 30..50);
    server.stop();
    let kept = Head::parse(&fs::read_to_string(directory.path().join("checkpoint")).unwrap());
    assert_eq!(kept.size, 50, "what there is at the end is signed");

    let server = Server::start(directory.path(), &SMALL_SEGMENTS);
    assert_eq!(signed(&server, 50), kept);
    append(&mut server.client(), 50..333);
    server.kill();
    let server = Server::start(directory.path(), &SMALL_SEGMENTS);
    let last = signed(&server, 333);
    let mut client = server.client();
    for older in [&first, &kept] {
        check_consistency(&mut client, older, &last);
    }
    check_inclusion(&mut client, last.root, last.size, [0, 29, 255, 256, 332]);
    assert!(last.is_signed_by(&keys(&server)[0]));
    server.stop();
}

#[test]
fn a_tree_that_is_missing_or_was_changed_is_made_again_equal() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    let server = Server::start(directory.path(), &SMALL_SEGMENTS);
    append(&mut server.client(), 0..700);
    let head = signed(&server, 700);
    server.stop();
    let pristine = files(&tree);
    assert_eq!(pristine["level-0"].len(), 700 * 32);
    let flip = |file: &str, byte: usize| {
        let mut bytes = pristine[file].clone();
        bytes[byte] ^= 1;
        fs::write(tree.join(file), bytes).unwrap();
    };
    let damages: [&dyn Fn(); 6] = [
        &|| fs::remove_dir_all(&tree).unwrap(),
        &|| fs::remove_file(tree.join("level-1")).unwrap(),
        &|| flip("level-0", 3),
        &|| flip("level-0", 699 * 32),
        &|| flip("level-1", 40),
        &|| fs::write(tree.join("level-0"), [7; 100_000]).unwrap(),
    ];
    for (nth, damage) in damages.iter().enumerate() {
        damage();
        let server = Server::start(directory.path(), &SMALL_SEGMENTS);
        let mut client = server.client();
        // What is not seen at the start is seen when it is read, and never sent.
        until("the proof is there again", || {
            let response = client.get("/proof/inclusion?index=5&size=700");
            (response.status == 200).then_some(())
        });
        assert_eq!(signed(&server, 700), head, "damage {nth}");
        check_inclusion(&mut client, head.root, head.size, [0, 5, 600, 699]);
        server.stop();
        assert!(files(&tree) == pristine, "damage {nth}");
    }
}

#[test]
fn a_log_that_lost_signed_records_does_not_open() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let server = Server::start(data, &[]);
    append(&mut server.client(), 0..10);
    signed(&server, 10);
    server.stop();
    let segment = data.join("log/00000000000000000000.log");
    let mut bytes = fs::read(&segment).unwrap();
    let last = bytes.windows(5).rposition(|window| window == b": g1 ").unwrap();
    bytes[last..].fill(0);
    fs::write(&segment, bytes).unwrap();
    // Of all marks only the checkpoint is left.
    fs::remove_file(data.join("frontier")).unwrap();
    fs::remove_dir_all(data.join("state.sled")).unwrap();
    let ended = run(serve(data, &[]));
    assert_eq!(ended.code, Some(3), "{}", ended.errors);
    assert!(ended.errors.contains("acknowledged records are missing"), "{}", ended.errors);
    fs::remove_file(data.join("checkpoint")).unwrap();
    let server = Server::start(data, &[]);
    assert_eq!(server.head(), 9);
}

#[test]
fn a_second_place_that_knows_more_than_the_log_or_another_one_stops_it() {
    let directory = tempfile::tempdir().unwrap();
    let (data, old) = (directory.path().join("data"), directory.path().join("old"));
    let second = directory.path().join("second");
    let with_second = format!("checkpoint.second_file={}", second.display());
    let server = Server::start(&data, &[&with_second]);
    append(&mut server.client(), 0..5);
    signed(&server, 5);
    server.stop();
    copy(&data, &old);
    let server = Server::start(&data, &[&with_second]);
    append(&mut server.client(), 5..9);
    let newest = signed(&server, 9);
    server.stop();
    assert_eq!(fs::read_to_string(&second).unwrap(), newest.note);

    // The directory is put back from an old copy: records are missing.
    let ended = run(serve(&old, &[&with_second]));
    assert_eq!(ended.code, Some(3), "{}", ended.errors);

    // It has gone its own way meanwhile: a second history is not signed.
    let server = Server::start(&old, &[]);
    for index in 0..20 {
        server.client().submit(&Intent::new(format!("fork-{index}")));
    }
    signed(&server, 25);
    server.stop();
    let before = fs::read(old.join("checkpoint")).unwrap();
    let server = Server::start(&old, &[&with_second]);
    let mut client = server.client();
    let response = until("it says that it does not sign", || {
        let response = client.get("/checkpoint");
        (response.reason_code() != "PROOF_NOT_READY").then_some(response)
    });
    support::problem::check(&response, 503, "CHECKPOINT_REFUSED", None);
    client.submit(&Intent::new("goes-on"));
    check_inclusion(&mut client, hash(&client_root(&server)), 25, [0, 24]);
    assert!(server.errors().contains("does not extend"), "{}", server.errors());
    server.stop();
    assert_eq!(fs::read(old.join("checkpoint")).unwrap(), before);
    assert_eq!(fs::read_to_string(&second).unwrap(), newest.note);

    // Nor where the second place is another log's.
    fs::write(&second, newest.note.replace("gesta.local/", "gesta.local/other")).unwrap();
    let server = Server::start(&data, &[&with_second]);
    let mut client = server.client();
    until("it refuses", || (client.get("/checkpoint").reason_code() == "CHECKPOINT_REFUSED").then_some(()));
}

/// The root over 25 records, as the server itself gives it.
fn client_root(server: &Server) -> Value {
    server.client().get("/proof/inclusion?index=0&size=25").json()["root"].clone()
}

#[test]
fn a_changed_checkpoint_and_a_lost_key_are_refused_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let server = Server::start(data, &[]);
    append(&mut server.client(), 0..5);
    let head = signed(&server, 5);
    server.stop();
    let (file, key) = (data.join("checkpoint"), data.join("keys/checkpoint.key"));
    let refused = |what: &str| {
        let server = Server::start(data, &[]);
        let mut client = server.client();
        until("it refuses", || {
            (client.get("/checkpoint").reason_code() == "CHECKPOINT_REFUSED").then_some(())
        });
        assert!(server.errors().contains(what), "{}", server.errors());
        let checkpoint = client.get("/status").json()["checkpoint"].clone();
        assert_eq!((&checkpoint["signing"], &checkpoint["size"]), (&"refused".into(), &0.into()));
        assert_eq!(checkpoint["age_ms"], Value::Null);
        assert!(checkpoint["reason"].as_str().unwrap().contains(what), "{checkpoint}");
        let ready = client.get("/readyz");
        assert_eq!((ready.status, ready.text().contains("the log is not signed")), (200, true));
        let gauge = || client.get("/metrics").text().contains("\ncheckpoint_signing 0\n").then_some(());
        until("the metric says so", gauge);
        server.stop();
    };
    fs::write(&file, "no note").unwrap();
    refused("holds no checkpoint");
    let line = head.note.lines().last().unwrap();
    let (start, signature) = line.rsplit_once(' ').unwrap();
    let mut bytes = STANDARD.decode(signature).unwrap();
    bytes[20] ^= 1;
    let forged = format!("{start} {}", STANDARD.encode(bytes));
    fs::write(&file, head.note.replace(line, &forged)).unwrap();
    refused("was changed");
    fs::write(&file, &head.note).unwrap();
    let secret = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    refused("is missing although the log has signed before");
    assert!(!key.exists());
    fs::write(&key, secret).unwrap();
    let server = Server::start(data, &[]);
    assert_eq!(signed(&server, 5), head);
    let mut client = server.client();
    let status = client.get("/status").json();
    let checkpoint = &status["checkpoint"];
    assert_eq!((&checkpoint["signing"], &checkpoint["size"]), (&"ok".into(), &5.into()));
    assert!(checkpoint["age_ms"].is_u64() && checkpoint["reason"].is_null(), "{checkpoint}");
    assert_eq!(client.get("/readyz").text(), "ready\n");
}

fn gesta(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_commands_verify_what_they_print_and_a_rotation_is_in_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(&data, &[]);
    append(&mut server.client(), 0..5);
    let head = signed(&server, 5);
    let (url, directory) = (server.url(), data.to_str().unwrap());
    let (code, old, _) = gesta(&["keys", "show", "--url", &url]);
    let old = old.trim();
    assert_eq!((code, vec![old.to_owned()]), (Some(0), keys(&server)));
    let (code, shown, _) = gesta(&["keys", "show", &format!("{directory}/keys/checkpoint.key")]);
    assert_eq!((code, shown.trim()), (Some(0), old));

    let (code, note, said) = gesta(&["checkpoint", "--url", &url, "--key", old]);
    assert_eq!((code, note.as_str()), (Some(0), head.note.as_str()));
    assert!(said.contains("verified: "), "{said}");
    assert_eq!(gesta(&["checkpoint", directory]).1, head.note);
    let (code, text, _) = gesta(&["prove", "3", "--url", &url, "--key", old]);
    assert_eq!(code, Some(0));
    assert!(text.contains("read, and is the leaf") && text.contains("verified: "), "{text}");
    let (code, _, said) = gesta(&["prove", "9", "--url", &url]);
    assert!(code == Some(1) && said.contains("INDEX_NOT_FOUND"), "{said}");

    let (code, new, said) = gesta(&["keys", "rotate", "--url", &url]);
    let new = new.trim();
    assert_eq!(code, Some(0), "{said}");
    let record = server.client().get("/events/5").json();
    assert_eq!((record["kind"].as_str(), record["type"].as_str()), (Some("CONTROL"), Some("key_rotated")));
    assert_eq!(record["payload"]["public_key"].as_str(), Some(new));
    assert_eq!(record["subjects"][0]["subject"], format!("key/{}", new.split('+').nth(1).unwrap()));
    let both = signed(&server, 6);
    assert!(both.is_signed_by(old) && both.is_signed_by(new));
    assert_eq!(keys(&server), [new, old]);
    let (_, third, _) = gesta(&["keys", "rotate", "--url", &url]);
    let after = signed(&server, 7);
    assert!(!after.is_signed_by(old) && after.is_signed_by(new) && after.is_signed_by(third.trim()));
    let (code, _, said) = gesta(&["checkpoint", "--url", &url, "--key", old]);
    assert!(code == Some(1) && said.contains("none of the known keys"), "{said}");
    server.stop();
    let server = Server::start(&data, &[]);
    assert_eq!(signed(&server, 7), after);
    assert_eq!(keys(&server), [third.trim(), new]);
}

#[test]
fn a_checkpoint_over_the_record_of_a_rotation_bears_the_new_key() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    signed(&server, 0);
    std::thread::scope(|scope| {
        let (_rotating, rotated) = sync_channel::<()>(0);
        let mut hasty = server.client();
        scope.spawn(move || {
            // Has the log signed as soon as it has grown, wherever the rotation is.
            while rotated.try_recv() == Err(TryRecvError::Empty) {
                hasty.get("/snapshot");
            }
        });
        for index in 0..20 {
            let headers = [("Content-Type", "application/json")];
            let changed = server.client().request("POST", "/checkpoint/keys", &headers, b"");
            assert_eq!(changed.status, 201, "{}", changed.text());
            let key = changed.json()["key"].as_str().unwrap().to_owned();
            assert!(signed(&server, index + 1).is_signed_by(&key), "rotation {index}");
        }
    });
}

#[test]
fn a_key_that_was_made_before_signs() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    let path = file.to_str().unwrap();
    let (code, vkey, _) = gesta(&["keys", "new", "--origin", "log.test/mine", "--to", path]);
    assert_eq!(code, Some(0));
    assert_eq!(gesta(&["keys", "new", "--origin", "log.test/mine", "--to", path]).0, Some(2));
    let settings = [&*format!("checkpoint.key_file={path}"), "server.origin=log.test/mine"];
    let data = directory.path().join("data");
    let server = Server::start(&data, &settings);
    let head = signed(&server, 0);
    assert_eq!(head.origin, "log.test/mine");
    assert!(head.is_signed_by(vkey.trim()));
    assert!(!data.join("keys/checkpoint.key").exists());
}

#[test]
fn proofs_need_a_reader_and_entries_an_auditor() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("gesta.toml");
    let entry = |name: &str, role: &str, streams: &str| {
        let (_, text, _) = gesta(&["token", "new", "--name", name, "--roles", role, "--streams", streams]);
        let (token, entry) = text.split_once("\n\n").unwrap();
        (token.to_owned(), entry.to_owned())
    };
    let (reader, first) = entry("reader", "log.read,intent.write", "default");
    let (auditor, second) = entry("auditor", "auditor", "*");
    fs::write(&config, format!("{first}\n{second}")).unwrap();
    let mut command = serve(&directory.path().join("data"), &[]);
    command.args(["--config", config.to_str().unwrap()]);
    let server = Server::spawn(command).unwrap();
    let mut client = server.client();
    let mut status = |token: Option<&str>, path: &str| {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        client.request("GET", path, &headers, b"").status
    };
    until("it is signed", || (status(Some(&reader), "/checkpoint") == 200).then_some(()));
    for path in
        ["/checkpoint", "/checkpoint/keys", "/tile/0/000.p/1", "/proof/inclusion?index=0", "/events/0/proof"]
    {
        assert_eq!(status(None, path), 401, "{path}");
        assert_ne!(status(Some(&reader), path), 403, "{path}");
    }
    assert_eq!(status(Some(&reader), "/tile/entries/000.p/1"), 403);
    assert_eq!(status(Some(&auditor), "/tile/entries/000.p/1"), 404);
    let rotate = |token: &str| {
        let header = format!("Bearer {token}");
        let headers = [("authorization", header.as_str()), ("content-type", "application/json")];
        server.client().request("POST", "/checkpoint/keys", &headers, b"").status
    };
    assert_eq!((rotate(&reader), rotate(&auditor)), (403, 403));
}
