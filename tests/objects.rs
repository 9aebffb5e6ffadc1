//! Objects of the built program: what a task's credential opens, and what it does not; names that stand for one content.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use support::http::{connect, read_head, send};
use support::problem::check as check_problem;
use support::work::{Claimed, Credential, Work, sha256};
use support::{Response, until};

/// What the tasks of these tests may do.
fn grants() -> Value {
    json!({ "grants": { "datasets": [], "s3": {
        "read_prefixes": ["blob://bucket/in/", "blob://bucket/out/", "s3://elsewhere/in/"],
        "write_prefixes": ["blob://bucket/out/", "s3://bucket/raw/"],
    } } })
}

struct World {
    _directory: tempfile::TempDir,
    work: Work,
    claimed: Claimed,
    credential: Credential,
}

/// A server, and a claimed task with its credential.
#[track_caller]
fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let mut work = Work::start(directory.path());
    work.register("job", &grants());
    let claimed = work.task("job", "c");
    let credential = work.credential(&claimed);
    World { _directory: directory, work, claimed, credential }
}

#[track_caller]
fn refused(response: &Response, status: u16, code: &str) {
    assert_eq!((response.status, response.reason_code().as_str()), (status, code), "{}", response.text());
}

#[test]
fn an_object_is_put_once_and_read_whole_or_in_part() {
    let World { _directory, mut work, claimed, credential } = world();
    let content = b"0123456789".repeat(50_000);
    let stored = work.put(&credential, "bucket/out/a/b.bin", &content);
    assert_eq!(stored.status, 201, "{}", stored.text());
    let said = stored.json();
    assert_eq!(said["uri"], "blob://bucket/out/a/b.bin");
    assert_eq!(
        (said["digest"].as_str(), said["size_bytes"].as_u64()),
        (Some(&*format!("sha256:{}", sha256(&content))), Some(500_000))
    );
    let again = work.put(&credential, "bucket/out/a/b.bin", &content);
    assert_eq!((again.status, again.json()), (200, said.clone()), "the same bytes again");
    let other = work.put(&credential, "bucket/out/a/b.bin", b"other");
    refused(&other, 409, "OBJECT_EXISTS");
    assert_eq!(other.json()["index"], said["index"]);
    let read = work.get(&credential, "bucket/out/a/b.bin");
    assert_eq!((read.status, read.body == content), (200, true));
    let etag = read.header("etag").unwrap().to_owned();
    let path = "/objects/bucket/out/a/b.bin";
    let part = work.signed(&credential, "GET", path, &[("Range", "bytes=10-19")], b"");
    assert_eq!((part.status, part.body.as_slice()), (206, &content[10..20]));
    assert_eq!(work.signed(&credential, "GET", path, &[("If-None-Match", &etag)], b"").status, 304);
    let address = work.server.address_of("task");
    let mut connection = connect(address).unwrap();
    let target = format!("{path}?{}", credential.sign("GET", path, credential.expires));
    send(connection.get_mut(), address, "HEAD", &target, &[], b"").unwrap();
    let (status, headers) = read_head(&mut connection).unwrap();
    assert_eq!(status, 200, "a signature for GET is good for HEAD");
    assert!(headers.contains(&("content-length".to_owned(), "500000".to_owned())), "{headers:?}");
    let record = work.records(&format!("subject=artifact/{}", said["artifact_id"].as_str().unwrap()));
    assert_eq!(record.len(), 1);
    let payload = &record[0]["payload"];
    assert_eq!(record[0]["index"], said["index"]);
    assert_eq!(payload["produced_by"], json!({ "execution_id": claimed.task_id, "intent": "job" }));
    assert_eq!(payload["materializations"][0]["content"]["$blob"], said["digest"]);
    let blob = work.ask("GET", &format!("/api/blob/sha256/{}", sha256(&content)), &Value::Null);
    assert_eq!(blob.status, 200, "the record makes it readable to who reads the stream");
}

#[test]
fn what_is_put_has_to_be_what_was_announced() {
    let World { _directory, mut work, claimed: _, credential } = world();
    let path = "/objects/bucket/out/x";
    let wrong = sha256(b"other");
    let put = |work: &mut Work, headers: &[(&str, &str)]| {
        work.signed(&credential, "PUT", path, headers, b"content")
    };
    refused(&put(&mut work, &[("X-Content-Sha256", &wrong)]), 400, "BLOB_DIGEST_MISMATCH");
    refused(&put(&mut work, &[]), 400, "INVALID_INPUT");
    refused(&put(&mut work, &[("X-Content-Sha256", "x")]), 400, "INVALID_INPUT");
    refused(&work.get(&credential, "bucket/out/x"), 404, "OBJECT_NOT_FOUND");
    assert_eq!(work.put(&credential, "bucket/out/x", b"content").status, 201, "the name is still free");
    assert_eq!(work.put(&credential, "bucket/out/empty", b"").status, 201);
    assert_eq!(work.get(&credential, "bucket/out/empty").body, b"");
}

#[test]
fn a_credential_opens_its_prefixes_and_nothing_else() {
    let World { _directory, mut work, claimed: _, credential } = world();
    assert_eq!(work.put(&credential, "bucket/out/a", b"a").status, 201);
    // Method, name, and what each gets. Whether the object is there makes no difference.
    let table = [
        ("GET", "bucket/in/a", 404, "OBJECT_NOT_FOUND"),
        ("PUT", "bucket/in/a", 403, "PREFIX_FORBIDDEN"),
        ("GET", "bucket/other/a", 403, "PREFIX_FORBIDDEN"),
        ("PUT", "bucket/out", 403, "PREFIX_FORBIDDEN"),
        ("PUT", "bucket/outer/a", 403, "PREFIX_FORBIDDEN"),
        ("PUT", "bucket2/out/a", 403, "PREFIX_FORBIDDEN"),
        ("GET", "elsewhere/in/a", 403, "PREFIX_FORBIDDEN"),
        ("PUT", "bucket/raw/a", 403, "PREFIX_FORBIDDEN"),
        ("PUT", "bucket/out/../in/a", 400, "INVALID_INPUT"),
        ("GET", "bucket/out/../../bucket/other/a", 400, "INVALID_INPUT"),
        ("GET", "bucket/out/./a", 400, "INVALID_INPUT"),
        ("GET", "bucket/out//a", 400, "INVALID_INPUT"),
        ("GET", "bucket//out/a", 400, "INVALID_INPUT"),
        ("GET", "bucket/out/", 400, "INVALID_INPUT"),
        ("GET", "bucket/out/%2e%2e/other/a", 400, "INVALID_INPUT"),
        ("GET", "bucket/out%2fa", 400, "INVALID_INPUT"),
        ("GET", "bucket/out/a%00", 400, "INVALID_INPUT"),
        ("GET", "bucket/out/*", 400, "INVALID_INPUT"),
        ("GET", "BUCKET/out/a", 400, "INVALID_INPUT"),
        ("GET", &format!("sha256/{}", sha256(b"a")), 403, "PREFIX_FORBIDDEN"),
        ("PUT", &format!("sha256/{}", sha256(b"a")), 403, "PREFIX_FORBIDDEN"),
    ];
    for (method, name, status, code) in table {
        let response = match method {
            "PUT" => work.put(&credential, name, b"a"),
            _ => work.get(&credential, name),
        };
        assert_eq!(
            (response.status, response.reason_code().as_str()),
            (status, code),
            "{method} {name}: {}",
            response.text()
        );
    }
}

#[test]
fn a_signature_is_good_for_what_was_signed_alone() {
    let World { _directory, mut work, claimed, credential } = world();
    assert_eq!(work.put(&credential, "bucket/out/a", b"a").status, 201);
    let (path, good) = ("/objects/bucket/out/a", credential.expires);
    let query = credential.sign("GET", path, good);
    let mut check = |what: &str, method: &str, path: &str, query: &str| {
        let headers = [("X-Content-Sha256", &*sha256(b"a"))];
        let response = work.task.request(method, &format!("{path}?{query}"), &headers, b"");
        assert_eq!((response.status, response.reason_code().as_str()), (403, "BAD_SIGNATURE"), "{what}");
    };
    check("another method", "PUT", path, &query);
    check("another path", "GET", "/objects/bucket/out/b", &query);
    check("another expiry", "GET", path, &query.replace(&good.to_string(), &(good + 1).to_string()));
    check("an expired one", "GET", path, &credential.sign("GET", path, 1_700_000_000));
    check("beyond the session's end", "GET", path, &credential.sign("GET", path, good + 86_400));
    check("no query", "GET", path, "");
    check("one member twice", "GET", path, &format!("{query}&expires={good}"));
    check("one member more", "GET", path, &format!("{query}&x=1"));
    let forged = Credential { secret: "0".repeat(64), ..credential.clone() };
    check("another secret", "GET", path, &forged.sign("GET", path, good));
    check("a capability in place of it", "GET", path, &format!("capability={}", claimed.capability));
    // What the token says may be read, but nobody can sign for another one.
    let mut session: Value = serde_json::from_slice(&base64(&credential.session_token)).unwrap();
    session["for"]["task"]["s3"]["read_prefixes"] = json!(["blob://bucket/other/"]);
    let widened = Credential { session_token: unbase64(&session), ..credential.clone() };
    check("a widened session", "GET", path, &widened.sign("GET", path, good));
    assert_eq!(work.task.get(&format!("{path}?{query}")).status, 200, "and the signature was good");
    let capability = [("X-Trace-Task-Capability", &*claimed.capability)];
    refused(&work.task.request("GET", path, &capability, b""), 403, "BAD_SIGNATURE");
}

fn base64(text: &str) -> Vec<u8> {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn unbase64(session: &Value) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(session.to_string())
}

#[test]
fn a_credential_is_given_to_the_live_attempt_and_dies_with_it() {
    let World { _directory, mut work, claimed, credential } = world();
    let other = work.task("job", "d");
    let swapped = Claimed { task_id: other.task_id.clone(), ..claimed.clone() };
    refused(&work.report(&swapped, "/v1/task/credentials", &json!({})), 403, "WRONG_TASK");
    let guessed = Claimed { lease_token: "0".repeat(32), ..claimed.clone() };
    refused(&work.report(&guessed, "/v1/task/credentials", &json!({})), 409, "STALE_ATTEMPT");
    let response =
        work.task.request("POST", "/v1/task/credentials", &[("Content-Type", "application/json")], b"{}");
    check_problem(&response, 401, "MISSING_TOKEN", None);
    assert_eq!(work.put(&credential, "bucket/out/a", b"a").status, 201);
    let ended = work.report(&claimed, "/v1/task/complete", &json!({ "status": "Completed" }));
    assert_eq!(ended.status, 200, "{}", ended.text());
    until("the end is applied", || {
        let response = work.put(&credential, "bucket/out/b", b"b");
        (response.status == 409).then_some(response)
    });
    refused(&work.put(&credential, "bucket/out/c", b"c"), 409, "STALE_ATTEMPT");
    assert_eq!(work.get(&credential, "bucket/out/a").status, 200, "what may be read may still be");
    refused(&work.report(&claimed, "/v1/task/credentials", &json!({})), 409, "STALE_ATTEMPT");
}

#[test]
fn a_stream_has_its_own_names() {
    let World { _directory, mut work, claimed: _, credential } = world();
    assert_eq!(work.put(&credential, "bucket/out/a", b"ours").status, 201);
    work.submit("job", "theirs", "team-b");
    let theirs = work.claim("job");
    let theirs = work.credential(&theirs);
    refused(&work.get(&theirs, "bucket/out/a"), 404, "OBJECT_NOT_FOUND");
    assert_eq!(work.put(&theirs, "bucket/out/a", b"theirs").status, 201);
    assert_eq!(work.get(&credential, "bucket/out/a").body, b"ours");
    assert_eq!(work.get(&theirs, "bucket/out/a").body, b"theirs");
}

#[test]
fn names_and_credentials_outlast_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut work = Work::start(directory.path());
    work.register("job", &grants());
    let claimed = work.task("job", "c");
    let credential = work.credential(&claimed);
    assert_eq!(work.put(&credential, "bucket/out/a", b"a").status, 201);
    let key = directory.path().join("data/keys/objects.key");
    let written = std::fs::read(&key).unwrap();
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    work.server.kill();
    let mut work = Work::start(directory.path());
    assert_eq!(std::fs::read(&key).unwrap(), written);
    assert_eq!(work.get(&credential, "bucket/out/a").body, b"a");
    refused(&work.put(&credential, "bucket/out/a", b"b"), 409, "OBJECT_EXISTS");
    assert_eq!(work.put(&credential, "bucket/out/a", b"a").status, 200);
}

#[test]
fn an_artifact_names_an_object_by_the_content_that_it_has() {
    let World { _directory, mut work, claimed, credential } = world();
    assert_eq!(work.put(&credential, "bucket/out/a.csv", b"a,b").status, 201);
    let mut register = |digest: &str, size: usize| {
        let materialization = json!({
            "storage_type": "blob", "uri": "blob://bucket/out/a.csv", "format": "text/csv",
            "sha256": format!("sha256:{digest}"), "size_bytes": size,
        });
        let artifact = json!({
            "artifact_id": "rows", "artifact_type": "csv", "materializations": [materialization],
        });
        work.report(&claimed, "/v1/task/artifacts", &json!({ "artifact": artifact }))
    };
    let digest = sha256(b"a,b");
    refused(&register(&sha256(b"other"), 3), 400, "INVALID_INPUT");
    refused(&register(&digest, 4), 400, "INVALID_INPUT");
    let registered = register(&digest, 3);
    assert_eq!(registered.status, 201, "{}", registered.text());
    assert_eq!(registered.json()["materializations"][0]["sha256"], format!("sha256:{digest}"));
    assert_eq!(register(&digest, 3).status, 200);
}
