//! Calls of a scripted server on loopback, plain and by TLS, and of targets that lead elsewhere.

use std::sync::Mutex;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::tls;
use super::*;

const PATIENCE: Patience = Patience { connect: Duration::from_secs(20), total: Duration::from_secs(20) };

/// Resolves every name to these addresses, at the port that is asked for.
struct Names(&'static [&'static str]);

impl Resolve for Names {
    fn resolve<'a>(&'a self, _name: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let addresses =
            self.0.iter().map(|address| SocketAddr::new(address.parse().unwrap(), port)).collect();
        Box::pin(async move { Ok(addresses) })
    }
}

fn caller(hosts: &[String], tls: Option<Arc<ClientConfig>>) -> Caller {
    Caller {
        policy: Policy::new(hosts, hosts, true),
        resolver: Box::new(Names(&["127.0.0.1"])),
        tls,
        patience: PATIENCE,
    }
}

fn message() -> Message {
    Message {
        body: Bytes::from_static(b"{\"attempt\":1}"),
        headers: vec![(X_CORRELATION_ID, "corr-1".to_owned()), (TRACEPARENT, "00-1-2-01".to_owned())],
    }
}

/// Reads a request to its end, as far as these tests have one: head and body of the length that it says.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let mut piece = [0; 1024];
        match stream.read(&mut piece).await.unwrap() {
            0 => return text,
            read => request.extend_from_slice(&piece[..read]),
        }
    }
}

/// A server that takes one connection and answers with these bytes. Gives its address, and the request.
async fn answering(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        request
    });
    (address, served)
}

async fn post(url: &str, caller: &Caller) -> Result<Answer<()>, CallError> {
    let target = caller.policy.target(url)?;
    caller.post(&target, &message()).await
}

#[tokio::test]
async fn a_post_arrives_with_its_headers_and_its_status_comes_back() {
    let (address, served) =
        answering("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\nlater").await;
    let answer =
        post(&format!("http://{address}/run?x=1"), &caller(&[address.to_string()], None)).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.retry_after), (503, Some(Duration::from_secs(7))));
    let request = served.await.unwrap().to_lowercase();
    assert!(request.starts_with("post /run?x=1 http/1.1\r\n"), "{request}");
    let host = format!("host: {address}");
    for header in [
        host.as_str(),
        "content-type: application/json",
        "x-correlation-id: corr-1",
        "traceparent: 00-1-2-01",
    ] {
        assert!(request.contains(&format!("\r\n{header}\r\n")), "{header}: {request}");
    }
    assert!(request.ends_with("\r\n\r\n{\"attempt\":1}"), "{request}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nobody_goes_there() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let asked = Arc::new(Mutex::new(false));
    let (told, place) = (Arc::clone(&asked), elsewhere.local_addr().unwrap());
    let watch = tokio::spawn(async move {
        if elsewhere.accept().await.is_ok() {
            *told.lock().unwrap() = true;
        }
    });
    let answer = format!("HTTP/1.1 307 There\r\nLocation: http://{place}/\r\nContent-Length: 0\r\n\r\n");
    let (address, _served) = answering(answer.leak()).await;
    let hosts = [address.to_string(), place.to_string()];
    let answer = post(&format!("http://{address}/"), &caller(&hosts, None)).await.unwrap();
    assert_eq!(answer.status.as_u16(), 307);
    watch.abort();
    let _ = watch.await;
    assert!(!*asked.lock().unwrap());
}

#[tokio::test]
async fn an_answer_is_bounded_and_its_body_is_not_read() {
    let long: &str = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(40_000)).leak();
    let (address, _served) = answering(long).await;
    let broken = post(&format!("http://{address}/"), &caller(&[address.to_string()], None)).await;
    assert!(matches!(broken, Err(CallError::Broken(_))), "{broken:?}");
    // A body that is announced and never comes does not hold up its status.
    let (address, _served) = answering("HTTP/1.1 202 Accepted\r\nContent-Length: 999999999\r\n\r\n").await;
    let answer = post(&format!("http://{address}/"), &caller(&[address.to_string()], None)).await.unwrap();
    assert_eq!(answer.status.as_u16(), 202);
}

#[tokio::test]
async fn who_does_not_answer_in_time_has_not_answered() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let mut caller = caller(&[address.to_string()], None);
    caller.patience.total = Duration::from_millis(20);
    let outcome = post(&format!("http://{address}/"), &caller).await;
    assert!(matches!(outcome, Err(CallError::AnswerTimeout(_))), "{outcome:?}");
    drop(silent);
    caller.patience = PATIENCE;
    let outcome = post(&format!("http://{address}/"), &caller).await;
    assert!(matches!(outcome, Err(CallError::Connect(_) | CallError::Broken(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_name_is_judged_by_what_it_resolves_to() {
    let (address, served) = answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let host = format!("runner.example:{}", address.port());
    let url = format!("https://{host}/");
    let mut caller = caller(std::slice::from_ref(&host), None);
    caller.policy = Policy::new(&[host], &[], true);
    for addresses in [
        &["127.0.0.1"][..],
        &["1.1.1.1", "127.0.0.1"],
        &["169.254.169.254"],
        &["::1"],
        &["::ffff:127.0.0.1"],
        &["10.0.0.1"],
    ] {
        caller.resolver = Box::new(Names(addresses));
        let outcome = post(&url, &caller).await;
        assert!(
            matches!(outcome, Err(CallError::Refused(Refused::Private { .. }))),
            "{addresses:?}: {outcome:?}"
        );
    }
    caller.resolver = Box::new(Names(&[]));
    assert!(matches!(post(&url, &caller).await, Err(CallError::Connect(_))));
    served.abort();
}

/// A TLS server for a name, and the file of its own certificate.
async fn tls_server(name: &str) -> (SocketAddr, tempfile::NamedTempFile, tokio::task::JoinHandle<()>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            read_request(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    (address, file, served)
}

#[tokio::test]
async fn a_host_shows_a_certificate_for_its_name_by_an_authority_that_is_known() {
    let (address, authority, _served) = tls_server("runner.example").await;
    let known = Some(tls::client(Some(authority.path())).unwrap());
    let (_, other, _) = tls_server("runner.example").await;
    let unknown = Some(tls::client(Some(other.path())).unwrap());
    let hosts = ["runner.example", "other.example"].map(|name| format!("{name}:{}", address.port()));
    let [url, elsewhere] = hosts.clone().map(|host| format!("https://{host}/"));
    let answer = post(&url, &caller(&hosts, known.clone())).await.unwrap();
    assert_eq!(answer.status.as_u16(), 202);
    for (url, tls) in [(&url, unknown), (&elsewhere, known)] {
        let outcome = post(url, &caller(&hosts, tls)).await;
        assert!(matches!(outcome, Err(CallError::Connect(_))), "{url}: {outcome:?}");
    }
}

#[test]
fn authorities_that_cannot_be_read_are_named() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let error = tls::client(Some(empty.path())).unwrap_err();
    assert!(matches!(error, tls::AuthoritiesError::Empty { .. }), "{error}");
    let error = tls::client(Some(std::path::Path::new("/nowhere/ca.pem"))).unwrap_err();
    assert!(matches!(error, tls::AuthoritiesError::Pem { .. }), "{error}");
}
