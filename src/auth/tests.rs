use std::time::Duration;

use axum::http::HeaderValue;

use super::*;
use crate::capability::{Grant, Issue, Prefixes, ServiceGrant};

const BOUNDS: TicketBounds = TicketBounds {
    tickets_max: 8,
    first_use_max: Duration::from_secs(60),
    reconnect_max: Duration::from_secs(600),
};

fn loopback() -> SocketAddr {
    "127.0.0.1:7070".parse().unwrap()
}

fn token(name: &str, roles: &[Role], streams: &[&str], actors: &[&str]) -> Token {
    Token {
        name: name.to_owned(),
        digest: TokenDigest::of(format!("secret-{name}").as_bytes()),
        roles: roles.iter().copied().collect(),
        streams: Patterns::parse(streams.iter().copied()).unwrap(),
        actors: Patterns::parse(actors.iter().copied()).unwrap(),
        workers: Patterns::parse(["w-*"]).unwrap(),
        pools: Patterns::parse(["gpu", "batch-*"]).unwrap(),
    }
}

fn auth() -> Auth {
    let tokens = [
        token("writer", &[Role::IntentWrite], &["default"], &["agent-*"]),
        token("reader", &[Role::LogRead], &["default", "team-*"], &["*"]),
        token("auditor", &[Role::Auditor], &["*"], &["*"]),
        token("narrow-auditor", &[Role::Auditor], &["default"], &["*"]),
        token("operator", &[Role::Operator], &["*"], &["*"]),
        token("worker", &[Role::Worker], &["default"], &["*"]),
    ];
    Auth::new(&tokens, loopback(), BOUNDS).unwrap()
}

fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
    list.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

fn caller(name: &str) -> Arc<Principal> {
    auth().authenticate(&headers(&[("x-api-key", &format!("secret-{name}"))])).unwrap()
}

#[track_caller]
fn check_refused(list: &[(&'static str, &str)], code: ReasonCode) {
    assert_eq!(auth().authenticate(&headers(list)).unwrap_err().code(), code, "{list:?}");
}

#[test]
fn a_token_is_taken_from_either_header() {
    for list in [
        [("authorization", "Bearer secret-reader")],
        [("authorization", "bearer  secret-reader")],
        [("x-api-key", "secret-reader")],
    ] {
        let principal = auth().authenticate(&headers(&list)).unwrap();
        assert_eq!(principal.name, "reader");
        assert_eq!(principal.identity(), format!("token:{}", TokenDigest::of(b"secret-reader").short()));
    }
}

#[test]
fn a_missing_and_a_bad_token_are_told_apart() {
    check_refused(&[], ReasonCode::MissingToken);
    check_refused(&[("authorization", "Bearer wrong")], ReasonCode::BadToken);
    check_refused(&[("authorization", "Bearer")], ReasonCode::BadToken);
    check_refused(&[("authorization", "Basic secret-reader")], ReasonCode::BadToken);
    check_refused(&[("x-api-key", "")], ReasonCode::BadToken);
    check_refused(&[("x-api-key", &"x".repeat(2000))], ReasonCode::BadToken);
    check_refused(&[("authorization", "Bearer no"), ("x-api-key", "secret-reader")], ReasonCode::BadToken);
}

/// What each token may do: require(intent.write), require(log.read), read default, read team-a, read other, read
/// _system, read all, write default.
#[test]
fn the_table_of_tokens_and_rights_holds() {
    let table = [
        ("writer", [true, false, false, false, false, false, false, true]),
        ("reader", [false, true, true, true, false, false, false, false]),
        ("auditor", [false, true, true, true, true, true, true, false]),
        ("narrow-auditor", [false, true, true, false, false, true, false, false]),
        ("operator", [false, false, false, false, false, true, false, false]),
    ];
    for (name, expected) in table {
        let principal = caller(name);
        let rights = [
            principal.require(Role::IntentWrite).is_ok(),
            principal.require(Role::LogRead).is_ok(),
            principal.may_read_stream("default"),
            principal.may_read_stream("team-a"),
            principal.may_read_stream("other"),
            principal.may_read_stream("_system"),
            principal.may_read_all(),
            principal.may_write_stream("default"),
        ];
        assert_eq!(rights, expected, "{name}");
    }
}

#[test]
fn a_write_is_refused_for_role_stream_and_actor_by_name() {
    let refused = |name: &str, stream: &str, actor: &str| {
        caller(name).require_write(stream, actor).err().map(|problem| problem.code())
    };
    assert_eq!(refused("writer", "default", "agent-7"), None);
    assert_eq!(refused("writer", "default", "boss"), Some(ReasonCode::ActorForbidden));
    assert_eq!(refused("writer", "other", "agent-7"), Some(ReasonCode::Forbidden));
    assert_eq!(refused("reader", "default", "agent-7"), Some(ReasonCode::Forbidden));
    assert!(!Principal::local().may_write_stream("_system"), "CONTROL records have authors of their own");
}

#[test]
fn without_tokens_loopback_is_local_and_any_other_address_is_refused() {
    for listen in ["127.0.0.1:0", "127.1.2.3:1", "[::1]:7070"] {
        let auth = Auth::new(&[], listen.parse().unwrap(), BOUNDS).unwrap();
        let local = auth.authenticate(&HeaderMap::new()).unwrap();
        assert!(auth.demands_loopback_host() && local.may_read_all() && local.identity() == "local");
    }
    for listen in ["0.0.0.0:7070", "[::]:7070", "192.168.1.2:7070"] {
        let refused = Auth::new(&[], listen.parse().unwrap(), BOUNDS).unwrap_err();
        assert!(refused.to_string().starts_with("NON_LOOPBACK_WITHOUT_TOKEN"), "{refused}");
        let tokens = [token("reader", &[Role::LogRead], &["*"], &["*"])];
        assert!(!Auth::new(&tokens, listen.parse().unwrap(), BOUNDS).unwrap().demands_loopback_host());
    }
}

#[tokio::test]
async fn a_ticket_stands_for_its_token_on_a_tail_and_nowhere_else() {
    let auth = auth();
    let ticket = auth.tickets.issue(caller("reader")).unwrap();
    let (principal, used) = auth.authenticate_tail(&HeaderMap::new(), Some(&ticket)).unwrap();
    assert!(principal.name == "reader" && used.is_some());
    let bearer = headers(&[("authorization", &format!("Bearer {ticket}"))]);
    assert_eq!(auth.authenticate(&bearer).unwrap_err().code(), ReasonCode::BadToken);
    let refused = |ticket| auth.authenticate_tail(&HeaderMap::new(), ticket).unwrap_err().code();
    assert_eq!(refused(Some("ticket_0")), ReasonCode::BadToken);
    assert_eq!(refused(None), ReasonCode::MissingToken);
    let with_token = headers(&[("x-api-key", "secret-auditor")]);
    assert_eq!(auth.authenticate_tail(&with_token, Some("old")).unwrap().0.name, "auditor");
}

#[tokio::test]
async fn without_tokens_a_ticket_from_before_a_restart_does_no_harm() {
    let auth = Auth::new(&[], loopback(), BOUNDS).unwrap();
    let (principal, used) = auth.authenticate_tail(&HeaderMap::new(), Some("ticket_old")).unwrap();
    assert!(principal.name == "local" && used.is_none());
}

#[test]
fn a_worker_is_known_by_either_header_and_bound_to_its_ids_and_pools() {
    for list in [[("x-trace-worker-token", "secret-worker")], [("authorization", "Bearer secret-worker")]] {
        let worker = auth().authenticate_worker(&headers(&list)).unwrap();
        assert_eq!(worker.name(), "worker");
        assert!(worker.may_be("w-1") && !worker.may_be("x-1") && !worker.may_be(""));
        assert!(
            worker.may_claim("gpu", "default")
                && worker.may_claim("batch-7", "default")
                && !worker.may_claim("gpu2", "default")
                && !worker.may_claim("gpu", "other")
        );
        assert!(worker.require_worker("w-1").is_ok() && worker.require_pool("gpu").is_ok());
        for refused in [worker.require_worker("x-1"), worker.require_pool("cpu")] {
            assert_eq!(refused.unwrap_err().code(), ReasonCode::BadToken);
        }
    }
}

#[test]
fn who_is_no_worker_is_401_whatever_is_wrong() {
    type Headers = &'static [(&'static str, &'static str)];
    let table: [(Headers, ReasonCode); 6] = [
        (&[], ReasonCode::MissingToken),
        (&[("x-api-key", "secret-worker")], ReasonCode::MissingToken),
        (&[("x-trace-worker-token", "")], ReasonCode::BadToken),
        (&[("x-trace-worker-token", "secret-nobody")], ReasonCode::BadToken),
        (&[("x-trace-worker-token", "secret-operator")], ReasonCode::BadToken),
        (&[("authorization", "Basic secret-worker")], ReasonCode::BadToken),
    ];
    for (list, code) in table {
        let refused = auth().authenticate_worker(&headers(list)).unwrap_err();
        assert_eq!(refused.code(), code, "{list:?}");
        assert_eq!(code.status(), axum::http::StatusCode::UNAUTHORIZED);
    }
    let local = Auth::new(&[], loopback(), BOUNDS).unwrap();
    assert_eq!(local.authenticate_worker(&HeaderMap::new()).unwrap_err().code(), ReasonCode::MissingToken);
    let any = headers(&[("x-trace-worker-token", "secret-worker")]);
    assert_eq!(local.authenticate_worker(&any).unwrap_err().code(), ReasonCode::BadToken);
}

#[test]
fn a_service_token_is_an_operators_and_a_capability_opens_nothing_here() {
    let (auth, keys) = (auth(), Capabilities::of_a_test());
    let name = "platform".to_owned();
    let grant = ServiceGrant { name, lifetime: Duration::from_secs(60) };
    let service = keys.keys().mint_service(&grant, &Issue::now()).unwrap();
    let asked = |auth: &Auth, token: &str| {
        auth.authenticate(&headers(&[("authorization", &format!("Bearer {token}"))]))
    };
    // The keys are read while the server starts.
    assert_eq!(asked(&auth, &service).unwrap_err().code(), ReasonCode::Recovering);
    auth.admit_services(Arc::clone(&keys));
    let caller = asked(&auth, &service).unwrap();
    assert_eq!((caller.name.as_str(), caller.identity().as_str()), ("platform", "platform"));
    assert!(caller.require(Role::Operator).is_ok() && caller.streams.match_all());
    assert!(caller.require(Role::IntentWrite).is_err() && !caller.actors.matches("agent-1"));
    let capability = Grant {
        stream_id: "default".to_owned(),
        task_id: "T1".to_owned(),
        attempt: 1,
        timeout: Duration::from_secs(60),
        datasets: Vec::new(),
        s3: Prefixes::default(),
    };
    let others = Capabilities::of_a_test().keys().mint_service(&grant, &Issue::now()).unwrap();
    for bad in [keys.mint(&capability).unwrap(), others, "a.b.c".to_owned(), format!("{service}x")] {
        assert_eq!(asked(&auth, &bad).unwrap_err().code(), ReasonCode::BadToken, "{bad}");
    }
    let worker = auth.authenticate_worker(&headers(&[("x-trace-worker-token", &service)]));
    assert_eq!(worker.unwrap_err().code(), ReasonCode::BadToken);
}
