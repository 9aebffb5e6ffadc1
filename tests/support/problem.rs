//! What every error outside a stream looks like.

use serde_json::json;

use super::Response;

/// Every member that contracts/README.md gives an error's body.
const MEMBERS: [&str; 11] = [
    "type",
    "title",
    "status",
    "detail",
    "ok",
    "reason_code",
    "correlation_id",
    "pointer",
    "source",
    "retriable",
    "retry_after_ms",
];

/// Demands that the answer is this problem, and whole.
#[track_caller]
pub fn check(response: &Response, status: u16, reason_code: &str, pointer: Option<&str>) {
    let text = response.text();
    assert_eq!((response.status, response.reason_code().as_str()), (status, reason_code), "{text}");
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    let body = response.json();
    for member in MEMBERS {
        assert!(body.get(member).is_some(), "{member} is missing: {text}");
    }
    assert_eq!(body["type"], format!("/errors#{reason_code}"));
    assert_eq!((&body["status"], &body["ok"]), (&json!(status), &json!(false)));
    assert_eq!(body["pointer"].as_str(), pointer, "{text}");
    assert!(["ingress", "policy", "log", "worker", "adapter"].contains(&body["source"].as_str().unwrap()));
    assert!(!body["detail"].as_str().unwrap().is_empty() && !body["title"].as_str().unwrap().is_empty());
    assert!(body["correlation_id"].is_string() && response.header("x-correlation-id").is_some());
    let waits = matches!(status, 429 | 503);
    assert_eq!(response.header("retry-after").is_some(), waits);
    assert_eq!(body["retry_after_ms"].is_u64(), waits);
}
