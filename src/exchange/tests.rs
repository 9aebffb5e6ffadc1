use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::auth::{Patterns, Role, TicketBounds, Token, TokenDigest};
use crate::config::Config;
use crate::problem;

fn router(auth: &Arc<Auth>) -> ExchangeService<Router> {
    let router = Router::new()
        .route(
            "/id",
            get(async |Extension(exchange): Extension<Exchange>| exchange.correlation_id().to_owned()),
        )
        .route("/panic", get(async || -> &'static str { panic!("the secret is 42") }))
        .route("/bare", get(async || (StatusCode::BAD_REQUEST, "plain text")))
        .route("/refuse", get(async || Problem::new(ReasonCode::QueueFull)))
        .route("/own", get(async || Problem::new(ReasonCode::CorrelationIdReused).correlation_id("intent-1")))
        .route("/whoami", get(async |caller: auth::Caller| caller.name.clone()))
        .route("/tail/ticket", post(auth::tail_ticket))
        .fallback(problem::not_found)
        .with_state(Arc::clone(auth));
    ExchangeLayer::new(auth, 1024).layer(router)
}

fn auth(tokens: &[Token]) -> Arc<Auth> {
    let config = Config::default();
    Arc::new(Auth::new(tokens, config.server.listen, TicketBounds::from(&config.auth)).unwrap())
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

async fn answer(auth: &Arc<Auth>, request: Request) -> (StatusCode, HeaderMap, String) {
    let (head, body) = router(auth).oneshot(request).await.unwrap().into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    (head.status, head.headers, String::from_utf8(bytes.to_vec()).unwrap())
}

/// Every answer bears the id that was sent, and an error bears it in its body too.
#[track_caller]
fn check_problem(answer: &(StatusCode, HeaderMap, String), status: u16, code: &str, correlation_id: &str) {
    let (got, headers, body) = answer;
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("not a problem: {body}"));
    assert_eq!((got.as_u16(), body["reason_code"].as_str()), (status, Some(code)));
    assert_eq!(body["correlation_id"], correlation_id);
    assert_eq!(headers[X_CORRELATION_ID], "mine");
    assert_eq!(headers["content-type"], "application/problem+json");
}

const NAMED: [(&str, &str); 2] = [("host", "localhost"), ("x-correlation-id", "mine")];

#[tokio::test]
async fn the_id_reaches_the_handler_and_comes_back() {
    let auth = auth(&[]);
    let (status, headers, body) = answer(&auth, request("GET", "/id", &NAMED)).await;
    assert_eq!(
        (status.as_u16(), &headers[X_CORRELATION_ID], body.as_str()),
        (200, &"mine".parse().unwrap(), "mine")
    );
    let (_, headers, body) = answer(&auth, request("GET", "/id", &[("host", "localhost")])).await;
    assert_eq!(headers[X_CORRELATION_ID], body);
    assert_eq!(body.len(), 26);
}

#[tokio::test]
async fn every_error_has_the_one_body() {
    let auth = auth(&[]);
    for (method, path, status, code, correlation_id) in [
        ("GET", "/nowhere", 404, "NOT_FOUND", "mine"),
        ("PUT", "/id", 405, "METHOD_NOT_ALLOWED", "mine"),
        ("GET", "/bare", 400, "INVALID_INPUT", "mine"),
        ("GET", "/refuse", 503, "QUEUE_FULL", "mine"),
        ("GET", "/own", 409, "CORRELATION_ID_REUSED", "intent-1"),
        ("GET", "/panic", 500, "INTERNAL", "mine"),
    ] {
        let answer = answer(&auth, request(method, path, &NAMED)).await;
        check_problem(&answer, status, code, correlation_id);
        assert!(!answer.2.contains("42"), "a panic's message is for the log alone");
        assert_eq!(answer.1.contains_key("allow"), status == 405);
        assert_eq!(answer.1.contains_key("retry-after"), status == 503);
    }
}

#[tokio::test]
async fn oversized_headers_are_refused() {
    let long = "x".repeat(1024);
    let answer = answer(&auth(&[]), request("GET", "/id", &[NAMED[0], NAMED[1], ("cookie", &long)])).await;
    check_problem(&answer, 431, "HEADERS_TOO_LARGE", "mine");
}

#[tokio::test]
async fn a_foreign_host_is_refused_where_no_token_is_asked_for() {
    let foreign = [("host", "evil.example"), NAMED[1], ("x-api-key", "t")];
    check_problem(
        &answer(&auth(&[]), request("GET", "/id", &foreign)).await,
        403,
        "NOT_LOOPBACK_HOST",
        "mine",
    );
    let token = Token {
        name: "reader".into(),
        digest: TokenDigest::of(b"t"),
        roles: [Role::LogRead].into_iter().collect(),
        streams: Patterns::any(),
        actors: Patterns::any(),
        workers: Patterns::any(),
        pools: Patterns::any(),
    };
    let auth = auth(&[token]);
    assert_eq!(answer(&auth, request("GET", "/whoami", &foreign)).await.2, "reader");
    let missing = answer(&auth, request("GET", "/whoami", &NAMED)).await;
    check_problem(&missing, 401, "MISSING_TOKEN", "mine");
    assert_eq!(missing.1["www-authenticate"], "Bearer realm=\"gesta\"");
    let (status, headers, body) = answer(&auth, request("POST", "/tail/ticket", &foreign)).await;
    assert_eq!((status.as_u16(), &headers["cache-control"]), (200, &"no-store".parse().unwrap()));
    assert!(body.starts_with("{\"ticket\":\"ticket_"), "{body}");
}
