//! What an answer means for the attempt that was posted.

use std::time::Duration;

use axum::http::StatusCode;

use crate::outbound::call::{Answer, CallError};

/// What becomes of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A runner has it, and reports on it.
    Accepted,
    /// It fails for good.
    Refused { code: &'static str, message: String },
    /// It is posted again.
    Again { retry_after: Option<Duration>, message: String },
}

/// The code of a target that may not be called.
const TARGET_REFUSED: &str = "PUSH_TARGET_REFUSED";

/// The code of an answer by which the other side refuses.
const REFUSED: &str = "PUSH_REFUSED";

/// The code of an attempt that could not be handed over, however often it was posted.
pub(super) const UNDELIVERED: &str = "PUSH_UNDELIVERED";

impl Verdict {
    pub(super) fn of(outcome: &Result<Answer<()>, CallError>) -> Self {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(CallError::Refused(refused)) => return Self::target(&refused.to_string()),
            Err(
                error @ (CallError::Resolve(_)
                | CallError::Connect(_)
                | CallError::ConnectTimeout(_)
                | CallError::Broken(_)
                | CallError::TooLarge { .. }
                | CallError::AnswerTimeout(_)),
            ) => return Self::Again { retry_after: None, message: error.to_string() },
        };
        let message = format!("the handler's URL answered {}", answer.status.as_u16());
        match answer.status {
            status if status.is_success() => Self::Accepted,
            status if status.is_client_error() && !may_pass(status) => {
                Self::Refused { code: REFUSED, message }
            }
            _ => Self::Again { retry_after: answer.retry_after, message },
        }
    }

    /// Of a target that may not be called.
    pub(super) fn target(why: &str) -> Self {
        Self::Refused { code: TARGET_REFUSED, message: why.to_owned() }
    }
}

/// Whether a refusal is one of this moment only.
fn may_pass(status: StatusCode) -> bool {
    [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::call::is_reached;
    use crate::outbound::policy::Policy;

    #[track_caller]
    fn check(status: u16, verdict: &str, reached: bool) {
        let status = StatusCode::from_u16(status).unwrap();
        let outcome = Ok(Answer { status, retry_after: None, content: () });
        let found = match Verdict::of(&outcome) {
            Verdict::Accepted => "accepted",
            Verdict::Refused { .. } => "refused",
            Verdict::Again { .. } => "again",
        };
        assert_eq!((found, is_reached(&outcome)), (verdict, reached), "{status}");
    }

    #[test]
    fn an_answer_accepts_refuses_or_is_asked_for_again() {
        for status in [200, 201, 202, 204] {
            check(status, "accepted", true);
        }
        for status in [400, 401, 403, 404, 405, 409, 410, 413, 422, 451] {
            check(status, "refused", true);
        }
        check(408, "again", false);
        for status in [425, 429, 301, 302, 303, 307, 308, 304] {
            check(status, "again", true);
        }
        for status in [500, 501, 502, 503, 504, 599] {
            check(status, "again", false);
        }
    }

    #[test]
    fn a_target_that_may_not_be_called_fails_the_attempt() {
        let refused = Policy::default().target("https://a.example/").unwrap_err();
        let verdict = Verdict::of(&Err(CallError::Refused(refused)));
        let Verdict::Refused { code: "PUSH_TARGET_REFUSED", message } = verdict else {
            panic!("{verdict:?}")
        };
        assert!(message.contains("push.allow_hosts"), "{message}");
    }
}
