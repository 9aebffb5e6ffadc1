//! An answer that is not what was asked for.

use std::fmt;

use hyper::StatusCode;
use serde::Deserialize;

/// What a server, or a proxy before it, answered instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    /// Empty where the answer is not one of Gesta's own.
    pub reason_code: String,
    pub detail: String,
    /// JSON pointer into the request's body.
    pub pointer: Option<String>,
    /// Whether the same request may succeed later, unchanged.
    pub retriable: bool,
}

#[derive(Deserialize)]
struct Problem {
    reason_code: String,
    #[serde(default)]
    detail: String,
    pointer: Option<String>,
    #[serde(default)]
    retriable: bool,
}

/// Characters of a foreign answer that are shown.
const FOREIGN_CHARS: usize = 200;

impl Refusal {
    /// Reads an answer's body; one that is not a problem document is shown as it begins.
    #[must_use]
    pub fn of(status: StatusCode, body: &[u8]) -> Self {
        let may_pass = matches!(
            status,
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        match serde_json::from_slice::<Problem>(body) {
            Ok(Problem { reason_code, detail, pointer, retriable }) => {
                Self { status, reason_code, detail, pointer, retriable: retriable || may_pass }
            }
            Err(_) => {
                let text = String::from_utf8_lossy(body);
                let detail = text.chars().take(FOREIGN_CHARS).map(visible).collect::<String>();
                let detail = detail.trim().to_owned();
                Self { status, reason_code: String::new(), detail, pointer: None, retriable: may_pass }
            }
        }
    }

    /// Whether the token is what is wrong.
    #[must_use]
    pub fn is_about_token(&self) -> bool {
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    }
}

fn visible(char: char) -> char {
    if char.is_control() { ' ' } else { char }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason_code.as_str() {
            "" => write!(f, "{}", self.status)?,
            code => write!(f, "{} {code}", self.status.as_u16())?,
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        match &self.pointer {
            Some(pointer) if !pointer.is_empty() && !self.detail.contains(pointer.as_str()) => {
                write!(f, " (at {pointer})")
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_document_is_read_and_a_foreign_page_is_shown_as_it_begins() {
        let body =
            br#"{"reason_code":"INVALID_INPUT","detail":"no lane","pointer":"/payload","retriable":false}"#;
        let refusal = Refusal::of(StatusCode::BAD_REQUEST, body);
        assert_eq!(refusal.to_string(), "400 INVALID_INPUT: no lane (at /payload)");
        assert!(!refusal.retriable);
        let refusal = Refusal::of(StatusCode::BAD_GATEWAY, b"<html>\nnot now</html>");
        assert_eq!(refusal.to_string(), "502 Bad Gateway: <html> not now</html>");
        assert!(refusal.retriable);
    }

    #[test]
    fn an_unknown_outcome_may_be_tried_again() {
        let body = br#"{"reason_code":"OUTCOME_UNKNOWN","retriable":true}"#;
        assert!(Refusal::of(StatusCode::INTERNAL_SERVER_ERROR, body).retriable);
    }
}
