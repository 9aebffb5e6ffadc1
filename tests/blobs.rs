//! Blobs as a client meets them: the routes over a real directory, without a socket.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

use std::collections::HashMap;
use std::future::Future;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::FromRef;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    RETRY_AFTER,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use futures::stream;
use gesta::auth::{Auth, Patterns, Principal, Role, TicketBounds, Token, TokenDigest};
use gesta::blobs::{self, Bounds, CheckError, Missing, Reference, References, Store};
use gesta::problem::Problem;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::envelope::{Draft, Expectation, Prepared};
use gesta_log_format::log::{self, Batch, Options, Reader};
use gesta_log_format::segment::Fill;
use gesta_log_format::{Digest, Index, Kind, Timestamp};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

/// The streams whose records refer to a blob.
#[derive(Default)]
struct Named(HashMap<Digest, &'static str>);

impl References for Named {
    fn readable(&self, digest: &Digest, principal: &Principal) -> Result<bool, Problem> {
        Ok(self.0.get(digest).is_some_and(|stream| principal.may_read_stream(stream)))
    }
}

#[derive(Clone)]
struct App {
    store: Arc<Store>,
    auth: Arc<Auth>,
    references: Arc<dyn References>,
    log: Reader<RealDisk>,
}

macro_rules! parts {
    ($($field:ident: $type:ty),+) => {
        $(impl FromRef<App> for $type {
            fn from_ref(app: &App) -> Self {
                app.$field.clone()
            }
        })+
    };
}
parts!(store: Arc<Store>, auth: Arc<Auth>, references: Arc<dyn References>, log: Reader<RealDisk>);

struct Server {
    directory: tempfile::TempDir,
    store: Arc<Store>,
    router: Router,
}

fn token(name: &str, roles: &[Role], streams: &[&str]) -> Token {
    Token {
        name: name.to_owned(),
        digest: TokenDigest::of(name.as_bytes()),
        roles: roles.iter().copied().collect(),
        streams: Patterns::parse(streams.iter().copied()).unwrap(),
        actors: Patterns::any(),
        workers: Patterns::any(),
        pools: Patterns::any(),
    }
}

fn auth() -> Auth {
    let tokens = [
        token("writer", &[Role::IntentWrite], &["*"]),
        token("reader", &[Role::LogRead], &["default"]),
        token("stranger", &[Role::LogRead], &["other"]),
        token("auditor", &[Role::Auditor], &["*"]),
    ];
    let second = Duration::from_secs(1);
    let bounds = TicketBounds { tickets_max: 1, first_use_max: second, reconnect_max: second };
    Auth::new(&tokens, "127.0.0.1:0".parse().unwrap(), bounds).unwrap()
}

impl Server {
    fn new() -> Self {
        Self::with(Bounds::default(), Named::default(), &[])
    }

    /// A server whose log holds one record for each stream and payload of `records`.
    fn with(bounds: Bounds, named: Named, records: &[(&str, String)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(directory.path(), bounds).unwrap());
        let log = write_log(directory.path(), records);
        let references: Arc<dyn References> = Arc::new(named);
        let app = App { store: Arc::clone(&store), auth: Arc::new(auth()), references, log };
        let (router, _) = blobs::router::<App>().split_for_parts();
        Self { directory, store, router: router.with_state(app) }
    }

    async fn call(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn put(&self, path: &str, body: impl Into<Body>) -> Response {
        self.call(request(Method::PUT, path, "writer", &[], body.into())).await
    }

    async fn get(&self, path: &str, token: &str, headers: &[(&str, &str)]) -> Response {
        self.call(request(Method::GET, path, token, headers, Body::empty())).await
    }

    /// The names of all files below `blobs`, without the directories' own.
    fn files(&self) -> Vec<String> {
        fn walk(path: &Path, out: &mut Vec<String>) {
            for entry in std::fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, out) } else { out.push(path.display().to_string()) }
            }
        }
        let root = self.directory.path().join("blobs");
        let mut out = Vec::new();
        walk(&root, &mut out);
        out.sort();
        out.iter()
            .map(|path| path.strip_prefix(&format!("{}/", root.display())).unwrap().to_owned())
            .collect()
    }
}

fn write_log(directory: &Path, records: &[(&str, String)]) -> Reader<RealDisk> {
    let options = Options {
        segment_bytes: 1 << 24,
        fill: Fill::None,
        fill_ahead_bytes_max: 4096,
        fill_piece_bytes_max: 4096,
        batch_bytes_max: 1 << 20,
        origin: None,
        new_origin: "gesta.local/test".to_owned(),
    };
    let opened = log::open(RealDisk::new(directory), &options, &[], &mut |_, _| {}).unwrap();
    if !records.is_empty() {
        let mut batch = Batch::new(Index::ZERO);
        for (at, (stream, payload)) in records.iter().enumerate() {
            batch.push(&intent(at, stream, payload), Timestamp::from_micros(1));
        }
        opened.writer.append(&batch).unwrap();
    }
    opened.reader
}

fn intent(at: usize, stream: &str, payload: &str) -> Prepared {
    let correlation_id = format!("c{at}");
    let subjects = [Expectation { subject: format!("intent/{correlation_id}"), expected: None }];
    let draft = Draft {
        kind: Kind::Intent,
        type_name: "submitted",
        stream_id: stream,
        lane: "user",
        actor: "a",
        intent_type: "chat.message",
        thread_id: "t",
        turn_id: "u",
        parent_turn_id: None,
        correlation_id: &correlation_id,
        cause: None,
        subjects: &subjects,
        payload: payload.as_bytes(),
    };
    Prepared::new(&draft).unwrap()
}

fn request(method: Method, path: &str, token: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("x-api-key", token);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

fn path_of(content: &[u8]) -> String {
    format!("/api/blob/sha256/{}", Digest::of(content).hex())
}

async fn bytes(response: Response) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

async fn json(response: Response) -> Value {
    serde_json::from_slice(&bytes(response).await).unwrap()
}

#[track_caller]
fn check_code(status: StatusCode, body: &Value, expected: (u16, &str)) {
    assert_eq!((status.as_u16(), body["reason_code"].as_str().unwrap()), expected, "{body}");
}

async fn check_refused(response: Response, expected: (u16, &str)) -> Value {
    let status = response.status();
    let body = json(response).await;
    check_code(status, &body, expected);
    body
}

fn header<'r>(response: &'r Response, name: &axum::http::HeaderName) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// The canonical reference to `content`, as a record holds it.
fn reference(content: &[u8]) -> String {
    let mut out = Vec::new();
    let size_bytes = content.len() as u64;
    Reference { digest: Digest::of(content), media_type: "text/plain", size_bytes }.write(&mut out);
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn a_blob_that_was_put_is_read_back_and_a_second_put_is_answered_the_same() {
    let server = Server::new();
    let mut answers = Vec::new();
    for _ in 0..2 {
        let response = server.put(&path_of(b"hello"), "hello").await;
        assert_eq!(response.status(), StatusCode::CREATED);
        answers.push((response.headers().clone(), bytes(response).await));
    }
    assert_eq!(answers[0], answers[1]);
    let answer: Value = serde_json::from_slice(&answers[0].1).unwrap();
    assert_eq!(answer, serde_json::json!({"digest": Digest::of(b"hello").to_string(), "size_bytes": 5}));
    let hex = Digest::of(b"hello").hex();
    assert_eq!(server.files(), [format!("sha256/{}/{hex}", &hex[..2])]);
    let response = server.get(&path_of(b"hello"), "auditor", &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, &ETAG), format!("\"{hex}\""));
    assert_eq!(header(&response, &CONTENT_LENGTH), "5");
    assert_eq!(header(&response, &ACCEPT_RANGES), "bytes");
    assert_eq!(header(&response, &CACHE_CONTROL), "private, immutable");
    assert_eq!(header(&response, &CONTENT_TYPE), "application/octet-stream");
    assert_eq!(header(&response, &CONTENT_DISPOSITION), "attachment");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(bytes(response).await, "hello");
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_behind() {
    let bounds = Bounds { blob_bytes_max: 1000, ..Bounds::default() };
    let server = Server::with(bounds, Named::default(), &[]);
    let mismatch = server.put(&path_of(b"other"), "hello").await;
    check_refused(mismatch, (400, "BLOB_DIGEST_MISMATCH")).await;
    let large = vec![1; 1001];
    // Announced, and found out on the way.
    let announced = [("content-length", "1001")];
    let announced = request(Method::PUT, &path_of(&large), "writer", &announced, Body::empty());
    check_refused(server.call(announced).await, (413, "BODY_TOO_LARGE")).await;
    check_refused(server.put(&path_of(&large), large.clone()).await, (413, "BODY_TOO_LARGE")).await;
    let broken = stream::iter([Ok(Bytes::from("hel")), Err(std::io::Error::other("reset"))]);
    let broken = server.put(&path_of(b"hello"), Body::from_stream(broken)).await;
    check_refused(broken, (400, "INVALID_INPUT")).await;
    let reader = request(Method::PUT, &path_of(b"hello"), "reader", &[], Body::from("hello"));
    check_refused(server.call(reader).await, (403, "FORBIDDEN")).await;
    let nobody = Request::put(path_of(b"hello")).body(Body::from("hello")).unwrap();
    check_refused(server.call(nobody).await, (401, "MISSING_TOKEN")).await;
    assert_eq!(server.files(), [""; 0]);
    assert_eq!(
        server.put(&path_of(&large[..1000]), large[..1000].to_vec()).await.status(),
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn only_the_one_spelling_of_a_digest_names_a_blob() {
    let server = Server::new();
    let hex = Digest::of(b"hello").hex();
    let others = [
        hex.to_uppercase(),
        hex[..63].to_owned(),
        format!("{hex}0"),
        format!("sha256:{hex}"),
        "..%2F..%2Flock".to_owned(),
        format!("..%2f{}", &hex[3..]),
        format!("%2e%2e%2f{}", &hex[..61]),
        format!("{}%00", &hex[..63]),
        format!("{}%2F", &hex[..63]),
        "é".repeat(32).bytes().map(|byte| format!("%{byte:02x}")).collect(),
    ];
    for other in others {
        let path = format!("/api/blob/sha256/{other}");
        check_refused(server.put(&path, "hello").await, (400, "INVALID_INPUT")).await;
        check_refused(server.get(&path, "auditor", &[]).await, (400, "INVALID_INPUT")).await;
    }
    for other in [format!("/api/blob/sha256/../{hex}"), format!("/api/blob/sha256/{}/{hex}", &hex[..2])] {
        assert_eq!(server.put(&other, "hello").await.status(), StatusCode::NOT_FOUND);
    }
    assert_eq!(server.files(), [""; 0]);
}

#[tokio::test]
async fn a_blob_is_read_only_through_a_record_that_the_caller_may_read() {
    let named = Named(HashMap::from([(Digest::of(b"named"), "default"), (Digest::of(b"absent"), "default")]));
    let server = Server::with(Bounds::default(), named, &[]);
    for content in ["named", "unnamed"] {
        assert_eq!(server.put(&path_of(content.as_bytes()), content).await.status(), StatusCode::CREATED);
    }
    // The rows: content, token, whether it is shown.
    let table = [
        ("named", "reader", true),
        ("named", "stranger", false),
        ("named", "writer", false),
        ("named", "auditor", true),
        ("unnamed", "reader", false),
        ("unnamed", "auditor", true),
        ("absent", "reader", false),
        ("absent", "auditor", false),
    ];
    let mut refusals = Vec::new();
    for (content, token, shown) in table {
        let response = server.get(&path_of(content.as_bytes()), token, &[]).await;
        if shown {
            assert_eq!(bytes(response).await, content, "{token}");
        } else {
            refusals.push(check_refused(response, (404, "BLOB_NOT_FOUND")).await);
            // Nor does a condition tell that it is here.
            let hex = format!("\"{}\"", Digest::of(content.as_bytes()).hex());
            for name in ["if-none-match", "range"] {
                let response = server.get(&path_of(content.as_bytes()), token, &[(name, &hex)]).await;
                assert_eq!(response.status(), StatusCode::NOT_FOUND, "{content} for {token}");
            }
        }
    }
    assert!(refusals.windows(2).all(|pair| pair[0] == pair[1]), "the refusals differ: {refusals:?}");
}

#[tokio::test]
async fn ranges_and_conditions_are_answered_by_the_table() {
    let server = Server::new();
    let path = path_of(b"0123456789");
    server.put(&path, "0123456789").await;
    let etag = format!("\"{}\"", Digest::of(b"0123456789").hex());
    let weak = format!("\"x\", W/{etag}");
    // The rows: headers, status, Content-Range, body.
    type Row<'r> = (&'r [(&'r str, &'r str)], u16, &'r str, &'r str);
    let table: [Row<'_>; 16] = [
        (&[], 200, "", "0123456789"),
        (&[("range", "bytes=0-0")], 206, "bytes 0-0/10", "0"),
        (&[("range", "bytes=2-4")], 206, "bytes 2-4/10", "234"),
        (&[("range", "bytes=7-")], 206, "bytes 7-9/10", "789"),
        (&[("range", "bytes=-4")], 206, "bytes 6-9/10", "6789"),
        (&[("range", "bytes=5-99")], 206, "bytes 5-9/10", "56789"),
        (&[("range", "bytes=0-")], 206, "bytes 0-9/10", "0123456789"),
        (&[("range", "bytes=0-1,4-5")], 200, "", "0123456789"),
        (&[("range", "bytes=4-2")], 200, "", "0123456789"),
        (&[("range", "lines=1-2")], 200, "", "0123456789"),
        (&[("range", "bytes=2-4"), ("if-range", &etag)], 206, "bytes 2-4/10", "234"),
        (&[("range", "bytes=2-4"), ("if-range", "\"other\"")], 200, "", "0123456789"),
        (&[("if-none-match", &etag), ("range", "bytes=2-4")], 304, "", ""),
        (&[("if-none-match", &weak)], 304, "", ""),
        (&[("if-none-match", "*")], 304, "", ""),
        (&[("if-none-match", "\"other\"")], 200, "", "0123456789"),
    ];
    for (headers, status, content_range, body) in table {
        let response = server.get(&path, "auditor", headers).await;
        assert_eq!(response.status(), status, "{headers:?}");
        assert_eq!(header(&response, &CONTENT_RANGE), content_range, "{headers:?}");
        assert_eq!(header(&response, &ETAG), etag, "{headers:?}");
        if status != 304 {
            assert_eq!(header(&response, &CONTENT_LENGTH), body.len().to_string(), "{headers:?}");
        }
        assert_eq!(bytes(response).await, body, "{headers:?}");
    }
    for range in ["bytes=10-", "bytes=-0"] {
        let response = server.get(&path, "auditor", &[("range", range)]).await;
        assert_eq!(header(&response, &CONTENT_RANGE), "bytes */10");
        check_refused(response, (416, "RANGE_NOT_SATISFIABLE")).await;
    }
}

#[tokio::test]
async fn head_has_the_headers_of_the_whole_and_no_body() {
    let server = Server::new();
    let path = path_of(b"0123456789");
    server.put(&path, "0123456789").await;
    let head = request(Method::HEAD, &path, "auditor", &[("range", "bytes=2-4")], Body::empty());
    let response = server.call(head).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, &CONTENT_LENGTH), "10");
    assert_eq!(bytes(response).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_puts_of_one_blob_at_once_are_all_answered() {
    let server = Arc::new(Server::new());
    let content: Arc<Vec<u8>> = Arc::new((0..400_000_u32).map(|number| number.to_le_bytes()[0]).collect());
    let puts = (0..16).map(|_| {
        let (server, content) = (Arc::clone(&server), Arc::clone(&content));
        tokio::spawn(async move { server.put(&path_of(&content), content.to_vec()).await.status() })
    });
    for put in puts.collect::<Vec<_>>() {
        assert_eq!(put.await.unwrap(), StatusCode::CREATED);
    }
    assert_eq!(server.files().len(), 1);
    assert_eq!(bytes(server.get(&path_of(&content), "auditor", &[]).await).await, content.as_slice());
}

#[tokio::test]
async fn an_upload_beyond_the_limit_waits_for_a_place_and_one_that_breaks_off_gives_its_own_back() {
    let bounds = Bounds { uploads_max: 1, ..Bounds::default() };
    let server = Server::with(bounds, Named::default(), &[]);
    let path = path_of(b"hello");
    let stalled = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let mut upload = Box::pin(server.put(&path, stalled));
    while server.files().is_empty() {
        assert!(upload.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        tokio::task::yield_now().await;
    }
    let refused = server.put(&path, "hello").await;
    assert_eq!(header(&refused, &RETRY_AFTER), "1");
    check_refused(refused, (503, "BLOB_TRANSFERS_FULL")).await;
    drop(upload);
    while server.put(&path, "hello").await.status() != StatusCode::CREATED {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.files().len(), 1, "the broken upload's file is gone before its place is free");
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_stalls_is_refused() {
    let server = Server::new();
    let some = stream::iter([Ok::<_, std::io::Error>(Bytes::from("hel"))]);
    let stalled = futures::StreamExt::chain(some, stream::pending());
    let refused = server.put(&path_of(b"hello"), Body::from_stream(stalled)).await;
    check_refused(refused, (408, "REQUEST_TIMEOUT")).await;
    assert_eq!(server.files(), [""; 0]);
}

fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let members = archive.entries().unwrap().map(|member| {
        let mut member = member.unwrap();
        let mut content = Vec::new();
        member.read_to_end(&mut content).unwrap();
        assert_eq!(member.header().mtime().unwrap(), 0);
        (member.path().unwrap().display().to_string(), content)
    });
    members.collect()
}

/// The contents of the blobs and the last member of the bundle for a query.
async fn bundle(server: &Server, query: &str, token: &str) -> (Vec<String>, Missing) {
    let response = server.get(&format!("/blobs/bundle{query}"), token, &[]).await;
    assert_eq!(response.status(), StatusCode::OK, "{query}");
    let mut members = members(&bytes(response).await);
    let (last, missing) = members.pop().unwrap();
    assert_eq!(last, "MISSING.json");
    for (name, content) in &members {
        let hex = Digest::of(content).hex();
        assert_eq!(*name, format!("blobs/sha256/{}/{hex}", &hex[..2]));
    }
    let contents = members.into_iter().map(|(_, content)| String::from_utf8(content).unwrap());
    (contents.collect(), serde_json::from_slice(&missing).unwrap())
}

/// Six records, which refer to a, nothing, b and a, c (in another stream), one that is missing, and d.
fn bundled() -> Server {
    let refer = |contents: &[&str]| {
        let members =
            contents.iter().map(|content| format!("\"{content}\":{}", reference(content.as_bytes())));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    };
    let records = [
        ("default", refer(&["a"])),
        ("default", "{}".to_owned()),
        ("default", format!("{{\"deep\":[{}]}}", refer(&["a", "b"]))),
        ("other", refer(&["c"])),
        ("default", refer(&["missing"])),
        ("default", refer(&["d"])),
    ];
    let server = Server::with(Bounds::default(), Named::default(), &records);
    for content in ["a", "b", "c", "d", "unnamed"] {
        server.store.put_bytes(content.as_bytes()).unwrap();
    }
    server
}

#[tokio::test]
async fn a_bundle_holds_what_the_records_of_the_range_refer_to_and_the_caller_may_read() {
    let server = bundled();
    let missing = Digest::of(b"missing").to_string();
    // The rows: query, token, contents, whether one is missing, the range.
    type Row<'r> = (&'r str, &'r str, &'r [&'r str], bool, (i64, i64));
    let table: [Row<'_>; 8] = [
        ("", "auditor", &["a", "b", "c", "d"], true, (-1, 5)),
        ("", "reader", &["a", "b", "d"], true, (-1, 5)),
        ("", "stranger", &["c"], false, (-1, 5)),
        ("?since=-1&until=0", "reader", &["a"], false, (-1, 0)),
        ("?since=0&until=3", "auditor", &["a", "b", "c"], false, (0, 3)),
        ("?since=4", "reader", &["d"], false, (4, 5)),
        ("?since=3&until=99", "reader", &["d"], true, (3, 5)),
        ("?since=99", "reader", &[], false, (5, 5)),
    ];
    for (query, token, contents, one_missing, range) in table {
        let (found, last) = bundle(&server, query, token).await;
        assert_eq!(found, contents, "{query} for {token}");
        assert_eq!((last.since, last.until), range, "{query} for {token}");
        let expected: &[String] = if one_missing { std::slice::from_ref(&missing) } else { &[] };
        assert_eq!(last.missing, expected, "{query} for {token}");
    }
}

#[tokio::test]
async fn the_same_range_gives_the_same_bytes() {
    let (one, other) = (bundled(), bundled());
    let one = bytes(one.get("/blobs/bundle", "auditor", &[]).await).await;
    let other = bytes(other.get("/blobs/bundle", "auditor", &[]).await).await;
    assert_eq!(one, other);
}

#[tokio::test]
async fn a_bundle_that_cannot_be_made_is_refused_before_it_begins() {
    let server = bundled();
    check_refused(server.get("/blobs/bundle", "writer", &[]).await, (403, "FORBIDDEN")).await;
    for query in ["since=-2", "since=x", "until=-3", "from=1", "since=9223372036854775807"] {
        let response = server.get(&format!("/blobs/bundle?{query}"), "auditor", &[]).await;
        check_refused(response, (400, "INVALID_INPUT")).await;
    }
    let records = [("default", format!("{{\"a\":{},\"b\":{}}}", reference(b"a"), reference(b"b")))];
    let bounds = Bounds { bundle_blobs_max: 1, ..Bounds::default() };
    let server = Server::with(bounds, Named::default(), &records);
    check_refused(server.get("/blobs/bundle", "auditor", &[]).await, (400, "INVALID_INPUT")).await;
}

#[tokio::test]
async fn a_bundle_with_a_damaged_blob_breaks_off() {
    let server = bundled();
    let hex = Digest::of(b"b").hex();
    let path = server.directory.path().join(format!("blobs/sha256/{}/{hex}", &hex[..2]));
    std::fs::write(path, "x").unwrap();
    let response = server.get("/blobs/bundle", "auditor", &[]).await;
    assert!(response.into_body().collect().await.is_err());
}

#[test]
fn a_reference_in_a_clients_content_must_name_a_blob_that_is_here() {
    let server = Server::new();
    server.store.put_bytes(b"here").unwrap();
    let here = reference(b"here");
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_static("auditor"));
    let (auditor, nobody) = (auth().authenticate(&headers).unwrap(), Named::default());
    let check = |content: String| server.store.check_references(content.as_bytes(), &auditor, &nobody);
    check("{\"text\":\"no reference\"}".to_owned()).unwrap();
    check(format!("{{\"a\":{here},\"b\":[{{\"c\":{here}}}]}}")).unwrap();
    let absent = reference(b"absent");
    let long = here.replace(":4}", ":5}");
    for (wrong, digest) in [(&absent, Digest::of(b"absent")), (&long, Digest::of(b"here"))] {
        let error = check(format!("{{\"a\":{here},\"b\":[1,{{\"c/d\":{wrong}}}]}}")).unwrap_err();
        assert!(
            matches!(&error, CheckError::NotFound { pointer, digest: found, .. }
            if pointer == "/b/1/c~1d" && *found == digest),
            "{error:?}"
        );
        let body = serde_json::to_value(error.problem("/payload/payload").body()).unwrap();
        assert_eq!(body["pointer"], "/payload/payload/b/1/c~1d");
        check_code(StatusCode::BAD_REQUEST, &body, (400, "BLOB_NOT_FOUND"));
        assert_eq!(body["status"], 400);
    }
}
