use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use serde_json::json;

use super::*;

async fn parts(response: Response) -> (StatusCode, HeaderMap, String) {
    let (head, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    (head.status, head.headers, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn a_problem_has_the_body_that_the_contract_shows() {
    let problem = Problem::new(ReasonCode::RefNotFound)
        .detail("no such reference")
        .pointer("/payload/declared_refs/0")
        .correlation_id("c-1");
    let (status, headers, body) = parts(problem.into_response()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(headers[CONTENT_TYPE], "application/problem+json");
    assert_eq!(
        body,
        "{\"type\":\"/errors#REF_NOT_FOUND\",\"title\":\"Reference not found\",\"status\":400,\
         \"detail\":\"no such reference\",\"ok\":false,\"reason_code\":\"REF_NOT_FOUND\",\"correlation_id\":\"c-1\",\
         \"pointer\":\"/payload/declared_refs/0\",\"source\":\"ingress\",\"retriable\":false,\
         \"retry_after_ms\":null}"
    );
}

#[tokio::test]
async fn members_of_single_codes_stand_beside_the_standard_ones() {
    let problem = Problem::new(ReasonCode::CorrelationIdReused).index(7);
    let (status, _, body) = parts(problem.into_response()).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["index"], &body["ok"]), (StatusCode::CONFLICT, &json!(7), &json!(false)));
}

#[tokio::test]
async fn every_code_that_waits_says_how_long() {
    for code in ReasonCode::ALL {
        let (status, headers, body) = parts(Problem::new(*code).into_response()).await;
        let waits = status == 429 || status == 503;
        assert_eq!(headers.contains_key(RETRY_AFTER), waits, "{code:?}");
        assert_eq!(headers.contains_key(X_BACKOFF_MS), status == 429, "{code:?}");
        assert_eq!(headers.contains_key(WWW_AUTHENTICATE), status == 401, "{code:?}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["retry_after_ms"].is_number(), waits, "{code:?}");
    }
}

#[tokio::test]
async fn a_delay_is_rounded_up_to_whole_seconds() {
    for (millis, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2")] {
        let problem = Problem::new(ReasonCode::RateLimited).retry_after(Duration::from_millis(millis));
        let (_, headers, body) = parts(problem.into_response()).await;
        assert_eq!(
            (&headers[RETRY_AFTER], &headers[X_BACKOFF_MS]),
            (&seconds.parse().unwrap(), &millis.into())
        );
        assert!(body.contains(&format!("\"retry_after_ms\":{millis}}}")));
    }
}

#[test]
fn codes_are_upper_snake_and_unique_and_say_what_to_do() {
    let mut names = HashSet::new();
    for entry in entries() {
        assert!(names.insert(entry.reason_code));
        assert!(entry.reason_code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'));
        assert!(entry.cause.ends_with('.') && entry.remedy.ends_with('.'), "{}", entry.reason_code);
        assert_eq!(entry.status.is_some(), entry.appears_in.contains(&AppearsIn::Response));
    }
    for code in ReasonCode::ALL {
        assert!(code.status().is_client_error() || code.status().is_server_error());
    }
}

/// The source files below a directory, without their tests.
fn sources(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().unwrap() != "tests" {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_name().unwrap() != "tests.rs"
        {
            let text = fs::read_to_string(&path).unwrap();
            found.push(text.split("#[cfg(test)]").next().unwrap().to_owned());
        }
    }
}

/// The codes in quotes that stand right behind a word.
fn codes_behind<'a>(text: &'a str, word: &str) -> impl Iterator<Item = &'a str> {
    text.split(word).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
}

#[test]
fn every_code_that_a_record_may_have_is_in_the_catalogue_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut texts, mut produced) = (Vec::new(), BTreeSet::new());
    sources(&root.join("src"), &mut texts);
    sources(&root.join("replay/src"), &mut texts);
    for text in &texts {
        for word in ["HandlerError::new(", "Reason::new(", "Reason::with("] {
            produced.extend(codes_behind(text, word));
        }
        // The codes with which pushed attempts fail.
        produced.extend(text.split("&str = \"").skip(1).filter_map(|code| {
            let code = code.split('"').next()?;
            code.starts_with("PUSH_").then_some(code)
        }));
        // The codes that policies may not use are the decider's own.
        if let Some((_, list)) = text.split_once("const RESERVED_CODES") {
            let list = list.split_once("];").unwrap().0;
            produced.extend(list.split('"').skip(1).step_by(2));
        }
    }
    // Says what an execution's state is that no record shows.
    produced.insert("POLICY_DENIED");
    let listed = entries().filter(|entry| entry.appears_in.contains(&AppearsIn::Record));
    assert_eq!(produced, listed.map(|entry| entry.reason_code).collect());
}

#[tokio::test]
async fn the_catalogue_is_json_for_programs_and_a_page_for_browsers() {
    let cases = [
        (None, "application/json"),
        (Some("*/*"), "application/json"),
        (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), "text/html; charset=utf-8"),
        (Some("application/json, text/html;q=0.5"), "application/json"),
        (Some("application/json;q=0.5, text/html"), "text/html; charset=utf-8"),
    ];
    for (accept, expected) in cases {
        let headers: HeaderMap =
            accept.into_iter().map(|value| (ACCEPT, HeaderValue::from_static(value))).collect();
        let (_, headers, body) = parts(errors(headers).await).await;
        assert_eq!(headers[CONTENT_TYPE], expected, "{accept:?}");
        let rows = entries().count();
        match serde_json::from_str::<Vec<Value>>(&body) {
            Ok(entries) => assert_eq!(entries.len(), rows),
            Err(_) => assert_eq!(body.matches("<section id=").count(), rows),
        }
        assert!(body.contains("REF_NOT_FOUND"));
    }
}

#[tokio::test]
async fn a_body_within_its_bounds_is_read_and_a_larger_one_is_refused() {
    let patience = Duration::from_secs(5);
    let chunked = |pieces: &[&'static str]| {
        let pieces: Vec<Result<_, std::io::Error>> = pieces.iter().map(|piece| Ok(*piece)).collect();
        Body::from_stream(futures::stream::iter(pieces))
    };
    assert_eq!(read_body(Body::empty(), 4, patience).await.unwrap(), "");
    assert_eq!(read_body(Body::from("1234"), 4, patience).await.unwrap(), "1234");
    assert_eq!(read_body(chunked(&["12", "", "34"]), 4, patience).await.unwrap(), "1234");
    for body in [Body::from("12345"), chunked(&["12345"]), chunked(&["123", "45"])] {
        assert_eq!(read_body(body, 4, patience).await.unwrap_err().code(), ReasonCode::BodyTooLarge);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_a_timeout() {
    let never = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let problem = read_body(never, 4, Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(problem.code(), ReasonCode::RequestTimeout);
}

#[test]
fn only_json_is_json() {
    let check = |declared: &'static str, good: bool| {
        let headers: HeaderMap = [(CONTENT_TYPE, HeaderValue::from_static(declared))].into_iter().collect();
        assert_eq!(demand_json(&headers).is_ok(), good, "{declared}");
    };
    check("application/json", true);
    check("Application/JSON; charset=utf-8", true);
    check("text/plain", false);
    check("application/jsonp", false);
    assert!(demand_json(&HeaderMap::new()).is_err());
}
