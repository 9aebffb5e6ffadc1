//! The three listeners of the built program: whose paths are whose, TLS, certificates that change, keys that change, and
//! the end.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use support::http::{Response, read_response};
use support::process::{PROGRAM, run, serve};
use support::{Client, PATIENCE, Server, until, work};

const BOTH: [&str; 4] = ["--listen-task", "127.0.0.1:0", "--listen-internal", "127.0.0.1:0"];

/// `gesta serve` with all three listeners and more arguments.
fn all_three(data: &Path, settings: &[&str], more: &[&str]) -> Command {
    let mut command = serve(data, settings);
    command.args(BOTH).args(more);
    command
}

#[track_caller]
fn start(command: Command) -> Server {
    Server::spawn(command).unwrap_or_else(|ended| panic!("it did not start: {ended:?}"))
}

/// A self-made authority, and what it signed.
struct Authority {
    directory: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { directory, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Signs a certificate of `127.0.0.1`, and writes it and its key.
    fn sign(&self, name: &str) {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).unwrap()
    }

    /// The settings by which a server shows the certificate of this name.
    fn settings(&self, name: &str) -> Vec<String> {
        let path = |suffix: &str| self.path(&format!("{name}.{suffix}")).display().to_string();
        vec![format!("tls.certificate={}", path("pem")), format!("tls.key={}", path("key"))]
    }

    /// Opens TLS, and shows a certificate of this name where one is given.
    fn connect(&self, address: SocketAddr, protocols: &[&str], shown: Option<&str>) -> io::Result<Tls> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate("ca")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_root_certificates(roots);
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(vec![self.certificate(name)], key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = address.ip().into();
        let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut tls = Tls(BufReader::new(StreamOwned::new(connection, stream)));
        // Whether a client's certificate was taken, TLS 1.3 says only after the handshake: with the first answer.
        let stream = tls.0.get_mut();
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(tls)
    }
}

/// A connection under TLS.
struct Tls(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Tls {
    fn get(&mut self, path: &str) -> io::Result<Response> {
        write!(self.0.get_mut(), "GET {path} HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")?;
        read_response(&mut self.0)
    }

    fn protocol(&self) -> Option<&[u8]> {
        self.0.get_ref().conn.alpn_protocol()
    }

    fn shown(&self) -> CertificateDer<'static> {
        self.0.get_ref().conn.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

fn texts(settings: &[String]) -> Vec<&str> {
    settings.iter().map(String::as_str).collect()
}

#[track_caller]
fn check_not_found(client: &mut Client, method: &str, path: &str) {
    let response = client.request(method, path, &[("Content-Type", "application/json")], b"");
    assert_eq!(response.status, 404, "{method} {path}: {}", response.text());
    assert_eq!(response.header("content-type"), Some("application/problem+json"), "{path}");
    assert_eq!(response.reason_code(), "NOT_FOUND", "{path}");
    assert!(response.header("x-correlation-id").is_some(), "{path}");
}

#[test]
fn each_listener_answers_its_own_paths_and_404_for_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(all_three(directory.path(), &[], &["--insecure-loopback"]));
    let own = [
        ("public", &["/status", "/tail?follow=false", "/healthz", "/errors", "/openapi.json"][..]),
        ("internal", &["/internal/jwks/task"][..]),
    ];
    // Of whom nobody is known who asks without a token.
    let closed = [
        ("task", "/v1/task/control"),
        ("internal", "/internal/wakeups"),
        ("internal", "/internal/task-fetch"),
    ];
    let tricks = [
        "/internal",
        "/internal/",
        "/internalx/jwks/task",
        "//internal/jwks/task",
        "/internal//jwks/task",
        "/internal/jwks/task/",
        "/internal%2fjwks/task",
        "/%69nternal/jwks/task",
        "/x/../internal/jwks/task",
        "/internal/../status",
        "/INTERNAL/jwks/task",
        "/v1/taskx/heartbeat",
        "/v1",
    ];
    let address = |name: &str| match name {
        "public" => server.address,
        other => server.address_of(other),
    };
    for listener in ["public", "task", "internal"] {
        let mut client = Client::new(address(listener));
        for (owner, paths) in own {
            for path in paths {
                match owner == listener {
                    true => assert_eq!(client.get(path).status, 200, "{listener} {path}"),
                    false => check_not_found(&mut client, "GET", path),
                }
            }
        }
        for (owner, path) in closed {
            match owner == listener {
                true => assert_eq!(client.get(path).reason_code(), "MISSING_TOKEN", "{listener} {path}"),
                false => check_not_found(&mut client, "GET", path),
            }
        }
        if listener != "task" {
            check_not_found(&mut client, "POST", "/v1/task/heartbeat");
            check_not_found(&mut client, "POST", "/v1/task/complete");
            check_not_found(&mut client, "GET", "/objects/bucket/key");
        }
        for path in tricks {
            check_not_found(&mut client, "GET", path);
        }
        if listener != "public" {
            check_not_found(&mut client, "POST", "/ingress/intent");
            check_not_found(&mut client, "GET", "/openapi.json");
            check_not_found(&mut client, "GET", "/api/task");
            check_not_found(&mut client, "GET", "/");
        }
    }
    let response = Client::new(address("internal")).request("POST", "/internal/jwks/task", &[], b"");
    assert_eq!((response.status, response.reason_code().as_str()), (405, "METHOD_NOT_ALLOWED"));
    // A foreign name for this machine is refused where no token is asked for, and there alone.
    let foreign = [("Host", "evil.example")];
    assert_eq!(server.client().request("GET", "/status", &foreign, b"").reason_code(), "NOT_LOOPBACK_HOST");
    let named = Client::new(address("internal")).request("GET", "/internal/jwks/task", &foreign, b"");
    assert_eq!(named.status, 200);
    assert!(server.errors().matches("--insecure-loopback").count() == 2, "{}", server.errors());
    server.stop();
}

#[test]
fn the_two_are_off_unless_they_are_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    assert_eq!(server.printed, [server.url()]);
    check_not_found(&mut server.client(), "GET", "/internal/jwks/task");
    let listening = server.errors().lines().filter(|line| line.contains("listening")).count();
    assert_eq!(listening, 1, "{}", server.errors());
    server.stop();
}

#[test]
fn a_listener_without_a_certificate_is_refused_with_what_to_do() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.sign("a");
    authority.sign("b");
    let data = directory.path();
    fs::write(authority.path("empty.pem"), "").unwrap();
    let certificate = |name: &str| format!("tls.certificate={}", authority.path(name).display());
    let key = |name: &str| format!("tls.key={}", authority.path(name).display());
    type Texts = &'static [&'static str];
    let table: [(Vec<String>, Texts, Texts); 9] = [
        (
            vec![],
            &["--listen-task", "127.0.0.1:0"],
            &["--listen-task 127.0.0.1:0 has to speak TLS", "hint:", "--insecure-loopback"],
        ),
        (vec![], &["--listen-internal", "127.0.0.1:0"], &["--listen-internal", "tls.certificate"]),
        (
            vec![],
            &["--listen-internal", "0.0.0.0:0", "--insecure-loopback"],
            &["0.0.0.0:0 has to speak TLS", "loopback addresses alone"],
        ),
        (vec!["tls.public=true".into()], &[], &["tls.public is set"]),
        (vec![certificate("a.pem")], &[], &["belong together"]),
        (vec![certificate("none.pem"), key("a.key")], &BOTH, &["none.pem"]),
        (vec![certificate("empty.pem"), key("a.key")], &BOTH, &["empty.pem holds no certificate"]),
        (vec![certificate("a.pem"), key("a.pem")], &BOTH, &["a.pem"]),
        (vec![certificate("a.pem"), key("b.key")], &BOTH, &["do not make a server"]),
    ];
    for (settings, more, expected) in table {
        let mut command = serve(data, &texts(&settings));
        command.args(more);
        let ended = run(command);
        assert_eq!(ended.code, Some(2), "{settings:?} {more:?}: {}", ended.errors);
        for text in expected {
            assert!(ended.errors.contains(text), "{text}: {}", ended.errors);
        }
        assert!(!data.join("log").exists(), "nothing was opened");
    }
}

#[test]
fn the_two_speak_tls_with_http_1_and_2_and_nothing_else() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.sign("a");
    let settings = authority.settings("a");
    // The flag is for where there is no certificate.
    let server = start(all_three(directory.path(), &texts(&settings), &["--insecure-loopback"]));
    assert!(server.printed[0].starts_with("http://"), "the public one is plain unless it is told");
    for listener in ["task", "internal"] {
        assert!(server.url_of(listener).starts_with("https://"));
        let address = server.address_of(listener);
        let mut tls = authority.connect(address, &["h2", "http/1.1"], None).unwrap();
        assert_eq!(tls.protocol(), Some(&b"h2"[..]));
        drop(tls);
        for protocols in [&["http/1.1"][..], &[]] {
            tls = authority.connect(address, protocols, None).unwrap();
            let expected = if listener == "task" { 404 } else { 200 };
            for _ in 0..2 {
                assert_eq!(tls.get("/internal/jwks/task").unwrap().status, expected, "kept alive");
            }
        }
        let plain = Client::new(address).try_request("GET", "/internal/jwks/task", &[], b"");
        assert!(plain.is_err(), "{plain:?}");
        let other = Authority::new();
        assert!(other.connect(address, &[], None).is_err(), "signed by somebody else");
    }
    assert!(!server.errors().contains("--insecure-loopback"));
    server.stop();
}

#[test]
fn a_worker_works_where_all_three_listeners_speak_tls() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.sign("a");
    let handler =
        "[[handlers]]\nintent_type = \"work\"\nhandler_name = \"h\"\nkind = \"worker\"\npool = \"p\"\n";
    let tokens = work::token("people", &["intent.write"]) + &work::token("worker", &["worker"]);
    let file = directory.path().join("gesta.toml");
    fs::write(&file, tokens + "workers = [\"*\"]\npools = [\"*\"]\n" + handler).unwrap();
    let mut settings = authority.settings("a");
    settings.extend(["tls.public=true", "decider.enabled=true"].map(str::to_owned));
    let mut command = all_three(&directory.path().join("data"), &texts(&settings), &[]);
    command.arg("--config").arg(&file);
    let server = start(command);
    let public = format!("https://{}", server.address);
    let gesta = |arguments: &[&str], ca: Option<&Path>| {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env_remove("GESTA_CA");
        command.args(ca.into_iter().flat_map(|ca| ["--ca", ca.to_str().unwrap()]));
        command.output().unwrap()
    };
    let ca = authority.path("ca.pem");
    let submit = [
        "submit",
        "--url",
        &public,
        "--token",
        "people",
        "--message",
        "m",
        "--thread",
        "t",
        "--intent-type",
        "work",
    ];
    let submitted = gesta(&submit, Some(&ca));
    assert!(submitted.status.success(), "{submitted:?}");
    let (internal, task) = (server.url_of("internal"), server.url_of("task"));
    // What it writes to standard error is kept by way of the task listener.
    let exec = "sh -c 'echo said >&2; echo {}'";
    let worker =
        ["worker", "--exec", exec, "--pool", "p", "--once", "--json", "--token", "worker", "--url", internal];
    let worker = [worker.as_slice(), &["--task-url", task]].concat();
    let unknown = gesta(&worker, None);
    assert_eq!(unknown.status.code(), Some(2), "whom to believe has to be said: {unknown:?}");
    let done = gesta(&worker, Some(&ca));
    assert!(done.status.success(), "{done:?}");
    let said = gesta_log_format::Digest::of(b"said\n").to_string();
    assert!(String::from_utf8_lossy(&done.stdout).contains(&said), "{done:?}");
    server.stop();
}

#[tokio::test]
async fn http_2_under_tls_is_answered() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.sign("a");
    let server = start(all_three(directory.path(), &texts(&authority.settings("a")), &[]));
    let address = server.address_of("internal");
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate("ca")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let tls = connector.connect(address.ip().into(), stream).await.unwrap();
    let (mut client, connection) = h2::client::handshake(tls).await.unwrap();
    let driving = tokio::spawn(connection);
    for _ in 0..3 {
        let request = http::Request::get(format!("https://{address}/internal/jwks/task")).body(()).unwrap();
        let response = client.send_request(request, true).unwrap().0.await.unwrap();
        assert_eq!(response.status(), 200);
    }
    drop(client);
    // How the last frames of a connection that nobody needs are taken is no matter here.
    let _ = driving.await.unwrap();
    server.stop();
}

#[test]
fn the_public_listener_speaks_tls_where_it_is_told() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.sign("a");
    let mut settings = authority.settings("a");
    settings.push("tls.public=true".to_owned());
    let server = start(serve(directory.path(), &texts(&settings)));
    assert_eq!(server.printed, [format!("https://{}", server.address)]);
    let mut tls = authority.connect(server.address, &[], None).unwrap();
    let refused = tls.get("/status").unwrap();
    assert_eq!(refused.reason_code(), "NOT_LOOPBACK_HOST", "no token is configured");
    assert!(Client::new(server.address).try_request("GET", "/status", &[], b"").is_err());
    server.stop();
}

#[test]
fn a_certificate_that_changed_is_shown_after_sighup_and_a_bad_one_never() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.sign("live");
    let server = start(all_three(directory.path(), &texts(&authority.settings("live")), &[]));
    let address = server.address_of("internal");
    let shown = || authority.connect(address, &[], None).unwrap().shown();
    let mut kept = authority.connect(address, &[], None).unwrap();
    assert_eq!(kept.get("/internal/jwks/task").unwrap().status, 200);
    let former = authority.certificate("live");
    assert_eq!(shown(), former);
    authority.sign("live");
    assert_eq!(shown(), former, "nothing is read before it is told");
    server.signal("HUP");
    until("the new certificate is shown", || (shown() == authority.certificate("live")).then_some(()));
    assert_eq!(kept.get("/internal/jwks/task").unwrap().status, 200, "open connections go on");
    let current = authority.certificate("live");
    fs::write(authority.path("live.pem"), "nonsense").unwrap();
    server.signal("HUP");
    until("the refusal is logged", || {
        server.errors().contains("the certificates stay as they are").then_some(())
    });
    assert_eq!(shown(), current);
    server.stop();
}

#[test]
fn the_internal_listener_asks_for_a_certificate_where_an_authority_is_configured() {
    let (directory, authority, stranger) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    authority.sign("a");
    authority.sign("client");
    stranger.sign("client");
    fs::copy(stranger.path("client.pem"), authority.path("stranger.pem")).unwrap();
    fs::copy(stranger.path("client.key"), authority.path("stranger.key")).unwrap();
    let mut settings = authority.settings("a");
    settings.push(format!("tls.client_ca={}", authority.path("ca.pem").display()));
    let server = start(all_three(directory.path(), &texts(&settings), &[]));
    let ask = |listener: &str, shown: Option<&str>| {
        let mut tls = authority.connect(server.address_of(listener), &[], shown)?;
        tls.get("/internal/jwks/task").map(|response| response.status)
    };
    assert_eq!(ask("internal", Some("client")).unwrap(), 200);
    assert!(ask("internal", None).is_err());
    assert!(ask("internal", Some("stranger")).is_err());
    assert_eq!(ask("task", None).unwrap(), 404, "the code of a task has no certificate");
    server.stop();
}

#[test]
fn a_handshake_that_never_comes_is_not_waited_for() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.sign("a");
    let mut settings = authority.settings("a");
    settings.push("limits.header_read_seconds_max=1".to_owned());
    let server = start(all_three(directory.path(), &texts(&settings), &[]));
    let address = server.address_of("task");
    let silent = |begun: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(begun).unwrap();
        let ended = stream.read(&mut [0; 64]);
        let waits = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
        assert!(!ended.as_ref().is_err_and(|error| waits.contains(&error.kind())), "it waits on: {ended:?}");
    };
    silent(b"");
    silent(&[22, 3, 1, 2, 0]);
    // After the handshake, the head of a request.
    let mut tls = authority.connect(address, &["http/1.1"], None).unwrap();
    tls.0.get_mut().write_all(b"GET /x HT").unwrap();
    assert!(read_response(&mut tls.0).is_err());
    server.stop();
}

#[test]
fn the_end_waits_for_no_idle_connection_of_any_listener() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.sign("a");
    let server = start(all_three(directory.path(), &texts(&authority.settings("a")), &[]));
    let mut kept = Vec::new();
    for listener in ["task", "internal"] {
        let address = server.address_of(listener);
        let mut tls = authority.connect(address, &["http/1.1"], None).unwrap();
        let expected = if listener == "task" { 404 } else { 200 };
        assert_eq!(tls.get("/internal/jwks/task").unwrap().status, expected);
        kept.push((tls, TcpStream::connect(address).unwrap()));
    }
    let mut plain = server.client();
    assert_eq!(plain.get("/status").status, 200);
    let silent = TcpStream::connect(server.address).unwrap();
    let addresses = [server.address, server.address_of("task"), server.address_of("internal")];
    let ended = server.stop();
    assert!(!ended.errors.contains("did not end by themselves"), "{}", ended.errors);
    for address in addresses {
        assert!(TcpStream::connect(address).is_err());
    }
    drop((kept, plain, silent));
}

/// `gesta keys … --use task` of a server.
fn keys(server: &Server, command: &str) -> Output {
    let mut gesta = Command::new(PROGRAM);
    let done = gesta.args(["keys", command, "--use", "task", "--url", &server.url()]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    done
}

fn key_ids(server: &Server) -> Vec<String> {
    let set = Client::new(server.address_of("internal")).get("/internal/jwks/task").json();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_key_of_tasks_is_changed_without_an_outage_and_the_log_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let begin = || start(all_three(directory.path(), &[], &["--insecure-loopback"]));
    let server = begin();
    let first = key_ids(&server);
    assert_eq!(first.len(), 1);
    let rotated = String::from_utf8(keys(&server, "rotate").stdout).unwrap();
    let second = key_ids(&server);
    assert_eq!(second, [rotated.trim(), &first[0]]);
    let shown = String::from_utf8(keys(&server, "show").stdout).unwrap();
    let shown: Vec<serde_json::Value> =
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let set = Client::new(server.address_of("internal")).get("/internal/jwks/task").json();
    assert_eq!(set["keys"].as_array().unwrap(), &shown);
    for key in &shown {
        let mut names: Vec<&String> = key.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x", "y"], "nothing secret");
    }
    let records = server.client().get("/events?kinds=CONTROL").json();
    let record = records["events"].as_array().unwrap().last().unwrap();
    assert_eq!(record["type"], "key_rotated");
    assert_eq!(record["subjects"][0]["subject"], format!("key/{}", second[0]));
    assert_eq!(
        (&record["payload"]["use"], &record["payload"]["algorithm"]),
        (&"task".into(), &"ES256".into())
    );
    server.stop();

    let server = begin();
    assert_eq!(key_ids(&server), second, "a start keeps both");
    keys(&server, "rotate");
    let third = key_ids(&server);
    assert!(third.len() == 2 && third[1] == second[0] && !third.contains(&first[0]));
    server.stop();

    for file in ["keys/task/current.pem", "keys/task/previous.pem", "keys/lease.key"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(directory.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let file = directory.path().join("keys/task/current.pem");
    let shown = Command::new(PROGRAM).args(["keys", "show", "--use", "task"]).arg(&file).output().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["kid"], third[0].as_str());
    fs::write(&file, "nonsense").unwrap();
    let ended = run(all_three(directory.path(), &[], &["--insecure-loopback"]));
    assert!(ended.code == Some(1) && ended.errors.contains("current.pem holds no key"), "{}", ended.errors);
}

#[test]
fn a_key_is_made_as_a_file_and_a_service_token_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let gesta = |arguments: &[&str]| {
        let mut gesta = Command::new(PROGRAM);
        gesta.current_dir(directory.path()).args(arguments).output().unwrap()
    };
    let made = gesta(&["keys", "new", "--use", "task", "--to", "task.pem"]);
    assert!(made.status.success(), "{made:?}");
    assert_eq!(gesta(&["keys", "show", "--use", "task", "task.pem"]).stdout, made.stdout);
    assert_eq!(gesta(&["keys", "new", "--use", "task", "--to", "task.pem"]).status.code(), Some(2));
    let nameless = gesta(&["keys", "new", "--to", "checkpoint.key"]);
    assert_eq!(nameless.status.code(), Some(2));
    assert!(String::from_utf8(nameless.stderr).unwrap().contains("--origin"));
    let service = ["token", "service", "--name", "platform", "--issuer", "log.test/1"];
    let token = gesta(&[&service[..], &["--key", "task.pem"]].concat());
    assert!(token.status.success(), "{token:?}");
    assert_eq!(String::from_utf8(token.stdout).unwrap().trim().split('.').count(), 3);
    fs::write(directory.path().join("short"), "0123456789").unwrap();
    let short = gesta(&[&service[..], &["--secret", "short"]].concat());
    assert!(String::from_utf8(short.stderr).unwrap().contains("at least 32 bytes"));
}
